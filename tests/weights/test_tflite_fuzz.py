"""Mutated TensorFlow Lite files: each is read, or refused in one line, in bounded memory."""

from __future__ import annotations

import math
import random
import re
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from hub_tflite import write_hub
from movinet.checkpoints.tflite.arrays import LayerArrays
from movinet.checkpoints.tflite.weights import read_tflite_weights
from movinet.errors import CheckpointError
from movinet.network.config import Architecture, Group
from movinet.runtime.engines import tflite_file
from movinet.runtime.engines.tflite_file import parse_tflite
from networks import make_model, tiny_stream

#: What hostile numbers say.
NUMBERS = [0, 1, 2, 3, 4, 8, 127, 128, 255, 1 << 15, 1 << 16, 1 << 24, 1 << 30, (1 << 31) - 1]
NUMBERS += [1 << 31, (1 << 32) - 1, (1 << 32) - 4]
#: Most memory that reading a file of 50 kB may take.
MAX_MEMORY = 8 << 20
#: A temporal kernel, and a block without one that is strided.
SHAPE = Architecture(8, (Group(8, 1, ((16, 3, 3),)), Group(16, 2, ((24, 1, 5),))), 24, 16)

Mutation = Callable[[random.Random, bytes], bytes]


@pytest.fixture(scope="module", params=["float32", "int8"])
def file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("hub") / "hub.tflite"
    placed = request.param == "float32"
    config = tiny_stream(positional_encoding=placed).replace(architecture=SHAPE)
    write_hub(make_model(config), path, storage=request.param)
    return path.read_bytes()


def bits(rng: random.Random, data: bytes) -> bytes:
    """Some bits flipped, most of them where the graph is and not the weights."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 3, 30])):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def offsets(rng: random.Random, data: bytes) -> bytes:
    """Numbers of four bytes replaced: offsets, lengths, sides and references."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 2, 8])):
        at = 4 * rng.randrange(len(changed) // 4 - 1)
        number = rng.choice([*NUMBERS, rng.randrange(len(data)), len(data) - at])
        struct.pack_into("<I", changed, at, number % (1 << 32))
    return bytes(changed)


def pieces(rng: random.Random, data: bytes) -> bytes:
    """Cut off, doubled, or with a piece missing."""
    i, j = sorted(rng.randrange(8, len(data)) for _ in range(2))
    return rng.choice([data[:i], data[:j] + data[i:], data[:i] + data[j:], data + data[:i]])


def fields(rng: random.Random, data: bytes) -> bytes:
    """A well-formed file with hostile values in it."""
    model: Any = schema.ModelT.InitFromPackedBuf(bytearray(data))
    graph = model.subgraphs[0]
    for _ in range(rng.choice([1, 2, 4])):
        tensor, operation = rng.choice(graph.tensors), rng.choice(graph.operators)
        kind = rng.randrange(9)
        if kind == 0:
            tensor.shape = [
                rng.choice([0, 1, 3, 8, 1 << 16, (1 << 31) - 1]) for _ in range(rng.randrange(9))
            ]
        elif kind == 1:
            tensor.type = rng.randrange(20)
        elif kind == 2:
            tensor.buffer = rng.choice([0, rng.randrange(len(model.buffers)), 1 << 30])
        elif kind == 3:
            count = rng.choice([0, 1, 3, 8, 1000])
            scale = np.array([rng.choice([0, 1e-40, float("nan"), 1e38])] * count, np.float32)
            tensor.quantization = schema.QuantizationParametersT(
                scale=scale,
                zeroPoint=np.zeros(rng.choice([count, 1, 5]), np.int64),
                quantizedDimension=rng.randrange(-1, 9),
            )
        elif kind == 4:
            operation.inputs = [
                rng.randrange(-1, len(graph.tensors)) for _ in range(rng.randrange(5))
            ]
        elif kind == 5:
            operation.outputs = [rng.randrange(len(graph.tensors)) for _ in range(rng.randrange(3))]
        elif kind == 6:
            operation.opcodeIndex = rng.choice([rng.randrange(len(model.operatorCodes)), 1 << 20])
        elif kind == 7 and operation.builtinOptions is not None:
            for name in vars(operation.builtinOptions):
                if type(getattr(operation.builtinOptions, name)) is int:
                    setattr(operation.builtinOptions, name, rng.randrange(100))
        else:
            rng.shuffle(graph.operators)
    builder = flatbuffers.Builder(2**20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def refusal(path: Path) -> str:
    """Why a file is refused; empty if it is read."""
    try:
        read_tflite_weights(path)
    except CheckpointError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("mutation", "rounds"), [(bits, 50), (offsets, 50), (pieces, 20), (fields, 16)]
)
def test_mutated_files(mutation: Mutation, rounds: int, file: bytes, tmp_path: Path) -> None:
    rng = random.Random(mutation.__name__)
    path, refused = tmp_path / "x.tflite", 0
    for number in range(rounds):
        path.write_bytes(mutation(rng, file))
        is_traced = number % 8 == 0  # tracing makes reading slow
        if is_traced:
            tracemalloc.start()
        try:
            message = refusal(path)
            if is_traced:
                assert tracemalloc.get_traced_memory()[1] < MAX_MEMORY
        finally:
            tracemalloc.stop()
        if message:
            refused += 1
            assert message.startswith(str(path))
            assert "\n" not in message
            assert len(message) < 600
    assert refused > rounds / 5  # the mutations do damage


def test_layers_that_share_their_numbers_fill_no_memory(file: bytes) -> None:
    """A file may state its kernels over and over: what is read is bounded by its bytes."""
    graph = parse_tflite(file, "x.tflite")
    kernels = [each.inputs[1] for each in graph.operations if each.kind == "CONV_2D"]
    largest = max(kernels, key=lambda number: math.prod(graph.tensors[number].shape))
    read = LayerArrays(graph)
    for _ in range(len(file) // math.prod(graph.tensors[largest].shape)):
        read.layer("CONV_2D", largest, None)
    with pytest.raises(CheckpointError, match=r"x.tflite: it has more weights than bytes"):
        read.layer("CONV_2D", largest, None)


def test_more_parts_than_any_network_has_are_refused(
    file: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before they are looked at one by one."""
    monkeypatch.setattr(tflite_file, "MAX_ITEMS", 50)
    path = tmp_path / "x.tflite"
    path.write_bytes(file)
    assert re.fullmatch(
        re.escape(str(path)) + r": \d+ parts where no MoViNet has more than 50", refusal(path)
    )
