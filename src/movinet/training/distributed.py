"""The processes of a run, as torchrun starts them: what they share, and when one is lost."""

from __future__ import annotations

import contextlib
import inspect
import os
import re
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from movinet.errors import ConfigError
from movinet.training.config import EngineSection

T = TypeVar("T")
#: How PyTorch's back ends say that another process does not answer.
_LOST = re.compile(
    r"gloo|nccl|connection (closed|reset|refused)|timed ?out|timeout|broken pipe", re.IGNORECASE
)
#: In the store that all processes share: how many wanted to tell of a failure.
_TELLERS = "movinet/tellers"


@dataclass(frozen=True)
class Processes:
    """All processes of a run, seen from one of them.

    Attributes:
        rank: Number of this one; 0 writes files and messages.
        size: How many there are.
        device: Where this one computes.
        store: What they share beside tensors; None where there is one process.
    """

    rank: int
    size: int
    device: torch.device
    store: Store | None = None

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and messages."""
        return self.rank == 0

    def totals(self, values: Tensor) -> list[float]:
        """The sums of a vector over all processes; the vector is used up."""
        if self.size > 1:
            dist.all_reduce(values)
        return values.tolist()

    def gather(self, rows: Tensor) -> Tensor:
        """The rows of all processes, in the order of ranks; their numbers may differ."""
        if self.size == 1:
            return rows
        count = torch.tensor([len(rows)], device=self.device)
        counts = [torch.empty_like(count) for _ in range(self.size)]
        dist.all_gather(counts, count)
        most = max(int(c) for c in counts)
        padded = rows.new_zeros(most, *rows.shape[1:], device=self.device)
        padded[: len(rows)] = rows
        shares = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(shares, padded)
        return torch.cat([share[: int(c)] for share, c in zip(shares, counts, strict=True)])

    def gather_objects(self, value: T) -> list[T]:
        """One picklable value of each process."""
        if self.size == 1:
            return [value]
        values = [value] * self.size
        dist.all_gather_object(values, value)
        return values

    def share(self, value: T) -> T:
        """The main process's picklable value, in every process."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]

    def share_buffers(self, model: nn.Module) -> None:
        """Give every process the main one's batch-norm statistics."""
        if self.size > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, src=0)

    def parallel(self, model: nn.Module, *, share_buffers: bool) -> nn.Module:
        """The model whose gradients are the mean over all processes."""
        if self.size == 1:
            return model
        options: dict[str, Any] = {"gradient_as_bucket_view": True}
        if self.device.type == "cuda":
            options["device_ids"] = [self.device]
        new = "forward_sync_buffers"  # of later PyTorch, where the old name warns
        known = inspect.signature(DistributedDataParallel).parameters
        options[new if new in known else "broadcast_buffers"] = share_buffers
        return DistributedDataParallel(model, **options)

    def finish_by_itself(self) -> None:
        """After a failure: do not let torchrun, which ends the others then, cut off the message."""
        if self.store is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def is_to_tell(self) -> bool:
        """Whether this process is to tell of a failure: a job that fails says so once."""
        try:
            return self.store is None or self.store.add(_TELLERS, 1) == 1
        except RuntimeError:  # the store went with the process that held it
            return True


@contextlib.contextmanager
def joined(config: EngineSection) -> Iterator[Processes]:
    """Join the processes that torchrun started, or be the only one.

    Args:
        config: Device, and how long to wait for others.

    Raises:
        ConfigError: If there is no such device, or more processes than clips in a batch.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    device = find_device(config.device, int(os.environ.get("LOCAL_RANK", "0")))
    if size == 1:
        yield Processes(0, 1, device)
        return
    if config.batch_size % size:
        raise ConfigError(
            f"engine.batch_size {config.batch_size} is for all {size} processes together: make it "
            f"a multiple of {size}"
        )
    if device.type == "cuda":
        torch.cuda.set_device(device)
    timeout = timedelta(seconds=config.timeout)
    store, rank, size = next(iter(rendezvous("env://", timeout=timeout)))
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        store=PrefixStore("movinet", store),
        rank=rank,
        world_size=size,
        timeout=timeout,
    )
    yield Processes(rank, size, device, store)
    dist.destroy_process_group()  # after a failure it might wait for who is gone


def is_loss_of_process(error: BaseException) -> bool:
    """Whether an error says that another process does not answer."""
    if isinstance(error, dist.DistError):
        return True
    return isinstance(error, RuntimeError) and bool(_LOST.search(str(error)))


def find_device(name: str, local_rank: int = 0) -> torch.device:
    """The device that `engine.device` names.

    Raises:
        ConfigError: If this machine has none.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        count = torch.cuda.device_count()
        if local_rank >= count:
            raise ConfigError(
                f'engine.device "cuda": process {local_rank} of this machine has no GPU, there are '
                f'{count}; start fewer processes, or set engine.device to "cpu"'
            )
        return torch.device("cuda", local_rank)
    if name == "mps" and not torch.backends.mps.is_available():
        raise ConfigError('engine.device "mps": there is none here; use "cpu" or "auto"')
    return torch.device(name)
