"""Batches of clips for training and evaluation, decoded by worker processes.

What is in a batch depends on the seed, the epoch and the position in it alone: not on the number of
workers, on which process it is for, or on where a run was resumed.
"""

from __future__ import annotations

import itertools
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from multiprocessing.context import BaseContext
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from movinet.data.clips import evaluation_views, training_view
from movinet.data.processes import serve_parent
from movinet.data.samples import DataSet, Sample
from movinet.errors import ConfigError, MovinetError, VideoError
from movinet.training.build import test_input
from movinet.training.config import TrainConfig

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

    Each epoch is a permutation of the data set, cut into global batches; what is left over at its
    end is dropped, and a data set smaller than a batch is repeated. A sample that cannot be read
    is replaced by the next one that can. Workers go on with the next epoch before it is asked for.

    With workers, a script that uses this needs the usual ``if __name__ == "__main__":``.

    Args:
        data: The data set.
        config: Batch size, input, augmentation, seed, workers.
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
        self.steps_per_epoch = max(1, len(data) // size)
        share = size // world_size
        self._requests = _TrainRequests(
            data, config.engine.seed, self.steps_per_epoch, size, range(rank * share, size)[:share]
        )
        self._loader = _make_loader(
            _Views(data, config, _training, must_be_read=True), config, self._requests
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
                self._stream = _guarded(self._loader)
            self._position = None  # unless it arrives
            batch = next(self._stream)
            self._position = step + 1
            yield batch


class EvalLoader:
    """The test views of a data set: each sample exactly once over all processes.

    The rows of a batch are views; the views of a sample stand together, with equal `indices`.
    Samples that cannot be read are left out and named in `failures`, so a batch may be empty.

    Args:
        data: The data set.
        config: Input, views, crops, batch size, workers.
        rank: Which process this is.
        world_size: Number of processes.
    """

    def __init__(
        self, data: DataSet, config: TrainConfig, *, rank: int = 0, world_size: int = 1
    ) -> None:
        views = config.run.views * config.run.crops
        per_batch = max(1, config.run.eval_batch_size // views)
        mine = range(rank, len(data), world_size)
        self._requests = [
            [_Request((), ((index, data.samples[index]),)) for index in mine[i : i + per_batch]]
            for i in range(0, len(mine), per_batch)
        ]
        self._loader = _make_loader(
            _Views(data, config, _evaluation, must_be_read=False), config, self._requests
        )

    def __len__(self) -> int:
        return len(self._requests)

    def __iter__(self) -> Iterator[Batch]:
        """The batches, in the order of the data set.

        Raises:
            MovinetError: If a worker process dies.
        """
        return _guarded(self._loader)


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
        seed: Of the order and everything random.
        steps_per_epoch: Batches of an epoch.
        size: Of the batch of all processes.
        share: This process's places in it.
        first: Where to begin: number of batches from the beginning of the first epoch.
    """

    data: DataSet
    seed: int
    steps_per_epoch: int
    size: int
    share: range
    first: int = 0

    def __iter__(self) -> Iterator[list[_Request]]:
        epoch, first = divmod(self.first, self.steps_per_epoch)
        for each in itertools.count(epoch):
            order = np.random.default_rng((self.seed, each)).permutation(len(self.data))
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
    """What becomes of a request: (views, time, height, width, 3), or nothing but failures."""

    video: NDArray[np.uint8] | None
    target: NDArray[np.float32] | int
    sample: int
    failures: tuple[Failure, ...]


#: What is seen of a sample, (views, time, height, width, 3), with a generator of draws.
_View = Callable[[Sample, TrainConfig, np.random.Generator], NDArray[np.uint8]]


def _training(sample: Sample, config: TrainConfig, rng: np.random.Generator) -> NDArray[np.uint8]:
    spec = replace(test_input(config.input), num_frames=config.input.train_frames)
    return training_view(sample, spec, config.augment, rng)[None]


def _evaluation(sample: Sample, config: TrainConfig, rng: np.random.Generator) -> NDArray[np.uint8]:
    del rng  # nothing is random
    return evaluation_views(sample, test_input(config.input), config.run.views, config.run.crops)


class _Views(Dataset["_Item | MovinetError"]):
    """Answers requests, in a worker.

    Errors are handed on as values: raised, they would come out of PyTorch with a traceback.

    Args:
        data: Where the samples are from.
        config: Of the run.
        view: What is seen of them.
        must_be_read: Whether it is an error if no candidate can be read; else nothing comes of the
            request but failures.
    """

    def __init__(
        self, data: DataSet, config: TrainConfig, view: _View, *, must_be_read: bool
    ) -> None:
        self.name, self.classes, self.multi_label = data.name, len(data.labels), data.multi_label
        self.config, self.view, self.must_be_read = config, view, must_be_read

    def __getitem__(self, request: _Request) -> _Item | MovinetError:
        failures: list[Failure] = []
        for attempt, (index, sample) in enumerate(request.candidates):
            try:
                rng = np.random.default_rng((*request.draw, attempt))
                video = self.view(sample, self.config, rng)
            except VideoError as error:
                failures.append(Failure(index, sample.media.name, str(error)))
            else:
                return _Item(video, self._target(sample), index, tuple(failures))
        if not self.must_be_read:
            return _Item(None, 0, failures[0].sample, tuple(failures))
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
        failures = tuple(failure for item in good for failure in item.failures)
        videos = [item.video for item in good if item.video is not None]
        if not videos:
            return self._empty(failures)
        rows = [item for item in good if item.video is not None for _ in item.video]
        return Batch(
            torch.from_numpy(np.concatenate(videos)),
            torch.from_numpy(np.stack([np.asarray(item.target) for item in rows])),
            torch.tensor([item.sample for item in rows]),
            failures,
        )

    def _target(self, sample: Sample) -> NDArray[np.float32] | int:
        if not self.multi_label:
            return sample.labels[0]
        target = np.zeros(self.classes, np.float32)
        target[list(sample.labels)] = 1
        return target

    def _empty(self, failures: tuple[Failure, ...]) -> Batch:
        size, length = self.config.input.image_size, self.config.input.test_frames
        video = torch.empty((0, length, size, size, 3), dtype=torch.uint8)
        targets = torch.empty((0, self.classes)) if self.multi_label else torch.empty(0).long()
        return Batch(video, targets, torch.empty(0).long(), failures)


def _make_loader(
    views: _Views, config: TrainConfig, requests: Iterable[list[_Request]]
) -> Iterable[Batch | MovinetError]:
    workers = config.data.workers
    on_gpu = config.engine.device in ("auto", "cuda") and torch.cuda.is_available()
    return DataLoader(
        views,
        batch_sampler=requests,  # pyright: ignore[reportArgumentType] - it knows indices only
        num_workers=workers,
        collate_fn=views.collate,
        multiprocessing_context=_context() if workers else None,
        worker_init_fn=_start_worker,
        persistent_workers=workers > 0,
        prefetch_factor=config.data.prefetch if workers else None,
        pin_memory=on_gpu,
        generator=torch.Generator(),  # leaves the global one alone
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


def _guarded(loader: Iterable[Batch | MovinetError]) -> Iterator[Batch]:
    """The batches of a loader, and its errors raised in one line."""
    try:
        for batch in loader:
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
