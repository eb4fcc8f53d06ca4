"""How fast the poolings of an endless stream forget."""

from __future__ import annotations

from numbers import Real

from movinet.errors import ConfigError
from movinet.text import one_line


def decay_from_half_life(seconds: float, frame_rate: float) -> float:
    """The `decay` with which a frame's weight in the poolings halves in `seconds`.

    Args:
        seconds: Half-life, positive; infinity gives 1, the published behaviour.
        frame_rate: Frames per second that the stream is fed.

    Raises:
        ConfigError: If either is no positive number.
    """
    for what, value in (("half-life in seconds", seconds), ("frame rate", frame_rate)):
        number = isinstance(value, Real) and not isinstance(value, bool)
        if not number or not value > 0:
            raise ConfigError(f"the {what} must be a positive number, not {one_line(repr(value))}")
    try:
        return 0.5 ** (1 / (seconds * frame_rate))
    except (OverflowError, ZeroDivisionError):
        raise ConfigError("the half-life is out of the range of floating-point numbers") from None
