"""Write a program as a LiteRT (TensorFlow Lite) file.

The flatbuffer is made here, without a converter in between, so the graph in the file is exactly
the program: no transposes, no padding operations, no composites. The manifest is appended as a zip
archive, the way of TensorFlow Lite's associated files (``unzip -p model.tflite movinet.json``).
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet.errors import MissingExtraError
from movinet.exporting.graph.program import Op, Program, Value
from movinet.runtime.manifest import Manifest

try:
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema
except ModuleNotFoundError:
    raise MissingExtraError("writing .tflite files", "export") from None

#: Alignment of weights in the file, bytes: that of the schema.
_ALIGNMENT = 16
_TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "uint8": schema.TensorType.UINT8,
    "int32": schema.TensorType.INT32,
    "int8": schema.TensorType.INT8,
    "float16": schema.TensorType.FLOAT16,
}
_OPERATORS = schema.BuiltinOperator
#: Operations without options: kind -> (operator, name of its options).
_PLAIN = {
    "hard_swish": (_OPERATORS.HARD_SWISH, "HardSwishOptions"),
    "sigmoid": (_OPERATORS.LOGISTIC, None),
    "relu6": (_OPERATORS.RELU6, None),
    "sin": (_OPERATORS.SIN, None),
    "cos": (_OPERATORS.COS, "CosOptions"),
    "floor": (_OPERATORS.FLOOR, None),
    "cast": (_OPERATORS.CAST, "CastOptions"),
    "quantize": (_OPERATORS.QUANTIZE, "QuantizeOptions"),
    "dequantize": (_OPERATORS.DEQUANTIZE, "DequantizeOptions"),
    "add": (_OPERATORS.ADD, "AddOptions"),
    "sub": (_OPERATORS.SUB, "SubOptions"),
    "mul": (_OPERATORS.MUL, "MulOptions"),
    "div": (_OPERATORS.DIV, "DivOptions"),
    "minimum": (_OPERATORS.MINIMUM, "MaximumMinimumOptions"),
    "maximum": (_OPERATORS.MAXIMUM, "MaximumMinimumOptions"),
}


def write_litert(program: Program, manifest: Manifest, path: Path) -> dict[str, int]:
    """Write a .tflite file.

    Args:
        program: The graph.
        manifest: Travels with it.
        path: The file.

    Returns:
        See `Program.counts`.
    """
    data = _Writer(program).model()
    with path.open("wb") as file:
        file.write(data)
        file.write(
            _archive({"movinet.json": manifest.to_json(), "labels.txt": "\n".join(manifest.labels)})
        )
    return program.counts()


def _archive(texts: dict[str, str]) -> bytes:
    """Files as a zip archive that looks the same every time."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in texts.items():
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, text)
    return buffer.getvalue()


class _Buffer(schema.BufferT):
    """Numbers of a constant, aligned as the runtime wants them."""

    def Pack(self, builder: Any) -> Any:  # noqa: N802 (the schema's name)
        if self.data is None:
            return super().Pack(builder)
        count = len(self.data)
        builder.StartVector(1, count, _ALIGNMENT)
        head = builder.head - count
        builder.head = head
        builder.Bytes[head : head + count] = self.data
        data = builder.EndVector()
        schema.BufferStart(builder)
        schema.BufferAddData(builder, data)
        return schema.BufferEnd(builder)


class _Writer:
    """Turns one program into a flatbuffer."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._buffers: list[Any] = [schema.BufferT()]
        self._tensors: list[Any] = []
        self._index: dict[str, int] = {}
        self._operators: list[Any] = []
        self._codes: dict[tuple[int, int], int] = {}

    def model(self) -> bytes:
        """The file."""
        for value in self._program.values.values():
            self._add_value(value)
        for op in self._program.ops:
            self._add_op(op)
        graph = schema.SubGraphT(
            tensors=self._tensors,
            inputs=[self._index[name] for name in self._program.inputs],
            outputs=[self._index[name] for name in self._program.outputs.values()],
            operators=self._operators,
            name="main",
        )
        inputs = {name: name for name in self._program.inputs}
        signature = schema.SignatureDefT(
            inputs=self._map(inputs),
            outputs=self._map(self._program.outputs),
            signatureKey="serving_default",
            subgraphIndex=0,
        )
        codes = [
            schema.OperatorCodeT(
                deprecatedBuiltinCode=min(code, 127), version=version, builtinCode=code
            )
            for code, version in self._codes
        ]
        model = schema.ModelT(
            version=3,
            operatorCodes=codes,
            subgraphs=[graph],
            description="movinet",
            buffers=self._buffers,
            signatureDefs=[signature],
        )
        total = sum(len(buffer.data) for buffer in self._buffers if buffer.data is not None)
        builder = flatbuffers.Builder(total + 2**20)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _map(self, names: dict[str, str]) -> list[Any]:
        return [
            schema.TensorMapT(name=name, tensorIndex=self._index[tensor])
            for name, tensor in names.items()
        ]

    def _add_value(self, value: Value) -> None:
        data = self._program.constants.get(value.name)
        signature = None
        if self._program.dynamic_batch and value.batch_axis is not None:
            signature = [-1 if i == value.batch_axis else n for i, n in enumerate(value.shape)]
        self._tensor(value.name, value.shape, value.dtype, data, signature)

    def _tensor(
        self,
        name: str,
        shape: tuple[int, ...],
        dtype: str,
        data: NDArray[Any] | None = None,
        signature: list[int] | None = None,
    ) -> int:
        buffer = 0
        if data is not None:
            buffer = len(self._buffers)
            self._buffers.append(_Buffer(data.tobytes()))
        self._index[name] = len(self._tensors)
        self._tensors.append(
            schema.TensorT(
                shape=list(shape),
                type=_TYPES[dtype],
                buffer=buffer,
                name=name,
                quantization=self._quantization(name),
                shapeSignature=signature,
                hasRank=True,
            )
        )
        return self._index[name]

    def _quantization(self, name: str) -> Any:
        scale = self._program.scales.get(name)
        if scale is None:
            return None
        return schema.QuantizationParametersT(
            scale=scale.scale,
            zeroPoint=np.full(len(scale.scale), scale.zero_point, np.int64),
            quantizedDimension=scale.axis,
        )

    def _integers(self, op: Op, what: str, values: list[int]) -> int:
        data = np.array(values, np.int32)
        return self._tensor(f"{op.output}:{what}", data.shape, "int32", data)

    def _emit(self, op: Op, code: int, options: Any, version: int = 1, extra: Any = ()) -> None:
        number = self._codes.setdefault((code, version), len(self._codes))
        kind = 0
        if options is not None:
            kind = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        self._operators.append(
            schema.OperatorT(
                opcodeIndex=number,
                inputs=[*(self._index[name] for name in op.inputs), *extra],
                outputs=[self._index[op.output]],
                builtinOptionsType=kind,
                builtinOptions=options,
            )
        )

    def _add_op(self, op: Op) -> None:
        if op.kind in _PLAIN:
            code, options = _PLAIN[op.kind]
            made: Any = None if options is None else getattr(schema, f"{options}T")()
            if op.kind == "cast":
                made.inDataType, made.outDataType = _TYPES["uint8"], _TYPES["float32"]
            self._emit(op, code, made)
            return
        special: dict[str, Callable[[Op], None]] = {
            "conv": self._conv,
            "depthwise": self._depthwise,
            "dense": self._dense,
            "pool": self._pool,
            "mean": self._mean,
            "concat": self._concat,
            "slice": self._slice,
            "reshape": self._reshape,
            "resize": self._resize,
            "softmax": self._softmax,
        }
        special[op.kind](op)

    def _conv(self, op: Op) -> None:
        stride = op.attributes["stride"]
        options = schema.Conv2DOptionsT(
            padding=schema.Padding.SAME,
            strideW=stride,
            strideH=stride,
            fusedActivationFunction=_fused(op),
            dilationWFactor=1,
            dilationHFactor=1,
        )
        self._emit(op, _OPERATORS.CONV_2D, options)

    def _depthwise(self, op: Op) -> None:
        how = op.attributes
        options = schema.DepthwiseConv2DOptionsT(
            padding=getattr(schema.Padding, how["padding"]),
            strideW=how["stride"],
            strideH=how["stride"],
            depthMultiplier=1,
            dilationWFactor=1,
            dilationHFactor=how["dilation"],
        )
        self._emit(op, _OPERATORS.DEPTHWISE_CONV_2D, options, 2 if how["dilation"] > 1 else 1)

    def _dense(self, op: Op) -> None:
        options = schema.FullyConnectedOptionsT(fusedActivationFunction=_fused(op))
        self._emit(op, _OPERATORS.FULLY_CONNECTED, options)

    def _pool(self, op: Op) -> None:
        options = schema.Pool2DOptionsT(
            padding=schema.Padding.SAME, strideW=2, strideH=2, filterWidth=3, filterHeight=3
        )
        self._emit(op, _OPERATORS.AVERAGE_POOL_2D, options)

    def _mean(self, op: Op) -> None:
        axes = self._integers(op, "axes", list(op.attributes["axes"]))
        self._emit(op, _OPERATORS.MEAN, schema.ReducerOptionsT(keepDims=False), 1, (axes,))

    def _concat(self, op: Op) -> None:
        options = schema.ConcatenationOptionsT(axis=op.attributes["axis"])
        self._emit(op, _OPERATORS.CONCATENATION, options)

    def _slice(self, op: Op) -> None:
        value, axis = self._program.values[op.output], op.attributes["axis"]
        begin = [op.attributes["start"] if i == axis else 0 for i in range(len(value.shape))]
        size = [n if i == axis else -1 for i, n in enumerate(value.shape)]
        extra = (self._integers(op, "begin", begin), self._integers(op, "size", size))
        self._emit(op, _OPERATORS.SLICE, schema.SliceOptionsT(), 1, extra)

    def _reshape(self, op: Op) -> None:
        value = self._program.values[op.output]
        shape = list(value.shape)
        if self._program.dynamic_batch and value.batch_axis is not None:
            shape[value.batch_axis] = -1
        extra = (self._integers(op, "shape", shape),)
        self._emit(op, _OPERATORS.RESHAPE, schema.ReshapeOptionsT(newShape=shape), 1, extra)

    def _resize(self, op: Op) -> None:
        size = list(self._program.values[op.output].shape[1:3])
        options = schema.ResizeBilinearOptionsT(halfPixelCenters=True)
        extra = (self._integers(op, "size", size),)
        self._emit(op, _OPERATORS.RESIZE_BILINEAR, options, 3, extra)

    def _softmax(self, op: Op) -> None:
        self._emit(op, _OPERATORS.SOFTMAX, schema.SoftmaxOptionsT(beta=1.0))


def _fused(op: Op) -> int:
    activations = schema.ActivationFunctionType
    return activations.RELU6 if op.attributes.get("relu6") else activations.NONE
