"""Logits to probabilities, without a framework."""

from __future__ import annotations

import numpy as np


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities over the last axis, float64."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True), dtype=np.float64)
    return shifted / shifted.sum(axis=-1, keepdims=True)


def to_probabilities(logits: np.ndarray, *, multi_label: bool) -> np.ndarray:
    """Probabilities of exclusive classes (last axis), or of each label by itself; float64."""
    wide = logits.astype(np.float64)
    return 0.5 * (1 + np.tanh(0.5 * wide)) if multi_label else softmax(wide)
