"""Decoding single JPEG and PNG pictures, whose bytes are not trusted."""

from __future__ import annotations

import struct
from pathlib import Path

import av
from av.error import FFmpegError
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from movinet.errors import VideoError
from movinet.video.container import MAX_PIXELS, check_size, reason_of

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
#: Markers of JPEG that begin a frame and hold its size, and those without a length.
_SIZES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_BARE = {0x01, *range(0xD0, 0xD9)}


class PictureError(VideoError):
    """A picture that cannot be decoded; the reason, without its name."""


def decode_picture(name: str, data: bytes) -> tuple[VideoFrame, float]:
    """Decode a picture by what it contains, whatever its file is called.

    Args:
        name: For messages.
        data: A JPEG or PNG file.

    Returns:
        The picture in ffmpeg's own pixel format, and the width of its pixels in heights.

    Raises:
        PictureError: If it is neither, or damaged.
        VideoError: If it has too many pixels.
    """
    codec = codec_of(data)
    if codec is None:
        raise PictureError("neither a JPEG nor a PNG picture")
    if (size := _size(data, codec)) is not None:
        check_size(Path(name), *size)
    context = av.CodecContext.create(codec, "r")
    assert isinstance(context, VideoCodecContext)
    context.thread_type = "NONE"
    # Without "explode" the part behind a fault in a JPEG is grey, and nobody knows.
    context.options = {"max_pixels": str(MAX_PIXELS), "err_detect": "explode"}
    try:
        pictures = [*context.decode(Packet(data)), *context.decode(None)]
    except FFmpegError as error:
        raise PictureError(f"damaged ({reason_of(error)})") from None
    if not pictures:
        raise PictureError("damaged (it has no picture)")
    picture = pictures[0]
    check_size(Path(name), picture.width, picture.height)
    aspect = context.sample_aspect_ratio
    return picture, float(aspect) if aspect and aspect > 0 else 1.0


def codec_of(data: bytes) -> str | None:
    """Ffmpeg's name of a picture's codec, by its first bytes; None if it is another one."""
    if data.startswith(_PNG):
        return "png"
    return "mjpeg" if data.startswith(_JPEG) else None


def _size(data: bytes, codec: str) -> tuple[int, int] | None:
    """Width and height in the header; None if it has none."""
    if codec == "png":
        width, height = struct.unpack(">II", data[16:24]) if len(data) >= 24 else (0, 0)
        return width, height
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in _SIZES:
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        bare = marker in _BARE or marker == 0xFF
        at += (1 if marker == 0xFF else 2) if bare else 2 + int.from_bytes(data[at + 2 : at + 4])
    return None
