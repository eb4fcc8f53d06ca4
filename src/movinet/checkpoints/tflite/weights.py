"""The network in a TensorFlow Lite file as a configuration and the arrays of a state dict.

Batch norms are folded into the convolutions of such files; here they become ones that only add the
bias.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from movinet.checkpoints.metadata import Metadata
from movinet.checkpoints.tflite.arrays import Array, Arrays, LayerArrays, biased, normed
from movinet.checkpoints.tflite.dataflow import Layer
from movinet.checkpoints.tflite.exported import exported_network
from movinet.checkpoints.tflite.network import Block, Layers, find_layers
from movinet.errors import CheckpointError, ConfigError
from movinet.network.architectures import ARCHITECTURES
from movinet.network.config import Architecture, Group, InputSpec, MoViNetConfig
from movinet.network.presets import input_spec, preset_config
from movinet.runtime.engines.tflite_file import TfliteGraph, read_tflite
from movinet.runtime.engines.tflite_manifest import stored_manifest


def read_tflite_weights(path: Path) -> tuple[Metadata, Arrays]:
    """The network in a .tflite file: one of the reference's exporter, or of `movinet.export`.

    Args:
        path: The file.

    Returns:
        What is known of it, and its weights by the names of a `MoViNet`'s state dict.

    Raises:
        CheckpointError: If it is damaged or no MoViNet; says where it differs.
        MovinetError: If the package with the format's schema is not installed.
    """
    manifest, graph = stored_manifest(path), read_tflite(path)
    if manifest is not None:
        config, tensors = exported_network(graph, manifest)
        preset = _preset(config)
        stored = manifest.quantization
        how = "" if stored == "none" else f" ({stored} weights turned back to float32)"
        origin = f"{path}{how}, exported from {manifest.origin}"
        metadata = Metadata(
            config,
            manifest.input,
            preset,
            manifest.labels,
            origin,
            multi_label=manifest.multi_label,
        )
        return metadata, tensors
    layers = find_layers(graph)
    try:
        config = _config(layers)
    except ConfigError as error:
        raise CheckpointError(f"{path}: its network is none that can be had: {error}") from None
    storage = graph.tensors[layers.classifier.kernel].dtype.lower()
    how = "" if storage == "float32" else f" ({storage} weights turned back to float32)"
    preset = _preset(config)
    spec = _input(preset, layers.image_size)
    metadata = Metadata(config, spec, preset, None, f"{path}{how}", ("frame_rate",))
    return metadata, _tensors(graph, layers, config)


def _preset(config: MoViNetConfig) -> str | None:
    """The preset with this architecture, if there is one."""
    for size, shape in ARCHITECTURES.items():
        if shape == config.architecture:
            return f"{size}_{'stream' if config.causal else 'base'}"
    return None


def _config(layers: Layers) -> MoViNetConfig:
    """The configuration of some layers: that of a preset with its options, if one fits."""
    options: dict[str, Any] = {
        **layers.options,
        "num_classes": layers.classifier.outputs,
        "positional_encoding": any(block.position_scale is not None for block in layers.blocks),
    }
    shape = _architecture(layers)
    for size, known in ARCHITECTURES.items():
        if _flat(known) == _flat(shape):
            return preset_config(f"{size}_stream", **options)
    gating = {"gating_activation": "hard_sigmoid", **options}
    return MoViNetConfig(shape, causal=True, factorized=True, **gating)


def _input(preset: str | None, image_size: tuple[int, int]) -> InputSpec:
    """The preset's input, at the size of the file's frames."""
    side = min(image_size)
    spec = InputSpec(172, 192, 5.0, 50) if preset is None else input_spec(preset)
    short_side = round(side * spec.short_side / spec.image_size)
    return dataclasses.replace(spec, image_size=side, short_side=short_side)


def _architecture(layers: Layers) -> Architecture:
    """The architecture of some layers; a group ends where blocks are strided or widen."""
    groups: list[Group] = []
    for block in layers.blocks:
        assert block.project is not None
        stride, outputs = block.depthwise.stride, block.project.outputs
        time = 1 if block.temporal is None else block.temporal.size[0]
        row = (block.expand.outputs, time, block.depthwise.size[0])
        if stride == 1 and groups and groups[-1].filters == outputs:
            groups[-1] = groups[-1]._replace(blocks=(*groups[-1].blocks, row))
        else:
            groups.append(Group(outputs, stride, (row,)))
    return Architecture(
        layers.stem.outputs, tuple(groups), layers.head.outputs, layers.hidden.outputs
    )


def _flat(shape: Architecture) -> tuple[Any, ...]:
    """An architecture without the division into groups, which no graph shows."""
    blocks = [block[1:] for block in shape.blocks()]
    return shape.stem, blocks, shape.head, shape.hidden


def _tensors(graph: TfliteGraph, layers: Layers, config: MoViNetConfig) -> Arrays:
    """The arrays of all layers, by name."""
    read, epsilon = LayerArrays(graph), config.norm_eps
    tensors = normed("stem", *_layer(read, layers.stem), epsilon)
    for block, spec in zip(layers.blocks, config.architecture.blocks(), strict=True):
        tensors.update(_block(read, f"blocks.{spec.name}", block, epsilon))
    tensors.update(normed("head", *_layer(read, layers.head), epsilon))
    tensors.update(biased("hidden", *_layer(read, layers.hidden)))
    tensors.update(biased("classifier", *_layer(read, layers.classifier)))
    return tensors


def _block(read: LayerArrays, prefix: str, block: Block, epsilon: float) -> Arrays:
    """The arrays of one block."""
    assert block.project is not None
    weight, bias = _layer(read, block.project)
    scale = np.ones((), np.float32)
    if (block.scale == block.scale[0]).all():
        scale = block.scale[0]
    else:  # a converter has put more into it than the learned scalar
        weight, bias = weight * block.scale.reshape(-1, 1, 1, 1, 1), bias * block.scale
    tensors = {
        f"{prefix}.scale": np.array(scale),
        **normed(f"{prefix}.project", weight, bias, epsilon),
    }
    for name, layer in (
        ("expand", block.expand),
        ("depthwise", block.depthwise),
        ("temporal", block.temporal),
        ("skip", block.skip),
    ):
        if layer is not None:
            arrays = _layer(read, layer, over_time=name == "temporal")
            tensors.update(normed(f"{prefix}.{name}", *arrays, epsilon))
    if block.reduce is not None and block.gate is not None:
        tensors.update(biased(f"{prefix}.se.reduce", *_layer(read, block.reduce)))
        weight, bias = _layer(read, block.gate)
        bias = bias - np.float32(block.gate_offset)
        tensors.update(biased(f"{prefix}.se.expand", weight, bias))
    if block.position_scale is not None:
        tensors[f"{prefix}.se.position_scale"] = np.array(block.position_scale, np.float32)
    return tensors


def _layer(read: LayerArrays, layer: Layer, *, over_time: bool = False) -> tuple[Array, Array]:
    return read.layer(layer.operation.kind, layer.kernel, layer.bias, over_time=over_time)
