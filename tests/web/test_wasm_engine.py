"""The engine in WebAssembly computes what it computes natively, and trusts as little."""

import shutil
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

import movinet
from js_models import Run
from movinet.network.config import Activation, InputSpec
from movinet.runtime.snapshot import StreamSnapshot
from movinet.video import VideoReader, resample
from movinet.video.preprocessing import crop_pixels
from movinet.weights.factory import load_model
from networks import make_model, tiny_stream

pytest.importorskip("movinet._native", reason="the native engine is not built")
from movinet.runtime.engines.native import NativeEngine

CLIP = Path(movinet.__file__).parent / "demo" / "clip.mp4"
SPEC = InputSpec(image_size=48, short_side=48, frame_rate=5.0, num_frames=4)
FRAMES = np.random.default_rng(0).integers(0, 256, (5, 48, 48, 3), np.uint8)
FRAMES[:2] //= 8
KERNELS = ["simd128", "relaxed"]
#: Options of the network and of the export, and the largest difference of the largest logit.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], float]] = {
    "float32": ({}, {}, 1e-4),
    "float16": ({}, {"quantize": "float16"}, 1e-4),
    "int8": ({}, {"quantize": "dynamic"}, 1e-3),
    "no gates": ({"se_type": "none", "positional_encoding": False}, {}, 1e-4),
    "3d gates": ({"se_type": "3d", "num_classes": 37}, {}, 1e-4),
    **{name: ({"activation": name}, {}, 1e-4) for name in get_args(Activation)},
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return export(tmp_path / "model.mvn")


def export(path: Path, *, options: dict[str, Any] | None = None, **more: Any) -> Path:
    movinet.export(make_model(tiny_stream(), **(options or {})), path, input_spec=SPEC, **more)
    return path


def plain_logits(path: Path, frames: np.ndarray, decay: float = 1.0) -> np.ndarray:
    """By the native engine, without any instruction set."""
    engine = NativeEngine(path, kernels="plain")
    state = engine.new_state(1)
    weights = np.array([[decay]], np.float32)
    return np.array([engine.step(frame[None], weights, state)[0] for frame in frames])


def refusal(answer: Any) -> str:
    assert isinstance(answer, dict), answer
    assert answer["refused"].count("\n") == 0
    return answer["refused"]


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("case", CASES)
def test_logits_are_those_of_the_native_engine(
    case: str, kernels: str, run: Run, tmp_path: Path
) -> None:
    options, more, tolerance = CASES[case]
    path = export(tmp_path / "x.mvn", options=options, **more)
    wanted = plain_logits(path, FRAMES, decay=0.5 ** (1 / 5))
    steps = [["logits", i] for i in range(len(FRAMES))]
    info, *found = run(["load", path], *steps, frames=FRAMES, kernels=kernels, half_life=1.0)
    assert info["kernels"] == kernels
    assert info["labels"] == list(movinet.load(path).info.labels)
    np.testing.assert_allclose(found, wanted, atol=tolerance * np.abs(wanted).max())


def test_a_clip_is_seen_as_python_sees_it(run: Run, tmp_path: Path) -> None:
    """Resizing, classes and time included."""
    path = tmp_path / "motions.mvn"
    movinet.export(load_model(None, "motions"), path)
    rate = movinet.load(path).info.input.frame_rate
    with VideoReader(CLIP) as reader:
        frames = np.array([frame.image for frame in resample(reader, rate)])
    wanted = [prediction.probabilities for prediction in movinet.predict(CLIP, path)]
    _, *found = run(["load", path], *(["step", i] for i in range(len(frames))), frames=frames)
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_missed_frames_fade(run: Run, model: Path) -> None:
    missed, decay = [0, 0, 3, 0, 1], 0.5 ** (1 / 5)
    engine = NativeEngine(model, kernels="plain")
    state, wanted = engine.new_state(1), []
    for frame, count in zip(FRAMES, missed, strict=True):
        weights = np.array([[decay ** (count + 1)]], np.float32)
        logits = engine.step(crop_pixels(frame, SPEC)[None], weights, state)[0]
        wanted.append(np.exp(logits) / np.exp(logits).sum())
    steps = [["step", i, count] for i, count in enumerate(missed)]
    _, *found = run(["load", model], *steps, frames=FRAMES, half_life=1.0)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_a_stream_goes_on_in_python_and_back(run: Run, model: Path, tmp_path: Path) -> None:
    stream = movinet.load(model).stream(resize=False)
    whole = np.array([stream(frame) for frame in FRAMES])
    whole_steps = [["logits", i] for i in range(3)]
    run(["load", model], *whole_steps, ["save", tmp_path / "page"], frames=FRAMES)
    resumed = movinet.load(model).open_stream(tmp_path / "page")
    found = np.array([resumed(frame) for frame in FRAMES[3:]])
    np.testing.assert_allclose(found, whole[3:], atol=1e-4)

    begun = movinet.load(model).stream(resize=False)
    for frame in FRAMES[:3]:
        begun(frame)
    begun.save(tmp_path / "python")
    _, _, count, *logits = run(
        *(["load", model], ["restore", tmp_path / "python"], ["count"]),
        *(["logits", i] for i in (3, 4)),
        frames=FRAMES,
    )
    assert count == 3
    np.testing.assert_allclose(logits, plain_logits(model, FRAMES)[3:], atol=1e-4)

    # Python's reader takes the file apart, too, and finds the same.
    page = StreamSnapshot.load(tmp_path / "page")
    wanted = begun.snapshot()
    assert (page.model, page.weights_sha256) == (wanted.model, wanted.weights_sha256)
    for name, value in wanted.values.items():
        np.testing.assert_allclose(
            page.values[name], value, atol=1e-5 * max(1, np.abs(value).max())
        )


def test_the_embedding_is_that_of_python(run: Run, model: Path) -> None:
    engine = NativeEngine(model, kernels="plain")
    state = engine.new_state(1)
    decay = np.ones((1, 1), np.float32)
    wanted = [engine.step(frame[None], decay, state, "embedding") for frame in FRAMES][-1]
    _, early, *_, found = run(
        *(["load", model], ["embedding"], *(["logits", i] for i in range(len(FRAMES)))),
        ["embedding"],
        frames=FRAMES,
    )
    assert "has seen no frame" in refusal(early)
    np.testing.assert_allclose(found, wanted[-1], rtol=1e-4, atol=1e-5)


def test_a_stream_is_reset(run: Run, model: Path) -> None:
    steps = [["logits", 0], ["logits", 1], ["reset"], ["count"], ["logits", 0], ["logits", 1]]
    _, *answers = run(["load", model], *steps, frames=FRAMES)
    assert answers[3] == 0
    assert answers[4:] == answers[:2]
    assert answers[1] != answers[0]


def test_damaged_models_are_refused(run: Run, model: Path, tmp_path: Path) -> None:
    good, paths = model.read_bytes(), []
    random = np.random.default_rng(0)
    cut = [good[:size] for size in (0, 3, 60, 300, len(good) // 2, len(good) - 1)]
    for i, content in enumerate([*cut, b"x" * 500, good + b"more"]):
        paths.append(tmp_path / f"{i}.mvn")
        paths[-1].write_bytes(content)
    answers = run(*(["load", path] for path in paths))
    assert all(refusal(answer) for answer in answers)

    # Whatever is in the header and in the records: refused, or a model.
    paths = []
    for i in range(40):
        damaged = bytearray(good)
        for at in random.integers(0, 700, 3):
            damaged[at] = random.integers(256)
        paths.append(tmp_path / f"damaged{i}.mvn")
        paths[-1].write_bytes(damaged)
    answers = run(*(["load", path] for path in paths))
    assert any("refused" in answer for answer in answers)
    assert all("kernels" in answer or refusal(answer) for answer in answers)


def test_damaged_snapshots_change_nothing(run: Run, model: Path, tmp_path: Path) -> None:
    run(["load", model], ["logits", 0], ["save", tmp_path / "good"], frames=FRAMES)
    good = (tmp_path / "good").read_bytes()
    other = export(tmp_path / "other.mvn", options={"num_classes": 5})
    run(["load", other], ["logits", 0], ["save", tmp_path / "0"], frames=FRAMES)
    contents = [b"", b"\xff" * 64, good[:-1], good + b"x", good[:200], b"\x02" + bytes(7) + b"{}"]
    for i, content in enumerate(contents, 1):
        (tmp_path / f"{i}").write_bytes(content)
    bad = [tmp_path / f"{i}" for i in range(len(contents) + 1)]
    _, first, *answers = run(
        *(["load", model], ["logits", 0]),
        *(["restore", path] for path in bad),
        *(["count"], ["logits", 1]),
        frames=FRAMES,
    )
    assert all(refusal(answer) for answer in answers[: len(bad)])
    np.testing.assert_allclose([first, answers[-1]], plain_logits(model, FRAMES[:2]), atol=1e-4)
    assert answers[-2] == 1


def test_refusals_do_not_eat_memory(run: Run, model: Path, tmp_path: Path) -> None:
    run(["load", model], ["logits", 0], ["save", tmp_path / "good"], frames=FRAMES)
    bad = tmp_path / "bad"
    bad.write_bytes((tmp_path / "good").read_bytes()[:-4])
    _, *_, before = run(["load", model], ["restore", bad], ["memory"])
    _, *_, after = run(["load", model], *[["restore", bad]] * 300, ["memory"])
    assert after <= before + 2**20


def test_wrong_use_is_one_line(run: Run, model: Path, tmp_path: Path) -> None:
    base = tmp_path / "base.onnx"
    movinet.export(make_model("a0_base"), base, image_size=32, num_frames=2)
    shutil.copyfile(CLIP, tmp_path / "video")
    frames = np.zeros((1, 10, 10, 3), np.uint8)
    _, size, missed, clip, video = run(
        *(["load", model], ["logits", 0], ["step", 0, -1]),
        *(["load", base], ["load", tmp_path / "video"]),
        frames=frames,
    )
    assert refusal(size) == "a frame has 6912 bytes here, not 300"
    assert "missed frames are counted" in refusal(missed)
    assert "is a base model" in refusal(clip)
    assert "it is not" in refusal(video)


def test_closed_and_forgotten_streams_give_their_memory_back(run: Run, model: Path) -> None:
    answers = run(["load", model], ["memory"], ["open", 200], ["memory"], ["closed"])
    assert answers[3] <= answers[1] + 2**21
    assert refusal(answers[4]) == "the stream is closed"
