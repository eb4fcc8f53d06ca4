"""Whole checkpoints of presets."""

from __future__ import annotations

import numpy as np

from movinet.checkpoints.keys import entries
from movinet.network.presets import preset_config
from reference_weights import weight


def tensors_of(preset: str, classes: int = 5, **overrides: object) -> dict[str, np.ndarray]:
    """The tensors by TensorFlow's keys."""
    config = preset_config(preset, num_classes=classes, **overrides)
    return {e.tf_key: weight(e.tf_key, e.tf_shape) for e in entries(config)}
