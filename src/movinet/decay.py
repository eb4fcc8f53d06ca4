"""How fast the poolings of an endless stream forget."""

from __future__ import annotations

from movinet.errors import ConfigError


def decay_from_half_life(seconds: float, frame_rate: float) -> float:
    """The `decay` with which a frame's weight in the poolings halves in `seconds`.

    Args:
        seconds: Half-life, positive; infinity gives 1, the published behaviour.
        frame_rate: Frames per second that the stream is fed.

    Raises:
        ConfigError: If either is not positive.
    """
    if not seconds > 0 or not frame_rate > 0:
        raise ConfigError(f"half-life {seconds} s and frame rate {frame_rate} must be positive")
    return 0.5 ** (1 / (seconds * frame_rate))
