"""Clips of samples: the views that training sees."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from movinet.data.samples import Sample
from movinet.data.sampling import training_times
from movinet.network.config import InputSpec
from movinet.training.batches.augment import augment, draw_crop, resize_crop
from movinet.training.config import AugmentSection
from movinet.video.clips import frames_in_order
from movinet.video.container import SkippedPacket
from movinet.video.preprocessing import crop_pixels


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
            clip[index] = crop_pixels(image, spec)
        else:
            if crop is None or image.shape != shape:  # few videos change their size
                crop, shape = draw_crop(*image.shape[:2], config, rng), image.shape
            clip[index] = resize_crop(image, crop, size)
        shown, place = image, index
    return augment(clip, config, rng)
