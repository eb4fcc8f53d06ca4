"""What a model gets to see of a sample in an evaluation."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from movinet.data.samples import Sample
from movinet.data.sampling import span_of
from movinet.errors import ConfigError, VideoError
from movinet.network.config import InputSpec
from movinet.video.clips import frames_in_order, read_pixels, window_starts, wrapped_times
from movinet.video.container import SkippedPacket
from movinet.video.preprocessing import THREE_CROPS, crop_pixels
from movinet.video.sampling import tolerance

Control = Literal["last-frame", "shuffled"]
CONTROLS: tuple[Control, ...] = ("last-frame", "shuffled")
#: (time, height, width, 3), preprocessed; runtimes scale it to [0, 1].
Pixels = NDArray[np.uint8]
#: Pixels of a stream that are decoded and computed at once: what is held is bounded.
CHUNK = 64
#: The most that the frames of a sample may take while they are shuffled, bytes.
_MAX_SHUFFLED = 2**28
_MAX_VIEWS = 1000


@dataclass(frozen=True)
class Look:
    """How samples are looked at.

    Attributes:
        views: Base models: windows, spread evenly over a sample.
        crops: Base models: 1 or 3 of each window.
        control: Takes motion away, to see whether it matters: "last-frame" shows the last frame all
            the time, "shuffled" the frames in random order; None is the video as it is.
        seed: Of the random order.
        start: Seconds of each sample that are left out at its beginning.
        end: Seconds after the beginning of each sample at which it ends at the latest.
        half_life: Stream models: seconds after which a frame counts half; None counts all the same.

    Raises:
        ConfigError: If a value is not allowed.
    """

    views: int = 1
    crops: int = 1
    control: Control | None = None
    seed: int = 0
    start: float | None = None
    end: float | None = None
    half_life: float | None = None

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise ConfigError(f"{name} must be seconds from 0 on, not {value:g}")
        if self.end is not None and self.end <= (self.start or 0):
            raise ConfigError(f"end {self.end:g} must be after start {self.start or 0:g}")
        if self.half_life is not None and not 0 < self.half_life < math.inf:
            raise ConfigError(
                f"half_life must be a positive number of seconds, not {self.half_life:g}"
            )
        if not 1 <= self.views <= _MAX_VIEWS:
            raise ConfigError(f"views must be from 1 to {_MAX_VIEWS}, not {self.views}")
        if self.crops not in (1, 3):
            raise ConfigError(f"crops must be 1 or 3, not {self.crops}")
        if self.control is not None and self.control not in CONTROLS:
            raise ConfigError(f"control must be {' or '.join(CONTROLS)}, not {self.control!r}")
        if self.seed < 0:
            raise ConfigError(f"seed must be 0 or more, not {self.seed}")

    def order(self, index: int, count: int) -> NDArray[np.intp]:
        """The random order of the `count` frames of sample number `index`."""
        return np.random.default_rng((self.seed, index)).permutation(count)


def part_of(sample: Sample, look: Look) -> Sample:
    """The part of a sample that is looked at.

    Raises:
        VideoError: If there is nothing of it.
    """
    if look.start is None and look.end is None:
        return sample
    begin = sample.start or 0.0
    end = math.inf if sample.end is None else sample.end
    if look.end is not None:
        end = min(end, begin + look.end)
    start = begin + (look.start or 0.0)
    if start >= end:
        raise VideoError(f"{sample.media.name}: the sample ends at {end:g} s, before {start:g} s")
    return dataclasses.replace(sample, start=start, end=None if end == math.inf else end)


def stream_times(sample: Sample, frame_rate: float) -> NDArray[np.float64]:
    """When a stream model sees the frames of a sample: at its rate, from the start to the end.

    Args:
        sample: The sample.
        frame_rate: Of the model, frames per second.

    Returns:
        (frames,) times, seconds; at least one.

    Raises:
        VideoError: If it cannot be read.
    """
    start, end = span_of(sample)
    count = max(1, math.ceil((end - start - tolerance(frame_rate)) * frame_rate))
    return start + np.arange(count) / frame_rate


def stream_pixels(
    sample: Sample,
    times: NDArray[np.float64],
    spec: InputSpec,
    skipped: list[SkippedPacket],
    chunks: Iterable[int] | None = None,
) -> Iterator[Pixels]:
    """The frames of a sample for a stream model, in chunks.

    Args:
        sample: The sample.
        times: From `stream_times`.
        spec: The model's input.
        skipped: Packets that could not be decoded are appended here.
        chunks: How many frames each one has, until there are no more; by default `CHUNK`.

    Raises:
        VideoError: If it cannot be read.
    """
    shape = (spec.image_size, spec.image_size, 3)
    shown, pixels = None, np.empty(shape, np.uint8)
    frames = frames_in_order(sample.media, times, spec.frame_rate, skipped)
    left = len(times)
    for chunk in itertools.repeat(CHUNK) if chunks is None else chunks:
        held = np.empty((min(chunk, left), *shape), np.uint8)
        for place in range(len(held)):
            _, image = next(frames)
            if image is not shown:
                shown, pixels = image, crop_pixels(image, spec)
            held[place] = pixels
        yield held
        left -= len(held)
        if not left:
            return


def stream_frames(
    sample: Sample, index: int, spec: InputSpec, look: Look, skipped: list[SkippedPacket]
) -> Iterator[Pixels]:
    """Every frame of a sample at the model's rate, in chunks of at most `CHUNK`.

    Args:
        sample: The sample.
        index: Its number: another one gives another random order.
        spec: The model's input.
        look: The control; views and crops are for base models.
        skipped: Packets that could not be decoded are appended here.

    Raises:
        VideoError: If it cannot be read, or is too long to be shuffled.
    """
    times = stream_times(sample, spec.frame_rate)
    count = len(times)
    match look.control:
        case None:
            yield from stream_pixels(sample, times, spec, skipped)
        case "last-frame":
            last = next(stream_pixels(sample, times[-1:], spec, skipped))
            for first in range(0, count, CHUNK):
                yield np.repeat(last, min(CHUNK, count - first), axis=0)
        case "shuffled":
            yield from _shuffled(sample, times, spec, look.order(index, count), skipped)


def _shuffled(
    sample: Sample,
    times: NDArray[np.float64],
    spec: InputSpec,
    order: NDArray[np.intp],
    skipped: list[SkippedPacket],
) -> Iterator[Pixels]:
    of_frame = spec.image_size**2 * 3
    if len(times) * of_frame > _MAX_SHUFFLED:
        raise VideoError(
            f"{sample.media.name}: {len(times)} frames are too many to shuffle, at most "
            f"{_MAX_SHUFFLED // of_frame} of {spec.image_size}x{spec.image_size} pixels"
        )
    held = np.empty((len(times), spec.image_size, spec.image_size, 3), np.uint8)
    place = 0
    for chunk in stream_pixels(sample, times, spec, skipped):
        held[place : place + len(chunk)] = chunk
        place += len(chunk)
    for first in range(0, len(times), CHUNK):
        yield held[order[first : first + CHUNK]]


def window_clips(
    sample: Sample,
    index: int,
    window: int,
    spec: InputSpec,
    look: Look,
    late: float,
    skipped: list[SkippedPacket],
) -> list[Pixels]:
    """The crops of one window of a sample, under the control of `look`.

    Args:
        sample: The sample.
        index: Its number: another one gives another random order.
        window: Which of `look.views`.
        spec: The model's input.
        look: Views, crops and control.
        late: Seconds by which a member of an ensemble sees its frames later.
        skipped: Packets that could not be decoded are appended here.

    Raises:
        VideoError: If it cannot be read.
    """
    pixels = window_pixels(sample, window, spec, look, skipped, late)
    return [_controlled(crop, index, look) for crop in pixels]


def window_pixels(
    sample: Sample,
    window: int,
    spec: InputSpec,
    look: Look,
    skipped: list[SkippedPacket],
    late: float = 0.0,
) -> Pixels:
    """The crops of one window of a sample, as base models see it.

    Args:
        sample: The sample.
        window: Which of `look.views`.
        spec: The model's input.
        look: Views and crops.
        skipped: Packets that could not be decoded are appended here.
        late: Seconds by which a member of an ensemble sees its frames later.

    Returns:
        (crops, time, height, width, 3).

    Raises:
        VideoError: If it cannot be read.
    """
    span = span_of(sample)
    start = window_starts(span, spec.num_frames / spec.frame_rate, look.views)[window] + late
    times = wrapped_times(span, float(start), spec.num_frames, spec.frame_rate)
    crops = THREE_CROPS if look.crops == 3 else ("center",)
    return read_pixels(sample.media, spec, times, crops, skipped)


def _controlled(clip: Pixels, index: int, look: Look) -> Pixels:
    match look.control:
        case None:
            return clip
        case "last-frame":
            return np.repeat(clip[-1:], len(clip), axis=0)
        case "shuffled":
            return clip[look.order(index, len(clip))]
