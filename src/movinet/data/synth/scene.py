"""Drawing: textures, objects, and a frame of a scene."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Points = list[tuple[float, float]]
#: Height and width of an object's own picture, pixels.
SPRITE = 64
#: Radius of objects, smallest and largest, in shorter sides of the frame.
SMALLEST, LARGEST = 0.13, 0.38
#: How far the torus of places reaches beyond the frame, in shorter sides.
_MARGIN = 0.12
#: Share of the size's circle, and of the shorter side, over which an object fades in and out.
_FADE_SIZE, _FADE_PLACE = 0.14, 0.16


class Thing(NamedTuple):
    """An object's looks and its coordinates at the first frame, all in [0, 1).

    Attributes:
        picture: `SPRITE` pixels square, RGBA.
        x: On the torus.
        y: On the torus.
        size: Phase of the size.
        angle: In turns.
    """

    picture: Image.Image
    x: float
    y: float
    size: float
    angle: float


class Pose(NamedTuple):
    """An object in one frame: centre and radius in pixels, angle in radians, opacity in [0, 1]."""

    x: float
    y: float
    radius: float
    angle: float
    opacity: float


def make_thing(rng: Generator) -> Thing:
    """A random object, every coordinate uniform."""
    texture = Image.fromarray(make_texture(rng, SPRITE, SPRITE))
    texture.putalpha(_outline(rng))
    x, y, size, angle = rng.uniform(size=4)
    return Thing(texture, float(x), float(y), float(size), float(angle))


def pose(thing: Thing, moved: tuple[float, float, float, float], frame: tuple[int, int]) -> Pose:
    """Where an object is.

    Args:
        thing: The object.
        moved: Change of place (x, y, in shorter sides), phase of the size, and angle (radians).
        frame: (height, width), pixels.
    """
    height, width = frame
    short = min(frame)
    x, y, size, angle = moved
    margin = _MARGIN * short
    across, down = width + 2 * margin, height + 2 * margin
    x, y = (thing.x * across + x * short) % across, (thing.y * down + y * short) % down
    phase = (thing.size + size) % 1.0
    opacity = (
        _rise(phase, 1.0, _FADE_SIZE)
        * _rise(x, across, _FADE_PLACE * short)
        * _rise(y, down, _FADE_PLACE * short)
    )
    radius = short * SMALLEST * (LARGEST / SMALLEST) ** phase
    return Pose(x - margin, y - margin, radius, 2 * np.pi * thing.angle + angle, opacity)


def _rise(place: float, length: float, fade: float) -> float:
    """Opacity at a place on a circle: 0 where it closes, 1 from `fade` on."""
    rise = min(1.0, place / fade, (length - place) / fade)
    return rise * rise * (3 - 2 * rise)


def draw(canvas: Image.Image, thing: Thing, at: Pose) -> None:
    """Paste an object, to a fraction of a pixel."""
    left, top = int(np.floor(at.x - at.radius)) - 1, int(np.floor(at.y - at.radius)) - 1
    side = int(np.ceil(2 * at.radius)) + 3
    if left >= canvas.width or top >= canvas.height or left + side <= 0 or top + side <= 0:
        return
    zoom = SPRITE / (2 * at.radius)
    a, b = zoom * np.cos(at.angle), zoom * np.sin(at.angle)
    x, y = at.x - left, at.y - top
    half = SPRITE / 2
    # Output pixel (u, v) shows the picture's point (a u + b v + c, -b u + a v + f).
    matrix = (a, b, half - a * x - b * y, -b, a, half + b * x - a * y)
    picture = thing.picture.transform(
        (side, side), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
    )
    mask = picture.getchannel("A")
    if at.opacity < 1:
        mask = Image.blend(Image.new("L", mask.size), mask, at.opacity)
    canvas.paste(picture, (left, top), mask)


def make_texture(
    rng: Generator, height: int, width: int, contrast: float = 255
) -> NDArray[np.uint8]:
    """Plain, gradient, stripes, checker or noise between two colours.

    Args:
        rng: Decides everything.
        height: Pixels.
        width: Pixels.
        contrast: How far the second colour may be from the first.

    Returns:
        (height, width, 3).
    """
    rows, columns = np.mgrid[0:height, 0:width] / max(height, width)
    kind = rng.integers(6)
    direction = rng.uniform(0, 2 * np.pi)
    along = rows * np.sin(direction) + columns * np.cos(direction)
    across = columns * np.sin(direction) - rows * np.cos(direction)
    rate = rng.uniform(3, 9)
    if kind == 0:
        mix = np.full((height, width), rng.uniform())
    elif kind == 1:
        mix = (along - along.min()) / np.ptp(along)
    elif kind == 2:
        mix = 0.5 + 0.5 * np.sin(2 * np.pi * rate * along)
    elif kind == 3:
        mix = ((np.floor(rate * along) + np.floor(rate * across)) % 2).astype(np.float64)
    else:
        cells = int(rng.choice([4, 8, 16, 32]))
        coarse = Image.fromarray(rng.integers(0, 256, (cells, cells), np.uint8))
        smooth = coarse.resize((width, height), Image.Resampling.BICUBIC)
        mix = np.asarray(smooth, np.float64) / 255
    first = rng.uniform(0, 255, 3)
    second = np.clip(first + rng.uniform(-contrast, contrast, 3), 0, 255)
    return (first + (second - first) * mix[..., None]).astype(np.uint8)


def _outline(rng: Generator) -> Image.Image:
    """A random shape without rotational symmetry, as a mask."""
    scale = 4  # drawn larger, for smooth edges
    side = SPRITE * scale
    mask = Image.new("L", (side, side))
    pencil = ImageDraw.Draw(mask)
    points = _OUTLINES[rng.integers(len(_OUTLINES))](rng)
    pencil.polygon([((1 + x) * side / 2, (1 + y) * side / 2) for x, y in points], fill=255)
    return mask.resize((SPRITE, SPRITE), Image.Resampling.BOX)


def _letter(*corners: tuple[float, float]) -> Callable[[Generator], Points]:
    """A fixed polygon, stretched a little, within the unit circle."""

    def points(rng: Generator) -> Points:
        stretch = rng.uniform(0.8, 1.05, 2)
        return [(x * stretch[0], y * stretch[1]) for x, y in corners]

    return points


def _star(rng: Generator) -> Points:
    """Spikes of which one is long."""
    count = int(rng.integers(4, 7))
    radii = np.tile([0.6, 0.3], count)
    radii[0] = 1.0
    return _around(radii)


def _blob(rng: Generator) -> Points:
    """A rough round with one side pulled out."""
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    radii = 0.5 + 0.08 * np.sin(3 * angles + rng.uniform(0, 6)) + rng.uniform(-0.03, 0.03, 24)
    radii += 0.45 * np.exp(-((angles - np.pi) ** 2) / rng.uniform(0.1, 0.4))
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
)
