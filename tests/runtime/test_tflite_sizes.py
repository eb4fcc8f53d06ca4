"""What a .tflite file may make LiteRT allocate: shapes are worked out before it runs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

import movinet
from hub_tflite import write_hub
from movinet.errors import CheckpointError
from movinet.runtime.engines.tflite_file import TfliteGraph, parse_tflite, read_tflite
from movinet.runtime.engines.tflite_shapes import check_sizes
from networks import make_model, tiny_stream
from real_material import real_file
from tflite_graph import Graph

SAME, VALID = schema.Padding.SAME, schema.Padding.VALID
Case = tuple[str, list[tuple[int, ...]], list[Any], Any]


def conv(kernel: tuple[int, ...], stride: int, padding: int, dilation: int = 1) -> Case:
    options = schema.Conv2DOptionsT(
        padding=padding,
        strideH=stride,
        strideW=1,
        dilationHFactor=dilation,
        dilationWFactor=1,
    )
    bias = np.zeros(kernel[0], np.float32)
    return "CONV_2D", [(2, 9, 8, 6)], [np.zeros(kernel, np.float32), bias], options


def strided(begin: list[int], end: list[int], strides: list[int], **masks: Any) -> Case:
    constants = [np.array(each, np.int32) for each in (begin, end, strides)]
    return "STRIDED_SLICE", [(4, 5, 6)], constants, schema.StridedSliceOptionsT(**masks)


def numbers(*values: Any) -> np.ndarray:
    return np.array(values, np.int32)


DEPTHWISE = schema.DepthwiseConv2DOptionsT(
    padding=SAME, strideH=2, strideW=2, depthMultiplier=2, dilationHFactor=1, dilationWFactor=1
)
POOL = schema.Pool2DOptionsT(padding=VALID, strideH=2, strideW=3, filterHeight=3, filterWidth=2)
ROWS = schema.FullyConnectedOptionsT(keepNumDims=False)
DIMS = schema.FullyConnectedOptionsT(keepNumDims=True)
DENSE = np.zeros((7, 6), np.float32)
KEEP, DROP = schema.ReducerOptionsT(keepDims=True), schema.ReducerOptionsT(keepDims=False)
#: kind, shapes of its inputs, constants after them, options
CASES: list[Case] = [
    conv((3, 3, 2, 6), 2, SAME),
    conv((3, 3, 2, 6), 2, VALID),
    conv((3, 3, 2, 6), 1, VALID, dilation=3),
    (
        "DEPTHWISE_CONV_2D",
        [(2, 9, 8, 6)],
        [np.zeros((1, 3, 3, 12), np.float32), np.zeros(12, np.float32)],
        DEPTHWISE,
    ),
    ("AVERAGE_POOL_2D", [(2, 9, 8, 6)], [], POOL),
    ("FULLY_CONNECTED", [(2, 3, 6)], [DENSE], ROWS),
    ("FULLY_CONNECTED", [(2, 3, 6)], [DENSE], DIMS),
    ("MEAN", [(2, 3, 4, 5)], [numbers(1, -2)], KEEP),
    ("SUM", [(2, 3, 4, 5)], [numbers(1, 2)], DROP),
    ("ADD", [(2, 1, 4), (3, 1)], [], schema.AddOptionsT()),
    ("CONCATENATION", [(2, 3), (2, 4)], [], schema.ConcatenationOptionsT(axis=-1)),
    ("PACK", [(2, 3), (2, 3)], [], schema.PackOptionsT(axis=1, valuesCount=2)),
    ("SLICE", [(4, 5, 6)], [numbers(1, 0, 2), numbers(2, -1, 3)], schema.SliceOptionsT()),
    strided([1, 0, 5], [3, 0, 0], [1, 1, -2], endMask=2),
    strided([1, 0, 1], [2, 5, 9], [1, 2, 3], shrinkAxisMask=1),
    strided([0, 1], [0, 3], [1, 1], ellipsisMask=1),
    strided([0, 1, 0], [0, 3, 4], [1, 1, 1], newAxisMask=1, beginMask=4),
    ("RESHAPE", [(4, 6)], [numbers(2, -1, 3)], schema.ReshapeOptionsT()),
    ("SQUEEZE", [(1, 4, 1)], [], schema.SqueezeOptionsT(squeezeDims=[0])),
    ("EXPAND_DIMS", [(4, 6)], [numbers(-1)], schema.ExpandDimsOptionsT()),
    ("TRANSPOSE", [(4, 5, 6)], [numbers(2, 0, 1)], schema.TransposeOptionsT()),
    ("BROADCAST_TO", [(4, 1, 6)], [numbers(2, 4, 5, 6)], None),
    ("RESIZE_BILINEAR", [(1, 4, 5, 3)], [numbers(7, 2)], schema.ResizeBilinearOptionsT()),
    ("PAD", [(2, 3)], [numbers([1, 0], [2, 5])], schema.PadOptionsT()),
    ("LOGISTIC", [(2, 3)], [], None),
]


def one_operation(case: Case, shape: tuple[int, ...]) -> bytes:
    """A file with one operation that states the shape of its output."""
    kind, inputs, constants, options = case
    graph = Graph(integers=False)
    for number, each in enumerate(inputs):
        graph.inputs[f"x{number}"] = graph.tensor(each)
    taken = [*graph.inputs.values(), *(graph.constant(each, each.dtype.name) for each in constants)]
    graph.outputs["y"] = graph.add(kind, taken, shape, options)
    return graph.file()


def shape_in_litert(case: Case) -> tuple[int, ...]:
    """The shape that LiteRT's own kernels come to, whatever the file states."""
    interpreter = Interpreter(
        model_content=one_operation(case, ()),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).shape


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0].lower())
def test_shapes_are_those_of_litert(case: Case) -> None:
    shape = shape_in_litert(case)
    check_sizes(parse_tflite(one_operation(case, shape), "x"))
    for wrong in ((*shape[:-1], shape[-1] + 1), (*shape, 1), (2**30, *shape[1:])):
        graph = parse_tflite(one_operation(case, wrong), "x")
        with pytest.raises(CheckpointError, match=f"x: its {case[0]} (gives|does not fit)"):
            check_sizes(graph)


def with_shape(graph: TfliteGraph, number: int, shape: tuple[int, ...]) -> TfliteGraph:
    tensors = list(graph.tensors)
    tensors[number] = dataclasses.replace(tensors[number], shape=shape)
    return dataclasses.replace(graph, tensors=tuple(tensors))


def check_every_tensor(graph: TfliteGraph) -> None:
    """Assert that no side of any tensor can be another without that being noticed."""
    check_sizes(graph)
    made = {number for operation in graph.operations for number in operation.outputs}
    for number, tensor in enumerate(graph.tensors):
        if number not in made and tensor.data is None:
            continue  # the inputs: everything else follows from them
        for axis in range(len(tensor.shape)):
            shape = [*tensor.shape]
            shape[axis] += 1 << 16
            with pytest.raises(CheckpointError, match="which no MoViNet does"):
                check_sizes(with_shape(graph, number, tuple(shape)))


def test_no_tensor_of_ours_may_state_another_shape(file: Path) -> None:
    check_every_tensor(read_tflite(file))


@pytest.mark.parametrize("storage", ["float32", "int8"])
def test_no_tensor_of_others_may_state_another_shape(storage: str, tmp_path: Path) -> None:
    path = tmp_path / "hub.tflite"
    model = make_model(tiny_stream(se_type="2plus3d", positional_encoding=storage == "float32"))
    write_hub(model, path, storage=storage)
    check_every_tensor(read_tflite(path))


def test_the_published_stream_is_as_it_says() -> None:
    path = real_file("kinetics600_a0_int8", "movinet_a0_stream_k600_int8.tflite")
    check_sizes(read_tflite(path))


def swollen(kind: str) -> bytes:
    """A graph that does as it says, and is out of proportion to what goes in."""
    graph = Graph(integers=False)
    x = graph.inputs["x"] = graph.tensor((1, 1, 1, 1))
    if kind == "places":
        size = graph.constant([1 << 14, 1 << 14], "int32")
        shape = (1, 1 << 14, 1 << 14, 1)
        x = graph.add("RESIZE_BILINEAR", [x, size], shape, schema.ResizeBilinearOptionsT())
    else:
        for _ in range(2):
            width = 2000 if kind == "patches" else 64
            size = graph.constant([width, width], "int32")
            resized = (1, width, width, 1)
            y = graph.add("RESIZE_BILINEAR", [x, size], resized, schema.ResizeBilinearOptionsT())
            side = 63
            kernel = graph.constant(np.zeros((1, side, side, 1), np.float32))
            options = schema.Conv2DOptionsT(
                padding=SAME, strideH=1, strideW=1, dilationHFactor=1, dilationWFactor=1
            )
            x = graph.add("CONV_2D", [y, kernel], resized, options)
    graph.outputs["y"] = x
    return graph.file()


@pytest.mark.parametrize("kind", ["places", "patches"])
def test_what_takes_more_than_its_input_justifies_is_refused(kind: str) -> None:
    with pytest.raises(CheckpointError, match=r"x: it takes \d+ MiB for 1 numbers that go in"):
        check_sizes(parse_tflite(swollen(kind), "x"))
    check_sizes(parse_tflite(swollen("small"), "x"))


def test_multiplications_are_in_proportion_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("movinet.runtime.engines.tflite_shapes.PRODUCTS", 10**6)
    with pytest.raises(CheckpointError, match=r"x: it takes 3e\+07 multiplications for 1 numbers"):
        check_sizes(parse_tflite(swollen("small"), "x"))


def edited(file: Path, path: Path, edit: Callable[[Any], None]) -> Path:
    """An exported file with another graph."""
    data = file.read_bytes()
    end = data.index(b"PK\x03\x04")
    model = schema.ModelT.InitFromPackedBuf(bytearray(data[:end]))
    edit(model)
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()) + data[end:])
    return path


def refused(path: Path, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        movinet.load(path)
    assert str(caught.value).startswith(str(path))
    assert str(caught.value).isprintable()


def inner(model: Any) -> Any:
    """A tensor that is computed and does not come out."""
    graph = model.subgraphs[0]
    return next(
        graph.tensors[each.outputs[0]]
        for each in graph.operators[3:]
        if each.outputs[0] not in graph.outputs
    )


def swell(model: Any) -> None:
    tensor = inner(model)
    tensor.shape = [1 << 20, *tensor.shape[1:]]


def empty(model: Any) -> None:
    for buffer in model.buffers:
        buffer.data = None if buffer.data is None or len(buffer.data) > 64 else buffer.data


def shorten(model: Any) -> None:
    largest = max(model.buffers, key=lambda buffer: 0 if buffer.data is None else len(buffer.data))
    largest.data = largest.data[:-4]


def add_operation(model: Any) -> None:
    model.operatorCodes[0].builtinCode = schema.BuiltinOperator.WHILE
    model.operatorCodes[0].deprecatedBuiltinCode = schema.BuiltinOperator.WHILE


def add_graph(model: Any) -> None:
    model.subgraphs.append(model.subgraphs[0])


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (swell, r"gives \[1, .*, where it states \[1048576, "),
        (empty, "uses numbers before anything computes them"),
        (shorten, "bytes for .* numbers of type float32, which no MoViNet does"),
        (add_operation, "it has the operation WHILE, which no MoViNet does"),
        (add_graph, "it holds 2 graphs"),
    ],
)
def test_damaged_graphs_are_refused_before_they_are_loaded(
    edit: Callable[[Any], None],
    message: str,
    file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def load(*_: Any, **__: Any) -> None:
        raise AssertionError

    movinet.load(edited(file, tmp_path / "same.tflite", lambda _: None))
    path = edited(file, tmp_path / "x.tflite", edit)
    monkeypatch.setattr(Interpreter, "__init__", load)
    refused(path, message)


def test_a_signature_names_what_comes_out(file: Path, tmp_path: Path) -> None:
    def reroute(model: Any) -> None:
        graph, signature = model.subgraphs[0], model.signatureDefs[0]
        shapes = [list(tensor.shape) for tensor in graph.tensors]
        border = {*graph.inputs, *graph.outputs}
        for stated in signature.outputs:
            for number, tensor in enumerate(graph.tensors):
                same = shapes[number] == shapes[stated.tensorIndex]
                if number not in border and same and model.buffers[tensor.buffer].data is None:
                    stated.tensorIndex = number
                    return
        raise AssertionError

    refused(edited(file, tmp_path / "x.tflite", reroute), "its signature names tensors inside")


def test_names_that_are_no_text_are_one_line(file: Path, tmp_path: Path) -> None:
    data = file.read_bytes()
    at = data.index(b"pool_weight")
    path = tmp_path / "x.tflite"
    path.write_bytes(data[:at] + b"\xb0" + data[at + 1 :])
    refused(path, "x.tflite: ")


def test_what_an_engine_raises_at_a_step_is_one_line(runtime, monkeypatch) -> None:
    """Whatever it is, of whichever engine; the stream can be read afterwards."""
    frame = np.zeros((32, 32, 3), np.uint8)
    stream = runtime.stream()
    stream(frame)
    for error in (
        RuntimeError("Node 3\nfailed to invoke"),
        ValueError("null"),
        IndexError(),
        KeyError(1),
    ):
        with monkeypatch.context() as patched:

            def fail(*_: Any, _error: Exception = error, **__: Any) -> None:
                raise _error

            patched.setattr(runtime.engine, "step", fail)
            with pytest.raises(CheckpointError, match="its engine cannot run it") as caught:
                stream(frame)
            assert "\n" not in str(caught.value)
            assert str(caught.value).startswith(runtime.where)
    assert math.isclose(stream(frame).sum(), 1, rel_tol=1e-5)
