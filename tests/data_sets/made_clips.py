"""Small videos of things that move before a background, and data sets of them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from movinet.data.samples import DataSet, Sample
from movinet.video import VideoWriter
from movinet.video.media import VideoFile

RATE = 12


def background(seed: int, height: int = 48, width: int = 64) -> np.ndarray:
    """(height, width, 3) smooth hills of grey and colour, other ones for every seed."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    hills = sum(
        np.sin(x / rng.uniform(5, 20) + rng.uniform(0, 6)) * np.cos(y / rng.uniform(5, 20))
        for _ in range(3)
    )
    return 120 + 35 * np.asarray(hills)[..., None] + rng.uniform(-20, 20, 3)


def images(scene: int, path: int, count: int = 24) -> list[np.ndarray]:
    """Frames of a disc that moves before the background `scene` as `path` says."""
    rng = np.random.default_rng(path)
    picture = background(scene)
    y, x = np.mgrid[: picture.shape[0], : picture.shape[1]]
    start, speed, radius = rng.uniform(15, 33, 2), rng.uniform(-1.2, 1.2, 2), rng.uniform(5, 8)
    frames = []
    for i in range(count):
        disc = (y - start[0] - i * speed[0]) ** 2 + (x - start[1] - i * speed[1]) ** 2 < radius**2
        frames.append(np.clip(np.where(disc[..., None], [230, 210, 90], picture), 0, 255))
    return [frame.astype(np.uint8) for frame in frames]


def write_clip(
    path: Path,
    scene: int,
    motion: int | None = None,
    *,
    count: int = 24,
    rate: float = RATE,
    crf: int = 18,
    step: int = 1,
) -> Path:
    """Write a clip; `step` leaves out pixels, so that it is smaller."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(path, rate, crf) as writer:
        for image in images(scene, scene if motion is None else motion, count):
            writer.write(np.ascontiguousarray(image[::step, ::step]))
    return path


def sample(path: Path, label: int = 0, **more: object) -> Sample:
    return Sample(path.name, VideoFile(path, "NONE"), (label,), **more)  # type: ignore[arg-type]


def data_set(*samples: Sample, labels: tuple[str, ...] = ("a", "b")) -> DataSet:
    return DataSet("made", samples, labels)


def die(*_arguments: object) -> None:
    """What a process does that is ended from outside."""
    os._exit(1)
