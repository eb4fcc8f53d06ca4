"""The two-way table between our parameter names and the reference's checkpoint keys.

Only names, shapes and axis orders: no torch and no TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np

from movinet.errors import ConfigError
from movinet.network.config import BlockSpec, MoViNetConfig
from movinet.network.geometry import se_width

Layout = Literal["3d", "2plus1d", "3d_2plus1d"]
LAYOUTS: tuple[Layout, ...] = ("3d", "2plus1d", "3d_2plus1d")
SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
_BACKBONE = "model/layer_with_weights-0/layer_with_weights-"
_CLASSIFIER = "model/layer_with_weights-1/"

#: Convolutions: (our name, the reference's name, has a batch norm: the reference's name or None).
#: A convolution without batch norm has a bias.
STEM = (("stem", "_stem/_conv", "_stem/_batch_norm"),)
BLOCK = (
    ("expand", "_expansion/_conv", "_expansion/_batch_norm"),
    ("depthwise", "_feature/_conv", "_feature/_batch_norm"),
    ("temporal", "_feature/_conv_temporal", "_feature/_batch_norm_temporal"),
    ("project", "_projection/_conv", "_projection/_batch_norm"),
    ("se.reduce", "_attention/_se_reduce/_conv", None),
    ("se.expand", "_attention/_se_expand/_conv", None),
    ("skip", "_skip/_projection/_conv", "_skip/_projection/_batch_norm"),
)
#: Learned scalars of a block.
SCALARS = (
    ("scale", "_mobile_bottleneck/_rezero/scale"),
    ("se.position_scale", "_attention/_pos_encoding/_rezero/scale"),
)
HEAD = (("head", "_project/_conv", "_project/_batch_norm"),)
CLASSIFIER = (("hidden", "_head/_conv", None), ("classifier", "_classifier/_conv", None))
#: Batch norm: our name, the reference's.
NORM = (
    ("weight", "gamma"),
    ("bias", "beta"),
    ("running_mean", "moving_mean"),
    ("running_var", "moving_variance"),
)
_DEPTHWISE = ("depthwise", "temporal")


class Entry(NamedTuple):
    """One tensor under both its names.

    Attributes:
        name: Key in our state dict.
        shape: Shape there; kernels are (out, in / groups, time, height, width).
        tf_key: Key in the reference's checkpoint.
        tf_shape: Shape there.
        kind: "dense" or "depthwise" for kernels, else "vector" (biases, norms, scalars).
    """

    name: str
    shape: tuple[int, ...]
    tf_key: str
    tf_shape: tuple[int, ...]
    kind: Literal["dense", "depthwise", "vector"]


def published_layout(config: MoViNetConfig) -> Layout:
    """The layout that published checkpoints of this kind of network use."""
    return "2plus1d" if config.factorized else "3d"


def entries(config: MoViNetConfig, layout: Layout | None = None) -> Iterator[Entry]:
    """Every parameter and running statistic of a network, in the order of its layers.

    Args:
        config: The network.
        layout: How the checkpoint stores convolutions; by default the published way.

    Raises:
        ConfigError: If the layout cannot hold this network's parameters.
    """
    layout = layout or published_layout(config)
    if layout not in LAYOUTS or (layout == "3d") == config.factorized:
        fitting = "2plus1d or 3d_2plus1d" if config.factorized else "3d"
        raise ConfigError(
            f"layout {layout!r} does not fit factorized={config.factorized}; use {fitting}"
        )
    arch = config.architecture
    yield from _conv(layout, "", f"{_BACKBONE}0/", STEM[0], (arch.stem, 3, 1, 3, 3))
    index = 0
    for index, block in enumerate(arch.blocks(), start=1):
        yield from _block(config, layout, block, f"{_BACKBONE}{index}/")
    shape = (arch.head, arch.groups[-1].filters, 1, 1, 1)
    yield from _conv(layout, "", f"{_BACKBONE}{index + 1}/", HEAD[0], shape)
    hidden, classifier = CLASSIFIER
    yield from _conv(layout, "", _CLASSIFIER, hidden, (arch.hidden, arch.head, 1, 1, 1))
    yield from _conv(
        layout, "", _CLASSIFIER, classifier, (config.num_classes, arch.hidden, 1, 1, 1)
    )


def to_torch_layout(value: np.ndarray, entry: Entry) -> np.ndarray:
    """A tensor of the reference's checkpoint in our axis order (a view, bits unchanged)."""
    if entry.kind == "vector":
        return value
    if value.ndim == 5:  # (time, height, width, in / groups, out)
        return value.transpose(4, 3, 0, 1, 2)
    if entry.kind == "dense":  # (height, width, in, out)
        return value.transpose(3, 2, 0, 1).reshape(entry.shape)
    # (height, width, channels, 1), or (time, 1, channels, 1) of a temporal kernel
    return value.transpose(2, 3, 0, 1).reshape(entry.shape)


def to_tf_layout(value: np.ndarray, entry: Entry) -> np.ndarray:
    """The inverse of `to_torch_layout`."""
    if entry.kind == "vector":
        return value
    if len(entry.tf_shape) == 5:
        return value.transpose(2, 3, 4, 1, 0)
    axes = (2, 3, 1, 0) if entry.kind == "dense" else (2, 3, 0, 1)
    height, width = entry.tf_shape[:2]
    return value.reshape(*entry.shape[:2], height, width).transpose(axes)


def _block(
    config: MoViNetConfig, layout: Layout, block: BlockSpec, tf_prefix: str
) -> Iterator[Entry]:
    inputs, expand, outputs = block.inputs, block.expand, block.outputs
    space, time = block.kernel_space, block.kernel_time
    pooled, hidden = se_width(config, expand)
    factorized = config.factorized and time > 1
    has_se = config.se_type != "none"
    shapes = {
        "expand": (expand, inputs, 1, 1, 1),
        "depthwise": (expand, 1, 1 if factorized else time, space, space),
        "temporal": (expand, 1, time, 1, 1) if factorized else None,
        "project": (outputs, expand, 1, 1, 1),
        "se.reduce": (hidden, pooled, 1, 1, 1) if has_se else None,
        "se.expand": (expand, hidden, 1, 1, 1) if has_se else None,
        "skip": (outputs, inputs, 1, 1, 1) if block.has_skip_projection else None,
    }
    for row in BLOCK:
        if shape := shapes[row[0]]:
            yield from _conv(layout, f"blocks.{block.name}.", tf_prefix, row, shape)
    for name, tf_name in SCALARS:
        if name == "scale" or config.positional_encoding:
            yield Entry(
                f"blocks.{block.name}.{name}", (), f"{tf_prefix}{tf_name}{SUFFIX}", (), "vector"
            )


def _conv(
    layout: Layout,
    prefix: str,
    tf_prefix: str,
    row: tuple[str, str, str | None],
    shape: tuple[int, ...],
) -> Iterator[Entry]:
    name, tf_name, tf_norm = row
    inner = "/_conv" if layout == "2plus1d" else ""
    kind = "depthwise" if name in _DEPTHWISE else "dense"
    out, per_group, time, height, width = shape
    tf_shape, tf_leaf = (time, height, width, per_group, out), "kernel"
    if layout == "2plus1d":
        tf_shape = (height, width, per_group, out)
        if kind == "depthwise":
            tf_leaf = "depthwise_kernel"
            tf_shape = (time if time > 1 else height, width, out, per_group)
    yield Entry(
        f"{prefix}{name}.weight",
        shape,
        f"{tf_prefix}{tf_name}{inner}/{tf_leaf}{SUFFIX}",
        tf_shape,
        kind,
    )
    if tf_norm is None:
        key = f"{tf_prefix}{tf_name}{inner}/bias{SUFFIX}"
        yield Entry(f"{prefix}{name}.bias", (out,), key, (out,), "vector")
        return
    for ours, theirs in NORM:
        key = f"{tf_prefix}{tf_norm}/{theirs}{SUFFIX}"
        yield Entry(f"{prefix}{name}.norm.{ours}", (out,), key, (out,), "vector")
