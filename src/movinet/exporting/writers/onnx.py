"""Write a program as an ONNX file.

The graph is made here, without an exporter in between, so the file holds exactly the program: its
names, no shape arithmetic, no composites. ONNX convolutions have channels before rows and columns,
so all 4-D tensors have, those of the state too; only the frames come channels last, and are
transposed once, before they become floats.

The operators are those that ONNX Runtime has everywhere, in the browser too: no 3-D convolution,
the same padding at both ends of a convolution, no pool that rounds its size up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet.errors import MissingExtraError
from movinet.exporting.graph.kernels import arrange_kernel
from movinet.exporting.graph.program import Op, Program, Value
from movinet.network.geometry import same_padding
from movinet.runtime.engines.shared import channels_first
from movinet.runtime.manifest import Manifest

try:
    from onnx import ModelProto, TensorProto, helper, numpy_helper, save_model
except ModuleNotFoundError:
    raise MissingExtraError("writing .onnx files", "onnx") from None

#: The first in which the size of a resize can be given for rows and columns alone.
_OPSET, _IR_VERSION = 18, 8
_TYPES = {
    "float32": TensorProto.FLOAT,
    "uint8": TensorProto.UINT8,
    "int8": TensorProto.INT8,
}
#: Operations that are one operator: kind -> its name.
_PLAIN = {
    "add": "Add",
    "sub": "Sub",
    "mul": "Mul",
    "div": "Div",
    "minimum": "Min",
    "maximum": "Max",
    "hard_swish": "HardSwish",
    "sigmoid": "Sigmoid",
    "sin": "Sin",
    "cos": "Cos",
    "floor": "Floor",
}
#: Axis of a 4-D tensor in ONNX's order of dimensions.
_AXIS = (0, 2, 3, 1)


def write_onnx(program: Program, manifest: Manifest, path: Path) -> dict[str, int]:
    """Write an .onnx file.

    What is quantised is written with operators that turn it into float32 and back, between which
    ONNX Runtime finds the operations that it does in integers. Kernels in float16 become float32
    when the file is loaded.

    Args:
        program: The graph.
        manifest: Travels with it, in the model's metadata as "movinet"; beside it are "labels",
            one a line.
        path: The file.

    Returns:
        See `Program.counts`.
    """
    manifest = channels_first(manifest)
    model = make_model(program)
    model.doc_string = f"MoViNet {manifest.name}"
    texts = {"movinet": manifest.to_json(), "labels": "\n".join(manifest.labels)}
    helper.set_model_props(model, texts)
    save_model(model, path)
    return program.counts()


def make_model(program: Program) -> ModelProto:
    """The graph alone."""
    return _Writer(program).model()


def _turn(shape: Sequence[Any]) -> tuple[Any, ...]:
    return (shape[0], shape[3], shape[1], shape[2])


class _Writer:
    """Turns one program into a graph."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._names: dict[str, str] = {}
        self._small: dict[Any, str] = {}
        self._floats: dict[str, str] = {}
        #: Kernels that are stored otherwise -> what they are made of.
        self._stored = {op.output: op.inputs[0] for op in program.ops if op.kind == "dequantize"}

    def model(self) -> ModelProto:
        """The file."""
        inputs = [self._program.values[name] for name in self._program.inputs]
        self._name_outputs()
        convolutions = [op for op in self._program.ops if op.kind in ("conv", "depthwise")]
        kernels = {self._stored.get(op.inputs[1], op.inputs[1]) for op in convolutions}
        for name, data in self._program.constants.items():
            if name not in kernels:  # their layout and size are the operation's business
                self._constant(name, data.transpose(0, 3, 1, 2) if data.ndim == 4 else data)
        self._transpose_frames()
        for op in self._program.ops:
            self._add_op(op)
        outputs = {
            name: self._program.values[value] for name, value in self._program.outputs.items()
        }
        for name, value in outputs.items():
            if self._names[value.name] != name:
                self._emit("Identity", [self._names[value.name]], name)
        graph = helper.make_graph(
            self._nodes,
            "movinet",
            [self._described(value.name, value) for value in inputs],
            [self._described(name, value) for name, value in outputs.items()],
            self._constants,
        )
        opsets = [helper.make_opsetid("", _OPSET)]
        return helper.make_model(
            graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="movinet"
        )

    def _name_outputs(self) -> None:
        """Values keep their names, but what the file gives out has that of the output."""
        self._names = {name: name for name in self._program.values}
        for name, value in self._program.outputs.items():
            if value not in self._program.inputs and self._names[value] == value:
                self._names[value] = name

    def _described(self, name: str, value: Value) -> Any:
        shape: list[int | str] = list(value.shape)
        if self._program.dynamic_batch and value.batch_axis is not None:
            count = value.shape[value.batch_axis]
            shape[value.batch_axis] = "batch" if count == 1 else f"{count}*batch"
        if value.name != "frames" and len(shape) == 4:
            shape = list(_turn(shape))
        return helper.make_tensor_value_info(name, _TYPES[value.dtype], shape)

    def _constant(self, name: str, data: NDArray[Any]) -> None:
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(data), name))

    def _shared(self, data: NDArray[Any]) -> str:
        """The name of a small constant, one for all that are equal."""
        key = (data.dtype.str, data.shape, data.tobytes())
        if key not in self._small:
            self._small[key] = f"constant/{len(self._small)}"
            self._constants.append(numpy_helper.from_array(data, self._small[key]))
        return self._small[key]

    def _integers(self, *values: int) -> str:
        return self._shared(np.array(values, np.int64))

    def _emit(self, operator: str, inputs: Sequence[str], output: str, **how: Any) -> str:
        self._nodes.append(helper.make_node(operator, inputs, [output], name=output, **how))
        return output

    def _transpose_frames(self) -> None:
        self._names["frames"] = self._emit(
            "Transpose", ["frames"], "frames/channels_first", perm=(0, 3, 1, 2)
        )

    def _scale(self, name: str) -> tuple[list[str], int]:
        """What turns a tensor's integers into numbers: a scale and a zero; and their axis."""
        scale, dtype = self._program.scales[name], self._program.values[name].dtype
        single = len(scale.scale) == 1
        factors = scale.scale[0] if single else scale.scale
        zeros = np.full(np.shape(factors), scale.zero_point, dtype)
        # A depthwise kernel has its outputs first here, as every other.
        return [self._shared(np.asarray(factors)), self._shared(zeros)], 0

    def _as_float(self, name: str) -> str:
        """A tensor as float32."""
        if self._program.values[name].dtype not in ("int8", "int32"):
            return self._names[name]
        if name not in self._floats:
            x = self._names[name]
            scale, axis = self._scale(name)
            self._floats[name] = self._emit(
                "DequantizeLinear", [x, *scale], f"{x}/dequantized", axis=axis
            )
        return self._floats[name]

    def _add_op(self, op: Op) -> None:
        """Write an operation: of floats, but for joining, which is the same of integers."""
        output = self._names[op.output]
        if op.kind == "concat":
            self._emit_op(op, [self._names[name] for name in op.inputs], output)
        elif op.kind == "dequantize":
            self._dequantize(op)
        elif self._program.values[op.output].dtype == "int8":
            x = [self._as_float(name) for name in op.inputs]
            if op.kind != "quantize":
                self._emit_op(op, x, f"{output}/exact")
                x = [f"{output}/exact"]
            self._emit("QuantizeLinear", [*x, *self._scale(op.output)[0]], output)
        else:
            self._emit_op(op, [self._as_float(name) for name in op.inputs], output)

    def _dequantize(self, op: Op) -> None:
        name = op.inputs[0]
        if self._program.values[name].dtype == "float16":
            self._emit("Cast", [name], self._names[op.output], to=TensorProto.FLOAT)
        else:
            self._names[op.output] = self._as_float(name)

    def _emit_op(self, op: Op, inputs: list[str], output: str) -> None:
        if op.kind in _PLAIN:
            self._emit(_PLAIN[op.kind], inputs, output)
            return
        special: dict[str, Callable[[Op, list[str], str], None]] = {
            "conv": self._conv,
            "depthwise": self._conv,
            "dense": self._dense,
            "relu6": self._relu6,
            "pool": self._pool,
            "mean": self._mean,
            "concat": self._concat,
            "slice": self._slice,
            "reshape": self._reshape,
            "cast": self._cast,
            "resize": self._resize,
            "softmax": self._softmax,
        }
        special[op.kind](op, inputs, output)

    def _conv(self, op: Op, inputs: list[str], output: str) -> None:
        """A dense or a depthwise convolution."""
        how = op.attributes
        stored = self._stored.get(op.inputs[1], op.inputs[1])
        data = self._program.constants[stored]
        kernel, padding = arrange_kernel(self._program, op, data)
        self._constant(stored, kernel)
        self._relu6_of(
            op,
            output,
            "Conv",
            inputs,
            kernel_shape=kernel.shape[2:],
            strides=(how["stride"], how["stride"]),
            pads=(*padding, *padding),
            dilations=(how.get("dilation", 1), 1),
            group=len(kernel) if op.kind == "depthwise" else 1,
        )

    def _dense(self, op: Op, inputs: list[str], output: str) -> None:
        self._relu6_of(op, output, "Gemm", inputs, transB=1)

    def _relu6_of(self, op: Op, output: str, operator: str, inputs: list[str], **how: Any) -> None:
        """An operator, and relu6 where the operation has it."""
        if op.attributes.get("relu6"):
            self._relu6(op, [self._emit(operator, inputs, f"{output}/linear", **how)], output)
        else:
            self._emit(operator, inputs, output, **how)

    def _relu6(self, _: Op, inputs: list[str], output: str) -> None:
        limits = [self._shared(np.array(limit, np.float32)) for limit in (0, 6)]
        self._emit("Clip", [*inputs, *limits], output)

    def _pool(self, op: Op, inputs: list[str], output: str) -> None:
        rows, columns = (same_padding(side, 3, 2) for side in self._shape(op.inputs[0])[1:3])
        self._emit(
            "AveragePool",
            inputs,
            output,
            kernel_shape=(3, 3),
            strides=(2, 2),
            pads=(rows[0], columns[0], rows[1], columns[1]),
            count_include_pad=0,
        )

    def _mean(self, op: Op, inputs: list[str], output: str) -> None:
        axes = op.attributes["axes"]
        if len(self._shape(op.inputs[0])) == 4 and axes == (1, 2):
            # Not ReduceMean: ONNX Runtime keeps this one in the layout of its convolutions.
            pooled = self._emit("GlobalAveragePool", inputs, f"{output}/image")
            self._emit("Flatten", [pooled], output)
            return
        axes = [self._axis(op, axis) for axis in axes]
        self._emit("ReduceMean", [*inputs, self._integers(*axes)], output, keepdims=0)

    def _concat(self, op: Op, inputs: list[str], output: str) -> None:
        self._emit("Concat", inputs, output, axis=self._axis(op, op.attributes["axis"]))

    def _slice(self, op: Op, inputs: list[str], output: str) -> None:
        how, axis = op.attributes, self._axis(op, op.attributes["axis"])
        bounds = (how["start"], how["start"] + how["size"], axis)
        self._emit("Slice", [*inputs, *(self._integers(bound) for bound in bounds)], output)

    def _reshape(self, op: Op, inputs: list[str], output: str) -> None:
        """Channels stay the last axis in the program: here they are the first meanwhile."""
        before, value = self._shape(op.inputs[0]), self._program.values[op.output]
        after, free = list(value.shape), None
        if self._program.dynamic_batch:
            free = value.batch_axis
        if free is not None:
            after[free] = -1
        x = inputs[0]
        if len(after) < 4:
            self._emit("Reshape", [x, self._integers(*after)], output)
            return
        if after[1:3] == [1, 1] and len(before) == 2:  # vectors as images of one pixel
            self._emit("Reshape", [x, self._integers(*_turn(after))], output)
            return
        if len(before) == 2:
            x = self._emit("Transpose", [x], f"{output}/channels", perm=(1, 0))
        elif before[0] != 1:
            x = self._emit("Transpose", [x], f"{output}/channels", perm=(1, 0, 2, 3))
        if after[0] == 1:
            self._emit("Reshape", [x, self._integers(1, after[3], *after[1:3])], output)
            return
        shape = self._integers(after[3], *after[:3])
        x = self._emit("Reshape", [x, shape], f"{output}/reshaped")
        self._emit("Transpose", [x], output, perm=(1, 0, 2, 3))

    def _cast(self, _: Op, inputs: list[str], output: str) -> None:
        self._emit("Cast", inputs, output, to=TensorProto.FLOAT)

    def _resize(self, op: Op, inputs: list[str], output: str) -> None:
        size = self._integers(*self._shape(op.output)[1:3])
        how = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        self._emit("Resize", [*inputs, "", "", size], output, axes=(2, 3), **how)

    def _softmax(self, _: Op, inputs: list[str], output: str) -> None:
        self._emit("Softmax", inputs, output, axis=1)

    def _shape(self, name: str) -> tuple[int, ...]:
        return self._program.values[name].shape

    def _axis(self, op: Op, axis: int) -> int:
        return _AXIS[axis] if len(self._shape(op.inputs[0])) == 4 else axis
