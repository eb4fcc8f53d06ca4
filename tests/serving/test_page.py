"""The page of a server in a browser: a fake camera, a file, a restart, other streams."""

import json
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from page_tools import LABEL, READY, Serving, figure, shows, write_video
from serving_tools import wait_for

from browser import CHROMIUM, Page
from movinet import Client
from movinet.data.synth.render import render_clip
from page_shows import check_camera

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
]


def test_a_camera_is_recognised(serving: Serving, visit: Callable[..., Page]) -> None:
    serving.start()
    page = visit(serving)
    page.wait(READY)
    page.click("#camera")
    check_camera(page)
    (stream,) = serving.streams()
    assert stream["results"] > 5
    assert stream["listeners"] == 1


def test_a_server_that_lags_gets_two_frames_and_the_rest_is_counted(
    serving: Serving, visit: Callable[..., Page]
) -> None:
    serving.start()
    page = visit(serving)
    page.wait(READY)
    page.click("#camera")
    page.wait(shows(LABEL))
    (before,) = serving.streams()
    with serving.stalled():
        time.sleep(2)
    page.wait("parseInt(document.querySelector('[data-figure=skipped]').innerText) > 8")
    page.wait("parseInt(document.querySelector('[data-figure=missed]').innerText) > 8")
    assert figure(page, "skipped") < 18
    assert figure(page, "slowest") > 1  # seconds
    (after,) = serving.streams()
    assert after["dropped"] - before["dropped"] <= 1
    assert figure(page, "lost") == 0
    page.wait(shows(LABEL))
    # A frame of somebody else sets the clock forward: the page goes on from there.
    with Client(serving.url.rstrip("/")) as client:
        other = client.resume(after["id"])
        other.send(np.zeros((60, 80, 3), np.uint8).tobytes(), 1000)  # no JPEG: refused
        other.send(jpeg(np.zeros((60, 80, 3), np.uint8)), 1000)
        other.disconnect()
    page.wait("document.querySelector('.state').innerText === 'Connected'")
    wait_for(lambda: (serving.streams()[0]["time"] or 0) > 1002, 60)


def jpeg(frame: NDArray[np.uint8]) -> bytes:
    encoder = av.VideoCodecContext.create("mjpeg", "w")
    encoder.height, encoder.width = frame.shape[:2]
    encoder.pix_fmt, encoder.time_base = "yuvj420p", Fraction(1, 25)
    picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="yuvj420p")
    return b"".join(bytes(packet) for packet in [*encoder.encode(picture), *encoder.encode()])


def test_a_stream_is_forked_rewound_kept_and_reset(
    serving: Serving, visit: Callable[..., Page], tmp_path: Path
) -> None:
    serving.start()
    page = visit(serving)
    page.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    page.wait(READY)
    page.click("#camera")
    page.wait(shows(LABEL))
    (first,) = serving.streams()

    page.click("[data-do=fork]")
    page.value("document.getElementById('fork-half-life').focus()")
    page.type_keys(["End"])
    assert page.text("#fork-shown") == "mean of all"
    page.type_keys(["Enter"])
    page.wait(shows(LABEL, 1))
    assert page.texts(".tile h3")[1] == "Stream 2: motions, fork of 1"
    one, other = serving.streams()
    assert (one["half_life"], other["half_life"]) == (5.0, None)
    assert one["id"] == first["id"]
    # Both go on, on the same frames and the same clock.
    page.wait("[...document.querySelectorAll('[data-figure=rate]')].every(f => f.innerText > 4)")
    one, other = serving.streams()
    assert abs(one["time"] - other["time"]) < 2

    page.value(
        "{const s = document.querySelector('.half-life input'); s.value = 0;"
        "s.dispatchEvent(new Event('input'))}"
    )
    wait_for(lambda: serving.streams()[0]["half_life"] == 0.25, 60)
    assert page.text(".half-life output") == "0.25 s"

    wait_for(lambda: serving.streams()[0]["time"] > 7, 60)
    page.click("[data-do=rewind]")
    page.wait("document.querySelector('.tile .notice').innerText.startsWith('The stream has for')")

    page.click("[data-do=save]")
    wait_for(lambda: list(tmp_path.glob("*.snapshot")), 60)
    (saved,) = tmp_path.glob("*.snapshot")
    page.click("[data-do=reset]")
    wait_for(lambda: (serving.streams()[0]["time"] or 0) < 2, 60)
    page.wait(shows(LABEL))
    page.choose(".tile input[type=file]", saved)
    page.wait("document.querySelector('.tile .notice').innerText.includes('goes on from')")
    wait_for(lambda: serving.streams()[0]["time"] > 7, 60)
    page.choose(".tile input[type=file]", Path(__file__))
    page.wait("document.querySelector('.tile .notice').innerText.includes('was not loaded')")

    page.click(".tile:last-of-type [data-do=end]")
    wait_for(lambda: len(serving.streams()) == 1, 60)
    assert len(page.texts(".tile")) == 1
    assert page.text(".state") == "Connected"  # not lost on the way, either
    assert page.errors == []


def test_the_page_goes_on_after_a_restart(
    serving: Serving, visit: Callable[..., Page], tmp_path: Path
) -> None:
    serving.start("--snapshots", str(tmp_path / "kept"))
    page = visit(serving)
    page.wait(READY)
    page.click("#camera")
    page.wait(shows(LABEL))
    (before,) = serving.streams()
    serving.stop()
    page.wait("document.querySelector('.state').innerText.startsWith('Not connected: ')")
    serving.start("--snapshots", str(tmp_path / "kept"))
    wait_for(lambda: [each for each in serving.streams() if each["listeners"]], 60)
    page.wait(
        "document.querySelector('.state').innerText === 'Connected; the connection was lost once'"
    )
    page.wait("document.querySelector('[data-figure=rate]').innerText > 4")
    (after,) = serving.streams()
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
    (new,) = serving.streams()
    assert new["id"] != before["id"]
    assert len(page.texts(".tile")) == 1
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
    (stream,) = serving.streams()
    # The clock of the stream is the file's.
    assert abs(stream["time"] - 3 * len(clip.frames) / clip.frame_rate) < 0.3
    page.value("document.getElementById('video').play().catch(() => {})")
    wait_for(lambda: (serving.streams()[0]["time"] or 9) < 2, 60)
    assert page.errors == []


def test_a_stream_of_another_program_is_watched_by_keyboard(
    serving: Serving, visit: Callable[..., Page]
) -> None:
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
