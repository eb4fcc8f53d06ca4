"""Streams on LitServe and BentoML, with a dictionary of states by hand, beside `movinet serve`.

``python benchmarks/serving_alternatives.py [--python VENV/bin/python] [--streams 40] [--rate 5]``.
Neither has sequences, so each keeps a dictionary of streams by id in its one worker process, and
takes a frame of raw pixels (base64 in JSON) a request. The same clients ask all three in one run:
each stream sends a frame when it is due, or drops it while the last one is not answered. LitServe
and BentoML may be installed in an environment of their own, beside movinet; those that are not
there are left out, which is said.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from websockets.asyncio.client import connect

import movinet
from movinet.serving.frames import HEADER, Kind
from serving_limits import SIDE, served

PIXELS = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8).tobytes()
LITSERVE = f"""
import base64, sys
import litserve, numpy as np, movinet

class Streams(litserve.LitAPI):
    def setup(self, device):
        self.model, self.streams = movinet.load(sys.argv[1]), {{}}

    def decode_request(self, request):
        pixels = np.frombuffer(base64.b64decode(request["frame"]), np.uint8)
        return request["stream"], pixels.reshape({SIDE}, {SIDE}, 3)

    def predict(self, given):
        name, frame = given
        if name not in self.streams:
            self.streams[name] = self.model.stream(half_life=5.0)
        return self.streams[name](frame)

    def encode_response(self, row):
        best = int(row.argmax())
        return {{"label": best, "probability": float(row[best])}}

if __name__ == "__main__":
    server = litserve.LitServer(Streams(), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False)
"""
BENTOML = f"""
import base64, os
import bentoml, numpy as np, movinet

@bentoml.service(workers=1, traffic={{"timeout": 60}})
class Streams:
    def __init__(self):
        self.model, self.streams = movinet.load(os.environ["MODEL"]), {{}}

    @bentoml.api
    def predict(self, stream: str, frame: str) -> dict:
        pixels = np.frombuffer(base64.b64decode(frame), np.uint8).reshape({SIDE}, {SIDE}, 3)
        if stream not in self.streams:
            self.streams[stream] = self.model.stream(half_life=5.0)
        row = self.streams[stream](pixels)
        best = int(row.argmax())
        return {{"label": best, "probability": float(row[best])}}
"""
Ask = Callable[[], Awaitable[None]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="a0_stream")
    parser.add_argument("--python", default=sys.executable, help="with LitServe and BentoML")
    parser.add_argument("--streams", type=int, default=40)
    parser.add_argument("--rate", type=float, default=5.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.mvn"
        movinet.export(movinet.create_model(options.model), path)
        print(f"{options.streams} streams at {options.rate:g} frames a second")
        load = (options.streams, options.rate, options.seconds)
        with served(path) as server:
            show("movinet serve", asyncio.run(ask_movinet(server, load)), load)
        for name in ("litserve", "bentoml"):
            ask_other(name, path, options.python, load)


def show(name: str, ages: list[float], load: tuple[int, float, float]) -> None:
    due = load[0] * load[1] * load[2]
    quantiles = statistics.quantiles(ages, n=100)
    print(
        f"{name:16} p50 {1e3 * statistics.median(ages):7.1f} ms, p99 {1e3 * quantiles[98]:7.1f} ms,"
        f" {len(ages) / load[2]:6.1f} frames/s ({100 * len(ages) / due:.0f} % of those due)",
        flush=True,
    )


async def at_rate(ask: Ask, number: int, load: tuple[int, float, float], ages: list[float]) -> None:
    """A stream: ask when a frame is due; one that is due while an answer is waited for is lost."""
    count, rate, seconds = load
    began = time.perf_counter() + number / count / rate
    end = time.perf_counter() + seconds
    due = 0
    while time.perf_counter() < end:
        await asyncio.sleep(max(0.0, began + due / rate - time.perf_counter()))
        sent = time.perf_counter()
        with contextlib.suppress(httpx.TransportError):  # a server may end an idle connection
            await ask()
            ages.append(time.perf_counter() - sent)
        due = max(due + 1, int((time.perf_counter() - began) * rate) + 1)


async def ask_movinet(server: Any, load: tuple[int, float, float]) -> list[float]:
    ages: list[float] = []
    opened = server.open(load[0], rate=0.01)

    async def one(number: int, name: str) -> None:
        url = f"ws://127.0.0.1:{server.port}/v1/streams/{name}/live"
        async with connect(url, compression=None) as connection:
            await connection.recv()

            async def ask() -> None:
                await connection.send(HEADER.pack(0, -1, Kind.RGB, 0) + PIXELS)
                await connection.recv()

            await at_rate(ask, number, load, ages)

    await asyncio.gather(*(one(i, each["id"]) for i, each in enumerate(opened)))
    return ages


def ask_other(name: str, path: Path, python: str, load: tuple[int, float, float]) -> None:
    found = subprocess.run([python, "-c", f"import {name}, movinet"], capture_output=True)
    if found.returncode:
        print(f"{name:16} is not installed for {python}")
        return
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    folder = path.parent
    if name == "litserve":
        (folder / "lit.py").write_text(LITSERVE)
        command = [python, "lit.py", str(path), str(port)]
    else:
        (folder / "bento.py").write_text(BENTOML)
        command = [python, "-m", "bentoml", "serve", "bento:Streams", "--port", str(port)]
        command += ["--host", "127.0.0.1"]
    environment = {
        **os.environ,
        "MODEL": str(path),
        "BENTOML_DO_NOT_TRACK": "True",
        "BENTOML_HOME": str(folder / "bento"),
    }
    process = subprocess.Popen(
        command, cwd=folder, env=environment, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        ages = asyncio.run(ask_http(port, load))
        show(name, ages, load)
    finally:
        with contextlib.suppress(ProcessLookupError):  # it and the workers that it started
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


async def ask_http(port: int, load: tuple[int, float, float]) -> list[float]:
    ages: list[float] = []
    frame = base64.b64encode(PIXELS).decode()
    limits = httpx.Limits(max_connections=load[0], max_keepalive_connections=load[0])
    url = f"http://127.0.0.1:{port}/predict"
    async with httpx.AsyncClient(limits=limits, timeout=60) as client:
        end = time.monotonic() + 60
        while True:
            with contextlib.suppress(httpx.TransportError):
                answer = await client.post(url, json={"stream": "first", "frame": frame})
                if answer.status_code == 200:
                    break
            if time.monotonic() > end:
                raise SystemExit(f"the server at {url} does not answer")
            await asyncio.sleep(0.2)

        async def one(number: int) -> None:
            async def ask() -> None:
                body = {"stream": str(number), "frame": frame}
                (await client.post(url, json=body)).raise_for_status()

            await at_rate(ask, number, load, ages)

        await asyncio.gather(*(one(number) for number in range(load[0])))
    return ages


if __name__ == "__main__":
    main()
