"""What `movinet.predict` takes: files, bytes, arrays, and parts of them; and half-lives."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import movinet
from exported_formats import BASE, SPEC, STREAM
from fakes import ColourRuntime, gradient, model_info, write_broken_video, write_video
from movinet.errors import ConfigError, VideoError
from movinet.runtime.numbers import decay_from_half_life
from movinet.video import VideoReader, preprocess
from networks import make_model

CLIP = Path(movinet.__file__).parent / "demo" / "clip.mp4"
FRAMES = gradient(20)  # at 10 a second


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_video(tmp_path / "a.mkv", FRAMES)


def array() -> np.ndarray:
    return np.stack([np.full((32, 32, 3), colour, np.uint8) for colour in FRAMES])


def told(found: Any) -> list[tuple[float, tuple[float, ...]]]:
    return [(round(p.time, 6), tuple(p.probabilities.tolist())) for p in found]


RUNTIMES = {
    "stream": (model_info(), {}),
    "middle": (model_info(streaming=False), {}),
    "views": (model_info(streaming=False), {"views": 3, "crops": 3}),
    "sliding": (model_info(streaming=False), {"stride": 0.4}),
}


@pytest.mark.parametrize("kind", RUNTIMES)
@pytest.mark.parametrize("part", [{}, {"start": 0.6}, {"end": 1.3}, {"start": 0.35, "end": 1.45}])
def test_bytes_and_arrays_are_seen_as_the_file_is(
    video: Path, kind: str, part: dict[str, float]
) -> None:
    info, options = RUNTIMES[kind]
    options = {**options, **part}
    wanted = told(movinet.predict(video, ColourRuntime(info), **options))
    assert wanted
    given: Any
    for given in (video.read_bytes(), bytearray(video.read_bytes())):
        found = list(movinet.predict(given, ColourRuntime(info), **options))
        assert told(found) == wanted
        assert found[0].path == Path("bytes")
    found = list(movinet.predict(array(), ColourRuntime(info), fps=10, **options))
    assert told(found) == wanted
    assert found[0].path == Path("array")


@pytest.mark.parametrize("kind", RUNTIMES)
def test_only_the_part_is_seen(video: Path, kind: str) -> None:
    info, options = RUNTIMES[kind]
    runtime = ColourRuntime(info)
    found = list(movinet.predict(video, runtime, start=0.6, end=1.4, **options))
    inside = {round(255 - 12 * i) for i in range(6, 14)}
    reds = [np.atleast_1d(seen[..., 0]).ravel() for seen in runtime.seen]
    scale = 1 if info.streaming else 255
    assert {round(float(red) * scale) for each in reds for red in each} <= inside
    assert all(0.6 <= prediction.time < 1.4 for prediction in found)
    if kind == "stream":
        assert [round(p.time, 6) for p in found] == [0.6, 0.8, 1.0, 1.2]


@pytest.mark.parametrize("kind", RUNTIMES)
def test_a_part_outside_the_video_is_one_line(video: Path, kind: str) -> None:
    info, options = RUNTIMES[kind]
    with pytest.raises(VideoError, match=r"a\.mkv: no frame is shown from 9 s to the end"):
        list(movinet.predict(video, ColourRuntime(info), start=9, **options))


def test_bytes_leave_nothing_behind_and_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    with pytest.raises(VideoError, match=r"^bytes: .*") as caught:
        list(movinet.predict(b"no video at all", ColourRuntime(model_info())))
    assert str(place) not in str(caught.value)
    broken = write_broken_video(tmp_path / "broken.mkv", 5).read_bytes()
    with pytest.warns(UserWarning, match="^bytes: skipped"):
        found = list(movinet.predict(broken, ColourRuntime(model_info())))
    assert found
    half: Any = movinet.predict(broken, ColourRuntime(model_info()), on_skipped=lambda _: None)
    next(half)
    half.close()  # an iteration that is given up
    assert not list(place.iterdir())


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (b"", {}, "bytes: empty"),
        (array(), {}, "give the frame rate of an array of frames: fps=25"),
        (array(), {"fps": 0}, "fps must be a positive number"),
        (array(), {"fps": float("nan")}, "fps must be a positive number"),
        (array().astype(np.float32), {"fps": 10}, r"uint8 RGB in \[0, 255\], not .* float32"),
        (array()[0], {"fps": 10}, r"not \(32, 32, 3\) uint8"),
        (array()[:0], {"fps": 10}, r"not \(0, 32, 32, 3\) uint8"),
        ("a.mkv", {"fps": 10}, "fps is for arrays and folders of frames"),
        (5, {}, "a video is a path, the bytes of a file, or an array .* not int"),
        ([array()], {}, "a video is a path, .* not list"),
        ("a.mkv", {"start": -1}, "start must be a time in seconds from 0 on"),
        ("a.mkv", {"end": "2"}, "end must be a time in seconds from 0 on, not '2'"),
        ("a.mkv", {"start": 2, "end": 2}, "end 2 must be after start 2"),
        ("a.mkv", {"half_life": 0}, "half-life in seconds must be a positive number"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_read(
    given: Any, options: dict[str, Any], message: str
) -> None:
    runtime = "motions" if "half_life" in options else ColourRuntime(model_info())
    with pytest.raises((ConfigError, VideoError), match=message):
        movinet.predict(given, runtime, **options)


def saved(path: Path, config: Any) -> Path:
    labels = tuple("abcdefg")
    state = make_model(config).state_dict()
    movinet.save_weights(path, state, config=config, input_spec=SPEC, labels=labels)
    return path


def test_a_half_life_forgets_as_the_network_does(tmp_path: Path, video: Path) -> None:
    weights = saved(tmp_path / "a.safetensors", STREAM)
    with VideoReader(video, frame_rate=SPEC.frame_rate) as reader:
        frames = np.stack([preprocess(frame.image, SPEC) for frame in reader])
    model, decay = make_model(STREAM), decay_from_half_life(0.4, SPEC.frame_rate)
    clip = torch.from_numpy(frames).permute(3, 0, 1, 2)[None]
    with torch.no_grad():
        logits, _ = model.running_logits(clip, model.initial_state(1, (32, 32)), decay)
    wanted = logits[0].softmax(1).numpy()
    file = tmp_path / "a.mvn"
    movinet.export(model, file, input_spec=SPEC, labels=tuple("abcdefg"))
    folder = tmp_path / "data" / "a"
    folder.mkdir(parents=True)
    (folder / "a.mkv").write_bytes(video.read_bytes())
    data = movinet.open_data(folder.parent, labels=tuple("abcdefg"))
    from movinet.evaluation.run import run_model
    from movinet.evaluation.views import Look

    for each in (weights, file):
        found = [p.probabilities for p in movinet.predict(video, each, half_life=0.4)]
        np.testing.assert_allclose(found, wanted, atol=1e-4)
        plain = [p.probabilities for p in movinet.predict(video, each)]
        assert not np.allclose(plain, wanted, atol=1e-4)
        evaluated = run_model(movinet.open_model(each), data, Look(half_life=0.4))
        np.testing.assert_allclose(evaluated.probabilities[0], wanted[-1], atol=1e-4)
    base = saved(tmp_path / "base.safetensors", BASE)
    with pytest.raises(ConfigError, match="half_life is for stream models"):
        movinet.predict(video, base, half_life=1)
    with pytest.raises(ConfigError, match="half_life is for stream models"):
        movinet.evaluate(base, folder.parent, half_life=1)


@pytest.mark.parametrize("config", [STREAM, BASE], ids=["stream", "base"])
def test_an_evaluation_of_parts_is_one_of_shorter_samples(
    tmp_path: Path, video: Path, config: Any
) -> None:
    from movinet.evaluation.run import run_model
    from movinet.evaluation.views import Look

    runtime = movinet.open_model(saved(tmp_path / "a.safetensors", config))
    for name, start, end in (("whole", 0.0, 2.0), ("part", 0.7, 1.5)):
        (tmp_path / f"{name}.csv").write_text(f"path,label,start,end\n{video},a,{start},{end}\n")
    data = {
        name: movinet.open_data(tmp_path / f"{name}.csv", labels=tuple("abcdefg"))
        for name in ("whole", "part")
    }
    wanted = run_model(runtime, data["part"], Look()).probabilities
    found = run_model(runtime, data["whole"], Look(start=0.7, end=1.5)).probabilities
    np.testing.assert_array_equal(found, wanted)
    with pytest.raises(VideoError, match=r"the sample ends at 1\.5 s, before 1\.7 s"):
        run_model(runtime, data["part"], Look(start=1.0))


def test_a_device_that_is_not_there_is_one_line(tmp_path: Path, video: Path) -> None:
    weights = saved(tmp_path / "a.safetensors", STREAM)
    plain = told(movinet.predict(video, weights))
    assert told(movinet.predict(video, weights, device="cpu")) == plain
    for device in ("abacus", "cuda:99", "meta:x"):
        with pytest.raises(ConfigError, match="device must be one that PyTorch has") as caught:
            movinet.predict(video, weights, device=device)
        assert "\n" not in str(caught.value)
    file = tmp_path / "a.mvn"
    movinet.export(make_model(STREAM), file, input_spec=SPEC)
    with pytest.raises(ConfigError, match="an exported model, which runs on the CPU"):
        movinet.predict(video, file, device="cuda")


def test_slow_motion_is_seen_at_the_speed_of_life() -> None:
    """The same pictures shown at a quarter of the rate, and frames taken 4 times as far apart."""
    pictures = np.stack([frame.image for frame in VideoReader(CLIP, frame_rate=16)])
    life = list(movinet.predict(pictures, "motions", fps=16, half_life=1.0))
    slow = list(movinet.predict(pictures, "motions", fps=4, half_life=4.0, speed=4))
    np.testing.assert_allclose([4 * p.time for p in life], [p.time for p in slow])
    np.testing.assert_array_equal([p.probabilities for p in life], [p.probabilities for p in slow])
    with pytest.raises(ConfigError, match="speed must be a number from"):
        movinet.predict(pictures, "motions", fps=4, speed=0)
