"""What tests of pages share: a fake camera, and what a tile shows."""

import json
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from browser import Page

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


def camera(video: Path) -> Sequence[str]:
    """Flags of a browser whose camera shows a video, over and over."""
    return (
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-video-capture={video}",
    )


def check_camera(page: Page) -> None:
    """What the fake camera shows is recognised, with honest numbers, in windows of any width."""
    page.wait(shows(LABEL))
    page.wait("document.querySelector('.events li.lasting')?.innerText.includes('moving right')")
    page.wait("parseFloat(document.querySelector('[data-figure=rate]').innerText) > 4")
    assert 0 < figure(page, "age") <= figure(page, "latency") <= figure(page, "slowest")
    assert figure(page, "lost") == 0
    for width in (360, 800, 1440):
        page.resize(width)
        assert page.value("document.documentElement.scrollWidth <= innerWidth"), width
    assert page.errors == page.network_errors == []
