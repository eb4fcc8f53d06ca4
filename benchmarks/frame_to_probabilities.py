"""From a compressed frame to probabilities: decoding, resizing and one step, per frame of a video.

``python benchmarks/frame_to_probabilities.py [VIDEO] [--models a0_stream a2_stream]``. For each
model the exported files (LiteRT's .tflite, the native engine's .mvn in float32 and int8) take turns
over the same frames on one thread; without a video it makes one (1280x720). Decoding alone is
measured in the same rounds.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import movinet
from decoding import moving_pattern
from movinet.network.model import MoViNet
from movinet.runtime.exported import ExportedRuntime
from movinet.video import VideoReader
from movinet.weights.factory import create_model

FILES = {"tflite": ("tflite", None), "mvn": ("mvn", None), "mvn int8": ("mvn", "dynamic")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video", type=Path, nargs="?")
    parser.add_argument("--models", nargs="+", default=["a0_stream", "a2_stream"])
    parser.add_argument("--frames", type=int, default=30, help="of every turn")
    parser.add_argument("--rounds", type=int, default=8)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        video = options.video or moving_pattern(Path(folder) / "video.mp4")
        for name in options.models:
            measure(name, export(name, Path(folder)), video, options)


def export(name: str, folder: Path) -> dict[str, ExportedRuntime]:
    model = create_model(name)
    assert isinstance(model, MoViNet)
    runtimes = {}
    for label, (suffix, quantize) in FILES.items():
        path = folder / f"{name}_{quantize}.{suffix}"
        movinet.export(model, path, quantize=quantize)
        runtimes[label] = movinet.load(path)
    return runtimes


def frames_of(video: Path) -> Iterator[np.ndarray]:
    while True:
        with VideoReader(video, thread_type="NONE") as reader:
            yield from (frame.image for frame in reader)


def measure(
    name: str,
    runtimes: dict[str, ExportedRuntime],
    video: Path,
    options: argparse.Namespace,
) -> None:
    streams = {label: runtime.stream() for label, runtime in runtimes.items()}
    times: dict[str, list[float]] = {"decode": [], **{label: [] for label in streams}}
    frames = frames_of(video)
    shape = next(frames).shape
    for _ in range(options.rounds):
        images = []
        for _ in range(options.frames):
            start = time.perf_counter()
            images.append(next(frames))
            times["decode"].append(time.perf_counter() - start)
        for label, stream in streams.items():
            for image in images:
                start = time.perf_counter()
                stream(image)
                times[label].append(time.perf_counter() - start)
    print(f"\n{name}, frames of {shape[1]}x{shape[0]}, ms: 25 %, median, 75 %")
    decode = statistics.median(times["decode"])
    first = None
    for label, values in times.items():
        low, median, high = statistics.quantiles(values, n=4)
        text = f"  {label:10} {low * 1e3:7.2f} {median * 1e3:7.2f} {high * 1e3:7.2f}"
        if label != "decode":
            whole = decode + median
            first = first or whole
            text += f"   with decoding {whole * 1e3:7.2f}, ratio to the first {whole / first:.2f}"
        print(text)


if __name__ == "__main__":
    main()
