"""SavedModels, as TensorFlow Hub has them: tensors named by position instead of by layer.

``trainable_variables/<n>`` counts the trainable tensors, ``variables/<n>`` all of them, both in the
order of Keras: layer after layer (the stem, a whole block, the head's projection), each with its
trainable tensors first and its moving statistics behind them. What comes first within a convolution
depends on the version of the reference that exported the model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import NamedTuple

from movinet.checkpoints.keys import NORM, SUFFIX, Entry, entries
from movinet.checkpoints.wire import shown
from movinet.errors import CheckpointError
from movinet.network.architectures import ARCHITECTURES
from movinet.network.config import MoViNetConfig
from movinet.network.presets import preset_config

_POSITION = re.compile(rf"(?:trainable_)?variables/\d{{1,6}}{re.escape(SUFFIX)}")
_TRAINABLE, _ALL = "trainable_variables", "variables"
_STATISTICS = ("running_mean", "running_var")


class _Order(NamedTuple):
    """The order of trainable tensors in a convolution with batch norm, and in a factorised pair."""

    conv: tuple[str, ...]
    pair: tuple[str, ...]


_ORDERS = (
    # The published files; the pair's is an assumption, as no published stream was seen.
    _Order(
        ("weight", "norm.weight", "norm.bias"),
        (
            "depthwise.norm.weight",
            "depthwise.norm.bias",
            "depthwise.weight",
            "temporal.norm.weight",
            "temporal.norm.bias",
            "temporal.weight",
        ),
    ),
    # What export_saved_model.py of tf-models-official 2.20 writes.
    _Order(
        ("norm.weight", "norm.bias", "weight"),
        (
            "depthwise.norm.weight",
            "depthwise.norm.bias",
            "temporal.norm.weight",
            "temporal.norm.bias",
            "depthwise.weight",
            "temporal.weight",
        ),
    ),
)

# How variables are named: "block0_layer0/bneck/se/se_reduce/conv2d/conv2d_1/kernel". The scalar of
# a positional encoding is called "scale" alone.
_NAME = re.compile(
    r"(?:^|/)(stem|block\d+_layer\d+|head|classifier_head(?:_\d+)?)/(?:(.+)/)?(\w+)(?::0)?$"
)
_PARTS = {
    "expansion": "expand",
    "feature": "depthwise",
    "projection": "project",
    "se_reduce": "se.reduce",
    "se_expand": "se.expand",
    "skip_project": "skip",
}
_LEAVES = {
    "kernel": "weight",
    "depthwise_kernel": "weight",
    "bias": "bias",
    **{theirs: f"norm.{ours}" for ours, theirs in NORM},
}


def is_positional(key: str) -> bool:
    """Whether a checkpoint key names a tensor by position."""
    return _POSITION.fullmatch(key) is not None


def ordinary_keys(
    shapes: Mapping[str, tuple[int, ...]], names: Mapping[str, str], source: str
) -> dict[str, str]:
    """The keys of an ordinary checkpoint, in the published layout, for a SavedModel's tensors.

    The preset whose tensors have these shapes in this order says which tensor is which; the names
    in the file, where it has them, have to agree.

    Args:
        shapes: Key by position -> shape.
        names: Key by position -> the variable's own name, of those that have one.
        source: The file, for messages.

    Returns:
        Key by position -> ordinary key.

    Raises:
        CheckpointError: If no preset fits, or a name contradicts the position.
    """
    nearest, reason = -1, ""
    for preset, config in _candidates(shapes):
        for order in _ORDERS:
            layout = _positions(config, order)
            fitting = {
                key: layout[key].tf_key
                for key in shapes
                if key in layout and layout[key].tf_shape == shapes[key]
            }
            if len(fitting) == len(shapes) and sorted(fitting.values()) == _every_key(layout):
                _check_names(layout, names, shapes, source)
                return fitting
            if len(fitting) > nearest:
                nearest, reason = len(fitting), f"{preset}, {_difference(layout, shapes)}"
    raise CheckpointError(
        f"{source}: the SavedModel's tensors fit no preset (nearest is {reason}); "
        "use the ordinary checkpoint of this model"
    )


def _candidates(shapes: Mapping[str, tuple[int, ...]]) -> Iterator[tuple[str, MoViNetConfig]]:
    """Every preset, with as many classes as the last tensor, the classifier's bias, has."""
    last = max(shapes, key=lambda key: (key.startswith(_TRAINABLE), int(key.split("/")[1])))
    num_classes = shapes[last][0] if shapes[last] else 0
    for size in ARCHITECTURES:
        for kind in ("base", "stream"):
            preset = f"{size}_{kind}"
            yield preset, preset_config(preset, num_classes=max(num_classes, 1))


def _positions(config: MoViNetConfig, order: _Order) -> dict[str, Entry]:
    """What stands at every position of both lists."""
    layout: dict[str, Entry] = {}
    num_trainable = num_all = 0
    for _, group in groupby(entries(config), key=lambda entry: _split(entry.name)[0]):
        for entry in _in_order(list(group), order):
            layout[f"{_ALL}/{num_all}{SUFFIX}"] = entry
            num_all += 1
            if not entry.name.endswith(_STATISTICS):
                layout[f"{_TRAINABLE}/{num_trainable}{SUFFIX}"] = entry
                num_trainable += 1
    return layout


def _in_order(layer: list[Entry], order: _Order) -> list[Entry]:
    """The tensors of one layer in Keras's order."""
    factorized = any(_split(entry.name)[1].startswith("temporal.") for entry in layer)

    def conv(part: str) -> list[str]:
        return [f"{part}.{leaf}" for leaf in order.conv]

    known = [
        *order.conv,
        *conv("expand"),
        *(order.pair if factorized else conv("depthwise")),
        *conv("project"),
        # Its place in published streams was not seen; the reference has it first in its layer.
        "se.position_scale",
        *(f"se.{part}.{leaf}" for part in ("reduce", "expand") for leaf in ("weight", "bias")),
        *conv("skip"),
        "scale",
        "bias",
    ]
    trainable = [entry for entry in layer if not entry.name.endswith(_STATISTICS)]
    statistics = [entry for entry in layer if entry.name.endswith(_STATISTICS)]
    rank = {name: number for number, name in enumerate(known)}
    return sorted(trainable, key=lambda entry: rank[_split(entry.name)[1]]) + statistics


def _split(name: str) -> tuple[str, str]:
    """Our name of a tensor as its layer and its name there."""
    parts = name.split(".")
    depth = 2 if parts[0] == "blocks" else 1
    return ".".join(parts[:depth]), ".".join(parts[depth:])


def _every_key(layout: Mapping[str, Entry]) -> list[str]:
    """Each ordinary key once, sorted."""
    return sorted({entry.tf_key for entry in layout.values()})


def _difference(layout: Mapping[str, Entry], shapes: Mapping[str, tuple[int, ...]]) -> str:
    """The first tensor that does not fit."""
    for key in sorted(shapes, key=lambda key: (key.split("/")[0], int(key.split("/")[1]))):
        wanted = layout[key].tf_shape if key in layout else "no such tensor"
        if shapes[key] != wanted:
            return f"where {key.removesuffix(SUFFIX)} has shape {shapes[key]}, not {wanted}"
    return f"which has {len(_every_key(layout))} tensors, not {len(shapes)}"


def _check_names(
    layout: Mapping[str, Entry], names: Mapping[str, str], keys: Iterable[str], source: str
) -> None:
    for key in keys:
        ours = _our_name(names.get(key, ""))
        if ours is not None and ours != layout[key].name:
            raise CheckpointError(
                f"{source}: {key.removesuffix(SUFFIX)} is called {shown(names[key])} and stands "
                f"where {layout[key].name} belongs; use the ordinary checkpoint of this model"
            )


def _our_name(name: str) -> str | None:
    """Our name for a variable of the reference; None where its name does not tell."""
    match = _NAME.search(name)
    if not match:
        return None
    layer, path, leaf = match.groups()
    parts = (path or "").split("/")
    if layer.startswith("block") and leaf == "scale":
        return f"blocks.{layer}.scale"
    if leaf not in _LEAVES:
        return None
    if layer in ("stem", "head"):
        return f"{layer}.{_LEAVES[leaf]}"
    if layer.startswith("classifier_head"):
        ours = {"head": "hidden", "classifier": "classifier"}.get(parts[0])
        return ours and f"{ours}.{_LEAVES[leaf]}"
    part = next((_PARTS[part] for part in parts if part in _PARTS), None)
    if part == "depthwise" and any("temporal" in name for name in parts):
        part = "temporal"
    return part and f"blocks.{layer}.{part}.{_LEAVES[leaf]}"
