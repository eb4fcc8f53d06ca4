"""Frames as clients send them: a header of 16 bytes and a payload (docs/reference/serving.md)."""

from __future__ import annotations

import struct
import threading
from dataclasses import dataclass
from enum import IntEnum

import av
import numpy as np
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from movinet.errors import ConfigError, VideoError
from movinet.video.pixels import RgbConverter

#: sequence number, presentation time in microseconds, kind of payload; the rest is 0.
HEADER = struct.Struct("<IqBxH")
#: A presentation time that says: the frame after the last one.
NO_TIME = -1
#: Pixels of a frame, checked before it is decoded.
MAX_PIXELS, MAX_SIDE = 4096 * 4096, 8192
#: Bytes of a frame with its header.
MAX_FRAME_BYTES = HEADER.size + 3 * 2048 * 2048
_MAX_MICROSECONDS = 10**15


class Kind(IntEnum):
    """What a payload is."""

    JPEG = 1
    RGB = 2
    I420 = 3


@dataclass(frozen=True, slots=True)
class SentFrame:
    """A frame that has arrived, not decoded yet.

    Attributes:
        sequence: The client's number of it.
        time: Seconds in the stream; None for the next tick.
        kind: What the payload is.
        payload: Its bytes.
        width: Pixels; of JPEG as its header says.
        height: Pixels.
    """

    sequence: int
    time: float | None
    kind: Kind
    payload: memoryview
    width: int
    height: int


def parse_frame(message: bytes, size: tuple[int, int] | None) -> SentFrame:
    """Check a message before anything of it is decoded.

    Args:
        message: Header and payload.
        size: (width, height) that raw pixels have, as agreed when the stream was made.

    Raises:
        ConfigError: If it is no frame, or too large.
    """
    if not HEADER.size < len(message) <= MAX_FRAME_BYTES:
        raise ConfigError(
            f"a frame has {HEADER.size} bytes of header and at most {MAX_FRAME_BYTES} in all, not "
            f"{len(message)}"
        )
    sequence, microseconds, code, rest = HEADER.unpack_from(message)
    payload = memoryview(message)[HEADER.size :]
    if code not in Kind._value2member_map_ or rest:
        raise ConfigError("a frame is of kind 1 (JPEG), 2 (RGB) or 3 (I420), and bytes 13-15 are 0")
    if microseconds != NO_TIME and not 0 <= microseconds <= _MAX_MICROSECONDS:
        raise ConfigError(f"a presentation time is -1 or from 0 to {_MAX_MICROSECONDS} µs")
    kind = Kind(code)
    if kind is Kind.JPEG:
        width, height = jpeg_size(payload)
    else:
        width, height = _raw_size(kind, len(payload), size)
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS or min(width, height) < 1:
        raise ConfigError(
            f"a frame has 1 to {MAX_SIDE} pixels a side and {MAX_PIXELS} in all, not "
            f"{width}x{height}"
        )
    time = None if microseconds == NO_TIME else microseconds / 1e6
    return SentFrame(sequence, time, kind, payload, width, height)


def _raw_size(kind: Kind, count: int, size: tuple[int, int] | None) -> tuple[int, int]:
    if size is None:
        raise ConfigError("raw pixels need width and height when the stream is made")
    width, height = size
    if kind is Kind.I420 and (width % 2 or height % 2):
        raise ConfigError("I420 has an even width and height")
    expected = width * height * 3 // (1 if kind is Kind.RGB else 2)
    if count != expected:
        raise ConfigError(f"{width}x{height} in {kind.name} are {expected} bytes, not {count}")
    return size


def jpeg_size(data: memoryview) -> tuple[int, int]:
    """Width and height in the header of a JPEG, which nothing decodes here.

    Raises:
        ConfigError: If it is no JPEG, or has no size.
    """
    if bytes(data[:2]) != b"\xff\xd8":
        raise ConfigError("it is not a JPEG")
    place = 2
    while place + 9 <= len(data):
        if data[place] != 0xFF:
            break
        marker = data[place + 1]
        if marker == 0xFF:  # filling
            place += 1
            continue
        # Frame headers: C0 to CF, but for tables (C4, CC) and JPG (C8).
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, place + 5)
            return width, height
        if marker in (0xD9, 0xDA):
            break
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        if length < 2:
            break
        place += 2 + length
    raise ConfigError("it is a JPEG without a size: damaged, or no picture")


class Decoder:
    """Decodes frames; one for each thread, since codecs keep buffers."""

    def __init__(self) -> None:
        self._to_rgb = RgbConverter("the frame", [])
        self._jpeg: VideoCodecContext | None = None

    def __call__(self, frame: SentFrame) -> NDArray[np.uint8]:
        """A frame's pixels, (height, width, 3) uint8 RGB.

        Raises:
            VideoError: If it cannot be decoded.
        """
        if frame.kind is Kind.RGB:
            shape = (frame.height, frame.width, 3)
            return np.frombuffer(frame.payload, np.uint8).reshape(shape)
        if frame.kind is Kind.I420:
            planes = np.frombuffer(frame.payload, np.uint8)
            planes = planes.reshape(frame.height * 3 // 2, frame.width)
            return self._to_rgb(VideoFrame.from_ndarray(planes, format="yuv420p"))
        return self._decode_jpeg(frame)

    def _decode_jpeg(self, frame: SentFrame) -> NDArray[np.uint8]:
        if self._jpeg is None:
            self._jpeg = VideoCodecContext.create("mjpeg", "r")
            self._jpeg.thread_count = 1
        try:
            pictures = self._jpeg.decode(av.Packet(bytes(frame.payload)))
        except (FFmpegError, ValueError):
            pictures = []
        if len(pictures) != 1 or pictures[0].is_corrupt:
            self._jpeg = None
            raise VideoError(f"frame {frame.sequence}: its JPEG cannot be decoded")
        # What was checked was the first header.
        if (pictures[0].width, pictures[0].height) != (frame.width, frame.height):
            raise VideoError(f"frame {frame.sequence}: its JPEG has two sizes")
        return self._to_rgb(pictures[0])


_local = threading.local()


def decode(frame: SentFrame) -> NDArray[np.uint8]:
    """As `Decoder`, with one for each thread that asks."""
    if not hasattr(_local, "decoder"):
        _local.decoder = Decoder()
    return _local.decoder(frame)
