"""Servers for tests: in a thread of this process, or in a process of their own."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import movinet
from movinet.serving.app import create_app
from movinet.serving.guard import Access
from movinet.serving.hub import Hub, HubOptions
from movinet.serving.metrics import Metrics
from movinet.serving.server import listen, make_server

SIZE = (40, 56)  # height and width of the frames that tests send
#: Options of streams of such frames.
SIDES = {"height": SIZE[0], "width": SIZE[1]}
TEN = {**SIDES, "top": 10, "half_life": None}


def pictures(seed: int, count: int) -> NDArray[np.uint8]:
    """Noise that drifts, so that every frame counts."""
    generator = np.random.default_rng(seed)
    base = generator.integers(0, 256, (*SIZE, 3), np.uint8)
    return np.stack([np.roll(base, 3 * number, axis=1) for number in range(count)])


@contextlib.contextmanager
def served(
    access: Access | None = None, runtime: Any = None, **options: Any
) -> Iterator[tuple[str, Hub]]:
    """A server in a thread; yields its URL and its streams."""
    runtime = movinet.load("motions") if runtime is None else runtime
    hub = Hub({"motions": runtime}, HubOptions(**options), Metrics())
    app = create_app(hub, access or Access(), max_upload=10 * 2**20)
    with listen("127.0.0.1", 0) as listening:
        server = make_server(app, hub, "127.0.0.1", 0)
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}", hub
        finally:
            server.should_exit = True
            thread.join()


class Process:
    """`movinet serve` as a user starts it."""

    def __init__(self, *arguments: str | Path, token: str | None = None) -> None:
        port = () if "--port" in arguments else ("--port", "0")
        command = [*self.command(), *map(str, arguments), *port]
        environment = {k: v for k, v in os.environ.items() if k != "MOVINET_TOKEN"}
        if token is not None:
            environment["MOVINET_TOKEN"] = token
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        self.said = ""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said += line
            if found := re.search(r"http://\S+", line):
                self.url = found[0]
                return
        raise AssertionError(self.said)

    @staticmethod
    def command() -> list[str]:
        return [sys.executable, "-m", "movinet", "serve"]

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send it a signal, and wait; returns its exit code."""
        self.process.send_signal(number)
        _, rest = self.process.communicate(timeout=30)
        self.said += rest
        return self.process.returncode

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


def wait_for(condition: Any, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def values(message: dict[str, Any]) -> dict[str, float]:
    """Probabilities of a result by label."""
    assert message["type"] == "result", message
    return {each["label"]: each["probability"] for each in message["top"]}


def alone(runtime: Any, frames: Any, half_life: float | None = None) -> list[dict[str, float]]:
    """What the model gives for frames of a stream that is alone."""
    stream = runtime.stream(half_life=half_life)
    rows = [stream(frame) for frame in frames]
    return [dict(zip(runtime.info.labels, map(float, row), strict=True)) for row in rows]
