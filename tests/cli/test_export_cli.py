"""`movinet export`: what it writes, prints and refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import movinet
from movinet.cli import build_app
from movinet.embedded import exported_path
from movinet.network.architectures import ARCHITECTURES

Run = Callable[..., Result]
CLIP = Path(movinet.__file__).parent / "demo" / "clip.mp4"


@pytest.fixture
def run_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: object) -> Result:
        return CliRunner().invoke(
            build_app(), ["export", *map(str, arguments)], env={"COLUMNS": "120"}
        )

    return invoke


def test_a_file_is_written_and_described(run_export: Run) -> None:
    result = run_export("motions", "-o", "mine.tflite")
    assert result.exit_code == 0, result.output
    first, *rows = result.stdout.splitlines()
    assert first == "mine.tflite  motions, 10 classes"
    told = {row.split()[0]: " ".join(row.split()[1:]) for row in rows}
    assert told["size"] == f"{Path('mine.tflite').stat().st_size / 1e6:.2f} MB, float32"
    assert told["takes"] == "1 frame of 64x64 uint8 at a time, for 1 stream"
    assert told["gives"] == "logits"
    assert "conv" in told["operations"]
    assert "over 4 steps with carried state" in told["agreement"]
    runtime = movinet.load("mine.tflite")
    assert runtime.info.labels[0] in runtime.info.labels
    assert runtime.info.streaming


def test_options_reach_the_file(run_export: Run, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("\n".join(f"move {i}" for i in range(10)))
    result = run_export(
        *("motions", "-o", "mine.tflite", "--labels", "names.txt", "--batch", 2),
        *("--frames", 2, "--float-input", "--softmax", "--source-size", "80x96", "--json"),
        *("--image-size", 48),
    )
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["path"] == "mine.tflite"
    assert told["bytes"] == Path("mine.tflite").stat().st_size
    assert 0 <= told["agreement"]["error"] <= told["agreement"]["tolerance"]
    assert told["operations"]["softmax"] == 1
    assert [told[key] for key in ("kind", "image_size", "batch_size", "num_frames")] == [
        *("step", 48, 2, 2),
    ]
    manifest = movinet.load("mine.tflite").manifest
    assert (manifest.batch_size, manifest.num_frames, manifest.resizes) == (2, 2, True)
    assert (manifest.output, manifest.labels[3]) == ("probabilities", "move 3")
    assert (manifest.frames.dtype, manifest.frames.shape[1:]) == ("float32", (80, 96, 3))


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("options", "most"),
    [(["--quantize", "float16"], 0.6), (["--quantize", "int8", "--calibration", CLIP], 0.45)],
)
def test_smaller_numbers(run_export: Run, options: list[object], most: float) -> None:
    result = run_export("motions", "-o", "small.tflite", *options, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["quantization"] == options[1]
    assert told["bytes"] <= most * exported_path("motions").stat().st_size
    assert movinet.load("small.tflite").manifest.quantization == options[1]


def test_base_models_are_clips(run_export: Run) -> None:
    result = run_export(
        *("t0_base", "-o", "clip.tflite", "--image-size", 32, "--frames", 3, "--json")
    )
    assert result.exit_code == 0, result.output
    assert "warning: random weights" in result.stderr
    told = json.loads(result.stdout)
    assert (told["kind"], told["num_frames"], told["num_classes"]) == ("clip", 3, 600)
    runtime = movinet.load("clip.tflite")
    assert runtime.info.input.num_frames == 3
    assert runtime.clip_logits(np.zeros((3, 32, 32, 3), np.float32)).shape == (600,)


def test_the_embedding_can_be_an_output_too(run_export: Run) -> None:
    options = ("t0_base", "-o", "clip.tflite", "--image-size", 32, "--frames", 3)
    result = run_export(*options, "--outputs", "logits,embedding")
    assert result.exit_code == 0, result.output
    channels = ARCHITECTURES["t0"].head
    assert re.search(rf"gives +logits, embedding of {channels} channels", result.stdout)
    assert "of the embedding's" in result.stdout
    clip = np.zeros((3, 32, 32, 3), np.float32)
    assert movinet.load("clip.tflite").clip_embedding(clip).shape == (channels,)
    result = run_export(*options, "--outputs", "logits, embedding", "--json")
    told = json.loads(result.stdout)
    assert told["outputs"] == ["logits", "embedding"]
    assert 0 <= told["agreement"]["embedding_error"] <= 1e-4


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("motions -o mine.h5", 2, "mine.h5: an export ends in one of .tflite, .onnx"),
        ("a6_base -w kinetics-600 -o a6.tflite", 2, "its members one by one, a4_base and a5_base"),
        ("a0_stram -o a.tflite", 2, "did you mean a0_stream?"),
        ("mine.mvn -o a.onnx", 2, "mine.mvn is an exported model"),
        ("motions -w kinetics-600 -o a.tflite", 2, "has its own weights"),
        ("motions -o a.tflite --batch some", 2, "--batch must be a number or any, not 'some'"),
        ("motions -o a.tflite --batch 0", 2, "batch_size must be an integer from 1"),
        ("motions -o a.tflite --frames 9999", 2, "num_frames must be an integer from 1"),
        ("motions -o a.tflite --source-size 80", 2, "must be HEIGHTxWIDTH"),
        ("motions -o a.tflite --source-size 0x9", 2, "source_size must be (height, width)"),
        (
            "motions -o a.tflite --outputs embedding",
            2,
            "outputs must be ('logits',) or ('logits', '",
        ),
        ("motions -o a.tflite --image-size 0", 2, "image_size"),
        ("motions -o a.tflite --labels none.txt", 2, "there is no such file"),
        ("motions -o a.tflite --quantize int8 --calibration none", 1, "no video for calibration"),
        ("none.safetensors -o a.tflite", 1, "none.safetensors"),
        ("motions -o none/a.tflite", 1, "none/a.tflite: cannot be written"),
    ],
)
def test_what_cannot_be_is_one_line(
    run_export: Run, tmp_path: Path, arguments: str, code: int, message: str
) -> None:
    result = run_export(*arguments.split())
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, result.output
    assert message in errors[0]
    assert result.exit_code == code
    assert not result.stdout
    assert list(tmp_path.iterdir()) == []
