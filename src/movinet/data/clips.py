"""Clips of samples: the views that training and evaluation see."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from movinet.config import InputSpec
from movinet.data.augment import augment, draw_crop, resize_crop
from movinet.data.samples import Sample
from movinet.data.sampling import span_of, training_times
from movinet.training.config import AugmentSection
from movinet.video.clips import frames_in_order, read_views, window_starts
from movinet.video.container import SkippedPacket
from movinet.video.preprocessing import THREE_CROPS, preprocess


def training_view(
    sample: Sample, spec: InputSpec, config: AugmentSection, rng: Generator
) -> NDArray[np.uint8]:
    """A random clip of a sample, changed at random.

    Args:
        sample: The sample.
        spec: Size, rate and length.
        config: The changes.
        rng: Draws.

    Returns:
        (time, image size, image size, 3).

    Raises:
        VideoError: If the video cannot be read.
    """
    size = spec.image_size
    times, rate = training_times(
        sample, spec.num_frames, spec.frame_rate, config.random_stride, rng
    )
    as_in_tests = config.crop_area == config.crop_aspect == (1, 1)
    clip = np.empty((len(times), size, size, 3), np.uint8)
    skipped: list[SkippedPacket] = []
    crop, shape, shown, place = None, None, None, 0
    for index, image in frames_in_order(sample.media, times, rate, skipped):
        if image is shown:
            clip[index] = clip[place]
        elif as_in_tests:
            clip[index] = _bytes(preprocess(image, spec))
        else:
            if crop is None or image.shape != shape:  # few videos change their size
                crop, shape = draw_crop(*image.shape[:2], config, rng), image.shape
            clip[index] = resize_crop(image, crop, size)
        shown, place = image, index
    return augment(clip, config, rng)


def evaluation_views(
    sample: Sample, spec: InputSpec, windows: int, crops: int
) -> NDArray[np.uint8]:
    """The views over which a test averages: what `movinet.video.views` gives for a file.

    Args:
        sample: The sample.
        spec: Size, rate and length.
        windows: Spread evenly over the sample; 1 is its middle.
        crops: Of each window, 1 or 3.

    Returns:
        (windows * crops, time, image size, image size, 3), to be divided by 255.

    Raises:
        VideoError: If the video cannot be read.
    """
    span = span_of(sample)
    starts = window_starts(span, spec.num_frames / spec.frame_rate, windows)
    places = THREE_CROPS if crops == 3 else ("center",)
    clips = [read_views(sample.media, spec, span, start, places) for start in starts.tolist()]
    return np.stack([_bytes(clip.frames) for some in clips for clip in some])


def _bytes(frames: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Whole numbers of 255ths as such."""
    return np.rint(frames * np.float32(255)).astype(np.uint8)
