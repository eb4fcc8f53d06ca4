"""One training step: forward, backward and optimiser, beside another port of the network.

``python benchmarks/training_step.py [--models a0_base a0_stream] [--threads 2] [--rounds 7]``.
``--peer FOLDER`` is a checkout of github.com/Atze00/MoViNet-pytorch (pip install einops fvcore),
whose A0 then takes turns with ours. Random weights and videos: they do not change the time. Each
process is measured for its peak memory too: ``--memory`` runs one of them alone.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

from movinet.network.model import MoViNet
from movinet.network.presets import preset_config
from movinet.training.config import OptimizerSection
from movinet.training.memory import keep_freed_memory
from movinet.training.optimizers import clip_each_, make_optimizer
from timing import report, take_turns

SHAPE = (4, 3, 8, 172, 172)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["a0_base", "a0_stream"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--peer", type=Path, help="a checkout of Atze00/MoViNet-pytorch")
    parser.add_argument("--memory", metavar="RUN", help="do a few steps of one and tell its peak")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    for name in options.models:
        makers = {name: lambda name=name: ours(name)}
        makers[f"{name} bfloat16"] = lambda name=name: ours(name, torch.bfloat16)
        if options.peer and name.startswith("a0"):
            makers[f"Atze00 {name}"] = lambda name=name: peer(options.peer, name.endswith("stream"))
        if options.memory:
            if options.memory in makers:
                tell_peak(makers[options.memory]())
            continue
        print(f"{name}: batch {SHAPE[0]} of {SHAPE[2]} x {SHAPE[3]} x {SHAPE[4]}")
        report(take_turns({key: make() for key, make in makers.items()}, options.rounds), "s")
        for key in makers:
            arguments = [sys.executable, __file__, *sys.argv[1:], "--memory", key]
            peak = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout
            print(f"{key}: peak memory {peak.strip()} MB")


def tell_peak(step: Callable[[], object]) -> None:
    for _ in range(3):
        step()
    # Not getrusage: its maximum outlives exec, so that a child would tell its parent's peak.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    print(int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) // 1024)


def ours(name: str, precision: torch.dtype | None = None) -> Callable[[], object]:
    model = MoViNet(preset_config(name)).train()
    optimizer = make_optimizer(model, OptimizerSection(learning_rate=0.01))
    return stepper(model, optimizer, precision)


def peer(folder: Path, stream: bool) -> Callable[[], object]:
    sys.path.insert(0, str(folder))
    from movinets import MoViNet as Peer  # pyright: ignore[reportMissingImports]
    from movinets.config import _C  # pyright: ignore[reportMissingImports]

    conv_type = "2plus1d" if stream else "3d"
    model = Peer(_C.MODEL.MoViNetA0, causal=stream, conv_type=conv_type, tf_like=True).train()
    before = model.clean_activation_buffers if stream else None
    return stepper(model, torch.optim.RMSprop(model.parameters(), 0.01), None, before)


def stepper(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    precision: torch.dtype | None,
    before: Callable[[], object] | None = None,
) -> Callable[[], object]:
    video, targets = torch.rand(SHAPE), torch.randint(0, 600, SHAPE[:1])

    def step() -> None:
        if before is not None:
            before()
        with torch.autocast("cpu", precision or torch.bfloat16, enabled=precision is not None):
            logits = model(video)
        F.cross_entropy(logits.float(), targets).backward()
        clip_each_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


if __name__ == "__main__":
    main()
