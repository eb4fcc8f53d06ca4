"""ONNX files: they do what the model does, run everywhere, and say what they are."""

from pathlib import Path

import numpy as np
import pytest

import movinet
from exported_formats import (
    SPEC,
    STREAM,
    export,
    noise,
    refused,
)

onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
pytest.importorskip("onnxruntime", reason="needs the extra onnx")


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": None, "source_size": (60, 45)},
        {"quantize": "float16"},
        {"quantize": "dynamic"},
        {"quantize": "int8", "calibration": [noise(6, 40, 50, 3)]},
    ],
    ids=["resized", "float16", "dynamic", "int8"],
)
def test_the_file_is_what_the_standard_says(options, tmp_path: Path) -> None:
    export(STREAM, tmp_path / "x.onnx", **options)
    onnx.checker.check_model(onnx.load(tmp_path / "x.onnx"), full_check=True)


def test_what_a_step_gives_out_is_what_the_next_takes_in(tmp_path: Path) -> None:
    export(STREAM, tmp_path / "x.onnx")
    engine, decay = movinet.load(tmp_path / "x.onnx").engine, np.ones((1, 1), np.float32)
    state = engine.new_state(1)
    kept = {spec.name: spec.source for spec in engine.manifest.states if spec.is_from_state}
    assert kept
    engine.step(noise(1, 32, 32, 3), decay, state)
    before = {name: value.data_ptr() for name, value in state.items()}
    engine.step(noise(1, 32, 32, 3), decay, state)
    for name, source in kept.items():
        assert state[name].data_ptr() == before[source]


def test_the_file_is_one_that_browsers_run(tmp_path: Path) -> None:
    """No padding that differs at both ends, no rounded pool, one transpose, known operators."""
    export(STREAM, tmp_path / "x.onnx")
    graph = onnx.load(tmp_path / "x.onnx").graph
    for node in graph.node:
        how = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
        if node.op_type == "Conv":
            assert how["pads"][:2] == how["pads"][2:]
            assert len(how["kernel_shape"]) == 2
        assert not how.get("ceil_mode")
    operators = [node.op_type for node in graph.node]
    assert operators.count("Transpose") == 1
    assert set(operators) <= {
        *("Add", "AveragePool", "Cast", "Clip", "Concat", "Conv", "Cos", "Div", "Flatten", "Gemm"),
        *("GlobalAveragePool", "HardSwish", "Max", "Min", "Mul", "Reshape", "Sigmoid", "Sin"),
        *("Slice", "Sub", "Transpose"),
    }


def test_the_file_says_what_it_is(tmp_path: Path) -> None:
    labels = ["köpfen", *(f"label {i}" for i in range(6))]
    export(STREAM, tmp_path / "x.onnx", labels=labels, batch_size=None)
    manifest = movinet.load(tmp_path / "x.onnx").manifest
    assert manifest.labels == tuple(labels)
    assert manifest.input == SPEC
    model = onnx.load(tmp_path / "x.onnx")
    texts = {item.key: item.value for item in model.metadata_props}
    assert texts["labels"].split("\n") == labels
    shapes = {
        value.name: [side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes["frames"] == ["batch", 32, 32, 3]
    assert shapes["decay"] == ["batch", 1]
    assert shapes["logits"] == ["batch", 7]
    for spec in (*manifest.inputs, *manifest.outputs):
        assert shapes[spec.name] == ["batch" if side is None else side for side in spec.shape]


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(b"no model at all")
    refused(path, "ONNX Runtime cannot load it")
    export(STREAM, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(path, "ONNX Runtime cannot load it")
    model = onnx.load_model_from_string(whole)
    del model.metadata_props[:]
    onnx.save(model, path)
    refused(path, "it has no movinet manifest")


def test_a_manifest_of_another_graph_is_refused(tmp_path: Path) -> None:
    path, other = tmp_path / "x.onnx", tmp_path / "other.onnx"
    export(STREAM, path)
    export(STREAM, other, uint8=False)
    model, text = onnx.load(path), onnx.load(other).metadata_props[0].value
    onnx.helper.set_model_props(model, {"movinet": text})
    onnx.save(model, path)
    refused(path, r"input 'frames' is \(1, 32, 32, 3\) float32 in the manifest, .* uint8 in the")
