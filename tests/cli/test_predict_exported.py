"""Exported files on the command line: prediction and evaluation without PyTorch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import movinet
from fakes import gradient, write_video
from movinet.data.sources import open_data
from movinet.evaluation import evaluate
from movinet.exporting.export import export
from movinet.network.config import InputSpec
from movinet.network.model import MoViNet
from movinet.opening import open_model
from movinet.torch_runtime import load_torch_runtime
from movinet.weights.saving import save_weights
from networks import make_model, tiny_base, tiny_stream

#: Every module of the extras looks as if it were not installed.
BLOCKED = """
import sys
sys.modules.update(dict.fromkeys(("torch", "safetensors", "matplotlib", "PIL", "yaml")))
from movinet.cli import main
main()
"""
LABELS = ("red", "green", "blue")
SPEC = InputSpec(32, 36, 5, 4)


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """`movinet` in a process that cannot import what the extras bring."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", BLOCKED, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of each kind, and a folder of videos with a class each."""
    folder = tmp_path_factory.mktemp("exported")
    stream = make_model(tiny_stream(), num_classes=3)
    base = make_model(tiny_base(), num_classes=3)
    cases: tuple[tuple[str, MoViNet, dict[str, Any]], ...] = (
        ("stream.tflite", stream, {}),
        ("softmax.tflite", stream, {"softmax": True, "batch_size": None, "uint8": False}),
        ("resizes.tflite", stream, {"source_size": (32, 32)}),
        ("two.tflite", stream, {"batch_size": 2}),
        ("chunks.tflite", stream, {"num_frames": 4}),
        ("clip.tflite", base, {"num_frames": 3}),
        ("clips.tflite", base, {"num_frames": 3, "batch_size": 2}),
    )
    for name, model, options in cases:
        export(model, folder / name, labels=LABELS, input_spec=SPEC, **options)
    save_weights(
        folder / "stream.safetensors",
        stream.state_dict(),
        config=stream.config,
        input_spec=SPEC,
        labels=LABELS,
        origin="made for a test",
    )
    # A file that has lost its manifest, what was printed of it before, and one of another file.
    data = (folder / "stream.tflite").read_bytes()
    (folder / "bare.tflite").write_bytes(data[: data.index(b"PK\x03\x04")])
    for name, of in (("manifest.json", "stream.tflite"), ("other.json", "softmax.tflite")):
        (folder / name).write_text(run("info", folder / of, "--json").stdout)
    for label, colours in zip(LABELS, (gradient(20), gradient(12), gradient(7)), strict=True):
        (folder / "data" / label).mkdir(parents=True)
        write_video(folder / "data" / label / "video.mkv", colours)
    return folder


@pytest.fixture
def clip(folder: Path) -> Path:
    return folder / "data" / "red" / "video.mkv"


def test_the_embedded_model_needs_nothing_else() -> None:
    demo = Path(movinet.__file__).parent / "demo" / "clip.mp4"
    done = run("predict", demo, "--weights", "motions", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["model"]["name"] == "motions"
    assert found["model"]["random_weights"] is False
    (result,) = found["results"]
    assert result["predictions"][-1]["top"][0]["label"] == "turning right"


def test_the_embedded_file_is_the_embedded_weights() -> None:
    exported = open_model(None, weights="motions")
    weights = load_torch_runtime(None, "motions")
    assert exported.info == weights.info
    frames = np.random.default_rng(0).random((5, 64, 64, 3), np.float32)
    frames = np.rint(frames * 255).astype(np.float32) / 255  # the file takes uint8
    found, _ = exported.running_logits(frames)
    wanted, _ = weights.running_logits(frames)
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize("name", ["stream.tflite", "softmax.tflite", "resizes.tflite"])
def test_a_stream_predicts_as_its_weights_do(folder: Path, clip: Path, name: str) -> None:
    done = run("predict", clip, "--model", folder / name, "--json", "-k", 3)
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)["results"]
    wanted = list(movinet.predict(clip, weights=str(folder / "stream.safetensors")))
    assert [p["time"] for p in result["predictions"]] == pytest.approx([p.time for p in wanted])
    for found, prediction in zip(result["predictions"], wanted, strict=True):
        probabilities = {one["label"]: one["probability"] for one in found["top"]}
        # The network sees pixels that were rounded to uint8 after resizing.
        assert probabilities == pytest.approx(dict(prediction.top(3)), abs=5e-3)


def test_a_clip_file_sees_windows_of_its_own_length(folder: Path, clip: Path) -> None:
    file = str(folder / "clip.tflite")
    (prediction,) = movinet.predict(clip, file)
    assert prediction.probabilities.sum() == pytest.approx(1)
    found = list(movinet.predict(clip, file, stride=0.4))
    # Frames at 5 a second: windows of 3, 2 apart, and what is left over at the end.
    assert [p.time for p in found] == pytest.approx([0.4, 0.8, 1.2, 1.6, 1.8])
    done = run("predict", clip, "--model", file, "--views", 2, "--crops", 3)
    assert done.returncode == 0, done.stderr
    assert "mean of 6 views" in done.stdout


@pytest.mark.parametrize("name", ["stream.tflite", "softmax.tflite", "clip.tflite"])
def test_evaluation(folder: Path, name: str) -> None:
    done = run("eval", folder / name, "--data", folder / "data", "--json")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["count"] == 3
    assert figures["skipped"] == []
    assert figures["model"]["num_classes"] == 3
    assert (figures["over_time"] is None) == (name == "clip.tflite")


def test_evaluation_is_that_of_the_weights(folder: Path) -> None:
    samples = open_data(folder / "data", labels=LABELS)
    exported = open_model(str(folder / "stream.tflite"))
    weights = open_model(None, weights=str(folder / "stream.safetensors"))
    found, wanted = (evaluate(one, samples).to_json()["loss"] for one in (exported, weights))
    assert found == pytest.approx(wanted, rel=1e-3)


def test_labels_of_ones_own(folder: Path, clip: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("one\ntwo\nthree\n")
    done = run("predict", clip, "-m", folder / "stream.tflite", "--labels", names, "-k", 3)
    assert done.returncode == 0, done.stderr
    assert all(label in done.stdout for label in ("one", "two", "three"))
    names.write_text("one\ntwo\n")
    done = run("predict", clip, "-m", folder / "stream.tflite", "--labels", names)
    assert (done.returncode, done.stderr) == (2, "error: 2 labels for 3 classes\n")


def test_what_a_file_says_of_itself(folder: Path) -> None:
    done = run("info", folder / "softmax.tflite")
    assert done.returncode == 0, done.stderr
    rows = {line[2:19].strip(): line[19:] for line in done.stdout.splitlines() if line[:2] == "  "}
    assert rows["labels"] == "red, green, blue"
    assert rows["frames"] == "1 at a time, 32 x 32, RGB"
    assert rows["type"] == "float32 in [0, 1]"
    assert rows["streams"] == "any number at a time"
    assert rows["outputs"] == "probabilities, 3 classes"
    told = json.loads(run("info", folder / "clip.tflite", "--json").stdout)
    assert told["bytes"] == (folder / "clip.tflite").stat().st_size
    assert (told["kind"], told["num_frames"], told["labels"]) == ("clip", 3, list(LABELS))
    assert [one["name"] for one in told["inputs"]] == ["frames"]


@pytest.mark.parametrize(
    "words",
    [
        "predict {clip} --json -m {folder}/{file}",
        "eval --data {folder}/data --json {folder}/{file}",
        "info --json {folder}/{file}",
    ],
)
def test_a_lost_manifest_is_given(folder: Path, clip: Path, words: str) -> None:
    """The commands then do what they do with the whole file."""
    found, wanted = (
        run(*words.format(folder=folder, clip=clip, file=file).split())
        for file in (f"bare.tflite --manifest {folder}/manifest.json", "stream.tflite")
    )
    assert found.returncode == 0, found.stderr
    told, theirs = (json.loads(done.stdout) for done in (found, wanted))
    if words.startswith("info"):  # a file tells of itself too
        assert told.pop("path") == str(folder / "bare.tflite")
        assert told.pop("bytes") < theirs.pop("bytes")
        theirs.pop("path")
    assert told == theirs


@pytest.mark.parametrize("command", ["predict", "eval", "info", "bench"])
def test_help_tells_where_a_manifest_comes_from(command: str) -> None:
    text = " ".join(run(command, "--help").stdout.replace("│", " ").split())
    assert "--manifest FILE Manifest of an exported model that has lost its own: what" in text
    assert "'movinet info --json' printed of the same export." in text


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("predict {clip} -m {folder}/two.tflite", 2, "was exported for 2 streams at once"),
        ("predict {clip} -m {folder}/clips.tflite", 2, "was exported for 2 clips at once"),
        ("predict {clip} -m {folder}/chunks.tflite", 2, "was exported for 4 frames at a time"),
        ("predict {clip} -m {folder}/clip.tflite --window 2", 2, "windows of 3 frames, 0.6 sec"),
        ("predict {clip} -m {folder}/stream.tflite --crops 3", 2, "is a stream model"),
        ("predict {clip} -m {folder}/stream.tflite -w motions", 2, "has its own weights"),
        ("predict {clip} -m {folder}/stream.tflite --head-activation swish", 2, "omit head_act"),
        ("predict {clip} -w {folder}/stream.onnx", 2, "give it as the model"),
        (
            "predict {clip} -w {folder}/stream.tflite",
            1,
            "needs an extra: pip install -e '.[torch]' in ",
        ),
        ("predict {clip} -m none.tflite", 1, "none.tflite: there is no such file"),
        ("predict {clip} -m {clip}.tflite", 1, "there is no such file"),
        ("predict {clip} -m {folder}/broken.tflite", 1, "it is not a .tflite file"),
        ("eval {folder}/two.tflite --data {folder}/data", 2, "2 streams at once"),
        ("eval {folder}/chunks.tflite --data {folder}/data", 2, "4 frames at a"),
        ("eval {folder}/clips.tflite --data {folder}/data", 2, "does not take one clip"),
        ("eval {folder}/resizes.tflite --data {folder}/data", 2, "resizes frames of one size"),
        ("eval {folder}/stream.tflite -w motions --data {folder}/data", 2, "its own weights"),
        ("info {folder}/broken.tflite", 1, "it is not a .tflite file"),
        ("predict {clip} -m {folder}/bare.tflite", 1, "give one with --manifest FILE"),
        ("eval {folder}/bare.tflite -d {folder}/data", 1, "give one with --manifest FILE"),
        ("info {folder}/bare.tflite", 1, "has no movinet manifest, which states its labels, input"),
        ("bench {folder}/bare.tflite", 1, "give one with --manifest FILE"),
        ("info {folder}/bare.tflite --manifest {clip}", 1, "is broken: it is not JSON"),
        ("info {folder}/bare.tflite --manifest {folder}", 1, "there is no such manifest file"),
        ("info {folder}/bare.tflite --manifest {folder}/other.json", 1, "its graph is not the one"),
        ("bench {folder}/bare.tflite --manifest none.json", 1, "there is no such manifest file"),
        ("bench {folder}/bare.tflite motions --manifest none.json", 2, "give one MODEL with it"),
        ("bench motions --manifest {folder}/manifest.json", 2, "and motions is not one"),
        ("info a0_stream --manifest {folder}/manifest.json", 2, "and a0_stream is not one"),
        ("info {folder}/stream.safetensors --manifest x.json", 2, "stream.safetensors is not one"),
        ("predict {clip} -m a0_stream --manifest x.json", 2, "and a0_stream is not one: omit it"),
        ("predict {clip} -w motions --manifest x.json", 2, "and motions is not one: omit it"),
        ("eval --data {folder}/data --manifest x.json", 2, "and motions is not one: omit it"),
        ("info {folder}/clip.tflite --frames 3", 2, "is an exported model"),
        ("export motions -o {folder}/new.tflite", 1, "pip install -e '.[export]' in "),
        ("predict {clip} -m a0_stream", 1, "pip install -e '.[torch]' in "),
    ],
)
def test_what_a_file_cannot_do_is_one_line(
    folder: Path, clip: Path, arguments: str, code: int, message: str
) -> None:
    (folder / "broken.tflite").write_bytes(b"no model at all")
    done = run(*(word.format(folder=folder, clip=clip) for word in arguments.split()))
    errors = [line for line in done.stderr.splitlines() if not line.startswith("note: ")]
    assert len(errors) == 1, done.stderr
    assert message in errors[0]
    assert errors[0].startswith("error: ")
    assert (done.returncode, done.stdout) == (code, "")
