"""Decoding that is put off while nothing moves.

Where a scene stands still, an encoder sends next to nothing between two keyframes. Such packets are
kept instead of decoded; the picture of before is shown in their place. A keyframe is decoded and
compared, and nothing before it is needed any more. A packet that is not tiny wakes the decoder: it
catches up through what was kept, so pictures from there on are those that it would have given.

What is missed meanwhile is what makes neither a larger packet nor, at the next keyframe, another
picture: this is for those who ask for it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable

import numpy as np
from av.error import FFmpegError
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from numpy.typing import NDArray

#: Seconds for which a scene must have stood still before packets are kept; of packets kept.
QUIET, LONGEST = 3.0, 10.0
#: Packets kept at most.
_MOST_KEPT = 300
#: Pixels for each byte of a tiny packet.
_TINY = 250
#: A packet may have so many times the bytes of the largest one in the quiet time, and some more.
_TIMES, _MORE = 2, 64
#: Cells along the longer side in which pictures are compared; what the mean of one may change.
_CELLS, _LIKE = 32, 6.0
#: Codec -> NAL units of pictures before which nothing is referred to, bits of their type.
_BEGINNINGS = {"h264": ((5,), 0, 0x1F), "hevc": ((19, 20), 1, 0x3F)}


class Idle:
    """Decodes the packets of one connection, as far as that is needed.

    Args:
        context: The decoder.
        convert: A picture as (height, width, 3) uint8 RGB.

    Attributes:
        undecoded: Packets in whose place a picture was shown again.
    """

    def __init__(
        self, context: VideoCodecContext, convert: Callable[[VideoFrame], NDArray[np.uint8]]
    ) -> None:
        self._context, self._convert, self.undecoded = context, convert, 0
        self._looks: NDArray[np.float32] | None = None
        self._since, self._largest = 0.0, 0
        #: What is shown while packets are kept; None while they are decoded.
        self._shown: VideoFrame | None = None
        self._kept: list[Packet] = []

    def look(self, picture: VideoFrame, image: NDArray[np.uint8], at: float) -> None:
        """The model sees a picture.

        Args:
            picture: As it was decoded.
            image: The same as RGB.
            at: Now, seconds in the stream.
        """
        if self._shown is not None:
            return
        looks = cells(image)
        if self._looks is None or not alike(self._looks, looks):
            self._looks, self._since, self._largest = looks, at, 0
        elif at - self._since >= QUIET:
            if self._limit:
                self._shown = picture
            self._since, self._largest = at, self._largest if self._shown else 0

    def decode(self, packet: Packet) -> Iterable[object]:
        """The pictures of a packet; the one of before, at its time, if it was kept instead.

        Raises:
            FFmpegError: If it cannot be decoded.
        """
        if self._shown is None:
            pictures = packet.decode()
            self._measure(packet, pictures)
            return pictures
        if not packet.size:
            return self._wake(packet)
        if packet.is_keyframe:
            if not begins_anew(bytes(packet), self._context.name):
                return self._wake(packet)
            self._kept.clear()
            self._context.flush_buffers()
            return self._compare(packet)
        if packet.size > self._limit:
            return self._wake(packet)
        if self._is_full(packet):
            self._catch_up()
            return self._compare(packet)
        self._kept.append(packet)
        return self._again(packet)

    @property
    def _limit(self) -> int:
        """Bytes of a packet in which nothing happens; 0 if those in the quiet time had more."""
        most = self._context.width * self._context.height // _TINY
        possible = self._context.name in _BEGINNINGS and 0 < self._largest <= most
        return min(_TIMES * self._largest + _MORE, most) if possible else 0

    def _measure(self, packet: Packet, pictures: Iterable[object]) -> None:
        """How large a packet is; a decoder that does not give a picture for each is left alone."""
        found = [*pictures]
        if len(found) != 1 or getattr(found[0], "pts", None) != packet.pts:
            self._looks = None
        elif not packet.is_keyframe:
            self._largest = max(self._largest, packet.size)

    def _is_full(self, packet: Packet) -> bool:
        if len(self._kept) >= _MOST_KEPT:
            return True
        if not self._kept or packet.pts is None or self._kept[0].pts is None:
            return False
        passed = (packet.pts - self._kept[0].pts) * (packet.time_base or 0)
        return not 0 <= passed < LONGEST

    def _again(self, packet: Packet) -> Iterable[object]:
        assert self._shown is not None
        self._shown.pts = packet.pts
        self.undecoded += 1
        return (self._shown,)

    def _compare(self, packet: Packet) -> Iterable[object]:
        """Decode a packet, and go on sleeping if it shows what is shown already."""
        try:
            pictures = packet.decode()
        except FFmpegError:
            self._stop()
            raise
        if len(pictures) == 1 and isinstance(picture := pictures[0], VideoFrame):
            like = self._looks is not None and alike(self._looks, cells(self._convert(picture)))
            if like and not picture.is_corrupt and picture.pts == packet.pts:
                return self._again(packet)
        self._stop()
        return pictures

    def _wake(self, packet: Packet) -> Iterable[object]:
        self._catch_up()
        self._stop()
        return packet.decode()

    def _catch_up(self) -> None:
        """Decode what was kept: the pictures to come refer to it."""
        for kept in self._kept:
            with contextlib.suppress(FFmpegError):
                kept.decode()
        self._kept.clear()

    def _stop(self) -> None:
        self._shown = self._looks = None
        self._kept.clear()


def cells(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What a picture looks like from afar: means of its squares, of green.

    Args:
        image: (height, width, 3) uint8 RGB.
    """
    height, width = image.shape[:2]
    side = max(1, max(height, width) // _CELLS)
    high, wide = max(1, height // side), max(1, width // side)
    green = image[: high * side, : wide * side, 1]
    if green.shape != (high * side, wide * side):  # narrower than a square
        return green.astype(np.float32)
    step = max(1, side // 8)  # as good as all pixels
    squares = green.reshape(high, side, wide, side)[:, ::step, :, ::step]
    return squares.mean((1, 3), dtype=np.float32)


def alike(first: NDArray[np.float32], second: NDArray[np.float32]) -> bool:
    """Whether two pictures look the same from afar."""
    return first.shape == second.shape and bool(np.abs(first - second).max() <= _LIKE)


def begins_anew(data: bytes, codec: str) -> bool:
    """Whether a keyframe's packet has a picture before which nothing is referred to (IDR)."""
    types, shift, mask = _BEGINNINGS[codec]
    if data.startswith((b"\0\0\1", b"\0\0\0\1")):
        at = data.find(b"\0\0\1")
        while 0 <= at < len(data) - 3:
            if data[at + 3] >> shift & mask in types:
                return True
            at = data.find(b"\0\0\1", at + 3)
        return False
    at = 0  # lengths of four bytes, as in MP4 and FLV
    while at < len(data) - 4:
        if data[at + 4] >> shift & mask in types:
            return True
        at += 4 + int.from_bytes(data[at : at + 4], "big")
    return False
