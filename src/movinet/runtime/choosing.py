"""The runtime for what a user names: an exported file, or a model of the model half."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from movinet.embedded import EMBEDDED, exported_path
from movinet.errors import ConfigError
from movinet.presets import list_models, unknown_model_message
from movinet.runtime.base import Runtime
from movinet.runtime.loading import ENGINES, load


def is_exported(name: str) -> bool:
    """Whether a name is that of an exported file: its suffix tells."""
    return Path(name).suffix in ENGINES


def load_runtime(
    model: str | None,
    *,
    weights: str | None = None,
    labels: Sequence[str] | None = None,
    head_activation: str | None = None,
    num_threads: int = 1,
    manifest: str | os.PathLike[str] | None = None,
) -> Runtime:
    """Load a model for prediction.

    Args:
        model: A preset, or an exported file, which runs without PyTorch.
        weights: As in `movinet.predict`. "motions" alone runs without PyTorch too.
        labels: Names of the classes, where the weights don't say.
        head_activation: Overrides a preset's.
        num_threads: Of one step of an exported file.
        manifest: As in `movinet.load`, for an exported file.

    Raises:
        ConfigError: If there is no such model, or the options don't fit it.
        CheckpointError, DownloadError: If the file or the weights cannot be loaded.
        MissingExtraError: If what runs it is not installed.
    """
    if manifest is not None:
        check_takes_manifest(model or weights or "")
    if model is None and weights in EMBEDDED and head_activation is None:
        return _exported(exported_path(weights), labels, num_threads, None)
    if model is not None and is_exported(model):
        for name, value in (("weights", weights), ("head_activation", head_activation)):
            if value is not None:
                raise ConfigError(f"{model} has its weights inside: leave {name} out")
        return _exported(model, labels, num_threads, manifest)
    if weights is not None and is_exported(weights):
        raise ConfigError(f"{weights} is an exported model, not weights: give it as the model")
    if model is not None and model not in list_models():
        # Told whatever is installed.
        suffixes = ", ".join(ENGINES)
        raise ConfigError(f"{unknown_model_message(model)}; exported files end in {suffixes}")
    from movinet.runtime.torch_engine import load_torch_runtime

    return load_torch_runtime(model, weights, labels, head_activation)


def check_takes_manifest(name: str) -> None:
    """Raise ConfigError if a model is none that a manifest can be given for."""
    if not is_exported(name):
        raise ConfigError(
            f"a manifest belongs to an exported file ({', '.join(ENGINES)}), and "
            f"{name or 'the model in the package'} is none: leave it out"
        )


def _exported(
    path: str | os.PathLike[str],
    labels: Sequence[str] | None,
    num_threads: int,
    manifest: str | os.PathLike[str] | None,
) -> Runtime:
    runtime = load(path, num_threads=num_threads, manifest=manifest)
    if labels is not None:
        if len(labels) != len(runtime.info.labels):
            raise ConfigError(f"{len(labels)} labels for {len(runtime.info.labels)} classes")
        runtime.info = dataclasses.replace(runtime.info, labels=tuple(labels))
    return runtime


def check_for_files(runtime: Runtime, window: float | None) -> None:
    """Raise ConfigError where a model cannot predict on one video at a time.

    Args:
        runtime: The model; only exported ones have such limits.
        window: Seconds that a window is to last, where that is said.
    """
    from movinet.runtime.exported import ExportedRuntime

    if not isinstance(runtime, ExportedRuntime):
        return
    manifest, name = runtime.manifest, runtime.info.name
    things = "streams" if manifest.kind == "step" else "clips"
    if manifest.batch_size not in (None, 1):
        raise ConfigError(
            f"{name} was exported for {manifest.batch_size} {things} at once: a video is one; "
            "export with batch_size=1 (--batch 1)"
        )
    if manifest.kind == "step" and manifest.num_frames != 1:
        raise ConfigError(
            f"{name} was exported for {manifest.num_frames} frames at a time: prediction at every "
            "frame needs num_frames=1 (--frames 1)"
        )
    if window is not None and manifest.kind == "clip":
        spec = runtime.info.input
        raise ConfigError(
            f"{name} was exported for windows of {spec.num_frames} frames, "
            f"{spec.num_frames / spec.frame_rate:g} seconds: leave window out, or export with "
            "another num_frames (--frames)"
        )
