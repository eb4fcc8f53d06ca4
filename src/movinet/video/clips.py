"""Clips for a model: windows of a video, resampled and preprocessed."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from movinet.errors import ConfigError, VideoError
from movinet.network.config import InputSpec
from movinet.video.container import SkippedPacket
from movinet.video.decoding import extent
from movinet.video.media import Media, VideoFile
from movinet.video.pixels import Image
from movinet.video.preprocessing import THREE_CROPS, Crop, crop_pixels, to_unit
from movinet.video.sampling import tolerance


@dataclass(frozen=True)
class Clip:
    """Frames as a model wants them.

    Attributes:
        frames: (time, height, width, 3) float32 RGB in [0, 1].
        times: (time,) when in the video each one was on screen, seconds.
        skipped: Packets that could not be decoded on the way.
    """

    frames: NDArray[np.float32]
    times: NDArray[np.float64]
    skipped: tuple[SkippedPacket, ...] = ()


def read_clip(
    path: str | os.PathLike[str],
    spec: InputSpec,
    *,
    start: float | None = None,
    num_frames: int | None = None,
) -> Clip:
    """Read one clip at the model's size and frame rate: by default the middle of the video.

    A video that is too short is repeated from its beginning, as in the reference.

    Args:
        path: A local video file.
        spec: The model's input.
        start: Time of the first frame, seconds; by default the clip lies in the middle.
        num_frames: Length of the clip; by default the model's own.

    Raises:
        ConfigError: If `start` or `num_frames` make no sense.
        VideoError: If the file cannot be decoded, or ends before `start`.
    """
    count = _clip_length(spec, num_frames)
    if start is not None and not 0 <= start < math.inf:
        raise ConfigError(f"start must be a time in seconds from 0 on, not {start}")
    first, last = extent(Path(path))
    if start is None:
        start = first + max(0.0, last - first - count / spec.frame_rate) / 2
    elif start >= last:
        raise VideoError(f"{path}: start {start:g} s is past its end at {last:g} s")
    media = VideoFile(Path(path))
    return read_views(media, spec, (first, last), max(start, first), num_frames=count)[0]


def views(
    path: str | os.PathLike[str],
    spec: InputSpec,
    *,
    num_windows: int = 1,
    num_crops: int = 1,
    num_frames: int | None = None,
) -> Iterator[Clip]:
    """The views over which a test averages probabilities, as in the reference.

    Args:
        path: A local video file.
        spec: The model's input.
        num_windows: Clips spaced evenly from the beginning to the end; 1 is the middle.
        num_crops: 1, the centre, or 3 along the longer side (see `preprocess`).
        num_frames: Length of each; by default the model's own.

    Returns:
        ``num_windows * num_crops`` clips, the crops of a window one after another; a window is
        decoded when its turn comes.

    Raises:
        ConfigError: If a number is not allowed.
        VideoError: If the file cannot be decoded; also while iterating.
    """
    count = _clip_length(spec, num_frames)
    if num_windows < 1 or num_crops not in (1, 3):
        raise ConfigError(
            f"num_windows must be at least 1 and num_crops 1 or 3, not {num_windows}, {num_crops}"
        )
    first, last = extent(Path(path))
    starts = window_starts((first, last), count / spec.frame_rate, num_windows)
    crops = THREE_CROPS if num_crops == 3 else ("center",)
    media = VideoFile(Path(path))
    return (
        clip
        for start in starts.tolist()
        for clip in read_views(media, spec, (first, last), start, crops, count)
    )


def _clip_length(spec: InputSpec, num_frames: int | None) -> int:
    count = spec.num_frames if num_frames is None else num_frames
    if count < 1:
        raise ConfigError(f"num_frames must be at least 1, not {count}")
    return count


def read_views(
    media: Media,
    spec: InputSpec,
    span: tuple[float, float],
    start: float,
    crops: tuple[Crop, ...] = ("center",),
    num_frames: int | None = None,
) -> list[Clip]:
    """One test view for each crop, from `start` on, wrapping at the end of `span`.

    Args:
        media: The video.
        spec: The model's input.
        span: Which part of the video is repeated where it is too short, seconds.
        start: Of the window, seconds.
        crops: See `preprocess`.
        num_frames: Length of the clip; by default the model's own.

    Raises:
        VideoError: If it cannot be decoded.
    """
    times = wrapped_times(span, start, _clip_length(spec, num_frames), spec.frame_rate)
    skipped: list[SkippedPacket] = []
    pixels = read_pixels(media, spec, times, crops, skipped)
    return [Clip(to_unit(clip), times, tuple(skipped)) for clip in pixels]


def read_pixels(
    media: Media,
    spec: InputSpec,
    times: NDArray[np.float64],
    crops: tuple[Crop, ...],
    skipped: list[SkippedPacket],
) -> NDArray[np.uint8]:
    """The frames on screen at some times, resized and cropped.

    Args:
        media: The video.
        spec: The model's input.
        times: In any order, seconds.
        crops: See `preprocess`.
        skipped: Packets that could not be decoded are appended here.

    Returns:
        (crops, times, image size, image size, 3), to be scaled by `to_unit`.

    Raises:
        VideoError: If it cannot be decoded.
    """
    size = spec.image_size
    frames = np.empty((len(crops), len(times), size, size, 3), np.uint8)
    shown, place = None, 0
    for index, image in frames_in_order(media, times, spec.frame_rate, skipped):
        if image is shown:
            frames[:, index] = frames[:, place]
        else:
            frames[:, index] = [crop_pixels(image, spec, crop) for crop in crops]
        shown, place = image, index
    return frames


def frames_in_order(
    media: Media, times: NDArray[np.float64], frame_rate: float, skipped: list[SkippedPacket]
) -> Iterator[tuple[int, Image]]:
    """Each place in `times`, in the order of decoding, and the frame that is on screen then.

    Args:
        media: The video.
        times: In any order, seconds.
        frame_rate: Of the clip; decides how late a frame may be.
        skipped: Packets that could not be decoded are appended here.
    """
    order = np.argsort(times, kind="stable")
    images = media.frames(times[order].tolist(), tolerance(frame_rate), skipped)
    yield from zip(order.tolist(), images, strict=True)


def window_starts(
    span: tuple[float, float], length: float, num_windows: int
) -> NDArray[np.float64]:
    """Where windows of `length` seconds begin, spread evenly over `span`; one is in the middle."""
    room = max(0.0, span[1] - span[0] - length)
    places = np.linspace(0, room, num_windows) if num_windows > 1 else np.array([room / 2])
    return span[0] + places


def wrapped_times(
    span: tuple[float, float], start: float, count: int, frame_rate: float
) -> NDArray[np.float64]:
    """(count,) times from `start` on at `frame_rate`, beginning again where `span` ends."""
    first, last = span
    places = start - first + np.arange(count) / frame_rate
    length = last - first
    # Within the tolerance of the end is the beginning: the last frame has just gone.
    slack = tolerance(frame_rate)
    return first + np.maximum(places - np.floor((places + slack) / length) * length, 0.0)
