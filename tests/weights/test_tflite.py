"""Networks from TensorFlow Lite files in the form of the reference's exporter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from typer.testing import CliRunner

import movinet
from hub_tflite import write_hub
from movinet.cli import build_app
from movinet.errors import CheckpointError
from movinet.network.config import Architecture, Group
from movinet.network.model import MoViNet
from movinet.weights.factory import load_model
from networks import make_model, make_video, tiny_stream

#: Fields that no graph shows, as they do not change what a trained network computes.
FREE = ("dropout", "drop_path", "trained_frames")
KINDS = [
    {"se_type": "2plus3d"},
    {"se_type": "none", "activation": "relu6", "head_activation": "relu6"},
    {"se_type": "3d", "activation": "swish", "gating_activation": "sigmoid"},
    {"se_type": "2d", "head_activation": "hard_swish"},
]
#: With positional encodings.
PLACED = {"se_type": "2plus3d", "positional_encoding": True}


def small(**options: Any) -> MoViNet:
    classes = options.pop("num_classes", 7)
    options.setdefault("positional_encoding", False)
    return make_model(tiny_stream(**options), num_classes=classes)


def computed(config: Any) -> dict[str, Any]:
    """What decides about a network's outputs."""
    return {name: value for name, value in config.to_dict().items() if name not in FREE}


def difference(model: Any, other: Any) -> float:
    """Of the logits of a video, relative to the largest."""
    video = make_video(batch=1, frames=4)
    with torch.no_grad():
        expected, found = model(video), other(video)
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind["se_type"])
@pytest.mark.parametrize(
    ("storage", "tolerance"),
    [
        ("float32", 2e-6),
        ("float16", 3e-3),
        ("dynamic", 0.04),
        ("int8", 0.04),
        ("int8_per_tensor", 0.06),
    ],
)
def test_a_file_gives_its_network(
    kind: dict[str, Any], storage: str, tolerance: float, tmp_path: Path
) -> None:
    model, path = small(**kind), tmp_path / "hub.tflite"
    write_hub(model, path, storage=storage)
    loaded = load_model(None, path)
    assert isinstance(loaded.model, MoViNet)
    assert computed(loaded.model.config) == computed(model.config)
    assert difference(model, loaded.model) < tolerance


@pytest.mark.parametrize(
    "how",
    [
        {"scalar_scale": True},
        {"written_out": True},
        {"broadcast": False},
        {"means": False},
        {"softmax": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", [KINDS[0], PLACED], ids=["plain", "placed"])
def test_converters_write_the_same_in_several_ways(
    how: dict[str, Any], kind: dict[str, Any], tmp_path: Path
) -> None:
    model, path = small(**kind), tmp_path / "hub.tflite"
    write_hub(model, path, **how)
    assert difference(model, load_model(None, path).model) < 2e-6


NIGHTLY = (pytest.mark.heavy, pytest.mark.nightly)


@pytest.mark.parametrize(
    "size", ["t0", *(pytest.param(size, marks=NIGHTLY) for size in ("a0", "a1", "a2", "a3"))]
)
def test_presets_are_found_in_the_graph(size: str, tmp_path: Path) -> None:
    """Their groups too, of which a graph shows nothing."""
    model = make_model(f"{size}_stream", positional_encoding=False)
    path = tmp_path / "hub.tflite"
    write_hub(model, path, 64)
    loaded = load_model(None, path)
    assert loaded.preset == loaded.info.name == f"{size}_stream"
    assert isinstance(loaded.model, MoViNet)
    assert loaded.model.config == model.config
    assert loaded.info.input.image_size == 64
    for name, value in loaded.model.state_dict().items():
        assert value.shape == model.state_dict()[name].shape


def test_what_a_file_does_not_state_is_a_note(tmp_path: Path) -> None:
    path = tmp_path / "hub.tflite"
    write_hub(small(num_classes=400), path, storage="float16")
    loaded = load_model(None, path)
    assert loaded.info.origin == f"{path} (float16 weights turned back to float32)"
    assert loaded.assumed == ("frame_rate", "labels")
    assert [note[:45] for note in loaded.info.notes] == [
        "the file does not state a frame rate: 5 a sec",
        "labels assumed to be those of Kinetics 400",
    ]


def test_folded_norms_only_add_the_bias(tmp_path: Path) -> None:
    path = tmp_path / "hub.tflite"
    write_hub(small(), path)
    state = load_model(None, path).model.state_dict()
    assert (state["stem.norm.weight"] == 1).all()
    assert (state["stem.norm.running_mean"] == 0).all()
    assert torch.allclose(state["stem.norm.running_var"] + 1e-3, torch.ones(8))


def test_convert_and_create(tmp_path: Path) -> None:
    """From the command line to a file of ours, and by `weights=` with and without a preset."""
    model = make_model("t0_stream", num_classes=3)
    hub, ours = tmp_path / "hub.tflite", tmp_path / "t0.safetensors"
    write_hub(model, hub, 48)
    done = CliRunner().invoke(build_app(), ["convert", str(hub), str(ours)])
    assert done.exit_code == 0, done.output
    assert "t0_stream, 3 classes" in done.stdout
    assert difference(model, load_model(None, ours).model) < 2e-6
    assert difference(model, movinet.create_model("t0_stream", weights=hub)) < 2e-6
    with pytest.raises(CheckpointError, match=r"do not fit a0_stream.*they fit t0_stream"):
        movinet.create_model("a0_stream", weights=hub)


Edit = Callable[[Any, Any], None]


def edited(path: Path, edit: Edit) -> Path:
    """The file with its graph changed: `edit` gets the model and the first graph."""
    model: Any = schema.ModelT.InitFromPackedBuf(bytearray(path.read_bytes()))
    edit(model, model.subgraphs[0])
    builder = flatbuffers.Builder(2**20)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def operations(model: Any, graph: Any, kind: str) -> list[Any]:
    number = getattr(schema.BuiltinOperator, kind)
    codes = [code.builtinCode for code in model.operatorCodes]
    return [each for each in graph.operators if codes[each.opcodeIndex] == number]


def become(kind: str, new: str, which: int = 0) -> Edit:
    """Let one operation be another."""

    def edit(model: Any, graph: Any) -> None:
        chosen = operations(model, graph, kind)[which]
        chosen.opcodeIndex = len(model.operatorCodes)
        code = getattr(schema.BuiltinOperator, new)
        model.operatorCodes.append(schema.OperatorCodeT(builtinCode=code))

    return edit


def option(kind: str, which: int, **values: int) -> Edit:
    """Change an operation's options."""

    def edit(model: Any, graph: Any) -> None:
        for name, value in values.items():
            setattr(operations(model, graph, kind)[which].builtinOptions, name, value)

    return edit


def turned(kind: str, which: int) -> Edit:
    """Swap the two inputs of an operation."""

    def edit(model: Any, graph: Any) -> None:
        chosen = operations(model, graph, kind)[which]
        chosen.inputs = list(chosen.inputs)[::-1]

    return edit


def number(kind: str, which: int, value: float) -> Edit:
    """Change all numbers of the constant that an operation reads."""

    def edit(model: Any, graph: Any) -> None:
        chosen = operations(model, graph, kind)[which]
        for tensor in (graph.tensors[i] for i in chosen.inputs):
            if tensor.buffer:
                count = len(model.buffers[tensor.buffer].data) // 4
                data = np.full(count, value, np.float32).tobytes()
                model.buffers[tensor.buffer].data = np.frombuffer(data, np.uint8)

    return edit


def other_end(_: Any, graph: Any) -> None:
    """A state comes out where the logits should."""
    graph.outputs[-1] = graph.inputs[-1]


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (become("HARD_SWISH", "RELU"), "the stem has the activation relu"),
        (
            become("HARD_SWISH", "TANH", 3),
            "block 1.s squeeze-excitation has the activation none",
        ),
        (
            become("HARD_SWISH", "RELU6", 3),
            "activation is hard_swish in the stem, but relu6 in blo",
        ),
        (option("CONV_2D", 0, padding=1), "CONV_2D with a 3 x 3 kernel and no padding"),
        (option("CONV_2D", 0, strideH=1, strideW=1), "the stem is a 3 x 3 dense convolution of st"),
        (option("CONV_2D", 1, strideH=1, strideW=2), "CONV_2D with a stride of 1 x 2"),
        (option("DEPTHWISE_CONV_2D", 1, dilationHFactor=2), "DEPTHWISE_CONV_2D with dilation"),
        (option("AVERAGE_POOL_2D", 0, filterWidth=2), "an average pool that is not 3 x 3"),
        (option("ADD", 2, fusedActivationFunction=1), "ADD applies relu"),
        (turned("CONCATENATION", 0), "block 1 pools something else than frames so far, then"),
        (turned("CONCATENATION", 1), "does not put past frames, from a state, before the newest"),
        (number("MUL", 0, 0.2), "squeeze-excitation ends in relu6, not in a sigmoid or hard"),
        (become("MEAN", "REDUCE_MAX"), "block 1 does not average over the places of a frame"),
        (become("DIV", "FLOOR_DIV"), "block 1 does not divide its sum by a count of frames"),
        (become("ADD", "POW", 2), "block 1's projection is followed by POW, not by ADD"),
        (other_end, "the classifier's outputs are not those of the graph"),
        (become("CONV_2D", "CONV_3D", 0), "no convolution sees RGB frames"),
    ],
)
def test_what_is_no_movinet_is_refused(edit: Edit, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "hub.tflite"
    write_hub(small(), path)
    edited(path, edit)
    with pytest.raises(CheckpointError, match=reason) as caught:
        load_model(None, path)
    assert str(caught.value).startswith(f"{path}: its graph is no MoViNet that can be read: ")
    assert "\n" not in str(caught.value)


def test_a_scale_for_each_channel_goes_into_the_projection(tmp_path: Path) -> None:
    """Some converters put more into it than the one learned number."""
    model, path = small(se_type="none"), tmp_path / "hub.tflite"
    write_hub(model, path)
    factors = np.linspace(0.5, 2, 8, dtype=np.float32)

    def edit(file: Any, graph: Any) -> None:
        constant = operations(file, graph, "MUL")[0].inputs[1]
        buffer = file.buffers[graph.tensors[constant].buffer]
        values = np.frombuffer(bytes(buffer.data), np.float32).reshape(-1, 8) * factors
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)

    edited(path, edit)
    with torch.no_grad():
        project: Any = model.blocks["block0_layer0"].project
        project.norm.weight *= torch.from_numpy(factors)
        project.norm.bias *= torch.from_numpy(factors)
    assert difference(model, load_model(None, path).model) < 2e-6


def test_other_architectures_are_networks_too(tmp_path: Path) -> None:
    """Blocks that keep their size and width go on with the group before them."""
    shape = Architecture(
        8, (Group(16, 2, ((24, 3, 3), (32, 5, 3))), Group(24, 1, ((32, 1, 5),))), 32, 40
    )
    model = make_model(tiny_stream(positional_encoding=False).replace(architecture=shape))
    path = tmp_path / "hub.tflite"
    write_hub(model, path)
    loaded = load_model(None, path)
    assert isinstance(loaded.model, MoViNet)
    assert loaded.model.config.architecture == shape
    assert loaded.preset is None
    assert difference(model, loaded.model) < 2e-6


def test_files_that_are_something_else(tmp_path: Path) -> None:
    path = tmp_path / "x.tflite"
    for content, reason in (
        (b"", "it is not a TensorFlow Lite file"),
        (b"\0\0\0\0TFL3", "it has no graph"),
        (b"\xff\0\0\0TFL3", "a damaged TensorFlow Lite file: it points outside itself"),
        (b"PK\3\4" * 9, "it is not a TensorFlow Lite file"),
    ):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=f"x.tflite: {reason}"):
            load_model(None, path)
