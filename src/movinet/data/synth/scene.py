"""Where objects are in a frame, and drawing them."""

from __future__ import annotations

import math
from typing import NamedTuple

from numpy.random import Generator
from PIL import Image

from movinet.data.synth.looks import SPRITE, Colours, make_colours, make_outline, make_texture
from movinet.data.synth.motions import Change

#: Radius of objects, smallest and largest, in shorter sides of the frame.
SMALLEST, LARGEST = 0.14, 0.36
#: How far the torus of places reaches beyond the frame, in shorter sides.
_MARGIN = 0.12
#: Share of the size's circle, and of the shorter side, over which an object fades in and out.
_FADE_SIZE, _FADE_PLACE = 0.1, 0.12


class Thing(NamedTuple):
    """An object's looks, and its coordinates at the first frame, all in [0, 1).

    Attributes:
        picture: `SPRITE` pixels square; red, green, blue and the opacity in four channels.
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


def make_thing(rng: Generator, background: Colours) -> Thing:
    """A random object, every coordinate uniform, in colours unlike the background's."""
    colours = make_colours(rng, 160, unlike=background)
    texture = Image.fromarray(make_texture(rng, SPRITE, SPRITE, colours))
    # To Pillow the fourth channel is no opacity here: it would weight the colours by it, which is
    # slow and not needed, as there is texture outside the outline too.
    picture = Image.merge("RGBX", (*texture.split(), make_outline(rng)))
    x, y, size, angle = rng.uniform(size=4)
    return Thing(picture, float(x), float(y), float(size), float(angle))


def pose(thing: Thing, change: Change, frame: tuple[int, int]) -> Pose:
    """Where an object is.

    Args:
        thing: The object.
        change: Since the first frame.
        frame: (height, width), pixels.
    """
    height, width = frame
    short = min(frame)
    margin = _MARGIN * short
    across, down = width + 2 * margin, height + 2 * margin
    x = (thing.x * across + change.x * short) % across
    y = (thing.y * down + change.y * short) % down
    phase = (thing.size + change.size) % 1.0
    opacity = (
        _rise(phase, 1.0, _FADE_SIZE)
        * _rise(x, across, _FADE_PLACE * short)
        * _rise(y, down, _FADE_PLACE * short)
    )
    radius = short * SMALLEST * (LARGEST / SMALLEST) ** phase
    angle = (2 * math.pi * thing.angle + change.angle) % (2 * math.pi)
    return Pose(x - margin, y - margin, radius, angle, opacity)


def _rise(place: float, length: float, fade: float) -> float:
    """Opacity at a place on a circle: 0 where it closes, 1 from `fade` on."""
    rise = min(1.0, place / fade, (length - place) / fade)
    return rise * rise * (3 - 2 * rise)


def draw(canvas: Image.Image, thing: Thing, at: Pose) -> None:
    """Paste an object on an RGBX canvas, to a fraction of a pixel."""
    left, right = _span(at.x, at.radius, canvas.width)
    top, bottom = _span(at.y, at.radius, canvas.height)
    if left >= right or top >= bottom or at.opacity < 1 / 255:
        return
    zoom = SPRITE / (2 * at.radius)
    a, b = zoom * math.cos(at.angle), zoom * math.sin(at.angle)
    x, y = at.x - left, at.y - top
    half = SPRITE / 2
    # Output pixel (u, v) shows the picture's point (a u + b v + c, -b u + a v + f).
    matrix = (a, b, half - a * x - b * y, -b, a, half + b * x - a * y)
    picture = thing.picture.transform(
        (right - left, bottom - top), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
    )
    mask = picture.getchannel(3)
    if at.opacity < 1:
        mask = Image.blend(Image.new("L", mask.size), mask, at.opacity)
    canvas.paste(picture, (left, top), mask)


def _span(centre: float, radius: float, length: int) -> tuple[int, int]:
    """First and last pixel (exclusive) that an object covers on an axis of the canvas."""
    return max(0, math.floor(centre - radius) - 1), min(length, math.ceil(centre + radius) + 1)
