"""Models by name, with or without weights."""

from __future__ import annotations

import dataclasses
import operator
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, overload

import torch

from movinet.checkpoints.identify import check_fit, count_classes, describe_variant, identify
from movinet.checkpoints.metadata import Metadata
from movinet.errors import CheckpointError, ConfigError
from movinet.labels import as_labels, assumed_labels
from movinet.model_names import resolve_network
from movinet.network.architectures import ARCHITECTURES
from movinet.network.config import InputSpec, MoViNetConfig
from movinet.network.ensemble import Ensemble
from movinet.network.model import MoViNet
from movinet.network.presets import (
    ENSEMBLES,
    input_spec,
    list_models,
    preset_config,
    unknown_model_message,
)
from movinet.runtime.base import RANDOM, ModelInfo
from movinet.weights.loading import PUBLISHED, RawWeights, read_weights

#: Outputs of a model without weights: the classes of Kinetics 600, as in the paper.
DEFAULT_CLASSES = 600


@dataclass(frozen=True)
class LoadedModel:
    """A model in evaluation mode and what travels with its weights.

    Attributes:
        model: The network.
        info: Name, input, labels, origin of the weights, notes.
        members: An ensemble's members, each with what travels with it.
        preset: Name of the preset that the config came from, if any.
        assumed: What neither the caller nor the weights said: "preset" (told from the tensors),
            "head_activation", "frame_rate", "classifier" (the weights had none), "labels". Each has
            its note in `info`.
        weight_notes: Those notes of `info` that are about the file of weights.
        run: Name of the training run that made the weights, if one did.
    """

    model: MoViNet | Ensemble
    info: ModelInfo
    members: tuple[LoadedModel, ...] = ()
    preset: str | None = None
    assumed: tuple[str, ...] = ()
    weight_notes: tuple[str, ...] = ()
    run: str | None = None


@overload
def create_model(  # pyright: ignore[reportOverlappingOverload]
    name: Literal["a6_base"],
    num_classes: int | None = None,
    weights: str | os.PathLike[str] | None = None,
    *,
    pretrained: bool = False,
    **config_overrides: Any,
) -> Ensemble: ...
@overload
def create_model(
    name: str | os.PathLike[str],
    num_classes: int | None = None,
    weights: str | os.PathLike[str] | None = None,
    *,
    pretrained: bool = False,
    **config_overrides: Any,
) -> MoViNet: ...
def create_model(
    name: str | os.PathLike[str],
    num_classes: int | None = None,
    weights: str | os.PathLike[str] | None = None,
    *,
    pretrained: bool = False,
    **config_overrides: Any,
) -> MoViNet | Ensemble:
    """Make a model by name.

    Args:
        name: One of `list_models`: ``a0_base ... a5_base, t0_base``, the same with ``_stream``, or
            the ensemble ``a6_base``; or "motions", the bundled model, or a file of weights, which
            come with their weights.
        num_classes: Number of outputs; by default as many as the weights have, or 600. If the
            weights have another number, it is an error unless `pretrained`.
        weights: Of a preset: None for random ones; "kinetics-600" or "kinetics-400" for published
            ones, fetched on first use; or a file: .safetensors, .pt (also a state dict of
            MoViNet-pytorch), .tflite, or a TensorFlow checkpoint (folder, prefix, .tar.gz, hub
            SavedModel).
        pretrained: Take trained weights to start from: `weights`, or by default those published for
            Kinetics 600. If `num_classes` is not their number of classes, the last layer is
            re-initialised at random for that many; everything else keeps its weights.
        **config_overrides: Fields of `MoViNetConfig`, e.g. ``head_activation="swish"``.

    Returns:
        A `MoViNet` in evaluation mode; an `Ensemble` for ``a6_base``.

    Raises:
        ConfigError: If a name, field or value is not allowed, or no weights are published for a
            pretrained model.
        CheckpointError: If the file is broken or does not fit; the message names what does.
        DownloadError: If published weights cannot be fetched.
    """
    if name is None:
        raise ConfigError(f"name a model: {', '.join(list_models())}")
    if not isinstance(pretrained, bool):
        raise ConfigError(
            f"pretrained must be True or False, not {pretrained!r}; name weights with weights="
        )
    named = resolve_network(name, weights)
    if not pretrained:
        return load_model(
            named.preset, named.weights, num_classes=num_classes, **config_overrides
        ).model
    count = _class_count(num_classes)
    model = load_model(named.preset, named.weights or PUBLISHED[0], **config_overrides).model
    for network in [model] if isinstance(model, MoViNet) else model.networks:
        if count not in (None, network.config.num_classes):
            network.reset_classifier(count)
    return model.eval()


def load_model(
    name: str | None,
    weights: str | os.PathLike[str] | None = None,
    *,
    labels: Sequence[str] | str | os.PathLike[str] | None = None,
    num_classes: int | None = None,
    multi_label: bool | None = None,
    **config_overrides: Any,
) -> LoadedModel:
    """A model with what travels with it; `create_model` says the rest.

    Args:
        name: A preset or ensemble, or None to infer it from the tensors of `weights`.
        weights: As in `create_model`.
        labels: Names of the classes, where they are not those of the weights: a list, or what
            `load_labels` takes.
        num_classes: As in `create_model`.
        multi_label: Whether a clip may have any number of the labels; None for what the weights
            say, and exclusive classes where they say nothing.
        **config_overrides: As in `create_model`.
    """
    if name is not None and name not in list_models():
        raise ConfigError(unknown_model_message(str(name)))
    num_classes = _class_count(num_classes)
    if labels is not None:
        labels = as_labels(labels)
    if multi_label is not None:
        loaded = load_model(
            name, weights, labels=labels, num_classes=num_classes, **config_overrides
        )
        return _as_multi_label(loaded, multi_label)
    if name in ENSEMBLES:
        return _load_ensemble(name, weights, labels, num_classes, config_overrides)
    if name is None and weights is None:
        raise ConfigError(f"name a model ({', '.join(list_models())}) or a file of weights")
    if weights is None:
        assert name is not None
        config = preset_config(name, num_classes=num_classes or DEFAULT_CLASSES, **config_overrides)
        loaded = _assemble(config, None, name, input_spec(name), labels, RANDOM, ())
        return dataclasses.replace(loaded, preset=name)
    raw = read_weights(os.fspath(weights), name)
    return _load_single(raw, name, labels, num_classes, config_overrides)


def _as_multi_label(loaded: LoadedModel, multi_label: bool) -> LoadedModel:
    """A model whose labels exclude each other, or do not, whatever its weights say."""
    return dataclasses.replace(
        loaded,
        info=dataclasses.replace(loaded.info, multi_label=multi_label),
        members=tuple(_as_multi_label(member, multi_label) for member in loaded.members),
    )


def describe_weights(weights: str | os.PathLike[str]) -> Metadata:
    """The network that a file of weights is for, without making it.

    Args:
        weights: A file, as in `create_model`, or a name of embedded weights.

    Returns:
        What the file says of itself, or else the network that its tensors fit.

    Raises:
        CheckpointError: If the file cannot be read, or fits no known network.
    """
    raw = read_weights(os.fspath(weights))
    return raw.metadata or _assume(raw, None, count_classes(raw.shapes, raw.where))


def _class_count(value: Any) -> int | None:
    """A number of classes as an int, also from numpy's."""
    if value is None:
        return None
    try:
        count = operator.index(value)
    except TypeError:
        count = 0
    if count < 1 or isinstance(value, bool):
        raise ConfigError(f"num_classes must be a positive integer, not {value!r}")
    return count


def _load_single(
    raw: RawWeights,
    name: str | None,
    labels: Sequence[str] | None,
    num_classes: int | None,
    overrides: dict[str, Any],
) -> LoadedModel:
    if raw.lacks_classifier:
        raw = raw.with_classifier(num_classes or DEFAULT_CLASSES)
    classes = count_classes(raw.shapes, raw.where)
    if num_classes not in (None, classes):
        raise CheckpointError(
            f"{raw.where}: the weights have {classes} classes, not {num_classes}; give "
            f"pretrained=True to start from them with a new last layer, or omit num_classes"
        )
    said = raw.metadata or _assume(raw, name, classes)
    if raw.metadata is not None and name not in (None, said.preset):
        wanted = preset_config(name, num_classes=classes, **overrides)
        check_fit(raw.shapes, wanted, raw.where, name)
    assumed = set(said.assumed) - set(overrides)
    if name is not None:
        assumed.discard("preset")
    config = said.config.replace(**overrides)
    state = raw.state_dict(config, name or said.preset or "the network")
    notes = [*_notes(assumed, config, said), *raw.notes, *_broken_numbers(state)]
    loaded = _assemble(
        config,
        state,
        _name(name or said.preset or _size(config), said.run, raw.where),
        said.input,
        said.labels if labels is None else labels,
        said.origin or raw.where,
        notes,
        multi_label=said.multi_label,
    )
    is_preset = said.config.architecture == config.architecture
    return dataclasses.replace(
        loaded,
        preset=said.preset if is_preset else None,
        assumed=tuple(sorted({*assumed, *loaded.assumed})),
        weight_notes=raw.notes,
        run=said.run,
    )


def _name(network: str, run: str | None, where: str) -> str:
    """What a model is called: by the run that trained it, by its network, or by its file."""
    if run:
        return f"{run} ({network})" if network else run
    return network or Path(where).stem


def _assume(raw: RawWeights, name: str | None, classes: int) -> Metadata:
    """What a file that says nothing of itself is taken for."""
    if name is not None:
        config, preset = preset_config(name, num_classes=classes), name
        assumed = ("head_activation",)
    else:
        config, preset = identify(raw.shapes, raw.where)
        assumed = ("head_activation", "preset")
    spec = input_spec(preset or f"{_size(config)}_{'stream' if config.causal else 'base'}")
    return Metadata(config, spec, preset, assumed=assumed)


def _notes(assumed: Collection[str], config: MoViNetConfig, said: Metadata) -> list[str]:
    notes, preset = [], said.preset
    if "preset" in assumed:
        network = preset or describe_variant(config)
        notes.append(f"inferred from its tensors: {network}, {config.num_classes} classes")
    if "head_activation" in assumed:
        notes.append(
            "no checkpoint says which activation follows the classifier's hidden layer: taken "
            f"as {config.head_activation}, as in {preset or 'published models'}; "
            "head_activation (--head-activation) overrides"
        )
    if "frame_rate" in assumed:
        source = f"as {preset} was trained with" if preset else "as most MoViNets were trained with"
        notes.append(
            f"the file does not state a frame rate: {said.input.frame_rate:g} a second assumed, "
            f"{source}"
        )
    if "classifier" in assumed:
        notes.append(
            "only a backbone: the classifier is random, and predictions mean nothing before "
            "training (movinet train finetune)"
        )
    return notes


def _broken_numbers(state: Mapping[str, torch.Tensor]) -> list[str]:
    """A note where weights are not finite: such a network predicts nothing."""
    broken = [name for name, value in state.items() if not bool(torch.isfinite(value).all())]
    if not broken:
        return []
    return [
        f"NaN or infinite weights in {len(broken)} tensors, {broken[0]} the first: "
        "predictions will not be numbers"
    ]


def _size(config: MoViNetConfig) -> str:
    """The architecture's name, or an empty string."""
    sizes = [size for size, arch in ARCHITECTURES.items() if arch == config.architecture]
    return sizes[0] if sizes else ""


def _assemble(
    config: MoViNetConfig,
    state: dict[str, Any] | None,
    name: str,
    spec: InputSpec,
    labels: Sequence[str] | None,
    origin: str,
    notes: Sequence[str],
    *,
    multi_label: bool = False,
) -> LoadedModel:
    model = MoViNet(config, initialize=state is None).eval()
    if state is not None:
        model.load_state_dict(state, assign=True)
    names, note = _labels(labels, config.num_classes)
    info = ModelInfo(
        name=name,
        input=spec,
        labels=names,
        streaming=config.streams,
        origin=origin,
        notes=(*notes, *note),
        multi_label=multi_label,
    )
    return LoadedModel(model, info, assumed=("labels",) if note else ())


def _labels(labels: Sequence[str] | None, classes: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the classes, and a note where they are assumed."""
    if labels is not None:
        if len(labels) != classes:
            raise ConfigError(f"{len(labels)} labels for {classes} classes")
        return tuple(labels), ()
    assumed, note = assumed_labels(classes)
    return assumed, (note,)


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
