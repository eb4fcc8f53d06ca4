"""From ffmpeg's pixel formats to upright RGB arrays."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import NamedTuple, cast

import numpy as np
from av.error import FFmpegError
from av.sidedata.sidedata import SideData, Type
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from movinet.errors import VideoError
from movinet.video.container import MAX_PIXELS, MAX_SIDE, SkippedPacket

#: (height, width, 3) uint8 RGB, upright and of square pixels.
Image = NDArray[np.uint8]


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
#: ffmpeg's numbers (libavutil/pixfmt.h) of the transfer functions of high dynamic range.
_HDR = {16: "PQ", 18: "HLG"}
#: Of colour matrices that libswscale lacks, and of those that are shown in their place.
_MATRICES = {
    8: "YCgCo",
    10: "BT.2020 with constant luminance",
    11: "SMPTE ST 2085",
    12: "derived from the primaries",
    13: "derived from the primaries",
    14: "ICtCp",
    15: "IPT-C2",
    16: "YCgCo-Re",
    17: "YCgCo-Ro",
}
_BT709, _BT2020 = 1, 9
#: Pixel formats with which libswscale ends the process.
_FATAL = ("yaf32",)
_SHOWN = {_BT709: "BT.709", _BT2020: "BT.2020"}
#: Of these, what is nearest is BT.2020's matrix, whatever the primaries.
_LIKE_BT2020 = {10, 14, 15}


def orientation(picture: VideoFrame) -> Orientation:
    """Read the display matrix, to the nearest of the eight upright orientations."""
    # PyAV's stub knows one key of this mapping only.
    try:
        side_data = cast("Mapping[Type, SideData]", picture.side_data)
        if not side_data or Type.DISPLAYMATRIX not in side_data:
            return UPRIGHT
        data = bytes(side_data[Type.DISPLAYMATRIX])
    except ValueError:
        # A kind of side data that PyAV has no name for, as in spatial video, hides all others.
        return _turned_by(picture.rotation)
    # Stored (x, y) is shown at (a x + c y, b x + d y); row-wise 3x3, 16.16 fixed point
    # (ffmpeg's libavutil/display.h).
    a, b, _, c, d = (int(value) for value in np.frombuffer(data, np.int32)[:5])
    if abs(b) + abs(c) > abs(a) + abs(d):
        return Orientation(True, c < 0, b < 0)
    return Orientation(False, a < 0, d < 0)


def _turned_by(degrees: int) -> Orientation:
    """The orientation of a picture turned counterclockwise, and not mirrored."""
    turns = (
        UPRIGHT,
        Orientation(True, False, True),
        Orientation(False, True, True),
        Orientation(True, True, False),
    )
    known = -360 <= degrees <= 360  # a broken matrix gives no number
    return turns[round(degrees / 90) % 4] if known else UPRIGHT


def shown_size(width: int, height: int, aspect: float) -> tuple[int, int]:
    """The size of a stored picture with square pixels: a side grows, none shrinks.

    Args:
        width: Stored pixels.
        height: Stored pixels.
        aspect: Width of a pixel in heights.

    Returns:
        Width and height; unchanged for shapes that no screen shows.
    """
    wide = round(width * aspect) if aspect > 1 else width
    tall = round(height / aspect) if aspect < 1 else height
    # Containers round what they store: a pixel more is none.
    if wide - width <= 1 and tall - height <= 1:
        return width, height
    if max(wide, tall) > MAX_SIDE or wide * tall > MAX_PIXELS:
        return width, height
    return wide, tall


def upright_size(picture: VideoFrame, aspect: float) -> tuple[int, int]:
    """Width and height of a picture as it is shown: turned upright, of square pixels.

    Args:
        picture: As it is stored.
        aspect: Width of its pixels, in heights.
    """
    width, height = shown_size(picture.width, picture.height, aspect)
    return (height, width) if orientation(picture).transpose else (width, height)


class RgbConverter:
    """Converts the decoded frames of one video, one after another.

    Colours are those of ffmpeg and players: the stream's colour matrix and range are used (BT.601
    where it names none, as ffmpeg does); transfer functions are not: HDR is not tone-mapped, and
    noted. Transparent pixels are shown over black. Pixels become square.

    Args:
        name: Of the video, for messages.
        notes: What is doubtful about the colours is appended here.
    """

    def __init__(self, name: str, notes: list[SkippedPacket]) -> None:
        self._name, self._notes = name, notes
        self._rotation: int | None = None
        self._turn = UPRIGHT
        # Kept, and without threads: making both anew takes longer than converting a frame.
        self._reformatter = VideoReformatter()
        self._transfer: int | None = None
        #: What (matrix, range) that ffmpeg cannot convert are taken for.
        self._instead: dict[tuple[int, int], tuple[int, int]] = {}

    @property
    def turn(self) -> Orientation:
        """What made the last frame upright."""
        return self._turn

    def __call__(
        self, picture: VideoFrame, aspect: float = 1.0, turn: Orientation | None = None
    ) -> NDArray[np.uint8]:
        """Convert a frame.

        Args:
            picture: The frame.
            aspect: Width of its pixels, in heights.
            turn: What makes it upright; None if it tells.

        Returns:
            (height, width, 3) uint8 RGB, upright; rows may be padded in memory.

        Raises:
            VideoError: If its pixel format cannot be converted.
        """
        # Side data holds its frame in a reference cycle: looked at in every frame, it would keep
        # frames in memory until Python collects garbage.
        if turn is not None:
            self._rotation, self._turn = None, turn
        elif picture.rotation != self._rotation:
            self._rotation, self._turn = picture.rotation, orientation(picture)
        if picture.color_trc != self._transfer:
            self._transfer = picture.color_trc
            if (name := _HDR.get(self._transfer)) is not None:
                self._note(f"HDR ({name}) is not tone-mapped: it looks paler than on a screen")
        if _has_alpha(picture.format.name):
            image = _over_black(self._pixels(picture, aspect, "rgba"))
        else:
            image = self._pixels(picture, aspect, "rgb24")
        return image if self._turn == UPRIGHT else _turned(image, self._turn)

    def _pixels(self, picture: VideoFrame, aspect: float, pixel_format: str) -> NDArray[np.uint8]:
        size = shown_size(picture.width, picture.height, aspect)
        colours = (picture.colorspace, picture.color_range)
        if colours in self._instead:
            picture.colorspace, picture.color_range = self._instead[colours]
            return self._reformatted(picture, size, pixel_format)
        try:
            return self._reformatted(picture, size, pixel_format)
        except VideoError:
            # Frames that ffmpeg cannot convert by their tags are shown as those of like videos.
            instead = _nearest_colours(picture)
            if instead == colours:
                raise
        picture.colorspace, picture.color_range = instead
        image = self._reformatted(picture, size, pixel_format)
        self._instead[colours] = instead
        matrix = _MATRICES.get(colours[0], f"matrix {colours[0]}")
        self._note(f"colours that cannot be converted ({matrix}) are shown as {_SHOWN[instead[0]]}")
        return image

    def _reformatted(
        self, picture: VideoFrame, size: tuple[int, int], pixel_format: str
    ) -> NDArray[np.uint8]:
        try:
            if picture.format.name.startswith(_FATAL):
                raise ValueError("libswscale cannot")
            converted = self._reformatter.reformat(picture, *size, pixel_format, threads=1)
            return cast("NDArray[np.uint8]", converted.to_ndarray())
        except (FFmpegError, ValueError) as error:
            raise VideoError(
                f"{self._name}: its pixels ({picture.format.name}) cannot be converted ({error})"
            ) from None

    def _note(self, reason: str) -> None:
        note = SkippedPacket(None, reason, note=True)
        if note not in self._notes:
            self._notes.append(note)


def _nearest_colours(picture: VideoFrame) -> tuple[int, int]:
    """Matrix and range that are known, nearest to those of a frame."""
    like_bt2020 = picture.colorspace in _LIKE_BT2020 or picture.color_primaries == _BT2020
    known_range = picture.color_range if picture.color_range in (0, 1, 2) else 0
    return (_BT2020 if like_bt2020 else _BT709), known_range


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
