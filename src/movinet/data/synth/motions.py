"""What moves how: the classes as changes of place, size and angle over time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Task = Literal["motions", "paths"]
#: Seconds, or one number for each of them; (time,).
Series = NDArray[np.float64]


class Change(NamedTuple):
    """How far an object is from where it was at the first frame.

    Attributes:
        x: To the right, in shorter sides of the frame.
        y: Downwards, likewise.
        size: Change of the size's phase, in turns of its circle.
        angle: Radians, positive is clockwise as seen.
    """

    x: float = 0.0
    y: float = 0.0
    size: float = 0.0
    angle: float = 0.0


class Motion(NamedTuple):
    """The fields of `Change` over time; one that is None stays as it is."""

    x: Series | None = None
    y: Series | None = None
    size: Series | None = None
    angle: Series | None = None

    def changes(self, count: int) -> list[Change]:
        """As one `Change` for each of `count` frames."""
        columns = [[0.0] * count if part is None else part.tolist() for part in self]
        return [Change(*row) for row in zip(*columns, strict=True)]


#: Draws the motion of one object at some times from its class.
Draw = Callable[[Generator, Series], Motion]


def _move(x: float, y: float) -> Draw:
    def draw(rng: Generator, times: Series) -> Motion:
        gone = rng.uniform(0.18, 0.6) * times / np.hypot(x, y)
        return Motion(x=x * gone, y=y * gone)

    return draw


def _grow(sign: int) -> Draw:
    def draw(rng: Generator, times: Series) -> Motion:
        return Motion(size=sign * times / rng.uniform(1.6, 3.2))

    return draw


def _turn(sign: int) -> Draw:
    def draw(rng: Generator, times: Series) -> Motion:
        return Motion(angle=sign * np.radians(rng.uniform(50, 160)) * times)

    return draw


def _circle(sign: int) -> Draw:
    def draw(rng: Generator, times: Series) -> Motion:
        phase = sign * 2 * np.pi * rng.uniform(0.4, 0.9) * times + rng.uniform(0, 2 * np.pi)
        radius = rng.uniform(0.1, 0.22)
        return Motion(x=radius * np.cos(phase), y=radius * np.sin(phase))

    return draw


def _swing(rng: Generator, times: Series, slowest: float, fastest: float) -> Series:
    """A sine of random frequency (hertz) and phase."""
    return np.sin(2 * np.pi * (rng.uniform(slowest, fastest) * times + rng.uniform()))


def _shake(rng: Generator, times: Series) -> Motion:
    swing = rng.uniform(0.03, 0.08) * _swing(rng, times, 1.6, 3.0)
    direction = rng.uniform(0, np.pi)
    return Motion(x=np.cos(direction) * swing, y=np.sin(direction) * swing)


def _nod(rng: Generator, times: Series) -> Motion:
    return Motion(y=rng.uniform(0.06, 0.14) * _swing(rng, times, 0.8, 1.5))


def _pulse(rng: Generator, times: Series) -> Motion:
    return Motion(size=rng.uniform(0.1, 0.2) * _swing(rng, times, 0.8, 1.5))


def _rest(rng: Generator, times: Series) -> Motion:
    del rng, times
    return Motion()


#: Task -> class -> how its objects move.
MOTIONS: dict[Task, dict[str, Draw]] = {
    "motions": {
        "moving left": _move(-1, 0),
        "moving right": _move(1, 0),
        "moving up": _move(0, -1),
        "moving down": _move(0, 1),
        "growing": _grow(1),
        "shrinking": _grow(-1),
        "turning left": _turn(-1),
        "turning right": _turn(1),
        "shaking": _shake,
        "still": _rest,
    },
    "paths": {
        "moving up left": _move(-1, -1),
        "moving up right": _move(1, -1),
        "moving down left": _move(-1, 1),
        "moving down right": _move(1, 1),
        "circling left": _circle(-1),
        "circling right": _circle(1),
        "nodding": _nod,
        "pulsing": _pulse,
    },
}
#: Task -> names of its classes.
TASKS: dict[Task, tuple[str, ...]] = {task: tuple(motions) for task, motions in MOTIONS.items()}
