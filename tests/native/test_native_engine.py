"""The native engine against the model: any options, sizes, chunks and batches."""

import contextlib
import gzip
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from native_files import (
    KERNELS,
    assert_near,
    make_manifest,
    open_engine,
    run_engine,
    running_logits,
    write_file,
)

from movinet.errors import CheckpointError, ConfigError
from movinet.exporting.graph.folding import fold
from movinet.exporting.writers.native import ACTIVATIONS, write_native
from movinet.network.config import Activation, Gating
from movinet.network.model import MoViNet
from movinet.network.presets import preset_config
from movinet.runtime.engines.native import NativeEngine
from movinet.weights.factory import load_model
from movinet.weights.layouts import tf_to_torch
from networks import STREAMS, make_model, make_video, tiny_base, tiny_stream
from reference_weights import video as reference_video
from reference_weights import weight

#: Of the largest logit. 16-bit weights after the poolings cost about a third of it.
TOLERANCE = 1e-4

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
    engine = open_engine(write_file(model, tmp_path / "m.mvn", (33, 46)), kernels)
    assert engine.kernels == kernels
    found = run_engine(engine, video, [1, 3, 2])
    assert_near(found, running_logits(model, video), TOLERANCE)


BY_ACTIVATION: list[dict[str, Any]] = [
    *({"activation": name, "head_activation": name} for name in get_args(Activation)),
    *({"gating_activation": name} for name in get_args(Gating)),
]


@pytest.mark.parametrize("options", BY_ACTIVATION, ids=str)
def test_every_activation_runs_or_is_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    model, video = make_model(tiny_stream(), **options), make_video(2, 4, 20, 24)
    if not set(options.values()) <= set(ACTIVATIONS):
        with pytest.raises(ConfigError, match=r"no activation '\w+', it has [^\n]*$"):
            write_file(model, tmp_path / "m.mvn", (20, 24))
        return
    path = write_file(model, tmp_path / "m.mvn", (20, 24))
    for kernels in KERNELS:
        found = run_engine(open_engine(path, kernels), video, [1, 3])
        assert_near(found, running_logits(model, video), TOLERANCE)


@pytest.mark.parametrize("options", BY_ACTIVATION, ids=str)
def test_an_activation_that_the_engine_has_not(
    tmp_path: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(tiny_stream(), **options)
    for name in options.values():
        monkeypatch.delitem(ACTIVATIONS, name, raising=False)
    with pytest.raises(
        ConfigError, match=r"no activation '\w+', it has [^\n]*: export the .*tflite$"
    ):
        write_file(model, tmp_path / "m.mvn", (20, 24))
    assert not list(tmp_path.iterdir())


@pytest.mark.heavy
@pytest.mark.parametrize("name", STREAMS)
def test_presets(tmp_path: Path, name: str) -> None:
    model = make_model(name)
    video = make_video(1, 4, 64, 50)
    engine = open_engine(write_file(model, tmp_path / "m.mvn", (64, 50)))
    found = run_engine(engine, video, [1, 1, 2])
    assert_near(found, running_logits(model, video), TOLERANCE)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
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
    engine = open_engine(write_file(model, path, (height, width)))
    found = run_engine(engine, video, chunks, decay)
    assert_near(found, running_logits(model, video, decay), TOLERANCE)


@pytest.mark.parametrize("quantization", ["none", "float16", "dynamic"])
@pytest.mark.parametrize("threads", [2, 3])
def test_threads_give_the_same_numbers(
    tmp_path: Path, quantization: Literal["none", "float16", "dynamic"], threads: int
) -> None:
    # Large enough for every kind of layer to be shared out, by rows and by outputs.
    model = make_model("a0_stream", num_classes=600)
    path = write_file(model, tmp_path / "m.mvn", (90, 96), quantization)
    for batch, chunks in ((1, [1, 1]), (2, [1, 2])):
        video = make_video(batch, sum(chunks), 90, 96)
        alone = run_engine(open_engine(path), video, chunks)
        together = run_engine(open_engine(path, num_threads=threads), video, chunks)
        np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize("quantization", ["none", "float16", "dynamic"])
def test_large_images_go_alone_and_small_ones_together(
    tmp_path: Path, quantization: Literal["none", "float16", "dynamic"]
) -> None:
    # Several images of the first blocks fit into no second cache, those of the last ones into any.
    model = make_model(tiny_stream(), positional_encoding=True)
    path = write_file(model, tmp_path / "m.mvn", (250, 330), quantization)
    video = make_video(3, 4, 250, 330)
    together = run_engine(open_engine(path), video, [3, 1])
    alone = [run_engine(open_engine(path), one, [1] * 4) for one in video.split(1)]
    assert_near(together, np.concatenate(alone), 1e-6 if quantization == "none" else 1e-3)
    if quantization == "none":
        assert_near(together, running_logits(model, video), TOLERANCE)


def test_steps_at_the_same_time_share_one_team(tmp_path: Path) -> None:
    model = make_model(tiny_stream())
    path = write_file(model, tmp_path / "m.mvn", (64, 64))
    engine = open_engine(path, num_threads=2)
    videos = [make_video(1, 40, 64, 64, seed=seed) for seed in range(4)]
    wanted = [run_engine(open_engine(path), video, [1] * 40) for video in videos]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda video: run_engine(engine, video, [1] * 40), videos))
    np.testing.assert_array_equal(found, wanted)


def test_numbers_of_threads_have_bounds(tmp_path: Path) -> None:
    path = write_file(make_model(tiny_stream()), tmp_path / "m.mvn", (16, 16))
    for threads in (0, 65):
        with pytest.raises(ConfigError, match=f"1 to 64 threads, not in {threads}"):
            NativeEngine(path, num_threads=threads)


def test_bytes_are_255ths(tmp_path: Path) -> None:
    model = make_model(tiny_stream())
    engine = open_engine(write_file(model, tmp_path / "m.mvn", (20, 20)))
    pixels = np.random.default_rng(0).integers(0, 256, (1, 20, 20, 3), np.uint8)
    decay = np.ones((1, 1), np.float32)
    found = engine.step(pixels, decay, engine.new_state(1))
    floats = pixels / np.float32(255)
    assert_near(found, engine.step(floats, decay, engine.new_state(1)))


def test_state_goes_out_and_in_again(tmp_path: Path) -> None:
    model = make_model(tiny_stream())
    video = make_video(2, 8, 40, 40)
    engine = open_engine(write_file(model, tmp_path / "m.mvn", (40, 40)))
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
    engine = open_engine(write_file(model, tmp_path / "m.mvn", (16, 16)))
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
        write_native(fold(model), manifest, tmp_path / "m.mvn")
    with pytest.raises(ConfigError, match="stream"):
        write_native(fold(make_model(tiny_base())), manifest, tmp_path / "m.mvn")
    assert not list(tmp_path.iterdir())


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
    for data in (b"", whole[:50], whole[:-64], whole + b"\0" * 64, b"XXXX" + whole[4:]):
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match=r"^[^\n]*m\.mvn[^\n]*$"):
            NativeEngine(path)
    refused = 0
    for i in range(4, 80):  # some other headers are as good as this one
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 128]) + whole[i + 1 :])
        with contextlib.suppress(CheckpointError):
            NativeEngine(path)
            continue
        refused += 1
    assert refused >= 50
    with pytest.raises(CheckpointError, match=r"gone\.mvn"):
        NativeEngine(tmp_path / "gone.mvn")


CASES = Path(__file__).parent.parent / "data" / "cases"


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["a0_stream_50x66", *STREAMS])
def test_reference_cases(tmp_path: Path, name: str) -> None:
    case = json.loads(gzip.decompress((CASES / "cases.json.gz").read_bytes()))[name]
    tensors = {key: weight(key, tuple(shape)) for key, shape in case["keys"].items()}
    config = preset_config(
        f"{case['model_id']}_stream",
        num_classes=case["num_classes"],
        head_activation=case["head_activation"],
    )
    model = MoViNet(config, initialize=False).eval()
    model.load_state_dict(tf_to_torch(tensors, config))
    video = torch.from_numpy(reference_video(tuple(case["shape"]))).permute(0, 4, 1, 2, 3)
    size = (video.shape[3], video.shape[4])
    engine = open_engine(write_file(model, tmp_path / "m.mvn", size))
    with np.load(CASES / f"{name}.npz") as data:
        wanted = data["frame_logits"]
    assert_near(run_engine(engine, video, [1] * video.shape[2]), wanted, TOLERANCE)


def test_the_embedded_model(tmp_path: Path) -> None:
    loaded = load_model(None, "motions")
    assert isinstance(loaded.model, MoViNet)
    size = loaded.info.input.image_size
    video = make_video(1, 4, size, size)
    engine = open_engine(write_file(loaded.model, tmp_path / "m.mvn", (size, size)))
    found = run_engine(engine, video, [1, 3])
    assert_near(found, running_logits(loaded.model, video), TOLERANCE)
