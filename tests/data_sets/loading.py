"""Data sets of made-up videos that need no decoding, and what batches of them show."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from movinet.data.samples import DataSet, Sample
from movinet.errors import VideoError
from movinet.training.batches.loader import Batch
from movinet.training.config import TrainConfig
from movinet.training.recipes import check
from movinet.video.container import SkippedPacket
from movinet.video.pixels import Image
from unstored import Unstored
from video.synthetic import number_of, numbered


@dataclass(frozen=True)
class Numbered(Unstored):
    """A square video of 25 frames a second that shows `first` plus the number of the frame."""

    name: str
    first: int = 0
    seconds: float = 4.0

    def extent(self) -> tuple[float, float]:
        return 0.0, self.seconds

    def told_end(self) -> float:
        return 0.0

    def frames(
        self, times: Sequence[float], slack: float, skipped: list[SkippedPacket]
    ) -> Iterator[Image]:
        del skipped
        last = round(self.seconds * 25) - 1
        for moment in times:
            yield numbered(self.first + min(int((moment + slack) * 25), last), 40, 40)


@dataclass(frozen=True)
class Broken(Numbered):
    def extent(self) -> tuple[float, float]:
        raise VideoError(f"{self.name}: not a video")


@dataclass(frozen=True)
class Away(Numbered):
    """Can be read unless its disk is away."""

    away: ClassVar[bool] = False

    def extent(self) -> tuple[float, float]:
        if Away.away:
            raise VideoError(f"{self.name}: no such file")
        return super().extent()


@dataclass(frozen=True)
class Deadly(Numbered):
    """Ends the process that reads it."""

    def extent(self) -> tuple[float, float]:
        os._exit(3)


@dataclass(frozen=True)
class Slow(Numbered):
    def extent(self) -> tuple[float, float]:
        time.sleep(0.05)
        return super().extent()


def data_of(*media: Numbered, labels: int = 3, multi_label: bool = False) -> DataSet:
    samples = []
    for i, each in enumerate(media):
        numbers = (i % labels, (i + 1) % labels) if multi_label and i % 2 else (i % labels,)
        samples.append(Sample(f"sample {i}", each, numbers))
    names = tuple(f"class {i}" for i in range(labels))
    return DataSet("made-up", tuple(samples), names, multi_label)


def videos(count: int, **options: Any) -> list[Numbered]:
    return [Numbered(f"{i}.mp4", 0, **options) for i in range(count)]


def config_of(**changes: Any) -> TrainConfig:
    """Small clips with everything random off; `augment__flip=0.5` changes a section's key."""
    values: dict[str, Any] = {
        "model": {"preset": "t0_stream"},
        "input": {
            "image_size": 32,
            "short_side": 32,
            "frame_rate": 5.0,
            "train_frames": 6,
            "test_frames": 8,
        },
        "data": {"workers": 0},
        "augment": {"crop_area": (1, 1), "crop_aspect": (0.2, 5), "flip": 0},
        "optimizer": {"learning_rate": 0.1},
        "schedule": {"steps": 1},
        "engine": {"batch_size": 4},
    }
    for key, value in changes.items():
        section, name = key.split("__")
        values.setdefault(section, {})[name] = value
    return check(values, "test")


def same(some: Iterable[Batch], others: Iterable[Batch]) -> bool:
    """Whether two runs of batches are equal in everything."""
    return all(
        torch.equal(a.video, b.video)
        and torch.equal(a.targets, b.targets)
        and torch.equal(a.indices, b.indices)
        and a.failures == b.failures
        for a, b in zip(some, others, strict=True)
    )


def numbers(video: torch.Tensor) -> list[list[int]]:
    """Which frames the clips of a batch show."""
    return [[number_of(np.asarray(frame)) for frame in clip] for clip in video]
