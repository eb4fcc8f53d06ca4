"""`movinet convert`, as a shell sees it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import movinet
from movinet.cli import build_app
from movinet.config import InputSpec
from movinet.factory import load_model
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
    assert (code, "t0_stream, 3 classes" in out, "told from its tensors" in err) == (0, True, True)
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
    assert loaded.model.config.head_activation == "swish"  # pyright: ignore[reportAttributeAccessIssue]
    assert not list(tmp_path.rglob(".*"))


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
        ("x.safetensors", ["--layout", "3d"], 2, "--layout is for TensorFlow"),
        ("x", ["--layout", "4d"], 2, "layout must be one of 3d, 2plus1d, 3d_2plus1d"),
        ("x", ["--layout", "3d"], 2, "does not fit factorized=True"),
        ("x.safetensors", ["--model", "a0_base"], 1, "they fit t0_stream with 3 classes"),
        ("x.safetensors", ["--head-activation", "gelu"], 2, "head_activation must be one of"),
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
        assert "pip install 'movinet[torch]'" in result.stderr
        assert "Traceback" not in result.stderr
