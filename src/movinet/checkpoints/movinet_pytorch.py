"""State dicts of MoViNet-pytorch (https://github.com/Atze00/MoViNet-pytorch), the other port.

Only names, shapes and the configurations of its networks: no torch. Its networks differ from the
presets where their constructor differs: ``conv_type="3d"`` is swish and sigmoid with kernels over
space and time, ``"2plus1d"`` is hard_swish, a hard sigmoid of its own and factorised kernels, each
with ``causal`` or without; squeeze-excitation of a causal network is "2plus3d", the hidden layer's
activation is always swish, and no network encodes positions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from movinet.checkpoints.identify import COUNTER, Shapes, compare, describe
from movinet.checkpoints.keys import Entry, entries
from movinet.errors import CheckpointError
from movinet.network.architectures import ARCHITECTURES
from movinet.network.config import MAX_CHANNELS, MoViNetConfig
from movinet.network.presets import preset_config
from movinet.text import one_line

#: Its hard sigmoid is clip(x / 5 + 1 / 2, 0, 1), the reference's 0.16667 relu6(x + 3). Both are the
#: same function of inputs and outputs that linear layers scale: 1.2 goes into the layer before it,
#: the other factor into the layer behind.
GATE_INPUT, GATE_OUTPUT = 1.2, 1 / (6 * 0.16667)

#: Layers outside of the blocks, ours and theirs.
_LAYERS = {"stem": "conv1", "head": "conv7", "hidden": "classifier.0", "classifier": "classifier.3"}
#: Layers of a block. "skip" is the last of a sequence, behind the pooling of a strided block.
_PARTS = {
    "expand": "expand",
    "depthwise": "deep",
    "temporal": "deep",
    "project": "project",
    "se.reduce": "se.fc1",
    "se.expand": "se.fc2",
}
_BLOCK = re.compile(r"((?:.*\.)?)blocks\.b\d{1,3}_l\d{1,3}\.")
#: What its wrapper of convolutions puts into every name. Its versions before July 2021, and layers
#: that somebody replaced by plain ones (as its tutorial does with the last), have less of it.
_WRAPPER = re.compile(r"\.conv_1(?=\.)|\.conv[23]d(?=\.)")
_CLASSIFIER = ("classifier.0.", "classifier.3.")


@dataclass(frozen=True)
class PortedNetwork:
    """The network that a state dict of MoViNet-pytorch is of.

    Attributes:
        config: The network; with one class where the classifier is missing.
        preset: The preset of its size and kind.
        names: Key in the state dict -> our entry.
        lacks_classifier: Whether the tensors are of a backbone alone, without "hidden" and
            "classifier".
        notes: What to know about the weights, a sentence each.
    """

    config: MoViNetConfig
    preset: str
    names: Mapping[str, Entry]
    lacks_classifier: bool
    notes: tuple[str, ...]


def is_ported(names: Iterable[str]) -> bool:
    """Whether these are names of MoViNet-pytorch, whatever wrappers put before them."""
    return any(_BLOCK.match(name) for name in names)


def port_names(config: MoViNetConfig) -> Iterator[tuple[str, Entry]]:
    """MoViNet-pytorch's name of every tensor of a network, beside our entry.

    Args:
        config: The network; positional encodings have no name there and are left out.
    """
    layers = dict(_LAYERS)
    for block in config.architecture.blocks():
        theirs = "blocks." + block.name.replace("block", "b").replace("_layer", "_l")
        for ours, part in _PARTS.items():
            layers[f"blocks.{block.name}.{ours}"] = f"{theirs}.{part}"
        layers[f"blocks.{block.name}.skip"] = f"{theirs}.res.{int(block.stride != 1)}"
        layers[f"blocks.{block.name}"] = theirs
    kind = "conv2d" if config.factorized else "conv3d"
    for entry in entries(config):
        layer, is_norm, leaf = entry.name.partition(".norm.")
        if not is_norm:
            layer, _, leaf = entry.name.rpartition(".")
        inner = f"conv_{2 if layer.endswith('.temporal') else 1}"
        if leaf == "scale":
            yield f"{layers[layer]}.alpha", entry
        elif leaf != "position_scale":
            part = "norm" if is_norm else kind
            yield f"{layers[layer]}.{inner}.{part}.{leaf}", entry


def network_names(names: Iterable[str], where: str) -> tuple[dict[str, str], list[str]]:
    """The names that belong to the network, where it is a part of something else.

    Args:
        names: `is_ported` is true of them.
        where: The file, for messages.

    Returns:
        Name without the prefix -> name in the file; and the names of other layers.

    Raises:
        CheckpointError: If several networks are in the file.
    """
    names = list(names)
    prefixes = sorted({match[1] for name in names if (match := _BLOCK.match(name))})
    if len(prefixes) > 1:
        listed = ", ".join(one_line(prefix) or "none" for prefix in prefixes[:3])
        raise CheckpointError(
            f"{where}: tensors of several networks (prefixes {listed}); save one of them"
        )
    prefix = prefixes[0]
    inner = {name.removeprefix(prefix): name for name in names if name.startswith(prefix)}
    others = [name for name in names if not name.startswith(prefix) and "." in name]
    if not any(name.startswith(_CLASSIFIER) for name in inner):
        # What somebody put in the place of the classifier, of a form of its own.
        replaced = [name for name in inner if name.startswith("classifier.")]
        others += [inner.pop(name) for name in replaced]
    return inner, others


def recognise(shapes: Shapes, where: str) -> PortedNetwork:
    """The network that tensors with names of MoViNet-pytorch are of.

    Args:
        shapes: Name, as `network_names` returns it -> shape.
        where: The file, for messages.

    Raises:
        CheckpointError: If no network fits.
    """
    shapes = {name: shape for name, shape in shapes.items() if not name.endswith(COUNTER)}
    lacks_classifier = not any(name.startswith(_CLASSIFIER) for name in shapes)
    factorized = _is_factorized(shapes, where)
    causal = _is_causal(shapes)
    plain = _plain_names(shapes, where)
    num_classes = _count_classes(plain, shapes, where)
    fits = []
    for size in ARCHITECTURES:
        preset = f"{size}_{'stream' if causal else 'base'}"
        config = _config(preset, causal, factorized, num_classes)
        table = {
            plain.get(_shorten(name), name): entry
            for name, entry in port_names(config)
            if not (lacks_classifier and name.startswith(_CLASSIFIER))
        }
        problems = _problems(table, shapes)
        fits.append((sum(len(rows) for rows in problems.values()), preset, config, table, problems))
    count, preset, config, table, problems = min(fits, key=lambda row: row[0])
    if count:
        raise CheckpointError(
            f"{where}: names of MoViNet-pytorch, but the tensors of none of its networks; nearest "
            f"is {preset}: {describe(problems)}"
        )
    return PortedNetwork(config, preset, table, lacks_classifier, _notes(config, preset))


def _config(preset: str, causal: bool, factorized: bool, num_classes: int) -> MoViNetConfig:
    """What a network of MoViNet-pytorch computes, as ours."""
    return preset_config(
        preset,
        num_classes=num_classes,
        causal=causal,
        factorized=factorized,
        se_type="2plus3d" if causal else "3d",
        activation="hard_swish" if factorized else "swish",
        gating_activation="hard_sigmoid" if factorized else "sigmoid",
        head_activation="swish",
        positional_encoding=False,
    )


def _is_factorized(names: Shapes, where: str) -> bool:
    """Whether the network was made with ``conv_type="2plus1d"``."""
    kinds = {
        kind
        for key in names
        if not key.startswith("classifier.")
        for kind in ("conv2d", "conv3d")
        if f".{kind}." in key
    }
    if len(kinds) > 1:
        raise CheckpointError(
            f"{where}: names of two networks of MoViNet-pytorch, some with conv2d and some with "
            "conv3d; save the state dict of one"
        )
    return "conv2d" in kinds


def _is_causal(shapes: Shapes) -> bool:
    """Whether squeeze-excitation sees two means of each channel, as it does in causal networks."""
    for key, shape in shapes.items():
        layer, mark, leaf = key.partition(".se.fc1.")
        if mark and leaf.endswith("weight") and len(shape) > 1:
            widths = [
                other[:1]
                for name, other in shapes.items()
                if name.startswith(f"{layer}.se.fc2.") and name.endswith("bias")
            ]
            return widths == [(shape[1] // 2,)]
    return False


def _plain_names(names: Shapes, where: str) -> dict[str, str]:
    """Names without their wrappers -> names in the file."""
    plain: dict[str, str] = {}
    for name in names:
        if (other := plain.setdefault(_shorten(name), name)) != name:
            raise CheckpointError(
                f"{where}: {one_line(other)} and {one_line(name)} name the same tensor"
            )
    return plain


def _shorten(name: str) -> str:
    return _WRAPPER.sub("", name)


def _count_classes(plain: Mapping[str, str], shapes: Shapes, where: str) -> int:
    """Number of outputs of the last layer; 1 where it cannot be told."""
    shape = shapes[plain["classifier.3.bias"]] if "classifier.3.bias" in plain else ()
    classes = max(1, *shape) if shape else 1
    if classes > MAX_CHANNELS:
        raise CheckpointError(
            f"{where}: {classes} classes are more than the {MAX_CHANNELS} allowed"
        )
    return classes


def _problems(table: Mapping[str, Entry], shapes: Shapes) -> dict[str, list[str]]:
    """What is missing, left over or of another shape; empty if the tensors fit."""
    expected = {}
    for name, entry in table.items():
        forms = _forms(entry)
        found = tuple(shapes.get(name, ()))
        expected[name] = found if found in forms else forms[0]
    return compare(shapes, expected)


def _forms(entry: Entry) -> list[tuple[int, ...]]:
    """Shapes that a tensor may have there: as ours, or without axes of one element."""
    shape = entry.shape
    if len(shape) < 5:
        return [shape]
    forms: list[tuple[int, ...]] = [shape]
    if shape[2] == 1:
        forms.append((*shape[:2], *shape[3:]))
    elif shape[4] == 1:
        forms.append(shape[:4])
    if shape[2:] == (1, 1, 1):
        forms.append(shape[:2])
    return forms


def _notes(config: MoViNetConfig, preset: str) -> tuple[str, ...]:
    notes = [
        "taken for a network of MoViNet-pytorch with tf_like=True, as all its published weights "
        "are; one that was trained with tf_like=False pads differently and predicts wrongly here, "
        "and its tensors look the same"
    ]
    usual = preset_config(preset)
    names = ("factorized", "activation", "gating_activation", "positional_encoding")
    others = [
        f"{name}={getattr(config, name)!r}"
        for name in names
        if getattr(config, name) != getattr(usual, name)
    ]
    if others:
        notes.append(f"other than the preset {preset}, this network has {', '.join(others)}")
    return tuple(notes)
