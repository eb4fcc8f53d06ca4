"""A clip of a task, from a seed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from movinet.data.synth.looks import make_colours, make_texture
from movinet.data.synth.motions import MOTIONS, TASKS, Change, Task
from movinet.data.synth.scene import Thing, draw, make_thing, pose
from movinet.errors import ConfigError

#: Raised when a seed gives other clips than before.
VERSION = 2
#: Seeds are below this, so that file names stay short.
SEEDS = 2**32
_SIZES = (
    *((112, 112), (128, 128), (96, 128), (128, 96), (112, 144), (144, 112)),
    *((120, 160), (160, 120)),
)
_RATES = (10, 12, 15, 20, 25, 30)
_SECONDS = (2.0, 2.6)
#: Numbers of objects that stand still behind, that move, and that stand still before them;
#: smallest, and one more than the largest.
_COUNTS = ((0, 3), (4, 6), (0, 2))
#: How far a moved camera can look beyond the frame, pixels.
_BORDER = 3


class Clip(NamedTuple):
    """A rendered clip.

    Attributes:
        frames: (time, height, width, 3) uint8 RGB.
        frame_rate: Frames per second.
        crf: H.264's constant rate factor that it is written with.
        key_frames: At most so many frames from one key frame to the next in the file.
    """

    frames: NDArray[np.uint8]
    frame_rate: int
    crf: int
    key_frames: int


class Scene(NamedTuple):
    """What a clip shows.

    Attributes:
        frame: (height, width), pixels.
        frame_rate: Frames per second.
        things: Objects from back to front, each with its change at every frame.
        moving: Which of them do the motion of the class.
    """

    frame: tuple[int, int]
    frame_rate: int
    things: list[tuple[Thing, list[Change]]]
    moving: slice


def render_clip(task: Task, label: str, seed: int, number: int) -> Clip:
    """One clip; it depends on nothing but the arguments.

    Args:
        task: A task of `TASKS`.
        label: One of its classes.
        seed: Of the data set, from 0 to 2^32 - 1.
        number: Of the clip in its class, from 0.

    Raises:
        ConfigError: If an argument is not allowed.
    """
    rng = _generator(task, label, seed, number)
    background = make_colours(rng, 80)
    scene = make_scene(rng, task, label, background)
    height, width = scene.frame
    backdrop = make_texture(
        rng, height + 2 * _BORDER + 1, width + 2 * _BORDER + 1, background
    ).astype(np.uint16)
    count = len(scene.things[0][1])
    shifts = _jitter(rng, count) * min(scene.frame) / 128
    look = _Camera(rng, scene.frame)
    frames = np.empty((count, height, width, 3), np.uint8)
    for i, (right, down) in enumerate(shifts.tolist()):
        canvas = _seen(backdrop, right, down, scene.frame)
        for thing, changes in scene.things:
            at = pose(thing, changes[i], scene.frame)
            draw(canvas, thing, at._replace(x=at.x - right, y=at.y - down))
        frames[i] = look(canvas)
    crf, key_frames = int(rng.integers(18, 37)), int(rng.integers(5, 61))
    return Clip(frames, scene.frame_rate, crf, key_frames)


def make_scene(rng: Generator, task: Task, label: str, background: NDArray[np.float64]) -> Scene:
    """The objects of a clip and how they move."""
    frame = _SIZES[rng.integers(len(_SIZES))]
    rate = int(rng.choice(_RATES))
    times = np.arange(round(rng.uniform(*_SECONDS) * rate)) / rate
    counts = [int(rng.integers(*count)) for count in _COUNTS]
    things = [make_thing(rng, background) for _ in range(sum(counts))]
    moving = slice(counts[0], counts[0] + counts[1])
    changes = [[Change()] * len(times) for _ in things]
    changes[moving] = [MOTIONS[task][label](rng, times).changes(len(times)) for _ in things[moving]]
    return Scene(frame, rate, list(zip(things, changes, strict=True)), moving)


def check_task(task: str) -> None:
    """Raise ConfigError if there is no such task."""
    if task not in MOTIONS:
        raise ConfigError(f"task must be one of {', '.join(MOTIONS)}, not {task!r}")


def check_seed(seed: int) -> None:
    """Raise ConfigError if a seed is not allowed."""
    if not 0 <= seed < SEEDS:
        raise ConfigError(f"seed must be between 0 and {SEEDS - 1}, not {seed}")


def _generator(task: Task, label: str, seed: int, number: int) -> Generator:
    check_task(task)
    check_seed(seed)
    if label not in TASKS[task]:
        raise ConfigError(f"task {task!r} has no class {label!r}; has: {', '.join(TASKS[task])}")
    if number < 0:
        raise ConfigError(f"number must be 0 or more, not {number}")
    return np.random.default_rng(
        (VERSION, list(TASKS).index(task), TASKS[task].index(label), seed, number)
    )


def _jitter(rng: Generator, count: int) -> NDArray[np.float64]:
    """(time, 2) pixels, right and down, that a hand-held camera moves by; weak beside a motion."""
    steps = rng.normal(0, rng.uniform(0, 0.5), (count + 4, 2))
    return np.stack([steps[i : i + 5].mean(0) for i in range(count)]).clip(-2, 2)


def _seen(
    backdrop: NDArray[np.uint16], right: float, down: float, frame: tuple[int, int]
) -> Image.Image:
    """What of the background the moved camera sees, to a sixteenth of a pixel; RGBX."""
    height, width = frame
    x, across = divmod(round(16 * (_BORDER + right)), 16)
    y, below = divmod(round(16 * (_BORDER + down)), 16)
    part = backdrop[y : y + height + 1, x : x + width + 1]
    part = part[:-1] * np.uint16(16 - below) + part[1:] * np.uint16(below)
    part = part[:, :-1] * np.uint16(16 - across) + part[:, 1:] * np.uint16(across)
    return Image.fromarray((part >> 8).astype(np.uint8)).convert("RGBX")


class _Camera:
    """Noise of the sensor and flicker of the light; one frame after another."""

    def __init__(self, rng: Generator, frame: tuple[int, int]) -> None:
        self._rng, self._flicker = rng, rng.uniform(0, 0.04)
        self._size = frame[0] * frame[1] * 3
        # Frames take their noise from random places of one pool, which costs less than new noise.
        pool = rng.standard_normal(2 * self._size, np.float32) * rng.uniform(0, 6)
        self._noise = np.round(pool).clip(-100, 100).astype(np.int16)

    def __call__(self, canvas: Image.Image) -> NDArray[np.uint8]:
        start = self._rng.integers(self._size)
        gain = 1 + self._flicker * float(np.clip(self._rng.standard_normal(), -3, 3))
        pixels = np.asarray(canvas.convert("RGB")) * np.uint16(round(128 * gain)) >> 7
        seen = pixels.view(np.int16)
        seen += self._noise[start : start + self._size].reshape(seen.shape)
        return np.clip(seen, 0, 255, out=seen).astype(np.uint8)
