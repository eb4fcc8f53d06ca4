"""A server and a browser for tests of the page."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from browser import Page, open_page
from page_tools import LABEL, Serving, write_video

from movinet.data.synth.render import render_clip


@pytest.fixture(scope="session")
def motion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the fake camera shows, over and over."""
    clip = render_clip("motions", LABEL, 1, 2)
    path = tmp_path_factory.mktemp("camera") / "camera.y4m"
    write_video(path, clip.frames, clip.frame_rate, "wrapped_avframe")
    return path


@pytest.fixture
def serving() -> Iterator[Serving]:
    """A server that is not started yet."""
    serving = Serving()
    try:
        yield serving
    finally:
        serving.stop()


@pytest.fixture
def visit(tmp_path: Path, motion: Path) -> Iterator[Callable[..., Page]]:
    """Opens a server's page in a browser, with a camera unless there are other flags."""
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
