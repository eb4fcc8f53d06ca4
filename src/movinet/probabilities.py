"""Logits to probabilities and back, without a framework."""

from __future__ import annotations

import numpy as np

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
