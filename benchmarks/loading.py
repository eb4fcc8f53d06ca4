"""Training clips a second: the loader by number of workers, beside a plain PyAV loop.

``python benchmarks/loading.py [--videos FOLDER] [--rounds 5] [--workers 0 1 2]``; without a folder
it makes videos (340x256, 10 seconds of 25 frames, as Kinetics is kept). A clip is that of the
published recipes: 50 frames over 10 seconds, cropped at random to 172 pixels and flipped. The plain
loop decodes the same files in one thread and makes RGB pictures of the same number of frames, but
crops and resizes nothing. All take turns; a loader starts each turn with nothing prefetched.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np

from movinet.data.samples import DataSet, Sample
from movinet.training.batches.loader import TrainLoader
from movinet.training.recipes import load_config
from movinet.video import VideoFile, VideoWriter, find_videos

BATCH, BATCHES = 4, 8
FRAMES = 50


def plain(paths: list[Path]) -> None:
    for i in range(BATCH * BATCHES):
        with av.open(str(paths[i % len(paths)])) as container:
            stream = container.streams.video[0]
            stream.thread_type = "NONE"
            every = max(1, stream.frames // FRAMES)
            for k, frame in enumerate(container.decode(stream)):
                if k % every == 0:
                    frame.to_ndarray(format="rgb24")


def ours(data: DataSet, workers: int, policy: str = "none") -> Callable[[], None]:
    config = load_config(
        "a0_base",
        [
            f"data.workers={workers}",
            "data.prefetch=1",
            f"engine.batch_size={BATCH}",
            f"augment.policy={policy}",
        ],
    )
    loader = TrainLoader(data, config)
    epoch = 0

    def run() -> None:
        nonlocal epoch
        count = 0
        while count < BATCHES:
            for _ in loader.batches(epoch):
                count += 1
                if count == BATCHES:
                    break
            epoch += 1
        epoch += 1  # what was prefetched is not what comes next

    return run


def make_videos(folder: Path, count: int) -> None:
    """Blurred noise that drifts: about as hard to decode as a film."""
    for i in range(count):
        rng = np.random.default_rng(i)
        coarse = rng.integers(0, 256, (32, 42, 3), dtype=np.uint8)
        picture = np.kron(coarse, np.ones((8, 8, 1), np.uint8))
        grain = rng.integers(0, 12, picture.shape, dtype=np.uint8)
        picture = picture // 2 + grain
        with VideoWriter(folder / f"{i}.mp4", 25) as writer:
            for k in range(250):
                writer.write(np.roll(picture, (k, 2 * k), (0, 1))[:256, :336])


def measure(runs: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Clips a second of each turn."""
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for i in range(rounds + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds = time.perf_counter() - start
            if i:  # the first turn starts workers and fills the file cache
                rates[name].append(BATCH * BATCHES / seconds)
            time.sleep(0.5 * seconds)  # workers finish what they have begun
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=Path, help="a folder of videos")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.videos is None:
            make_videos(Path(folder), 8)
        paths = find_videos([options.videos or Path(folder)])
        samples = tuple(Sample(str(p), VideoFile(p, "NONE"), (0,)) for p in paths)
        data = DataSet("videos", samples, ("any",))
        runs: dict[str, Callable[[], None]] = {"plain PyAV": lambda: plain(paths)}
        for workers in options.workers:
            runs[f"{workers} workers"] = ours(data, workers)
        most = max(options.workers)
        runs[f"{most} workers, AutoAugment"] = ours(data, most, "autoaugment")
        rates = measure(runs, options.rounds)
    base = statistics.median(rates["plain PyAV"])
    print(f"{'clips a second':24} {'25 %':>8} {'median':>8} {'75 %':>8}   ratio to plain")
    for name, values in rates.items():
        low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
        print(f"{name:24} {low:8.2f} {middle:8.2f} {high:8.2f}   {middle / base:8.2f}")


if __name__ == "__main__":
    main()
