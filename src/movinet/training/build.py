"""The network of a run, with the weights that it starts from."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from movinet.errors import CheckpointError, ConfigError
from movinet.network.config import InputSpec, MoViNetConfig
from movinet.network.convolution import ConvNorm
from movinet.network.layers import Block
from movinet.network.model import MoViNet
from movinet.network.presets import preset_config
from movinet.text import same_form
from movinet.training.config import InputSection, ModelSection
from movinet.weights.factory import LoadedModel, load_model
from movinet.weights.loading import PUBLISHED

#: The classifier: its hidden layer and the last one. Everything else is the backbone.
_CLASSIFIER = ("hidden.", "classifier.")
#: Fields of `MoViNetConfig` that decide shapes, only matter in training, or compute the same.
OTHER_FIELDS = {
    *("architecture", "num_classes", "lowering", "trained_frames"),
    *("dropout", "drop_path", "norm_momentum"),
}
#: Those with which the same weights compute something else.
FUNCTION_FIELDS = tuple(
    f.name for f in dataclasses.fields(MoViNetConfig) if f.name not in OTHER_FIELDS
)
#: How names of tensors tell a part of the network, and what people call it.
_PARTS = {
    ".depthwise.": "depthwise kernels",
    ".temporal.": "temporal kernels",
    ".se.": "squeeze-excitation",
    "hidden.": "the classifier's hidden layer",
    "classifier.": "the last layer",
}


class Built(NamedTuple):
    """A network for training.

    Attributes:
        model: The network, in training mode.
        notes: What was taken from the weights and what starts anew, for people.
        fresh: Names of its tensors that the weights do not bring; empty without weights.
    """

    model: MoViNet
    notes: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()


def build_model(config: ModelSection, labels: Sequence[str]) -> Built:
    """The network of a run.

    Args:
        config: Preset, overrides, weights and how much of them.
        labels: Names of the classes.

    Raises:
        ConfigError: If an override is not allowed, the weights have other classes and ``load`` is
            "all", or a part of a frozen backbone would stay random.
        CheckpointError: If the weights cannot be read, or are of another architecture.
        DownloadError: If published weights cannot be had.
    """
    model, notes, fresh = MoViNet(config.network(len(labels))), [], []
    for block in model.blocks.values():
        assert isinstance(block, Block)
        nn.init.constant_(block.scale, config.initial_scale)
    if config.weights is not None:
        loaded = _load(config, config.weights)
        if config.load == "all":
            _check_classes(loaded, labels, config.weights)
        fresh = take_weights(model, loaded, whole=config.load == "all", name=config.weights)
        if config.freeze_backbone:
            _check_frozen(fresh, config.weights)
        notes = _notes(model, loaded, fresh, config.weights)
    if config.freeze_backbone:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.startswith(_CLASSIFIER))
    set_training(model)
    return Built(model, tuple(notes), tuple(fresh))


def test_input(section: InputSection) -> InputSpec:
    """How the trained model will want its videos."""
    return InputSpec(
        image_size=section.image_size,
        short_side=section.short_side,
        frame_rate=section.frame_rate,
        num_frames=section.test_frames,
    )


def set_training(model: nn.Module) -> None:
    """Training mode, but not where nothing is trained.

    There, batch norms keep their statistics and no branch is dropped: a frozen backbone is the same
    function in every step.
    """
    model.train()
    for module in model.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()


def take_weights(model: MoViNet, loaded: LoadedModel, *, whole: bool, name: str) -> list[str]:
    """Copy into a network what fits of another one's weights.

    What has the same name and shape is taken as it is. A stream model has a base model's kernel
    over space and time in two halves, with a batch norm and an activation between them, so that no
    weights give the same function; see `_spatial_halves` for what it starts from.

    Args:
        model: Is changed.
        loaded: Whose weights.
        whole: Whether the last layer is taken too.
        name: Of the weights, for messages.

    Returns:
        Names of the model's tensors that start anew.

    Raises:
        CheckpointError: If the weights are of another architecture.
    """
    source = loaded.model
    if not isinstance(source, MoViNet) or (source.config.architecture != model.config.architecture):
        raise CheckpointError(
            f"model.weights: {name} is {loaded.info.name}, another architecture than the model's; "
            "omit model.preset and model.architecture to train its own network, or name other "
            "weights"
        )
    theirs = {**source.state_dict(), **_spatial_halves(model, source)}
    left = _left(loaded, whole=whole)
    ours = model.state_dict()
    taken = {
        key: value
        for key, value in theirs.items()
        if key in ours and value.shape == ours[key].shape
        if not key.startswith(left)
    }
    for name_of_layer, layer in model.named_modules():
        if isinstance(layer, ConvNorm) and f"{name_of_layer}.weight" not in taken:
            for key in layer.norm.state_dict():  # statistics of another kernel's outputs
                taken.pop(f"{name_of_layer}.norm.{key}", None)
    model.load_state_dict(taken, strict=False)
    return [key for key in ours if key not in taken]


def _left(loaded: LoadedModel, *, whole: bool) -> tuple[str, ...]:
    """How the names of tensors start that are not taken."""
    if "classifier" in loaded.assumed:  # the weights have none: what was loaded is random
        return _CLASSIFIER
    return () if whole else ("classifier.",)


def _check_frozen(fresh: Sequence[str], weights: str) -> None:
    """Raise ConfigError if something that starts anew would never learn."""
    if anew := _parts([key for key in fresh if not key.startswith(_CLASSIFIER)]):
        raise ConfigError(
            f"model.freeze_backbone: of {weights} the model cannot take {', '.join(anew)}, which "
            "would stay random; train it whole, with a small optimizer.backbone_factor perhaps"
        )


def _parts(keys: Sequence[str]) -> list[str]:
    """What people call the parts that tensors belong to."""
    return [part for mark, part in _PARTS.items() if any(mark in key for key in keys)]


def _load(config: ModelSection, weights: str) -> LoadedModel:
    """The weights, as the network that they are of; published ones are those of the preset."""
    return load_model(config.preset if weights in PUBLISHED else None, weights)


def _check_classes(loaded: LoadedModel, labels: Sequence[str], weights: str) -> None:
    """Raise ConfigError unless the weights are for these classes in this order."""
    theirs = loaded.info.labels
    advice = "model.load=backbone makes a new last layer"
    if "classifier" in loaded.assumed:
        raise ConfigError(f"model.weights: {weights} has no classifier; {advice}")
    if len(theirs) != len(labels):
        raise ConfigError(
            f"model.weights: {weights} has {len(theirs)} classes, the data {len(labels)}; {advice}"
        )
    theirs, labels = [same_form(each) for each in theirs], [same_form(each) for each in labels]
    if "labels" not in loaded.assumed and theirs != labels:
        pairs = enumerate(zip(theirs, labels, strict=True))
        odd = next(i for i, (their, our) in pairs if their != our)
        near = difflib.get_close_matches(labels[odd], theirs, n=1)
        hint = f" (its {near[0]!r} is class {theirs.index(near[0])})" if near else ""
        raise ConfigError(
            f"model.weights: {weights} has {theirs[odd]!r} as class {odd}, the data "
            f"{labels[odd]!r}{hint}; give data.labels in its order, or {advice}"
        )


def _spatial_halves(model: MoViNet, source: MoViNet) -> dict[str, Tensor]:
    """For a factorised network, what it takes of kernels that the source has whole.

    The spatial half is the kernel's sum over time: for a video that stands still, the same
    convolution. The temporal half starts anew. On a small made-up task of motion (t0, three seeds)
    that learned faster than passing the newest frame on: 83 % of the clips of the first 75 updates
    were right, against 76 %. The middle of the kernel did as well as its sum. Tasks of appearance
    were not measured.
    """
    kernels = {}
    for name, block in model.blocks.items():
        other = source.blocks[name]
        assert isinstance(block, Block)
        assert isinstance(other, Block)
        if block.temporal is not None and other.temporal is None:
            kernels[f"blocks.{name}.depthwise.weight"] = other.depthwise.weight.sum(2, keepdim=True)
    return kernels


def _described(loaded: LoadedModel) -> str:
    """The name of a network, and what it computes otherwise than its preset."""
    assert isinstance(loaded.model, MoViNet)
    config, name = loaded.model.config, loaded.preset or loaded.info.name
    if loaded.preset is None:
        return name
    usual = preset_config(loaded.preset)
    fields = [f for f in FUNCTION_FIELDS if getattr(config, f) != getattr(usual, f)]
    differing = [f"{field}={getattr(config, field)}" for field in fields]
    return f"{name} with {', '.join(differing)}" if differing else name


def _notes(model: MoViNet, loaded: LoadedModel, fresh: Sequence[str], name: str) -> list[str]:
    """What became of the weights, the `fresh` ones of the model among them."""
    assert isinstance(loaded.model, MoViNet)
    ours, theirs = model.config, loaded.model.config
    anew = _parts(fresh)
    change = f"; re-initialised: {', '.join(anew)}" if anew else ", whole"
    notes = [f"weights taken: {name} ({_described(loaded)}){change}", *loaded.weight_notes]
    if ours.factorized and not theirs.factorized:
        notes.append(
            "kernels over space and time are split in two, which cannot be done exactly: the "
            "network needs training before it predicts"
        )
    others = [
        f"{field}={getattr(ours, field)} (theirs {getattr(theirs, field)})"
        for field in FUNCTION_FIELDS
        if field not in loaded.assumed and getattr(ours, field) != getattr(theirs, field)
    ]
    if others:
        notes.append(f"the weights were made for other settings: {', '.join(others)}")
    return notes
