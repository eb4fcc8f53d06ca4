"""How large the tensors of a TensorFlow Lite graph are, worked out before anything runs it.

LiteRT allocates whatever shapes a file states, and those that its operations come to. So the shape
of every tensor is derived here from the graph's inputs and constants; a file that states others is
damaged. What a step then takes is in proportion to its inputs, as it is in every MoViNet.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from movinet.errors import CheckpointError
from movinet.runtime.engines.tflite_file import DTYPES, MAX_RANK, Operation, TfliteGraph

Shape = tuple[int, ...]
#: (the graph, an operation, the shapes of its inputs) -> the shape of its output
Rule = Callable[[TfliteGraph, Operation, Sequence[Shape]], Shape]

#: What a step may take: this, and so much for each element of its inputs. The largest presets stay
#: below a tenth of it.
MEMORY, MEMORY_EACH = 2**27, 2**8
#: Bytes that no stated input justifies.
MOST_MEMORY = 2**33
#: Multiplications in a step, likewise; of the presets A5 has most, 4,000 for each element.
PRODUCTS, PRODUCTS_EACH = 2**31, 2**15
#: Bytes of an element of what a graph computes.
_SIZES = {name: dtype.itemsize for name, dtype in DTYPES.items()} | {"BOOL": 1}
_VALID = 1  # of the schema's paddings


def check_sizes(graph: TfliteGraph) -> None:
    """Refuse a graph whose tensors are not what they are said to be, or out of all proportion.

    Args:
        graph: Of the file; its operations are in the order in which they run.

    Raises:
        CheckpointError: Naming the first operation or tensor that is wrong.
    """
    if graph.graphs != 1:
        _refuse(graph, f"it holds {graph.graphs} graphs")
    for tensor in graph.tensors:
        if tensor.dtype not in _SIZES:
            _refuse(graph, f"a tensor is of type {tensor.dtype.lower()}")
        count = math.prod(tensor.shape)
        if tensor.data is not None and count * _SIZES[tensor.dtype] != len(tensor.data):
            stated = f"{list(tensor.shape)} numbers of type {tensor.dtype.lower()}"
            _refuse(graph, f"it has {len(tensor.data)} bytes for {stated}")
    products = sum(_check_operation(graph, operation) for operation in graph.operations)
    given = sum(math.prod(graph.tensors[number].shape) for number in graph.inputs)
    memory = max(_memory(graph), default=0)
    if memory > min(MOST_MEMORY, MEMORY + MEMORY_EACH * given):
        _refuse(graph, f"it takes {memory / 2**20:.0f} MiB for {given} numbers that go in")
    if products > PRODUCTS + PRODUCTS_EACH * given:
        _refuse(graph, f"it takes {products:.1g} multiplications for {given} numbers that go in")


def _check_operation(graph: TfliteGraph, operation: Operation) -> int:
    """The multiplications of an operation whose output is as the file states."""
    rule, kind = _RULES.get(operation.kind), operation.kind
    if rule is None:
        _refuse(graph, f"it has the operation {kind}")
    shapes = [graph.tensors[i].shape if i >= 0 else () for i in operation.inputs]
    try:
        (output,) = operation.outputs
        shape = tuple(rule(graph, operation, shapes))
    except (ValueError, IndexError, ZeroDivisionError, OverflowError, TypeError):
        _refuse(graph, f"its {kind} does not fit its inputs {[list(each) for each in shapes[:3]]}")
    stated = graph.tensors[output].shape
    if shape != stated:
        _refuse(graph, f"its {kind} gives {list(shape)}, where it states {list(stated)}")
    each = shapes[1][1:] if kind in ("CONV_2D", "FULLY_CONNECTED") else ()
    if kind == "DEPTHWISE_CONV_2D":
        each = shapes[1][1:3]
    return math.prod(shape) * math.prod(each)


def _memory(graph: TfliteGraph) -> Iterator[int]:
    """Bytes that are in use during each operation, with its scratch memory."""
    sizes = [
        0 if tensor.data is not None else math.prod(tensor.shape) * _SIZES[tensor.dtype]
        for tensor in graph.tensors
    ]
    last = dict.fromkeys(range(len(sizes)), -1)
    for place, operation in enumerate(graph.operations):
        last.update((number, place) for number in (*operation.inputs, *operation.outputs))
    end = len(graph.operations)
    last.update((number, end) for number in (*graph.inputs, *graph.outputs))
    made = {number for operation in graph.operations for number in operation.outputs}
    live = sum(size for number, size in enumerate(sizes) if number not in made)
    yield live
    for place, operation in enumerate(graph.operations):
        live += sum(sizes[number] for number in operation.outputs)
        yield live + _scratch(graph, operation)
        for number in {*operation.inputs, *operation.outputs}:
            if number in made and last[number] == place:
                live -= sizes[number]


def _scratch(graph: TfliteGraph, operation: Operation) -> int:
    """Bytes of the patches, or of the pointers to them, that a convolution may make."""
    if operation.kind not in _PATCHES:
        return 0
    output = graph.tensors[operation.outputs[0]].shape
    if operation.kind == "AVERAGE_POOL_2D":
        options = operation.options
        return 8 * math.prod(output[:3]) * options["FilterHeight"] * options["FilterWidth"]
    kernel = graph.tensors[operation.inputs[1]].shape
    depth = 2 if operation.kind == "DEPTHWISE_CONV_2D" else max(2, kernel[3])
    return 4 * math.prod(output[:3]) * math.prod(kernel[1:3]) * depth


def _refuse(graph: TfliteGraph, what: str) -> NoReturn:
    raise CheckpointError(
        f"{graph.where}: {what}, which no MoViNet does: the file is damaged, or of another network"
    )


def _numbers(graph: TfliteGraph, number: int) -> list[int]:
    return graph.numbers(number).ravel().tolist()


def _view(shape: Shape) -> NDArray[np.int8]:
    """An array of a shape that takes no memory, for numpy to work out shapes with."""
    return np.broadcast_to(np.int8(0), shape)


def _same(_graph: TfliteGraph, _operation: Operation, shapes: Sequence[Shape]) -> Shape:
    return shapes[0]


def _broadcast(_graph: TfliteGraph, _operation: Operation, shapes: Sequence[Shape]) -> Shape:
    return np.broadcast_shapes(*shapes)


def _places(shape: Shape, kernel: Sequence[int], options: dict[str, int]) -> list[int]:
    """Height and width of what a window is moved over."""
    sides = []
    for side, size, axis in zip(shape[1:3], kernel, "HW", strict=True):
        stride, dilation = options[f"Stride{axis}"], options.get(f"Dilation{axis}Factor", 1)
        reach = (size - 1) * dilation if options["Padding"] == _VALID else 0
        if min(stride, dilation, size) < 1 or reach >= max(side, 1):
            raise ValueError
        sides.append(-(-(side - reach) // stride))
    return sides


def _convolution(_graph: TfliteGraph, operation: Operation, shapes: Sequence[Shape]) -> Shape:
    image, kernel = shapes[:2]
    depth = kernel[3] if operation.kind == "CONV_2D" else image[3]
    if len(image) != 4 or len(kernel) != 4 or image[3] % depth:
        raise ValueError
    outputs = kernel[0] if operation.kind == "CONV_2D" else kernel[3]
    return (image[0], *_places(image, kernel[1:3], dict(operation.options)), outputs)


def _pool(_graph: TfliteGraph, operation: Operation, shapes: Sequence[Shape]) -> Shape:
    options, (batch, _, _, channels) = dict(operation.options), shapes[0]
    kernel = options["FilterHeight"], options["FilterWidth"]
    return (batch, *_places(shapes[0], kernel, options), channels)


def _dense(_graph: TfliteGraph, operation: Operation, shapes: Sequence[Shape]) -> Shape:
    values, (outputs, inputs) = shapes[:2]
    if operation.options["KeepNumDims"]:
        return (*values[:-1], outputs)
    rows, rest = divmod(math.prod(values), inputs)
    if rest:
        raise ValueError
    return (rows, outputs)


def _reduced(graph: TfliteGraph, operation: Operation, shapes: Sequence[Shape]) -> Shape:
    axes, rank = _numbers(graph, operation.inputs[1]), len(shapes[0])
    if any(not -rank <= axis < rank for axis in axes):
        raise ValueError
    gone = {axis % rank for axis in axes}
    if operation.options["KeepDims"]:
        return tuple(1 if i in gone else side for i, side in enumerate(shapes[0]))
    return tuple(side for i, side in enumerate(shapes[0]) if i not in gone)


def _concatenated(_graph: TfliteGraph, operation: Operation, shapes: Sequence[Shape]) -> Shape:
    rank = len(shapes[0])
    axis = range(rank)[operation.options["Axis"]]
    if len({(*shape[:axis], *shape[axis + 1 :]) for shape in shapes}) != 1:
        raise ValueError
    return (*shapes[0][:axis], sum(shape[axis] for shape in shapes), *shapes[0][axis + 1 :])


def _packed(_graph: TfliteGraph, operation: Operation, shapes: Sequence[Shape]) -> Shape:
    axis = range(len(shapes[0]) + 1)[operation.options["Axis"]]
    if len(set(shapes)) != 1:
        raise ValueError
    return (*shapes[0][:axis], len(shapes), *shapes[0][axis:])


def _slice(graph: TfliteGraph, operation: Operation, shapes: Sequence[Shape]) -> Shape:
    begins, sizes = (_numbers(graph, number) for number in operation.inputs[1:3])
    found = []
    for side, begin, size in zip(shapes[0], begins, sizes, strict=True):
        size = side - begin if size == -1 else size
        if begin < 0 or size < 0 or begin + size > side:
            raise ValueError
        found.append(size)
    return tuple(found)


def _strided_slice(graph: TfliteGraph, operation: Operation, shapes: Sequence[Shape]) -> Shape:
    begins, ends, strides = (_numbers(graph, number) for number in operation.inputs[1:4])
    options, index = operation.options, []
    for i, (begin, end, stride) in enumerate(zip(begins, ends, strides, strict=True)):
        masked = {name for name, mask in options.items() if mask >> i & 1}
        if "EllipsisMask" in masked:
            index.append(...)
        elif "NewAxisMask" in masked:
            index.append(None)
        elif "ShrinkAxisMask" in masked:
            index.append(begin)
        else:
            first = None if "BeginMask" in masked else begin
            index.append(slice(first, None if "EndMask" in masked else end, stride))
    return _view(shapes[0])[tuple(index)].shape


def _reshaped(graph: TfliteGraph, operation: Operation, shapes: Sequence[Shape]) -> Shape:
    return _view(shapes[0]).reshape(_numbers(graph, operation.inputs[1])).shape


def _squeezed(_graph: TfliteGraph, operation: Operation, shapes: Sequence[Shape]) -> Shape:
    mask, rank = operation.options["SqueezeDims"], len(shapes[0])
    axes = tuple(axis for axis in range(-rank, rank) if mask >> (axis + MAX_RANK) & 1)
    return _view(shapes[0]).squeeze(axes if mask else None).shape


def _expanded(graph: TfliteGraph, operation: Operation, shapes: Sequence[Shape]) -> Shape:
    (axis,) = _numbers(graph, operation.inputs[1])
    return np.expand_dims(_view(shapes[0]), axis).shape


def _transposed(graph: TfliteGraph, operation: Operation, shapes: Sequence[Shape]) -> Shape:
    return _view(shapes[0]).transpose(_numbers(graph, operation.inputs[1])).shape


def _stated_by_constant(graph: TfliteGraph, operation: Operation, shapes: Sequence[Shape]) -> Shape:
    shape = tuple(_numbers(graph, operation.inputs[1]))
    return np.broadcast_shapes(shapes[0], shape)


def _resized(graph: TfliteGraph, operation: Operation, shapes: Sequence[Shape]) -> Shape:
    height, width = _numbers(graph, operation.inputs[1])
    batch, _, _, channels = shapes[0]
    return (batch, height, width, channels)


def _padded(graph: TfliteGraph, operation: Operation, shapes: Sequence[Shape]) -> Shape:
    paddings = graph.numbers(operation.inputs[1]).tolist()
    return tuple(
        side + before + after for side, (before, after) in zip(shapes[0], paddings, strict=True)
    )


_ALIKE = [
    "ABS",
    "CAST",
    "CEIL",
    "COS",
    "DEQUANTIZE",
    "ELU",
    "EXP",
    "FLOOR",
    "GELU",
    "HARD_SWISH",
    "L2_NORMALIZATION",
    "LEAKY_RELU",
    "LOG",
    "LOGISTIC",
    "LOG_SOFTMAX",
    "NEG",
    "QUANTIZE",
    "RELU",
    "RELU6",
    "RELU_N1_TO_1",
    "ROUND",
    "RSQRT",
    "SIN",
    "SOFTMAX",
    "SQRT",
    "SQUARE",
    "TANH",
]
_MIXED = [
    "ADD",
    "DIV",
    "FLOOR_DIV",
    "MAXIMUM",
    "MINIMUM",
    "MUL",
    "POW",
    "PRELU",
    "SQUARED_DIFFERENCE",
    "SUB",
]
_REDUCED = ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD")
#: Those that look at patches of their input.
_PATCHES = ("CONV_2D", "DEPTHWISE_CONV_2D", "AVERAGE_POOL_2D")
_RULES: dict[str, Rule] = {
    **dict.fromkeys(_ALIKE, _same),
    **dict.fromkeys(_MIXED, _broadcast),
    **dict.fromkeys(_REDUCED, _reduced),
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _convolution,
    "AVERAGE_POOL_2D": _pool,
    "FULLY_CONNECTED": _dense,
    "CONCATENATION": _concatenated,
    "PACK": _packed,
    "SLICE": _slice,
    "STRIDED_SLICE": _strided_slice,
    "RESHAPE": _reshaped,
    "SQUEEZE": _squeezed,
    "EXPAND_DIMS": _expanded,
    "TRANSPOSE": _transposed,
    "BROADCAST_TO": _stated_by_constant,
    "RESIZE_BILINEAR": _resized,
    "PAD": _padded,
    "PADV2": _padded,
}
