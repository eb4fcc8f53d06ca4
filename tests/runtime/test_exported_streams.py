"""Streams of an exported file: independent, rewindable, safe to share."""

import json
import threading
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_stream import SPEC, STREAM

import movinet
from movinet.errors import CheckpointError, ConfigError
from movinet.runtime.manifest import Manifest
from movinet.runtime.numbers import decay_from_half_life
from networks import make_model

FRAMES = np.random.default_rng(0).integers(0, 256, (8, 40, 50, 3), np.uint8)


def outputs(stream: Any, frames: Any = FRAMES) -> np.ndarray:
    return np.stack([stream(frame) for frame in frames])


def test_streams_do_not_touch_each_other(runtime) -> None:
    alone = outputs(runtime.stream())
    first, second = runtime.stream(), runtime.stream()
    for i, frame in enumerate(FRAMES):
        np.testing.assert_array_equal(first(frame), alone[i])
        second(FRAMES[-1 - i])
    assert first.frame_counts == [len(FRAMES)]


def test_snapshot_and_restore_rewind(runtime) -> None:
    stream = runtime.stream()
    outputs(stream, FRAMES[:3])
    snapshot = stream.snapshot()
    wanted = outputs(stream, FRAMES[3:])
    other = runtime.stream()
    for rewound in (stream, other):
        rewound.restore(snapshot)
        assert rewound.frame_counts == [3]
        np.testing.assert_array_equal(outputs(rewound, FRAMES[3:]), wanted)


def test_reset_forgets_everything(runtime) -> None:
    stream = runtime.stream()
    wanted = outputs(stream)
    stream.reset()
    assert stream.frame_counts == [0]
    np.testing.assert_array_equal(outputs(stream), wanted)


def test_batches_are_streams_side_by_side(batches) -> None:
    """One of them is reset on the way; the others do not notice."""
    stream = batches.stream(batch_size=3)
    alone = [outputs(batches.stream(), np.roll(FRAMES, i, axis=0)) for i in range(3)]
    found = np.empty(0)
    for i in range(len(FRAMES)):
        if i == 4:
            stream.reset(1)
        found = stream([np.roll(FRAMES, k, axis=0)[i] for k in range(3)])
        np.testing.assert_allclose(found[0], alone[0][i], atol=1e-6)
        np.testing.assert_allclose(found[2], alone[2][i], atol=1e-6)
    again = outputs(batches.stream(), np.roll(FRAMES, 1, axis=0)[4:])
    np.testing.assert_allclose(found[1], again[-1], atol=1e-6)
    assert list(stream.frame_counts) == [8, 4, 8]


def test_half_life_is_the_models_decay(runtime) -> None:
    stream = runtime.stream(half_life=0.6)
    model, decay = make_model(STREAM), decay_from_half_life(0.6, SPEC.frame_rate)
    from movinet.video.preprocessing import preprocess

    video = torch.from_numpy(np.stack([preprocess(frame, SPEC) for frame in FRAMES]))
    video = video.permute(3, 0, 1, 2)[None]
    with torch.no_grad():
        wanted, _ = model.running_logits(video, model.initial_state(1, (32, 32)), decay)
    np.testing.assert_allclose(outputs(stream), wanted[0].softmax(1).numpy(), atol=1e-5)


def test_threads_take_turns(runtime) -> None:
    wanted, found = outputs(runtime.stream()), {}

    def watch(number: int) -> None:
        found[number] = outputs(runtime.stream())

    threads = [threading.Thread(target=watch, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    for result in found.values():
        np.testing.assert_array_equal(result, wanted)


def test_a_thousand_streams_share_one_engine(runtime) -> None:
    streams = [runtime.stream() for _ in range(1000)]
    first = streams[0](FRAMES[0])
    for stream in streams[1:]:
        np.testing.assert_array_equal(stream(FRAMES[0]), first)
    assert len({id(stream.runtime.engine) for stream in streams}) == 1


def test_frames_of_the_right_size_can_be_taken_as_they_are(runtime) -> None:
    stream = runtime.stream(resize=False)
    assert stream(FRAMES[0, :32, :32]).sum() == pytest.approx(1, abs=1e-6)
    with pytest.raises(ConfigError, match=r"a frame must be \(32, 32, 3\) uint8"):
        stream(FRAMES[0])


def test_frames_that_are_none_are_refused(runtime, batches) -> None:
    for bad in (FRAMES[0].astype(np.float32), FRAMES[0, :, :, 0], np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(ConfigError):
            runtime.stream()(bad)
    with pytest.raises(ConfigError, match="expected 2 frames at a time, got 1"):
        batches.stream(batch_size=2)([FRAMES[0]])
    with pytest.raises(ConfigError, match="was exported for 1 streams at once"):
        runtime.stream(batch_size=2)
    with pytest.raises(ConfigError, match="numbered from 0 to 0"):
        runtime.stream().reset(1)


def test_a_snapshot_of_another_model_is_refused(runtime, batches) -> None:
    with pytest.raises(ConfigError, match="and 2 streams, not of model and 1"):
        runtime.stream().restore(batches.stream(batch_size=2).snapshot())


def test_running_logits_are_the_streams(runtime) -> None:
    frames = np.stack([frame[:32, :32] for frame in FRAMES])
    logits, state = runtime.running_logits(frames[:5].astype(np.float32) / np.float32(255))
    more, _ = runtime.running_logits(frames[5:].astype(np.float32) / np.float32(255), state)
    found = np.exp(np.concatenate([logits, more]))
    found /= found.sum(1, keepdims=True)
    np.testing.assert_allclose(found, outputs(runtime.stream(resize=False), frames), atol=1e-6)


def rewritten(file: Path, path: Path, text: str) -> Path:
    """The file with another manifest."""
    data = file.read_bytes()
    graph = data[: data.index(b"PK\x03\x04")]
    path.write_bytes(graph)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("movinet.json", text)
    return path


def test_broken_files_are_told_in_one_line(file: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.tflite"
    for data, message in (
        (b"", "not a .tflite file"),
        (b"\0\0\0\0TFL3" + b"\0" * 64, "it has no graph"),
        (file.read_bytes()[:5000], "a damaged TensorFlow Lite file"),
    ):
        bad.write_bytes(data)
        with pytest.raises(CheckpointError, match=message) as caught:
            movinet.load(bad)
        assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match="there is no such file"):
        movinet.load(tmp_path / "none.tflite")
    with pytest.raises(ConfigError, match="ends in one of"):
        movinet.load(file.with_suffix(".bin"))


def test_the_order_of_the_manifest_means_nothing(file: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(file) as archive:
        values = json.loads(archive.read("movinet.json"))
    wanted = outputs(movinet.load(file).stream())
    for name in ("states", "inputs", "outputs"):
        values[name].reverse()
    other = movinet.load(rewritten(file, tmp_path / "x.tflite", json.dumps(values)))
    np.testing.assert_array_equal(outputs(other.stream()), wanted)


def test_a_manifest_of_another_graph_is_refused(file: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(file) as archive:
        values = json.loads(archive.read("movinet.json"))
    values["states"][1]["shape"][1] += 1
    with pytest.raises(CheckpointError, match="shapes or types differ"):
        movinet.load(rewritten(file, tmp_path / "x.tflite", json.dumps(values)))
    values["movinet"] = 99
    with pytest.raises(CheckpointError, match="of a later movinet"):
        movinet.load(rewritten(file, tmp_path / "y.tflite", json.dumps(values)))


@given(data=st.data())
def test_manifests_from_anybody_are_parsed_or_refused(runtime, data) -> None:
    """Any value in any place gives a manifest or one CheckpointError, never anything else."""
    values = json.loads(runtime.manifest.to_json())
    place: Any = values
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(place[key], (dict, list)) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    junk = (
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text()
        | st.just([])
        | (st.just({}))
    )
    place[key] = data.draw(junk)
    message = ""
    try:
        Manifest.parse(json.dumps(values), "file")
    except CheckpointError as error:
        message = str(error)
    assert "\n" not in message
