"""Live video from a server on this machine: how old results are, and what it takes.

``python benchmarks/live.py [--seconds 60]``. A process sends 640x360 H.264 as MPEG-TS over HTTP, at
15 frames a second. Measured, one after the other: one source with the model as it is; one source
with a step made three ticks long (results must not get later, however long it lasts); eight sources
at a time with their results a second and the processor time of this process; four sources alone and
with four others that are dead in different ways; a camera of 1280x720 at 25 frames a second before
which nothing moves, without and with ``idle``; and connections that break again and again, with
memory before and after.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import numpy as np

import movinet
from movinet.live import LiveResult, watch

RATE, SIZE = 15, (360, 640)
STILL_RATE, STILL_SIZE = 25, (720, 1280)
#: What servers say that are of no use: nothing, or noise.
DEAD = ("silent", "noise", "short")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="a0_stream")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each part")
    parser.add_argument("--only", choices=PARTS, action="append", help="some of the parts")
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{options.model}.mvn"
        movinet.export(movinet.create_model(options.model), path)
        runtime: Any = movinet.load(path)
        port = context.Value("i", 0)
        server = context.Process(target=serve, args=(port,), daemon=True)
        server.start()
        while not port.value:
            time.sleep(0.05)
        url = f"http://127.0.0.1:{port.value}"
        try:
            for part in options.only or PARTS:
                PARTS[part](runtime, url, options.seconds)
        finally:
            server.terminate()


def one(runtime: Any, url: str, seconds: float) -> None:
    ages = [result.age for result in results(runtime, [url], seconds)]
    print(f"one source: {describe(ages)}")


def overloaded(runtime: Any, url: str, seconds: float) -> None:
    """A step of three ticks: the age is bounded by a tick and two steps, and does not grow."""
    tick = 1 / runtime.info.input.frame_rate
    times, ages, dropped, gaps = [], [], 0, 0
    for result in results(runtime, [url], seconds):
        time.sleep(3 * tick)
        times.append(time.monotonic())
        ages.append(result.age)
        dropped, gaps = dropped + result.dropped, gaps + result.gap
    slope = float(np.polyfit(np.array(times) - times[0], ages, 1)[0]) * 60_000
    print(f"a step of {3e3 * tick:.0f} ms: {describe(ages)}; slope {slope:+.2f} ms a minute")
    print(f"  {len(ages)} results, {dropped} frames dropped, {gaps} ticks missed")


def eight(runtime: Any, url: str, seconds: float) -> None:
    sources = [f"s{i}={url}/{i}" for i in range(8)]
    began, spent = time.monotonic(), sum(os.times()[:2])
    found = [(result.source, result.age) for result in results(runtime, sources, seconds)]
    wall, spent = time.monotonic() - began, sum(os.times()[:2]) - spent
    counts = [sum(source == f"s{i}" for source, _ in found) / seconds for i in range(8)]
    print(f"eight sources: {describe([age for _, age in found])}")
    print(
        f"  {min(counts):.2f} to {max(counts):.2f} results a second each, "
        f"{100 * spent / wall / len(os.sched_getaffinity(0)):.0f} % of the cores"
    )


def dead(runtime: Any, url: str, seconds: float) -> None:
    """Four sources, alone and beside dead ones, taking turns."""
    good = [f"s{i}={url}/{i}" for i in range(4)]
    others = [f"{name}={url}/{name}" for name in DEAD] + ["closed=http://127.0.0.1:9/"]
    ages: dict[bool, list[float]] = {False: [], True: []}
    turns = max(2, round(seconds / 10))
    for turn in range(2 * turns):
        with_dead = turn % 4 in (1, 2)
        sources = [*good, *others] if with_dead else good
        for result in results(runtime, sources, seconds / turns):
            # Everything starts at the same time once, and not again.
            if result.source.startswith("s") and result.source[1:].isdigit() and result.number > 10:
                ages[with_dead].append(result.age)
    print(f"four sources: {describe(ages[False])}; beside four dead ones: {describe(ages[True])}")


def still(runtime: Any, url: str, seconds: float) -> None:
    """The second half of the time counts: a stream comes to rest first."""
    for idle in (False, True):
        status: Any = None

        def see(now: Any) -> None:
            nonlocal status
            status = now

        held: list[bool] = []
        ages: list[float] = []
        at: tuple[float, float] | None = None
        for result in watch(f"{url}/still", runtime, idle=idle, seconds=seconds, on_status=see):
            if result.ended or result.time < seconds / 2:
                continue
            at = at or (time.monotonic(), time.process_time())
            held.append(result.held)
            ages.append(result.age)
        assert at is not None
        spent, wall = time.process_time() - at[1], time.monotonic() - at[0]
        print(
            f"a still camera, idle={idle}: {100 * spent / wall:.1f} % of a core; {describe(ages)}"
        )
        print(
            f"  {sum(held)} of {len(held)} results without a step; "
            f"{status.undecoded} of {status.frames} frames not decoded"
        )


def reconnecting(runtime: Any, url: str, seconds: float) -> None:
    """Connections that end after two seconds."""
    found, before, reconnects = 0, 0.0, []
    statuses: list[int] = []
    watched = watch(
        f"{url}/short", runtime, seconds=seconds, on_status=lambda s: statuses.append(s.reconnects)
    )
    for result in watched:
        found += not result.ended
        if found == 20:
            before = resident()
    reconnects = max(statuses, default=0)
    print(f"connections of 2 s: {found} results, {reconnects} reconnections")
    print(f"  memory {before:.1f} MB after 20 results, {resident():.1f} MB at the end")


PARTS = {part.__name__: part for part in (one, overloaded, eight, dead, still, reconnecting)}


def results(runtime: Any, sources: list[str], seconds: float) -> Iterator[LiveResult]:
    for result in watch(sources, runtime, seconds=seconds):
        if not result.ended:
            yield result


def describe(ages: list[float]) -> str:
    quantiles = statistics.quantiles(ages, n=100)
    return f"age p50 {1e3 * quantiles[49]:.1f} ms, p99 {1e3 * quantiles[98]:.1f} ms"


def resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def serve(port: Any) -> None:
    """Sends a film for ever, at its own pace; two seconds of it under /short; see `DEAD`."""
    moving = film(600, SIZE, RATE, step=8), RATE
    still = film(120, STILL_SIZE, STILL_RATE, step=0), STILL_RATE

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "video/mp2t")
            self.end_headers()
            parts, rate = still if "still" in self.path else moving
            began = time.monotonic()
            try:
                if "silent" in self.path:
                    time.sleep(3600)
                elif "noise" in self.path:
                    self.wfile.write(os.urandom(1 << 20))
                for number, part in enumerate(parts[: 2 * RATE if "short" in self.path else None]):
                    time.sleep(max(0.0, began + number / rate - time.monotonic()))
                    self.wfile.write(part)
            except OSError:
                return

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    port.value = server.server_port
    server.serve_forever()


def film(seconds: int, size: tuple[int, int], rate: int, *, step: int) -> list[bytes]:
    """MPEG-TS, in parts of a frame: something moves over a picture that stays."""
    buffer, parts = io.BytesIO(), []
    height, width = size
    generator = np.random.default_rng(0)
    tiles = generator.integers(0, 256, (9, 16, 3), np.uint8)
    background = np.kron(tiles, np.ones((height // 9, width // 16, 1), np.uint8))
    with av.open(buffer, "w", format="mpegts", options={"flush_packets": "1"}) as container:
        options = {"preset": "ultrafast", "tune": "zerolatency", "g": str(2 * rate)}
        stream: Any = container.add_stream("libx264", rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(seconds * rate):
            picture = background.copy()
            left = step * number % (width - 80)
            picture[140:220, left : left + 80] = 255
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number * 90_000 // rate, Fraction(1, 90_000)
            container.mux(stream.encode(frame))
            parts.append(buffer.getvalue())
            buffer.seek(0)
            buffer.truncate()
    return [part for part in parts if part]


if __name__ == "__main__":
    main()
