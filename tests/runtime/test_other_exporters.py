"""TF Lite files that other programs exported: what their signature says runs as it is."""

from __future__ import annotations

import json
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
from movinet.errors import CheckpointError, ConfigError
from movinet.network.presets import input_spec
from movinet.torch_runtime import wrap
from networks import make_model, tiny_stream
from real_material import pixels_as_stored, real_file, real_video

FRAMES = np.random.default_rng(0).integers(0, 256, (6, 40, 50, 3), np.uint8)
CLIP = Path(movinet.__file__).parent / "demo" / "clip.mp4"


def network(**options: Any) -> Any:
    return make_model(tiny_stream(se_type="2plus3d", **options), num_classes=5)


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    path = tmp_path / "hub.tflite"
    write_hub(network(), path)
    return path


def seen(runtime: Any, frames: Any = FRAMES, **options: Any) -> np.ndarray:
    stream = runtime.stream(**options)
    return np.stack([stream(frame) for frame in frames])


def edited(path: Path, edit: Callable[[Any, Any], None]) -> Path:
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes()))
    assert model.subgraphs is not None
    edit(model, model.subgraphs[0])
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def test_a_stream_runs_by_its_signature(hub: Path) -> None:
    runtime = movinet.load(hub)
    expected = seen(wrap(network(), [f"class {i}" for i in range(5)], runtime.info.input))
    np.testing.assert_allclose(seen(runtime), expected, atol=1e-5)
    assert runtime.info.labels == tuple(f"class {i}" for i in range(5))
    assert any("frame rate is assumed" in note for note in runtime.info.notes)
    assert any("no labels" in note for note in runtime.info.notes)


def test_streams_of_one_file_do_not_mix(hub: Path) -> None:
    runtime = movinet.load(hub)
    alone = seen(runtime)
    first, second = runtime.stream(), runtime.stream()
    for frame, row in zip(FRAMES, alone, strict=True):
        second(np.zeros_like(frame))
        np.testing.assert_array_equal(first(frame), row)
    snapshot = first.snapshot()
    later = first(FRAMES[0])
    second.restore(snapshot)
    np.testing.assert_array_equal(second(FRAMES[0]), later)
    first.reset()
    np.testing.assert_array_equal(first(FRAMES[0]), alone[0])


def test_snapshots_are_of_one_file(hub: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.tflite"
    model = network()
    model.stem.weight.data *= 2
    write_hub(model, other)
    snapshot = movinet.load(hub).stream().snapshot()
    (renamed := tmp_path / "elsewhere" / "hub.tflite").parent.mkdir()
    other.rename(renamed)
    with pytest.raises(ConfigError, match="other weights"):
        movinet.load(renamed).stream().restore(snapshot)


def test_probabilities_are_recognised(tmp_path: Path) -> None:
    path = tmp_path / "hub.tflite"
    write_hub(network(), path, softmax=True)
    runtime = movinet.load(path)
    assert runtime.manifest.output == "probabilities"
    expected = seen(wrap(network(), [*"abcde"], runtime.info.input))
    np.testing.assert_allclose(seen(runtime), expected, atol=1e-5)


@pytest.mark.parametrize("size", ["a0", "a1", "t0"])
def test_a_preset_is_told_by_the_states(size: str, tmp_path: Path) -> None:
    path = tmp_path / "hub.tflite"
    preset = f"{size}_stream"
    model = movinet.create_model(preset, num_classes=400, positional_encoding=False)
    write_hub(model, path, image_size=96)
    info, published = movinet.load(path).info, input_spec(preset)
    assert info.name == preset
    assert info.input.frame_rate == published.frame_rate
    assert info.input.image_size == 96
    assert info.input.short_side == round(96 * published.short_side / published.image_size)
    assert info.labels == movinet.load_labels("kinetics-400")


def test_there_is_no_half_life_without_a_decay(hub: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no decay.*movinet convert"):
        movinet.load(hub).stream(half_life=2.0)


def test_labels_and_rate_can_be_given(hub: Path, tmp_path: Path) -> None:
    info = movinet.open_model(hub, labels=[*"abcde"]).info
    assert info.labels == tuple("abcde")
    assert not any("labels" in note for note in info.notes)
    runner, given = CliRunner(), tmp_path / "given.json"
    values = json.loads(runner.invoke(build_app(), ["info", str(hub), "--json"]).stdout)
    values["labels"], values["input"]["frame_rate"] = [*"vwxyz"], 12.0
    given.write_text(json.dumps(values))
    runtime = movinet.load(hub, manifest=given)
    assert runtime.info.labels == tuple("vwxyz")
    assert runtime.info.input.frame_rate == 12
    np.testing.assert_array_equal(seen(runtime), seen(movinet.load(hub)))
    values["states"][0]["shape"][-1] += 1
    values["inputs"][1]["shape"][-1] += 1
    values["outputs"][1]["shape"][-1] += 1
    given.write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match="manifest"):
        movinet.load(hub, manifest=given)


def test_the_commands_take_such_a_file(hub: Path, tmp_path: Path) -> None:
    runner, app = CliRunner(), build_app()
    shown = runner.invoke(app, ["info", str(hub)])
    assert shown.exit_code == 0, shown.output
    assert "another program" in shown.output
    found = runner.invoke(app, ["predict", str(CLIP), "--model", str(hub), "--json"])
    assert found.exit_code == 0, found.output
    assert "frame rate is assumed" in found.stderr
    exported = runner.invoke(app, ["export", str(hub), "-o", str(tmp_path / "own.tflite")])
    assert exported.exit_code == 0, exported.output
    np.testing.assert_allclose(
        seen(movinet.load(tmp_path / "own.tflite")), seen(movinet.load(hub)), atol=1e-5
    )


def rename(old: str, new: str) -> Callable[[Any, Any], None]:
    def edit(model: Any, _: Any) -> None:
        signature = model.signatureDefs[0]
        for entry in (*signature.inputs, *signature.outputs):
            if entry.name == old.encode():
                entry.name = new.encode()

    return edit


def no_signature(model: Any, _: Any) -> None:
    model.signatureDefs = []


def lost_output(model: Any, _: Any) -> None:
    del model.signatureDefs[0].outputs[-1]


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (no_signature, "it has no movinet manifest"),
        (lost_output, "one (input|output) must not be a state"),
        (rename("image", "state_head_pool_buffer2"), ""),
    ],
)
def test_other_graphs_are_refused_in_one_line(
    hub: Path, edit: Callable[[Any, Any], None], reason: str
) -> None:
    if not reason:  # an image of any name is fine
        assert movinet.load(edited(hub, edit)).info.labels
        return
    with pytest.raises(CheckpointError, match=reason) as caught:
        movinet.load(edited(hub, edit))
    assert "\n" not in str(caught.value)


def test_the_published_stream_gives_its_own_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels_as_stored(monkeypatch)
    folder = real_file("kinetics600_a0_int8")
    expected = np.load(folder / "expected.npz")
    runtime = movinet.load(folder / "movinet_a0_stream_k600_int8.tflite")
    assert runtime.info.name == "a0_stream"
    clips = {
        "carving_ice.mp4": folder / "clips" / "carving_ice.mp4",
        "arm_wrestling.mp4": real_video("arm_wrestling.mp4"),
        "flipping_a_pancake.mkv": real_video("flipping_a_pancake.mkv"),
    }
    for name, path in clips.items():
        logits = torch.from_numpy(expected[f"{name}/int8"])
        found = [result.probabilities for result in movinet.predict(path, model=runtime)]
        np.testing.assert_allclose(
            np.stack(found)[: len(logits)], logits.softmax(1).numpy(), atol=1e-3
        )
