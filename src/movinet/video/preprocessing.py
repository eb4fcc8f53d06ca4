"""The reference's test preprocessing, in numpy.

What is computed follows TensorFlow Model Garden (official/vision/ops/preprocess_ops_3d.py:
``resize_smallest``, ``crop_image``, ``normalize_image``) and the kernel behind its
``tf.image.resize``: bilinear with half-pixel centres and no antialiasing, in float32, cut back to
uint8 (cut, not rounded) before anything is cropped or divided by 255.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from movinet.errors import ConfigError
from movinet.network.config import InputSpec

#: Which part of the resized frame: the middle of it, or one of three along the longer side.
Crop = Literal["center", "first", "middle", "last"]
#: The three crops of the reference's multi-view test.
THREE_CROPS: tuple[Crop, ...] = ("first", "middle", "last")


def preprocess(
    image: NDArray[np.uint8], spec: InputSpec, crop: Crop = "center"
) -> NDArray[np.float32]:
    """Resize the short side, crop a square, scale to [0, 1].

    Args:
        image: (height, width, 3) uint8 RGB of any size.
        spec: The model's input.
        crop: As in `crop_pixels`.

    Returns:
        (image_size, image_size, 3) float32 in [0, 1], multiples of 1/255.

    Raises:
        ConfigError: If `image` is not such an array.
    """
    return to_unit(crop_pixels(image, spec, crop))


def to_unit(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Values of pixels scaled to [0, 1], float32."""
    return pixels.astype(np.float32) / np.float32(255)


def crop_pixels(
    image: NDArray[np.uint8], spec: InputSpec, crop: Crop = "center"
) -> NDArray[np.uint8]:
    """Resize the short side and crop a square.

    Only the pixels of the crop are computed.

    Args:
        image: (height, width, 3) uint8 RGB of any size.
        spec: The model's input.
        crop: "center", or one of the reference's three crops along the longer side. Those lie at
            the top (or left) of the shorter side, not in its middle: so does the reference's.

    Returns:
        (image_size, image_size, 3) uint8.

    Raises:
        ConfigError: If `image` is not such an array.
    """
    _check_image(image)
    height, width = _resized_shape(image, spec.short_side)
    size = spec.image_size
    if crop == "center":
        top, left = (height - size) // 2, (width - size) // 2
    else:
        top = _offset(height, size, crop) if height >= width else 0
        left = _offset(width, size, crop) if height < width else 0
    return _resize_region(image, (height, width), (top, left), (size, size))


def resize_short_side(image: NDArray[np.uint8], short_side: int) -> NDArray[np.uint8]:
    """Resize so that the shorter side is `short_side` pixels, as the reference does.

    Args:
        image: (height, width, 3) uint8.
        short_side: Pixels; the longer side is in proportion, rounded down.

    Returns:
        (new height, new width, 3) uint8.

    Raises:
        ConfigError: If an argument is not allowed.
    """
    _check_image(image)
    if short_side < 1:
        raise ConfigError(f"short_side must be at least 1, not {short_side}")
    shape = _resized_shape(image, short_side)
    return _resize_region(image, shape, (0, 0), shape)


def center_crop(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The middle square of an image; an odd pixel is cut at the end.

    Args:
        image: (height, width, 3) uint8.
        size: Pixels, at most the shorter side.

    Returns:
        (size, size, 3) uint8, a view.

    Raises:
        ConfigError: If the image is smaller.
    """
    _check_image(image)
    height, width = image.shape[:2]
    if not 1 <= size <= min(height, width):
        raise ConfigError(f"cannot crop {size} pixels square out of {width}x{height}")
    top, left = (height - size) // 2, (width - size) // 2
    return image[top : top + size, left : left + size]


def _check_image(image: NDArray[np.uint8]) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ConfigError(
            f"an image must be (height, width, 3) uint8, not {image.shape} {image.dtype}"
        )


def _resized_shape(image: NDArray[np.uint8], short_side: int) -> tuple[int, int]:
    height, width = image.shape[:2]
    return (
        max(short_side, height * short_side // width),
        max(short_side, width * short_side // height),
    )


def _offset(length: int, size: int, crop: Crop) -> int:
    if crop == "first":
        return 0
    if crop == "last":
        return length - size
    return round(length / 2 - size // 2)  # halves to the even number, as TensorFlow rounds


class _Taps(NamedTuple):
    """Two source pixels and the weight of the second for every output pixel of one axis."""

    low: NDArray[np.intp]
    high: NDArray[np.intp]
    weight: NDArray[np.float32]


def _taps(source: int, target: int, offset: int, count: int) -> _Taps:
    half = np.float32(0.5)
    scale = np.float32(source) / np.float32(target)
    place = (np.arange(offset, offset + count, dtype=np.float32) + half) * scale - half
    floor = np.floor(place)
    low = np.maximum(floor.astype(np.intp), 0)
    high = np.minimum(np.ceil(place).astype(np.intp), source - 1)
    return _Taps(low, high, place - floor)


def _resize_region(
    image: NDArray[np.uint8],
    shape: tuple[int, int],
    offset: tuple[int, int],
    size: tuple[int, int],
) -> NDArray[np.uint8]:
    """The region `offset`, `size` of `image` resized to `shape`, each (vertical, horizontal)."""
    (top, left), (height, width) = offset, size
    if shape == image.shape[:2]:
        return image[top : top + height, left : left + width]
    vertical = _taps(image.shape[0], shape[0], top, height)
    horizontal = _taps(image.shape[1], shape[1], left, width)
    rows, places = np.unique(np.concatenate(vertical[:2]), return_inverse=True)
    strip = image.take(rows, axis=0)
    weight = horizontal.weight[:, None]
    left_pixels = strip.take(horizontal.low, axis=1).astype(np.float32)
    right_pixels = strip.take(horizontal.high, axis=1).astype(np.float32)
    # The order of the operations is TensorFlow's: another one changes what is cut to an integer.
    lines = left_pixels + (right_pixels - left_pixels) * weight
    upper, lower = lines[places[:height]], lines[places[height:]]
    return (upper + (lower - upper) * vertical.weight[:, None, None]).astype(np.uint8)
