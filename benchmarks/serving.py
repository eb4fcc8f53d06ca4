"""A server of streams under load from other processes, beside what others do with batches.

``python benchmarks/serving.py [--streams 100] [--rate 5] [--seconds 60]``. Clients in processes of
their own send raw frames of the model's size over WebSockets. Printed are the time from sending a
frame to its result, the frames that were dropped, and the engine's own step measured in the same
run. The same load then meets a scheduler that waits for a window of 10 ms and steps what came in it
together, as batching servers do. At last every stream sends as fast as it can: frames a second
beside those of the bare engine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

import movinet
from movinet.serving import hub as hubs
from movinet.serving.app import create_app
from movinet.serving.frames import HEADER, Kind
from movinet.serving.guard import Access
from movinet.serving.hub import Hub, HubOptions
from movinet.serving.metrics import Metrics
from movinet.serving.options import StreamOptions
from movinet.serving.scheduler import Scheduler
from movinet.serving.server import listen, make_server

WINDOW = 0.01


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="a0_stream")
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--rate", type=float, default=5.0, help="frames a second of each")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--clients", type=int, default=2, help="processes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{options.model}.mvn"
        movinet.export(movinet.create_model(options.model), path)
        measure(path, options)


def measure(path: Path, options: argparse.Namespace) -> None:
    runtime = movinet.load(path)
    step = engine_step(runtime)
    print(f"engine alone: {1e3 * step:.2f} ms a frame, one thread")
    load = (options.streams, options.rate, options.seconds)
    print(f"{options.streams} streams at {options.rate:g} frames a second, {options.seconds:g} s")
    print(f"{'':24} {'p50':>8} {'p99':>8} ms   in steps    results of sent    dropped")
    for name, window in (("newest first, no window", 0.0), ("window of 10 ms", WINDOW)):
        results = run(runtime, options, load, window)
        show(name, results, step)
    seconds = min(options.seconds, 15.0)
    results = run(runtime, options, (options.streams, 0.0, seconds), 0.0)
    found = len(results["ages"]) / seconds
    bare = bare_rate(runtime, options.workers)
    print(f"saturated: {found:.0f} frames/s; engine alone on {options.workers} threads {bare:.0f}")
    print(f"ratio {found / bare:.2f} (clients, sockets and Python take the rest)")


def show(name: str, results: dict[str, Any], step: float) -> None:
    ages = results["ages"]
    quantiles = statistics.quantiles(ages, n=100)
    p50, p99 = statistics.median(ages), quantiles[98]
    print(
        f"{name:24} {1e3 * p50:8.2f} {1e3 * p99:8.2f}      {p50 / step:4.1f} {p99 / step:5.1f}    "
        f"{len(ages)} of {results['sent']}    {results['dropped']}"
    )


def engine_step(runtime: Any) -> float:
    """Median seconds of a step with one thread."""
    stream, frame = runtime.stream(), frame_of(runtime)
    times = []
    for _ in range(200):
        began = time.perf_counter()
        runtime.step([stream], [frame])
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def bare_rate(runtime: Any, workers: int) -> float:
    """Frames a second of the engine alone, a stream a thread."""
    counts, end = [0] * workers, time.perf_counter() + 4

    def work(number: int) -> None:
        stream, frame = runtime.stream(), frame_of(runtime)
        while time.perf_counter() < end:
            runtime.step([stream], [frame])
            counts[number] += 1

    threads = [threading.Thread(target=work, args=(i,)) for i in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / 4


def frame_of(runtime: Any) -> np.ndarray:
    side = runtime.info.input.image_size
    return np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)


class Windowed(Scheduler):
    """Waits for more before it steps, as batching servers do."""

    def _take(self) -> list[Any]:
        with self._wake:
            while not self._ready and not self._stopped:
                self._wake.wait()
        time.sleep(WINDOW)
        return super()._take()


def run(
    runtime: Any, options: argparse.Namespace, load: tuple[int, float, float], window: float
) -> dict[str, Any]:
    """A server in this process, and its clients in others."""
    hubs.Scheduler = Windowed if window else Scheduler
    hubs.USABLE = 1e9  # what is measured is too much for it
    hub = Hub({"model": runtime}, HubOptions(options.workers, 10_000), Metrics())
    with listen("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        server = make_server(create_app(hub, Access()), hub, "127.0.0.1", 0)
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        side = runtime.info.input.image_size
        names = []
        for _ in range(load[0]):
            chosen = StreamOptions(width=side, height=side, rules=None, top=1)
            names.append(hub.create(chosen).id)
        shares = [(port, names[i :: options.clients], side, load) for i in range(options.clients)]
        with multiprocessing.get_context("spawn").Pool(options.clients) as pool:
            parts = pool.map(client, shares)
        server.should_exit = True
        thread.join()
    return {
        "ages": [age for part in parts for age in part[0]],
        "sent": sum(part[1] for part in parts),
        "dropped": sum(part[2] for part in parts),
    }


def client(share: tuple[int, list[str], int, Any]) -> tuple[list[float], int, int]:
    """Some streams in one process: seconds from a frame to its result, frames sent, dropped."""
    return asyncio.run(_client(*share))


async def _client(port: int, names: list[str], side: int, load: Any) -> Any:
    ages: list[float] = []
    counts = [0, 0]
    pixels = np.random.default_rng(1).integers(0, 256, (side, side, 3), np.uint8).tobytes()
    _, rate, seconds = load

    async def one(number: int, name: str) -> None:
        sent: dict[int, float] = {}
        url = f"ws://127.0.0.1:{port}/v1/streams/{name}/live"
        async with connect(
            url, subprotocols=[Subprotocol("movinet.1")], compression=None
        ) as socket:
            await socket.recv()
            answered = asyncio.Event()

            async def read() -> None:
                async for text in socket:
                    message = json.loads(text)
                    if message["type"] == "result":
                        ages.append(time.perf_counter() - sent[message["sequence"]])
                        counts[1] += message["dropped"]
                        answered.set()

            reader = asyncio.create_task(read())
            began = time.perf_counter() + (number / max(1, len(names))) / max(rate, 1)
            end, sequence = time.perf_counter() + seconds, 0
            while time.perf_counter() < end:
                if rate:
                    await asyncio.sleep(max(0.0, began + sequence / rate - time.perf_counter()))
                sent[sequence] = time.perf_counter()
                await socket.send(HEADER.pack(sequence, -1, Kind.RGB, 0) + pixels)
                sequence += 1
                counts[0] += 1
                if not rate:
                    answered.clear()
                    await asyncio.wait_for(answered.wait(), 30)
            await asyncio.sleep(1.0)
            reader.cancel()

    await asyncio.gather(*(one(i, name) for i, name in enumerate(names)))
    return ages, counts[0], counts[1]


if __name__ == "__main__":
    main()
