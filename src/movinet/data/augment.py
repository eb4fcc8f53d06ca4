"""Changes of training clips: one draw for all frames of a clip.

Frames are cropped and resized as they are decoded; what follows is done on the small clip, and
costs nothing where it is off. Pictures of everything are in docs/training.md.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from movinet.training.config import AugmentSection

if TYPE_CHECKING:
    from kornia.augmentation import VideoSequential
    from kornia.augmentation.auto.base import PolicyAugmentBase

#: How often a random crop that does not fit is drawn again, as in the reference.
_ATTEMPTS = 10


class Crop(NamedTuple):
    """A part of a frame, pixels."""

    top: int
    left: int
    height: int
    width: int


def draw_crop(height: int, width: int, config: AugmentSection, rng: Generator) -> Crop:
    """A random part of a frame by area and aspect ratio; the largest central one if none fits.

    Args:
        height: Of the frame, pixels.
        width: Of the frame, pixels.
        config: The ranges; areas are uniform, aspect ratios (width over height) log-uniform.
        rng: Draws.
    """
    least, most = np.log(config.crop_aspect)
    for _ in range(_ATTEMPTS):
        area = height * width * rng.uniform(*config.crop_area)
        aspect = np.exp(rng.uniform(least, most))
        h, w = round(float(np.sqrt(area / aspect))), round(float(np.sqrt(area * aspect)))
        if 0 < h <= height and 0 < w <= width:
            top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
            return Crop(int(top), int(left), h, w)
    aspect = float(np.clip(width / height, *config.crop_aspect))
    h, w = min(height, round(width / aspect)), min(width, round(height * aspect))
    return Crop((height - h) // 2, (width - w) // 2, max(h, 1), max(w, 1))


def resize_crop(image: NDArray[np.uint8], crop: Crop, size: int) -> NDArray[np.uint8]:
    """A part of a frame as a square of `size` pixels, bilinear with half-pixel centres.

    Without antialiasing, like the reference's ``tf.image.resize`` and our own test views.
    """
    top, left, height, width = crop
    part = np.ascontiguousarray(image[top : top + height, left : left + width])
    if (height, width) == (size, size):
        return part
    pixels = torch.from_numpy(part).permute(2, 0, 1).unsqueeze(0)
    resized = F.interpolate(pixels, (size, size), mode="bilinear", align_corners=False)
    return resized[0].permute(1, 2, 0).numpy()


def augment(clip: NDArray[np.uint8], config: AugmentSection, rng: Generator) -> NDArray[np.uint8]:
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
    policy, changes = _policy(config), _changes(config)
    if policy is None and changes is None:
        return clip
    frames = torch.from_numpy(clip).permute(0, 3, 1, 2).float() / 255
    # kornia draws from PyTorch's global generator.
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(int(rng.integers(2**63)))
        if policy is not None:
            frames = _apply_policy(policy, frames)
        if changes is not None:
            frames = changes(frames.unsqueeze(0))[0]
    pixels = (frames.clamp(0, 1) * 255).round().to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).contiguous().numpy()


def _apply_policy(policy: PolicyAugmentBase, frames: Tensor) -> Tensor:
    """The same operations with the same strengths on every frame."""
    params = policy.forward_parameters(torch.Size((1, *frames.shape[1:])))
    return torch.cat([policy(frame.unsqueeze(0), params=params) for frame in frames])


def _policy(config: AugmentSection) -> PolicyAugmentBase | None:
    if config.policy == "none":
        return None
    return _make_policy(config.policy, config.policy_layers, config.policy_magnitude)


@functools.lru_cache(maxsize=8)
def _make_policy(name: str, layers: int, strength: float) -> PolicyAugmentBase:
    from kornia.augmentation.auto import AutoAugment, RandAugment

    if name == "autoaugment":
        return AutoAugment("imagenet")
    magnitude = round(strength * 3)  # kornia's strengths go up to 30
    return RandAugment(n=layers, m=max(1, min(magnitude, 29)))


def _changes(config: AugmentSection) -> VideoSequential | None:
    """Rotation and colours, drawn once for a clip."""
    colours = (config.brightness, config.contrast, config.saturation, config.hue)
    if not config.rotation and not any(colours):
        return None
    return _make_changes(config.rotation, colours)


@functools.lru_cache(maxsize=8)
def _make_changes(rotation: float, colours: tuple[float, float, float, float]) -> VideoSequential:
    from kornia.augmentation import ColorJitter, RandomRotation, VideoSequential

    steps = []
    if rotation:
        steps.append(RandomRotation(rotation, p=1.0))
    if any(colours):
        steps.append(ColorJitter(*colours, p=1.0))
    return VideoSequential(*steps, data_format="BTCHW", same_on_frame=True)
