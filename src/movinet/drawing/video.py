"""A video with its predictions below it, growing as time passes."""

from __future__ import annotations

import contextlib
import math
import os
import warnings
from bisect import bisect_right
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from movinet.drawing.predictions import (
    THRESHOLD,
    ceiling,
    check_output,
    leading_classes,
    percent,
    require_matplotlib,
)
from movinet.errors import ConfigError
from movinet.text import printable

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

    from movinet.prediction import Prediction
    from movinet.video import Media

#: The suffixes that `render` writes.
RENDER_SUFFIXES = (".mp4", ".gif")
#: The most classes that fit below a video.
MAX_RENDERED = 7
#: Okabe and Ito's colours (https://jfly.uni-koeln.de/color/) without those that vanish on black.
COLOURS = ("#56B4E9", "#E69F00", "#009E73", "#F0E442", "#CC79A7", "#D55E00", "#BBBBBB")
BACKGROUND, GRID, DIM, TEXT = "#14161A", "#2C3038", "#8D94A0", "#F2F4F7"
LARGEST_SCALE = 1.8  # of text and bars, against a panel 480 pixels wide
_SUPERSAMPLING = 4  # curves are drawn this much larger and scaled down: smooth lines
_USUAL_RATE = 25.0  # frames per second, of files that don't tell theirs
_SLOWEST = 10.0  # of slide shows: the curves go on while a picture stays
#: suffix -> (smallest width, largest width, most frames per second). GIF stores whole hundredths
#: of a second and compresses badly.
_LIMITS = {".mp4": (480, 1280, 60.0), ".gif": (480, 480, 10.0)}


def render(
    video: str | os.PathLike[str],
    predictions: Sequence[Prediction],
    out: str | os.PathLike[str],
    *,
    top: int = 5,
    progress: Callable[[float], None] | None = None,
    fps: float | None = None,
) -> None:
    """Write the video with its leading classes below it: bars of now, and curves up to now.

    The video is read once more and never held as a whole. Its size is that of its first picture;
    pictures of another shape lie in the middle of black. A prediction shows from its time on; a
    single one, which stands for the whole video, all the time.

    Args:
        video: The file or folder that was predicted on.
        predictions: Its predictions in order of time, as from `movinet.predict`.
        out: An .mp4 or .gif file; it appears only when it is complete. Small videos are enlarged to
            480 pixels of width, large ones reduced to 1280 (GIF: always 480, at most 10 frames per
            second).
        top: Number of classes, 1 to 7.
        progress: Called after each frame with its time in seconds.
        fps: Frames per second, if `video` is a folder of numbered pictures.

    Raises:
        ConfigError: If there are no predictions, or `out` or `top` is not allowed.
        MissingExtraError: If matplotlib (whose fonts and imaging library are used) is missing.
        VideoError: If the video cannot be read or the output not be written.
    """
    out = check_output(out, RENDER_SUFFIXES)
    if not predictions:
        raise ConfigError(f"cannot render {str(out)!r}: there are no predictions")
    if not 1 <= top <= MAX_RENDERED:
        raise ConfigError(f"top must be from 1 to {MAX_RENDERED} in a rendered video, not {top}")
    from movinet.video import open_media

    render_under(
        open_media(video, fps),
        out,
        lambda width, last: Panel(predictions, width, max(last, predictions[-1].time), top),
        progress=progress,
    )


class Drawn(Protocol):
    """What is below a video."""

    def at(self, time: float) -> np.ndarray:
        """The picture at a time, (height, width, 3) uint8 RGB of one even height."""
        ...


def render_under(
    media: Media,
    out: Path,
    panel_of: Callable[[int, float], Drawn],
    *,
    progress: Callable[[float], None] | None = None,
) -> None:
    """Write the video with something below it: see `render`.

    Args:
        media: The video.
        out: An .mp4 or .gif file, checked.
        panel_of: Gives what is below it, for a width in pixels and the end of the video in seconds.
        progress: Called after each frame with its time in seconds.
    """
    require_matplotlib("rendering")  # its fonts, and Pillow, which it needs
    from movinet.video import VideoWriter
    from movinet.video.sound import Sound

    narrowest, widest, fastest = _LIMITS[out.suffix.lower()]
    info = media.info()
    width = even(min(max(info.width, narrowest), widest))
    height = even(info.height * width / info.width)
    rate = min(max(info.frame_rate or _USUAL_RATE, _SLOWEST), fastest)
    panel = panel_of(width, media.extent()[1])
    with contextlib.ExitStack() as stack:
        file = media.video_file
        sound = None if file is None else stack.enter_context(Sound(file))
        frames, _ = stack.enter_context(media.stream(rate))
        writer: VideoWriter | None = None
        for time, image in frames:
            if writer is None:
                writer = stack.enter_context(VideoWriter(out, rate, sound=sound, begin=time))
            writer.write(np.vstack([_fitted(image, width, height), panel.at(time)]))
            if progress is not None:
                progress(time)
        if sound is not None and sound.reason and out.suffix.lower() == ".mp4":
            warnings.warn(f"{out} is not heard as its video is: {sound.reason}", stacklevel=3)


def even(length: float) -> int:
    """The nearest even number of pixels: H.264 stores colour at half the size."""
    return max(2, round(length / 2) * 2)


def _fitted(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """The image as large as fits, in the middle of black where its shape is another one."""
    from PIL import Image

    if image.shape[:2] == (height, width):
        return image
    scale = min(width / image.shape[1], height / image.shape[0])
    wide, tall = (max(1, round(side * scale)) for side in (image.shape[1], image.shape[0]))
    # The first picture fills it: its sides were only made even.
    wide, tall = (width if width - wide <= 2 else wide), (height if height - tall <= 2 else tall)
    scaled = np.asarray(Image.fromarray(image).resize((wide, tall), Image.Resampling.BICUBIC))
    if scaled.shape[:2] == (height, width):
        return scaled
    top, left = (height - tall) // 2, (width - wide) // 2
    fitted = np.zeros((height, width, 3), np.uint8)
    fitted[top : top + tall, left : left + wide] = scaled
    return fitted


class Panel:
    """The picture below the video at any time.

    Everything that does not change is drawn once; a frame pastes the part of the curves that time
    has reached, and draws the bars and numbers.

    Args:
        predictions: Predictions of one video in order of time, at least one.
        width: Width, pixels.
        duration: Time at the right edge of the curves, seconds; the left one is 0.
        top: Number of classes.
    """

    def __init__(
        self,
        predictions: Sequence[Prediction],
        width: int,
        duration: float,
        top: int,
    ) -> None:
        classes = leading_classes(predictions, top)
        self._times = [prediction.time for prediction in predictions]
        self._multi_label = predictions[0].multi_label
        self._values = np.array([p.probabilities[classes] for p in predictions], np.float64)
        self._ceiling = ceiling(100 * float(self._values.max())) / 100
        self._duration = duration if duration > 0 else 1.0
        self._width, self._scale = width, min(width / 480, LARGEST_SCALE)
        self._font = font_of(self._px(12))
        self._bold = font_of(self._px(12), bold=True)
        self._small = font_of(self._px(10))
        self._curves_shown = len(predictions) > 1
        self._layout([predictions[0].labels[c] for c in classes])
        self._empty = self._draw_empty()
        self._full = self._draw_curves() if self._curves_shown else self._empty
        self._dots = [self._draw_dot(COLOURS[rank]) for rank in range(len(classes))]

    def at(self, time: float) -> np.ndarray:
        """The panel at a time.

        Args:
            time: Seconds.

        Returns:
            (height, width, 3) uint8 RGB; the height is even and always the same.
        """
        from PIL import ImageDraw

        seen = bisect_right(self._times, time + 1e-6) if self._curves_shown else 1
        image = self._empty.copy()
        draw = ImageDraw.Draw(image)
        if self._curves_shown:
            self._reveal(image, draw, time, seen)
        self._fill_rows(draw, self._values[seen - 1] if seen else None)
        return np.asarray(image)

    def _px(self, size: float) -> int:
        return max(1, round(size * self._scale))

    def _layout(self, labels: Sequence[str]) -> None:
        margin, width = self._px(12), self._width
        axis = int(self._small.getlength("100 %")) + self._px(6)
        top, bottom = self._px(20), self._px(20) + self._px(92)
        self._plot_box = (margin + axis, top, width - margin - self._px(6), bottom)
        self._row_height = self._px(20)
        self._rows_top = bottom + self._px(24) if self._curves_shown else self._px(8)
        self.height = even(self._rows_top + len(labels) * self._row_height + self._px(10))
        room = int(width * 0.52)
        self._labels = [fit(printable(label), self._font, room) for label in labels]
        label_width = int(max(self._bold.getlength(label) for label in self._labels))
        percent_width = int(self._bold.getlength("<0.1 %"))
        self._bar_left = self._px(27) + min(label_width, room) + self._px(10)
        self._bar_right = width - margin - percent_width - self._px(8)

    def _row_middle(self, rank: int) -> int:
        return self._rows_top + rank * self._row_height + self._row_height // 2

    def _x(self, time: float) -> float:
        left, _, right, _ = self._plot_box
        return left + (right - left) * min(max(time / self._duration, 0.0), 1.0)

    def _y(self, probability: float) -> float:
        _, top, _, bottom = self._plot_box
        return bottom - (bottom - top) * probability / self._ceiling

    def _draw_empty(self) -> Image:
        """Axes, labels and the grooves of the bars."""
        from PIL import Image, ImageDraw

        image = Image.new("RGB", (self._width, self.height), BACKGROUND)
        draw = ImageDraw.Draw(image)
        left, _, right, bottom = self._plot_box
        if self._curves_shown:
            for share in (0.0, 0.5, 1.0):
                y = round(self._y(share * self._ceiling))
                draw.line([(left, y), (right, y)], fill=GRID, width=self._px(1))
                label = f"{100 * share * self._ceiling:g} %"
                draw.text((left - self._px(6), y), label, DIM, self._small, anchor="rm")
            for second in ticks(self._duration):
                place = (self._x(second), bottom + self._px(7))
                draw.text(place, f"{second:g} s", DIM, self._small, anchor="mt")
        for rank in range(len(self._labels)):
            middle = self._row_middle(rank)
            chip = (self._px(12), middle - self._px(4), self._px(20), middle + self._px(4))
            draw.rounded_rectangle(chip, self._px(2), fill=COLOURS[rank])
            draw.rounded_rectangle(self._bar(middle, 1), self._px(3), fill=GRID)
        return image

    def _draw_curves(self) -> Image:
        """The empty panel with all curves from start to end."""
        from PIL import Image, ImageDraw

        zoom = _SUPERSAMPLING
        size = (self._width * zoom, self._plot_box[3] * zoom + zoom * self._px(4))
        lines = Image.new("RGB", size, BACKGROUND)
        lines.paste(self._empty.resize((size[0], self.height * zoom), Image.Resampling.NEAREST))
        draw = ImageDraw.Draw(lines)
        for rank in reversed(range(self._values.shape[1])):  # the strongest on top
            points = [
                (self._x(time) * zoom, self._y(value) * zoom)
                for time, value in zip(self._times, self._values[:, rank], strict=True)
            ]
            draw.line(points, COLOURS[rank], width=self._px(2 * zoom), joint="curve")
        full = self._empty.copy()
        full.paste(lines.resize((self._width, size[1] // zoom), Image.Resampling.LANCZOS))
        return full

    def _draw_dot(self, colour: str) -> Image:
        """A round dot with its transparency, for the head of a curve."""
        from PIL import Image, ImageDraw

        size = self._px(9)
        large = Image.new("RGBA", (size * 4, size * 4), (0, 0, 0, 0))
        ImageDraw.Draw(large).ellipse((0, 0, size * 4 - 1, size * 4 - 1), fill=BACKGROUND)
        inner = (size // 2, size // 2, size * 4 - 1 - size // 2, size * 4 - 1 - size // 2)
        ImageDraw.Draw(large).ellipse(inner, fill=colour)
        return large.resize((size, size), Image.Resampling.LANCZOS)

    def _reveal(self, image: Image, draw: ImageDraw, time: float, seen: int) -> None:
        """Show the curves of the first `seen` predictions, and the cursor."""
        left, top, right, bottom = self._plot_box
        cursor = round(self._x(time))
        head = round(self._x(self._times[seen - 1])) if seen else left
        box = (left - self._px(3), 0, head, bottom + self._px(4))
        image.paste(self._full.crop(box), box[:2])
        draw.line([(cursor, top), (cursor, bottom)], fill=DIM, width=self._px(1))
        clock = f"{time:.1f} s"
        half = self._small.getlength(clock) / 2
        place = (min(max(cursor, left + half), right - half), top - self._px(5))
        draw.text(place, clock, TEXT, self._small, anchor="mb")
        if seen:
            for dot, value in reversed(list(zip(self._dots, self._values[seen - 1], strict=True))):
                corner = (head - dot.width // 2, round(self._y(value)) - dot.height // 2)
                image.paste(dot, corner, dot)

    def _fill_rows(self, draw: ImageDraw, values: np.ndarray | None) -> None:
        """Write the labels, and the bars and numbers of `values` if there is a prediction yet."""
        for rank, label in enumerate(self._labels):
            middle = self._row_middle(rank)
            leads = values is not None and values[rank] >= self._leading(values)
            font = self._bold if leads else self._font
            draw.text((self._px(27), middle), label, TEXT, font, anchor="lm")
            if values is None:
                continue
            share = float(values[rank])  # bars are full at 100 %, whatever the curves' axis
            if (self._bar_right - self._bar_left) * share >= 1:
                draw.rounded_rectangle(self._bar(middle, share), self._px(3), fill=COLOURS[rank])
            number = (self._width - self._px(12), middle)
            draw.text(number, percent(float(values[rank])), TEXT, font, anchor="rm")

    def _leading(self, values: np.ndarray) -> float:
        """The least value whose label stands out: a label is there, or is the most probable."""
        return THRESHOLD if self._multi_label else float(values.max())

    def _bar(self, middle: int, share: float) -> tuple[float, int, float, int]:
        half = self._px(5)
        right = self._bar_left + (self._bar_right - self._bar_left) * share
        return (self._bar_left, middle - half, right, middle + half)


def font_of(size: int, *, bold: bool = False) -> FreeTypeFont:
    """The font that comes with matplotlib: the same picture on every machine."""
    import matplotlib
    from PIL import ImageFont

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", name), size)


def fit(label: str, font: FreeTypeFont, room: int) -> str:
    """The label, cut to `room` pixels with an ellipsis."""
    if font.getlength(label) <= room:
        return label
    while label and font.getlength(label + "…") > room:
        label = label[:-1].rstrip()
    return label + "…"


def ticks(duration: float) -> list[float]:
    """Up to six round times from 0 to `duration`, seconds."""
    power = 10.0 ** math.floor(math.log10(duration / 5))
    step = next(power * m for m in (1, 2, 5, 10) if duration / 5 <= power * m * (1 + 1e-9))
    return [n * step for n in range(int(duration / step + 1e-9) + 1)]
