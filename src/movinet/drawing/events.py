"""A video with its events below it."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from movinet.drawing.predictions import check_output
from movinet.drawing.video import (
    BACKGROUND,
    COLOURS,
    DIM,
    GRID,
    LARGEST_SCALE,
    MAX_RENDERED,
    RENDER_SUFFIXES,
    TEXT,
    even,
    fit,
    font_of,
    render_under,
    ticks,
)
from movinet.events import Event
from movinet.text import printable

if TYPE_CHECKING:
    from PIL.Image import Image


def render_events(
    video: str | os.PathLike[str],
    events: Sequence[Event],
    out: str | os.PathLike[str],
    *,
    progress: Callable[[float], None] | None = None,
    fps: float | None = None,
) -> None:
    """Write the video with a row for each class below it, in which bars are its events.

    Args:
        video: The file or folder in which they were found.
        events: In any order; the seven classes that last longest are shown.
        out: An .mp4 or .gif file; it appears only when it is complete. Sizes are those of
            `movinet.drawing.video.render`.
        progress: Called after each frame with its time in seconds.
        fps: Frames per second, if `video` is a folder of numbered pictures.

    Raises:
        ConfigError: If `out` is not allowed.
        MissingExtraError: If matplotlib (whose fonts and imaging library are used) is missing.
        VideoError: If the video cannot be read or the output not be written.
    """
    from movinet.video import open_media

    render_under(
        open_media(video, fps),
        check_output(out, RENDER_SUFFIXES),
        lambda width, last: EventPanel(events, width, last),
        progress=progress,
    )


class EventPanel:
    """The picture below the video at any time.

    Args:
        events: All of the video.
        width: Pixels.
        duration: Time at the right edge, seconds; the left one is 0.
    """

    def __init__(self, events: Sequence[Event], width: int, duration: float) -> None:
        by_label: defaultdict[str, list[Event]] = defaultdict(list)
        for event in sorted(events, key=lambda event: event.start):
            by_label[event.label].append(event)
        longest = sorted(by_label, key=lambda label: -sum(e.end - e.start for e in by_label[label]))
        self._rows = [by_label[label] for label in longest[:MAX_RENDERED]]
        self._starts = [[event.start for event in row] for row in self._rows]
        self._duration = duration if duration > 0 else 1.0
        self._width, self._scale = width, min(width / 480, LARGEST_SCALE)
        self._font, self._bold = font_of(self._px(12)), font_of(self._px(12), bold=True)
        self._small = font_of(self._px(10))
        names = [fit(printable(row[0].label), self._bold, int(width * 0.4)) for row in self._rows]
        self._labels = names or ["no events"]
        self._left = self._px(24) + int(max(self._bold.getlength(label) for label in self._labels))
        self._right = width - self._px(14)
        self._top, self._row_height = self._px(20), self._px(20)
        self._bottom = self._top + self._row_height * len(self._labels)
        self._height = even(self._bottom + self._px(22))
        self._still = self._draw_still()

    def at(self, time: float) -> np.ndarray:
        """The panel at a time, (height, width, 3) uint8 RGB."""
        from PIL import ImageDraw

        image = self._still.copy()
        draw = ImageDraw.Draw(image)
        for rank, label in enumerate(self._labels):
            now = self._now(rank, time) if self._rows else False
            font, colour = (self._bold, TEXT) if now else (self._font, DIM)
            draw.text((self._px(12), self._middle(rank)), label, colour, font, anchor="lm")
        cursor = round(self._x(time))
        draw.line([(cursor, self._top), (cursor, self._bottom)], fill=TEXT, width=self._px(1))
        clock = f"{time:.1f} s"
        half = self._small.getlength(clock) / 2
        place = min(max(cursor, self._left + half), self._right - half)
        draw.text((place, self._top - self._px(5)), clock, TEXT, self._small, anchor="mb")
        return np.asarray(image)

    def _now(self, rank: int, time: float) -> bool:
        """Whether an event of a row goes on."""
        before = bisect_right(self._starts[rank], time + 1e-6)
        return before > 0 and time < self._rows[rank][before - 1].end - 1e-6

    def _px(self, size: float) -> int:
        return max(1, round(size * self._scale))

    def _middle(self, rank: int) -> int:
        return self._top + rank * self._row_height + self._row_height // 2

    def _x(self, time: float) -> float:
        share = min(max(time / self._duration, 0.0), 1.0)
        return self._left + (self._right - self._left) * share

    def _draw_still(self) -> Image:
        """What does not change: grooves, bars, times."""
        from PIL import Image, ImageDraw

        image = Image.new("RGB", (self._width, self._height), BACKGROUND)
        draw = ImageDraw.Draw(image)
        half = self._px(5)
        for rank in range(len(self._labels)):
            middle = self._middle(rank)
            groove = (self._left, middle - half, self._right, middle + half)
            draw.rounded_rectangle(groove, self._px(3), fill=GRID)
            for event in self._rows[rank] if self._rows else ():
                left = self._x(event.start)
                right = max(self._x(event.end), left + 1)  # short ones of long videos are seen
                box = (left, middle - half, right, middle + half)
                draw.rounded_rectangle(box, self._px(2), fill=COLOURS[rank])
        for second in ticks(self._duration):
            place = (self._x(second), self._bottom + self._px(4))
            draw.text(place, f"{second:g} s", DIM, self._small, anchor="mt")
        return image
