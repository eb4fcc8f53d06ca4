"""Model repositories of Triton: their configuration, and sequences that are our own streams."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import movinet
from exported_formats import STREAM, export, noise
from movinet.cli import build_app
from movinet.errors import ConfigError

pytest.importorskip("onnx", reason="needs the extra onnx")
pytest.importorskip("onnxruntime", reason="needs the extra onnx")

from triton_server import Triton

from movinet.exporting.triton import write_repository

GOLDEN = Path(__file__).with_name("triton_config.pbtxt")


def write(folder: Path, *, half_life: float = 1.0, **options: Any) -> tuple[Path, Path]:
    """An export of the small network, and the model of it in a repository."""
    path = folder / "x.onnx"
    export(STREAM, path, batch_size=None, **options)
    return path, write_repository(path, folder / "models", name="small", half_life=half_life)


def test_the_configuration_is_the_golden_one(tmp_path: Path) -> None:
    _, folder = write(tmp_path, labels=[f"label {i}" for i in range(7)])
    assert (folder / "config.pbtxt").read_text() == GOLDEN.read_text()
    assert (folder / "labels.txt").read_text().splitlines()[3] == "label 3"
    assert sorted(path.name for path in folder.parent.iterdir()) == ["small"]


def test_tritons_own_schema_takes_the_configuration() -> None:
    """Names and types of all fields, by the classes that its client has of them."""
    found = importlib.util.find_spec("tritonclient")
    if found is None or not found.submodule_search_locations:
        pytest.skip("needs tritonclient, which make installs")
    from google.protobuf import text_format

    # Not as a module of its package, which wants gRPC.
    where = Path(found.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("model_config_pb2", where)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = text_format.Parse(GOLDEN.read_text(), module.ModelConfig())
    assert config.sequence_batching.oldest.max_candidate_sequences == 256
    states = config.sequence_batching.state
    assert all(state.initial_state[0].WhichOneof("state_data") == "zero_data" for state in states)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"uint8": False, "softmax": True, "outputs": ("logits", "embedding")},
        {"quantize": "int8", "calibration": [noise(6, 40, 50, 3)]},
    ],
    ids=["plain", "floats", "int8"],
)
def test_interleaved_sequences_are_our_streams(options: Any, tmp_path: Path) -> None:
    path, folder = write(tmp_path, half_life=0.5, **options)
    triton, runtime = Triton(folder), movinet.load(path)
    if "quantize" in options:  # zeros of integers are no zeros
        assert list((folder / "initial_state").iterdir())
    videos = {number: noise(6, 32, 32, 3, seed=number) for number in (7, 8, 9)}
    # Who sends a frame when: one begins late, one pauses, one ends and begins again.
    rounds = [(7, 8), (8, 7), (7,), (9, 7), (8, 9, 7), (9,), (7, 8), (7, 9)]
    restarts, streams, seen = {(6, 7)}, {}, dict.fromkeys(videos, 0)
    for number, sequences in enumerate(rounds):
        starting = [s for s in sequences if s not in streams or (number, s) in restarts]
        for sequence in starting:
            streams[sequence] = runtime.stream(half_life=0.5, resize=False)
        frames = []
        for sequence in sequences:
            frames.append(videos[sequence][seen[sequence] % 6])
            seen[sequence] += 1
        scale = np.float32(255) if options.get("uint8") is False else 1
        given = [frame / scale if scale != 1 else frame for frame in frames]
        answers = triton.infer(list(zip(sequences, given, strict=True)), starting)
        for sequence, frame, answer in zip(sequences, frames, answers, strict=True):
            row = answer[runtime.manifest.output]
            wanted = streams[sequence](frame)
            found = runtime.probabilities(row[None])[0]
            np.testing.assert_allclose(found, wanted, atol=1e-5)
            if "outputs" in options:
                np.testing.assert_allclose(
                    answer["embedding"], streams[sequence].embedding, atol=1e-4
                )


def test_what_cannot_be_a_sequence_is_refused(tmp_path: Path) -> None:
    repository = tmp_path / "models"
    for options, message in (
        ({"batch_size": 2}, "export it with --batch any"),
        ({"batch_size": 1, "num_frames": 2}, "export it with --batch any"),
    ):
        export(STREAM, tmp_path / "x.onnx", **options)
        with pytest.raises(ConfigError, match=message):
            write_repository(tmp_path / "x.onnx", repository)
    export(STREAM, tmp_path / "x.tflite", batch_size=None)
    with pytest.raises(ConfigError, match=r"as \.onnx files"):
        write_repository(tmp_path / "x.tflite", repository)
    export(STREAM, tmp_path / "x.onnx", batch_size=None)
    for name in ("", "../up", "a/b", ".hidden", "a b", "x" * 101):
        with pytest.raises(ConfigError, match="no name of a model for Triton"):
            write_repository(tmp_path / "x.onnx", repository, name=name)
    assert not repository.exists()


def test_a_model_that_is_there_is_kept(tmp_path: Path) -> None:
    path, folder = write(tmp_path)
    (folder / "config.pbtxt").write_text("mine")
    with pytest.raises(ConfigError, match="is there already"):
        write_repository(path, folder.parent, name="small")
    assert (folder / "config.pbtxt").read_text() == "mine"


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from movinet.exporting import triton

    monkeypatch.setattr(triton, "_TOLERANCE", -1.0)
    with pytest.raises(movinet.MovinetError, match="differs from the export"):
        write(tmp_path)
    assert list((tmp_path / "models").iterdir()) == []


def test_the_command_writes_a_repository(tmp_path: Path) -> None:
    def run(*arguments: object) -> Any:
        return CliRunner().invoke(build_app(), ["export", *map(str, arguments)])

    result = run("motions", "--triton", tmp_path / "models", "--half-life", "2")
    assert result.exit_code == 0, result.output
    folder = tmp_path / "models" / "motions"
    assert "for any number of streams" in " ".join(result.stdout.split())
    triton, stream = Triton(folder), movinet.load("motions").stream(half_life=2.0, resize=False)
    for number, frame in enumerate(noise(4, 64, 64, 3)):
        (answer,) = triton.infer([(1, frame)], [1] if number == 0 else [])
        logits = answer["logits"].astype(np.float64)
        probabilities = np.exp(logits) / np.exp(logits).sum()
        np.testing.assert_allclose(probabilities, stream(frame), atol=1e-5)
    for arguments, message in (
        (("motions",), "--output FILE, --triton DIR"),
        (
            ("motions", "-o", "x.onnx", "--triton", "m"),
            "--output FILE, --triton DIR",
        ),
        (("motions", "-o", "x.onnx", "--half-life", "2"), "are of --triton"),
        (("motions", "--triton", "m", "--frames", "2"), "omit --frames and --batch"),
        (("t0_base", "--triton", "m"), "t0_base is a base model"),
        (("motions", "--triton", "m", "--half-life", "0"), "--half-life must be"),
    ):
        refused = run(*arguments)
        assert refused.exit_code == 2, refused.output
        assert message in " ".join(refused.stderr.split())
    assert not Path("m").exists()
