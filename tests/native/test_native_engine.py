"""The native engine against the model: any options, sizes, chunks and batches."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from movinet.errors import CheckpointError, ConfigError
from movinet.exporting.native import write_native
from movinet.runtime.native import NativeEngine
from native_files import KERNELS, assert_near, make_manifest, run_engine, running_logits, write_file
from networks import STREAMS, make_model, make_video, tiny_base, tiny_stream

#: Of the largest logit; 1e-4 is promised; 16-bit weights after the poolings cost 2e-5.
TOLERANCE = 5e-5

OPTIONS: list[dict[str, Any]] = [
    {},
    {"se_type": "none", "positional_encoding": False},
    {"se_type": "2d"},
    {"se_type": "3d"},
    {"activation": "swish", "gating_activation": "sigmoid", "head_activation": "relu6"},
    {"activation": "relu6", "head_activation": "hard_swish"},
    {"num_classes": 37},
]


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_options(tmp_path: Path, kernels: str, options: dict[str, Any]) -> None:
    model = make_model(tiny_stream(), **options)
    video = make_video(2, 6, 33, 46)
    engine = NativeEngine(write_file(model, tmp_path / "m.mvn", (33, 46)), kernels)
    assert engine.kernels == kernels
    found = run_engine(engine, video, [1, 3, 2])
    assert_near(found, running_logits(model, video), TOLERANCE)


@pytest.mark.heavy
@pytest.mark.parametrize("name", STREAMS)
def test_presets(tmp_path: Path, name: str) -> None:
    model = make_model(name)
    video = make_video(1, 4, 64, 50)
    engine = NativeEngine(write_file(model, tmp_path / "m.mvn", (64, 50)))
    found = run_engine(engine, video, [1, 1, 2])
    assert_near(found, running_logits(model, video), TOLERANCE)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    batch=st.integers(1, 4),
    chunks=st.lists(st.integers(1, 6), min_size=1, max_size=3),
    decay=st.sampled_from([1.0, 0.9, 0.3]),
)
def test_sizes_chunks_and_batches(
    tmp_path_factory: pytest.TempPathFactory,
    height: int,
    width: int,
    batch: int,
    chunks: list[int],
    decay: float,
) -> None:
    model = make_model(tiny_stream())
    video = make_video(batch, sum(chunks), height, width)
    path = tmp_path_factory.mktemp("native") / "m.mvn"
    engine = NativeEngine(write_file(model, path, (height, width)))
    found = run_engine(engine, video, chunks, decay)
    assert_near(found, running_logits(model, video, decay), TOLERANCE)


def test_bytes_are_255ths(tmp_path: Path) -> None:
    model = make_model(tiny_stream())
    engine = NativeEngine(write_file(model, tmp_path / "m.mvn", (20, 20)))
    pixels = np.random.default_rng(0).integers(0, 256, (1, 20, 20, 3), np.uint8)
    decay = np.ones((1, 1), np.float32)
    found = engine.step(pixels, decay, engine.new_state(1))
    floats = pixels / np.float32(255)
    assert_near(found, engine.step(floats, decay, engine.new_state(1)))


def test_state_goes_out_and_in_again(tmp_path: Path) -> None:
    model = make_model(tiny_stream())
    video = make_video(2, 8, 40, 40)
    engine = NativeEngine(write_file(model, tmp_path / "m.mvn", (40, 40)))
    frames = video.permute(2, 0, 3, 4, 1).contiguous().numpy()
    decay = np.ones((2, 1), np.float32)
    state = engine.new_state(2)
    for frame in frames[:5]:
        engine.step(frame, decay, state)
    values = engine.read_state(state)
    assert list(values) == [spec.name for spec in engine.manifest.states]
    wanted = [engine.step(frame, decay, state) for frame in frames[5:]]
    other = engine.new_state(2)
    engine.write_state(other, values)
    found = [engine.step(frame, decay, other) for frame in frames[5:]]
    np.testing.assert_array_equal(found, wanted)
    # What comes out is the model's own state.
    with torch.inference_mode():
        _, state = model(video[:, :, :5], model.initial_state(2, (40, 40)))
    for name, buffer in state.buffers.items():
        for i in range(buffer.shape[2]):
            assert_near(values[f"buffer/{name}/{i}"], buffer[:, :, i].permute(0, 2, 3, 1).numpy())
    sums = torch.cat([state.sums[name] for name in (*model.blocks, "head")], 1)
    assert_near(values["sums"], sums.numpy())
    assert values["frame_count"].tolist() == [[5.0], [5.0]]


def test_a_position_is_held_where_a_stream_forgets(tmp_path: Path) -> None:
    model = make_model(tiny_stream())  # trained on 4 frames
    video = make_video(1, 9, 16, 16)
    engine = NativeEngine(write_file(model, tmp_path / "m.mvn", (16, 16)))
    found = run_engine(engine, video, [4, 5], 0.5)
    assert_near(found, running_logits(model, video, 0.5), TOLERANCE)


@pytest.mark.parametrize(
    ("options", "word"),
    [({"pooling": "2d"}, "pooling"), ({"factorized": False}, "factorized")],
)
def test_what_it_does_not_run_is_refused(
    tmp_path: Path, options: dict[str, Any], word: str
) -> None:
    manifest = make_manifest(make_model(tiny_stream()), (16, 16))
    model = make_model(tiny_stream(), **options)
    with pytest.raises(ConfigError, match=word):
        write_file_of(model, manifest, tmp_path / "m.mvn")
    with pytest.raises(ConfigError, match="stream"):
        write_file_of(make_model(tiny_base()), manifest, tmp_path / "m.mvn")
    assert not list(tmp_path.iterdir())


def write_file_of(model: Any, manifest: Any, path: Path) -> None:
    from movinet.exporting.folding import fold

    write_native(fold(model), manifest, path)


def test_wrong_frames_and_states_are_refused(tmp_path: Path) -> None:
    engine = NativeEngine(write_file(make_model(tiny_stream()), tmp_path / "m.mvn", (16, 16)))
    decay, state = np.ones((1, 1), np.float32), engine.new_state(1)
    with pytest.raises(ConfigError, match=r"16, 16, 3"):
        engine.step(np.zeros((1, 16, 17, 3), np.float32), decay, state)
    with pytest.raises(ConfigError, match="float32 or uint8"):
        engine.step(np.zeros((1, 16, 16, 3), np.float64), decay, state)
    with pytest.raises(ConfigError, match="decay"):
        engine.step(np.zeros((1, 16, 16, 3), np.float32), decay * 0, state)
    with pytest.raises(ConfigError, match="twice"):
        engine.step(np.zeros((2, 16, 16, 3), np.float32), np.ones((2, 1), np.float32), state * 2)
    other = NativeEngine(write_file(make_model(tiny_stream()), tmp_path / "o.mvn", (32, 32)))
    with pytest.raises(ConfigError, match="another model"):
        engine.step(np.zeros((1, 16, 16, 3), np.float32), decay, other.new_state(1))


def test_a_broken_file_is_one_line(tmp_path: Path) -> None:
    path = write_file(make_model(tiny_stream()), tmp_path / "m.mvn", (16, 16))
    whole = path.read_bytes()
    broken = [b"", whole[:50], whole[:-64], whole + b"\0" * 64, b"XXXX" + whole[4:]]
    for i in range(4, 80):  # the header, bit by bit; some changes are valid headers
        for bit in (1, 128):
            broken.append(whole[:i] + bytes([whole[i] ^ bit]) + whole[i + 1 :])
    refused = 0
    for data in broken:
        path.write_bytes(data)
        try:
            NativeEngine(path)
        except CheckpointError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused >= 5 + 80
    with pytest.raises(CheckpointError, match=r"gone\.mvn"):
        NativeEngine(tmp_path / "gone.mvn")
