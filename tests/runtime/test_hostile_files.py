"""Files and arguments from anybody: one clear line, and nothing has moved."""

import json
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_stream import SPEC, STREAM

import movinet
from movinet.errors import CheckpointError, ConfigError, MovinetError
from movinet.runtime.engines import litert as litert_engine
from movinet.runtime.engines.tflite_file import read_tflite
from movinet.runtime.manifest import Manifest
from movinet.runtime.snapshot import StreamSnapshot
from movinet.torch_runtime import wrap
from networks import make_model

FRAME = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"labels": ["a", "b"]}, "logits of 2 labels must have the shape (1, 2), not (1, "),
        ({"labels": [1] * 7}, "must be strings, not 1"),
        ({"batch_size": 4}, "frames must have the shape (4, 32, 32, 3), not (1, 32, 32, 3)"),
        ({"batch_size": None}, "frames must have the shape (None, 32, 32, 3)"),
        ({"num_frames": 3}, "frames must have the shape (3, 32, 32, 3)"),
        ({"input": {**vars(SPEC), "image_size": 16}}, "the shape (1, 16, 16, 3)"),
        ({"resizes": "no"}, "resizes must be true or false"),
        ({"config": []}, "config an object"),
        ({"quantization": "\x1b[2J"}, "control characters"),
        ({"project_version": "\x1b[2J"}, "control characters"),
        ({"movinet": True}, "version True is not one of"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(runtime, changes, reason) -> None:
    values = {**json.loads(runtime.manifest.to_json()), **changes}
    with pytest.raises(CheckpointError) as caught:
        Manifest.parse(json.dumps(values), "x.tflite")
    assert str(caught.value).startswith("x.tflite: its movinet manifest is broken: ")
    assert reason in str(caught.value)


@pytest.mark.parametrize("initial", [float("nan"), float("inf"), 1e300, -(10**400), "0", True])
def test_a_state_begins_with_a_number_that_its_type_holds(runtime, initial) -> None:
    values = json.loads(runtime.manifest.to_json())
    values["states"][0]["initial"] = initial
    with pytest.raises(CheckpointError, match=r"pool_weight: initial must be a number from -3.4e"):
        Manifest.parse(json.dumps(values), "x.tflite")


def test_states_and_tensors_are_told_once_and_in_bounds(runtime) -> None:
    values = json.loads(runtime.manifest.to_json())
    twice = {**values, "states": [*values["states"], values["states"][0]]}
    with pytest.raises(CheckpointError, match="two states have the same name"):
        Manifest.parse(json.dumps(twice), "x")
    for i in range(3):
        values["outputs"].append({"name": f"big{i}", "shape": [1, 2**30], "dtype": "float32"})
    with pytest.raises(CheckpointError, match="inputs and outputs have"):
        Manifest.parse(json.dumps(values), "x")


@pytest.mark.parametrize("how", ["deflate", "encrypted"])
def test_a_manifest_that_cannot_be_unpacked(file: Path, tmp_path: Path, how: str) -> None:
    data = bytearray(file.read_bytes())
    with zipfile.ZipFile(file) as archive:
        start = archive.getinfo("movinet.json").header_offset
        central = archive.start_dir
    if how == "deflate":
        data[start + 60 : start + 80] = b"\xff" * 20
    else:
        data[start + 6] |= 1
        data[central + 8] |= 1
    bad = tmp_path / "bad.tflite"
    bad.write_bytes(data)
    with pytest.raises(CheckpointError, match="its movinet manifest cannot be unpacked"):
        movinet.load(bad)


def test_a_graph_that_cannot_be_prepared_is_one_line(file: Path, monkeypatch) -> None:
    from ai_edge_litert.interpreter import Interpreter

    def refuse(_: Any) -> None:
        raise RuntimeError("failed to create XNNPACK runtime\nNode number 3 failed to prepare.")

    monkeypatch.setattr(Interpreter, "allocate_tensors", refuse)
    with pytest.raises(CheckpointError, match=r"stream.tflite: LiteRT cannot load it") as caught:
        movinet.load(file)
    assert "\n" not in str(caught.value)


def test_loading_in_many_threads_leaves_the_terminal_as_it_was() -> None:
    """Each silences file descriptor 2 for a moment; the last one must not restore silence."""
    before = os.fstat(2).st_ino, os.fstat(2).st_dev
    first, second = threading.Event(), threading.Event()

    def enter_first() -> None:
        with litert_engine._quiet():
            first.set()
            second.wait(0.3)  # the other one tries to enter meanwhile

    def enter_second() -> None:
        first.wait()
        with litert_engine._quiet():
            second.set()
            thread.join(1)

    thread = threading.Thread(target=enter_first)
    other = threading.Thread(target=enter_second)
    thread.start()
    other.start()
    thread.join()
    other.join()
    assert (os.fstat(2).st_ino, os.fstat(2).st_dev) == before


def test_a_process_without_stderr_can_load(file: Path) -> None:
    code = (
        "import os, sys; os.close(2); sys.stderr = None; import movinet; "
        f"print(movinet.load({str(file)!r}).info.streaming)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, timeout=60, check=False, text=True
    )
    assert done.stdout == "True\n"


def with_nan(file: Path, path: Path) -> Path:
    """The file with a NaN among its weights."""
    graph = read_tflite(file)
    data = bytearray(file.read_bytes())
    kernel = graph.numbers(graph.operations[-1].inputs[1])
    at = data.index(kernel.tobytes())
    data[at : at + 4] = np.float32("nan").tobytes()
    path.write_bytes(data)
    return path


def test_nan_is_no_probability(file: Path, tmp_path: Path) -> None:
    """Nor infinity: not of one stream, nor of several, exported or not; the path is in predict."""
    runtime = movinet.load(with_nan(file, tmp_path / "x.tflite"))
    stream = runtime.stream()
    model = make_model(STREAM)
    with torch.no_grad():
        model.classifier.bias[0] = torch.inf
    for give in (
        lambda: stream(FRAME),
        lambda: runtime.step([stream], [FRAME]),
        lambda: wrap(model, runtime.info.labels, SPEC).stream()(FRAME),
    ):
        with pytest.raises(MovinetError, match=r"values that are not numbers \(NaN or inf.*broken"):
            give()
    video = Path(movinet.__file__).parent / "demo" / "clip.mp4"
    with pytest.raises(MovinetError, match=rf"^{video} at 0.00 s: .* not numbers"):
        list(movinet.predict(video, runtime))


def test_nan_is_no_embedding(runtime) -> None:
    stream = runtime.stream()
    stream(FRAME)
    snapshot = stream.snapshot()
    snapshot.values["sums"][0, -1] = np.inf
    stream.restore(snapshot)
    with pytest.raises(MovinetError, match="values that are not numbers"):
        _ = stream.embedding


@pytest.mark.parametrize("size", [0, -1, 5000, 2.0, "2", True])
def test_batches_have_a_size(batches, size) -> None:
    with pytest.raises(ConfigError, match="batch_size must be an integer from 1 to 4096"):
        batches.stream(batch_size=size)


@pytest.mark.parametrize("half_life", ["5", [5], True, 0, float("nan")])
def test_half_lives_are_numbers(runtime, half_life) -> None:
    with pytest.raises(ConfigError, match="half-life in seconds must be a positive number, not"):
        runtime.stream(half_life=half_life)


def test_frames_are_arrays(runtime) -> None:
    for take in (runtime.stream().advance, runtime.running_logits, runtime.clip_logits):
        for wrong in ([FRAME], "frames", None):
            with pytest.raises(ConfigError, match="frames must be a numpy array, not "):
                take(wrong)


def test_frames_that_are_not_the_files_move_nothing(runtime) -> None:
    stream, other = runtime.stream(), runtime.stream()
    for each in (stream, other):
        each(FRAME)
        each(FRAME)
    for wrong in (np.zeros((1, 31, 32, 3), np.uint8), np.zeros((1, 32, 32, 3), np.float32)):
        with pytest.raises(ConfigError, match=r"frames must be \(1, 32, 32, 3\) uint8, not"):
            stream.advance(wrong)
    with pytest.raises(ConfigError, match="frames must be"):
        runtime.running_logits(np.zeros((2, 16, 16, 3), np.float32))
    np.testing.assert_array_equal(stream(FRAME), other(FRAME))


@pytest.mark.parametrize("frames", [5, None, "ab"])
def test_a_batch_wants_frames(batches, frames) -> None:
    with pytest.raises(ConfigError, match="expected"):
        batches.stream(batch_size=3)(frames)


def test_restore_takes_snapshots_of_its_model_alone(runtime, batches) -> None:
    stream = runtime.stream()
    snapshot = stream.snapshot()
    other = StreamSnapshot("another", snapshot.frame_counts, snapshot.values)
    with pytest.raises(ConfigError, match="the snapshot is of another and 1 streams, not of"):
        stream.restore(other)
    with pytest.raises(ConfigError, match=r"is of .* and 2 streams"):
        stream.restore(batches.stream(batch_size=2).snapshot())
    with pytest.raises(ConfigError, match=r"takes what snapshot\(\) gave, not dict"):
        stream.restore(snapshot.values)


def test_reset_takes_numbers_of_streams(batches) -> None:
    stream = batches.stream(batch_size=3)
    stream([FRAME] * 3)
    stream.reset(np.int64(1))
    stream.reset(np.array([2]))
    assert stream.frame_counts.tolist() == [1, 0, 0]
    for wrong in ("1", 1.0, [3], -1):
        with pytest.raises(ConfigError, match="numbered from 0 to 2"):
            stream.reset(wrong)


@pytest.mark.parametrize("threads", [0, 2.5, "2", True, 10**10])
def test_threads_are_a_number(file: Path, threads) -> None:
    with pytest.raises(ConfigError, match="num_threads must be an integer from 1 to 1024, not"):
        movinet.load(file, num_threads=threads)


def test_engines_get_frames_without_gaps(file: Path, monkeypatch) -> None:
    """PyTorch and ExecuTorch take no others."""
    runtime = movinet.load(file)
    given = []
    step = runtime.engine.step

    def seen(frames: np.ndarray, *rest: Any) -> np.ndarray:
        given.append(frames.flags.c_contiguous)
        return step(frames, *rest)

    monkeypatch.setattr(runtime.engine, "step", seen)
    wide = np.random.default_rng(1).integers(0, 256, (32, 64, 3), np.uint8)
    stream = runtime.stream(resize=False)
    stream(wide[:, ::2])
    stream(wide[::-1, :32])
    assert given == [True, True]
