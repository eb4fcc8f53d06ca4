"""A snapshot belongs to weights: it goes back to streams of the same ones, in any file."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_stream import SPEC, STREAM

import movinet
from movinet.errors import CheckpointError, ConfigError
from movinet.exporting.graph.folding import fingerprint, fold
from movinet.runtime.exported import ExportedRuntime
from movinet.runtime.manifest import Manifest
from networks import make_model, tiny_stream

FRAMES = np.random.default_rng(0).integers(0, 256, (5, 40, 50, 3), np.uint8)


@pytest.fixture(scope="module", params=[".tflite", ".mvn"])
def retrained(request: pytest.FixtureRequest, tmp_path_factory) -> ExportedRuntime:
    """The model of `runtime` after a little more training."""
    if request.param == ".mvn":
        pytest.importorskip("movinet._native", reason="needs the native engine")
    model = make_model(STREAM)
    with torch.no_grad():
        model.classifier.bias[0] += 1e-3
    path = tmp_path_factory.mktemp("retrained") / f"x{request.param}"
    movinet.export(model, path, input_spec=SPEC)
    return movinet.load(path)


def see(stream: Any, frames: np.ndarray) -> np.ndarray:
    return np.stack([stream(frame) for frame in frames])


def test_a_snapshot_of_other_weights_is_refused(
    runtime: ExportedRuntime, retrained: ExportedRuntime
) -> None:
    """In both directions, and the stream has not moved."""
    for mine, theirs in ((runtime, retrained), (retrained, runtime)):
        stream, other = mine.stream(), theirs.stream()
        see(stream, FRAMES[:2])
        see(other, FRAMES[2:])
        before = stream.snapshot()
        with pytest.raises(ConfigError, match="is of model and 1 streams, but of other weights"):
            stream.restore(other.snapshot())
        assert stream.frame_counts == [2]
        wanted = see(stream, FRAMES[2:])
        stream.restore(before)
        np.testing.assert_array_equal(see(stream, FRAMES[2:]), wanted)


@pytest.mark.parametrize("wrong", [-1, np.nan, np.inf])
@pytest.mark.parametrize("clock", ["pool_weight", "frame_count"])
def test_what_is_no_count_of_frames_is_refused(clock: str, wrong: float, tmp_path: Path) -> None:
    movinet.export(make_model(tiny_stream()), tmp_path / "x.tflite", input_spec=SPEC)
    stream = movinet.load(tmp_path / "x.tflite").stream()
    see(stream, FRAMES[:2])
    snapshot = stream.snapshot()
    wanted = see(stream, FRAMES[2:])
    stream.restore(snapshot)
    values = {**snapshot.values, clock: np.full_like(snapshot.values[clock], wrong)}
    with pytest.raises(ConfigError, match=f"its {clock} is not a count of frames"):
        stream.restore(dataclasses.replace(snapshot, values=values))
    np.testing.assert_array_equal(see(stream, FRAMES[2:]), wanted)


def test_another_file_of_the_same_weights_goes_on(
    runtime: ExportedRuntime, batches: ExportedRuntime, tmp_path: Path
) -> None:
    pytest.importorskip("movinet._native", reason="needs the native engine")
    movinet.export(make_model(STREAM), tmp_path / "x.mvn", input_spec=SPEC)
    stream = runtime.stream()
    see(stream, FRAMES[:3])
    snapshot = stream.snapshot()
    wanted = see(stream, FRAMES[3:])
    for other in (batches, movinet.load(tmp_path / "x.mvn")):
        going_on = other.stream(batch_size=1)
        going_on.restore(snapshot)
        assert going_on.frame_counts == [3]
        np.testing.assert_allclose(see(going_on, FRAMES[3:]), wanted, atol=1e-5)


def test_files_that_do_not_tell_take_what_has_their_form(
    runtime: ExportedRuntime, tmp_path: Path, file: Path
) -> None:
    """As those of earlier versions, whose manifests have no such field."""
    values = json.loads(runtime.manifest.to_json())
    del values["weights_sha256"]
    (tmp_path / "older.json").write_text(json.dumps(values))
    older = movinet.load(file, manifest=tmp_path / "older.json")
    assert older.manifest.weights_sha256 == ""
    first, second = runtime.stream(), older.stream()
    see(first, FRAMES[:2])
    second.restore(first.snapshot())
    first.restore(second.snapshot())
    np.testing.assert_array_equal(see(first, FRAMES[2:]), see(second, FRAMES[2:]))


@pytest.mark.parametrize("wrong", ["ab", "x" * 64, "A" * 64, "0" * 65, "0" * 64 + "\n", 3, None])
def test_a_checksum_is_one(runtime: ExportedRuntime, wrong: Any) -> None:
    values = {**json.loads(runtime.manifest.to_json()), "weights_sha256": wrong}
    with pytest.raises(CheckpointError, match="weights_sha256 must be 64 hexadecimal digits"):
        Manifest.parse(json.dumps(values), "x")


def test_exports_of_the_same_weights_have_the_same_checksum(
    runtime: ExportedRuntime, batches: ExportedRuntime, tmp_path: Path
) -> None:
    wanted = runtime.manifest.weights_sha256
    assert len(wanted) == 64
    done = movinet.export(
        make_model(STREAM), tmp_path / "x.tflite", input_spec=SPEC, quantize="dynamic", softmax=True
    )
    assert {batches.manifest.weights_sha256, done.manifest.weights_sha256} == {wanted}


def test_every_weight_counts() -> None:
    model = make_model(tiny_stream())
    names = [name for name, _ in model.named_parameters()]
    found = {fingerprint(fold(model))}
    for _, parameter in model.named_parameters():
        with torch.no_grad():
            parameter.add_(0.01)
        found.add(fingerprint(fold(model)))
    assert len(found) == 1 + len(names)
