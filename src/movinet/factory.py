"""Models by name, with or without weights."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, overload

import torch

from movinet.architectures import ARCHITECTURES
from movinet.config import InputSpec, MoViNetConfig
from movinet.ensemble import Ensemble
from movinet.errors import CheckpointError, ConfigError
from movinet.labels import load_labels
from movinet.model import MoViNet
from movinet.presets import ENSEMBLES, input_spec, list_models, preset_config, unknown_model_message
from movinet.runtime.base import ModelInfo
from movinet.weights.identify import check_fit, count_classes, identify
from movinet.weights.loading import PUBLISHED, RawWeights, read_weights

RANDOM = "random weights"


@dataclass(frozen=True)
class LoadedModel:
    """A model in evaluation mode and what travels with its weights.

    Attributes:
        model: The network.
        info: Name, input, labels, origin of the weights, notes.
        members: An ensemble's members, each with what travels with it.
        preset: Name of the preset that the config came from, if any.
    """

    model: MoViNet | Ensemble
    info: ModelInfo
    members: tuple[LoadedModel, ...] = ()
    preset: str | None = None


@overload
def create_model(  # pyright: ignore[reportOverlappingOverload]
    name: Literal["a6_base"],
    num_classes: int | None = None,
    weights: str | os.PathLike[str] | None = None,
    **config_overrides: Any,
) -> Ensemble: ...
@overload
def create_model(
    name: str,
    num_classes: int | None = None,
    weights: str | os.PathLike[str] | None = None,
    **config_overrides: Any,
) -> MoViNet: ...
def create_model(
    name: str,
    num_classes: int | None = None,
    weights: str | os.PathLike[str] | None = None,
    **config_overrides: Any,
) -> MoViNet | Ensemble:
    """Make a model by name.

    Args:
        name: One of `list_models`: ``a0_base ... a5_base, t0_base``, the same with ``_stream``, or
            the ensemble ``a6_base``.
        num_classes: Number of outputs; by default as many as the weights have, or 600.
        weights: None for random ones; "kinetics-600" or "kinetics-400" for published ones, fetched
            on first use; or a file: .safetensors, .pt, or a TensorFlow checkpoint (folder, prefix,
            .tar.gz, hub SavedModel).
        **config_overrides: Fields of `MoViNetConfig`, e.g. ``head_activation="swish"``.

    Returns:
        A `MoViNet` in evaluation mode; an `Ensemble` for ``a6_base``.

    Raises:
        ConfigError: If a name, field or value is not allowed.
        CheckpointError: If the file is broken or does not fit; says what does.
        DownloadError: If published weights cannot be had.
    """
    if name not in list_models():
        raise ConfigError(unknown_model_message(name))
    return load_model(name, weights, num_classes=num_classes, **config_overrides).model


def load_model(
    name: str | None,
    weights: str | os.PathLike[str] | None = None,
    *,
    labels: Sequence[str] | None = None,
    num_classes: int | None = None,
    **config_overrides: Any,
) -> LoadedModel:
    """A model with what travels with it; `create_model` says the rest.

    Args:
        name: The model, or None to tell it from the tensors of `weights`.
        weights: As in `create_model`.
        labels: Names of the classes, where they are not those of the weights.
        num_classes: As in `create_model`.
        **config_overrides: As in `create_model`.
    """
    if name in ENSEMBLES:
        return _load_ensemble(name, weights, labels, num_classes, config_overrides)
    if name is None and weights is None:
        raise ConfigError(f"name a model ({', '.join(list_models())}) or a file of weights")
    if weights is None:
        assert name is not None
        config = preset_config(name, num_classes=num_classes or 600, **config_overrides)
        loaded = _assemble(config, None, name, input_spec(name), labels, RANDOM, ())
        return dataclasses.replace(loaded, preset=name)
    raw = read_weights(os.fspath(weights), name)
    return _load_single(raw, name, labels, num_classes, config_overrides)


def _load_single(
    raw: RawWeights,
    name: str | None,
    labels: Sequence[str] | None,
    num_classes: int | None,
    overrides: dict[str, Any],
) -> LoadedModel:
    classes = count_classes(raw.shapes)
    if num_classes not in (None, classes):
        raise CheckpointError(
            f"{raw.where}: the weights have {classes} classes, not {num_classes}; leave "
            f"num_classes out and call model.reset_classifier({num_classes}) afterwards"
        )
    notes: list[str] = []
    metadata = raw.metadata
    if metadata is not None:
        config, spec, preset = metadata.config, metadata.input, metadata.preset
        if name is not None and name != preset:
            check_fit(raw.shapes, preset_config(name, num_classes=classes), raw.where, name)
        origin = metadata.origin or raw.where
        labels = labels or metadata.labels
    else:
        config, preset = _config_of(raw, name, classes, notes)
        spec = _input_of(config, preset)
        origin = raw.where
        if "head_activation" not in overrides:
            notes.append(
                f"no checkpoint says which activation follows the classifier's hidden layer: taken "
                f"as {config.head_activation}, as in {preset or 'published models'}; "
                "--head-activation overrides"
            )
    config = config.replace(**overrides)
    state = raw.state_dict(config, name or preset or "the network")
    title = name or preset or _size(config) or Path(raw.where).stem
    loaded = _assemble(config, state, title, spec, labels, origin, notes)
    return dataclasses.replace(loaded, preset=preset)


def _config_of(
    raw: RawWeights, name: str | None, classes: int, notes: list[str]
) -> tuple[MoViNetConfig, str | None]:
    if name is not None:
        return preset_config(name, num_classes=classes), name
    config, preset = identify(raw.shapes, raw.where)
    notes.append(f"told from its tensors: {preset or _describe(config)}, {classes} classes")
    return config, preset


def _describe(config: MoViNetConfig) -> str:
    return (
        f"a variant of {_size(config)} (causal={config.causal}, factorized={config.factorized}, "
        f"se_type={config.se_type}, positional_encoding={config.positional_encoding})"
    )


def _size(config: MoViNetConfig) -> str:
    """The architecture's name, or an empty string."""
    sizes = [size for size, arch in ARCHITECTURES.items() if arch == config.architecture]
    return sizes[0] if sizes else ""


def _input_of(config: MoViNetConfig, preset: str | None) -> InputSpec:
    return input_spec(preset or f"{_size(config)}_{'stream' if config.causal else 'base'}")


def _assemble(
    config: MoViNetConfig,
    state: dict[str, Any] | None,
    name: str,
    spec: InputSpec,
    labels: Sequence[str] | None,
    origin: str,
    notes: Sequence[str],
) -> LoadedModel:
    if state is None:
        model = MoViNet(config).eval()
    else:
        with torch.device("meta"):  # no time for random weights that are replaced at once
            model = MoViNet(config).eval()
        model.load_state_dict(state, assign=True)
    names, note = _labels(labels, config.num_classes)
    info = ModelInfo(
        name=name,
        input=spec,
        labels=names,
        streaming=config.causal,
        origin=origin,
        notes=(*notes, *note),
    )
    return LoadedModel(model, info)


def _labels(labels: Sequence[str] | None, classes: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the classes, and a note where they are assumed."""
    if labels is not None:
        if len(labels) != classes:
            raise ConfigError(f"{len(labels)} labels for {classes} classes")
        return tuple(labels), ()
    if classes in (400, 600, 700):
        note = f"labels assumed to be those of Kinetics {classes}"
        return load_labels(f"kinetics-{classes}"), (note,)
    note = "the weights bring no labels: classes are numbered; --labels gives names"
    return tuple(f"class {i}" for i in range(classes)), (note,)


def _load_ensemble(
    name: str,
    weights: str | os.PathLike[str] | None,
    labels: Sequence[str] | None,
    num_classes: int | None,
    overrides: dict[str, Any],
) -> LoadedModel:
    if weights is not None and os.fspath(weights) not in PUBLISHED:
        raise ConfigError(
            f"{name} is an ensemble of {' and '.join(ENSEMBLES[name])}: its weights are one of "
            f"{', '.join(PUBLISHED)}; for files of your own use movinet.Ensemble"
        )
    members = tuple(
        load_model(member, weights, labels=labels, num_classes=num_classes, **overrides)
        for member in ENSEMBLES[name]
    )
    models = [m.model for m in members if isinstance(m.model, MoViNet)]
    model = Ensemble(models, [member.info.input for member in members]).eval()
    first = members[0].info
    notes = tuple(dict.fromkeys(note for member in members for note in member.info.notes))
    info = ModelInfo(name, first.input, first.labels, first.streaming, first.origin, notes)
    return LoadedModel(model, info, members)
