"""Which part of a video a clip shows, and at which times."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from movinet.data.samples import Sample
from movinet.errors import VideoError
from movinet.video.clips import wrapped_times
from movinet.video.sampling import tolerance


def span_of(sample: Sample) -> tuple[float, float]:
    """Where a sample begins and ends in its video, seconds.

    An end after that of the video is that of the video: its last frame is not shown on and on.

    Raises:
        VideoError: If its video cannot be read, or ends before the sample begins.
    """
    given = sample.start, sample.end
    if given[0] is not None and given[1] is not None and given[1] <= sample.media.told_end():
        return given[0], given[1]  # a long file need not be read through
    first, last = sample.media.extent()
    start = first if sample.start is None else max(first, sample.start)
    end = last if sample.end is None else min(last, sample.end)
    if start >= end:
        raise VideoError(
            f"{sample.media.name}: the sample begins at {start:g} s, the video ends at {end:g} s"
        )
    return start, end


def training_times(
    sample: Sample, num_frames: int, frame_rate: float, random_stride: float, rng: Generator
) -> tuple[NDArray[np.float64], float]:
    """A random window of a sample, as in the reference.

    Where the sample is long enough, the window lies within it. A shorter one is repeated, beginning
    anywhere.

    Args:
        sample: The sample.
        num_frames: Length of the clip.
        frame_rate: Frames per second of the model.
        random_stride: The time between frames is drawn from [1 - r, 1 + r) of the model's.
        rng: Draws.

    Returns:
        (num_frames,) times in seconds, and the frame rate that was drawn.

    Raises:
        VideoError: If the video cannot be read.
    """
    span = span_of(sample)
    rate = frame_rate / rng.uniform(1 - random_stride, 1 + random_stride)
    length = span[1] - span[0]
    room = length - (num_frames - 1) / rate - tolerance(rate)
    start = span[0] + rng.uniform() * (room if room > 0 else length)
    return wrapped_times(span, start, num_frames, rate), rate
