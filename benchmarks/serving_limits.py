"""What a server of streams takes and what it endures: memory, overload, bad readers, start, stop.

``python benchmarks/serving_limits.py [--streams 500] [--cycles 10]``. The server is the command
`movinet serve` in a process of its own, on loopback, with the model as an .mvn file of random
weights; clients are in this process. Each line says what was measured and what it should be.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

import movinet
from movinet.serving.frames import HEADER, Kind

MB = 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="a0_stream")
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--cycles", type=int, default=10, help="of 1,000 streams")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each load")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.mvn"
        movinet.export(movinet.create_model(options.model), path)
        start(path)
        memory(path, options.streams, options.seconds)
        cycles(path, options.cycles)
        overload(path, options.seconds)
        bad_readers(path, options.seconds)
        stop(path, Path(folder) / "streams")


class Served:
    """`movinet serve` in a process of its own."""

    def __init__(self, path: Path, *arguments: str) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            self.port = taken.getsockname()[1]
        command = [sys.executable, "-m", "movinet", "serve", str(path), "--port", str(self.port)]
        began = time.perf_counter()
        self.process = subprocess.Popen([*command, *arguments], stderr=subprocess.DEVNULL)
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30)
        while True:
            with contextlib.suppress(httpx.TransportError):
                if self.http.get("/v2/health/ready").status_code == 200:
                    break
            time.sleep(0.01)
        self.ready = time.perf_counter() - began

    @property
    def memory(self) -> float:
        """Bytes of the process that are in memory."""
        fields = Path(f"/proc/{self.process.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    def open(self, count: int, **options: Any) -> list[dict[str, Any]]:
        """New streams."""
        chosen = {"rules": None, "top": 1, "width": SIDE, "height": SIDE, **options}
        found = []
        for _ in range(count):
            answer = self.http.post("/v1/streams", json=chosen)
            answer.raise_for_status()
            found.append(answer.json())
        return found


SIDE = 172
PIXELS = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8).tobytes()


@contextlib.contextmanager
def served(path: Path, *arguments: str) -> Iterator[Served]:
    server = Served(path, *arguments)
    try:
        yield server
    finally:
        server.http.close()
        server.process.kill()
        server.process.wait()


def start(path: Path) -> None:
    times = []
    for _ in range(5):
        with served(path) as server:
            times.append(server.ready)
    print(f"ready after {min(times):.2f} to {max(times):.2f} s (at most 1.5)")


def memory(path: Path, count: int, seconds: float) -> None:
    with served(path, "--max-streams", str(count)) as server:
        base, opened = server.memory, server.open(count, rate=0.01)
        state = opened[0]["state_bytes"]
        results = asyncio.run(drive(server.port, opened, 1.0, seconds))
        found, allowed = server.memory - base, count * (state + 0.3 * MB)
        seen = sum(len(each) for each in results)
        print(
            f"{count} streams at 1/s: {found / MB:.0f} MB over {base / MB:.0f}, of "
            f"{state / MB:.2f} MB of state each (at most {allowed / MB:.0f}); {seen} results in "
            f"{seconds:g} s, {ages(results)}"
        )


def cycles(path: Path, count: int) -> None:
    with served(path) as server:
        sizes = []
        for _ in range(count):
            for _ in range(10):  # a hundred at a time
                opened = server.open(100, rate=0.1)
                asyncio.run(drive(server.port, opened, 0.0, 0.0))
                for each in opened:
                    server.http.delete(f"/v1/streams/{each['id']}")
            sizes.append(server.memory)
        first = sizes[1] if len(sizes) > 1 else sizes[0]
        drift = max(abs(size - first) for size in sizes[1:] or sizes) / MB
        print(f"1,000 streams opened, used and closed, {count} times: memory ±{drift:.1f} MB (10)")


def overload(path: Path, seconds: float) -> None:
    """Three times what the server can do, of streams that said that they would send less."""
    with served(path) as server:
        opened = server.open(16, rate=0.01)
        can = sum(map(len, asyncio.run(drive(server.port, opened, 0.0, 5.0)))) / 5.0
        count = max(8, round(3 * can / 5.0))
        opened += server.open(count - len(opened), rate=0.01) if count > len(opened) else []
        results = asyncio.run(drive(server.port, opened[:count], 5.0, seconds))
        counts = [len(each) for each in results]
        mean = statistics.mean(counts)
        spread = max(abs(each - mean) for each in counts) / mean
        server_ages = [each["age"] for rows in results for each in rows]
        p99 = statistics.quantiles(server_ages, n=100)[98]
        print(
            f"3 x overload ({count} streams at 5/s; the server can {can:.0f} frames/s): each got "
            f"{min(counts)} to {max(counts)} results, within {100 * spread:.0f} % of the mean "
            f"(10); age p99 {p99:.2f} s (0.4)"
        )
        refused = server.http.post("/v1/streams", json={"rate": 5.0})
        honest = served_until_full(path)
        print(
            f"a new one is refused: HTTP {refused.status_code} beside them; {honest} that say "
            "5/s get in"
        )


def served_until_full(path: Path) -> int:
    with served(path) as server:
        for number in range(2000):
            if server.http.post("/v1/streams", json={"rate": 5.0}).status_code == 503:
                return number
    return 2000


def bad_readers(path: Path, seconds: float) -> None:
    with served(path) as server:
        good = server.open(20, rate=0.01)
        before = asyncio.run(drive(server.port, good, 5.0, seconds))
        base = server.memory
        bad = server.open(20, rate=0.01)
        state = bad[0]["state_bytes"]
        after, closed = asyncio.run(beside_bad_readers(server, good, bad, seconds))
        grown = (server.memory - base) / len(bad) - state
        print(
            f"20 readers that never read: {len(closed)} closed, the last after "
            f"{max(closed.values(), default=0):.1f} s (10), {grown / MB:.2f} MB each beside the "
            f"state (1); the others {ages(before)} without them, {ages(after)} beside them"
        )


async def beside_bad_readers(
    server: Served, good: Sequence[Any], bad: Sequence[Any], seconds: float
) -> tuple[list[list[Any]], dict[str, float]]:
    """Results of the good ones, and when each bad one was let go."""
    closed: dict[str, float] = {}
    readers = [asyncio.create_task(never_reads(server.port, each["id"])) for each in bad]
    began, names = time.perf_counter(), {each["id"] for each in bad}

    async def look() -> None:
        await asyncio.sleep(2.0)
        while True:
            listed = (await asyncio.to_thread(server.http.get, "/v1/streams")).json()
            for each in listed:
                if each["id"] in names and not each["listeners"]:
                    closed.setdefault(each["id"], time.perf_counter() - began)
            await asyncio.sleep(0.5)

    watcher = asyncio.create_task(look())
    results = await drive(server.port, good, 5.0, seconds)
    for task in (*readers, watcher):
        task.cancel()
    await asyncio.gather(*readers, watcher, return_exceptions=True)
    return results, closed


async def never_reads(port: int, name: str) -> None:
    """Sends frames and asks for answers, for ever, and takes none from the socket."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    head = (
        f"GET /v1/streams/{name}/live HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    writer.write(head.encode())
    await reader.readuntil(b"\r\n\r\n")
    writer.transport.pause_reading()  # pyright: ignore[reportAttributeAccessIssue]
    text = b'{"type":"ping"}'
    frame = bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text
    try:
        with contextlib.suppress(ConnectionError, TimeoutError):
            while True:
                writer.write(frame * 50)
                await asyncio.wait_for(writer.drain(), 30)
                await asyncio.sleep(0.02)
    finally:
        writer.transport.abort()


def stop(path: Path, folder: Path) -> None:
    with served(path, "--snapshots", str(folder), "--interval", "60") as server:
        opened = server.open(100, rate=0.01)

        async def run() -> float:
            async with contextlib.AsyncExitStack() as stack:
                sockets = [
                    await stack.enter_async_context(opening(server.port, each["id"]))
                    for each in opened
                ]
                for each in sockets:
                    await each.recv()
                    await each.send(HEADER.pack(0, -1, Kind.RGB, 0) + PIXELS)
                for each in sockets:
                    await each.recv()
                server.process.send_signal(signal.SIGTERM)
                began = time.perf_counter()
                codes = await asyncio.gather(*(code_of(each) for each in sockets))
                await asyncio.to_thread(server.process.wait)
                print(f"codes of the close: {set(codes)} (1012)", end="; ")
                return time.perf_counter() - began

        took = asyncio.run(run())
        kept = len(list(folder.glob("*.stream")))
        print(f"SIGTERM with 100 streams: ended after {took:.2f} s (5), {kept} kept")


async def code_of(connection: ClientConnection) -> int | None:
    with contextlib.suppress(ConnectionClosed):
        while True:
            await connection.recv()
    return connection.close_code


@contextlib.asynccontextmanager
async def opening(port: int, name: str) -> AsyncIterator[ClientConnection]:
    url = f"ws://127.0.0.1:{port}/v1/streams/{name}/live"
    async with connect(url, subprotocols=[Subprotocol("movinet.1")], compression=None) as found:
        yield found


async def drive(
    port: int, opened: Sequence[Any], rate: float, seconds: float
) -> list[list[dict[str, Any]]]:
    """Send frames to streams: at a rate, or if it is 0 the next when one is answered.

    Returns:
        The results of each, with `latency`, seconds from sending to the result.
    """

    async def one(number: int, name: str) -> list[dict[str, Any]]:
        results: list[dict[str, Any]] = []
        sent: dict[int, float] = {}
        async with opening(port, name) as connection:
            await connection.recv()
            answered = asyncio.Event()

            async def read() -> None:
                async for text in connection:
                    message = json.loads(text)
                    if message["type"] == "result":
                        message["latency"] = time.perf_counter() - sent[message["sequence"]]
                        results.append(message)
                    answered.set()

            reader = asyncio.create_task(read())
            began = time.perf_counter() + number / len(opened) / max(rate, 1.0)
            end, sequence = time.perf_counter() + seconds, 0
            while not sequence or time.perf_counter() < end:
                if rate:
                    await asyncio.sleep(max(0.0, began + sequence / rate - time.perf_counter()))
                answered.clear()
                sent[sequence] = time.perf_counter()
                await connection.send(HEADER.pack(sequence, -1, Kind.RGB, 0) + PIXELS)
                sequence += 1
                if not rate:
                    await asyncio.wait_for(answered.wait(), 30)
            await asyncio.sleep(0.5 if rate else 0.0)
            reader.cancel()
        return results

    return await asyncio.gather(*(one(i, each["id"]) for i, each in enumerate(opened)))


def ages(results: Sequence[Sequence[dict[str, Any]]]) -> str:
    found = [each["latency"] for rows in results for each in rows]
    quantiles = statistics.quantiles(found, n=100)
    return f"p50 {1e3 * statistics.median(found):.1f}, p99 {1e3 * quantiles[98]:.1f} ms"


if __name__ == "__main__":
    main()
