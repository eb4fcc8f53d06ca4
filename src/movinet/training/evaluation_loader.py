"""The frames that an evaluation beside training sees, decoded by worker processes.

They are those of `movinet eval`: a stream model sees every frame of a sample at its own rate, a
base model the windows and crops of a test.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from movinet.data.samples import DataSet, Sample
from movinet.errors import ConfigError, VideoError
from movinet.evaluation.views import Look, stream_pixels, stream_times, window_pixels
from movinet.network.config import InputSpec
from movinet.training.batches.loader import Failure, guarded, make_loader
from movinet.training.build import test_input
from movinet.training.config import TrainConfig

#: Frames of a batch of streams: few enough that a layer's activations stay in the cache.
_FRAMES = 64
#: Of each sample in it, at least and at most.
_LEAST, _MOST = 8, 32
#: Batches of samples that are sorted by length, so that those of one batch end together.
_SORTED = 8
#: Errors of a sample that is then left out, as `movinet eval` does.
_UNREADABLE = (VideoError, OSError)


@dataclass(frozen=True)
class EvalBatch:
    """Frames for one process: whole clips for a base model, the next chunks for a stream model.

    A sample has several rows: its views, or its chunks, in batches of the same worker.

    Attributes:
        video: (rows, time, height, width, 3) uint8.
        indices: (rows,) int64, which samples of the data set.
        ends: (rows,) bool, whether it is the last row of its sample.
        worker: Which worker it is from; of each, one group of streams is under way at a time.
        begins: Streams: whether the rows begin their samples; else they go on where the rows of the
            same samples ended in this worker's batch before.
        failures: Samples that could not be read; they have no last row.
    """

    video: Tensor
    indices: Tensor
    ends: Tensor
    worker: int
    begins: bool
    failures: tuple[Failure, ...] = ()

    def pin_memory(self) -> Self:
        """The same with the video in memory that a GPU copies from while it computes."""
        return replace(self, video=self.video.pin_memory())


class EvalLoader:
    """What a model sees of a data set: each sample exactly once over all processes.

    Samples that cannot be read are left out and named in `failures`, so a batch may be empty.

    Args:
        data: The data set.
        config: Input, views, crops, batch size, workers.
        streams: Whether the model is a stream model (`MoViNetConfig.streams`).
        rank: Which process this is.
        world_size: Number of processes.

    Attributes:
        data: The data set.
        count: Number of this process's samples.

    Raises:
        ConfigError: If views are not allowed, or asked for from a stream model.
    """

    def __init__(
        self,
        data: DataSet,
        config: TrainConfig,
        *,
        streams: bool,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        look = Look(config.run.views, config.run.crops)
        if streams and (look.views, look.crops) != (1, 1):
            raise ConfigError(
                "run.views and run.crops are for base models: a stream model sees every frame of a "
                "sample; set both to 1"
            )
        self.data = data
        mine = [(i, data.samples[i]) for i in range(rank, len(data), world_size)]
        self.count = len(mine)
        spec, size = test_input(config.input), config.run.eval_batch_size
        frames = _StreamFrames(mine, spec, size) if streams else _Windows(mine, spec, size, look)
        self._loader = make_loader(frames, config, batch_size=None)

    def __iter__(self) -> Iterator[EvalBatch]:
        """The batches; the rows of a sample are in order.

        Raises:
            MovinetError: If a worker process dies.
        """
        return guarded(self._loader)


class _Frames(IterableDataset[EvalBatch]):
    """Makes the batches of its share of the samples, in a worker.

    Args:
        samples: Those of this process, with their numbers in the data set.
        spec: The model's input.
        batch_size: Rows of a batch.
    """

    def __init__(
        self, samples: Sequence[tuple[int, Sample]], spec: InputSpec, batch_size: int
    ) -> None:
        self._samples, self._spec, self._batch_size = samples, spec, batch_size

    def _share(self) -> tuple[int, Sequence[tuple[int, Sample]]]:
        """The number of this worker, and its samples."""
        info = get_worker_info()
        if info is None:
            return 0, self._samples
        return info.id, self._samples[info.id :: info.num_workers]

    def _empty(self, worker: int, failures: tuple[Failure, ...]) -> EvalBatch:
        size, none = self._spec.image_size, torch.empty(0).long()
        video = torch.empty((0, 1, size, size, 3), dtype=torch.uint8)
        return EvalBatch(video, none, none.bool(), worker, False, failures)


class _Windows(_Frames):
    """Windows and crops, for base models."""

    def __init__(
        self,
        samples: Sequence[tuple[int, Sample]],
        spec: InputSpec,
        batch_size: int,
        look: Look,
    ) -> None:
        super().__init__(samples, spec, batch_size)
        self._look = look

    def __iter__(self) -> Iterator[EvalBatch]:
        worker, samples = self._share()
        rows: list[tuple[int, NDArray[np.uint8], bool]] = []
        failures: list[Failure] = []
        for index, sample in samples:
            for window in range(self._look.views):
                try:
                    crops = window_pixels(sample, window, self._spec, self._look, [])
                except _UNREADABLE as error:
                    failures.append(_failure(index, sample, error))
                    break
                last = window + 1 == self._look.views
                for number, clip in enumerate(crops, start=1):
                    rows.append((index, clip, last and number == len(crops)))
                    if len(rows) == self._batch_size:
                        yield self._batch(worker, rows, failures)
                        rows, failures = [], []
        if rows:
            yield self._batch(worker, rows, failures)
        elif failures:
            yield self._empty(worker, tuple(failures))

    def _batch(
        self,
        worker: int,
        rows: list[tuple[int, NDArray[np.uint8], bool]],
        failures: list[Failure],
    ) -> EvalBatch:
        indices, clips, ends = zip(*rows, strict=True)
        return EvalBatch(
            torch.from_numpy(np.stack(clips)),
            torch.tensor(indices),
            torch.tensor(ends),
            worker,
            True,
            tuple(failures),
        )


@dataclass(frozen=True)
class _Stream:
    """A sample whose frames are seen one after another.

    Attributes:
        index: Its number in the data set.
        sample: The sample.
        times: When its frames are seen, seconds.
    """

    index: int
    sample: Sample
    times: NDArray[np.float64]


class _StreamFrames(_Frames):
    """Every frame of some samples at a time, chunk by chunk, for stream models.

    However long a video is, no more than a chunk of it is held. A chunk ends where one of the
    samples does, so that nothing has to be filled up.
    """

    def __iter__(self) -> Iterator[EvalBatch]:
        worker, samples = self._share()
        size = self._batch_size
        for first in range(0, len(samples), _SORTED * size):
            failures: list[Failure] = []
            streams = list(self._streams(samples[first : first + _SORTED * size], failures))
            streams.sort(key=lambda stream: len(stream.times))
            if failures:
                yield self._empty(worker, tuple(failures))
            for start in range(0, len(streams), size):
                yield from self._group(worker, streams[start : start + size])

    def _streams(
        self, samples: Sequence[tuple[int, Sample]], failures: list[Failure]
    ) -> Iterator[_Stream]:
        for index, sample in samples:
            try:
                yield _Stream(index, sample, stream_times(sample, self._spec.frame_rate))
            except _UNREADABLE as error:
                failures.append(_failure(index, sample, error))

    def _group(self, worker: int, streams: list[_Stream]) -> Iterator[EvalBatch]:
        """The chunks of samples that begin together."""
        longest = min(max(_FRAMES // self._batch_size, _LEAST), _MOST)
        ends = _chunk_ends([len(stream.times) for stream in streams], longest)
        chunks = np.diff(ends, prepend=0).tolist()
        pixels = [stream_pixels(s.sample, s.times, self._spec, [], chunks) for s in streams]
        under_way = list(zip(streams, pixels, strict=True))
        for end in ends:
            clips, failures, seen = [], [], []
            for stream, chunks_of_it in under_way:
                try:
                    clips.append(next(chunks_of_it))
                except _UNREADABLE as error:
                    failures.append(_failure(stream.index, stream.sample, error))
                else:
                    seen.append((stream, chunks_of_it))
            if clips:
                yield EvalBatch(
                    torch.from_numpy(np.stack(clips)),
                    torch.tensor([stream.index for stream, _ in seen]),
                    torch.tensor([len(stream.times) == end for stream, _ in seen]),
                    worker,
                    end == ends[0],
                    tuple(failures),
                )
            elif failures:
                yield self._empty(worker, tuple(failures))
            under_way = [(stream, rest) for stream, rest in seen if len(stream.times) > end]


def _chunk_ends(lengths: Sequence[int], longest: int) -> list[int]:
    """After which frames chunks end: where a sample does, and after `longest` frames at most."""
    ends, seen = [], 0
    for length in sorted(set(lengths)):
        ends += [*range(seen + longest, length, longest), length]
        seen = length
    return ends


def _failure(index: int, sample: Sample, error: Exception) -> Failure:
    return Failure(index, sample.media.name, str(error))
