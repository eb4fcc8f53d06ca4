"""The graph in a TensorFlow Lite file, read without running it.

Files may come from anybody. The schema's readers follow whatever offsets they find; Python keeps
them inside the file, and here every count is bounded before anything is repeated that often.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet.errors import CheckpointError, MovinetError

#: Offsets in a flatbuffer reach no further.
MAX_BYTES = 2**31 - 1
#: Far beyond any MoViNet, of which the largest has 3,000 tensors.
MAX_ITEMS, MAX_EDGES, MAX_RANK, MAX_ELEMENTS = 32_768, 2**18, 8, 2**28
#: Identifier of the format, from byte 4 on.
IDENTIFIER = b"TFL3"
#: Numbers of these types can be turned into floats; without a scale, integers stay themselves.
DTYPES = {
    "FLOAT32": np.dtype("<f4"),
    "FLOAT16": np.dtype("<f2"),
    "FLOAT64": np.dtype("<f8"),
    "INT8": np.dtype("i1"),
    "UINT8": np.dtype("u1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
}
_CONVOLUTION = ("Padding", "StrideH", "StrideW", "DilationHFactor", "DilationWFactor")
#: kind of an operation -> (its table of options in the schema, the fields read from it)
_OPTIONS = {
    "CONV_2D": ("Conv2DOptions", (*_CONVOLUTION, "FusedActivationFunction")),
    "DEPTHWISE_CONV_2D": (
        "DepthwiseConv2DOptions",
        (*_CONVOLUTION, "FusedActivationFunction"),
    ),
    "AVERAGE_POOL_2D": (
        "Pool2DOptions",
        ("Padding", "StrideH", "StrideW", "FilterHeight", "FilterWidth", "FusedActivationFunction"),
    ),
    "FULLY_CONNECTED": ("FullyConnectedOptions", ("FusedActivationFunction", "KeepNumDims")),
    "CONCATENATION": ("ConcatenationOptions", ("Axis", "FusedActivationFunction")),
    "ADD": ("AddOptions", ("FusedActivationFunction",)),
    "SUB": ("SubOptions", ("FusedActivationFunction",)),
    "MUL": ("MulOptions", ("FusedActivationFunction",)),
    "DIV": ("DivOptions", ("FusedActivationFunction",)),
    "PACK": ("PackOptions", ("Axis",)),
    "SQUEEZE": ("SqueezeOptions", ("SqueezeDims",)),  # a set of bits: axis n is bit n + MAX_RANK
    "STRIDED_SLICE": (
        "StridedSliceOptions",
        ("BeginMask", "EndMask", "EllipsisMask", "NewAxisMask", "ShrinkAxisMask"),
    ),
    **dict.fromkeys(
        ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD"),
        ("ReducerOptions", ("KeepDims",)),
    ),
}
#: What the schema's readers raise on bytes that are no flatbuffer.
_DAMAGE = (struct.error, ValueError, TypeError, IndexError, OverflowError, AttributeError)


@dataclass(frozen=True)
class Tensor:
    """A tensor of the graph.

    Attributes:
        shape: As the file states it; 1 where it is free.
        dtype: The schema's name, such as "FLOAT32" or "INT8".
        data: The bytes of a constant, a view of the file; None for what is computed.
        scale: Of quantised integers, (1,) or one for each place along `axis`; None without.
        zero_point: As many as `scale` has, or one.
        axis: Along which they differ.
    """

    shape: tuple[int, ...]
    dtype: str
    data: NDArray[np.uint8] | None = None
    scale: NDArray[np.float32] | None = None
    zero_point: NDArray[np.int64] | None = None
    axis: int = 0


@dataclass(frozen=True)
class Operation:
    """One step of the graph.

    Attributes:
        kind: The schema's name, such as "CONV_2D".
        inputs: Numbers of its input tensors; -1 for one that is omitted.
        outputs: Numbers of its output tensors.
        options: Fields of its options that matter here, by the schema's names.
    """

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, int]


@dataclass(frozen=True)
class TfliteGraph:
    """The first graph of a file: its operations follow one another as they are run.

    Attributes:
        where: The file, for messages.
        tensors: All tensors.
        operations: All operations; none uses what a later one computes.
        inputs: Numbers of the tensors that go in.
        outputs: Numbers of those that come out.
        size: Bytes of the file.
        graphs: How many graphs the file holds.
    """

    where: str
    tensors: tuple[Tensor, ...]
    operations: tuple[Operation, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    size: int
    graphs: int = 1

    def is_constant(self, number: int) -> bool:
        """Whether a tensor's numbers are in the file."""
        return number >= 0 and self.tensors[number].data is not None

    def numbers(self, number: int) -> NDArray[Any]:
        """A constant as it is stored, integers not scaled.

        Raises:
            CheckpointError: If it is no constant, of a type that is not known here, or damaged.
        """
        tensor = self.tensors[number]
        if tensor.data is None:
            raise CheckpointError(f"{self.where}: weights that are computed, not stored")
        dtype = DTYPES.get(tensor.dtype)
        if dtype is None:
            raise CheckpointError(
                f"{self.where}: weights of type {tensor.dtype.lower()}; known are "
                f"{', '.join(name.lower() for name in DTYPES)}"
            )
        count = math.prod(tensor.shape)
        if count > MAX_ELEMENTS or count * dtype.itemsize != len(tensor.data):
            raise CheckpointError(
                f"{self.where}: {len(tensor.data)} bytes for {list(tensor.shape)} numbers of type "
                f"{tensor.dtype.lower()}: the file is damaged"
            )
        return np.frombuffer(tensor.data, dtype).reshape(tensor.shape)

    def floats(self, number: int) -> NDArray[np.float32]:
        """A constant as float32; quantised integers multiplied by their scale.

        Raises:
            CheckpointError: As `numbers`, or if the scales do not fit.
        """
        tensor, stored = self.tensors[number], self.numbers(number)
        if stored.dtype.kind == "f":
            return stored.astype(np.float32)
        if tensor.scale is None or tensor.zero_point is None:
            raise CheckpointError(f"{self.where}: integer weights without a scale")
        scale, zero = tensor.scale.astype(np.float64), tensor.zero_point.astype(np.float64)
        if len(scale) > 1:
            shape = [1] * stored.ndim
            if not 0 <= tensor.axis < stored.ndim or stored.shape[tensor.axis] != len(scale):
                raise CheckpointError(
                    f"{self.where}: {len(scale)} scales for weights of {list(tensor.shape)}"
                )
            shape[tensor.axis] = len(scale)
            scale, zero = scale.reshape(shape), zero.reshape(shape if len(zero) > 1 else 1)
        with np.errstate(over="ignore", invalid="ignore"):  # whoever loads them reports infinities
            return ((stored - zero) * scale).astype(np.float32)


def read_tflite(path: Path) -> TfliteGraph:
    """Read the graph of a .tflite file.

    Args:
        path: The file.

    Raises:
        CheckpointError: If it cannot be read, is none, is damaged, or is larger than any MoViNet.
        MovinetError: If the package with the format's schema is not installed.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise CheckpointError(f"{path}: {size} bytes; a .tflite file has at most {MAX_BYTES}")
        with path.open("rb") as file:
            data = file.read(size)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from None
    return parse_tflite(data, str(path))


def parse_tflite(data: bytes, where: str) -> TfliteGraph:
    """`read_tflite` for the bytes of a file.

    Args:
        data: The file.
        where: Its name, for messages.
    """
    if data[4:8] != IDENTIFIER:
        raise CheckpointError(f"{where}: it is not a TensorFlow Lite file")
    try:
        graph = _Reader(data, where).graph()
    except _DAMAGE:
        raise CheckpointError(
            f"{where}: a damaged TensorFlow Lite file: it points outside itself"
        ) from None
    _check_order(graph)
    return graph


def needs_litert(where: str) -> MovinetError:
    """The error where there is no LiteRT."""
    return MovinetError(
        f"{where}: reading .tflite files needs LiteRT: pip install ai-edge-litert; Intel Macs, for "
        "which there is none, run .onnx files"
    )


def _schema(where: str) -> Any:
    try:
        from ai_edge_litert import schema_py_generated
    except ModuleNotFoundError:
        raise needs_litert(where) from None
    return schema_py_generated


def _names(enumeration: type[Any]) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if name.isupper()}


class _Reader:
    """One file's flatbuffer."""

    def __init__(self, data: bytes, where: str) -> None:
        self._schema, self._where, self._size = _schema(where), where, len(data)
        self._model = self._schema.Model.GetRootAs(data, 0)
        self._kinds = _names(self._schema.BuiltinOperator)
        self._types = _names(self._schema.TensorType)
        self._edges = 0

    def graph(self) -> TfliteGraph:
        model = self._model
        if model.SubgraphsLength() < 1:
            raise CheckpointError(f"{self._where}: it has no graph")
        graph = model.Subgraphs(0)
        buffers = list(self._items(model.BuffersLength(), model.Buffers))
        codes = list(self._items(model.OperatorCodesLength(), model.OperatorCodes))
        tensors = tuple(
            self._tensor(item, buffers)
            for item in self._items(graph.TensorsLength(), graph.Tensors)
        )
        kinds = [self._kind(code) for code in codes]
        operations = tuple(
            self._operation(item, kinds, len(tensors))
            for item in self._items(graph.OperatorsLength(), graph.Operators)
        )
        inputs = self._indices(graph.InputsAsNumpy(), len(tensors), 0)
        outputs = self._indices(graph.OutputsAsNumpy(), len(tensors), 0)
        size, graphs = self._size, model.SubgraphsLength()
        return TfliteGraph(self._where, tensors, operations, inputs, outputs, size, graphs)

    def _items(self, count: int, get: Callable[[int], Any]) -> Iterator[Any]:
        self._bound(count, MAX_ITEMS)
        return (get(i) for i in range(count))

    def _bound(self, count: int, limit: int) -> None:
        if count > limit:
            raise CheckpointError(
                f"{self._where}: {count} parts where no MoViNet has more than {limit}"
            )

    def _kind(self, code: Any) -> str:
        number = max(code.DeprecatedBuiltinCode(), code.BuiltinCode())
        return self._kinds.get(number, f"operation {number}")

    def _indices(self, values: Any, count: int, lowest: int) -> tuple[int, ...]:
        """Numbers of tensors; the schema gives 0 where there is no list at all."""
        if isinstance(values, int):
            return ()
        self._edges += len(values)
        self._bound(self._edges, MAX_EDGES)
        if len(values) and not lowest <= values.min() <= values.max() < count:
            raise ValueError
        return tuple(values.tolist())

    def _tensor(self, item: Any, buffers: list[Any]) -> Tensor:
        self._bound(item.ShapeLength(), MAX_RANK)
        shape = item.ShapeAsNumpy()
        sides = () if isinstance(shape, int) else tuple(shape.tolist())
        if any(side < 0 for side in sides):
            raise ValueError
        dtype = self._types.get(item.Type(), f"type {item.Type()}")
        if item.Sparsity() is not None:
            dtype = f"sparse {dtype}"
        data = buffers[item.Buffer()].DataAsNumpy()
        found = None if isinstance(data, int) or not len(data) else data
        scales = item.Quantization()
        if scales is None or scales.ScaleLength() == 0:
            return Tensor(sides, dtype, found)
        if scales.DetailsType():
            return Tensor(sides, f"blockwise {dtype}", found)
        scale, zero = scales.ScaleAsNumpy(), scales.ZeroPointAsNumpy()
        if isinstance(zero, int):
            zero = np.zeros(1, np.int64)
        if len(zero) not in (1, len(scale)):
            raise ValueError
        return Tensor(sides, dtype, found, scale, zero, scales.QuantizedDimension())

    def _operation(self, item: Any, kinds: list[str], count: int) -> Operation:
        kind = kinds[item.OpcodeIndex()]
        inputs = self._indices(item.InputsAsNumpy(), count, -1)
        outputs = self._indices(item.OutputsAsNumpy(), count, 0)
        return Operation(kind, inputs, outputs, self._options(item, kind))

    def _options(self, item: Any, kind: str) -> dict[str, int]:
        if kind not in _OPTIONS:
            return {}
        name, fields = _OPTIONS[kind]
        options = getattr(self._schema, name)()
        table = item.BuiltinOptions()
        if table is None:  # nothing but what the schema takes by default
            return {field: int(field.startswith("Dilation")) for field in fields}
        if item.BuiltinOptionsType() != getattr(self._schema.BuiltinOptions, name):
            raise ValueError
        options.Init(table.Bytes, table.Pos)
        if kind == "SQUEEZE":
            dims = options.SqueezeDimsAsNumpy()
            dims = () if isinstance(dims, int) else dims.tolist()
            if any(not -MAX_RANK <= axis < MAX_RANK for axis in dims):
                raise ValueError
            return {"SqueezeDims": sum({1 << (axis + MAX_RANK) for axis in dims})}
        return {field: int(getattr(options, field)()) for field in fields}


def _check_order(graph: TfliteGraph) -> None:
    """Raise CheckpointError unless each operation uses what is there before it, and adds to it."""
    known = {i for i, tensor in enumerate(graph.tensors) if tensor.data is not None}
    known |= {-1, *graph.inputs}
    for operation in graph.operations:
        if not known.issuperset(operation.inputs) or not known.isdisjoint(operation.outputs):
            raise CheckpointError(
                f"{graph.where}: its graph uses numbers before anything computes them"
            )
        known.update(operation.outputs)
