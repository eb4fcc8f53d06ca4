"""Smaller numbers for a program: float16, int8 weights, and int8 throughout.

What is where, and why, is in docs/quantization.md; what it costs in accuracy was measured there.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np

from movinet.errors import ConfigError
from movinet.exporting.calibration import Clips, measure_ranges
from movinet.exporting.graph.graph import Graph
from movinet.exporting.graph.program import Op, Program, Scale, Value
from movinet.runtime.formats import QUANTIZATIONS

#: Lowest and highest value of a tensor.
Ranges = Mapping[str, tuple[float, float]]
_KERNELS = ("conv", "depthwise", "dense")


def check_name(quantize: str | None) -> None:
    """Raise ConfigError if there is no quantization of this name."""
    if quantize not in (None, *QUANTIZATIONS):
        raise ConfigError(f"quantize must be one of {', '.join(QUANTIZATIONS)}, not {quantize!r}")


def check_quantize(quantize: str | None, calibrated: bool) -> None:
    """Raise ConfigError if calibration is missing or unused."""
    if (quantize == "int8") != calibrated:
        raise ConfigError(
            "calibration is for quantize='int8'"
            if calibrated
            else "quantize='int8' needs calibration: a folder of videos like those to come"
        )


def quantized(graph: Graph, quantize: str | None, clips: Clips | None) -> Graph:
    """A graph with smaller numbers, as `movinet.export` names them.

    Args:
        graph: In float32.
        quantize: See `check_name`.
        clips: For "int8".

    Raises:
        ConfigError: If the graph cannot be made so.
    """
    program = graph.program
    match quantize:
        case "float16":
            return Graph(to_float16(program), graph.states)
        case "dynamic":
            return Graph(to_dynamic(program), graph.states)
        case "mixed":
            return Graph(to_mixed(program), graph.states)
        case "int8":
            return _int8_graph(graph, clips or [])
    return graph


def to_float16(program: Program, kinds: Iterable[str] = _KERNELS) -> Program:
    """Kernels of some kinds of operations as float16; computed in float32."""
    program = copy.deepcopy(program)
    ops = []
    for op in program.ops:
        if op.kind in kinds:
            name, half = op.inputs[1], f"{op.inputs[1]}/float16"
            value = program.values[name]
            program.values[half] = dataclasses.replace(value, name=half, dtype="float16")
            program.constants[half] = program.constants.pop(name).astype(np.float16)
            ops.append(Op("dequantize", (half,), name))
        ops.append(op)
    program.ops = ops
    return program


def to_dynamic(program: Program, kinds: Iterable[str] = ("conv", "dense")) -> Program:
    """Kernels of some kinds of operations as int8; the runtime quantises what they multiply."""
    program = copy.deepcopy(program)
    for op in program.ops:
        if op.kind in kinds:
            _quantize_kernel(program, op)
    return program


def to_mixed(program: Program) -> Program:
    """The classifier, most of a small network's bytes, with int8 kernels, all else float16."""
    return to_float16(to_dynamic(program, ("dense",)), ("conv", "depthwise"))


def to_int8(program: Program, ranges: Ranges) -> Program:
    """Frames, convolutions, activations and past frames as int8, from calibrated ranges.

    Running sums and squeeze-excitation stay float32: they are short vectors, and their errors add
    up over a stream. The classifier has int8 kernels alone.

    Args:
        program: The graph in float32.
        ranges: Of every tensor that has frames, measured on videos.
    """
    return _Int8(to_dynamic(program, ("dense",)), ranges).run()


def _quantize_kernel(program: Program, op: Op) -> Scale:
    """Make a kernel int8, with a scale for each output channel."""
    name, axis = op.inputs[1], 3 if op.kind == "depthwise" else 0
    weight = program.constants[name]
    others = tuple(i for i in range(weight.ndim) if i != axis)
    scale = np.maximum(np.abs(weight).max(others), 1e-12).astype(np.float32) / np.float32(127)
    shape = [1] * weight.ndim
    shape[axis] = -1
    integers = np.clip(np.rint(weight / scale.reshape(shape)), -127, 127)
    program.constants[name] = integers.astype(np.int8)
    program.values[name] = dataclasses.replace(program.values[name], dtype="int8")
    program.scales[name] = Scale(scale, 0, axis)
    return program.scales[name]


def activation_scale(low: float, high: float) -> Scale:
    """The scale of a tensor between two values; zero is always one of its steps."""
    low, high = min(low, 0.0), max(high, 0.0)
    # What is always zero may have any step; runtimes refuse one that is next to nothing.
    step = max((high - low) / 255, 1e-9) if high > low else 1 / 255
    zero_point = int(np.clip(round(-128 - low / step), -128, 127))
    return Scale(np.array([step], np.float32), zero_point)


def _int8_graph(graph: Graph, clips: Clips) -> Graph:
    """A graph in int8, its past frames included."""
    program = graph.program
    if graph.states and program.values["frames"].shape[0] != program.batch_size:
        raise ConfigError("quantize='int8' is for one frame at a time (num_frames=1)")
    program = to_int8(program, measure_ranges(graph, clips))
    states = tuple(
        dataclasses.replace(state, dtype="int8", initial=program.scales[state.name].zero_point)
        if program.values[state.name].dtype == "int8"
        else state
        for state in graph.states
    )
    return Graph(program, states)


class _Int8:
    """Rewrites one program.

    A tensor of frames exists as int8 ("<name>/int8") and, where something needs that, as float32.
    """

    def __init__(self, program: Program, ranges: Ranges) -> None:
        self._program, self._ranges = copy.deepcopy(program), ranges
        self._ops: list[Op] = []
        self._int8: dict[str, str] = {}
        self._float: set[str] = set()

    def run(self) -> Program:
        """The program in int8."""
        program = self._program
        ops, program.ops = program.ops, []
        self._float.update(program.constants)
        for name in program.inputs:
            if name.startswith("buffer/"):
                self._int8[name] = name
            else:
                self._float.add(name)
        self._share_scales(ops)
        for op in ops:
            if self._is_int8(op):
                self._emit_int8(op)
            else:
                inputs = tuple(self._as_float(name) for name in op.inputs)
                self._ops.append(Op(op.kind, inputs, op.output, op.attributes))
                self._float.add(op.output)
        for name, tensor in program.outputs.items():
            wants = self._as_int8 if name.startswith("new/buffer/") else self._as_float
            program.outputs[name] = wants(tensor)
        program.ops = self._ops
        return program

    def _is_int8(self, op: Op) -> bool:
        """Whether an operation is of frames, and runtimes have it in int8."""
        kinds = ("conv", "depthwise", "hard_swish", "sigmoid", "add", "mul", "pool")
        value = self._program.values[op.output]
        if op.kind == "concat":  # only of what has one scale
            return op.inputs[0].startswith("buffer/")
        if op.kind in ("add", "mul") and not self._program.constants.keys().isdisjoint(op.inputs):
            return False  # no range of a constant was measured
        return op.kind in kinds and len(value.shape) == 4 and value.shape[1:3] != (1, 1)

    def _share_scales(self, ops: list[Op]) -> None:
        """Past frames, the new one and the window that joins them have one scale."""
        program = self._program
        for op in ops:
            if op.kind == "concat" and op.inputs[0].startswith("buffer/"):
                newest = op.inputs[-1]
                for name in op.inputs[:-1]:
                    program.values[name] = dataclasses.replace(program.values[name], dtype="int8")
                    program.scales[name] = self._scale(newest)

    def _scale(self, name: str) -> Scale:
        return activation_scale(*self._ranges[name])

    def _emit_int8(self, op: Op) -> None:
        if op.kind in ("conv", "depthwise"):
            self._convolve(op)
            return
        inputs = tuple(self._as_int8(name) for name in op.inputs)
        scale = self._scale(op.output) if op.output in self._ranges else None
        if op.kind in ("pool", "concat"):  # they only pass on what they get
            scale = self._program.scales[inputs[-1]]
        elif op.kind == "sigmoid":  # the format fixes it
            scale = Scale(np.array([1 / 256], np.float32), -128)
        assert scale is not None
        output = self._made(op.output, scale)
        self._ops.append(Op(op.kind, inputs, output, op.attributes))

    def _convolve(self, op: Op) -> None:
        program, (x, kernel, bias) = self._program, op.inputs
        x = self._as_int8(x)
        weights = _quantize_kernel(program, op)
        scale = (weights.scale * program.scales[x].scale[0]).astype(np.float32)
        numbers = np.rint(program.constants[bias] / scale)
        limit = 2**31 - 128
        program.constants[bias] = np.clip(numbers, -limit, limit).astype(np.int32)
        program.values[bias] = dataclasses.replace(program.values[bias], dtype="int32")
        program.scales[bias] = Scale(scale, 0, 0)
        output = self._made(op.output, self._scale(op.output))
        self._ops.append(Op(op.kind, (x, kernel, bias), output, op.attributes))

    def _made(self, name: str, scale: Scale) -> str:
        """The int8 form of a tensor, new."""
        integers = f"{name}/int8"
        value: Value = self._program.values[name]
        self._program.values[integers] = dataclasses.replace(value, name=integers, dtype="int8")
        self._program.scales[integers] = scale
        self._int8[name] = integers
        return integers

    def _as_int8(self, name: str) -> str:
        if name not in self._int8:
            self._ops.append(Op("quantize", (name,), self._made(name, self._scale(name))))
        return self._int8[name]

    def _as_float(self, name: str) -> str:
        if name not in self._float:
            self._ops.append(Op("dequantize", (self._int8[name],), name))
            self._float.add(name)
        return name
