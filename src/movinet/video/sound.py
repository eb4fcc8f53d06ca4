"""The sound of a video, copied as it is beside pictures that are drawn anew."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Self

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.packet import Packet

#: Codecs that an MP4 holds and players know.
_FITTING = ("aac", "mp3", "mp2", "ac3", "eac3", "opus", "flac", "alac")


class Sound:
    """The first sound of a file, packet by packet.

    Attributes:
        reason: Why there is none that an MP4 can have; empty if there is one, or the file is
            silent.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.reason = ""
        self._container: InputContainer | None = None
        self._stream: AudioStream | None = None
        self._copy: Any = None
        self._packets: Iterator[Packet] = iter(())
        self._next: Packet | None = None
        self._begin = 0.0
        try:
            self._container = av.open(f"file:{os.fspath(path)}", metadata_errors="replace")
            if not self._container.streams.audio:
                return
            stream = self._container.streams.audio[0]
            codec = stream.codec_context.name
        except (FFmpegError, OSError, ValueError, AttributeError):
            self.reason = "its sound cannot be read"
            return
        if codec.removesuffix("float") not in _FITTING:
            self.reason = f"its sound ({codec}) is none that an MP4 holds"
            return
        self._stream = stream
        self._packets = self._container.demux(stream)

    def add_to(self, target: OutputContainer, begin: float) -> None:
        """Make room for it in a file that is written, before its first packet.

        Args:
            target: The file.
            begin: Seconds in the video at which the file begins.
        """
        if self._stream is None or self._container is None:
            return
        try:
            self._copy = target.add_stream_from_template(self._stream)
        except (FFmpegError, ValueError):
            self.reason, self._stream = "its sound cannot be copied", None
            return
        start = (self._container.start_time or 0) / 1_000_000
        self._begin = start + begin

    def write_until(self, target: OutputContainer, time: float) -> None:
        """Copy what is heard before a time.

        Args:
            target: The file.
            time: Seconds since its beginning.
        """
        while self._copy is not None:
            packet = self._next or next(self._packets, None)
            self._next = None
            if packet is None or packet.pts is None or packet.time_base is None:
                if packet is not None and packet.size:
                    continue
                self._copy = None
                return
            at = float(packet.pts * packet.time_base) - self._begin
            if at >= time:
                self._next = packet
                return
            if at < 0:
                continue
            shift = round(self._begin / float(packet.time_base))
            packet.pts -= shift
            packet.dts = packet.pts
            packet.stream = self._copy
            target.mux(packet)

    def close(self) -> None:
        """Let go of the file."""
        if self._container is not None:
            self._container.close()
            self._container = None

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """See `close`."""
        self.close()
