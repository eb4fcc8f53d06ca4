"""What a user may name as a model: the same for every command and function."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import movinet
from fakes import gradient, write_video
from movinet.cli import build_app
from movinet.cli.common import guarded, say
from movinet.errors import CheckpointError, ConfigError
from movinet.model_names import ModelName, resolve
from movinet.network.config import InputSpec
from movinet.runtime.exported import ExportedRuntime
from movinet.torch_runtime import TorchRuntime
from networks import make_model, tiny_stream


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    model = make_model(tiny_stream(), num_classes=2)
    path = tmp_path / "mine.safetensors"
    spec = InputSpec(32, 36, 5, 4)
    movinet.save_weights(
        path, model.state_dict(), config=model.config, input_spec=spec, labels=("red", "blue")
    )
    return path


def test_names_and_what_they_mean(weights: Path, tmp_path: Path) -> None:
    file = str(weights)
    assert resolve("a0_stream") == ModelName("preset", "a0_stream", "a0_stream")
    assert resolve("a0_stream", file) == ModelName("preset", "a0_stream", "a0_stream", file)
    assert resolve("a6_base") == ModelName("ensemble", "a6_base", "a6_base")
    assert resolve("x.tflite") == ModelName("exported", "x.tflite")
    (tmp_path / "ckpt-1.index").touch()
    prefix = str(tmp_path / "ckpt-1")  # TensorFlow's files share a prefix, which is no file
    for given in (file, prefix):
        named = ModelName("weights", given, weights=given)
        assert [resolve(given), resolve(Path(given)), resolve(None, given)] == 3 * [named]
    for named in (resolve("motions"), resolve(None, "motions")):
        assert named == ModelName("bundled", "motions", weights="motions")


@pytest.mark.parametrize(
    ("model", "weights", "error", "message"),
    [
        (None, None, ConfigError, "name a model .*motions, which is bundled"),
        ("a0_streem", None, ConfigError, "did you mean a0_stream.* nor is it motions, the bundled"),
        ("motions", "kinetics-600", ConfigError, "motions has its own weights.*kinetics-600"),
        ("x.tflite", "motions", ConfigError, "x.tflite has its own weights"),
        (None, "x.onnx", ConfigError, "x.onnx is an exported model.* give it as the model"),
        ("kinetics-600", None, ConfigError, "--model a0_stream --weights kinetics-600"),
        ("none.safetensors", None, CheckpointError, "none.safetensors: no such file; a model is"),
        ("no/such", None, CheckpointError, "no/such: no such file"),
        ("", None, ConfigError, "no model ''"),
        ("x\0y", None, ConfigError, "no model"),
        (7, None, ConfigError, "model must be a name or a path, not 7"),
    ],
)
def test_names_that_mean_nothing(
    model: str, weights: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        resolve(model, weights)


def test_the_folder_of_a_run_is_two_models(weights: Path) -> None:
    weights.rename(weights.with_name("best.safetensors"))
    with pytest.raises(ConfigError, match=r"a training run: name its best\.safetensors"):
        resolve(weights.parent)


def test_the_bundled_model_has_one_name_everywhere() -> None:
    exported = movinet.load("motions")
    assert isinstance(exported, ExportedRuntime)
    opened = movinet.open_model("motions")
    assert isinstance(opened, ExportedRuntime)
    assert exported.info == opened.info
    assert opened.info.name == "motions"


def test_weights_are_a_model_for_every_function(weights: Path, tmp_path: Path) -> None:
    opened = movinet.open_model(weights)
    assert isinstance(opened, TorchRuntime)
    assert opened.info.labels == ("red", "blue")
    for label in ("red", "blue"):
        (tmp_path / "data" / label).mkdir(parents=True)
        write_video(tmp_path / "data" / label / "video.mkv", gradient(8))
    video = tmp_path / "data" / "red" / "video.mkv"
    found = [p.top() for p in movinet.predict(video, weights)]
    assert found == [p.top() for p in movinet.predict(video, opened)]
    evaluation = movinet.evaluate(weights, tmp_path / "data")
    assert evaluation.model.labels == ("red", "blue")
    with pytest.raises(ConfigError, match=r"movinet\.open_model opens presets and weights"):
        movinet.load(weights)


def test_a_network_comes_with_its_weights(weights: Path) -> None:
    model = movinet.create_model(weights)
    assert model.config.num_classes == 2
    state = movinet.create_model(weights, 3, pretrained=True).state_dict()
    assert len(state["classifier.bias"]) == 3
    assert torch.equal(state["stem.weight"], model.state_dict()["stem.weight"])
    assert movinet.create_model("motions").config.num_classes == 10
    with pytest.raises(ConfigError, match=r"x\.onnx is an exported model, whose network cannot"):
        movinet.create_model("x.onnx")


def test_options_of_opening_are_refused_for_what_is_open(weights: Path, tmp_path: Path) -> None:
    opened = movinet.open_model(weights)
    with pytest.raises(ConfigError, match="labels cannot be given with a model that is open"):
        movinet.predict("video.mp4", opened, labels=("a", "b"))
    with pytest.raises(ConfigError, match=r"not MoViNet; .*wrap\(model, labels"):
        movinet.evaluate(make_model(tiny_stream()), tmp_path)  # type: ignore[arg-type]


def test_a_note_is_said_once_in_a_command(capfd: pytest.CaptureFixture[str]) -> None:
    @guarded
    def command() -> None:
        for _ in range(2):  # the same weights are loaded twice
            say("note", "the labels are assumed")
            say("warning", "a file is skipped")

    for _ in range(2):
        command()
        lines = capfd.readouterr().err.splitlines()
        assert lines == ["note: the labels are assumed", *2 * ["warning: a file is skipped"]]


@pytest.mark.parametrize("command", ["predict", "eval", "bench", "export", "info"])
def test_every_command_refuses_a_wrong_name_alike(command: str, tmp_path: Path) -> None:
    video = write_video(tmp_path / "video.mkv", gradient(2))
    arguments = {
        "predict": [str(video), "-m", "a0_streem"],
        "eval": ["a0_streem", "--data", str(tmp_path)],
        "export": ["a0_streem", "-o", str(tmp_path / "x.tflite")],
    }.get(command, ["a0_streem"])
    result = CliRunner().invoke(build_app(), [command, *arguments])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: no model 'a0_streem'; did you mean a0_stream?")
    assert result.stderr.count("\n") == 1
