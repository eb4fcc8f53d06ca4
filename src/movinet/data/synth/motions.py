"""What moves how: the classes as changes of place, size and angle over time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Task = Literal["motions", "paths"]
Times = NDArray[np.float64]


class Path(NamedTuple):
    """Where an object is at each time.

    Attributes:
        x: Horizontal change of place, in shorter sides of the frame, (time,).
        y: Vertical change, likewise, downwards.
        size: Change of the size's phase, in turns of its circle.
        angle: Change of the angle, radians, positive is clockwise as seen.
    """

    x: Times
    y: Times
    size: Times
    angle: Times


def _rest(times: Times) -> Path:
    zero = np.zeros_like(times)
    return Path(zero, zero, zero, zero)


def _move(x: float, y: float) -> Callable[[Generator, Times], Path]:
    def path(rng: Generator, times: Times) -> Path:
        gone = rng.uniform(0.18, 0.6) * times / np.hypot(x, y)
        return _rest(times)._replace(x=x * gone, y=y * gone)

    return path


def _grow(sign: int) -> Callable[[Generator, Times], Path]:
    def path(rng: Generator, times: Times) -> Path:
        return _rest(times)._replace(size=sign * times / rng.uniform(1.6, 3.2))

    return path


def _turn(sign: int) -> Callable[[Generator, Times], Path]:
    def path(rng: Generator, times: Times) -> Path:
        return _rest(times)._replace(angle=sign * np.radians(rng.uniform(50, 160)) * times)

    return path


def _circle(sign: int) -> Callable[[Generator, Times], Path]:
    def path(rng: Generator, times: Times) -> Path:
        phase = sign * 2 * np.pi * rng.uniform(0.4, 0.9) * times + rng.uniform(0, 2 * np.pi)
        radius = rng.uniform(0.1, 0.22)
        return _rest(times)._replace(x=radius * np.cos(phase), y=radius * np.sin(phase))

    return path


def _swing(rng: Generator, times: Times, slowest: float, fastest: float) -> Times:
    """A sine of random frequency (hertz) and phase."""
    return np.sin(2 * np.pi * (rng.uniform(slowest, fastest) * times + rng.uniform()))


def _shake(rng: Generator, times: Times) -> Path:
    swing = rng.uniform(0.03, 0.08) * _swing(rng, times, 1.6, 3.0)
    direction = rng.uniform(0, np.pi)
    return _rest(times)._replace(x=np.cos(direction) * swing, y=np.sin(direction) * swing)


def _nod(rng: Generator, times: Times) -> Path:
    return _rest(times)._replace(y=rng.uniform(0.06, 0.14) * _swing(rng, times, 0.8, 1.5))


def _pulse(rng: Generator, times: Times) -> Path:
    return _rest(times)._replace(size=rng.uniform(0.1, 0.2) * _swing(rng, times, 0.8, 1.5))


def _still(rng: Generator, times: Times) -> Path:
    del rng
    return _rest(times)


#: No change at one time.
STILL = (0.0, 0.0, 0.0, 0.0)
#: Task -> class -> how its objects move.
PATHS: dict[Task, dict[str, Callable[[Generator, Times], Path]]] = {
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
        "still": _still,
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
TASKS: dict[Task, tuple[str, ...]] = {task: tuple(paths) for task, paths in PATHS.items()}
