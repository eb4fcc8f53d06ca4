"""The page of a server, in a browser: a fake camera, a file, a restart, refusals."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import av
import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("uvicorn", reason="needs the extra serve")
pytest.importorskip("websockets", reason="needs the extra serve")

from browser import CHROMIUM, Page, open_page

from movinet.data.synth.render import render_clip

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
]

LABEL = "moving right"
_WAIT = 60.0


@pytest.fixture(scope="module")
def motion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the fake camera sees, over and over."""
    clip = render_clip("motions", LABEL, 1, 2)
    path = tmp_path_factory.mktemp("camera") / "camera.y4m"
    write_video(path, clip.frames, clip.frame_rate, "wrapped_avframe")
    return path


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
    """`movinet serve` as a process, always at the same port."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str, **environment: str) -> None:
        command = [sys.executable, "-m", "movinet", "serve", "motions", "--workers", "1"]
        command += ["--port", str(self.port), *options]
        with (self._folder / "serve.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env=os.environ | environment
            )
        end = time.monotonic() + _WAIT
        while True:
            with contextlib.suppress(OSError):
                urlopen(f"{self.url}v2/health/ready", timeout=5).close()
                return
            assert self._process.poll() is None, self.log()
            assert time.monotonic() < end, self.log()
            time.sleep(0.05)

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(30)

    def log(self) -> str:
        return (self._folder / "serve.log").read_text()

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = Request(self.url + path, data, {"Content-Type": "application/json"})
        request.method = method
        with urlopen(request, timeout=30) as answer:
            content = answer.read()
        return json.loads(content) if content else None


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    serving = Serving(tmp_path)
    try:
        yield serving
    finally:
        serving.stop()


@pytest.fixture
def visit(tmp_path: Path, motion: Path) -> Iterator[Callable[..., Page]]:
    """Opens the page in a browser with a camera."""
    with contextlib.ExitStack() as opened:

        def visit(serving: Serving, flags: Sequence[str] | None = None) -> Page:
            camera = (
                "--use-fake-device-for-media-stream",
                "--use-fake-ui-for-media-stream",
                f"--use-file-for-fake-video-capture={motion}",
            )
            chosen = camera if flags is None else flags
            return opened.enter_context(open_page(serving.url, tmp_path / "profile", *chosen))

        yield visit


READY = "!document.getElementById('app').hidden"


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


def test_a_camera_is_recognised(serving: Serving, visit: Callable[..., Page]) -> None:
    serving.start()
    page = visit(serving)
    page.wait(READY)
    page.click("#camera")
    page.wait(shows(LABEL))
    page.wait("document.querySelector('.events li.lasting')?.innerText.includes('moving right')")
    page.wait("parseFloat(document.querySelector('[data-figure=rate]').innerText) > 4")
    (stream,) = serving.ask("GET", "v1/streams")
    assert stream["results"] > 5
    assert stream["listeners"] == 1
    assert 0 < figure(page, "age") <= figure(page, "latency") <= figure(page, "slowest")
    assert figure(page, "lost") == 0
    for width in (360, 1440):
        page.resize(width)
        assert page.value("document.documentElement.scrollWidth <= innerWidth"), width
    assert page.errors == page.network_errors == []
