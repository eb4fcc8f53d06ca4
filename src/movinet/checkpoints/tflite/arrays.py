"""Layers of a TensorFlow Lite graph as the arrays of a state dict."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from movinet.errors import CheckpointError
from movinet.runtime.engines.tflite_file import TfliteGraph

Array = NDArray[np.float32]
#: Names of a `MoViNet`'s state dict -> arrays.
Arrays = dict[str, Array]


class LayerArrays:
    """Reads the constants of layers, no more of them than the file has bytes.

    Args:
        graph: Of the file.
    """

    def __init__(self, graph: TfliteGraph) -> None:
        self._graph, self._left = graph, graph.size

    def layer(
        self, kind: str, kernel: int, bias: int | None, *, over_time: bool = False
    ) -> tuple[Array, Array]:
        """One layer.

        Args:
            kind: Of the operation, as in the schema.
            kernel: Number of its constant.
            bias: Likewise; None for a layer without.
            over_time: The kernel's rows are frames.

        Returns:
            The kernel, (outputs, inputs / groups, time, height, width), and the bias (outputs,).

        Raises:
            CheckpointError: If they cannot be had.
        """
        graph = self._graph
        self._left -= math.prod(graph.tensors[kernel].shape)
        if self._left < 0:  # layers that share their numbers could fill all memory
            raise CheckpointError(f"{graph.where}: it has more weights than bytes")
        weight = graph.floats(kernel)
        if kind == "FULLY_CONNECTED":
            weight = weight[:, None, None]
        elif kind == "DEPTHWISE_CONV_2D":
            weight = weight.transpose(3, 1, 2, 0)
        weight = weight.transpose(0, 3, 1, 2)
        weight = np.ascontiguousarray(weight[..., None] if over_time else weight[:, :, None])
        biases = np.zeros(len(weight), np.float32)
        if bias is not None:
            biases = graph.floats(bias).ravel()
        if len(biases) != len(weight):
            raise CheckpointError(f"{graph.where}: {len(biases)} biases for {len(weight)} channels")
        return weight, biases


def biased(name: str, weight: Array, bias: Array) -> Arrays:
    """A convolution without a batch norm."""
    return {f"{name}.weight": weight, f"{name}.bias": bias}


def normed(name: str, weight: Array, bias: Array, epsilon: float) -> Arrays:
    """A convolution with a batch norm that only adds the bias.

    Args:
        name: Of the convolution.
        weight: With the norm's factor in it.
        bias: What the norm adds.
        epsilon: Of the norm; its variance is as much below 1.
    """
    return {
        f"{name}.weight": weight,
        f"{name}.norm.weight": np.ones_like(bias),
        f"{name}.norm.bias": bias,
        f"{name}.norm.running_mean": np.zeros_like(bias),
        f"{name}.norm.running_var": np.full_like(bias, 1 - epsilon),
    }
