"""Changes of training clips: one draw for all frames of a clip.

Frames are cropped and resized as they are decoded. What follows is done on the small clip, by
Pillow on 8-bit pixels, and costs nothing where it is off.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from movinet.training.batches.policies import (
    Clip,
    auto_augment,
    change_frames,
    change_pixels,
    rand_augment,
)
from movinet.training.config import AugmentSection

#: How often a random crop that does not fit is drawn again, as in the reference.
_ATTEMPTS = 100


class Crop(NamedTuple):
    """A part of a frame, pixels."""

    top: int
    left: int
    height: int
    width: int


def draw_crop(height: int, width: int, config: AugmentSection, rng: Generator) -> Crop:
    """A random part of a frame, distributed as TensorFlow's sample_distorted_bounding_box does.

    Aspect ratios are uniform, and so are the heights that keep the area in its range and the crop
    in the frame. If there is none, it is the largest central part of an aspect ratio in the range.

    Args:
        height: Of the frame, pixels.
        width: Of the frame, pixels.
        config: The ranges.
        rng: Draws.
    """
    for _ in range(_ATTEMPTS):
        aspect = rng.uniform(*config.crop_aspect)  # width over height
        least, most = (np.sqrt(height * width * area / aspect) for area in config.crop_area)
        most = min(most, height, width / aspect)
        if least <= most:
            tall = rng.uniform(least, most)
            h, w = max(1, round(tall)), max(1, min(width, round(tall * aspect)))
            top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
            return Crop(int(top), int(left), h, w)
    aspect = float(np.clip(width / height, *config.crop_aspect))
    h, w = max(1, min(height, round(width / aspect))), max(1, min(width, round(height * aspect)))
    return Crop((height - h) // 2, (width - w) // 2, h, w)


def resize_crop(image: NDArray[np.uint8], crop: Crop, size: int) -> NDArray[np.uint8]:
    """A part of a frame as a square of `size` pixels, bilinear with half-pixel centres.

    Without antialiasing, like the reference's ``tf.image.resize`` and our own test views.
    """
    top, left, height, width = crop
    part = np.ascontiguousarray(image[top : top + height, left : left + width])
    if (height, width) == (size, size):
        return part
    # With strides of a batch PyTorch takes it as channels-last, which is four times as fast.
    pixels = torch.from_numpy(part)[None].permute(0, 3, 1, 2)
    resized = F.interpolate(pixels, (size, size), mode="bilinear", align_corners=False)
    return resized[0].permute(1, 2, 0).numpy()


def augment(clip: Clip, config: AugmentSection, rng: Generator) -> Clip:
    """Flip, policy, rotation and colours of a clip that has the network's size.

    Args:
        clip: (time, height, width, 3).
        config: What is on.
        rng: Draws.

    Returns:
        The same shape.
    """
    if rng.uniform() < config.flip:
        clip = np.ascontiguousarray(clip[:, :, ::-1])
    if config.policy == "autoaugment":
        clip = auto_augment(clip, rng)
    elif config.policy == "randaugment":
        clip = rand_augment(clip, config.policy_layers, config.policy_magnitude, rng)
    if config.rotation:
        angle = rng.uniform(-config.rotation, config.rotation)
        bilinear = Image.Resampling.BILINEAR
        clip = change_frames(clip, lambda image: image.rotate(angle, bilinear))
    return _jitter(clip, config, rng)


def _jitter(clip: Clip, config: AugmentSection, rng: Generator) -> Clip:
    """Brightness, contrast, saturation and hue."""
    for kind, most in (
        (ImageEnhance.Brightness, config.brightness),
        (ImageEnhance.Contrast, config.contrast),
        (ImageEnhance.Color, config.saturation),
    ):
        if most:
            factor = rng.uniform(1 - most, 1 + most)
            clip = change_pixels(clip, lambda image, k=kind, f=factor: k(image).enhance(f))
    if config.hue:
        turns = rng.uniform(-config.hue, config.hue)
        clip = change_pixels(clip, lambda image: _turn_hue(image, turns))
    return clip


def _turn_hue(image: Image.Image, turns: float) -> Image.Image:
    hue, saturation, value = image.convert("HSV").split()
    shift = round(turns * 256)  # 8 bits are the whole circle
    hue = hue.point([(level + shift) % 256 for level in range(256)])
    return Image.merge("HSV", (hue, saturation, value)).convert("RGB")
