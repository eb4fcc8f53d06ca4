"""What an evaluation beside training shows a network: which frames, in which rows, how often."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from data_sets.loading import Broken, Numbered, config_of, data_of, videos
from movinet.data.samples import DataSet, Sample
from movinet.errors import ConfigError, VideoError
from movinet.network.config import InputSpec
from movinet.training.batches.loader import Failure
from movinet.training.evaluation_loader import EvalBatch, EvalLoader
from movinet.video import VideoFile, views
from video.synthetic import make_video, number_of, numbered

#: Frames a second of the model; the made-up videos have 25.
RATE = 5


@dataclass(frozen=True)
class Torn(Numbered):
    """Cannot be decoded from a time on."""

    until: float = 2.0

    def frames(self, times, slack, skipped):
        for moment, image in zip(times, super().frames(times, slack, skipped), strict=True):
            if moment >= self.until:
                raise VideoError(f"{self.name}: torn")
            yield image


@dataclass(frozen=True)
class Gone(Numbered):
    def extent(self) -> tuple[float, float]:
        raise OSError(5, "Input/output error")


def shown(batches: Iterable[EvalBatch]) -> dict[int, list[int]]:
    """Which frames each sample shows, one row after another; checks the bookkeeping of streams."""
    seen: dict[int, list[int]] = {}
    under_way: dict[int, set[int]] = {}
    ended = set()
    for batch in batches:
        indices = batch.indices.tolist()
        if not indices:
            continue
        if batch.begins:
            assert not seen.keys() & set(indices)
        else:
            assert set(indices) <= under_way[batch.worker] - ended
        under_way[batch.worker] = set(indices)
        ended |= {i for i, end in zip(indices, batch.ends.tolist(), strict=True) if end}
        for row, index in zip(batch.video.numpy(), indices, strict=True):
            seen.setdefault(index, []).extend(number_of(frame) for frame in row)
    return seen


def same(some: Iterable[EvalBatch], others: Iterable[EvalBatch]) -> bool:
    """Whether each row of some batches is among others, and the other way round."""

    def rows(batches: Iterable[EvalBatch]) -> list[tuple[int, bool, bytes]]:
        return sorted(
            (index, end, video.numpy().tobytes())
            for b in batches
            for index, end, video in zip(b.indices.tolist(), b.ends.tolist(), b.video, strict=True)
        )

    return rows(some) == rows(others)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    folder = tmp_path_factory.mktemp("videos")
    samples = []
    for i, (width, height, count) in enumerate([(80, 64, 60), (64, 90, 20), (70, 70, 100)]):
        images = [numbered(100 * i + k, width, height) for k in range(count)]
        path = make_video(folder / f"{i}.mp4", images)
        samples.append(Sample(str(i), VideoFile(path, "NONE"), (i,)))
    return DataSet("files", tuple(samples), ("a", "b", "c"))


@pytest.mark.parametrize(("windows", "crops"), [(1, 1), (3, 1), (2, 3)])
def test_base_models_see_the_views_of_a_file(files: DataSet, windows: int, crops: int) -> None:
    config = config_of(input__short_side=36, run__views=windows, run__crops=crops)
    spec = InputSpec(32, 36, 5.0, 8)
    batches = list(EvalLoader(files, config, streams=False))
    assert all(len(batch.indices) <= config.run.eval_batch_size for batch in batches)
    video = torch.cat([batch.video for batch in batches])
    expected = [
        clip.frames
        for sample in files.samples
        for clip in views(sample.media.name, spec, num_windows=windows, num_crops=crops)
    ]
    assert np.array_equal(video.numpy() / np.float32(255), np.stack(expected))
    indices = torch.cat([batch.indices for batch in batches]).tolist()
    assert indices == [i for i in range(3) for _ in range(windows * crops)]
    ends = torch.cat([batch.ends for batch in batches]).tolist()
    assert ends == ([False] * (windows * crops - 1) + [True]) * 3


def test_base_models_see_the_middle_of_a_part() -> None:
    sample = Sample("a", Numbered("a.mp4", 0, 20.0), (0,), start=4.0, end=8.0)
    loader = EvalLoader(DataSet("one", (sample,), ("a",)), config_of(), streams=False)
    assert shown(loader) == {0: [130 + 5 * i for i in range(8)]}


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.heavy)])
def test_streams_see_every_frame_of_a_sample(workers: int) -> None:
    """Longer and shorter than a chunk and than a test clip, and a part of a video."""
    frames = [1, 7, 21, 22, 46, 5, 48, 40]  # three at once pass in chunks of 21
    media = [Numbered(f"{i}.mp4", 0, n / RATE) for i, n in enumerate(frames)]
    data = data_of(*media)
    part = Sample("part", Numbered("long.mp4", 0, 60.0), (0,), start=2.0, end=7.0)
    data = DataSet(data.name, (*data.samples, part), data.labels)
    config = config_of(run__eval_batch_size=3, data__workers=workers)
    loader = EvalLoader(data, config, streams=True)
    expected = {i: [5 * k for k in range(n)] for i, n in enumerate(frames)}
    expected[len(frames)] = [50 + 5 * k for k in range(25)]
    assert shown(loader) == expected
    for batch in loader:  # left under way, as a stop does
        assert batch.video.shape[1] <= 21
        break
    assert shown(loader) == expected
    assert sum(int(batch.ends.sum()) for batch in loader) == len(expected)


def test_streams_are_sorted_by_length() -> None:
    """Samples that end together are computed together: rows stay full, and few chunks are short."""
    lengths = [10, 40, 12, 39, 11, 41, 10, 40]
    data = data_of(*(Numbered(f"{i}.mp4", 0, n / RATE) for i, n in enumerate(lengths)))
    batches = list(EvalLoader(data, config_of(run__eval_batch_size=4), streams=True))
    first = next(i for i, batch in enumerate(batches[1:], start=1) if batch.begins)
    halves = batches[:first], batches[first:]
    groups = [{int(i) for batch in half for i in batch.indices} for half in halves]
    assert groups == [{0, 2, 4, 6}, {1, 3, 5, 7}]
    assert sum(batch.video.shape[0] * batch.video.shape[1] for batch in batches) == sum(lengths)
    assert len(batches) == 3 + 5


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_each_sample_is_seen_once_over_all_processes(streams: bool, world_size: int) -> None:
    media = [Broken(m.name) if i in (1, 4, 6) else m for i, m in enumerate(videos(8))]
    config = config_of(run__eval_batch_size=2)
    batches = [
        batch
        for rank in range(world_size)
        for batch in EvalLoader(
            data_of(*media), config, streams=streams, rank=rank, world_size=world_size
        )
    ]
    ended = [int(i) for b in batches for i in b.indices[b.ends]]
    assert sorted(ended) == [0, 2, 3, 5, 7]
    failures = sorted(failure for batch in batches for failure in batch.failures)
    assert failures == [Failure(i, f"{i}.mp4", f"{i}.mp4: not a video") for i in (1, 4, 6)]


@pytest.mark.parametrize("streams", [False, True])
def test_a_batch_without_a_good_sample_is_empty(streams: bool) -> None:
    data = data_of(Broken("0.mp4"), Gone("1.mp4"))
    (batch,) = EvalLoader(data, config_of(), streams=streams)
    assert batch.video.shape[0] == len(batch.indices) == len(batch.ends) == 0
    assert [failure.sample for failure in batch.failures] == [0, 1]
    assert "Input/output error" in batch.failures[1].reason


def test_a_stream_that_cannot_be_read_to_its_end_has_none() -> None:
    media = [Numbered("0.mp4", 0, 8.0), Torn("1.mp4", 0, 8.0, until=5.0), Numbered("2.mp4")]
    batches = list(EvalLoader(data_of(*media), config_of(), streams=True))
    seen = shown(batches)
    assert [len(seen[i]) for i in range(3)] == [40, 20, 20]
    assert sorted(int(i) for b in batches for i in b.indices[b.ends]) == [0, 2]
    assert [f for b in batches for f in b.failures] == [Failure(1, "1.mp4", "1.mp4: torn")]


def test_a_sample_whose_last_window_cannot_be_read_has_no_end() -> None:
    media = [Numbered("0.mp4", 0, 8.0), Torn("1.mp4", 0, 8.0, until=5.0)]
    config = config_of(run__views=3, run__eval_batch_size=1)
    batches = list(EvalLoader(data_of(*media), config, streams=False))
    assert [int(i) for b in batches for i in b.indices] == [0, 0, 0, 1, 1]
    assert [int(i) for b in batches for i in b.indices[b.ends]] == [0]
    assert [f.sample for b in batches for f in b.failures] == [1]


@pytest.mark.parametrize("streams", [False, pytest.param(True, marks=pytest.mark.heavy)])
@pytest.mark.heavy
def test_workers_change_nothing(files: DataSet, streams: bool) -> None:
    expected = list(EvalLoader(files, config_of(run__eval_batch_size=1), streams=streams))
    loader = EvalLoader(files, config_of(run__eval_batch_size=1, data__workers=2), streams=streams)
    assert same(loader, expected)
    for _ in loader:  # left, as a stop does
        break
    assert same(loader, expected)


@pytest.mark.parametrize("setting", [{"run__views": 2}, {"run__crops": 3}])
def test_views_of_a_stream_are_refused(setting: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=r"run\.views and run\.crops are for base models"):
        EvalLoader(data_of(Numbered("0.mp4")), config_of(**setting), streams=True)
