"""The runtime for what a user names: an exported file, or a model of the model half."""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Sequence
from numbers import Real
from typing import Any

from movinet.embedded import exported_path
from movinet.errors import ConfigError
from movinet.labels import as_labels, assumed_labels
from movinet.model_names import is_exported, resolve
from movinet.runtime.base import Runtime
from movinet.runtime.exported import ExportedRuntime
from movinet.runtime.formats import FORMATS
from movinet.runtime.loading import load


def open_model(
    model: str | os.PathLike[str] | None = None,
    *,
    weights: str | os.PathLike[str] | None = None,
    labels: Sequence[str] | str | os.PathLike[str] | None = None,
    head_activation: str | None = None,
    num_threads: int = 1,
    manifest: str | os.PathLike[str] | None = None,
    multi_label: bool | None = None,
    device: str | None = None,
) -> Runtime:
    """Open a model for prediction, evaluation or streaming, whatever kind it is.

    Args:
        model: A preset or ensemble (`movinet.list_models`); "motions", the bundled model; an
            exported file (.tflite, .onnx, .xml, .pte, .pt2, .mvn); or a file of weights, which
            determines its preset. None where `weights` determine the model. The bundled model and
            exported files run without PyTorch.
        weights: Of a preset: "kinetics-600" or "kinetics-400", fetched on first use, or a file;
            None for random ones.
        labels: Names of the classes, if the weights do not have them: a list, or what
            `movinet.load_labels` takes, such as a text file with a label a line.
        head_activation: Activation of the classifier's hidden layer, if not the preset's.
        num_threads: Threads per step of an exported file.
        manifest: As in `movinet.load`, for an exported file.
        multi_label: Whether a clip may have any number of the labels, so that the probability of
            each is a sigmoid; None for what the file says, and exclusive classes (a softmax) where
            it says nothing.
        device: Where PyTorch computes: "cpu", "cuda", "cuda:1", "mps"; by default the CPU. Exported
            files run on the CPU, and the bundled model does unless another device is named.

    Returns:
        A runtime: its `info` has name, input and labels; `stream()` of a stream model takes frames,
        `clip_logits()` clips. `movinet.predict` and `movinet.evaluate` take it.

    Raises:
        ConfigError: If there is no such model, or the options do not fit it.
        CheckpointError, DownloadError: If the file or the weights cannot be loaded.
        MissingExtraError: If the packages that run it are not installed.
    """
    if labels is not None:
        labels = as_labels(labels)
    named = resolve(model, weights)
    if manifest is not None:
        check_takes_manifest(named.name)
    on_cpu = device in (None, "cpu")
    if named.kind == "exported":
        if not on_cpu:
            raise ConfigError(
                f"{named.name} is an exported model, which runs on the CPU: omit device (--device)"
            )
        if head_activation is not None:
            raise ConfigError(
                f"{named.name} is an exported model, whose activations are fixed: omit "
                "head_activation (--head-activation)"
            )
        return _exported(named.name, labels, num_threads, manifest, multi_label)
    if named.kind == "bundled" and head_activation is None and on_cpu:
        return _exported(exported_path(named.name), labels, num_threads, None, multi_label)
    from movinet.torch_runtime import load_torch_runtime

    runtime = load_torch_runtime(named.preset, named.weights, labels, head_activation, multi_label)
    return runtime if on_cpu else runtime.to(device)


def as_runtime(model: str | os.PathLike[str] | Runtime | None, **options: Any) -> Runtime:
    """A model that may be open already.

    Args:
        model: A name or path for `open_model`, or a runtime.
        **options: Of `open_model`.

    Raises:
        ConfigError: If options are given for a runtime, or it is neither.
    """
    if model is None or isinstance(model, str | os.PathLike):
        return open_model(model, **options)
    if not hasattr(model, "info"):
        raise ConfigError(
            f"a model is a name, a path or an opened model, not {type(model).__name__}; "
            "movinet.torch_runtime.wrap(model, labels, input_spec) opens a network in memory"
        )
    if given := [name for name, value in options.items() if value is not None]:
        raise ConfigError(
            f"{', '.join(given)} cannot be given with a model that is open already: give them to "
            "movinet.open_model"
        )
    return model


def at_speed(runtime: Runtime, speed: float) -> Runtime:
    """The same model for videos that show things slower or faster than they were.

    Args:
        runtime: A single model.
        speed: How many times slower than life: 4 for slow motion of 100 frames a second that
            plays at 25. The model then sees frames 4 times as far apart. Times, and half-lives,
            stay those of the video.

    Raises:
        ConfigError: If it is no such number, or the model is an ensemble.
    """
    if isinstance(speed, bool) or not isinstance(speed, Real) or not 1e-3 <= speed <= 1e3:
        raise ConfigError(f"speed must be a number from 0.001 to 1000, not {speed!r}")
    if speed == 1:
        return runtime
    if runtime.members:
        raise ConfigError(f"{runtime.info.name} is an ensemble: speed is for single models")
    info = runtime.info
    slowed = dataclasses.replace(info.input, frame_rate=info.input.frame_rate / float(speed))
    other: Any = copy.copy(runtime)
    other.info = dataclasses.replace(info, name=f"{info.name} at speed {speed:g}", input=slowed)
    return other


def check_takes_manifest(name: str) -> None:
    """Raise ConfigError if a manifest cannot be given for a model."""
    if not is_exported(name):
        raise ConfigError(
            f"a manifest belongs to an exported file ({', '.join(FORMATS)}), and {name} is not "
            "one: omit it"
        )


def _exported(
    path: str | os.PathLike[str],
    labels: Sequence[str] | None,
    num_threads: int,
    manifest: str | os.PathLike[str] | None,
    multi_label: bool | None,
) -> ExportedRuntime:
    runtime = load(path, num_threads=num_threads, manifest=manifest)
    if labels is not None:
        if len(labels) != len(runtime.info.labels):
            raise ConfigError(f"{len(labels)} labels for {len(runtime.info.labels)} classes")
        info = runtime.info
        assumption = assumed_labels(len(labels))[1]
        notes = tuple(note for note in info.notes if note != assumption)
        runtime.info = dataclasses.replace(info, labels=tuple(labels), notes=notes)
    if multi_label not in (None, runtime.info.multi_label):
        if runtime.manifest.output == "probabilities":
            raise ConfigError(
                f"{path} gives probabilities, not logits, and was exported for "
                f"{'several labels a clip' if runtime.info.multi_label else 'exclusive classes'}: "
                "omit multi_label, or export it without softmax (--softmax)"
            )
        runtime.info = dataclasses.replace(runtime.info, multi_label=multi_label)
    return runtime


def check_for_files(runtime: Runtime, window: float | None) -> None:
    """Raise ConfigError where a model cannot predict on one video at a time.

    Args:
        runtime: The model; only exported ones have such limits.
        window: Seconds that a window is to last, where that is said.
    """
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
            f"{spec.num_frames / spec.frame_rate:g} seconds: omit window, or export with "
            "another num_frames (--frames)"
        )
