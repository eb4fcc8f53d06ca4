"""Which frames of a video training sees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_sets.loading import Numbered, config_of, numbers
from movinet.data.samples import DataSet, Sample
from movinet.data.sampling import span_of, training_times
from movinet.errors import VideoError
from movinet.evaluation.views import Look, window_pixels
from movinet.network.config import InputSpec
from movinet.training.batches.loader import TrainLoader
from movinet.training.batches.views import training_view
from movinet.training.config import AugmentSection
from movinet.video import VideoFile
from video.synthetic import make_video, number_of, numbered

#: Six frames, five a second, of videos of 25 frames a second: every fifth one.
SPEC = InputSpec(32, 32, 5.0, 6)
PLAIN = AugmentSection(crop_area=(1, 1), crop_aspect=(0.2, 5), flip=0)


def shown(sample: Sample, seed: int, config: AugmentSection = PLAIN) -> list[int]:
    clip = training_view(sample, SPEC, config, np.random.default_rng(seed))
    return [number_of(frame) for frame in clip]


def test_a_window_lies_anywhere_within_the_sample() -> None:
    sample = Sample("a", Numbered("a.mp4", 0, 8.0), (0,), start=2.0, end=4.0)
    starts = set()
    for seed in range(150):
        frames = shown(sample, seed)
        assert np.diff(frames).tolist() == [5] * 5
        assert 50 <= frames[0] <= frames[-1] < 100
        starts.add(frames[0])
    assert starts == set(range(50, 75))  # the last one begins a second before the end


def test_a_sample_as_long_as_a_clip_is_shown_in_order() -> None:
    sample = Sample("a", Numbered("a.mp4", 0, 1.2), (0,))
    assert {tuple(np.diff(shown(sample, seed))) for seed in range(50)} == {(5,) * 5}


def test_a_short_sample_is_repeated_from_anywhere() -> None:
    sample = Sample("a", Numbered("a.mp4", 0, 0.4), (0,))
    starts = set()
    for seed in range(100):
        frames = shown(sample, seed)
        assert set((np.diff(frames) % 10).tolist()) == {5}
        starts.add(frames[0])
    assert starts == set(range(10))


def test_random_stride_changes_the_time_between_frames() -> None:
    sample = Sample("a", Numbered("a.mp4", 0, 100.0), (0,))
    steps = []
    for seed in range(200):
        times, rate = training_times(sample, 6, 5.0, 0.4, np.random.default_rng(seed))
        assert np.diff(times) == pytest.approx(1 / rate)
        steps.append(5 / rate)
    assert 0.6 <= min(steps) < 0.65
    assert 1.35 < max(steps) < 1.4


def test_samples_beyond_their_video_are_named() -> None:
    sample = Sample("a", Numbered("a.mp4", 0, 8.0), (0,), start=9.0)
    with pytest.raises(VideoError, match=r"a.mp4: the sample begins at 9 s, the video ends at 8 s"):
        shown(sample, 0)


def test_a_sample_that_ends_after_its_video_ends_with_it(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", map(numbered, range(50)))  # two seconds
    sample = Sample("a", VideoFile(path), (0,), start=1.2, end=9.0)
    starts = set()
    for seed in range(40):
        frames = shown(sample, seed)
        assert set((np.diff(frames) % 20).tolist()) == {5}  # its 20 frames again and again
        starts.add(frames[0])
    assert starts <= set(range(30, 50))
    late = Sample("a", VideoFile(path), (0,), start=2.5, end=9.0)
    with pytest.raises(VideoError, match=r"the sample begins at 2\.5 s, the video ends at 2 s"):
        shown(late, 0)


def test_a_long_video_is_not_read_through_for_a_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: object) -> tuple[float, float]:
        raise AssertionError(f"{path} is read through")

    monkeypatch.setattr("movinet.video.media.extent", refuse)
    path = make_video(tmp_path / "a.mp4", map(numbered, range(50)))
    assert span_of(Sample("a", VideoFile(path), (0,), start=0.5, end=2.0)) == (0.5, 2.0)


def test_without_crops_training_sees_what_a_test_sees() -> None:
    sample = Sample("a", Numbered("a.mp4", 0, 0.04), (0,))  # a single frame
    config = PLAIN.model_copy(update={"crop_aspect": (1, 1)})
    train = training_view(sample, SPEC, config, np.random.default_rng(0))
    test = window_pixels(sample, 0, SPEC, Look(), [])
    assert np.array_equal(train, test[0])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("videos")
    paths = []
    for i, (width, height, count) in enumerate([(80, 64, 60), (64, 90, 20), (70, 70, 100)]):
        images = [numbered(100 * i + k, width, height) for k in range(count)]
        paths.append(make_video(folder / f"{i}.mp4", images))
    return paths


def test_a_video_may_change_its_size() -> None:
    class Growing(Numbered):
        def frames(self, times, slack, skipped):
            del slack, skipped
            for i, _ in enumerate(times):
                yield numbered(i, 40 if i > 2 else 80, 32 if i > 2 else 64)

    sample = Sample("a", Growing("a.mp4", 0, 5.0), (0,))
    assert shown(sample, 0) == [0, 1, 2, 3, 4, 5]
    small = PLAIN.model_copy(update={"crop_area": (0.05, 0.1)})
    for seed in range(10):  # a crop of the large frames may lie beyond the small ones
        assert len(shown(sample, seed, small)) == 6


def test_training_decodes_files(files: list[Path]) -> None:
    samples = tuple(Sample(str(i), VideoFile(p, "NONE"), (i,)) for i, p in enumerate(files))
    data = DataSet("files", samples, ("a", "b", "c"))
    config = config_of(engine__batch_size=3)
    (batch,) = TrainLoader(data, config).batches(0)
    for index, frames in zip(batch.indices.tolist(), numbers(batch.video), strict=True):
        assert {frame // 100 for frame in frames} == {index}
