"""From ffmpeg's pixel formats to upright RGB arrays."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import NamedTuple, cast

import numpy as np
from av.sidedata.sidedata import SideData, Type
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray


class Frame(NamedTuple):
    """One picture of a video.

    Attributes:
        time: When it appears, seconds as a player shows them: 0 is where the container starts, so
            a video stream that starts after its sound starts later than 0.
        image: (height, width, 3) uint8 RGB, upright.
    """

    time: float
    image: NDArray[np.uint8]


class Orientation(NamedTuple):
    """How a stored picture is turned to be upright: swap the axes, then mirror."""

    transpose: bool = False
    mirror_x: bool = False
    mirror_y: bool = False

    @property
    def rotation(self) -> int:
        """Degrees clockwise from the stored to the upright picture; mirroring left out."""
        if self.transpose:
            return 90 if self.mirror_x else 270
        return 180 if self.mirror_y else 0


UPRIGHT = Orientation()


def orientation(picture: VideoFrame) -> Orientation:
    """Read the display matrix, to the nearest of the eight upright orientations."""
    # PyAV's stub knows one key of this mapping only.
    side_data = cast("Mapping[Type, SideData]", picture.side_data)
    if not side_data or Type.DISPLAYMATRIX not in side_data:
        return UPRIGHT
    data = side_data[Type.DISPLAYMATRIX]
    # Stored (x, y) is shown at (a x + c y, b x + d y); row-wise 3x3, 16.16 fixed point
    # (ffmpeg's libavutil/display.h).
    a, b, _, c, d = (int(value) for value in np.frombuffer(bytes(data), np.int32)[:5])
    if abs(b) + abs(c) > abs(a) + abs(d):
        return Orientation(True, c < 0, b < 0)
    return Orientation(False, a < 0, d < 0)


class RgbConverter:
    """Converts the decoded frames of one video, one after another.

    Colours are those of ffmpeg and players: the stream's colour matrix and range are used (BT.601
    where it names none, as ffmpeg does); transfer functions are not: HDR is not tone-mapped.
    Transparent pixels are shown over black. Pixels are taken as square.
    """

    def __init__(self) -> None:
        self._rotation: int | None = None
        self._turn = UPRIGHT
        # Kept, and without threads: making both anew takes longer than converting a frame.
        self._reformatter = VideoReformatter()

    def __call__(self, picture: VideoFrame) -> NDArray[np.uint8]:
        """Convert a frame.

        Returns:
            (height, width, 3) uint8 RGB, upright; rows may be padded in memory.
        """
        # Side data holds its frame in a reference cycle: looked at in every frame, it would keep
        # frames in memory until Python collects garbage.
        if picture.rotation != self._rotation:
            self._rotation, self._turn = picture.rotation, orientation(picture)
        if _has_alpha(picture.format.name):
            image = _over_black(self._pixels(picture, "rgba"))
        else:
            image = self._pixels(picture, "rgb24")
        return image if self._turn == UPRIGHT else _turned(image, self._turn)

    def _pixels(self, picture: VideoFrame, pixel_format: str) -> NDArray[np.uint8]:
        converted = self._reformatter.reformat(picture, format=pixel_format, threads=1)
        return cast("NDArray[np.uint8]", converted.to_ndarray())


@functools.cache
def _has_alpha(pixel_format: str) -> bool:
    description = VideoFormat(pixel_format)
    return description.has_palette or any(c.is_alpha for c in description.components)


def _over_black(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    alpha = image[..., 3:]
    if alpha.min() == 255:
        return np.ascontiguousarray(image[..., :3])
    return ((image[..., :3].astype(np.uint16) * alpha + 127) // 255).astype(np.uint8)


def _turned(image: NDArray[np.uint8], turn: Orientation) -> NDArray[np.uint8]:
    # Whole pixels of three bytes move twice as fast as single ones.
    pixels = np.ascontiguousarray(image).view("V3")[..., 0]
    if turn.transpose:
        pixels = pixels.T
    pixels = pixels[:: -1 if turn.mirror_y else 1, :: -1 if turn.mirror_x else 1]
    return np.ascontiguousarray(pixels).view(np.uint8).reshape(*pixels.shape, 3)
