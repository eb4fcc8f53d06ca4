"""TensorFlow Lite files written operation by operation, for tests."""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "float16": schema.TensorType.FLOAT16,
    "int8": schema.TensorType.INT8,
    "int32": schema.TensorType.INT32,
}
#: What a byte of a frame or a feature means in full-integer files here.
STEP = 1 / 16
#: Of operations that begin later than with 1.
VERSIONS = {schema.BuiltinOperator.BROADCAST_TO: 2}


class Graph:
    """A graph being written."""

    def __init__(self, integers: bool) -> None:
        self._integers = integers
        self._buffers: list[Any] = [schema.BufferT()]
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._codes: dict[int, int] = {}
        self.inputs: dict[str, int] = {}
        self.outputs: dict[str, int] = {}

    def shape(self, tensor: int) -> tuple[int, ...]:
        return tuple(self._tensors[tensor].shape)

    def dtype(self, tensor: int) -> int:
        return self._tensors[tensor].type

    def tensor(
        self,
        shape: tuple[int, ...],
        dtype: str = "float32",
        data: np.ndarray | None = None,
        scale: np.ndarray | None = None,
        axis: int = 0,
    ) -> int:
        buffer = 0
        if data is not None:
            buffer = len(self._buffers)
            self._buffers.append(schema.BufferT(data=np.frombuffer(data.tobytes(), np.uint8)))
        quantization = None
        if scale is not None:
            quantization = schema.QuantizationParametersT(
                scale=scale.astype(np.float32),
                zeroPoint=np.zeros(len(scale), np.int64),
                quantizedDimension=axis,
            )
        self._tensors.append(
            schema.TensorT(
                shape=list(shape),
                type=TYPES[dtype],
                buffer=buffer,
                name=f"tensor{len(self._tensors)}",
                quantization=quantization,
                hasRank=True,
            )
        )
        return len(self._tensors) - 1

    def constant(self, values: Any, dtype: str = "float32") -> int:
        data = np.asarray(values, dtype)
        if dtype == "float32" and self._integers:
            scale = np.array([max(float(np.abs(data).max()), 1e-9) / 127])
            return self.tensor(data.shape, "int8", np.rint(data / scale).astype(np.int8), scale)
        return self.tensor(data.shape, dtype, data)

    def add(
        self,
        kind: str,
        inputs: list[int],
        shape: tuple[int, ...],
        options: Any = None,
        dtype: str | None = None,
    ) -> int:
        dtype = dtype or ("int8" if self._integers else "float32")
        scale = np.array([STEP]) if dtype == "int8" else None
        output = self.tensor(shape, dtype, scale=scale)
        code = self._codes.setdefault(getattr(schema.BuiltinOperator, kind), len(self._codes))
        number = 0
        if options is not None:
            number = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        self._operators.append(
            schema.OperatorT(
                opcodeIndex=code,
                inputs=inputs,
                outputs=[output],
                builtinOptionsType=number,
                builtinOptions=options,
            )
        )
        return output

    def file(self) -> bytes:
        maps = [
            [schema.TensorMapT(name=name, tensorIndex=tensor) for name, tensor in each.items()]
            for each in (self.inputs, self.outputs)
        ]
        graph = schema.SubGraphT(
            tensors=self._tensors,
            inputs=list(self.inputs.values()),
            outputs=list(self.outputs.values()),
            operators=self._operators,
            name="main",
        )
        model = schema.ModelT(
            version=3,
            operatorCodes=[
                schema.OperatorCodeT(
                    deprecatedBuiltinCode=min(code, 127),
                    builtinCode=code,
                    version=VERSIONS.get(code, 1),
                )
                for code in self._codes
            ],
            subgraphs=[graph],
            buffers=self._buffers,
            signatureDefs=[
                schema.SignatureDefT(
                    inputs=maps[0],
                    outputs=maps[1],
                    signatureKey="serving_default",
                    subgraphIndex=0,
                )
            ],
        )
        builder = flatbuffers.Builder(2**20)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())
