"""Evaluation of models whose outputs are known: what is seen, what counts, what comes out."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colour_data import BLUE, GREEN, RED, make_data

from fakes import (
    ColourRuntime,
    gradient,
    model_info,
    softmax,
    write_broken_video,
    write_video,
)
from movinet.data.samples import DataSet, Sample
from movinet.errors import ConfigError, MovinetError, VideoError
from movinet.evaluation import Evaluation, MultiLabel, SingleLabel, evaluate
from movinet.evaluation import views as looking
from movinet.prediction import predict
from movinet.video import VideoFile

#: At 5 frames a second: two red, then five blue; the mean is bluer than red from the fifth on.
TURNING = [RED] * 4 + [BLUE] * 10


def single(evaluation: Evaluation) -> SingleLabel:
    assert isinstance(evaluation.figures, SingleLabel)
    return evaluation.figures


@pytest.fixture
def stream() -> ColourRuntime:
    return ColourRuntime()


@pytest.fixture
def base() -> ColourRuntime:
    return ColourRuntime(model_info(streaming=False))


def test_a_stream_is_right_from_some_time_on(tmp_path: Path, stream: ColourRuntime) -> None:
    data = make_data(tmp_path, {"turning": ((2,), TURNING), "red": ((0,), [RED] * 4)})
    evaluation = evaluate(stream, data)
    course = single(evaluation).over_time
    assert course is not None
    np.testing.assert_allclose(course.seconds, np.arange(1, 8) / 5)
    # The red one ends after two frames and stays right.
    np.testing.assert_allclose(course.accuracy, [0.5, 0.5, 0.5, 0.5, 1, 1, 1])
    assert course.running.tolist() == [2, 2, 1, 1, 1, 1, 1]
    assert course.time_to_correct == pytest.approx((1.0 + 0.2) / 2)
    red = softmax(np.array([4, 0, 0])).max()
    turned = [softmax(4 * np.array([2, 0, n]) / (2 + n)).max() for n in range(6)]
    expected = [red, red, *((red + turned[n]) / 2 for n in range(1, 6))]
    assert course.confidence is not None
    np.testing.assert_allclose(course.confidence, expected, atol=1e-6)
    assert single(evaluation).top1 == 1
    assert evaluation.count == 2


def test_a_stream_that_loses_it_again_never_was_correct(
    tmp_path: Path, stream: ColourRuntime
) -> None:
    data = make_data(tmp_path, {"turning": ((0,), TURNING)})
    course = single(evaluate(stream, data)).over_time
    assert course is not None
    # After four frames both are as probable, and it has not decided.
    assert course.accuracy.tolist() == [1, 1, 1, 0, 0, 0, 0]
    assert course.time_to_correct is not None
    assert np.isnan(course.time_to_correct)
    assert evaluate(stream, data).to_json()["over_time"]["time_to_correct"] is None


def test_repeated_samples_are_warned_of(tmp_path: Path, stream: ColourRuntime) -> None:
    data = make_data(tmp_path, {"a": ((0,), [RED] * 2), "b": ((1,), [RED] * 2)})
    repeated = dataclasses.replace(data, samples=data.samples + data.samples[:1] * 2)
    with pytest.warns(UserWarning, match="2 of 4 samples repeat earlier ones and count again"):
        figures = single(evaluate(stream, repeated))
    assert figures.top1 == 3 / 4


def test_figures_of_known_predictions(tmp_path: Path, stream: ColourRuntime) -> None:
    data = make_data(
        tmp_path,
        {
            "a": ((0,), [RED] * 2),
            "b": ((0,), [RED] * 2),
            "faint": ((1,), [(90, 30, 0)] * 2),
            "sure": ((1,), [(255, 0, 0)] * 2),
            "c": ((2,), [BLUE] * 2),
        },
    )
    figures = single(evaluate(stream, data))
    assert figures.top1 == pytest.approx(3 / 5)
    assert figures.top5 == 1  # there are three classes
    assert figures.confusion.tolist() == [[2, 0, 0], [2, 0, 0], [0, 0, 1]]
    assert figures.classes.recall.tolist() == [1, 0, 1]
    assert figures.mean_class_accuracy == pytest.approx(2 / 3)
    assert figures.macro_f1 == pytest.approx((2 / 3 + 0 + 1) / 3)
    assert [m.sample.key for m in figures.mistakes] == ["sure", "faint"]
    worst = figures.mistakes[0]
    assert (worst.target, worst.guess) == (1, 0)
    assert worst.confidence == pytest.approx(softmax(np.array([4, 0, 0]))[0], abs=1e-6)
    assert worst.true_confidence == pytest.approx(softmax(np.array([4, 0, 0]))[1], abs=1e-6)


def test_a_model_that_decides_for_nothing_is_wrong(
    tmp_path: Path, stream: ColourRuntime, base: ColourRuntime
) -> None:
    """Grey is as red as it is green and blue: no class is right by its place among them."""
    data = make_data(tmp_path, {str(c): ((c,), [(99, 99, 99)] * 4) for c in range(3)})
    for runtime in (stream, base):
        figures = single(evaluate(runtime, data))
        assert figures.top1 == figures.macro_f1 == np.trace(figures.confusion) == 0
        assert figures.calibration.error == pytest.approx(1 / 3)
        assert len(figures.mistakes) == 3
    course = single(evaluate(stream, data)).over_time
    assert course is not None
    assert course.accuracy.tolist() == [0, 0]


def test_only_the_part_of_a_sample_is_seen(tmp_path: Path, stream: ColourRuntime) -> None:
    path = write_video(tmp_path / "video.mkv", [RED] * 10 + [GREEN] * 4 + [BLUE] * 6)
    sample = Sample("part", VideoFile(path), (1,), start=1.0, end=1.4)
    evaluation = evaluate(stream, DataSet("part", (sample,), stream.info.labels))
    assert single(evaluation).top1 == 1
    assert len(stream.seen) == 2
    assert all((frame == np.array([0, 1, 0], np.float32)).all() for frame in stream.seen)


def test_chunks_change_nothing(
    tmp_path: Path, stream: ColourRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_data(tmp_path, {"turning": ((2,), TURNING), "red": ((0,), [RED] * 4)})
    for control in (None, *looking.CONTROLS):
        whole = evaluate(stream, data, control=control).to_json()
        with monkeypatch.context() as patch:
            patch.setattr(looking, "CHUNK", 2)
            assert evaluate(stream, data, control=control).to_json() == whole


def test_the_last_frame_all_the_time(tmp_path: Path, stream: ColourRuntime) -> None:
    data = make_data(tmp_path, {"turning": ((2,), TURNING)})
    evaluation = evaluate(stream, data, control="last-frame")
    assert len(stream.seen) == 7
    assert all((frame == np.array([0, 0, 1], np.float32)).all() for frame in stream.seen)
    course = single(evaluation).over_time
    assert course is not None
    assert course.accuracy.tolist() == [1] * 7


def test_frames_in_random_order(tmp_path: Path) -> None:
    data = make_data(tmp_path, {"a": ((0,), gradient(20)), "b": ((0,), gradient(20))})

    def seen(**options: Any) -> np.ndarray:
        runtime = ColourRuntime()
        evaluate(runtime, data, **options)
        return np.array([frame[0, 0, 0] for frame in runtime.seen])

    plain, shuffled = seen(), seen(control="shuffled", seed=1)
    assert len(plain) == 20
    assert (shuffled == seen(control="shuffled", seed=1)).all()
    assert (shuffled != seen(control="shuffled", seed=2)).any()
    assert (shuffled[:10] != shuffled[10:]).any()  # each sample has its own order
    for part in (slice(0, 10), slice(10, 20)):
        assert (shuffled[part] != plain[part]).any()
        assert (np.sort(shuffled[part]) == np.sort(plain[part])).all()


def test_what_is_too_long_to_shuffle_is_left_out_and_named(
    tmp_path: Path, stream: ColourRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_data(tmp_path, {"long": ((0,), [RED] * 20), "short": ((0,), [RED] * 4)})
    monkeypatch.setattr(looking, "_MAX_SHUFFLED", 16 * 16 * 3 * 5)
    evaluation = evaluate(stream, data, control="shuffled")
    assert [trouble.name for trouble in evaluation.skipped] == [data.samples[0].media.name]
    assert "10 frames are too many to shuffle, at most 5" in evaluation.skipped[0].reason
    assert evaluation.count == 1


@pytest.mark.parametrize(("views", "crops"), [(1, 1), (3, 1), (2, 3)])
def test_a_base_model_sees_the_test_views_of_predict(
    tmp_path: Path, base: ColourRuntime, views: int, crops: int
) -> None:
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (32, 48, 3), np.uint8) for _ in range(25)]
    path = write_video(tmp_path / "video.mkv", frames)
    data = DataSet("one", (Sample("one", VideoFile(path), (1,)),), base.info.labels)
    figures = single(evaluate(base, data, views=views, crops=crops))
    (expected,) = predict(path, base, views=views, crops=crops)
    assert figures.loss == pytest.approx(-np.log(expected.probabilities[1]), abs=1e-6)
    assert figures.over_time is None


def test_controls_of_base_models(tmp_path: Path, base: ColourRuntime) -> None:
    data = make_data(tmp_path, {"gradient": ((0,), gradient(8))})
    evaluate(base, data)
    evaluate(base, data, control="last-frame")
    evaluate(base, data, control="shuffled")
    plain, last, shuffled = base.seen
    assert (last == plain[-1:]).all()
    assert (shuffled != plain).any()
    assert (np.sort(shuffled, axis=0) == np.sort(plain, axis=0)).all()


def test_members_of_an_ensemble_see_their_own_views(tmp_path: Path) -> None:
    members = [
        ColourRuntime(model_info(streaming=False, size=size, time_offset=late))
        for size, late in ((16, 0.0), (8, 0.1))
    ]
    ensemble = dataclasses.replace(members[0], members=members)
    data = make_data(tmp_path, {"gradient": ((2,), gradient(20))})
    figures = single(evaluate(ensemble, data, views=2))
    path = Path(data.samples[0].media.name)
    (expected,) = predict(path, ensemble, views=2)
    assert figures.loss == pytest.approx(-np.log(expected.probabilities[2]), abs=1e-6)


@pytest.mark.parametrize("workers", [1, 3])
def test_bad_files_are_left_out_and_named(
    tmp_path: Path, base: ColourRuntime, workers: int
) -> None:
    videos = {"bad": ((0,), None), "red": ((0,), [RED] * 4), "worse": ((1,), None)}
    data = make_data(tmp_path, {**videos, "blue": ((2,), [BLUE] * 4)})
    steps = []
    evaluation = evaluate(
        base, data, views=3, workers=workers, progress=lambda *step: steps.append(step)
    )
    # All windows of a bad one are passed over: the others keep their own.
    assert single(evaluation).top1 == 1
    assert evaluation.count == 2
    assert [Path(trouble.name).stem for trouble in evaluation.skipped] == ["bad", "worse"]
    assert evaluation.skipped[0].reason.startswith("not a video")
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [trouble["name"] for trouble in evaluation.to_json()["skipped"]] == [
        str(tmp_path / "bad.mkv"),
        str(tmp_path / "worse.mkv"),
    ]


def test_damaged_files_are_named(tmp_path: Path) -> None:
    path = write_broken_video(tmp_path / "broken.mkv", 7)
    for streaming in (True, False):
        runtime = ColourRuntime(model_info(streaming=streaming))
        data = DataSet("one", (Sample("one", VideoFile(path), (1,)),), runtime.info.labels)
        evaluation = evaluate(runtime, data)
        assert evaluation.count == 1
        (damaged,) = evaluation.damaged
        assert damaged.name == str(path)
        assert damaged.reason.startswith("1 packet: ")


def test_nothing_that_can_be_read_is_an_error(tmp_path: Path, stream: ColourRuntime) -> None:
    data = make_data(tmp_path, {"bad": ((0,), None)})
    with pytest.raises(VideoError, match=r"colours: not one of 1 samples can be read; .*bad\.mkv"):
        evaluate(stream, data)


def test_several_labels(tmp_path: Path, stream: ColourRuntime) -> None:
    videos = {
        "red": ((0,), [RED] * 8),
        "turning": ((0, 2), TURNING),
        "yellow": ((0, 1), [(255, 255, 0)] * 6),
        "none": ((), [(0, 0, 0)] * 4),
    }
    data = make_data(tmp_path, videos, multi_label=True)
    evaluation = evaluate(stream, data)
    figures = evaluation.figures
    assert isinstance(figures, MultiLabel)
    assert figures.map == 1
    assert figures.classes.support.tolist() == [3, 1, 1]
    assert figures.classes.recall[1] == 1
    course = figures.over_time
    assert course is not None
    # Every two frames, which is nearest to half a second, and at the end of the longest.
    np.testing.assert_allclose(course.seconds, [0.4, 0.8, 1.2, 1.4])
    assert course.accuracy[-1] == figures.map
    assert course.accuracy[0] < 1  # no blue has been seen
    assert course.running.tolist() == [4, 2, 1, 1]
    found = json.loads(json.dumps(evaluation.to_json(), allow_nan=False))
    assert found["map"] == 1
    assert found["over_time"]["map"][-1] == 1
    assert found["per_class"][0]["label"] == "red"


def test_json_has_what_people_look_for(tmp_path: Path, stream: ColourRuntime) -> None:
    data = make_data(tmp_path, {"red": ((0,), [RED] * 4), "turning": ((2,), TURNING)})
    found = json.loads(json.dumps(evaluate(stream, data).to_json(), allow_nan=False))
    assert (found["top1"], found["top5"], found["count"], found["skipped"]) == (1, 1, 2, [])
    assert found["confusion"] == [[1, 0, 0], [0, 0, 0], [0, 0, 1]]
    assert found["per_class"][1] == {
        "label": "green",
        "support": 0,
        "precision": None,
        "recall": None,
        "f1": None,
    }
    assert found["over_time"]["top1"][0] == 0.5
    assert found["model"]["name"] == "fake"
    assert found["data"] == "colours"
    assert {"loss", "ece", "control", "views", "crops", "mistakes", "top1_interval"} <= set(found)


def test_a_model_that_gives_no_numbers_is_an_error(tmp_path: Path) -> None:
    class Broken(ColourRuntime):
        def running_logits(
            self, frames: np.ndarray, state: Any = None, *, half_life: float | None = None
        ) -> tuple[np.ndarray, Any]:
            logits, state = super().running_logits(frames, state, half_life=half_life)
            return logits * np.nan, state

    data = make_data(tmp_path, {"red": ((0,), [RED] * 4)})
    with pytest.raises(MovinetError, match=r"not numbers .* for .*red\.mkv; are its weights"):
        evaluate(Broken(), data)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"views": 0}, "views must be from 1 to 1000, not 0"),
        ({"crops": 2}, "crops must be 1 or 3, not 2"),
        ({"control": "reversed"}, "control must be last-frame or shuffled, not 'reversed'"),
        ({"seed": -1}, "seed must be 0 or more, not -1"),
        ({"views": 2}, "fake is a stream model, which sees every frame"),
    ],
)
def test_options_that_make_no_sense(
    tmp_path: Path, stream: ColourRuntime, options: dict[str, Any], message: str
) -> None:
    data = make_data(tmp_path, {"red": ((0,), [RED] * 2)})
    with pytest.raises(ConfigError, match=message):
        evaluate(stream, data, **options)
    assert not stream.seen


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (("red", "green"), "fake has 2 classes, colours 3"),
        (("red", "blue", "green"), "class 1 is 'blue' for fake and 'green' in colours"),
    ],
)
def test_classes_that_do_not_fit(tmp_path: Path, labels: tuple[str, ...], message: str) -> None:
    data = make_data(tmp_path, {"red": ((0,), [RED] * 2)})
    with pytest.raises(ConfigError, match=message):
        evaluate(ColourRuntime(model_info(labels=labels)), data)
