"""AutoAugment and RandAugment of clips, after the reference.

Operations and strengths are those of TensorFlow Model Garden (official/vision/ops/augment.py), done
by Pillow on 8-bit pixels. What an operation draws holds for all frames, and what it measures
(extremes, histogram, mean) is that of the whole clip.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

#: (time, height, width, 3) uint8.
Clip = NDArray[np.uint8]
Change = Callable[[Image.Image], Image.Image]
#: Changes a clip with a strength from 0 to 10.
Operation = Callable[[Clip, float, Generator], Clip]

#: What comes into view from outside the picture.
_GREY = (128, 128, 128)


def change_pixels(clip: Clip, change: Change) -> Clip:
    """Apply what sees pixels one by one: the frames are one tall picture."""
    sheet = Image.fromarray(clip.reshape(-1, *clip.shape[2:]))
    return np.asarray(change(sheet)).reshape(clip.shape)


def change_frames(clip: Clip, change: Change) -> Clip:
    """Apply what moves or blurs pixels, frame by frame."""
    return np.stack([np.asarray(change(Image.fromarray(frame))) for frame in clip])


def _auto_contrast(clip: Clip, level: float, rng: Generator) -> Clip:
    del level, rng
    return change_pixels(clip, ImageOps.autocontrast)


def _equalize(clip: Clip, level: float, rng: Generator) -> Clip:
    del level, rng
    return change_pixels(clip, ImageOps.equalize)


def _invert(clip: Clip, level: float, rng: Generator) -> Clip:
    del level, rng
    return 255 - clip


def _posterize(clip: Clip, level: float, rng: Generator) -> Clip:
    del rng
    bits = max(1, int(level / 10 * 4))  # the reference's 0 bits are a black clip
    return change_pixels(clip, partial(ImageOps.posterize, bits=bits))


def _solarize(clip: Clip, level: float, rng: Generator) -> Clip:
    del rng
    return change_pixels(clip, partial(ImageOps.solarize, threshold=int(level / 10 * 256)))


def _solarize_add(clip: Clip, level: float, rng: Generator) -> Clip:
    del rng
    addition = np.uint8(level / 10 * 110)  # at most 110 on less than 128 stays below 256
    return np.where(clip < 128, clip + addition, clip)


def _enhance(kind: Callable[[Image.Image], ImageEnhance._Enhance]) -> Operation:
    """An operation that goes from a plainer picture (0) over the picture (1) beyond it (2)."""

    def operation(clip: Clip, level: float, rng: Generator) -> Clip:
        del rng
        factor = level / 10 * 1.8 + 0.1
        apply = change_frames if kind is ImageEnhance.Sharpness else change_pixels
        return apply(clip, lambda image: kind(image).enhance(factor))

    return operation


def _rotate(clip: Clip, level: float, rng: Generator) -> Clip:
    angle = _either_way(level / 10 * 30, rng)
    return change_frames(clip, lambda image: image.rotate(angle, fillcolor=_GREY))


def _shear_x(clip: Clip, level: float, rng: Generator) -> Clip:
    return _affine(clip, (1, _either_way(level / 10 * 0.3, rng), 0, 0, 1, 0))


def _shear_y(clip: Clip, level: float, rng: Generator) -> Clip:
    return _affine(clip, (1, 0, 0, _either_way(level / 10 * 0.3, rng), 1, 0))


# Shifts are the paper's, up to 150 of 331 pixels. The reference shifts by up to 250 pixels whatever
# the size, which leaves nothing of a small clip.


def _translate_x(clip: Clip, level: float, rng: Generator) -> Clip:
    shift = _either_way(level / 10 * 150 / 331 * clip.shape[2], rng)
    return _affine(clip, (1, 0, shift, 0, 1, 0))


def _translate_y(clip: Clip, level: float, rng: Generator) -> Clip:
    shift = _either_way(level / 10 * 150 / 331 * clip.shape[1], rng)
    return _affine(clip, (1, 0, 0, 0, 1, shift))


def _either_way(value: float, rng: Generator) -> float:
    return value if rng.uniform() < 0.5 else -value


def _affine(clip: Clip, matrix: tuple[float, ...]) -> Clip:
    """Pixels from where `matrix` takes their (x, y); the nearest ones, as in the reference."""

    def change(image: Image.Image) -> Image.Image:
        return image.transform(image.size, Image.Transform.AFFINE, matrix, fillcolor=_GREY)

    return change_frames(clip, change)


OPERATIONS: dict[str, Operation] = {
    "auto_contrast": _auto_contrast,
    "equalize": _equalize,
    "invert": _invert,
    "rotate": _rotate,
    "posterize": _posterize,
    "solarize": _solarize,
    "solarize_add": _solarize_add,
    "color": _enhance(ImageEnhance.Color),
    "contrast": _enhance(ImageEnhance.Contrast),
    "brightness": _enhance(ImageEnhance.Brightness),
    "sharpness": _enhance(ImageEnhance.Sharpness),
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
}

#: The reference's policy for ImageNet, "v0": pairs of (operation, probability, strength).
_AUTO_AUGMENT = (
    (("equalize", 0.8, 1), ("shear_y", 0.8, 4)),
    (("color", 0.4, 9), ("equalize", 0.6, 3)),
    (("color", 0.4, 1), ("rotate", 0.6, 8)),
    (("solarize", 0.8, 3), ("equalize", 0.4, 7)),
    (("solarize", 0.4, 2), ("solarize", 0.6, 2)),
    (("color", 0.2, 0), ("equalize", 0.8, 8)),
    (("equalize", 0.4, 8), ("solarize_add", 0.8, 3)),
    (("shear_x", 0.2, 9), ("rotate", 0.6, 8)),
    (("color", 0.6, 1), ("equalize", 1.0, 2)),
    (("invert", 0.4, 9), ("rotate", 0.6, 0)),
    (("equalize", 1.0, 9), ("shear_y", 0.6, 3)),
    (("color", 0.4, 7), ("equalize", 0.6, 0)),
    (("posterize", 0.4, 6), ("auto_contrast", 0.4, 7)),
    (("solarize", 0.6, 8), ("color", 0.6, 9)),
    (("solarize", 0.2, 4), ("rotate", 0.8, 9)),
    (("rotate", 1.0, 7), ("translate_y", 0.8, 9)),
    (("shear_x", 0.0, 0), ("solarize", 0.8, 4)),
    (("shear_y", 0.8, 0), ("color", 0.6, 4)),
    (("color", 1.0, 0), ("rotate", 0.6, 2)),
    (("equalize", 0.8, 4), ("equalize", 0.0, 8)),
    (("equalize", 1.0, 4), ("auto_contrast", 0.6, 2)),
    (("shear_y", 0.4, 7), ("solarize_add", 0.6, 7)),
    (("posterize", 0.8, 2), ("solarize", 0.6, 10)),
    (("solarize", 0.6, 8), ("equalize", 0.6, 1)),
    (("color", 0.8, 6), ("rotate", 0.4, 5)),
)


def auto_augment(clip: Clip, rng: Generator) -> Clip:
    """One of the pairs of the ImageNet policy (arXiv 1805.09501).

    Args:
        clip: (time, height, width, 3).
        rng: Draws.

    Returns:
        The same shape.
    """
    for name, probability, level in _AUTO_AUGMENT[rng.integers(len(_AUTO_AUGMENT))]:
        if rng.uniform() < probability:
            clip = OPERATIONS[name](clip, level, rng)
    return clip


def rand_augment(clip: Clip, layers: int, level: float, rng: Generator) -> Clip:
    """Some operations in a row (arXiv 1909.13719); cutout is left out.

    Args:
        clip: (time, height, width, 3).
        layers: How many.
        level: Their strength, 0 to 10.
        rng: Draws.

    Returns:
        The same shape.
    """
    names = list(OPERATIONS)
    for _ in range(layers):
        clip = OPERATIONS[names[rng.integers(len(names))]](clip, level, rng)
    return clip
