"""Opening cameras and network streams: bounded in time, low delay, no secrets in errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import av
from av.container import InputContainer
from av.error import ExitError, FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from movinet.errors import VideoError
from movinet.live.sources import FORMATS, PROTOCOLS, LiveSource
from movinet.text import one_line
from movinet.video.container import MAX_PIXELS, MAX_SIDE

#: Formats whose timestamps FFmpeg makes up from a rate that it guesses.
_WITHOUT_CLOCK = ("mpjpeg", "mjpeg", "h264", "hevc", "mpegvideo", "image2pipe")
#: Of a file that has begun, and of which nothing could be read.
_INDEX_HINT = (
    "; an MP4 file with its index at the end needs a server that sends parts of it on request: let "
    "the server do so, or move the index (ffmpeg -i in.mp4 -c copy -movflags +faststart out.mp4)"
)
#: Broken packets in a row after which a connection is given up.
_MOST_BROKEN = 300


class Picture(NamedTuple):
    """A decoded frame.

    Attributes:
        stamp: Its presentation time as the stream counts, seconds; None if it has none.
        picture: In FFmpeg's own pixel format.
    """

    stamp: float | None
    picture: VideoFrame


class Connection:
    """An open live source.

    Args:
        source: What to open.
        open_timeout: Seconds for opening.
        read_timeout: Seconds of silence after which it is lost.

    Attributes:
        broken: Packets that could not be decoded so far.

    Raises:
        VideoError: If it cannot be opened, or has no video.
    """

    def __init__(self, source: LiveSource, open_timeout: float, read_timeout: float) -> None:
        self.source, self.broken = source, 0
        # Frame rates need not be known: FFmpeg would keep a second of frames to estimate them.
        options = {"fpsprobesize": "0", **source.options}
        if source.kind in PROTOCOLS:
            options["protocol_whitelist"] = PROTOCOLS[source.kind]
        if source.kind in FORMATS:
            options["format_whitelist"] = FORMATS[source.kind]
        try:
            self._container: InputContainer = av.open(
                source.address,
                format=source.demuxer,
                options=options,
                timeout=(open_timeout, read_timeout),
                metadata_errors="replace",
            )
        except (FFmpegError, OSError, ValueError) as error:
            raise VideoError(f"{source.name}: cannot be opened ({_reason(error)})") from None
        try:
            if not self._container.streams.video:
                raise VideoError(f"{source.name}: it has no video")
            self._stream: VideoStream = self._container.streams.video[0]
            context = self._stream.codec_context
            check_size(source.name, context.width, context.height)
            # Frame threads would keep back a frame each.
            self._stream.thread_type = "SLICE"
        except BaseException:
            self._container.close()
            raise

    @property
    def aspect(self) -> float:
        """Width of a pixel, in heights."""
        stream = self._stream
        told = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
        return float(told) if told and told > 0 else 1.0

    @property
    def stream(self) -> VideoStream:
        """What is decoded."""
        return self._stream

    @property
    def has_clock(self) -> bool:
        """Whether its timestamps are its own, and not made up from a rate that is guessed."""
        return self._container.format.name not in _WITHOUT_CLOCK

    @property
    def seconds(self) -> float | None:
        """How long it lasts, if a server sends a recording; None if it goes on."""
        if self.source.kind != "http" or not self._container.duration:
            return None
        return max(0.0, self._container.duration / av.time_base) or None

    def pictures(
        self,
        see: Callable[[Packet], None] = lambda _: None,
        decode: Callable[[Packet], Iterable[object]] = Packet.decode,
    ) -> Iterator[Picture]:
        """Decoded frames as they arrive, from the first keyframe on.

        Args:
            see: Called with each packet before it is decoded.
            decode: What is in a packet.

        Raises:
            VideoError: When it is lost, or ends.
        """
        stream, has_clock = self._stream, self.has_clock
        tick = float(stream.time_base or 0)

        seen = False

        def broken() -> None:
            self.broken += 1

        try:
            packets = self._container.demux(stream)
            for picture in decoded(self.source.name, packets, decode, broken, see):
                seen = True
                stamp = picture.pts * tick if has_clock and picture.pts is not None else None
                yield Picture(stamp, picture)
        except (FFmpegError, OSError, ValueError) as error:
            hint = "" if seen or "mp4" not in self._container.format.name else _INDEX_HINT
            raise VideoError(f"{self.source.name}: lost ({_reason(error)}){hint}") from None
        raise VideoError(f"{self.source.name}: the stream has ended")

    def close(self) -> None:
        """Let go of it."""
        self._container.close()


def decoded(
    name: str,
    packets: Iterable[Packet],
    decode: Callable[[Packet], Iterable[object]],
    broken: Callable[[], None] = lambda: None,
    see: Callable[[Packet], None] = lambda _: None,
) -> Iterator[VideoFrame]:
    """The pictures of a connection that can be shown, from the first keyframe on.

    Args:
        name: Of the source.
        packets: As they arrive.
        decode: What is in a packet.
        broken: Called for each packet or picture that is left out.
        see: Called with each packet before it is decoded.

    Raises:
        VideoError: If nothing can be decoded, or pictures are too large.
    """
    waiting, in_row = True, 0
    for packet in packets:
        if waiting and packet.size and not packet.is_keyframe:
            continue  # half a group of pictures decodes to grey
        waiting = False
        see(packet)
        try:
            pictures = decode(packet)
        except FFmpegError:
            broken()
            in_row += 1
            if in_row > _MOST_BROKEN:
                raise VideoError(f"{name}: nothing that arrives can be decoded") from None
            continue
        for picture in pictures:
            if not isinstance(picture, VideoFrame) or picture.is_corrupt:
                broken()
                continue
            in_row = 0
            check_size(name, picture.width, picture.height)
            yield picture


def check_size(name: str, width: int, height: int) -> None:
    """Raise VideoError for pictures that are too large."""
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise VideoError(f"{name}: frames of {width}x{height} pixels are too large")


def _reason(error: Exception) -> str:
    """Why, without the address: FFmpeg's errors name it, passwords included."""
    if isinstance(error, ExitError):  # FFmpeg's word for the end of our patience
        return "no answer in time"
    if isinstance(error, FFmpegError | OSError):
        return one_line(error.strerror or type(error).__name__)
    return "not possible"
