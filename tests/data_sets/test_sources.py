import itertools
import pickle
from pathlib import Path

import pytest

from data_sets.records import clip, records, tar, video
from movinet.data.annotations import Row, write_rows
from movinet.data.scan import write_samples
from movinet.data.sources import open_data
from movinet.errors import ConfigError, VideoError
from movinet.video import decoding
from movinet.video.media import VideoFile
from video.synthetic import make_video, number_of, numbered


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def pairs(data) -> list[tuple[str, tuple[str, ...]]]:
    return [(s.key, tuple(data.labels[i] for i in s.labels)) for s in data.samples]


def test_every_kind_gives_the_same_samples(tmp_path):
    """Files, a manifest, shards and records of the same frames are read alike."""
    for name in ("run", "walk"):
        video(tmp_path / f"videos/{name}/0.mp4", count=10)
    write_rows(tmp_path / "list.csv", [Row(f"videos/{n}/0.mp4", (n,)) for n in ("run", "walk")])
    mp4 = (tmp_path / "videos/run/0.mp4").read_bytes()
    packed = {"0.mp4": mp4, "0.txt": "run", "1.mp4": mp4, "1.txt": "walk"}
    sources = [
        tmp_path / "videos",
        tmp_path / "list.csv",
        tar(tmp_path / "shards/0.tar", packed),
        records(tmp_path / "records/a.tfrecord", [clip(0, 0, 10), clip(1, 0, 10)]),
    ]
    for where in sources:
        data = open_data(where, labels=("run", "walk"))
        assert [s.labels for s in data.samples] == [(0,), (1,)]
        for sample in data.samples:
            media = pickle.loads(pickle.dumps(sample.media))  # workers get it so
            assert media == sample.media
            assert media.extent() == pytest.approx((0.0, 0.4))
            images = media.frames([0.0, 0.1, 0.2, 9.0], 1e-3, [])
            assert [number_of(image) for image in images] == [0, 2, 5, 9]


def test_folders_are_classes_in_natural_order(tmp_path):
    touch(tmp_path, "c10/1.mp4", "c9/x/10.mp4", "c9/x/9.MOV", "c9/a.txt", ".git/x.mp4", "notes.txt")
    data = open_data(tmp_path)
    assert data.labels == ("c9", "c10")
    assert pairs(data) == [
        ("c9/x/9.MOV", ("c9",)), ("c9/x/10.mp4", ("c9",)), ("c10/1.mp4", ("c10",)),
    ]  # fmt: skip


def test_names_that_differ_in_case_alone_have_one_order(tmp_path):
    touch(tmp_path, *(f"{name}/1.mp4" for name in ("run", "Run", "RUN", "01", "1")))
    assert open_data(tmp_path).labels == ("01", "1", "RUN", "Run", "run")


def test_labels_that_are_given_decide_the_numbers(tmp_path):
    touch(tmp_path, "run/1.mp4", "walk/1.mp4")
    data = open_data(tmp_path, labels=["walk", "jump", "run"])
    assert data.labels == ("walk", "jump", "run")
    assert [sample.labels for sample in data.samples] == [(2,), (0,)]


def test_videos_outside_the_folders_are_told(tmp_path):
    touch(tmp_path, "run/1.mp4", "2.mp4", "1.mp4", "notes.txt", ".x.mp4")
    with pytest.warns(UserWarning, match=r"2 videos are in no folder of a class .* 1\.mp4 the fir"):
        assert len(open_data(tmp_path)) == 1


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["run/1.mp4", "walk/notes.txt"], "walk: no video in this folder .*; a class needs some"),
        (["1.mp4"], "there are no folders in it; a data set has a folder for each class"),
        (["train/run/1.mp4", "val/run/1.mp4"], r"its folders \(train, val\) are parts of a data s"),
        (["r\nun/1.mp4"], r"'r\\nun' is no name of a class"),
    ],
)
def test_a_bad_folder_is_one_line(tmp_path, names, message):
    touch(tmp_path, *names)
    with pytest.raises(ConfigError, match=message):
        open_data(tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "an empty name is not a video; a data set is a folder"),
        (
            "https://x/{0..3}.tar",
            r"no such file \(only local files are read, no URLs\); a data set",
        ),
        ("/nowhere/at all", "/nowhere/at all: no such file or folder; a data set is a folder"),
        ("/nowhere/list.csv", "/nowhere/list.csv: no such file or folder"),
        ("n" * 300, "cannot be read"),
        ("/dev/null", "/dev/null: is not a data set"),
    ],
)
def test_what_is_no_data_set_is_one_line(name, message):
    with pytest.raises(ConfigError, match=message):
        open_data(name)


def test_other_files_are_no_data_sets(tmp_path):
    touch(tmp_path, "a.zip", "a.mp4")
    for name in ("a.zip", "a.mp4"):
        with pytest.raises(ConfigError, match=f"{name}: is not a data set; a data set is"):
            open_data(tmp_path / name)


def test_paths_of_a_manifest_start_from_its_folder_or_the_root(tmp_path):
    touch(tmp_path, "lists/a.mp4", "videos/a.mp4", "b.mp4")
    write_rows(tmp_path / "lists/list.csv", [Row("a.mp4", ("x",)), Row("../b.mp4", ("y",))])
    media = [s.media for s in open_data(tmp_path / "lists/list.csv").samples]
    assert media == [
        VideoFile(tmp_path / "lists/a.mp4", "NONE"),
        VideoFile(tmp_path / "b.mp4", "NONE"),
    ]
    rows = [Row("a.mp4", ("x",)), Row(str(tmp_path / "b.mp4"), ("y",))]
    write_rows(tmp_path / "lists/list.csv", rows)
    data = open_data(tmp_path / "lists/list.csv", root=tmp_path / "videos")
    assert [s.media for s in data.samples] == [
        VideoFile(tmp_path / "videos/a.mp4", "NONE"),
        VideoFile(tmp_path / "b.mp4", "NONE"),
    ]


@pytest.mark.parametrize("name", ["../b.mp4", "a/../../b.mp4", ".."])
def test_a_path_out_of_the_root_is_refused(tmp_path, name):
    touch(tmp_path, "b.mp4", "root/a.mp4")
    path = tmp_path / "list.csv"
    write_rows(path, [Row("a.mp4", ("x",)), Row(name, ("x",))])
    with pytest.raises(
        ConfigError, match=r"list\.csv, line 3: '.*' leads out of the root .*/root;"
    ):
        open_data(path, root=tmp_path / "root")


def test_rows_keep_their_times_groups_and_labels(tmp_path):
    touch(tmp_path, "a.mp4", "b.mp4")
    rows = [
        Row("a.mp4", ("walk", "talk"), 0.0, 2.5, "anna"),
        Row("a.mp4", ("talk",), 2.5, None, "anna"),
        Row("b.mp4", ()),
    ]
    write_rows(tmp_path / "list.jsonl", rows)
    data = open_data(tmp_path / "list.jsonl", multi_label=True)
    assert data.multi_label
    assert pairs(data) == [
        ("a.mp4#0-2.5", ("walk", "talk")), ("a.mp4#2.5-", ("talk",)), ("b.mp4", ()),
    ]  # fmt: skip
    assert [(s.start, s.end, s.group) for s in data.samples] == [
        (0.0, 2.5, "anna"), (2.5, None, "anna"), (None, None, None),
    ]  # fmt: skip


def test_repeated_rows_are_samples_with_keys_of_their_own(tmp_path):
    touch(tmp_path, "a.mp4", "b.mp4", "b.mp4#2")
    rows = [
        Row(name, ("x",)) for name in ("b.mp4", "a.mp4", "b.mp4", "./b.mp4", "b.mp4#2", "b.mp4")
    ]
    parts = [Row("a.mp4", ("x",), 1.0, 2.0)] * 2
    write_rows(tmp_path / "list.csv", [*rows, *parts])
    data = open_data(tmp_path / "list.csv")
    assert [sample.key for sample in data.samples] == [
        *("b.mp4", "a.mp4#0-", "b.mp4#3", "./b.mp4", "b.mp4#2", "b.mp4#4"),
        *("a.mp4#1-2", "a.mp4#1-2#2"),
    ]
    assert data.repeats() == [2, 3, 5, 7]
    # Written out and read back, they are as many.
    write_samples(tmp_path / "again.csv", data, range(len(data)))
    assert len(open_data(tmp_path / "again.csv").repeats()) == 4


def test_missing_files_are_counted_and_the_first_ones_named(tmp_path):
    touch(tmp_path, "0.mp4")
    names = ["0.mp4", "1\n.mp4", *(f"{i}.mp4" for i in range(2, 7)), "n" * 5000]
    write_rows(tmp_path / "list.tsv", [Row(name, ("x",)) for name in names])
    with pytest.raises(VideoError) as caught:
        open_data(tmp_path / "list.tsv")
    assert str(caught.value).startswith(
        f"{tmp_path}/list.tsv: 7 of 8 files are missing below {tmp_path}: 1\\n.mp4 (line 4), "
        "2.mp4 (line 5), 3.mp4 (line 6), 4.mp4 (line 7), 5.mp4 (line 8) and 2 more; "
    )


@pytest.mark.parametrize(
    ("labels", "multi_label", "message"),
    [
        (
            ("walkin",),
            False,
            r"line 2: 'walkin' is not one of the 2 classes \(walking, running\); di",
        ),
        (
            ("sitting", "lying", "running", "falling"),
            True,
            r"'falling' is not one of the 2 classes .*; nor are 'lying', 'sitting'$",
        ),
        (
            ("walking", "running"),
            False,
            r"line 2: has 2 labels \(walking, running\); .*multi_label",
        ),
        (("running", "running"), True, "line 2: a label stands twice in running, running"),
        ((), False, "line 2: has no label; each sample needs one"),
    ],
)
def test_a_bad_label_is_one_line(tmp_path, labels, multi_label, message):
    touch(tmp_path, "a.mp4")
    path = tmp_path / "list.jsonl"
    write_rows(path, [Row("a.mp4", labels)])
    path.write_text("\n" + path.read_text())
    with pytest.raises(ConfigError, match=message):
        open_data(path, labels=("walking", "running"), multi_label=multi_label)


def test_classes_that_are_given_stand_once(tmp_path):
    touch(tmp_path, "a/a.mp4")
    with pytest.raises(ConfigError, match="the class 'a' stands twice in the labels"):
        open_data(tmp_path, labels=("b", "a", "a"))


def test_names_and_numbers_do_not_mix(tmp_path):
    shard = tar(tmp_path / "a.tar", {"0.mp4": "", "0.cls": "3", "1.mp4": "", "1.txt": "walk"})
    with pytest.raises(
        ConfigError, match=r"some .* names for labels \('walk'\), some numbers \(3\)"
    ):
        open_data(shard)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".ts"])
def test_a_sample_past_the_end_of_its_video_is_an_error(tmp_path, suffix):
    """Not the last frame, standing still under a label that it has nothing to do with."""
    video(tmp_path / f"a{suffix}", count=25)
    write_rows(tmp_path / "list.csv", [Row(f"a{suffix}", ("x",), 5.0, 8.0)])
    media = open_data(tmp_path / "list.csv").samples[0].media
    with pytest.raises(VideoError, match=rf"a\{suffix}: ends at 1.* s, before 5 s"):
        list(media.frames([5.0, 5.5], 1e-3, []))
    assert [number_of(image) for image in media.frames([0.96, 5.0], 1e-3, [])] == [24, 24]


def test_only_the_needed_part_of_a_long_file_is_read(tmp_path, monkeypatch):
    path = tmp_path / "long.mp4"
    options = {"g": "25", "bf": "0"}
    make_video(path, [numbered(i) for i in range(1000)], options=options)
    write_rows(tmp_path / "list.csv", [Row("long.mp4", ("x",), 30.0, 31.0)])
    media = open_data(tmp_path / "list.csv").samples[0].media
    read, packets = itertools.count(), decoding._packets
    monkeypatch.setattr(
        decoding, "_packets", lambda *a: (p for p in packets(*a) if next(read) is not None)
    )
    images = list(media.frames([30.0, 30.5, 30.96], 1e-3, []))
    assert [number_of(image) for image in images] == [750, 762, 774]
    assert next(read) < 60  # of 1000: from the keyframe before to just behind the last one
