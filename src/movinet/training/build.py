"""The network of a run, with the weights that it starts from."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from movinet.config import InputSpec, MoViNetConfig
from movinet.errors import CheckpointError, ConfigError
from movinet.factory import LoadedModel, load_model
from movinet.layers import Block
from movinet.model import MoViNet
from movinet.presets import preset_config
from movinet.training.config import InputSection, ModelSection

#: The classifier: its hidden layer and the last one. Everything else is the backbone.
_CLASSIFIER = ("hidden.", "classifier.")


class Built(NamedTuple):
    """A network for training.

    Attributes:
        model: The network.
        notes: What was taken from the weights and what starts anew, for people.
    """

    model: MoViNet
    notes: tuple[str, ...] = ()


def build_model(config: ModelSection, labels: Sequence[str]) -> Built:
    """The network of a run.

    Args:
        config: Preset, overrides, weights and how much of them.
        labels: Names of the classes.

    Raises:
        ConfigError: If an override is not allowed, or the weights have other classes and
            ``load`` is "all".
        CheckpointError: If the weights cannot be read or nothing of them fits.
    """
    overrides = {key: value for key, value in config.overrides.items() if key != "num_classes"}
    wanted = preset_config(config.preset, num_classes=len(labels), **overrides)
    model, notes = MoViNet(wanted), []
    if config.weights is not None:
        loaded = _load(config)
        source = loaded.model
        if not isinstance(source, MoViNet):
            raise ConfigError(f"model.weights: {config.weights} is an ensemble, not one network")
        if config.load == "all":
            _check_classes(loaded, labels, config.weights)
        notes = take_weights(model, source, whole=config.load == "all", name=config.weights)
    if config.freeze_backbone:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.startswith(_CLASSIFIER))
    return Built(model, tuple(notes))


def test_input(section: InputSection) -> InputSpec:
    """How the trained model will want its videos."""
    return InputSpec(
        image_size=section.image_size,
        short_side=section.short_side,
        frame_rate=section.frame_rate,
        num_frames=section.test_frames,
    )


def set_training(model: nn.Module) -> None:
    """Training mode; layers without a trained parameter keep their batch-norm statistics."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and not module.weight.requires_grad:
            module.eval()


def _load(config: ModelSection) -> LoadedModel:
    """The weights, as the network that they are of; the preset names published ones."""
    assert config.weights is not None
    published = config.weights.startswith("kinetics-")
    return load_model(config.preset if published else None, config.weights)


def _check_classes(loaded: LoadedModel, labels: Sequence[str], weights: str) -> None:
    theirs = loaded.info.labels
    advice = 'set model.load to "backbone" for a new last layer'
    if len(theirs) != len(labels):
        raise ConfigError(
            f"model.weights: {weights} has {len(theirs)} classes, the data {len(labels)}; {advice}"
        )
    if "labels" not in loaded.assumed and tuple(theirs) != tuple(labels):
        odd = next(
            i for i, pair in enumerate(zip(theirs, labels, strict=True)) if len(set(pair)) > 1
        )
        near = difflib.get_close_matches(labels[odd], theirs, n=1)
        hint = f" (its {near[0]!r} is class {theirs.index(near[0])})" if near else ""
        raise ConfigError(
            f"model.weights: {weights} has {theirs[odd]!r} as class {odd}, the data "
            f"{labels[odd]!r}{hint}; give data.labels in its order, or {advice}"
        )


def take_weights(model: MoViNet, source: MoViNet, *, whole: bool, name: str) -> list[str]:
    """Copy into a network what fits of another one's weights.

    A stream model takes from a base model what has its name and shape. Of a kernel over space and
    time, which it has in two halves, the spatial half takes the sum over time, and the temporal
    half starts as passing the newest frame on: so for a video that stands still the kernel computes
    what it did. Squeeze-excitation has other widths and starts anew.

    Args:
        model: Is changed.
        source: Whose weights.
        whole: Whether the last layer is taken too.
        name: Of the weights, for messages.

    Returns:
        Notes for people.

    Raises:
        CheckpointError: If the stem does not fit: another architecture.
    """
    theirs: Mapping[str, Tensor] = source.state_dict()
    ours = model.state_dict()
    if source.config.architecture != model.config.architecture:
        raise CheckpointError(
            f"{name}: weights of another architecture than the model's; choose the preset that "
            "they belong to (movinet info tells it)"
        )
    fresh = []
    with torch.no_grad():
        for key, value in ours.items():
            if key.startswith("classifier.") and not whole:
                continue
            found = theirs.get(key)
            if found is not None and found.shape != value.shape:
                found = _summed_over_time(found, value)
            if found is None:
                fresh.append(key)
            else:
                value.copy_(found)
        for name_of_block, block in model.blocks.items():
            is_new = f"blocks.{name_of_block}.temporal.weight" in fresh
            if is_new and isinstance(block, Block) and block.temporal is not None:
                block.temporal.weight.zero_()
                block.temporal.weight[:, :, -1] = 1.0
    return _notes(fresh, model.config, source.config, name)


def _summed_over_time(kernel: Tensor, like: Tensor) -> Tensor | None:
    """A k_t x k x k depthwise kernel as 1 x k x k, if that is what is wanted."""
    if kernel.ndim == 5 and like.shape == (*kernel.shape[:2], 1, *kernel.shape[3:]):
        return kernel.sum(2, keepdim=True)
    return None


def _notes(
    fresh: Sequence[str], ours: MoViNetConfig, theirs: MoViNetConfig, name: str
) -> list[str]:
    parts = sorted({key.split(".")[2] for key in fresh if key.startswith("blocks.")})
    if not parts:
        return [f"weights: {name}"]
    kinds = "a stream" if ours.causal else "a base"
    from_kind = "stream" if theirs.causal else "base"
    return [
        f"weights: {name}, of a {from_kind} model, for {kinds} model; these start anew: "
        f"{', '.join(parts)}"
    ]
