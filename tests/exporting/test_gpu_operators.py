"""What GPUs make of .tflite files: LiteRT's accelerator runs them whole, and its older delegate
takes all operators but those that the guide names.
"""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import flatbuffers
import pytest
from ai_edge_litert import schema_py_generated as schema

import movinet
from gate import only
from movinet.network.config import InputSpec, MoViNetConfig
from networks import TINY, make_model

SPEC = InputSpec(image_size=48, short_side=54, frame_rate=5.0, num_frames=4)
STREAM = MoViNetConfig(TINY, causal=True, factorized=True, se_type="2plus3d")
DENSE = MoViNetConfig(TINY, causal=True, positional_encoding=True, se_type="3d")
BASE = MoViNetConfig(TINY)
CASES: dict[str, tuple[MoViNetConfig, dict[str, Any]]] = {
    "uint8": (STREAM, {}),
    "float": (STREAM, {"uint8": False}),
    "two streams": (STREAM, {"batch_size": 2}),
    "three frames": (STREAM, {"num_frames": 3}),
    "resizing": (STREAM, {"source_size": (60, 80), "softmax": True}),
    "float16": (STREAM, {"uint8": False, "quantize": "float16"}),
    "3-D kernels and positions": (DENSE, {"uint8": False}),
    "base": (BASE, {"uint8": False}),
}

NAMES = {
    code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")
}
#: Of our operators, those that LiteRT's published check of the delegate lets through, whatever
#: their tensors (tflite/tools/versioning/gpu_compatibility.cc).
TAKEN = {
    *("ADD", "SUB", "MUL", "DIV", "MINIMUM", "MAXIMUM", "SIN", "COS", "FLOOR", "LOGISTIC"),
    *("RELU6", "HARD_SWISH", "SOFTMAX", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"),
    *("AVERAGE_POOL_2D", "MEAN", "CONCATENATION", "RESHAPE", "RESIZE_BILINEAR", "DEQUANTIZE"),
}


def operators(path: Path) -> list[tuple[str, list[Any], list[Any]]]:
    """Name, inputs and outputs (tensors) of each operator of a file."""
    model: Any = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    (graph,) = model.subgraphs
    return [
        (
            NAMES[model.operatorCodes[op.opcodeIndex].builtinCode],
            [graph.tensors[i] for i in op.inputs],
            [graph.tensors[i] for i in op.outputs],
        )
        for op in graph.operators
    ]


def refused(name: str, inputs: list[Any], outputs: list[Any]) -> str | None:
    """What the delegate does not take of an operator, by the same check."""
    ranks = [len(tensor.shape) for tensor in [*inputs, *outputs]]
    if max(ranks) > 4:
        return f"{name} of {max(ranks)} dimensions"
    if name in ("ADD", "MUL") and ranks[0] != ranks[1] and min(ranks[:2]) > 1:
        return f"{name} of {ranks[0]} and {ranks[1]} dimensions"
    if name == "SLICE":
        return None if ranks[0] in (3, 4) else f"SLICE of {ranks[0]} dimensions"
    if name == "CAST":
        kinds = {schema.TensorType.FLOAT32, schema.TensorType.INT32}
        return None if inputs[0].type in kinds else "CAST of uint8"
    return None if name in TAKEN else name


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    paths = {name: folder / f"{i}.tflite" for i, name in enumerate(CASES)}
    for name, (config, options) in CASES.items():
        movinet.export(make_model(config), paths[name], input_spec=SPEC, **options)
    return paths


def test_the_older_delegate_takes_all_but_what_the_guide_names(files: dict[str, Path]) -> None:
    found = {
        name: {refused(*op) for op in operators(path)} - {None} for name, path in files.items()
    }
    stream = {"SLICE of 2 dimensions"}
    assert found == {
        "uint8": stream | {"CAST of uint8"},
        "float": stream,
        "two streams": stream | {"CAST of uint8"},
        "three frames": stream | {"CAST of uint8"},
        "resizing": stream | {"CAST of uint8"},
        "float16": stream,
        "3-D kernels and positions": stream,
        "base": set(),
    }


@pytest.mark.heavy
@pytest.mark.parametrize("name", only("a0_stream", "a5_base"))
def test_no_preset_has_other_operators(name: str, tmp_path: Path) -> None:
    model = make_model(name)
    frames = None if model.config.causal else 2
    path = tmp_path / "x.tflite"
    movinet.export(model, path, image_size=48, num_frames=frames, uint8=False)
    found = {refused(*op) for op in operators(path)} - {None}
    assert found == ({"SLICE of 2 dimensions"} if model.config.causal else set())


def software_vulkan(folder: Path) -> dict[str, str] | None:
    """Where a Vulkan that needs no GPU lies: that of Chromium."""
    chromium = Path("/usr/lib/chromium")
    driver, loader = chromium / "vk_swiftshader_icd.json", chromium / "libvulkan.so.1"
    if not driver.is_file() or not loader.is_file():
        return None
    (folder / loader.name).symlink_to(loader)
    libraries = os.pathsep.join([str(folder), os.environ.get("LD_LIBRARY_PATH", "")])
    return {**os.environ, "LD_LIBRARY_PATH": libraries, "VK_ICD_FILENAMES": str(driver)}


def run_on_gpu(paths: list[Path], folder: Path) -> dict[str, float | str]:
    environment = software_vulkan(folder)
    if environment is None:
        pytest.skip("needs Chromium's software Vulkan (Debian: chromium)")
    program = Path(__file__).with_name("run_on_gpu.py")
    done = subprocess.run(
        [sys.executable, program, *paths],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.heavy
def test_the_accelerator_runs_whole_files(files: dict[str, Path], tmp_path: Path) -> None:
    results = run_on_gpu(list(files.values()), tmp_path)
    for name, path in files.items():
        error = results[str(path)]
        assert isinstance(error, float), f"{name}: {error}"
        # Resized pixels are cut to integers: rounding moves some by one.
        assert error < (1e-3 if name == "resizing" else 1e-5), name


@pytest.mark.heavy
def test_the_accelerator_refuses_what_it_does_not_know(
    files: dict[str, Path], tmp_path: Path
) -> None:
    """Without this, the test above would prove nothing. And a free batch is not for it."""
    strange, free = tmp_path / "strange.tflite", tmp_path / "free.tflite"
    model: Any = schema.ModelT.InitFromPackedBuf(files["base"].read_bytes(), 0)
    for code in model.operatorCodes:
        if NAMES[code.builtinCode] == "LOGISTIC":
            code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.LOG_SOFTMAX
    builder = flatbuffers.Builder(2**20)
    builder.Finish(model.Pack(builder), b"TFL3")
    strange.write_bytes(builder.Output())
    with zipfile.ZipFile(files["base"]) as source, zipfile.ZipFile(strange, "a") as target:
        target.writestr("movinet.json", source.read("movinet.json"))
    movinet.export(make_model(STREAM), free, input_spec=SPEC, batch_size=None)
    results = run_on_gpu([strange, free], tmp_path)
    assert "Some ops are not accelerated" in str(results[str(strange)])
    assert "Failed to modify graph with delegate" in str(results[str(free)])
