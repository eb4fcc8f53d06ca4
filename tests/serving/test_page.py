"""The page of a server, in a browser: a fake camera, a file, a restart, refusals."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import resources
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

    @contextlib.contextmanager
    def stalled(self) -> Iterator[None]:
        """The process stands still."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

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
    for width in (360, 800, 1440):
        page.resize(width)
        assert page.value("document.documentElement.scrollWidth <= innerWidth"), width
    assert page.errors == page.network_errors == []


def test_a_server_that_lags_gets_two_frames_and_the_rest_is_counted(
    serving: Serving, visit: Callable[..., Page]
) -> None:
    serving.start()
    page = visit(serving)
    page.wait(READY)
    page.click("#camera")
    page.wait(shows(LABEL))
    (before,) = serving.ask("GET", "v1/streams")
    with serving.stalled():
        time.sleep(2)
    page.wait("parseInt(document.querySelector('[data-figure=skipped]').innerText) > 8")
    page.wait("parseInt(document.querySelector('[data-figure=missed]').innerText) > 8")
    assert figure(page, "skipped") < 18
    assert figure(page, "slowest") > 1  # seconds
    (after,) = serving.ask("GET", "v1/streams")
    assert after["dropped"] - before["dropped"] <= 1
    assert figure(page, "lost") == 0
    page.wait(shows(LABEL))


def test_a_stream_is_forked_rewound_kept_and_reset(
    serving: Serving, visit: Callable[..., Page], tmp_path: Path
) -> None:
    serving.start()
    page = visit(serving)
    page.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    page.wait(READY)
    page.click("#camera")
    page.wait(shows(LABEL))
    (first,) = serving.ask("GET", "v1/streams")

    page.click("[data-do=fork]")
    page.value("document.getElementById('fork-half-life').focus()")
    page.type_keys(["End"])
    assert page.text("#fork-shown") == "mean of all"
    page.type_keys(["Enter"])
    page.wait(shows(LABEL, 1))
    assert page.texts(".tile h3")[1] == "Stream 2: motions, fork of 1"
    one, other = serving.ask("GET", "v1/streams")
    assert (one["half_life"], other["half_life"]) == (5.0, None)
    assert one["id"] == first["id"]
    # Both go on, on the same frames and the same clock.
    page.wait("[...document.querySelectorAll('[data-figure=rate]')].every(f => f.innerText > 4)")
    one, other = serving.ask("GET", "v1/streams")
    assert abs(one["time"] - other["time"]) < 2

    page.value(
        "{const s = document.querySelector('.half-life input'); s.value = 0;"
        "s.dispatchEvent(new Event('input'))}"
    )
    wait_for(lambda: serving.ask("GET", "v1/streams")[0]["half_life"] == 0.25)
    assert page.text(".half-life output") == "0.25 s"

    wait_for(lambda: serving.ask("GET", "v1/streams")[0]["time"] > 7)
    page.click("[data-do=rewind]")
    page.wait("document.querySelector('.tile .notice').innerText.startsWith('The stream has for')")

    page.click("[data-do=save]")
    wait_for(lambda: list(tmp_path.glob("*.snapshot")))
    (saved,) = tmp_path.glob("*.snapshot")
    page.click("[data-do=reset]")
    wait_for(lambda: (serving.ask("GET", "v1/streams")[0]["time"] or 0) < 2)
    page.wait(shows(LABEL))
    page.choose(".tile input[type=file]", saved)
    page.wait("document.querySelector('.tile .notice').innerText.includes('goes on from')")
    wait_for(lambda: serving.ask("GET", "v1/streams")[0]["time"] > 7)
    page.choose(".tile input[type=file]", Path(__file__))
    page.wait("document.querySelector('.tile .notice').innerText.includes('was not loaded')")

    page.click(".tile:last-of-type [data-do=end]")
    wait_for(lambda: len(serving.ask("GET", "v1/streams")) == 1)
    assert len(page.texts(".tile")) == 1
    assert page.errors == []


def wait_for(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + _WAIT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_the_page_goes_on_after_a_restart(
    serving: Serving, visit: Callable[..., Page], tmp_path: Path
) -> None:
    serving.start("--snapshots", str(tmp_path / "kept"))
    page = visit(serving)
    page.wait(READY)
    page.click("#camera")
    page.wait(shows(LABEL))
    (before,) = serving.ask("GET", "v1/streams")
    serving.stop()
    page.wait("document.querySelector('.state').innerText.startsWith('Not connected: ')")
    serving.start("--snapshots", str(tmp_path / "kept"))
    wait_for(lambda: [each for each in serving.ask("GET", "v1/streams") if each["listeners"]])
    page.wait("document.querySelector('.state').innerText === 'Connected'")
    page.wait("document.querySelector('[data-figure=rate]').innerText > 4")
    (after,) = serving.ask("GET", "v1/streams")
    assert after["id"] == before["id"]
    assert after["results"] > before["results"]
    assert after["time"] > before["time"]
    # The time without a server is told, not hidden.
    assert figure(page, "missed") > 0

    serving.stop()
    serving.start()
    page.wait("document.querySelector('.state').innerText.includes('no longer has this stream')")
    page.click("[data-do=anew]")
    page.wait(shows(LABEL))
    (new,) = serving.ask("GET", "v1/streams")
    assert new["id"] != before["id"]
    assert len(page.texts(".tile")) == 1
    assert page.errors == []


def test_a_token_is_asked_for_and_a_full_server_says_so(
    serving: Serving, visit: Callable[..., Page]
) -> None:
    token = "secret/+=word"  # nothing that fits a WebSocket's subprotocols
    serving.start("--max-streams", "1", MOVINET_TOKEN=token)
    page = visit(serving)
    page.wait("!document.getElementById('token').hidden")
    assert page.value("document.activeElement.id") == "token-field"
    page.type_keys([*"wrong", "Enter"])
    page.wait("document.getElementById('notice').innerText.includes('does not take this token')")
    page.type_keys([*token, "Enter"])
    page.wait(READY)
    page.click("#camera")
    page.wait(shows(LABEL))
    page.click("#new")
    notice = page.wait("document.getElementById('notice').innerText")
    assert notice == (
        "No stream was made: the server is full (the limit of open streams is 1); end a "
        "stream, or try again in 5 s."
    )
    # The tab keeps the token and the stream; the browser's disk does not have them.
    page.call("Page.reload")
    page.wait(READY)
    page.wait("document.querySelector('.state')?.innerText === 'Connected'")
    assert page.value("localStorage.length + document.cookie.length") == 0
    assert page.errors == []


def test_a_file_is_played_and_what_cannot_be_is_said(
    serving: Serving, visit: Callable[..., Page], tmp_path: Path
) -> None:
    clip = render_clip("motions", LABEL, 1, 2)
    film, none = tmp_path / "film.mp4", tmp_path / "<b>none.mp4"
    write_video(film, np.concatenate([clip.frames] * 3), clip.frame_rate, "libx264")
    none.write_bytes(b"no video")
    serving.start()
    page = visit(serving)
    page.wait(READY)
    page.choose("#file-field", none)
    page.wait(
        "document.getElementById('notice').innerText === 'This browser cannot play "
        "<b>none.mp4: convert it to MP4 (H.264) or WebM and open that.'"
    )
    assert page.value("document.querySelector('b') === null")
    page.drop("body", film)
    page.wait(shows(LABEL))
    page.wait("document.getElementById('video').ended")
    (stream,) = serving.ask("GET", "v1/streams")
    # The clock of the stream is the file's.
    assert abs(stream["time"] - 3 * len(clip.frames) / clip.frame_rate) < 0.3
    page.value("document.getElementById('video').play().catch(() => {})")
    wait_for(lambda: (serving.ask("GET", "v1/streams")[0]["time"] or 9) < 2)
    assert page.errors == []


@pytest.mark.parametrize(
    ("flags", "address", "sentence"),
    [
        ((), "127.0.0.1", "There is no camera: connect one and try again, or open a file."),
        (
            ("--use-fake-device-for-media-stream", "--deny-permission-prompts"),
            "127.0.0.1",
            "The camera is not allowed: allow it in the browser's settings of this page and try "
            "again.",
        ),
        (
            ("--host-resolver-rules=MAP cam.test 127.0.0.1",),
            "cam.test",
            "Browsers give a camera only to pages of this machine or over HTTPS: open the page at "
            "http://localhost, or put the server behind HTTPS, or open a file.",
        ),
    ],
)
def test_a_camera_that_is_not_there_is_a_sentence(
    serving: Serving,
    visit: Callable[..., Page],
    flags: tuple[str, ...],
    address: str,
    sentence: str,
) -> None:
    serving.start("--allow-host", "cam.test")
    serving.url = f"http://{address}:{serving.port}/"
    page = visit(serving, flags)
    page.wait(READY)
    page.click("#camera")
    page.wait(f"document.getElementById('notice').innerText === {json.dumps(sentence)}")
    assert page.errors == []


def test_text_has_contrast_in_both_themes() -> None:
    style = (resources.files("movinet.serving") / "page" / "style.css").read_text()
    light, dark = style.split("@media (prefers-color-scheme: dark)")
    for part in (light, dark):
        colours = dict(re.findall(r"--([\w-]+): (#\w{6});", part))
        assert len(colours) >= 18
        pairs = [(name, "card") for name in colours if name.startswith("class-")]
        pairs += [(name, back) for name in ("ink", "faint", "accent") for back in ("card", "back")]
        pairs += [
            ("on-accent", "accent"),
            ("warn", "warn-back"),
            ("warn", "card"),
            ("good", "card"),
        ]
        for name, back in pairs:
            assert contrast(colours[name], colours[back]) >= 4.5, (name, back)
        assert contrast(colours["edge"], colours["card"]) >= 3


def contrast(one: str, other: str) -> float:
    """As WCAG 2 defines it."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_a_stream_of_another_program_is_watched_by_keyboard(
    serving: Serving, visit: Callable[..., Page]
) -> None:
    from movinet.client import Client

    serving.start()
    page = visit(serving, ())
    clip = render_clip("motions", LABEL, 1, 2)
    height, width = clip.frames.shape[1:3]
    with Client(serving.url.rstrip("/")) as client:
        with client.stream(width=width, height=height) as stream:
            page.wait(READY)
            page.wait("document.querySelector('#others-list button') !== null")
            for _ in range(20):
                page.type_keys(["Tab"])
                if page.value("document.activeElement.matches('#others-list button')"):
                    break
            page.type_keys(["Enter"])
            page.wait("document.querySelector('.state')?.innerText === 'Connected'")
            for number, frame in enumerate(clip.frames[::4]):
                stream(np.ascontiguousarray(frame), number / 8)
            page.wait(f"document.querySelector('.best-label').innerText === {json.dumps(LABEL)}")
            assert page.text("[data-figure=latency]") == "\N{EN DASH}"
        page.wait("document.querySelector('.state').innerText.startsWith('This stream was ended')")
    page.click("[data-do=end]")
    assert page.texts(".tile") == []
    assert page.errors == []
