"""MoViNets: mobile video networks for streaming action recognition (arXiv 2103.11511).

Importing this package is cheap: it loads neither torch nor an inference runtime. Names that need
one are loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from movinet.errors import (
    CheckpointError,
    ConfigError,
    DownloadError,
    MissingExtraError,
    MovinetError,
    TrainingError,
    VideoError,
)
from movinet.version import __version__

if TYPE_CHECKING:
    from movinet.catalog.complexity import (
        count_multiply_adds,
        count_parameters,
        count_state_bytes,
    )
    from movinet.checkpoints.tensorflow import read_tf_checkpoint, write_tf_checkpoint
    from movinet.client import Client
    from movinet.data.sources import open_data
    from movinet.drawing.predictions import plot_predictions
    from movinet.drawing.video import render
    from movinet.evaluation import evaluate
    from movinet.exporting.export import export
    from movinet.labels import load_labels
    from movinet.live import watch
    from movinet.network.config import InputSpec, MoViNetConfig
    from movinet.network.ensemble import Ensemble, temporal_ensemble
    from movinet.network.model import MoViNet
    from movinet.network.presets import input_spec, list_models, preset_config
    from movinet.network.state import StreamState
    from movinet.opening import open_model
    from movinet.prediction import Prediction, predict
    from movinet.runtime.loading import load
    from movinet.runtime.numbers import decay_from_half_life
    from movinet.training.train import TrainResult, train
    from movinet.weights.factory import create_model
    from movinet.weights.layouts import tf_to_torch, torch_to_tf
    from movinet.weights.saving import save_weights


#: public name -> module that defines it
_LAZY = {
    "Client": "movinet.client",
    "Ensemble": "movinet.network.ensemble",
    "InputSpec": "movinet.network.config",
    "MoViNet": "movinet.network.model",
    "MoViNetConfig": "movinet.network.config",
    "Prediction": "movinet.prediction",
    "StreamState": "movinet.network.state",
    "TrainResult": "movinet.training.train",
    "count_multiply_adds": "movinet.catalog.complexity",
    "count_parameters": "movinet.catalog.complexity",
    "count_state_bytes": "movinet.catalog.complexity",
    "create_model": "movinet.weights.factory",
    "decay_from_half_life": "movinet.runtime.numbers",
    "evaluate": "movinet.evaluation",
    "export": "movinet.exporting.export",
    "input_spec": "movinet.network.presets",
    "list_models": "movinet.network.presets",
    "load": "movinet.runtime.loading",
    "load_labels": "movinet.labels",
    "open_data": "movinet.data.sources",
    "open_model": "movinet.opening",
    "plot_predictions": "movinet.drawing.predictions",
    "predict": "movinet.prediction",
    "render": "movinet.drawing.video",
    "preset_config": "movinet.network.presets",
    "read_tf_checkpoint": "movinet.checkpoints.tensorflow",
    "save_weights": "movinet.weights.saving",
    "temporal_ensemble": "movinet.network.ensemble",
    "tf_to_torch": "movinet.weights.layouts",
    "torch_to_tf": "movinet.weights.layouts",
    "train": "movinet.training.train",
    "write_tf_checkpoint": "movinet.checkpoints.tensorflow",
    "watch": "movinet.live",
}

#: Names that need another extra than "torch".
_EXTRAS = {"Client": "serve", "TrainResult": "train", "export": "export", "train": "train"}

__all__ = [
    "CheckpointError",
    "Client",
    "ConfigError",
    "DownloadError",
    "Ensemble",
    "InputSpec",
    "MissingExtraError",
    "MoViNet",
    "MoViNetConfig",
    "MovinetError",
    "Prediction",
    "StreamState",
    "TrainResult",
    "TrainingError",
    "VideoError",
    "__version__",
    "count_multiply_adds",
    "count_parameters",
    "count_state_bytes",
    "create_model",
    "decay_from_half_life",
    "evaluate",
    "export",
    "input_spec",
    "list_models",
    "load",
    "load_labels",
    "open_data",
    "open_model",
    "plot_predictions",
    "predict",
    "preset_config",
    "read_tf_checkpoint",
    "render",
    "save_weights",
    "temporal_ensemble",
    "tf_to_torch",
    "torch_to_tf",
    "train",
    "watch",
    "write_tf_checkpoint",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(importlib.import_module(_LAZY[name]), name)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get(name, "torch")
        if (error.name or "").startswith("movinet") or (
            extra != "train" and error.name not in ("torch", "safetensors")
        ):
            raise
        raise MissingExtraError(f"movinet.{name}", extra) from None
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
