"""What PyTorch's own failures mean for a run, in one line that says what to do."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from movinet.text import one_line
from movinet.training.checkpoint import Checkpoints, progress_of, read_checkpoint
from movinet.training.config import TrainConfig
from movinet.training.distributed import Processes, is_loss_of_process

#: Modules whose exceptions come out of torch.compile.
_COMPILER = ("torch._dynamo", "torch._inductor")


def explain(error: RuntimeError, config: TrainConfig, processes: Processes) -> str | None:
    """The line for an error out of PyTorch, or None if it is nothing that a user can help."""
    if type(error).__module__.startswith(_COMPILER):
        return f"engine.compile does not work here ({_reason(error)}); set engine.compile=false"
    if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
        return (
            f"out of memory on {processes.device} with {config.engine.batch_size} clips a batch in "
            f"{processes.size * config.engine.accumulate} parts; raise engine.accumulate or lower "
            "engine.batch_size, and run.eval_batch_size in evaluation"
        )
    if processes.size > 1 and is_loss_of_process(error):
        kept = _what_is_kept(Checkpoints(Path(config.run.folder)).last)
        return f"another process of this job was lost or does not answer ({_reason(error)}); {kept}"
    return None


def _what_is_kept(last: Path) -> str:
    if not last.exists():
        return "there is no checkpoint yet: the same command starts again"
    step = progress_of(read_checkpoint(last, lazily=True), last).step
    return f"{last} is whole, of step {step}: the same command continues from there"


def _reason(error: RuntimeError) -> str:
    """The first line, without the place in PyTorch's source that it may begin with."""
    return one_line(re.sub(r"^\[[^]]*\] *", "", str(error)).partition("\n")[0])
