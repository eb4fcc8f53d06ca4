"""Augmentation: what each change does to a clip, and that all frames get the same one."""

from __future__ import annotations

import colorsys
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from movinet.training.batches.augment import Crop, augment, draw_crop, resize_crop
from movinet.training.batches.policies import OPERATIONS, auto_augment, rand_augment
from movinet.training.config import AugmentSection
from video.synthetic import corners, quadrants

CHANGES: list[dict[str, Any]] = [
    {"flip": 0.5},
    {"policy": "autoaugment"},
    {"policy": "randaugment"},
    {"rotation": 30},
    {"brightness": 0.5},
    {"contrast": 0.5},
    {"saturation": 0.5},
    {"hue": 0.5},
]


def section(**changes: Any) -> AugmentSection:
    return AugmentSection(**{"flip": 0, **changes})


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def picture(seed: int = 0) -> NDArray[np.uint8]:
    """(24, 32, 3): smooth, in all colours."""
    small = Image.fromarray(rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8))
    return np.asarray(small.resize((32, 24), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("changes", CHANGES, ids=lambda c: "-".join(map(str, c)))
def test_all_frames_are_changed_alike(changes: dict[str, Any]) -> None:
    still = np.repeat(picture()[None], 5, axis=0)
    outcomes = set()
    for seed in range(40):
        changed = augment(still, section(**changes), rng(seed))
        assert changed.shape == still.shape
        assert changed.dtype == np.uint8
        assert (changed == changed[0]).all()
        outcomes.add(changed[0].tobytes())
    assert len(outcomes) == 2 if "flip" in changes else len(outcomes) > 10


@pytest.mark.parametrize("changes", CHANGES, ids=lambda c: "-".join(map(str, c)))
def test_the_seed_decides_and_the_clip_given_stays(changes: dict[str, Any]) -> None:
    clip = np.stack([picture(i) for i in range(3)])
    before = clip.copy()
    for seed in range(5):
        first, second = (augment(clip, section(**changes), rng(seed)) for _ in range(2))
        assert np.array_equal(first, second)
    assert np.array_equal(clip, before)


def test_nothing_is_changed_where_all_is_off() -> None:
    clip = np.stack([picture(i) for i in range(3)])
    assert augment(clip, section(), rng()) is clip


def test_a_flip_mirrors_left_and_right() -> None:
    clip = quadrants()[None]
    assert corners(augment(clip, section(flip=1), rng())[0]) == "GRYB"


def test_rotation_turns_up_to_its_limit() -> None:
    clip = np.zeros((1, 65, 65, 3), np.uint8)
    clip[0, 31:34, 48:51] = 255  # to the right of the middle
    angles = []
    for seed in range(100):
        y, x = np.argwhere(augment(clip, section(rotation=40), rng(seed))[0, ..., 0] > 100).mean(0)
        angles.append(np.degrees(np.arctan2(y - 32, x - 32)))
    assert -42 < min(angles) < -35
    assert 35 < max(angles) < 42


def test_colours_change_by_what_they_say() -> None:
    grey = np.full((1, 8, 8, 3), 100, np.uint8)
    levels = [int(augment(grey, section(brightness=0.5), rng(s))[0, 0, 0, 0]) for s in range(200)]
    assert 50 <= min(levels) < 55
    assert 145 < max(levels) <= 150
    colour = np.full((1, 8, 8, 3), (200, 100, 100), np.uint8)
    spreads = []
    for seed in range(200):
        red, green, _ = map(int, augment(colour, section(saturation=1), rng(seed))[0, 0, 0])
        spreads.append(red - green)
    assert min(spreads) < 10
    assert 180 < max(spreads) <= 200
    edge = np.zeros((1, 8, 8, 3), np.uint8)
    edge[:, :4], edge[:, 4:] = 80, 120
    steps = []
    for seed in range(200):
        changed = augment(edge, section(contrast=1), rng(seed))[0, :, 0, 0].astype(int)
        assert changed[0] + changed[-1] == pytest.approx(200, abs=3)  # the mean stays
        steps.append(changed[-1] - changed[0])
    assert min(steps) < 4
    assert 76 < max(steps) <= 80


def test_hue_turns_the_colour_circle() -> None:
    red = np.full((1, 2, 2, 3), (200, 40, 40), np.uint8)
    turns = []
    for seed in range(200):
        pixel = augment(red, section(hue=0.1), rng(seed))[0, 0, 0] / 255
        hue, _, value = colorsys.rgb_to_hsv(*pixel)
        assert value == pytest.approx(200 / 255, abs=0.02)
        turns.append((hue + 0.5) % 1 - 0.5)
    assert -0.11 < min(turns) < -0.09
    assert 0.09 < max(turns) < 0.11


def test_crops_have_the_areas_and_aspects_of_the_reference() -> None:
    config, draws = section(), rng()
    crops = [draw_crop(256, 340, config, draws) for _ in range(2000)]
    for top, left, height, width in crops:
        assert 0 <= top <= top + height <= 256
        assert 0 <= left <= left + width <= 340
    areas = np.array([c.height * c.width for c in crops]) / (256 * 340)
    aspects = np.array([c.width / c.height for c in crops])
    assert 0.075 < areas.min() < 0.1
    assert 0.9 < areas.max() <= 1
    assert 0.48 < aspects.min() < 0.55
    assert 1.9 < aspects.max() < 2.05
    assert np.mean(aspects < 1.25) == pytest.approx(0.5, abs=0.04)  # uniform, not log-uniform
    assert len({(c.top > 64, c.left > 85) for c in crops}) == 4


@pytest.mark.parametrize(
    ("area", "aspect", "expected"),
    [
        ((1, 1), (1, 1), Crop(0, 42, 256, 256)),
        ((1, 1), (0.2, 1), Crop(0, 42, 256, 256)),
        ((1, 1), (2, 2), Crop(43, 0, 170, 340)),
    ],
)
def test_a_crop_that_cannot_be_is_the_largest_in_the_middle(
    area: tuple[float, float], aspect: tuple[float, float], expected: Crop
) -> None:
    assert draw_crop(256, 340, section(crop_area=area, crop_aspect=aspect), rng()) == expected


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (3, 2)])
def test_any_frame_can_be_cropped(shape: tuple[int, int]) -> None:
    for seed in range(50):
        crop = draw_crop(*shape, section(), rng(seed))
        assert crop.top + crop.height <= shape[0]
        assert crop.left + crop.width <= shape[1]
        image = np.full((*shape, 3), 7, np.uint8)
        assert (resize_crop(image, crop, 16) == 7).all()


def test_resizing_is_bilinear_between_the_centres_of_pixels() -> None:
    image = np.zeros((4, 10, 3), np.uint8)
    image[:, 4:] = 200
    row = resize_crop(image, Crop(0, 2, 4, 4), 8)[3, :, 0]
    assert row.tolist() == [0, 0, 0, 50, 150, 200, 200, 200]
    lines = np.zeros((16, 16, 3), np.uint8)
    lines[:, ::4] = 255  # thin lines between the samples vanish without antialiasing
    assert resize_crop(lines, Crop(0, 0, 16, 16), 4).max() == 0


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_keep_the_shape_at_any_strength(name: str) -> None:
    clip = np.stack([picture(i) for i in range(3)])
    for level in (0, 2, 5, 9, 10):
        changed = OPERATIONS[name](clip, level, rng())
        assert changed.shape == clip.shape
        assert changed.dtype == np.uint8
        assert changed.max() > changed.min()


def test_operations_do_what_their_names_say() -> None:
    clip = np.stack([picture(i) for i in range(3)])

    def apply(name: str, level: float) -> NDArray[np.int64]:
        return OPERATIONS[name](clip, level, rng()).astype(np.int64)

    same = clip.astype(np.int64)
    assert np.array_equal(apply("invert", 5), 255 - same)
    assert np.array_equal(apply("solarize", 5), np.where(same < 128, same, 255 - same))
    assert np.array_equal(apply("solarize_add", 10), np.where(same < 128, same + 110, same))
    assert np.array_equal(apply("posterize", 5), same & 0b11000000)
    for name in ("color", "contrast", "brightness", "sharpness"):
        assert np.abs(apply(name, 5) - same).max() <= 1  # a factor of 1
    grey = apply("color", -0.1 / 0.18)
    assert np.ptp(grey, axis=-1).max() == 0
    assert apply("brightness", -0.1 / 0.18).max() == 0
    for name in ("rotate", "shear_x", "shear_y", "translate_x", "translate_y"):
        assert np.array_equal(apply(name, 0), same)
        assert not np.array_equal(apply(name, 9), same)
    moved = apply("translate_x", 10)
    shift = round(150 / 331 * 32)
    assert np.array_equal(moved[:, :, :-shift], same[:, :, shift:]) or np.array_equal(
        moved[:, :, shift:], same[:, :, :-shift]
    )


def test_statistics_are_those_of_the_whole_clip() -> None:
    clip = np.stack([picture() // 4, picture() // 4 + 150])  # a dark and a bright frame

    def difference(name: str) -> float:
        dark, bright = OPERATIONS[name](clip, 0, rng()).reshape(2, -1).mean(1)
        return bright - dark

    # Frame by frame, the first two would make them alike, and the last would keep 150.
    assert difference("equalize") > 100
    assert difference("auto_contrast") > 100
    assert difference("contrast") < 30


def test_auto_augment_draws_all_of_its_pairs() -> None:
    clip = np.repeat(picture()[None], 2, axis=0)
    outcomes = {auto_augment(clip, rng(seed)).tobytes() for seed in range(300)}
    assert len(outcomes) > 50


def test_rand_augment_has_layers_and_a_strength() -> None:
    clip = np.repeat(picture()[None], 2, axis=0)
    for level in (2, 9):
        single = {rand_augment(clip, 1, level, rng(seed)).tobytes() for seed in range(150)}
        assert single == {
            operation(clip, level, rng(seed)).tobytes()
            for operation in OPERATIONS.values()
            for seed in range(6)  # both ways
        }
    double = {rand_augment(clip, 2, 9, rng(seed)).tobytes() for seed in range(150)}
    assert len(double) > 2 * len(single)
