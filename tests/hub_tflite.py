"""Streams as TensorFlow Lite files in the form of the reference's exporter.

One frame a step: "image" (1, 1, height, width, 3) and the states by their names go in, "logits" and
the states come out. Batch norms are folded; the residual scale, the hard sigmoid's factor and the
counts of frames are operations of their own; 5-D tensors become 4-D ones around convolutions.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from ai_edge_litert import schema_py_generated as schema

from movinet.network.model import MoViNet
from tflite_graph import STEP, TYPES, Graph

Storage = Literal["float32", "float16", "dynamic", "int8", "int8_per_tensor"]


@dataclass(frozen=True)
class Options:
    """How a file is written.

    Attributes:
        storage: Of the weights; "int8" has integers for what is computed as well.
        scalar_scale: The residual scale is one number instead of one for each place.
        written_out: Hard swish is x * relu6(x + 3) / 6 in single operations.
        broadcast: Gates are spread over the places before they multiply.
        means: Frames are averaged by MEAN instead of SUM and a factor.
        softmax: Probabilities come out.
    """

    storage: Storage = "float32"
    scalar_scale: bool = False
    written_out: bool = False
    broadcast: bool = True
    means: bool = True
    softmax: bool = False


def write_hub(model: MoViNet, path: Path, image_size: int = 32, **options: Any) -> None:
    """Write a factorised stream model, for square frames.

    Args:
        model: The model.
        path: The file.
        image_size: Height and width, pixels.
        **options: Of `Options`.
    """
    path.write_bytes(_Network(model, Options(**options)).file(image_size))


class _Network:
    """Writes one network."""

    def __init__(self, model: MoViNet, options: Options) -> None:
        self._model, self._config, self._options = model, model.config, options
        self._int8 = options.storage.startswith("int8")
        self._graph = Graph(self._int8)

    def file(self, size: int) -> bytes:
        graph, model = self._graph, self._model
        image = self._input("image", (1, 1, size, size, 3))
        x = self._conv(self._reshape(image, (1, size, size, 3)), model.stem, stride=2)
        for name, block in model.blocks.items():
            x = self._block(name, block, x)
        x = self._conv(x, model.head)
        x = self._running_mean("head", self._mean(x))
        x = self._conv(
            self._reshape(x, (1, 1, 1, graph.shape(x)[-1])),
            model.hidden,
            self._config.head_activation,
        )
        x = self._conv(x, model.classifier, "none")
        x = self._reshape(x, (1, self._config.num_classes))
        if self._options.softmax:
            x = graph.add("SOFTMAX", [x], graph.shape(x), schema.SoftmaxOptionsT(beta=1.0))
        graph.outputs["logits"] = self._to_float(x)
        return graph.file()

    def _block(self, name: str, block: Any, x: int) -> int:
        graph, spec = self._graph, block.spec
        y = self._conv(x, block.expand)
        y = self._depthwise(y, block.depthwise, spec.stride)
        if block.temporal is not None:
            y = self._temporal(name, block, y)
        y = self._squeeze_excitation(name, block, y)
        y = self._conv(y, block.project, "none")
        scale = block.scale.item()
        shape = () if self._options.scalar_scale else graph.shape(y)
        y = self._binary("MUL", y, graph.constant(np.full(shape, scale)))
        if spec.stride != 1:
            _, height, width, channels = graph.shape(x)
            options = schema.Pool2DOptionsT(
                padding=0, strideW=2, strideH=2, filterWidth=3, filterHeight=3
            )
            x = graph.add(
                "AVERAGE_POOL_2D", [x], (1, -(-height // 2), -(-width // 2), channels), options
            )
        if block.skip is not None:
            x = self._conv(x, block.skip, "none")
        return self._binary("ADD", y, x)

    def _temporal(self, name: str, block: Any, y: int) -> int:
        graph, past = self._graph, block.spec.kernel_time - 1
        _, height, width, channels = graph.shape(y)
        state = f"state_{name}_stream_buffer"
        shape = (1, past, height, width, channels)
        buffer = self._input(state, shape)
        newest = self._reshape(y, (1, 1, height, width, channels))
        window = graph.add(
            "CONCATENATION",
            [buffer, newest],
            (1, past + 1, height, width, channels),
            schema.ConcatenationOptionsT(axis=1),
        )
        integers = [
            graph.constant(values, "int32") for values in ([0, 1, 0, 0, 0], [0] * 5, [1] * 5)
        ]
        kept = graph.add(
            "STRIDED_SLICE",
            [window, *integers],
            shape,
            schema.StridedSliceOptionsT(beginMask=29, endMask=31),
        )
        graph.outputs[state] = self._to_float(kept)
        rows = self._reshape(window, (1, past + 1, height * width, channels))
        weight, bias = _folded(block.temporal)
        kernel = weight[:, 0, :, :, 0].transpose(1, 2, 0)[None]  # (1, k_t, 1, channels)
        y = self._depthwise_of(rows, kernel, bias, 1, 1, (1, 1, height * width, channels))
        return self._reshape(y, (1, height, width, channels))

    def _squeeze_excitation(self, name: str, block: Any, y: int) -> int:
        graph, kind = self._graph, self._config.se_type
        channels = graph.shape(y)[-1]
        if kind == "none":
            for what in ("pool_buffer", "pool_frame_count"):  # the reference hands them through
                state = f"state_{name}_{what}"
                shape = (1, 1, 1, 1, channels) if what == "pool_buffer" else (1,)
                dtype = "float32" if what == "pool_buffer" else "int32"
                graph.inputs[state] = graph.outputs[state] = graph.tensor(shape, dtype)
            return y
        mean = self._mean(y)
        pooled = mean if kind == "2d" else self._running_mean(name, mean)
        if kind == "2plus3d":
            pooled = graph.add(
                "CONCATENATION",
                [pooled, mean],
                (1, 1, 1, 1, 2 * channels),
                schema.ConcatenationOptionsT(axis=4),
            )
        if block.se.position_scale is not None:
            encoding = self._encoding(name, graph.shape(pooled)[-1], block.se.position_scale.item())
            pooled = self._binary("ADD", pooled, encoding)
        x = self._reshape(pooled, (1, 1, 1, graph.shape(pooled)[-1]))
        x = self._conv(x, block.se.reduce)
        gate = self._gate(x, block.se.expand)
        gate = self._reshape(gate, (1, 1, 1, channels))
        if self._options.broadcast:
            shape = graph.constant(graph.shape(y), "int32")
            gate = graph.add("BROADCAST_TO", [gate, shape], graph.shape(y))
        return self._binary("MUL", gate, y)

    def _encoding(self, name: str, width: int, scale: float) -> int:
        """A positional encoding; float32 files alone have one here."""
        graph, state = self._graph, f"state_{name}_pos_enc_frame_count"
        position, _ = self._count(state)
        rates = 10000.0 ** (-2 * (np.arange(width) // 2) / width)
        angles = self._binary("MUL", self._reshape(position, (1, 1)), graph.constant(rates[None]))
        parts = []
        for start, kind in enumerate(("SIN", "COS")):
            bounds = [
                graph.constant(values, "int32") for values in ([0, start], [0, width], [1, 2])
            ]
            options = schema.StridedSliceOptionsT(beginMask=1, endMask=3)
            half = graph.add("STRIDED_SLICE", [angles, *bounds], (1, width // 2), options)
            options = schema.CosOptionsT() if kind == "COS" else None
            parts.append(graph.add(kind, [half], (1, width // 2), options))
        joined = graph.add("CONCATENATION", parts, (1, width), schema.ConcatenationOptionsT(axis=1))
        encoding = self._reshape(joined, (1, 1, 1, 1, width))
        return self._binary("MUL", encoding, graph.constant(scale))

    def _count(self, state: str) -> tuple[int, int]:
        """Frames before this one, and with it, as float32; the second is the new state."""
        graph = self._graph
        before = graph.inputs[state] = graph.tensor((1,), "int32")
        one = graph.constant(1, "int32")
        after = graph.add("ADD", [before, one], (1,), schema.AddOptionsT(), "int32")
        graph.outputs[state] = after
        options = schema.CastOptionsT(inDataType=TYPES["int32"], outDataType=TYPES["float32"])
        first, second = (
            graph.add("CAST", [count], (1,), options, "float32") for count in (before, after)
        )
        return first, second

    def _gate(self, x: int, layer: Any) -> int:
        graph = self._graph
        if self._config.gating_activation == "sigmoid":
            x = self._conv(x, layer, "none")
            return graph.add("LOGISTIC", [x], graph.shape(x))
        x = self._conv(x, layer, "relu6", shift=3)
        return self._binary("MUL", x, graph.constant(0.16667))

    def _mean(self, x: int) -> int:
        graph = self._graph
        _, height, width, channels = graph.shape(x)
        x = self._reshape(x, (1, 1, height, width, channels))
        axes, options = graph.constant([2, 3], "int32"), schema.ReducerOptionsT(keepDims=True)
        shape = (1, 1, 1, 1, channels)
        if self._options.means:
            return graph.add("MEAN", [x, axes], shape, options)
        x = graph.add("SUM", [x, axes], shape, options)
        return self._binary("MUL", x, graph.constant(1 / (height * width)))

    def _running_mean(self, name: str, mean: int) -> int:
        graph, shape = self._graph, self._graph.shape(mean)
        total = self._binary("ADD", mean, self._input(f"state_{name}_pool_buffer", shape))
        graph.outputs[f"state_{name}_pool_buffer"] = self._to_float(total)
        _, count = self._count(f"state_{name}_pool_frame_count")
        mean = graph.add(
            "DIV", [self._to_float(total), count], shape, schema.DivOptionsT(), "float32"
        )
        return self._to_integers(mean)

    def _conv(
        self,
        x: int,
        layer: Any,
        activation: str | None = None,
        *,
        stride: int = 1,
        shift: float = 0,
    ) -> int:
        graph = self._graph
        activation = self._config.activation if activation is None else activation
        weight, bias = _folded(layer)
        kernel = weight[:, :, 0].transpose(0, 2, 3, 1)  # (out, k, k, in)
        inputs = [x, *self._weights(kernel, bias + np.float32(shift), 0)]
        _, height, width, _ = graph.shape(x)
        shape = (1, -(-height // stride), -(-width // stride), len(bias))
        options = schema.Conv2DOptionsT(
            padding=0,
            strideW=stride,
            strideH=stride,
            fusedActivationFunction=3 * (activation == "relu6"),
        )
        return self._activate(graph.add("CONV_2D", inputs, shape, options), activation)

    def _depthwise(self, x: int, layer: Any, stride: int) -> int:
        _, height, width, channels = self._graph.shape(x)
        weight, bias = _folded(layer)
        kernel = weight[:, 0, 0].transpose(1, 2, 0)[None]  # (1, k, k, channels)
        shape = (1, -(-height // stride), -(-width // stride), channels)
        return self._depthwise_of(x, kernel, bias, stride, 0, shape)

    def _depthwise_of(
        self,
        x: int,
        kernel: np.ndarray,
        bias: np.ndarray,
        stride: int,
        padding: int,
        shape: tuple[int, ...],
    ) -> int:
        activation = self._config.activation
        options = schema.DepthwiseConv2DOptionsT(
            padding=padding,
            strideW=stride,
            strideH=stride,
            depthMultiplier=1,
            fusedActivationFunction=3 * (activation == "relu6"),
        )
        inputs = [x, *self._weights(kernel, bias, 3)]
        return self._activate(
            self._graph.add("DEPTHWISE_CONV_2D", inputs, shape, options), activation
        )

    def _weights(self, kernel: np.ndarray, bias: np.ndarray, axis: int) -> list[int]:
        graph, storage = self._graph, self._options.storage
        if storage == "float32":
            return [graph.constant(kernel), graph.constant(bias)]
        if storage == "float16":
            halves = [graph.constant(values, "float16") for values in (kernel, bias)]
            return [
                graph.add("DEQUANTIZE", [half], graph.shape(half), schema.DequantizeOptionsT())
                for half in halves
            ]
        others = tuple(i for i in range(4) if i != axis or storage == "int8_per_tensor")
        scale = np.maximum(np.abs(kernel).max(others, keepdims=True), 1e-9) / 127
        integers = graph.tensor(
            kernel.shape, "int8", np.rint(kernel / scale).astype(np.int8), scale.ravel(), axis
        )
        if storage == "dynamic":
            return [integers, graph.constant(bias)]
        step = (scale.ravel() * STEP).astype(np.float32)
        return [
            integers,
            graph.tensor(bias.shape, "int32", np.rint(bias / step).astype(np.int32), step),
        ]

    def _activate(self, x: int, activation: str) -> int:
        graph, shape = self._graph, self._graph.shape(x)
        if activation in ("none", "relu6"):
            return x
        if activation == "swish":
            return self._binary("MUL", x, graph.add("LOGISTIC", [x], shape))
        if not self._options.written_out:
            return graph.add("HARD_SWISH", [x], shape, schema.HardSwishOptionsT())
        gate = graph.add(
            "ADD", [x, graph.constant(3)], shape, schema.AddOptionsT(fusedActivationFunction=3)
        )
        return self._binary("MUL", self._binary("MUL", x, gate), graph.constant(1 / 6))

    def _binary(self, kind: str, x: int, y: int) -> int:
        shape = np.broadcast_shapes(self._graph.shape(x), self._graph.shape(y))
        options = schema.MulOptionsT() if kind == "MUL" else schema.AddOptionsT()
        return self._graph.add(kind, [x, y], shape, options)

    def _reshape(self, x: int, shape: tuple[int, ...]) -> int:
        graph = self._graph
        constant = graph.constant(shape, "int32")
        return graph.add(
            "RESHAPE", [x, constant], shape, schema.ReshapeOptionsT(newShape=list(shape))
        )

    def _input(self, name: str, shape: tuple[int, ...]) -> int:
        tensor = self._graph.inputs[name] = self._graph.tensor(shape)
        return self._to_integers(tensor)

    def _to_integers(self, x: int) -> int:
        if not self._int8:
            return x
        return self._graph.add("QUANTIZE", [x], self._graph.shape(x), schema.QuantizeOptionsT())

    def _to_float(self, x: int) -> int:
        graph = self._graph
        if graph.dtype(x) == TYPES["float32"]:
            return x
        return graph.add("DEQUANTIZE", [x], graph.shape(x), schema.DequantizeOptionsT(), "float32")


def _folded(layer: Any) -> tuple[np.ndarray, np.ndarray]:
    """A convolution with its batch norm inside: kernel and bias."""
    with torch.no_grad():
        weight = layer.weight.double()
        if not hasattr(layer, "norm"):
            return weight.float().numpy(), layer.bias.numpy()
        norm = layer.norm
        factor = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
        bias = norm.bias.double() - norm.running_mean.double() * factor
        return (weight * factor.view(-1, 1, 1, 1, 1)).float().numpy(), bias.float().numpy()
