"""Batches of clips for training and evaluation, decoded by worker processes.

What is in a batch depends on the seed, the epoch and the position in it alone: not on the number of
workers, on which process it is for, or on where a run was resumed.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from movinet.data.augment import augment, draw_crop, resize_crop
from movinet.data.samples import DataSet, Sample
from movinet.data.sampling import span_of, training_times
from movinet.errors import ConfigError, MovinetError, VideoError
from movinet.training.build import test_input
from movinet.training.config import TrainConfig
from movinet.video.clips import frames_in_order, read_views, window_starts
from movinet.video.container import SkippedPacket
from movinet.video.preprocessing import THREE_CROPS

#: How many bad files in a row stand for a data set that cannot be read at all.
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


class TrainLoader:
    """The batches of training epochs.

    Each epoch is a permutation of the data set, cut into global batches; what is left over at its
    end is dropped, and a data set smaller than a batch is repeated. A sample that cannot be read
    is replaced by the next one that can.

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
        self._share = size // world_size
        self._first = rank * self._share
        self._size = size
        self._positions = _Positions()
        self._loader = _make_loader(_TrainViews(data, config), config, self._positions)

    def batches(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """This process's share of each batch of an epoch, from a step on.

        Raises:
            VideoError: If too many samples in a row cannot be read.
            MovinetError: If a worker process dies.
        """
        self._positions.batches = [
            [(epoch, step * self._size + self._first + i) for i in range(self._share)]
            for step in range(first_step, self.steps_per_epoch)
        ]
        yield from _guarded(self._loader)


class EvalLoader:
    """The test views of a data set: each sample exactly once over all processes.

    The rows of a batch are views; the views of a sample stand together, with equal `indices`.
    Samples that cannot be read are left out and named in `failures`.

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
        mine = [(0, index) for index in range(rank, len(data), world_size)]
        positions = _Positions()
        positions.batches = [mine[i : i + per_batch] for i in range(0, len(mine), per_batch)]
        self._positions = positions
        self._loader = _make_loader(_TestViews(data, config), config, positions)

    def __len__(self) -> int:
        return len(self._positions.batches)

    def __iter__(self) -> Iterator[Batch]:
        yield from _guarded(self._loader)


class _Positions:
    """What the next pass of a loader asks for: lists of (epoch, position)."""

    def __init__(self) -> None:
        self.batches: list[list[tuple[int, int]]] = []

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class _Item(NamedTuple):
    """What a worker makes of one position: (views, time, height, width, 3), or nothing."""

    video: NDArray[np.uint8] | None
    target: NDArray[np.float32] | int
    sample: int
    failures: tuple[Failure, ...]


class _TrainViews(Dataset[_Item]):
    def __init__(self, data: DataSet, config: TrainConfig) -> None:
        self._data, self._config = data, config

    def __getitem__(self, request: tuple[int, int]) -> _Item:
        epoch, position = request
        order = _permutation(self._config.engine.seed, epoch, len(self._data))
        failures: list[Failure] = []
        for attempt in range(min(_MAX_BAD, len(order))):
            index = int(order[(position + attempt) % len(order)])
            sample = self._data.samples[index]
            # Without the attempt: a sample that replaces another is not drawn as its own turn was.
            rng = np.random.default_rng((self._config.engine.seed, epoch, position, attempt))
            try:
                clip = self._view(sample, rng)
            except VideoError as error:
                failures.append(Failure(index, sample.media.name, str(error)))
                continue
            return _Item(clip[None], _target(sample, self._data), index, tuple(failures))
        names = "; ".join(failure.reason for failure in failures[:3])
        raise VideoError(
            f"{self._data.name}: {len(failures)} samples in a row cannot be read, the first: "
            f"{names}; 'movinet data check' finds bad files"
        )

    def _view(self, sample: Sample, rng: np.random.Generator) -> NDArray[np.uint8]:
        config = self._config
        size, count = config.input.image_size, config.input.train_frames
        times, rate = training_times(
            sample, count, config.input.frame_rate, config.augment.random_stride, rng
        )
        clip = np.empty((count, size, size, 3), np.uint8)
        skipped: list[SkippedPacket] = []
        crop, shown, place = None, None, 0
        for index, image in frames_in_order(sample.media, times, rate, skipped):
            if crop is None:
                crop = draw_crop(image.shape[0], image.shape[1], config.augment, rng)
            clip[index] = clip[place] if image is shown else resize_crop(image, crop, size)
            shown, place = image, index
        return augment(clip, config.augment, rng)


class _TestViews(Dataset[_Item]):
    def __init__(self, data: DataSet, config: TrainConfig) -> None:
        self._data, self._run, self._spec = data, config.run, test_input(config.input)

    def __getitem__(self, request: tuple[int, int]) -> _Item:
        _, index = request
        sample, spec = self._data.samples[index], self._spec
        target = _target(sample, self._data)
        crops = THREE_CROPS if self._run.crops == 3 else ("center",)
        try:
            span = span_of(sample)
            starts = window_starts(span, spec.num_frames / spec.frame_rate, self._run.views)
            clips = [
                clip.frames
                for start in starts.tolist()
                for clip in read_views(sample.media, spec, span, start, crops)
            ]
        except VideoError as error:
            failure = Failure(index, sample.media.name, str(error))
            return _Item(None, target, index, (failure,))
        # Test views are whole numbers of 255ths.
        video = np.round(np.stack(clips) * np.float32(255)).astype(np.uint8)
        return _Item(video, target, index, ())


@functools.lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, size: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, epoch)).permutation(size)


def _target(sample: Sample, data: DataSet) -> NDArray[np.float32] | int:
    if not data.multi_label:
        return sample.labels[0]
    target = np.zeros(len(data.labels), np.float32)
    target[list(sample.labels)] = 1
    return target


def _collate(items: list[_Item]) -> Batch | None:
    """Items as a batch; None stands for one without a single view."""
    failures = tuple(failure for item in items for failure in item.failures)
    good = [item for item in items if item.video is not None]
    videos = [item.video for item in good if item.video is not None]
    views = [len(video) for video in videos]
    if not good:
        empty = torch.empty(0, dtype=torch.int64)
        return Batch(torch.empty(0, dtype=torch.uint8), empty, empty, failures)
    targets = torch.from_numpy(np.repeat(np.array([i.target for i in good]), views, axis=0))
    indices = torch.from_numpy(np.repeat(np.array([i.sample for i in good]), views))
    return Batch(torch.from_numpy(np.concatenate(videos)), targets, indices, failures)


def _make_loader(dataset: Dataset[_Item], config: TrainConfig, positions: Any) -> Any:
    workers = config.data.workers
    return DataLoader(
        dataset,
        batch_sampler=positions,
        num_workers=workers,
        collate_fn=_collate,
        persistent_workers=workers > 0,
        prefetch_factor=config.data.prefetch if workers else None,
        pin_memory=torch.cuda.is_available(),
    )


def _guarded(loader: Any) -> Iterator[Batch]:
    try:
        yield from loader
    except RuntimeError as error:
        if "worker" not in str(error):
            raise
        raise MovinetError(
            "a process that decodes videos has died (out of memory?); "
            "fewer data.workers or smaller batches take less"
        ) from None
