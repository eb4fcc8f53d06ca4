"""Decoding speed: VideoReader beside a plain PyAV loop, on the same file in the same run.

``python benchmarks/decoding.py [VIDEO] [--rounds 9] [--threads AUTO]``; without a file it makes one
(1280x720, 300 frames). The two take turns, so that a machine that drifts slows both. A ratio above
1 means that VideoReader is faster; on a machine that others use too, the one of processor time is
the steadier.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from movinet.video import VideoReader, VideoWriter


def plain(path: Path, threads: str) -> int:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = threads  # pyright: ignore[reportAttributeAccessIssue]
        count = 0
        for frame in container.decode(stream):
            frame.to_ndarray(format="rgb24")
            count += 1
    return count


def ours(path: Path, threads: str) -> int:
    with VideoReader(path, thread_type=threads) as reader:  # pyright: ignore[reportArgumentType]
        return sum(1 for _ in reader)


def moving_pattern(path: Path) -> Path:
    """Noise drifting over a gradient: neither trivial nor hopeless to compress."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 60, (720, 1280, 3), np.uint8)
    ramp = np.linspace(0, 190, 1280, dtype=np.uint8)[None, :, None]
    with VideoWriter(path, 30) as writer:
        for i in range(300):
            writer.write(np.roll(noise, (i, 3 * i), (0, 1)) + ramp)
    return path


class Run(NamedTuple):
    """Frames per second of wall time and of processor time."""

    wall: float
    processor: float


def run(decode: Callable[[Path, str], int], path: Path, threads: str) -> Run:
    wall, processor = time.perf_counter(), time.process_time()
    count = decode(path, threads)
    return Run(count / (time.perf_counter() - wall), count / (time.process_time() - processor))


def summary(name: str, values: list[float], digits: int) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"  {name:<12}{middle:10.{digits}f}   quartiles {low:.{digits}f} to {high:.{digits}f}"


def measure(path: Path, rounds: int, threads: str) -> None:
    info = VideoReader(path).info
    print(f"{path.name}: {info.width}x{info.height} {info.codec}, threads {threads}")
    plain(path, threads)  # once for the file cache
    runs: dict[str, list[Run]] = {"plain PyAV": [], "VideoReader": []}
    for i in range(rounds):
        turn = [("plain PyAV", plain), ("VideoReader", ours)]
        for name, decode in turn if i % 2 else reversed(turn):
            runs[name].append(run(decode, path, threads))
    for kind in Run._fields:
        print(f"frames per second of {kind} time")
        rates = {name: [getattr(r, kind) for r in values] for name, values in runs.items()}
        for name, values in rates.items():
            print(summary(name, values, 1))
        print(summary("ratio", [b / a for a, b in zip(*rates.values(), strict=True)], 3))


def main() -> None:
    parser = argparse.ArgumentParser(description="Decoding speed beside a plain PyAV loop.")
    parser.add_argument("video", nargs="?", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", default="AUTO", choices=["AUTO", "FRAME", "SLICE", "NONE"])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.video or moving_pattern(Path(folder) / "pattern.mp4")
        measure(path, arguments.rounds, arguments.threads)


if __name__ == "__main__":
    main()
