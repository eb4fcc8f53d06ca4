"""Snapshots as files: written and read whole, portable between formats, safe from anybody."""

from __future__ import annotations

import contextlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load as read_safetensors
from small_stream import SPEC, STREAM

import movinet
from movinet.errors import CheckpointError, ConfigError
from movinet.runtime.snapshot import StreamSnapshot
from networks import make_model

FRAMES = np.random.default_rng(0).integers(0, 256, (6, 40, 50, 3), np.uint8)
NEEDS = {".onnx": "onnxruntime", ".mvn": "movinet._native", ".xml": "openvino"}


@pytest.fixture(scope="module")
def runtimes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The same weights in the formats that this machine runs."""
    found, folder = {}, tmp_path_factory.mktemp("formats")
    for suffix in (".tflite", ".mvn", ".onnx", ".xml"):
        try:
            if suffix in NEEDS:
                __import__(NEEDS[suffix])
            movinet.export(make_model(STREAM), folder / f"x{suffix}", input_spec=SPEC)
        except (ImportError, movinet.MissingExtraError):
            continue
        found[suffix] = movinet.load(folder / f"x{suffix}")
    return found


def see(stream: Any, frames: np.ndarray) -> np.ndarray:
    return np.stack([stream(frame) for frame in frames])


def test_a_stream_goes_on_in_any_format(runtimes: dict[str, Any], tmp_path: Path) -> None:
    assert ".tflite" in runtimes
    whole = see(runtimes[".tflite"].stream(half_life=1.0), FRAMES)
    for one, runtime in runtimes.items():
        stream = runtime.stream(half_life=1.0)
        see(stream, FRAMES[:3])
        stream.save(tmp_path / "s.safetensors")
        for other, target in runtimes.items():
            resumed = target.open_stream(tmp_path / "s.safetensors")
            found = see(resumed, FRAMES[3:])
            if one == other:
                np.testing.assert_array_equal(found, see(stream, FRAMES[3:]))
                stream.restore(StreamSnapshot.load(tmp_path / "s.safetensors"))
            np.testing.assert_allclose(found, whole[3:], atol=1e-5, err_msg=f"{one} to {other}")
            assert resumed.frame_counts.tolist() == [6]


def snapshot() -> StreamSnapshot:
    values: dict[str, Any] = {
        "buffer/a/0": np.arange(24, dtype=np.float32).reshape(2, 2, 2, 3),
        "frame_count": np.array([[3], [4]], np.int32),
        "sums": np.ones((2, 5), np.float32),
        "packed": np.array([[-1, 2], [3, 4]], np.int8),
    }
    return StreamSnapshot("a0_stream", (3, 4), values, "ab" * 32, (1.0, 0.5), 12.25)


def test_a_file_is_one_of_safetensors_and_gives_all_of_it_back(tmp_path: Path) -> None:
    first, path = snapshot(), tmp_path / "s.safetensors"
    first.save(path)
    tensors = read_safetensors(path.read_bytes())
    again = StreamSnapshot.load(path)
    assert sorted(tensors) == sorted(first.values) == sorted(again.values)
    for name, value in first.values.items():
        np.testing.assert_array_equal(tensors[name], value)
        np.testing.assert_array_equal(again.values[name], value)
        assert again.values[name].dtype == value.dtype
    for field in ("model", "frame_counts", "weights_sha256", "decay", "time"):
        assert getattr(again, field) == getattr(first, field)


def with_header(edit: Any) -> bytes:
    data = snapshot().to_bytes()
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    edit(header)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def set_meta(**values: Any) -> Any:
    return lambda header: header["__metadata__"].update(values)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "0 bytes"),
        (b"\xff" * 64, "its header cannot have"),
        (struct.pack("<Q", 2**62) + b"{}", "its header cannot have"),
        (snapshot().to_bytes()[:-1], "cut off"),
        (snapshot().to_bytes() + b"x", "1 bytes follow"),
        (with_header(lambda h: h.pop("__metadata__")), "no metadata"),
        (with_header(lambda h: h["__metadata__"].pop("movinet_snapshot")), "no 'movinet_snapshot'"),
        (with_header(set_meta(movinet_snapshot="2")), "later movinet"),
        (with_header(set_meta(frame_counts="[]")), "of no stream"),
        (with_header(set_meta(frame_counts="[1]")), "not of 1 streams"),
        (with_header(set_meta(frame_counts="[1, -1]")), "no counts"),
        (with_header(set_meta(frame_counts="[1, true]")), "something else than numbers"),
        (with_header(set_meta(decay="[1, 0]")), "decay"),
        (with_header(set_meta(decay="[1, NaN]")), "decay"),
        (with_header(set_meta(time="Infinity")), "time"),
        (with_header(set_meta(model="a\nb")), "printable"),
        (with_header(lambda h: h["sums"].update(shape=[2, 2**40])), "where they should be"),
        (with_header(lambda h: h["sums"].update(dtype="F64")), "F64"),
        (with_header(lambda h: h["sums"].update(data_offsets=[0, 40])), "where they should be"),
        (with_header(lambda h: h["sums"].update(shape=[2, True])), "is none"),
        (with_header(lambda h: h.update(sums=3)), "not subscriptable"),
    ],
)
def test_what_is_no_snapshot_is_one_line(data: bytes, reason: str) -> None:
    with pytest.raises(CheckpointError, match=reason) as caught:
        StreamSnapshot.from_bytes(data)
    assert str(caught.value).isprintable()


@settings(max_examples=200)
@given(st.data())
def test_damaged_files_give_the_error_or_a_snapshot(data: st.DataObject) -> None:
    whole = bytearray(snapshot().to_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    part = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    with contextlib.suppress(CheckpointError):
        assert len(StreamSnapshot.from_bytes(part).frame_counts) == 2


def test_a_snapshot_of_something_else_moves_nothing(
    runtimes: dict[str, Any], tmp_path: Path
) -> None:
    runtime = runtimes[".tflite"]
    snapshot().save(tmp_path / "s.safetensors")
    with pytest.raises(ConfigError, match="the snapshot is of a0_stream, not of model"):
        runtime.open_stream(tmp_path / "s.safetensors")
    with pytest.raises(CheckpointError, match="cannot be read"):
        runtime.open_stream(tmp_path / "none")
    with pytest.raises(CheckpointError):
        runtime.open_stream(tmp_path)


def test_the_decay_can_change_while_a_stream_goes_on(runtimes: dict[str, Any]) -> None:
    for runtime in runtimes.values():
        first, second = runtime.stream(), runtime.stream(half_life=0.4)
        see(first, FRAMES[:2])
        second.restore(first.snapshot())
        first.set_decay(movinet.decay_from_half_life(0.4, SPEC.frame_rate))
        np.testing.assert_array_equal(see(first, FRAMES[2:]), see(second, FRAMES[2:]))
        for wrong in (0, 1.5, float("nan"), -1):
            with pytest.raises(ConfigError, match="decay must be in"):
                first.set_decay(wrong)
