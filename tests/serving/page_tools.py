"""What tests of the page share: a server that starts again, a video, what the page shows."""

import contextlib
import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
from browser import Page
from numpy.typing import NDArray
from serving_tools import Process

#: What the fake camera shows.
LABEL = "moving right"
READY = "document.getElementById('app')?.hidden === false"


def figure(page: Page, name: str, tile: int = 0) -> float:
    """A number of a tile."""
    return float(page.texts(f"[data-figure={name}]")[tile].split()[0])


def shows(label: str, tile: int = 0) -> str:
    """Whether a tile's likeliest class is that, clearly."""
    part = f"document.querySelectorAll('.tile')[{tile}]"
    return (
        f"{part}?.querySelector('.best-label').innerText === {json.dumps(label)} && "
        f"parseInt({part}.querySelector('.best-share').innerText) > 70"
    )


def write_video(path: Path, frames: NDArray[np.uint8], rate: int, codec: str) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            container.mux(stream.encode(picture.reformat(format="yuv420p")))
        container.mux(stream.encode())


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
