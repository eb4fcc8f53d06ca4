"""The network in a .tflite file that `movinet.export` wrote: its manifest describes it.

The graph has the network's layers in order, with batch norms, `scale` and constant factors folded
into them (see `movinet.exporting.graph.graph`). The factors are divided out again; the batch norms
become ones that only add the bias.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn

import numpy as np

from movinet.checkpoints.keys import entries
from movinet.checkpoints.tflite.arrays import Array, Arrays, LayerArrays, biased, normed
from movinet.checkpoints.tflite.dataflow import CONVOLUTIONS, HARD_SIGMOID_FACTOR, Dataflow
from movinet.errors import CheckpointError, ConfigError
from movinet.network.config import BlockSpec, MoViNetConfig
from movinet.runtime.engines.tflite_file import TfliteGraph
from movinet.runtime.manifest import Manifest


def exported_network(graph: TfliteGraph, manifest: Manifest) -> tuple[MoViNetConfig, Arrays]:
    """The network that was exported.

    Args:
        graph: Of the file.
        manifest: The file's.

    Returns:
        Its configuration, and its weights by the names of a `MoViNet`'s state dict.

    Raises:
        CheckpointError: If the graph is not that of the manifest's network.
    """
    try:
        config = MoViNetConfig.from_dict(dict(manifest.config))
    except ConfigError as error:
        raise CheckpointError(f"{graph.where}: its manifest: {error}") from None
    return config, _Reader(graph, manifest, config).tensors()


class _Reader:
    """Takes the layers from a graph one by one."""

    def __init__(self, graph: TfliteGraph, manifest: Manifest, config: MoViNetConfig) -> None:
        self._flow, self._config = Dataflow(graph), config
        self._num_frames = manifest.num_frames if manifest.kind == "step" else 1
        self._pixels = np.float32(255 if manifest.frames.dtype == "uint8" else 1)
        self._operations = iter([each for each in graph.operations if each.kind in CONVOLUTIONS])
        self._arrays = LayerArrays(graph)
        self._shapes = {entry.name: entry.shape for entry in entries(config)}

    def tensors(self) -> Arrays:
        """Everything, by name."""
        weight, bias = self._layer("stem")
        tensors = self._normed("stem", weight * self._pixels, bias)
        positions = self._positions()
        for block in self._config.architecture.blocks():
            tensors.update(self._block(block))
            if self._config.positional_encoding:
                name = f"blocks.{block.name}.se.position_scale"
                tensors[name] = next(positions, np.zeros((), np.float32))
        tensors.update(self._normed("head", *self._layer("head")))
        for name in ("hidden", "classifier"):
            tensors.update(biased(name, *self._layer(name)))
        if next(self._operations, None) is not None or next(positions, None) is not None:
            self._differs("it has more layers")
        return tensors

    def _block(self, block: BlockSpec) -> Arrays:
        prefix, config = f"blocks.{block.name}", self._config
        tensors = self._normed(f"{prefix}.expand", *self._layer(f"{prefix}.expand"))
        tensors.update(self._normed(f"{prefix}.depthwise", *self._taps(f"{prefix}.depthwise")))
        if f"{prefix}.temporal.weight" in self._shapes:
            tensors.update(self._normed(f"{prefix}.temporal", *self._layer(f"{prefix}.temporal")))
        factor = np.float32(1)
        if config.se_type != "none":
            tensors.update(biased(f"{prefix}.se.reduce", *self._layer(f"{prefix}.se.reduce")))
            weight, bias = self._layer(f"{prefix}.se.expand")
            if config.gating_activation == "hard_sigmoid":
                bias, factor = bias - np.float32(3), np.float32(HARD_SIGMOID_FACTOR)
            tensors.update(biased(f"{prefix}.se.expand", weight, bias))
        weight, bias = self._layer(f"{prefix}.project")
        tensors.update(self._normed(f"{prefix}.project", weight / factor, bias))
        tensors[f"{prefix}.scale"] = np.ones((), np.float32)
        if block.has_skip_projection:
            tensors.update(self._normed(f"{prefix}.skip", *self._layer(f"{prefix}.skip")))
        return tensors

    def _taps(self, name: str) -> tuple[Array, Array]:
        """A depthwise kernel over time and space: one over space for each tap, in every frame."""
        taps = self._shapes[f"{name}.weight"][2]
        if taps == 1:
            return self._layer(name)
        frames = self._num_frames if self._config.causal else 1
        # Each frame of a step has them all: the same numbers again.
        layers = [self._layer(name) for _ in range(frames * taps)]
        return np.concatenate([weight for weight, _ in layers[:taps]], 2), layers[0][1]

    def _normed(self, name: str, weight: Array, bias: Array) -> Arrays:
        return normed(name, weight, bias, self._config.norm_eps)

    def _layer(self, name: str) -> tuple[Array, Array]:
        """The next layer: kernel (outputs, inputs / groups, time, height, width), and bias."""
        graph, operation = self._flow.graph, next(self._operations, None)
        if operation is None:
            self._differs(f"it has no {name}")
        read = self._flow.inputs(operation)
        outputs, inputs, time, height, width = self._shapes[f"{name}.weight"]
        over_time = name.endswith(".temporal")
        rows = time if over_time else height
        expected = {
            "CONV_2D": (outputs, rows, width, inputs),
            "DEPTHWISE_CONV_2D": (inputs, rows, width, outputs),
            "FULLY_CONNECTED": (outputs, inputs),
        }[operation.kind]
        if len(read) != 3 or graph.tensors[read[1]].shape != expected:
            shapes = [list(graph.tensors[number].shape) for number in read[1:]]
            self._differs(f"{name} has {shapes}, not a kernel of {list(expected)} and a bias")
        return self._arrays.layer(operation.kind, read[1], read[2], over_time=over_time)

    def _positions(self) -> Iterator[Array]:
        """The factor of each positional encoding: what a product of sines and cosines has."""
        flow = self._flow
        for operation in flow.graph.operations:
            makers = [flow.maker(number) for number in flow.inputs(operation)]
            kinds = [maker.kind for maker in makers if maker is not None]
            if operation.kind != "CONCATENATION" or kinds != ["SIN", "COS"]:
                continue
            encoding = flow.result(operation)
            product = flow.only_user(encoding, "a positional encoding", ("MUL",))
            factor = flow.constant(flow.other(product, encoding))
            if factor is None or factor.size != 1:
                self._differs("a positional encoding without a factor")
            yield factor.reshape(())

    def _differs(self, how: str) -> NoReturn:
        raise CheckpointError(
            f"{self._flow.graph.where}: its graph is not the one of its manifest: {how}"
        )
