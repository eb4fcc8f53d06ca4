from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from movinet.errors import ConfigError
from movinet.network.config import InputSpec
from movinet.network.presets import input_spec
from movinet.video import center_crop, preprocess, resize_short_side
from movinet.video.preprocessing import THREE_CROPS

CASES = Path(__file__).parents[1] / "data" / "preprocessing.npz"


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * 7919 + width).integers(
        0, 256, (height, width, 3), np.uint8
    )


def test_equals_the_reference_bit_for_bit():
    """Outputs of TensorFlow 2.20: benchmarks/reference_preprocessing.py made the file."""
    with np.load(CASES) as cases:
        for name in cases["names"]:
            image = cases[f"{name}/image"]
            short_side, size = cases[f"{name}/sizes"].tolist()
            spec = InputSpec(image_size=size, short_side=short_side, frame_rate=5, num_frames=1)
            np.testing.assert_array_equal(
                resize_short_side(image, short_side), cases[f"{name}/resized"]
            )
            for crop in ("center", *THREE_CROPS):
                np.testing.assert_array_equal(
                    np.round(preprocess(image, spec, crop) * 255), cases[f"{name}/{crop}"]
                )
        np.testing.assert_array_equal(
            preprocess(np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2),
                       InputSpec(16, 16, 5, 1))[..., 0].ravel(),
            cases["scaled"],
        )  # fmt: skip


def exact(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear interpolation with half-pixel centres in exact fractions."""

    def weights(source: int, target: int) -> np.ndarray:
        matrix = np.zeros((target, source), dtype=object)
        for i in range(target):
            place = (i + Fraction(1, 2)) * Fraction(source, target) - Fraction(1, 2)
            low = place.numerator // place.denominator
            for j, weight in ((low, 1 - (place - low)), (low + 1, place - low)):
                matrix[i, min(max(j, 0), source - 1)] += weight
        return matrix

    vertical, horizontal = weights(image.shape[0], height), weights(image.shape[1], width)
    planes = [vertical @ image[..., c].astype(object) @ horizontal.T for c in range(3)]
    return np.stack(planes, axis=2).astype(np.float64)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 15))
def test_resizing_is_bilinear_and_cut_to_integers(height, width, short_side):
    image = noise(height, width)
    resized = resize_short_side(image, short_side)
    scale = Fraction(short_side, min(height, width))
    assert resized.shape == (int(height * scale), int(width * scale), 3)
    values = exact(image, *resized.shape[:2])
    # Cut down, up to float32 rounding just below an integer.
    assert np.all(resized <= values + 1e-4)
    assert np.all(resized > values - 1 - 1e-4)


@pytest.mark.parametrize(
    "shape", [(256, 340), (240, 426), (720, 1280), (1280, 720), (97, 311), (100, 80), (192, 192)]
)
@pytest.mark.parametrize("name", ["a0_base", "a4_base"])
def test_agrees_with_torch(shape, name):
    image, spec = noise(*shape), input_spec(name)
    resized = resize_short_side(image, spec.short_side)
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    expected = torch.nn.functional.interpolate(
        tensor, resized.shape[:2], mode="bilinear", align_corners=False, antialias=False
    )
    difference = resized - expected[0].permute(1, 2, 0).numpy()
    assert difference.max() < 1e-2
    assert difference.min() > -1 - 1e-2
    result = preprocess(image, spec)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, center_crop(resized, spec.image_size) / np.float32(255))


def test_three_crops_lie_along_the_longer_side():
    wide = np.zeros((192, 400, 3), np.uint8)
    wide[..., 0], wide[..., 1] = np.arange(192)[:, None], np.arange(400) // 2
    spec = InputSpec(image_size=172, short_side=192, frame_rate=5, num_frames=1)
    first, middle, last = (np.round(preprocess(wide, spec, c) * 255) for c in THREE_CROPS)
    assert [part[0, 0, 1] for part in (first, middle, last)] == [0, 57, 114]
    assert {part[0, 0, 0] for part in (first, middle, last)} == {0}
    tall = wide.transpose(1, 0, 2)
    for crop, part in zip(THREE_CROPS, (first, middle, last), strict=True):
        turned = np.round(preprocess(tall, spec, crop) * 255).transpose(1, 0, 2)
        np.testing.assert_array_equal(turned, part)


def test_any_memory_layout():
    image = noise(300, 400)
    spec = input_spec("a0_base")
    for view in (image[:, ::-1], image[::-1], image.transpose(1, 0, 2), image[10:, 5:-5]):
        np.testing.assert_array_equal(preprocess(view, spec), preprocess(view.copy(), spec))


def test_extreme_shapes_cost_no_memory():
    spec = input_spec("a0_base")
    assert preprocess(noise(1, 16384), spec).shape == (172, 172, 3)
    assert preprocess(noise(16384, 1), spec).shape == (172, 172, 3)


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 4), (0, 4, 3)])
def test_what_is_no_image_is_refused(shape):
    with pytest.raises(ConfigError, match="uint8"):
        preprocess(np.zeros(shape, np.uint8), input_spec("a0_base"))
    with pytest.raises(ConfigError, match="float64"):
        preprocess(np.zeros((4, 4, 3)), input_spec("a0_base"))  # pyright: ignore[reportArgumentType]


def test_crops_must_fit():
    with pytest.raises(ConfigError, match="cannot crop 5"):
        center_crop(noise(4, 9), 5)
    with pytest.raises(ConfigError, match="short_side"):
        resize_short_side(noise(4, 9), 0)
