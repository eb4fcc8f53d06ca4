"""Runs of a small network on made-up videos that need no decoding; also as a program.

``python tiny_runs.py key=value ...`` does one run, as `movinet train` would.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from movinet.data.samples import DataSet, Sample
from movinet.errors import MovinetError, VideoError
from movinet.training import inputs
from movinet.training.config import TrainConfig
from movinet.training.recipes import check
from movinet.training.run import run
from movinet.video.container import SkippedPacket
from movinet.video.pixels import Image

# As a program it finds the modules beside it, and not those that all tests share.
sys.path.append(str(Path(__file__).parents[1]))
from unstored import Unstored

LABELS = ("dark", "light", "striped")


@dataclass(frozen=True)
class MadeUp(Unstored):
    """Two seconds of noise on a ground that tells the class; `bad` ones cannot be read."""

    name: str
    label: int
    seed: int
    bad: bool = False

    def extent(self) -> tuple[float, float]:
        if self.bad:
            raise VideoError(f"{self.name}: not a video")
        return 0.0, 2.0

    def told_end(self) -> float:
        return 2.0

    def frames(
        self, times: Sequence[float], slack: float, skipped: list[SkippedPacket]
    ) -> Iterator[Image]:
        del slack, skipped
        for time in times:
            noise = np.random.default_rng((self.seed, round(time * 1000)))
            image = noise.integers(0, 60, (40, 48, 3), dtype=np.uint8)
            image += np.uint8((20, 150, 80)[self.label])
            if self.label == 2:
                image[::8] += np.uint8(90)
            yield image


def made_up_data(where: str, **options: Any) -> DataSet:
    """``train:12`` has 12 samples, ``train:12:5:7`` bad ones at 5 and 7."""
    name, count, *bad = where.split(":")
    first = 1000 if name == "valid" else 0
    samples = []
    for i in range(int(count)):
        labels = (i % 3, (i + 1) % 3) if options.get("multi_label") and i % 2 else (i % 3,)
        media = MadeUp(f"{name}/{i}.mp4", i % 3, first + i, str(i) in bad)
        samples.append(Sample(f"{name}-{i}", media, labels))
    labels = options.get("labels") or LABELS
    return DataSet(where, tuple(samples), labels, bool(options.get("multi_label")))


def tiny_config(folder: Path | str, **changes: Any) -> TrainConfig:
    """A short run; changes have dots as double underscores: ``engine__batch_size=4``."""
    values: dict[str, Any] = {
        "model": {"preset": "t0_stream", "overrides": {"dropout": 0.3, "drop_path": 0.2}},
        "input": {
            "image_size": 32,
            "short_side": 32,
            "frame_rate": 2.0,
            "train_frames": 2,
            "test_frames": 2,
        },
        "data": {"train": "train:10", "valid": "valid:5", "workers": 0},
        "optimizer": {"learning_rate": 0.05},
        "schedule": {"steps": 4, "warmup_steps": 1},
        "engine": {"batch_size": 4, "ema": 0.9, "threads": 1, "device": "cpu"},
        "run": {
            "folder": str(folder),
            "log_steps": 1,
            "eval_epochs": 1,
            "eval_batch_size": 2,
            "checkpoint_seconds": 1000,
        },
    }
    for key, value in changes.items():
        *sections, last = key.split("__")
        place = values
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value
    return check(values, "tiny")


def main() -> None:
    inputs.open_data = made_up_data
    import yaml

    folder, *changes = sys.argv[1:]
    pairs = (change.split("=", 1) for change in changes)
    values = {key.replace(".", "__"): yaml.safe_load(value) for key, value in pairs}
    try:
        run(tiny_config(folder, **values))
    except MovinetError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    import tiny_runs  # workers import classes from there; they never see this program

    tiny_runs.main()
