"""A small graph of operations that every exported format can hold, and a builder for it.

Tensors have at most four dimensions and channels last. Frames of a video are folded into the first
dimension, time before batch: (num_frames * batch, height, width, channels). There are no 3-D
convolutions, no padding operations and no transposes. Each format has its own small writer.
"""

from __future__ import annotations

import collections
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from movinet.errors import ConfigError

DType = Literal["float32", "float16", "uint8", "int8", "int32"]


@dataclass(frozen=True)
class Value:
    """A tensor of the graph.

    Attributes:
        name: Unique in its program.
        shape: With a batch of `Program.batch_size` streams.
        dtype: Of its elements.
        batch_axis: Axis that grows with the batch; None for constants.
    """

    name: str
    shape: tuple[int, ...]
    dtype: DType = "float32"
    batch_axis: int | None = None


@dataclass(frozen=True)
class Scale:
    """What the integers of a tensor mean: ``scale * (integer - zero_point)``.

    Attributes:
        scale: One, or one for each place along `axis`; float32.
        zero_point: Of all of them.
        axis: Along which they differ.
    """

    scale: NDArray[np.float32]
    zero_point: int = 0
    axis: int = 0


@dataclass(frozen=True)
class Op:
    """One operation.

    ========== ================================================= ==============================
    kind       inputs                                            attributes
    ========== ================================================= ==============================
    conv       x, kernel (out, k, k, in), bias                   stride; padding SAME; relu6
    depthwise  x, kernel (1, k_h, k_w, channels), bias           stride; padding; dilation of rows
    dense      x (rows, in), kernel (out, in), bias              relu6
    pool       x: mean of 3x3, stride 2, SAME, padding left out
    mean       x                                                 axes; keeps no dimension
    add, sub, mul, div, minimum, maximum                         of two, broadcast
    hard_swish, sigmoid, relu6, sin, cos, floor, softmax         of one
    concat     any number                                        axis
    slice      x                                                 axis, start, size
    reshape    x                                                 the shape is the output's
    cast       x (uint8)                                         to float32
    quantize   x (float32)                                       to int8, by the output's scale
    dequantize x (int8 or float16)                               to float32
    resize     x: bilinear, half-pixel centres                   the size is the output's
    ========== ================================================= ==============================

    Attributes:
        kind: What it does.
        inputs: Names of its inputs.
        output: Name of its output.
        attributes: As above.
    """

    kind: str
    inputs: tuple[str, ...]
    output: str
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass
class Program:
    """A graph.

    Attributes:
        batch_size: Streams in one step; 1 where `dynamic_batch`.
        dynamic_batch: Whether the file is to take any number of streams.
        values: Every tensor by name.
        constants: The numbers of those that are constant.
        scales: What the integers of the quantised ones mean.
        ops: In the order of execution.
        inputs: Names of the inputs.
        outputs: Name of each output -> name of the tensor that it is.
    """

    batch_size: int
    dynamic_batch: bool
    values: dict[str, Value] = field(default_factory=dict)
    constants: dict[str, NDArray[Any]] = field(default_factory=dict)
    scales: dict[str, Scale] = field(default_factory=dict)
    ops: list[Op] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=dict)

    def input(
        self, name: str, shape: Sequence[int], dtype: DType = "float32", batch_axis: int = 0
    ) -> Value:
        """A new input."""
        self.inputs.append(name)
        return self._value(name, tuple(shape), dtype, batch_axis)

    def constant(self, name: str, data: NDArray[Any]) -> Value:
        """A new constant."""
        self.constants[name] = np.ascontiguousarray(data)
        return self._value(name, data.shape, "float32", None)

    def conv(
        self, name: str, x: Value, weight: NDArray[Any], bias: NDArray[Any], **how: Any
    ) -> Value:
        """Convolve frames with a dense kernel (k, k, inputs, outputs); SAME padding."""
        kernel = self.constant(f"{name}/kernel", weight.transpose(3, 0, 1, 2))
        stride = how.get("stride", 1)
        rows, columns = (-(-side // stride) for side in x.shape[1:3])
        shape = (x.shape[0], rows, columns, weight.shape[3])
        attributes = {"stride": stride, "relu6": how.get("relu6", False)}
        inputs = (x, kernel, self.constant(f"{name}/bias", bias))
        return self._add("conv", name, inputs, shape, attributes)

    def pointwise(self, name: str, x: Value, weight: NDArray[Any], bias: NDArray[Any]) -> Value:
        """Convolve frames with a kernel (inputs, outputs)."""
        return self.conv(name, x, weight[None, None], bias)

    def depthwise(
        self, name: str, x: Value, weight: NDArray[Any], bias: NDArray[Any], **how: Any
    ) -> Value:
        """Convolve each channel with its kernel (k_h, k_w, channels)."""
        stride, padding = how.get("stride", 1), how.get("padding", "SAME")
        kernel = self.constant(f"{name}/kernel", weight[None])
        dilation = how.get("dilation", 1)  # of the rows
        cut = (0, 0)
        if padding == "VALID":
            cut = ((weight.shape[0] - 1) * dilation, weight.shape[1] - 1)
        rows, columns = (
            -(-(side - less) // stride) for side, less in zip(x.shape[1:3], cut, strict=True)
        )
        shape = (x.shape[0], rows, columns, x.shape[3])
        attributes = {"stride": stride, "padding": padding, "dilation": dilation}
        inputs = (x, kernel, self.constant(f"{name}/bias", bias))
        return self._add("depthwise", name, inputs, shape, attributes, x.batch_axis)

    def dense(
        self, name: str, x: Value, weight: NDArray[Any], bias: NDArray[Any], *, relu6: bool = False
    ) -> Value:
        """Multiply vectors (rows, inputs) by (inputs, outputs)."""
        kernel = self.constant(f"{name}/kernel", weight.T)
        inputs = (x, kernel, self.constant(f"{name}/bias", bias))
        return self._add("dense", name, inputs, (x.shape[0], weight.shape[1]), {"relu6": relu6})

    def binary(self, kind: str, name: str, x: Value, y: Value | float) -> Value:
        """add, sub, mul, div, minimum or maximum, broadcast."""
        if not isinstance(y, Value):
            y = self.constant(f"{name}/value", np.full([1] * len(x.shape), y, np.float32))
        shape = np.broadcast_shapes(x.shape, y.shape)
        axis = x.batch_axis if x.batch_axis is not None else y.batch_axis
        return self._add(kind, name, (x, y), shape, {}, axis)

    def unary(self, kind: str, name: str, x: Value) -> Value:
        """hard_swish, sigmoid, relu6, sin, cos, floor or softmax."""
        return self._add(kind, name, (x,), x.shape, {}, x.batch_axis)

    def activate(self, name: str, x: Value, activation: str) -> Value:
        """An activation of `MoViNetConfig`.

        Raises:
            ConfigError: If it is not made of operations that the writers have.
        """
        match activation:
            case "swish":
                return self.binary("mul", name, x, self.unary("sigmoid", f"{name}/sigmoid", x))
            case "hard_swish" | "sigmoid" | "relu6":
                return self.unary(activation, name, x)
        raise ConfigError(f"models with the activation {activation!r} cannot be exported")

    def pool(self, name: str, x: Value) -> Value:
        """3x3 means of stride 2, SAME, that leave the padding out."""
        rows, columns = (-(-side // 2) for side in x.shape[1:3])
        return self._add("pool", name, (x,), (x.shape[0], rows, columns, x.shape[3]), {})

    def mean(self, name: str, x: Value, axes: tuple[int, ...], batch_axis: int = 0) -> Value:
        """Mean over some axes."""
        shape = tuple(side for axis, side in enumerate(x.shape) if axis not in axes)
        return self._add("mean", name, (x,), shape, {"axes": axes}, batch_axis)

    def concat(self, name: str, values: Sequence[Value], axis: int) -> Value:
        """Join tensors; one alone stays as it is."""
        if len(values) == 1:
            return values[0]
        shape = list(values[0].shape)
        shape[axis] = sum(value.shape[axis] for value in values)
        attributes = {"axis": axis}
        return self._add("concat", name, values, shape, attributes, values[0].batch_axis)

    def slice(self, name: str, x: Value, axis: int, start: int, size: int) -> Value:
        """A part along one axis; the whole stays as it is."""
        if (start, size) == (0, x.shape[axis]):
            return x
        shape = (*x.shape[:axis], size, *x.shape[axis + 1 :])
        attributes = {"axis": axis, "start": start, "size": size}
        return self._add("slice", name, (x,), shape, attributes, x.batch_axis)

    def reshape(self, name: str, x: Value, shape: Sequence[int], batch_axis: int = 0) -> Value:
        """The same numbers in another shape."""
        if tuple(shape) == x.shape and batch_axis == x.batch_axis:
            return x
        return self._add("reshape", name, (x,), shape, {}, batch_axis)

    def cast(self, name: str, x: Value) -> Value:
        """uint8 to float32."""
        return self._add("cast", name, (x,), x.shape, {}, x.batch_axis)

    def resize(self, name: str, x: Value, size: tuple[int, int]) -> Value:
        """Bilinear with half-pixel centres."""
        return self._add("resize", name, (x,), (x.shape[0], *size, x.shape[3]), {})

    def counts(self) -> dict[str, int]:
        """How many operations of each kind it has."""
        return dict(collections.Counter(op.kind for op in self.ops))

    def output(self, name: str, value: Value) -> None:
        """Give a tensor out under a name."""
        self.outputs[name] = value.name

    def _add(
        self,
        kind: str,
        name: str,
        inputs: Sequence[Value],
        shape: Sequence[int],
        attributes: dict[str, Any],
        batch_axis: int | None = 0,
    ) -> Value:
        if len(shape) > 4:
            raise AssertionError(f"{name}: {kind} of {tuple(shape)} has more than 4 dimensions")
        value = self._value(name, tuple(shape), "float32", batch_axis)
        self.ops.append(Op(kind, tuple(i.name for i in inputs), value.name, attributes))
        return value

    def _value(
        self, name: str, shape: tuple[int, ...], dtype: DType, batch_axis: int | None
    ) -> Value:
        if name in self.values:
            raise AssertionError(f"two tensors called {name}")
        value = Value(name, shape, dtype, batch_axis)
        self.values[name] = value
        return value
