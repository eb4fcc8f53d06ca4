"""A server and a browser for tests of the page."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from page_tools import Serving

import movinet
from browser import Page, open_page
from page_shows import camera


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
            chosen = camera(motion) if flags is None else flags
            return opened.enter_context(open_page(serving.url, tmp_path / "profile", *chosen))

        yield visit


@pytest.fixture(scope="module")
def runtime() -> Any:
    return movinet.load("motions")
