from __future__ import annotations

import json
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from webdataset.tariterators import group_by_keys, tar_file_expander

from data_sets.made_clips import RATE, data_set, images, sample, write_clip
from movinet.data.pack import Encoding, pack_data
from movinet.data.samples import DataSet, Sample
from movinet.data.sources import open_data
from movinet.errors import ConfigError, VideoError
from movinet.video.media import VideoFile


@pytest.fixture
def data(tmp_path: Path) -> DataSet:
    clips = [write_clip(tmp_path / f"{i}.mp4", i) for i in range(5)]
    return data_set(
        sample(clips[0], 1),
        sample(clips[1], 0, start=0.5, end=1.5, group="anna"),
        *(sample(clip, i % 2) for i, clip in enumerate(clips[2:])),
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def pixels(piece: Sample, times: list[float]) -> np.ndarray:
    return np.stack(list(piece.media.frames(times, 1e-3, [])))


def test_shards_hold_the_same_samples(data: DataSet, tmp_path: Path) -> None:
    size = Path(data.samples[0].media.name).stat().st_size
    packed = pack_data(data, tmp_path / "shards", shard_bytes=round(1.5 * size))
    assert packed.samples == 5
    assert packed.shards > 1
    found = open_data(tmp_path / "shards")
    assert found.labels == data.labels
    for before, after in zip(data.samples, found.samples, strict=True):
        assert (after.labels, after.start, after.end, after.group) == (
            before.labels,
            before.start,
            before.end,
            before.group,
        )
        np.testing.assert_array_equal(pixels(after, [0.1, 1.1]), pixels(before, [0.1, 1.1]))
    index = json.loads((tmp_path / "shards/index.json").read_text())
    assert index["samples"] == sum(index["shards"].values()) == 5
    assert sorted(index["shards"]) == sorted(p.name for p in (tmp_path / "shards").glob("*.tar"))
    assert packed.bytes < sum(p.stat().st_size for p in (tmp_path / "shards").glob("*.tar"))


def test_the_webdataset_library_reads_them(data: DataSet, tmp_path: Path) -> None:
    pack_data(data, tmp_path / "shards", shard_bytes=10_000)
    found: list[dict[str, Any]] = []
    for path in sorted((tmp_path / "shards").glob("*.tar")):
        with path.open("rb") as file:  # WebDataset() would leave it open
            found += group_by_keys(tar_file_expander([{"url": str(path), "stream": file}]))
    assert [each["mp4"] for each in found] == [
        Path(s.media.name).read_bytes() for s in data.samples
    ]
    records = [json.loads(each["json"]) for each in found]
    assert [each["label"] for each in records] == ["b", "a", "a", "b", "a"]
    assert records[1] == {
        "label": "a",
        "start": 0.5,
        "end": 1.5,
        "group": "anna",
        "key": "1.mp4",
    }


def test_the_same_data_gives_the_same_bytes(data: DataSet, tmp_path: Path) -> None:
    for name in ("one", "two"):
        pack_data(data, tmp_path / name, shard_bytes=20_000)
        pack_data(data, tmp_path / f"{name} small", encoding=Encoding(24))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert contents(tmp_path / "one small") == contents(tmp_path / "two small")


def test_encoding_anew_keeps_only_the_part_that_is_a_sample(data: DataSet, tmp_path: Path) -> None:
    packed = pack_data(data, tmp_path / "shards", encoding=Encoding(24))
    assert packed.samples == 5
    found = open_data(tmp_path / "shards").samples[1]
    assert (found.start, found.end, found.group) == (None, None, "anna")
    assert found.media.extent() == pytest.approx((0, 1))
    frames = pixels(found, [(i + 0.5) / RATE for i in range(RATE)])
    assert frames.shape == (12, 24, 32, 3)
    expected = np.stack(images(1, 1)[6:18]).astype(float)
    expected = expected.reshape(12, 24, 2, 32, 2, 3).mean(axis=(2, 4))
    assert abs(frames - expected).mean() < 6


def test_a_rate_and_a_size_are_kept_unless_given(data: DataSet, tmp_path: Path) -> None:
    pack_data(data, tmp_path / "slow", encoding=Encoding(frame_rate=3))
    pack_data(data, tmp_path / "large", encoding=Encoding(short_side=500))
    slow, large = (open_data(tmp_path / name).samples[0] for name in ("slow", "large"))
    assert slow.media.extent() == pytest.approx((0, 2))
    shown = pixels(slow, [i / RATE for i in range(2 * RATE)])
    changes = [i for i in range(1, 2 * RATE) if (shown[i] != shown[i - 1]).any()]
    assert changes == [4, 8, 12, 16, 20]
    assert pixels(large, [0]).shape == (1, 48, 64, 3)  # nothing is enlarged


def test_what_cannot_be_read_is_left_out_and_told(data: DataSet, tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"bad")
    more = data_set(*data.samples, sample(tmp_path / "bad.mp4"))
    packed = pack_data(more, tmp_path / "shards")
    assert packed.skipped == [
        (
            str(tmp_path / "bad.mp4"),
            "not a video, or too damaged to read (invalid data found when processing input)",
        )
    ]
    assert len(open_data(tmp_path / "shards")) == packed.samples == 5
    with pytest.raises(VideoError, match=r"no sample can be read; the first, .*bad\.mp4: not a"):
        pack_data(data_set(sample(tmp_path / "bad.mp4")), tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_shards_are_packed_again(data: DataSet, tmp_path: Path) -> None:
    pack_data(data, tmp_path / "one", shard_bytes=10_000)
    pack_data(open_data(tmp_path / "one"), tmp_path / "two")
    before, after = open_data(tmp_path / "one").samples, open_data(tmp_path / "two").samples
    assert [s.labels for s in before] == [s.labels for s in after]
    np.testing.assert_array_equal(pixels(before[3], [1.0]), pixels(after[3], [1.0]))


def test_several_labels_and_none_are_kept(data: DataSet, tmp_path: Path) -> None:
    clips = [Path(s.media.name) for s in data.samples]
    labels = [(0, 1), (), (1,)]
    samples = [
        Sample(clip.name, VideoFile(clip), numbers)
        for clip, numbers in zip(clips, labels, strict=False)
    ]
    several = DataSet("made", tuple(samples), ("a", "b"), multi_label=True)
    pack_data(several, tmp_path / "shards")
    found = open_data(tmp_path / "shards", multi_label=True)
    assert [s.labels for s in found.samples] == labels


def test_files_without_the_suffix_of_a_video_can_be_read_back(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 1).rename(tmp_path / "clip.part-2")
    pack_data(data_set(sample(clip)), tmp_path / "shards")
    assert len(open_data(tmp_path / "shards")) == 1


def test_repeated_videos_are_counted(data: DataSet, tmp_path: Path) -> None:
    clip = Path(data.samples[0].media.name)
    parts = [sample(clip, start=0.0, end=1.0), sample(clip, start=1.0, end=2.0)]
    assert pack_data(data_set(*parts), tmp_path / "one").repeated == 1
    assert pack_data(data_set(*parts), tmp_path / "two", encoding=Encoding(24)).repeated == 0


def test_a_folder_appears_whole_or_not_at_all(
    data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(tmp_path.iterdir())
    monkeypatch.setattr(tarfile.TarFile, "addfile", fail)
    with pytest.raises(OSError, match=r"shards: cannot be written \(No space left on device\)"):
        pack_data(data, tmp_path / "shards")
    monkeypatch.undo()
    monkeypatch.setattr("movinet.video.writer.VideoWriter.write", refuse)
    with pytest.raises(OSError, match=r"shards: cannot be written \(cannot be written \(full\)\)"):
        pack_data(data, tmp_path / "shards", encoding=Encoding(24))
    assert set(tmp_path.iterdir()) == before


def fail(*_: object) -> None:
    raise OSError(28, "No space left on device")


def refuse(writer: object, _: object) -> None:
    raise VideoError(f"{writer.path}: cannot be written (full)")  # type: ignore[attr-defined]


def test_a_folder_that_is_there_is_left_alone(data: DataSet, tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    with pytest.raises(ConfigError, match="shards: is there already; give a new folder"):
        pack_data(data, tmp_path / "shards")


@pytest.mark.heavy
def test_processes_encode_the_same(data: DataSet, tmp_path: Path) -> None:
    for workers in (1, 2):
        pack_data(data, tmp_path / str(workers), encoding=Encoding(24), workers=workers)
    assert contents(tmp_path / "1") == contents(tmp_path / "2")
    assert Counter(path.suffix for path in (tmp_path / "1").iterdir()) == Counter(
        [".tar", ".txt", ".json"]
    )
