"""`movinet convert`, as a shell sees it."""

import json
import subprocess
import sys
import unittest.mock
from pathlib import Path

import numpy as np
import pytest
import safetensors
import torch
from typer.testing import CliRunner

import movinet
from movinet.checkpoints import tensorflow as checkpoint_module
from movinet.cli import build_app
from movinet.network.config import InputSpec
from movinet.weights.factory import load_model
from movinet.weights.saving import save_weights
from networks import make_model, tiny_stream

runner = CliRunner()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    model = make_model("t0_stream", num_classes=3)
    movinet.write_tf_checkpoint(
        folder / "ckpt-1", movinet.torch_to_tf(model.state_dict(), model.config)
    )
    return folder


def convert(*arguments: object) -> tuple[int, str, str]:
    result = runner.invoke(build_app(), ["convert", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_there_and_back(checkpoint: Path, tmp_path: Path) -> None:
    """Through every form and both layouts, bit for bit, with labels and activation kept."""
    labels = tmp_path / "labels.txt"
    labels.write_text("one\ntwo\nthree\n")
    ours = tmp_path / "ours.safetensors"
    code, out, err = convert(checkpoint, ours, "--labels", labels, "--head-activation", "swish")
    assert (code, "t0_stream, 3 classes" in out, "inferred from its tensors" in err) == (
        0,
        True,
        True,
    )
    steps = [
        ("other/ckpt-7", ["--layout", "3d_2plus1d"]),
        ("packed.tar.gz", []),
        ("plain.pt", []),
        ("with.dots/x.index", ["--layout", "2plus1d"]),
    ]
    source = ours
    for name, options in steps:
        assert convert(source, tmp_path / name, *options)[0] == 0, name
        source = tmp_path / name
    expected = movinet.read_tf_checkpoint(checkpoint)
    found = movinet.read_tf_checkpoint(tmp_path / "with.dots")
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[key], expected[key]) for key in expected)
    other = movinet.read_tf_checkpoint(tmp_path / "other")
    assert any(value.ndim == 5 for value in other.values())
    loaded = load_model(None, ours)
    assert loaded.info.labels == ("one", "two", "three")
    assert loaded.info.origin == str(checkpoint)
    assert loaded.model.config.head_activation == "swish"  # pyright: ignore[reportAttributeAccessIssue]
    assert not list(tmp_path.rglob(".*"))


def test_a_run_keeps_its_name(tmp_path: Path) -> None:
    """What a run trained is called by the run, not by a file that every run has."""
    model, spec = make_model(tiny_stream()), InputSpec(32, 36, 5, 10)
    source, target = tmp_path / "model.safetensors", tmp_path / "other.safetensors"
    save_weights(source, model.state_dict(), config=model.config, input_spec=spec, run="my\x1brun")
    assert load_model(None, source).info.name == "my run"
    code, out, _ = convert(source, target)
    assert (code, "my run, 7 classes" in out) == (0, True)
    assert load_model(None, target).info.name == "my run"


@pytest.mark.parametrize("target", ["x.pt", "x.tar.gz", "x"])
def test_what_a_target_cannot_hold_is_said(target: str, tmp_path: Path) -> None:
    model = make_model(tiny_stream())
    source = tmp_path / "named.safetensors"
    names = [f"label {i}" for i in range(7)]
    spec = InputSpec(32, 36, 5, 10)
    save_weights(source, model.state_dict(), config=model.config, input_spec=spec, labels=names)
    code, _, err = convert(source, tmp_path / target)
    assert code == 0
    assert f"labels and head activation stay behind in {source}" in err
    assert "stay behind" not in convert(source, tmp_path / "y.safetensors")[2]


def test_json(checkpoint: Path, tmp_path: Path) -> None:
    code, out, _ = convert(checkpoint, tmp_path / "x.safetensors", "--json")
    facts = json.loads(out)
    assert code == 0
    assert (facts["preset"], facts["classes"], facts["input"]["image_size"]) == (
        "t0_stream",
        3,
        160,
    )


def test_a_network_that_is_no_preset(tmp_path: Path) -> None:
    model = make_model(tiny_stream())
    source = tmp_path / "tiny.safetensors"
    spec = InputSpec(32, 36, 5, 10)
    save_weights(source, model.state_dict(), config=model.config, input_spec=spec)
    assert convert(source, tmp_path / "again.safetensors")[0] == 0
    again = load_model(None, tmp_path / "again.safetensors")
    assert again.info.input == spec
    assert torch.equal(again.model.state_dict()["stem.weight"], model.state_dict()["stem.weight"])
    assert convert(source, tmp_path / "tf" / "ckpt-1")[0] == 0


@pytest.mark.parametrize(
    ("target", "options", "code", "message"),
    [
        ("x.tflite", [], 2, "convert writes weights"),
        ("x.ckpt", [], 2, "not .ckpt"),
        ("x.bin", [], 2, "not .bin"),
        ("x.ONNX", [], 2, "not .ONNX"),
        ("x.tar.bz2", [], 2, "not .bz2"),
        ("..", [], 2, "is no name for a file"),
        ("x.safetensors", ["--layout", "3d"], 2, "--layout is for TensorFlow"),
        ("x", ["--layout", "4d"], 2, "layout must be one of 3d, 2plus1d, 3d_2plus1d"),
        ("x", ["--layout", "3d"], 2, "does not fit factorized=True"),
        ("x.safetensors", ["--model", "a0_base"], 1, "they fit t0_stream with 3 classes"),
        ("x.safetensors", ["--head-activation", "gelu"], 2, "head_activation must be one of"),
        ("x.pt", ["--labels", "kinetics-400"], 2, "--labels would be lost"),
        ("x", ["--head-activation", "swish"], 2, "--head-activation would be lost"),
        ("x.safetensors", ["--labels", "kinetics-400"], 2, "400 labels for 3 classes"),
    ],
)
def test_bad_usage(
    target: str, options: list[str], code: int, message: str, checkpoint: Path, tmp_path: Path
) -> None:
    found, out, err = convert(checkpoint, tmp_path / target, *options)
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert (found, out, len(errors)) == (code, "", 1)
    assert message in errors[0]
    assert not list(tmp_path.iterdir())


def test_bad_files(tmp_path: Path) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"x" * 99)
    code, _, err = convert(broken, tmp_path / "y.pt")
    assert (code, err.count("\n")) == (1, 1)
    code, _, err = convert(tmp_path / "none", tmp_path / "y.pt")
    assert (code, "no such file" in err) == (1, True)
    assert [path.name for path in tmp_path.iterdir()] == ["broken.safetensors"]


def test_names_of_targets(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every name that is taken can be read again, and what is printed is what was written."""
    (tmp_path / "folder.d").mkdir()
    monkeypatch.chdir(tmp_path)
    for target, written in (
        ("X.SafeTensors", "X.SafeTensors"),
        ("X.PT", "X.PT"),
        ("ckpt-1.5", "ckpt-1.5.index"),
        ("a/y.INDEX", "a/y.index"),
        ("folder.d", "folder.d/ckpt-1.index"),
        ("x.tar", "x.tar"),
    ):
        code, out, _ = convert(checkpoint, target)
        assert (code, (tmp_path / written).is_file()) == (0, True), target
        assert out.split()[0] == written.removesuffix(".index")
        assert load_model(None, written).preset == "t0_stream"
    code, _, err = convert(checkpoint, ".")
    assert (code, "is no name for a file" in err) == (2, True)


def test_guesses_do_not_become_facts(checkpoint: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    convert(checkpoint, first)
    _, _, err = convert(first, second)
    for words in ("inferred from its tensors", "hidden layer: taken as hard_swish", "are numbered"):
        assert words in " ".join(err.split())
    with safetensors.safe_open(second, framework="pt") as file:
        said = json.loads(file.metadata()["movinet"])
    assert (said["labels"], said["assumed"]) == (None, ["head_activation", "preset"])
    labels = tmp_path / "labels.txt"
    labels.write_text("one\ntwo\nthree\n")
    options = ["--model", "t0_stream", "--head-activation", "swish", "--labels", labels]
    assert convert(second, first, *options)[2] == ""
    assert load_model(None, first).info.notes == ()


@pytest.mark.parametrize("name", ["x.pt", "x.safetensors", "x.tar.gz", "x"])
def test_a_target_that_cannot_be_written_is_named(
    name: str, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file where a folder should be; and a disk that fills up while the file is written."""
    (tmp_path / "file").touch()
    full = OSError(28, "No space left on device")
    for target in (tmp_path / "file" / name, tmp_path / name):
        code, out, err = convert(checkpoint, target)
        errors = [line for line in err.splitlines() if not line.startswith("note: ")]
        assert (code, out, len(errors)) == (1, "", 1)
        assert errors[0].startswith(f"error: {target}: cannot be written (")
        assert [path.name for path in tmp_path.iterdir()] == ["file"]
        monkeypatch.setattr(Path, "write_bytes", unittest.mock.Mock(side_effect=full))
        monkeypatch.setattr(checkpoint_module, "write_bundle", unittest.mock.Mock(side_effect=full))
    assert "No space left" in errors[0]


def test_the_first_error_is_told_and_not_that_of_tidying_up(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = OSError(28, "No space left on device")
    denied = OSError(13, "Permission denied", ".temporary")
    monkeypatch.setattr(Path, "write_bytes", unittest.mock.Mock(side_effect=full))
    monkeypatch.setattr(Path, "unlink", unittest.mock.Mock(side_effect=denied))
    _, _, err = convert(checkpoint, tmp_path / "x.pt")
    assert (
        err.splitlines()[-1] == f"error: {tmp_path / 'x.pt'}: cannot be written ({full.strerror})"
    )


def test_names_cannot_steer_the_terminal(checkpoint: Path, tmp_path: Path) -> None:
    evil = tmp_path / "\x1b[2Jx.safetensors"
    code, out, err = convert(checkpoint, evil)
    assert (code, "\x1b" in out + err) == (0, False)
    result = runner.invoke(build_app(), ["info", str(evil)])
    assert (result.exit_code, "\x1b" in result.output) == (0, False)
    assert "\\x1b[2Jx.safetensors" in result.output.replace("\n", "")
    assert load_model(None, evil).info.origin == str(checkpoint)
    assert convert(evil, tmp_path / "y.pt")[0] == 0
    assert convert(tmp_path / "y.pt", evil)[0] == 0
    assert convert(evil, tmp_path / "z.safetensors")[0] == 0
    model = make_model(tiny_stream())  # no preset: called as its file is
    spec = InputSpec(32, 36, 5, 10)
    save_weights(evil, model.state_dict(), config=model.config, input_spec=spec)
    result = runner.invoke(build_app(), ["info", str(evil)])
    assert (result.exit_code, "\x1b" in result.output) == (0, False)


def test_help_shows_an_example() -> None:
    code, out, _ = convert("--help")
    assert code == 0
    assert "movinet convert ckpt-1 mine.safetensors" in " ".join(out.split())


def test_without_torch_one_line_names_the_extra(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')"
    )
    run = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.argv = ['movinet', *sys.argv[1:]];"
        "from movinet.cli import main; main()"
    )
    for arguments in (["convert", "a.pt", "b.pt"], ["predict", "x.mp4", "-m", "a0_stream"]):
        (tmp_path / "x.mp4").write_bytes(b"")
        result = subprocess.run(
            [sys.executable, "-c", run, *arguments], capture_output=True, text=True, cwd=tmp_path
        )
        assert result.returncode == 1
        assert "pip install -e '.[torch]' in " in result.stderr
        assert "Traceback" not in result.stderr
