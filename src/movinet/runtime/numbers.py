"""Logits to probabilities and back, without a framework."""

from __future__ import annotations

from numbers import Real

import numpy as np

from movinet.errors import ConfigError
from movinet.text import one_line

#: The probabilities nearest to 0 and 1 whose logits are finite numbers in float32.
_LEAST, _MOST = float(np.finfo(np.float32).tiny), 1 - 2.0**-24


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities over the last axis, float64."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True), dtype=np.float64)
    return shifted / shifted.sum(axis=-1, keepdims=True)


def to_probabilities(logits: np.ndarray, *, multi_label: bool) -> np.ndarray:
    """Probabilities of exclusive classes (last axis), or of each label by itself; float64.

    A class alone excludes no other: its probability is a sigmoid in any case.
    """
    wide = logits.astype(np.float64)
    if multi_label or wide.shape[-1:] == (1,):
        return 0.5 * (1 + np.tanh(0.5 * wide))
    return softmax(wide)


def to_logits(probabilities: np.ndarray, *, multi_label: bool) -> np.ndarray:
    """The inverse of `to_probabilities`, up to a constant where classes are exclusive; float64."""
    wide = np.maximum(probabilities.astype(np.float64), _LEAST)
    if not multi_label and wide.shape[-1:] != (1,):
        return np.log(wide)
    wide = np.minimum(wide, _MOST)
    return np.log(wide) - np.log1p(-wide)


def decay_from_half_life(seconds: float, frame_rate: float) -> float:
    """The `decay` with which a frame's weight in the poolings halves in `seconds`.

    Args:
        seconds: Half-life, positive; infinity gives 1, the published behaviour.
        frame_rate: Frames per second that the stream is fed.

    Raises:
        ConfigError: If either is no positive number, or the half-life is below a hundredth of a
            frame.
    """
    for what, value in (("half-life in seconds", seconds), ("frame rate", frame_rate)):
        number = isinstance(value, Real) and not isinstance(value, bool)
        if not number or not value > 0:
            raise ConfigError(f"the {what} must be a positive number, not {one_line(repr(value))}")
    try:
        decay = 0.5 ** (1 / (seconds * frame_rate))
    except (OverflowError, ZeroDivisionError):
        decay = 0.0
    if decay < _LEAST:  # of 0, no snapshot could be read again
        raise ConfigError("the half-life is out of the range of floating-point numbers")
    return decay
