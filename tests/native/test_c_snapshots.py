"""Snapshots that C writes go on in Python, and the other way round."""

from __future__ import annotations

import json
import random
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engine_build import compile_for_tests, engine_folder
from safetensors.numpy import load as read_safetensors

import movinet
from movinet.network.config import InputSpec
from movinet.runtime.snapshot import StreamSnapshot
from networks import make_model, tiny_stream

pytest.importorskip("movinet._native", reason="the native engine is not built")

# It compiles the engine where nobody has, and where its sources have changed since.
pytestmark = [pytest.mark.heavy, pytest.mark.timeout(900)]
SPEC = InputSpec(32, 32, 5.0, 4)
FRAMES = np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3), np.uint8)
FRAMES[:3] //= 8
CUT = 4


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "movinet_snapshot"
    with engine_folder() as folder:
        compile_for_tests(folder)
        shutil.copy(folder / path.name, path)
    return path


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One network in several formats and precisions, another with other weights, a third one."""
    folder = tmp_path_factory.mktemp("models")
    model = make_model(tiny_stream())
    other = make_model(tiny_stream())
    with torch.no_grad():
        other.classifier.bias[0] += 1e-3
    exports: list[tuple[str, Any, dict[str, Any]]] = [
        ("plain.mvn", model, {}),
        ("half.mvn", model, {"quantize": "float16"}),
        ("plain.tflite", model, {}),
        ("other.mvn", other, {}),
    ]
    for name, network, options in exports:
        movinet.export(network, folder / name, input_spec=SPEC, **options)
    return {path.name: path for path in folder.iterdir()}


def run(program: Path, *arguments: str | Path, frames: np.ndarray = FRAMES) -> np.ndarray:
    done = subprocess.run([program, *arguments], input=frames.tobytes(), capture_output=True)
    if done.returncode:
        raise RuntimeError(f"{done.returncode}: {done.stderr.decode()}")
    rows = [line.split() for line in done.stdout.decode().splitlines()]
    logits = np.array(rows, np.float64)
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


@pytest.mark.parametrize("name", ["plain.mvn", "half.mvn", "plain.tflite"])
def test_a_stream_goes_on_on_the_other_side(
    name: str, program: Path, models: dict[str, Path], tmp_path: Path
) -> None:
    runtime = movinet.load(models[name])
    native = models["plain.mvn" if name == "plain.tflite" else name]
    tolerance = 1e-4 if name == "half.mvn" else 1e-5
    stream = runtime.stream(resize=False)
    whole = np.array([stream(frame) for frame in FRAMES])
    run(program, "save", native, tmp_path / "c", frames=FRAMES[:CUT])
    resumed = runtime.open_stream(tmp_path / "c")
    found = np.array([resumed(frame) for frame in FRAMES[CUT:]])
    np.testing.assert_allclose(found, whole[CUT:], atol=tolerance)
    assert resumed.frame_counts.tolist() == [len(FRAMES)]

    begun = runtime.stream(resize=False)
    for frame in FRAMES[:CUT]:
        begun(frame)
    begun.save(tmp_path / "python")
    found = run(program, "resume", native, tmp_path / "python", frames=FRAMES[CUT:])
    np.testing.assert_allclose(found, whole[CUT:], atol=tolerance)
    fresh = run(program, "save", native, tmp_path / "fresh", frames=FRAMES[CUT:])
    assert np.abs(fresh - whole[CUT:]).max() > 5 * tolerance  # it does matter what was seen


def test_the_file_is_that_of_python(program: Path, models: dict[str, Path], tmp_path: Path) -> None:
    run(program, "save", models["plain.mvn"], tmp_path / "c", frames=FRAMES[:CUT])
    stream = movinet.load(models["plain.mvn"]).stream(resize=False)
    for frame in FRAMES[:CUT]:
        stream(frame)
    wanted, found = stream.snapshot(), StreamSnapshot.load(tmp_path / "c")
    assert (found.model, found.weights_sha256) == (wanted.model, wanted.weights_sha256)
    assert (found.frame_counts, found.decay, found.time) == ((CUT,), (), None)
    tensors = read_safetensors((tmp_path / "c").read_bytes())
    assert sorted(tensors) == sorted(wanted.values)
    for key, value in wanted.values.items():
        np.testing.assert_array_equal(found.values[key], value)
    assert [path.name for path in tmp_path.iterdir()] == ["c"]  # nothing is left beside it


def test_through_memory_it_is_the_same(
    program: Path, models: dict[str, Path], tmp_path: Path
) -> None:
    path = models["plain.mvn"]
    wanted = run(program, "save", path, tmp_path / "file", frames=FRAMES[:CUT])
    found = run(program, "save", path, tmp_path / "memory", "memory", frames=FRAMES[:CUT])
    np.testing.assert_array_equal(found, wanted)
    assert (tmp_path / "memory").read_bytes() == (tmp_path / "file").read_bytes()
    wanted = run(program, "resume", path, tmp_path / "file", frames=FRAMES[CUT:])
    found = run(program, "resume", path, tmp_path / "file", "memory", frames=FRAMES[CUT:])
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("damage", [b"", b"MVN1", b"x" * 4096])
def test_damage_in_memory_is_refused(
    damage: bytes, program: Path, models: dict[str, Path], tmp_path: Path
) -> None:
    bad = tmp_path / "bad"
    bad.write_bytes(damage)
    with pytest.raises(RuntimeError, match=r"1: the model: not a usable \.mvn file"):
        run(program, "save", bad, tmp_path / "c", "memory")
    with pytest.raises(RuntimeError, match="1: the snapshot: not a snapshot of a stream"):
        run(program, "resume", models["plain.mvn"], bad, "memory")


def with_header(data: bytes, edit: Callable[[dict[str, Any]], object]) -> bytes:
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    edit(header)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def meta(**values: str) -> Callable[[dict[str, Any]], object]:
    return lambda header: header["__metadata__"].update(values)


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda _: b"", "too short"),
        (lambda _: b"\xff" * 64, "its header cannot have"),
        (lambda _: struct.pack("<Q", 2**62) + b"{}", "its header cannot have"),
        (lambda d: d[:-1], "cut off"),
        (lambda d: d + b"x", "something follows"),
        (lambda _: struct.pack("<Q", 2**20) + b"[" * 2**20, "too much JSON"),
        (lambda _: struct.pack("<Q", 8) + b"[1,2,3] ", "of this version"),
        (lambda _: struct.pack("<Q", 2) + b"\0\0", "not JSON"),
        (lambda d: with_header(d, meta(movinet_snapshot="2")), "of this version"),
        (lambda d: with_header(d, meta(model="tina")), "of another model"),
        (lambda d: with_header(d, meta(weights_sha256="0" * 64)), "of other weights"),
        (lambda d: with_header(d, meta(frame_counts="[1, 2]")), "not of one stream"),
        (lambda d: with_header(d, meta(frame_counts="[-1]")), "not of one stream"),
        (lambda d: with_header(d, meta(frame_counts="[" * 99)), "not of one stream"),
        (lambda d: with_header(d, lambda h: h.pop("sums")), "another image size"),
        (lambda d: with_header(d, lambda h: h["sums"].update(shape=[1, 2**52])), "another image"),
        (lambda d: with_header(d, lambda h: h["sums"].update(dtype="F16")), "another image"),
        (lambda d: with_header(d, lambda h: h["sums"].update(data_offsets=[0])), "no place"),
        (lambda d: with_header(d, lambda h: h.update(x={"data_offsets": [0, 4]})), "overlap"),
    ],
)
def test_what_is_no_snapshot_is_one_line(
    edit: Any, reason: str, program: Path, models: dict[str, Path], tmp_path: Path
) -> None:
    run(program, "save", models["plain.mvn"], tmp_path / "c")
    (tmp_path / "c").write_bytes(edit((tmp_path / "c").read_bytes()))
    with pytest.raises(RuntimeError, match=rf"^1: [^\n]*{reason}[^\n]*\n$"):
        run(program, "resume", models["plain.mvn"], tmp_path / "c")


def test_other_weights_and_other_places_are_refused(
    program: Path, models: dict[str, Path], tmp_path: Path
) -> None:
    run(program, "save", models["plain.mvn"], tmp_path / "c")
    with pytest.raises(RuntimeError, match="of other weights"):
        run(program, "resume", models["other.mvn"], tmp_path / "c")
    with pytest.raises(RuntimeError, match="cannot be read"):
        run(program, "resume", models["plain.mvn"], tmp_path / "none")
    with pytest.raises(RuntimeError, match="not a regular file"):
        run(program, "resume", models["plain.mvn"], tmp_path)
    with pytest.raises(RuntimeError, match="cannot be written"):
        run(program, "save", models["plain.mvn"], tmp_path / "none" / "c")
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_damage_ends_in_one_line_or_in_a_stream(
    program: Path, models: dict[str, Path], tmp_path: Path
) -> None:
    chance = random.Random(0)
    run(program, "save", models["plain.mvn"], tmp_path / "c")
    whole = (tmp_path / "c").read_bytes()
    (length,) = struct.unpack_from("<Q", whole)
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 3)):
            data[chance.randrange(8 + length)] = chance.choice(b'0123456789"[]{},:x\\\x00\xff')
        (tmp_path / "d").write_bytes(
            data[: chance.choice([len(data), chance.randrange(len(data))])]
        )
        done = subprocess.run(
            [program, "resume", models["plain.mvn"], tmp_path / "d"],
            input=FRAMES[:1].tobytes(),
            capture_output=True,
        )
        assert done.returncode in (0, 1)
        assert done.stderr.count(b"\n") == done.returncode
