"""Batches of clips for training, decoded by worker processes.

What is in a batch depends on the seed, the epoch and the position in it alone: not on the number of
workers, on which process it is for, or on where a run was resumed.
"""

from __future__ import annotations

import itertools
import multiprocessing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from multiprocessing.context import BaseContext
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from movinet.data.balance import BalancedOrder, ShuffledOrder
from movinet.data.processes import deaf, serve_parent, without_script
from movinet.data.samples import DataSet, Sample
from movinet.errors import ConfigError, MovinetError, VideoError
from movinet.training.batches.views import training_view
from movinet.training.build import test_input
from movinet.training.config import TrainConfig

B = TypeVar("B")
#: How many bad samples in a row stand for a data set that cannot be read at all.
_MAX_BAD = 20


class Failure(NamedTuple):
    """A sample that could not be used.

    Attributes:
        sample: Its index in the data set.
        name: Of its video.
        reason: Why.
    """

    sample: int
    name: str
    reason: str


@dataclass(frozen=True)
class Batch:
    """Clips for one process.

    Attributes:
        video: (batch, time, height, width, 3) uint8.
        targets: (batch,) int64; of multi-label data (batch, classes) float32.
        indices: (batch,) int64, which samples of the data set.
        failures: Samples that could not be used on the way.
    """

    video: Tensor
    targets: Tensor
    indices: Tensor
    failures: tuple[Failure, ...] = ()

    def pin_memory(self) -> Self:
        """The same in memory that a GPU copies from while it computes."""
        return replace(
            self,
            video=self.video.pin_memory(),
            targets=self.targets.pin_memory(),
            indices=self.indices.pin_memory(),
        )


class TrainLoader:
    """The batches of training epochs.

    Each epoch is a permutation of the data set, or with ``data.balance`` "sampling" has as much of
    every class, cut into global batches; what is left over at its end is dropped, and a data set
    smaller than a batch is repeated. A sample that cannot be read
    is replaced by the next one that can. Workers go on with the next epoch before it is asked for.

    Args:
        data: The data set.
        config: Batch size, balance, input, augmentation, seed, workers.
        rank: Which process this is; it gets a contiguous share of each batch.
        world_size: Number of processes.

    Attributes:
        steps_per_epoch: Batches in an epoch.

    Raises:
        ConfigError: If the batch cannot be shared among the processes, or there is no sample.
    """

    def __init__(
        self, data: DataSet, config: TrainConfig, *, rank: int = 0, world_size: int = 1
    ) -> None:
        size = config.engine.batch_size
        if size % (world_size * config.engine.accumulate):
            raise ConfigError(
                f"engine.batch_size {size} must be a multiple of the processes ({world_size}) "
                f"times engine.accumulate ({config.engine.accumulate})"
            )
        if not len(data):
            raise ConfigError(f"{data.name}: no samples")
        self.batch_size, self.steps_per_epoch = size, max(1, len(data) // size)
        share = size // world_size
        seed, mine = config.engine.seed, range(rank * share, size)[:share]
        order = (BalancedOrder if config.data.balance == "sampling" else ShuffledOrder)(data, seed)
        self._requests = _TrainRequests(data, order, seed, self.steps_per_epoch, size, mine)
        views = _Views(data, config)
        self._loader = make_loader(
            views, config, batch_sampler=self._requests, collate_fn=views.collate
        )
        self._stream: Iterator[Batch] = iter(())
        self._position: int | None = None  # of the stream

    def batches(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """This process's share of each batch of an epoch, from a step on.

        Raises:
            VideoError: If too many samples in a row cannot be read.
            MovinetError: If a worker process dies.
        """
        begin = epoch * self.steps_per_epoch
        for step in range(begin + first_step, begin + self.steps_per_epoch):
            if step != self._position:
                self._requests.first = step
                self._stream = guarded(self._loader)
            self._position = None  # unless it arrives
            batch = next(self._stream)
            self._position = step + 1
            yield batch

    def first(self, count: int) -> Iterator[Batch]:
        """This process's share of the first batches of a run, which may be more than an epoch's."""
        epochs = (self.batches(epoch) for epoch in itertools.count())
        return itertools.islice(itertools.chain.from_iterable(epochs), count)


class _Request(NamedTuple):
    """What a worker is asked for. It brings its samples: workers hold no data set.

    Attributes:
        draw: Seeds what is random.
        candidates: Samples and their indices; the first that can be read is taken.
    """

    draw: tuple[int, ...]
    candidates: tuple[tuple[int, Sample], ...]


@dataclass
class _TrainRequests:
    """The requests of this process, batch by batch and epoch by epoch without end.

    Attributes:
        data: The data set.
        order: In which its samples are drawn.
        seed: Of everything random in a sample.
        steps_per_epoch: Batches of an epoch.
        size: Of the batch of all processes.
        share: This process's places in it.
        first: Where to begin: number of batches from the beginning of the first epoch.
    """

    data: DataSet
    order: ShuffledOrder | BalancedOrder
    seed: int
    steps_per_epoch: int
    size: int
    share: range
    first: int = 0

    def __iter__(self) -> Iterator[list[_Request]]:
        epoch, first = divmod(self.first, self.steps_per_epoch)
        for each in itertools.count(epoch):
            order = self.order.epoch(each)
            for step in range(first, self.steps_per_epoch):
                yield [self._request(each, step * self.size + i, order) for i in self.share]
            first = 0

    def _request(self, epoch: int, position: int, order: NDArray[np.int64]) -> _Request:
        places = range(position, position + min(_MAX_BAD, len(order)))
        indices = [int(order[place % len(order)]) for place in places]
        candidates = tuple((index, self.data.samples[index]) for index in indices)
        return _Request((self.seed, epoch, position), candidates)


@dataclass(frozen=True)
class _Item:
    """What becomes of a request: a clip (time, height, width, 3), and failures on the way."""

    video: NDArray[np.uint8]
    target: NDArray[np.float32] | int
    sample: int
    failures: tuple[Failure, ...]


class _Views(Dataset["_Item | MovinetError"]):
    """Answers requests, in a worker.

    Errors are handed on as values: raised, they would come out of PyTorch with a traceback.

    Args:
        data: Where the samples are from.
        config: Of the run.
    """

    def __init__(self, data: DataSet, config: TrainConfig) -> None:
        self.name, self.classes, self.multi_label = data.name, len(data.labels), data.multi_label
        self.augment = config.augment
        self.spec = replace(test_input(config.input), num_frames=config.input.train_frames)

    def __getitem__(self, request: _Request) -> _Item | MovinetError:
        failures: list[Failure] = []
        for attempt, (index, sample) in enumerate(request.candidates):
            try:
                rng = np.random.default_rng((*request.draw, attempt))
                video = training_view(sample, self.spec, self.augment, rng)
            except VideoError as error:
                failures.append(Failure(index, sample.media.name, str(error)))
            else:
                return _Item(video, self._target(sample), index, tuple(failures))
        return VideoError(
            f"{self.name}: {len(failures)} samples in a row cannot be read, the first: "
            f"{failures[0].reason}; 'movinet data check' finds bad files"
        )

    def collate(self, items: list[_Item | MovinetError]) -> Batch | MovinetError:
        """Items as a batch."""
        good: list[_Item] = []
        for item in items:
            if isinstance(item, MovinetError):
                return item
            good.append(item)
        return Batch(
            torch.from_numpy(np.stack([item.video for item in good])),
            torch.from_numpy(np.stack([np.asarray(item.target) for item in good])),
            torch.tensor([item.sample for item in good]),
            tuple(failure for item in good for failure in item.failures),
        )

    def _target(self, sample: Sample) -> NDArray[np.float32] | int:
        if not self.multi_label:
            return sample.labels[0]
        target = np.zeros(self.classes, np.float32)
        target[list(sample.labels)] = 1
        return target


def make_loader(dataset: Dataset[Any], config: TrainConfig, **batches: Any) -> Iterable[Any]:
    """What a dataset gives, made in the worker processes that a configuration asks for.

    Args:
        dataset: Runs in the workers, to which it is sent.
        config: Workers, how much they hold ready, device.
        batches: How PyTorch's DataLoader makes batches of it.
    """
    workers = config.data.workers
    on_gpu = config.engine.device in ("auto", "cuda") and torch.cuda.is_available()
    return DataLoader(
        dataset,
        num_workers=workers,
        multiprocessing_context=_context() if workers else None,
        worker_init_fn=_start_worker,
        persistent_workers=workers > 0,
        prefetch_factor=config.data.prefetch if workers else None,
        pin_memory=on_gpu,
        generator=torch.Generator(),  # leaves the global one alone
        **batches,
    )


def _context() -> BaseContext:
    """How workers start: never by a fork of this process, which has threads that hold locks."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # PyTorch is imported once for all workers
    return context


def _start_worker(worker: int) -> None:
    del worker
    serve_parent()


def guarded(loader: Iterable[B | MovinetError]) -> Iterator[B]:
    """The batches of a loader from `make_loader`, and its errors raised in one line.

    Raises:
        MovinetError: If a worker process dies, or an error comes in place of a batch.
    """
    try:
        with without_script(), deaf():
            batches = iter(loader)  # starts the workers
        for batch in batches:
            if isinstance(batch, MovinetError):
                raise batch
            yield batch
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise MovinetError(
            "a process that decodes videos has died: for lack of memory or of shared memory "
            "(/dev/shm), which fewer data.workers, a smaller data.prefetch or smaller batches "
            "need less of, or of a video ('movinet data check' finds bad files)"
        ) from None
