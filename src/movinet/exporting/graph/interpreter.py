"""A program in PyTorch: for torch.export and ExecuTorch, and to calibrate and compare with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from movinet.exporting.graph.kernels import arrange_kernel
from movinet.exporting.graph.program import Op, Program

#: Called with each operation's output, and returning what takes its place.
Observe = Callable[[str, Tensor], Tensor]

_BINARY = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "minimum": torch.minimum,
    "maximum": torch.maximum,
}
_UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "hard_swish": F.hardswish,
    "sigmoid": torch.sigmoid,
    "relu6": F.relu6,
    "sin": torch.sin,
    "cos": torch.cos,
    "floor": torch.floor,
}
#: Axis of a 4-D tensor in PyTorch's order of dimensions.
_AXIS = (0, 2, 3, 1)


class ProgramModule(nn.Module):
    """Runs a program: inputs in its order, outputs in its order.

    Inside, 4-D tensors have PyTorch's order of dimensions, in channels-last memory.

    Args:
        program: The graph.
        channels_first: States have PyTorch's order of dimensions as inputs and outputs too.

    Attributes:
        observe: Sees every operation's output, if set; 4-D ones in PyTorch's order.
    """

    def __init__(self, program: Program, *, channels_first: bool = False) -> None:
        super().__init__()
        self.program = program
        self.observe: Observe | None = None
        self._channels_first = channels_first
        self._paddings: dict[str, tuple[int, int]] = {}
        constants = {
            name: data.transpose(0, 3, 1, 2) if data.ndim == 4 else data
            for name, data in program.constants.items()
        }
        for op in program.ops:
            if op.kind in ("conv", "depthwise"):
                name = op.inputs[1]
                kernel, padding = arrange_kernel(program, op, program.constants[name])
                constants[name], self._paddings[op.output] = kernel, padding
        self._places = {name: f"constant{i}" for i, name in enumerate(constants)}
        for name, data in constants.items():
            value = torch.from_numpy(np.ascontiguousarray(data))
            self.register_buffer(self._places[name], value)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """One step, or one clip."""
        values = {name: getattr(self, place) for name, place in self._places.items()}
        for name, value in zip(self.program.inputs, inputs, strict=True):
            turned = value.ndim == 4 and (name == "frames" or not self._channels_first)
            values[name] = value.permute(0, 3, 1, 2) if turned else value
        for op in self.program.ops:
            y = self._run(op, [values[name] for name in op.inputs])
            values[op.output] = y if self.observe is None else self.observe(op.output, y)
        outputs = [values[name] for name in self.program.outputs.values()]
        if self._channels_first:
            return tuple(outputs)
        return tuple(y.permute(0, 2, 3, 1) if y.ndim == 4 else y for y in outputs)

    def _run(self, op: Op, x: Sequence[Tensor]) -> Tensor:
        how = op.attributes
        if op.kind in _BINARY:
            return _BINARY[op.kind](x[0], x[1])
        if op.kind in _UNARY:
            return _UNARY[op.kind](x[0])
        match op.kind:
            case "conv" | "depthwise":
                return _convolve(op, self._paddings[op.output], *x)
            case "dense":
                y = F.linear(x[0], x[1], x[2])
                return F.relu6(y) if how["relu6"] else y
            case "pool":
                height, width = x[0].shape[2:]
                padding, rounded = (height % 2, width % 2), height % 2 + width % 2 < 2
                return F.avg_pool2d(x[0], 3, 2, padding, rounded, count_include_pad=False)
            case "mean":
                if x[0].ndim == 4:  # with the dimensions kept it is one operation of XNNPACK
                    return x[0].mean([_AXIS[axis] for axis in how["axes"]], True).flatten(1)
                return x[0].mean(how["axes"])
            case "concat":
                axis = _AXIS[how["axis"]] if x[0].ndim == 4 else how["axis"]
                return torch.cat(list(x), axis)
            case "slice":
                axis = _AXIS[how["axis"]] if x[0].ndim == 4 else how["axis"]
                return x[0].narrow(axis, how["start"], how["size"])
            case "reshape":
                return self._reshape(op, x[0])
            case "cast":
                return x[0].float()
            case "resize":
                size = self.program.values[op.output].shape[1:3]
                return F.interpolate(x[0], size, mode="bilinear", align_corners=False)
            case "softmax":
                return x[0].softmax(1)
        raise AssertionError(op.kind)

    def _reshape(self, op: Op, x: Tensor) -> Tensor:
        value = self.program.values[op.output]
        shape: list[Any] = list(value.shape)
        if self.program.dynamic_batch and value.batch_axis is not None:
            shape[value.batch_axis] = -1
        if x.ndim == 4:
            x = x.permute(0, 2, 3, 1)
        x = x.reshape(shape)
        return x.permute(0, 3, 1, 2) if x.ndim == 4 else x


def _convolve(op: Op, padding: tuple[int, int], x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A dense convolution, or one of each channel."""
    how = op.attributes
    groups = len(weight) if op.kind == "depthwise" else 1
    dilation = (how.get("dilation", 1), 1)
    y = F.conv2d(x, weight, bias, how["stride"], padding, dilation, groups)
    return F.relu6(y) if how.get("relu6") else y
