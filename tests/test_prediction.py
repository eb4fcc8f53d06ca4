from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fakes import (
    COLOURS,
    ColourRuntime,
    colour_logits,
    gradient,
    mean_logits,
    model_info,
    softmax,
    write_broken_video,
    write_video,
)
from movinet.errors import ConfigError, MovinetError, VideoError
from movinet.prediction import Prediction, predict

# Frames of the base models below: 4 at 5 a second, so 0.8 s of the 2 s of `video`.
FRAMES = gradient(20)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Two seconds at 10 frames per second, each frame of a colour of its own."""
    return write_video(tmp_path / "video.mkv", FRAMES)


def base(**fields: object) -> ColourRuntime:
    return ColourRuntime(model_info(**{"streaming": False, **fields}))  # pyright: ignore[reportArgumentType]


def test_top_is_sorted_and_keeps_class_order_among_equals() -> None:
    prediction = Prediction(
        Path("v"), 0.0, np.array([0.2, 0.4, 0.2, 0.2], np.float32), ("a", "b", "c", "d")
    )
    assert [label for label, _ in prediction.top(3)] == ["b", "a", "c"]
    assert prediction.top(1) == [("b", pytest.approx(0.4))]
    assert len(prediction.top(9)) == 4


def test_stream_predicts_at_every_frame_of_its_own_rate(video: Path) -> None:
    runtime = ColourRuntime()
    predictions = list(predict(video, runtime))
    assert [p.time for p in predictions] == pytest.approx([i / 5 for i in range(10)])
    for i, prediction in enumerate(predictions):
        expected = softmax(mean_logits(FRAMES[: 2 * i + 1 : 2]))
        np.testing.assert_allclose(prediction.probabilities, expected, atol=1e-6)
        assert prediction.probabilities.dtype == np.float32
        assert prediction.path == video
        assert prediction.labels == COLOURS


def test_streams_get_raw_frames_of_the_videos_size(video: Path) -> None:
    runtime = ColourRuntime()
    list(predict(video, runtime))
    assert {(frame.shape, frame.dtype) for frame in runtime.seen} == {((32, 32, 3), np.dtype("u1"))}


def test_stream_predictions_come_while_the_video_is_read(video: Path) -> None:
    runtime = ColourRuntime()
    predictions = predict(video, runtime)
    next(predictions)
    assert len(runtime.seen) == 1


def test_base_model_sees_the_middle_window(video: Path) -> None:
    (prediction,) = predict(video, base())
    # 0.8 s in the middle of 2 s: from 0.6 s on.
    expected = softmax(mean_logits([FRAMES[i] for i in (6, 8, 10, 12)]))
    np.testing.assert_allclose(prediction.probabilities, expected, atol=1e-6)
    assert prediction.time == pytest.approx(1.2)


def test_probabilities_not_logits_are_averaged_over_views(tmp_path: Path) -> None:
    colours = [(255, 0, 0)] * 10 + [(0, 0, 0)] * 10
    video = write_video(tmp_path / "v.mkv", colours)
    (prediction,) = predict(video, base(), views=3)
    windows = [[colours[i] for i in range(start, start + 7, 2)] for start in (0, 6, 12)]
    expected = np.mean([softmax(mean_logits(window)) for window in windows], axis=0)
    np.testing.assert_allclose(prediction.probabilities, expected, atol=1e-6)
    of_mean_logits = softmax(np.mean([mean_logits(window) for window in windows], axis=0))
    assert np.abs(of_mean_logits - expected).max() > 0.01
    assert prediction.time == pytest.approx(1.8)


def test_crops_are_averaged_too(tmp_path: Path) -> None:
    image = np.zeros((32, 96, 3), np.uint8)
    image[:, :32, 0] = image[:, 32:64, 1] = image[:, 64:, 2] = 255
    video = write_video(tmp_path / "v.mkv", [image] * 10)
    runtime = base(size=32)
    (centre,) = predict(video, runtime)
    np.testing.assert_allclose(centre.probabilities, softmax(np.array([0, 4, 0])), atol=1e-6)
    (averaged,) = predict(video, runtime, crops=3)
    np.testing.assert_allclose(averaged.probabilities, [1 / 3] * 3, atol=1e-6)
    assert len(runtime.seen) == 1 + 3


def test_sliding_windows_cover_the_whole_video(video: Path) -> None:
    predictions = list(predict(video, base(), stride=0.6))
    # Whole windows from 0, 0.6 and 1.2 s; nothing is left after that.
    starts = (0, 6, 12)
    assert [p.time for p in predictions] == pytest.approx([0.6, 1.2, 1.8])
    for prediction, start in zip(predictions, starts, strict=True):
        expected = softmax(mean_logits(FRAMES[start : start + 7 : 2]))
        np.testing.assert_allclose(prediction.probabilities, expected, atol=1e-6)


def test_the_last_sliding_window_ends_with_the_video(video: Path) -> None:
    predictions = list(predict(video, base(), stride=1.0))
    assert [p.time for p in predictions] == pytest.approx([0.6, 1.6, 1.8])
    expected = softmax(mean_logits(FRAMES[12:19:2]))
    np.testing.assert_allclose(predictions[-1].probabilities, expected, atol=1e-6)


def test_a_video_shorter_than_a_window_is_repeated(tmp_path: Path) -> None:
    video = write_video(tmp_path / "short.mkv", [(255, 0, 0), (0, 0, 0), (0, 0, 255), (0, 0, 0)])
    # Two frames at 5 a second, red and blue; three make red, blue, red.
    (prediction,) = predict(video, base(num_frames=3), stride=1)
    expected = softmax(np.array([8 / 3, 0, 4 / 3]))
    np.testing.assert_allclose(prediction.probabilities, expected, atol=1e-6)


def test_window_sets_the_length_in_seconds(video: Path) -> None:
    runtime = base()
    (prediction,) = predict(video, runtime, window=1.2)
    assert runtime.seen[0].shape == (6, 16, 16, 3)
    expected = softmax(mean_logits(FRAMES[4:15:2]))
    np.testing.assert_allclose(prediction.probabilities, expected, atol=1e-6)


def test_members_of_an_ensemble_have_their_own_size_and_rate(video: Path) -> None:
    small, large = base(size=16), base(size=24, frame_rate=10.0, num_frames=8)
    ensemble = ColourRuntime(model_info(streaming=False, name="both"), [small, large])
    (prediction,) = predict(video, ensemble)
    assert small.seen[0].shape == (4, 16, 16, 3)
    assert large.seen[0].shape == (8, 24, 24, 3)
    assert ensemble.seen == []
    logits = np.mean([mean_logits(FRAMES[6:13:2]), mean_logits(FRAMES[6:14])], axis=0)
    np.testing.assert_allclose(prediction.probabilities, softmax(logits), atol=1e-6)


def test_views_of_an_ensemble_average_logits_then_probabilities(video: Path) -> None:
    ensemble = ColourRuntime(
        model_info(streaming=False), [base(), base(frame_rate=10.0, num_frames=8)]
    )
    (prediction,) = predict(video, ensemble, views=2)
    expected = np.mean(
        [
            softmax((mean_logits(FRAMES[s : s + 7 : 2]) + mean_logits(FRAMES[s : s + 8])) / 2)
            for s in (0, 12)
        ],
        axis=0,
    )
    np.testing.assert_allclose(prediction.probabilities, expected, atol=1e-6)


def test_sliding_ensemble_averages_logits_window_by_window(video: Path) -> None:
    ensemble = ColourRuntime(
        model_info(streaming=False), [base(), base(frame_rate=10.0, num_frames=8)]
    )
    predictions = list(predict(video, ensemble, stride=0.6))
    assert [p.time for p in predictions] == pytest.approx([0.7, 1.3, 1.9])
    logits = np.mean([mean_logits(FRAMES[6:13:2]), mean_logits(FRAMES[6:14])], axis=0)
    np.testing.assert_allclose(predictions[1].probabilities, softmax(logits), atol=1e-6)


def test_stream_ensemble_averages_logits_at_the_frames_of_any_member(video: Path) -> None:
    ensemble = ColourRuntime(members=[ColourRuntime(), ColourRuntime(model_info(frame_rate=2.0))])
    predictions = list(predict(video, ensemble))
    # 5 a second: 0, 0.2 ... 1.8; 2 a second: 0, 0.5, 1, 1.5.
    times = [0, 0.2, 0.4, 0.5, 0.6, 0.8, 1.0, 1.2, 1.4, 1.5, 1.6, 1.8]
    assert [p.time for p in predictions] == pytest.approx(times)
    fast = mean_logits(FRAMES[0:5:2])  # at 0.5 s the one has seen 0, 0.2, 0.4; the other 0, 0.5
    slow = mean_logits([FRAMES[0], FRAMES[5]])
    np.testing.assert_allclose(predictions[3].probabilities, softmax((fast + slow) / 2), atol=1e-6)


def test_temporal_ensemble_of_streams_sees_alternate_frames(video: Path) -> None:
    even = ColourRuntime(model_info(frame_rate=2.5))
    odd = ColourRuntime(model_info(frame_rate=2.5, time_offset=0.2))
    predictions = list(predict(video, ColourRuntime(members=[even, odd])))
    # Nothing before both have seen a frame; then the full rate of 5 frames per second.
    assert [p.time for p in predictions] == pytest.approx([i / 5 for i in range(1, 10)])
    assert [tuple(frame[0, 0]) for frame in even.seen] == FRAMES[0::4]
    assert [tuple(frame[0, 0]) for frame in odd.seen] == FRAMES[2::4]


@pytest.mark.parametrize("options", [{}, {"stride": 0.8}])
def test_temporal_ensemble_of_base_models_sees_alternate_frames(
    video: Path, options: dict[str, float]
) -> None:
    even = base(frame_rate=2.5, num_frames=2)
    odd = base(frame_rate=2.5, num_frames=2, time_offset=0.2)
    next(predict(video, ColourRuntime(model_info(streaming=False), [even, odd]), **options))  # pyright: ignore[reportArgumentType]
    first = 0 if options else 6
    for member, start in ((even, first), (odd, first + 2)):
        seen = [colour_logits(frame) for frame in member.seen[0]]
        expected = [mean_logits([FRAMES[start]]), mean_logits([FRAMES[start + 4]])]
        np.testing.assert_allclose(seen, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("streaming", "options", "message"),
    [
        (True, {"views": 1}, "stream model"),
        (True, {"crops": 3}, "stream model"),
        (True, {"stride": 1.0}, "stream model"),
        (True, {"window": 1.0}, "stream model"),
        (False, {"crops": 2}, "crops must be 1 or 3, not 2"),
        (False, {"views": 0}, "views must be from 1 to 1000, not 0"),
        (False, {"views": 1001}, "views must be from 1 to 1000, not 1001"),
        (False, {"views": 2.5}, "views must be from 1 to 1000, not 2.5"),
        (False, {"window": "5"}, "window must be a positive number of seconds, .*, not '5'"),
        (False, {"stride": 0.0}, "stride must be a positive number"),
        (False, {"stride": 1e300}, "at most 86400, not 1e\\+300"),
        (False, {"window": 1e9}, "at most 86400, not 1e\\+09"),
        # 16 x 16 x 3 floats at 5 a second: 349525 frames are 1 GiB, with three crops 116508.
        (False, {"window": 69906.0}, "1024 MiB hold: at most 349525 frames, window=69905"),
        (False, {"window": 24000.0, "crops": 3}, "at most 116508 frames, window=23301"),
        (False, {"window": float("nan")}, "window must be a positive number"),
        (False, {"stride": 1.0, "views": 2}, "omit views and crops"),
        (False, {"weights": "kinetics-600"}, "with a model that is open already"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_anything_is_read(
    streaming: bool, options: dict, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        predict("no such file", ColourRuntime(model_info(streaming=streaming)), **options)


def test_ensembles_must_be_of_one_kind() -> None:
    with pytest.raises(ConfigError, match="mixes stream and base"):
        predict("v", ColourRuntime(members=[ColourRuntime(), base()]))
    with pytest.raises(ConfigError, match="3 classes, its member odd 2"):
        predict(
            "v", ColourRuntime(members=[ColourRuntime(model_info(name="odd", labels=("a", "b")))])
        )


def test_a_missing_video_is_one_error(tmp_path: Path) -> None:
    for runtime in (ColourRuntime(), base()):
        with pytest.raises(VideoError, match=r"none\.mp4"):
            list(predict(tmp_path / "none.mp4", runtime))


@pytest.mark.parametrize("name", ["http://x/y.mp4", "rtsp://camera"])
def test_only_local_files_are_read(name: str) -> None:
    with pytest.raises(VideoError, match=f"{name}: no such file .only local files are read"):
        list(predict(name, ColourRuntime()))


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(VideoError, match="an empty name"):
        list(predict("", ColourRuntime()))


def test_the_largest_window_is_allowed(video: Path) -> None:
    assert predict(video, base(), window=69905.0)  # lazy: nothing is read or allocated


def test_outputs_that_are_no_probabilities_are_refused(video: Path) -> None:
    class Broken(ColourRuntime):
        def clip_logits(self, frames: np.ndarray) -> np.ndarray:
            return super().clip_logits(frames) * np.nan

    with pytest.raises(MovinetError, match="NaN"):
        list(predict(video, Broken(model_info(streaming=False))))
    with pytest.raises(MovinetError, match=r"shape \(3,\) for 2 labels"):
        list(predict(video, ColourRuntime(model_info(labels=("a", "b")))))


def runtimes() -> list[ColourRuntime]:
    members = [ColourRuntime(model_info(frame_rate=2.5, time_offset=t)) for t in (0.0, 0.2)]
    return [ColourRuntime(), ColourRuntime(members=members), base(num_frames=10)]


@pytest.mark.parametrize("runtime", runtimes(), ids=["stream", "ensemble", "base"])
def test_what_cannot_be_decoded_is_told_once(tmp_path: Path, runtime: ColourRuntime) -> None:
    video = write_broken_video(tmp_path / "broken.mkv", broken=9)
    skipped = []
    assert list(predict(video, runtime, on_skipped=skipped.append))
    assert [packet.time for packet in skipped] == pytest.approx([0.9])
    with pytest.warns(UserWarning, match=r"broken\.mkv: skipped at 0\.90 s"):
        list(predict(video, runtime))
