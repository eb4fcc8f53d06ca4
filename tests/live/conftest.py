"""What tests of live video share: a network, and a film as a server sends it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from replay_tools import logged
from servers import RATE, transport_stream

import movinet
from movinet.live import LiveResult
from movinet.video import VideoReader, VideoWriter

CLIP = Path(movinet.__file__).parent / "demo" / "clip.mp4"


@pytest.fixture(scope="module")
def runtime() -> Any:
    return movinet.load("motions")


@pytest.fixture(scope="module")
def film() -> list[bytes]:
    return transport_stream(frame.image for frame in VideoReader(CLIP, frame_rate=RATE))


@pytest.fixture(scope="module")
def film_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven seconds in which things happen again and again."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    with VideoReader(CLIP, frame_rate=24) as reader:
        images = [frame.image.copy() for frame in reader]
    with VideoWriter(path, 24) as writer:
        for image in (images + images[::-1]) * 2:
            writer.write(image[::2, ::2])
    return path


@pytest.fixture(scope="module")
def run(
    film: list[bytes], runtime: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[LiveResult]]:
    """A log, and what was seen meanwhile."""
    path = tmp_path_factory.mktemp("run") / "run.log"
    return path, logged(film, path, runtime, seconds=2.5)
