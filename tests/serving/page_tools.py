"""What tests of the page share: a server that starts again, a video, what the page shows."""

import contextlib
import signal
import socket
from collections.abc import Iterator
from typing import Any

import httpx
from serving_tools import Process

from page_shows import LABEL, READY, figure, shows, write_video

__all__ = ["LABEL", "READY", "Serving", "figure", "shows", "write_video"]


class Serving:
    """`movinet serve`, always at the same port."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        self._process: Process | None = None

    def start(self, *options: str, token: str | None = None) -> None:
        fixed = ("motions", "--workers", "1", "--port", str(self.port))
        self._process = Process(*fixed, *options, token=token)

    def stop(self) -> None:
        if self._process is not None and self._process.process.poll() is None:
            self._process.end()

    @contextlib.contextmanager
    def stalled(self) -> Iterator[None]:
        """The process stands still."""
        assert self._process is not None
        self._process.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.process.send_signal(signal.SIGCONT)

    def streams(self) -> list[dict[str, Any]]:
        """Those that are open."""
        return httpx.get(f"{self.url}v1/streams", timeout=30).raise_for_status().json()
