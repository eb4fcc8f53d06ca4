"""What backgrounds and objects look like: colours, textures and outlines."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Points = list[tuple[float, float]]
#: Two RGB colours, (2, 3) from 0 to 255.
Colours = NDArray[np.float64]
#: Height and width of an object's own picture, pixels.
SPRITE = 64
#: How many colours are drawn to take the one that differs most from the background.
_CANDIDATES = 8


def make_colours(rng: Generator, contrast: float, unlike: Colours | None = None) -> Colours:
    """Two colours.

    Args:
        rng: Decides everything.
        contrast: How far a channel of the second may be from the first's.
        unlike: Colours that the first must stand out from.
    """
    first = rng.uniform(0, 255, (_CANDIDATES, 3))
    if unlike is None:
        best = first[0]
    else:
        distance = np.linalg.norm(first[:, None] - unlike, axis=-1).min(axis=-1)
        best = first[distance.argmax()]
    return np.stack([best, np.clip(best + rng.uniform(-contrast, contrast, 3), 0, 255)])


def make_texture(rng: Generator, height: int, width: int, colours: Colours) -> NDArray[np.uint8]:
    """Plain, gradient, stripes, checker or noise between two colours; (height, width, 3)."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32) / max(height, width)
    kind = rng.integers(6)
    direction = rng.uniform(0, 2 * np.pi)
    along = rows * np.sin(direction) + columns * np.cos(direction)
    across = columns * np.sin(direction) - rows * np.cos(direction)
    rate = rng.uniform(3, 9)
    if kind == 0:
        mix = np.full((height, width), rng.uniform(), np.float32)
    elif kind == 1:
        mix = (along - along.min()) / np.ptp(along)
    elif kind == 2:
        mix = 0.5 + 0.5 * np.sin(2 * np.pi * rate * along)
    elif kind == 3:
        mix = (np.floor(rate * along) + np.floor(rate * across)) % 2
    else:
        cells = int(rng.choice([4, 8, 16, 32]))
        coarse = Image.fromarray(rng.integers(0, 256, (cells, cells), np.uint8))
        smooth = coarse.resize((width, height), Image.Resampling.BICUBIC)
        mix = np.asarray(smooth, np.float32) / 255
    first, second = colours.astype(np.float32)
    return (first + (second - first) * mix[..., None]).astype(np.uint8)


def make_outline(rng: Generator) -> Image.Image:
    """A random shape without rotational symmetry, as a mask of `SPRITE` pixels square."""
    scale = 4  # drawn larger, for smooth edges
    side = SPRITE * scale
    mask = Image.new("L", (side, side))
    points = _OUTLINES[rng.integers(len(_OUTLINES))](rng)
    corners = [((1 + x) * side / 2, (1 + y) * side / 2) for x, y in points]
    ImageDraw.Draw(mask).polygon(corners, fill=255)
    return mask.resize((SPRITE, SPRITE), Image.Resampling.BOX)


def _letter(*corners: tuple[float, float]) -> Callable[[Generator], Points]:
    """A fixed polygon, stretched a little, within the unit circle."""

    def points(rng: Generator) -> Points:
        across, down = rng.uniform(0.8, 1.05, 2)
        return [(x * across, y * down) for x, y in corners]

    return points


def _star(rng: Generator) -> Points:
    """Spikes of which one is long."""
    radii = np.tile([0.55, 0.28], int(rng.integers(4, 7)))
    radii[0] = 1.0
    return _around(radii)


def _blob(rng: Generator) -> Points:
    """A rough round with one side pulled out."""
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    radii = 0.5 + 0.08 * np.sin(3 * angles + rng.uniform(0, 6)) + rng.uniform(-0.03, 0.03, 24)
    radii += 0.45 * np.exp(-((angles - np.pi) ** 2) / rng.uniform(0.1, 0.4))
    return _around(radii)


def _fragment(rng: Generator) -> Points:
    """A polygon with corners at random distances, and one that sticks out."""
    radii = rng.uniform(0.35, 0.7, rng.integers(5, 9))
    radii[0] = 1.0
    return _around(radii)


def _around(radii: NDArray[np.float64]) -> Points:
    angles = np.linspace(0, 2 * np.pi, len(radii), endpoint=False)
    return list(zip(radii * np.cos(angles), radii * np.sin(angles), strict=True))


#: An L, an arrow, an F, a P, a fin, and shapes that are drawn at random.
_OUTLINES = (
    _letter((-0.7, -0.75), (-0.05, -0.75), (-0.05, 0.15), (0.7, 0.15), (0.7, 0.75), (-0.7, 0.75)),
    _letter(
        *((0, -0.95), (0.75, -0.1), (0.3, -0.1), (0.3, 0.9)),
        *((-0.3, 0.9), (-0.3, -0.1), (-0.75, -0.1)),
    ),
    _letter(
        *((-0.65, -0.8), (0.7, -0.8), (0.7, -0.35), (-0.1, -0.35), (-0.1, -0.1), (0.5, -0.1)),
        *((0.5, 0.3), (-0.1, 0.3), (-0.1, 0.8), (-0.65, 0.8)),
    ),
    _letter(
        *((-0.6, -0.85), (0.4, -0.7), (0.65, -0.3), (0.4, 0.15)),
        *((0.0, 0.25), (0.0, 0.85), (-0.6, 0.85)),
    ),
    _letter((-0.9, -0.4), (0.2, -0.6), (0.95, 0.1), (0.1, 0.65), (-0.3, 0.3)),
    _star,
    _blob,
    _fragment,
)
