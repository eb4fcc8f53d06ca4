from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_sets.made_clips import data_set, sample, write_clip
from movinet.data.pack import pack_data
from movinet.data.samples import DataSet, Sample
from movinet.data.scan import scan_data, write_samples
from movinet.data.sources import open_data
from movinet.errors import ConfigError
from movinet.video.media import VideoFile


def test_lengths_sizes_and_rates_of_each_class(tmp_path: Path) -> None:
    long = write_clip(tmp_path / "long.mp4", 1)  # 2 s, 64x48, 12 frames per second
    small = write_clip(tmp_path / "small.mp4", 2, step=2, rate=24)  # 1 s, 32x24
    (tmp_path / "bad.mp4").write_bytes(b"bad")
    data = data_set(
        sample(long, 0),
        sample(long, 0, start=0.5, end=1.0),
        sample(long, 1, start=1.5, end=9.0),
        sample(small, 1),
        sample(tmp_path / "bad.mp4", 1),
    )
    seen: list[tuple[int, int]] = []
    scan = scan_data(data, workers=2, progress=lambda *done: seen.append(done))
    a, b = scan.classes["a"], scan.classes["b"]
    assert (a.samples, b.samples, scan.total.samples) == (2, 3, 5)
    assert [c.seconds for c in (a, b, scan.total)] == pytest.approx([2.5, 1.5, 4.0])
    assert (a.sizes, b.sizes) == ({(64, 48): 2}, {(64, 48): 1, (32, 24): 1})
    assert (a.rates, b.rates) == ({12.0: 2}, {12.0: 1, 24.0: 1})
    assert [Path(name).name for name, _ in scan.unreadable] == ["bad.mp4"]
    assert scan.unreadable[0][1].startswith("not a video")
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_a_sample_of_several_classes_counts_once_in_all(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 1)
    data = DataSet("made", (Sample("k", VideoFile(clip), (0, 1)),), ("a", "b"), multi_label=True)
    scan = scan_data(data)
    assert [c.samples for c in (*scan.classes.values(), scan.total)] == [1, 1, 1]


def test_shards_are_scanned_but_are_no_manifest(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 1)
    pack_data(data_set(sample(clip)), tmp_path / "shards")
    data = open_data(tmp_path / "shards")
    assert scan_data(data).total.sizes == {(64, 48): 1}
    with pytest.raises(ConfigError, match="a manifest names files, and this sample lies within"):
        write_samples(tmp_path / "all.csv", data, [0])
    assert not (tmp_path / "all.csv").exists()


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_a_manifest_is_the_same_data(tmp_path: Path, suffix: str) -> None:
    clips = [tmp_path / f"videos/{name}.mp4" for name in ("a", 'with "quotes", commas', "ünï")]
    for clip in clips:
        clip.parent.mkdir(exist_ok=True)
        clip.touch()
    data = data_set(
        sample(clips[0], 1, start=0.1, end=1 / 3, group="anna"),
        sample(clips[1], 0),
        sample(clips[2], 1),
    )
    path = tmp_path / f"all{suffix}"
    write_samples(path, data, [2, 0, 1])
    found = open_data(path)
    assert found.labels == data.labels
    assert [(s.media, s.labels, s.start, s.end, s.group) for s in found.samples] == [
        (s.media, s.labels, s.start, s.end, s.group) for s in (data.samples[i] for i in (2, 0, 1))
    ]


def test_videos_beside_a_manifest_move_with_it_and_others_stay(tmp_path: Path) -> None:
    clip = tmp_path / "set" / "videos" / "clip.mp4"
    clip.parent.mkdir(parents=True)
    clip.touch()
    data = data_set(sample(clip))
    write_samples(tmp_path / "set" / "all.csv", data, [0])
    write_samples(tmp_path / "splits" / "train.csv", data, [0])
    (tmp_path / "set").rename(tmp_path / "moved")
    moved = open_data(tmp_path / "moved" / "all.csv").samples[0].media
    assert moved.name == str(tmp_path / "moved" / "videos" / "clip.mp4")
    (tmp_path / "moved").rename(tmp_path / "set")
    (tmp_path / "splits").rename(tmp_path / "elsewhere")
    assert open_data(tmp_path / "elsewhere" / "train.csv").samples[0].media.name == str(clip)


def test_a_name_that_no_manifest_can_hold_is_told(tmp_path: Path) -> None:
    for name in ("line\nbreak.mp4", "escape\x1b.mp4"):
        with pytest.raises(ConfigError, match=r"cannot hold a name with line ends .*; rename"):
            write_samples(tmp_path / "all.csv", data_set(sample(tmp_path / name)), [0])
    assert np.all([path.suffix != ".csv" for path in tmp_path.iterdir()])
