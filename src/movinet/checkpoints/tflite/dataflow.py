"""Which operation uses what in a TensorFlow Lite graph, whatever the converter put in between."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from movinet.errors import CheckpointError
from movinet.runtime.engines.tflite_file import Operation, TfliteGraph

#: Operations that pass on the numbers they get, as they are or in another type.
_COPIES = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "BROADCAST_TO", "QUANTIZE", "DEQUANTIZE", "CAST")
#: `ActivationFunctionType` of the schema.
_FUSED = {0: "none", 1: "relu", 2: "relu_n1_to_1", 3: "relu6", 4: "tanh", 5: "sign_bit"}
_SAME, _VALID = 0, 1
#: The reference's hard_sigmoid multiplies by this, not by 1/6.
HARD_SIGMOID_FACTOR = 0.16667
#: Operations with weights.
CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


@dataclass(frozen=True)
class Layer:
    """A convolution, or a fully connected layer: a convolution with one place.

    Attributes:
        operation: The operation.
        kernel: Number of the constant (outputs, height, width, inputs / groups).
        bias: Number of the constant; None without.
        kind: "depthwise" where each channel has its own kernel.
        inputs: Channels that go in.
        outputs: Channels that come out.
        size: (height, width) of the kernel.
        stride: In both directions.
        activation: What the operation itself applies to its result.
        result: The tensor that comes out.
    """

    operation: Operation
    kernel: int
    bias: int | None
    kind: Literal["dense", "depthwise"]
    inputs: int
    outputs: int
    size: tuple[int, int]
    stride: int
    activation: str
    result: int


class Dataflow:
    """A graph seen without its copies: tensors that hold the same numbers are one.

    Attributes:
        graph: The graph.
    """

    def __init__(self, graph: TfliteGraph) -> None:
        self.graph = graph
        self._source = list(range(len(graph.tensors)))
        self._maker: dict[int, Operation] = {}
        self._users: dict[int, list[Operation]] = defaultdict(list)
        for operation in graph.operations:
            if self._is_copy(operation):
                self._source[operation.outputs[0]] = self._source[operation.inputs[0]]
                continue
            for number in operation.outputs:
                self._maker[number] = operation
            for number in dict.fromkeys(self.inputs(operation)):
                self._users[number].append(operation)
        self.entries = {self.source(number) for number in graph.inputs}
        self.exits = {self.source(number) for number in graph.outputs}

    def refuse(self, reason: str) -> NoReturn:
        """Raise the error for a graph that is something else."""
        raise CheckpointError(
            f"{self.graph.where}: its graph is no MoViNet that can be read: {reason}"
        )

    def source(self, number: int) -> int:
        """The tensor that a tensor is a copy of; itself, if it is none."""
        return self._source[number]

    def inputs(self, operation: Operation) -> list[int]:
        """What an operation reads."""
        return [self.source(number) for number in operation.inputs if number >= 0]

    def users(self, number: int) -> list[Operation]:
        """The operations that read a tensor."""
        return self._users.get(number, [])

    def maker(self, number: int) -> Operation | None:
        """The operation that computes a tensor."""
        return self._maker.get(number)

    def result(self, operation: Operation) -> int:
        """The one tensor that an operation computes."""
        if len(operation.outputs) != 1:
            self.refuse(f"{operation.kind} has {len(operation.outputs)} results")
        return operation.outputs[0]

    def channels(self, number: int) -> int:
        """The last side of a tensor; 1 of a scalar."""
        shape = self.graph.tensors[number].shape
        return shape[-1] if shape else 1

    def other(self, operation: Operation, number: int) -> int:
        """What an operation of two joins a tensor with."""
        others = [each for each in self.inputs(operation) if each != number]
        if len(others) != 1:
            self.refuse(f"{operation.kind} of {len(operation.inputs)} tensors, not two")
        return others[0]

    def plain_result(self, operation: Operation) -> int:
        """`result` of an operation that must not apply an activation of its own."""
        fused = _FUSED.get(operation.options["FusedActivationFunction"], "something unknown")
        if fused != "none":
            self.refuse(f"{operation.kind} applies {fused}")
        return self.result(operation)

    def constant(self, number: int) -> NDArray[np.float32] | None:
        """The numbers of a constant; None for what is computed."""
        if not self.graph.is_constant(number):
            return None
        tensor = self.graph.tensors[number]
        if tensor.scale is None and tensor.dtype.startswith("INT"):
            return self.graph.numbers(number).astype(np.float32)
        return self.graph.floats(number)

    def only_user(self, number: int, where: str, kinds: Sequence[str]) -> Operation:
        """The one operation that reads a tensor, which must be of one of some kinds."""
        users = self.users(number)
        if len(users) != 1 or users[0].kind not in kinds:
            found = ", ".join(user.kind for user in users[:4]) or "nothing"
            self.refuse(f"{where} is followed by {found}, not by {' or '.join(kinds)}")
        return users[0]

    def layer(self, operation: Operation) -> Layer:
        """A convolution with what its options say, padded to keep the size (SAME).

        Raises:
            CheckpointError: If it is none, or one that no MoViNet has.
        """
        x, kernel, *rest = self.inputs(operation)
        shape = self.graph.tensors[kernel].shape
        inputs = self.channels(x)
        if operation.kind == "FULLY_CONNECTED" and len(shape) == 2:
            outputs, per_group, size, stride = shape[0], shape[1], (1, 1), 1
        elif len(shape) == 4:
            first, height, width, last = shape
            is_depthwise = operation.kind == "DEPTHWISE_CONV_2D"
            outputs, per_group = (last, first) if is_depthwise else (first, last)
            size, stride = (height, width), self._stride(operation, (height, width))
        else:
            self.refuse(f"{operation.kind} with a kernel of {list(shape)}")
        if not self.graph.is_constant(kernel):
            self.refuse(f"{operation.kind} with a kernel that is computed")
        kind = "dense"
        if per_group == 1 and outputs == inputs > 1 and operation.kind != "FULLY_CONNECTED":
            kind = "depthwise"
        elif per_group != inputs:
            self.refuse(f"{operation.kind} of {inputs} channels with a kernel of {list(shape)}")
        fused = _FUSED.get(operation.options["FusedActivationFunction"], "something unknown")
        bias = rest[0] if rest else None
        result = self.result(operation)
        return Layer(operation, kernel, bias, kind, inputs, outputs, size, stride, fused, result)

    def activated(self, layer: Layer) -> tuple[str, int]:
        """The activation after a convolution ("none" without), and the tensor behind it."""
        if layer.activation != "none":
            return layer.activation, layer.result
        users = {user.kind: user for user in self.users(layer.result)}
        if len(users) != len(self.users(layer.result)):
            return "none", layer.result
        for kind in ("HARD_SWISH", "RELU6", "RELU"):
            if list(users) == [kind]:
                return kind.lower(), self.result(users[kind])
        if set(users) == {"LOGISTIC", "MUL"}:
            product = users["MUL"]
            if self.other(product, layer.result) == self.result(users["LOGISTIC"]):
                return "swish", self.result(product)
        if set(users) == {"ADD", "MUL"}:
            return self._written_out(layer.result, users["ADD"], users["MUL"])
        return "none", layer.result

    def _written_out(self, x: int, shift: Operation, product: Operation) -> tuple[str, int]:
        """Hard swish as x times relu6(x + 3) / 6, in whatever order."""
        if not self.is_number(self.other(shift, x), 3):
            return "none", x
        gate = self.result(shift)
        if _FUSED.get(shift.options["FusedActivationFunction"]) != "relu6":
            gate = self.result(self.only_user(gate, "an activation's x + 3", ("RELU6",)))
        if self.other(product, x) == gate:
            scale = self.only_user(self.result(product), "an activation", ("MUL",))
            last, factor = scale, self.other(scale, self.result(product))
        else:
            scale = self.only_user(gate, "an activation's relu6", ("MUL",))
            last, factor = product, self.other(scale, gate)
            if self.other(product, x) != self.result(scale):
                return "none", x
        if not self.is_number(factor, 1 / 6):
            return "none", x
        return "hard_swish", self.result(last)

    def is_number(self, number: int, expected: float) -> bool:
        """Whether a tensor is a constant, the same everywhere."""
        values = self.constant(number)
        # A byte holds a number to half a percent.
        return values is not None and bool(np.allclose(values, expected, rtol=5e-3, atol=0))

    def places(self, operation: Operation) -> int:
        """How many numbers of each channel a MEAN or SUM joins: all of a frame's.

        Raises:
            CheckpointError: If it joins others.
        """
        shape = self.graph.tensors[operation.inputs[0]].shape
        axes = self.graph.numbers(operation.inputs[1]).ravel().tolist()
        joined = {axis + len(shape) if axis < 0 else axis for axis in axes}
        needed = {axis for axis, side in enumerate(shape[:-1]) if side > 1}
        if not needed <= joined <= set(range(len(shape) - 1)):
            self.refuse(f"{operation.kind} over the axes {axes} of {list(shape)}")
        return math.prod(shape[:-1])

    def check_pool(self, operation: Operation) -> None:
        """Refuse an average pool that is not 3 x 3, of stride 2, and padded to keep the size."""
        fields = ("FilterHeight", "FilterWidth", "StrideH", "StrideW", "Padding")
        if [operation.options[name] for name in fields] != [3, 3, 2, 2, _SAME]:
            self.refuse("an average pool that is not 3 x 3, of stride 2, and padded")

    def _is_copy(self, operation: Operation) -> bool:
        if operation.kind not in _COPIES or len(operation.outputs) != 1:
            return False
        before, after = (
            self.graph.tensors[numbers[0]].shape
            for numbers in (operation.inputs, operation.outputs)
        )
        # Where the channels stay the last side, a reshape moves no number to another channel.
        return (before[-1:] or (1,)) == (after[-1:] or (1,))

    def _stride(self, operation: Operation, size: tuple[int, int]) -> int:
        """The stride of a convolution that pads as MoViNets do, undilated.

        Temporal kernels see their whole window: no padding, and one row comes out.
        """
        options = operation.options
        rows, columns = options["StrideH"], options["StrideW"]
        if options["DilationHFactor"] != 1 or options["DilationWFactor"] != 1:
            self.refuse(f"{operation.kind} with dilation")
        if rows != columns or rows not in (1, 2):
            self.refuse(f"{operation.kind} with a stride of {rows} x {columns}")
        if options["Padding"] == _VALID and size != (1, 1):
            self._check_window(operation, size)
        return rows

    def _check_window(self, operation: Operation, size: tuple[int, int]) -> None:
        """Refuse an unpadded convolution, but for one over the rows of a window of that length."""
        seen = self.graph.tensors[operation.inputs[0]].shape
        if size[1] != 1 or len(seen) != 4 or seen[1] != size[0]:
            self.refuse(f"{operation.kind} with a {size[0]} x {size[1]} kernel and no padding")
