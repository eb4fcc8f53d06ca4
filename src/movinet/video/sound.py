"""The sound of a video, copied as it is beside pictures that are drawn anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from av import time_base
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.error import FFmpegError
from av.packet import Packet

from movinet.video.container import Region, open_container

#: Codecs that an MP4 holds and players know.
_FITTING = ("aac", "mp3", "mp2", "ac3", "eac3", "opus", "flac", "alac")


class Sound:
    """The first sound of a file, packet by packet.

    Args:
        path: The file.

    Attributes:
        reason: Why it is not copied, or not to its end; empty if it is, or the file is silent.

    Raises:
        VideoError: If it is no file that movinet reads.
    """

    def __init__(self, path: Path | Region) -> None:
        self.reason = ""
        self._container = open_container(path)
        self._copy: Any = None
        self._next: Packet | None = None
        self._begin = 0.0
        self._stream = self._fitting()
        self._packets = iter(()) if self._stream is None else self._container.demux(self._stream)

    def _fitting(self) -> AudioStream | None:
        """The stream, if an MP4 can have it."""
        if not self._container.streams.audio:
            return None
        stream = self._container.streams.audio[0]
        codec = None if stream.codec_context is None else stream.codec_context.name
        if codec is None or codec.removesuffix("float") not in _FITTING:
            self.reason = f"its sound ({codec or 'unknown'}) is none that an MP4 holds"
            return None
        return stream

    def add_to(self, target: OutputContainer, begin: float) -> None:
        """Make room for it in a file that is written, before its first packet.

        Args:
            target: The file.
            begin: Seconds in the video at which the file begins.
        """
        if self._stream is None:
            return
        try:
            self._copy = target.add_stream_from_template(self._stream)
        except (FFmpegError, ValueError):
            self.reason = "its sound cannot be copied"
            return
        self._begin = (self._container.start_time or 0) / time_base + begin

    def write_until(self, target: OutputContainer, time: float) -> None:
        """Copy what is heard before a time.

        Args:
            target: The file.
            time: Seconds since its beginning.
        """
        try:
            while self._copy is not None:
                packet = self._next or next(self._packets, None)
                self._next = None
                if packet is None:
                    self._copy = None
                elif packet.pts is not None and packet.time_base is not None and packet.size:
                    at = float(packet.pts * packet.time_base) - self._begin
                    if at >= time:
                        self._next = packet
                        return
                    if at >= 0:
                        self._write(target, packet)
        except (FFmpegError, ValueError):
            self._copy = None
            self.reason = f"its sound is damaged from {time:.1f} s on"

    def _write(self, target: OutputContainer, packet: Packet) -> None:
        assert packet.pts is not None
        assert packet.time_base is not None
        packet.pts -= round(self._begin / float(packet.time_base))
        packet.dts = packet.pts
        packet.stream = self._copy
        target.mux(packet)

    def close(self) -> None:
        """Let go of the file."""
        self._container.close()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """See `close`."""
        self.close()
