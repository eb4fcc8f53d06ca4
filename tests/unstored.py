"""What made-up media have in common: nothing is stored, and only clips are read of it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from movinet.video.container import Region, SkippedPacket
from movinet.video.reader import Header, VideoInfo


class Unstored:
    """The part of `movinet.video.Media` that is of no use for pictures made on the spot."""

    path: Path | None = None
    given_rate: float | None = None
    video_file: Path | Region | None = None

    def files(self) -> tuple[Path | Region, ...]:
        return ()

    def info(self) -> VideoInfo:
        raise NotImplementedError

    def header(self) -> Header:
        raise NotImplementedError

    def stream(self, frame_rate: float, **part: Any) -> AbstractContextManager[Any]:
        raise NotImplementedError

    def check(self, start: float, end: float) -> tuple[int, str]:
        raise NotImplementedError

    def decode_all(self, start: float, end: float, skipped: list[SkippedPacket]) -> None:
        raise NotImplementedError
