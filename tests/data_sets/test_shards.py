import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from webdataset.tariterators import group_by_keys, tar_file_expander
from webdataset.writer import ShardWriter

from data_sets.records import tar, video
from movinet.data.sources import open_data
from movinet.errors import ConfigError, VideoError
from movinet.video.container import Region
from movinet.video.media import VideoFile
from video.synthetic import number_of


@pytest.fixture(scope="module")
def mp4(tmp_path_factory) -> bytes:
    return video(tmp_path_factory.mktemp("video") / "a.mp4", count=30).read_bytes()


def shown(media, times: list[float]) -> list[int]:
    return [number_of(image) for image in media.frames(times, 1e-3, [])]


def by_webdataset(*shards: Path) -> list[dict[str, Any]]:
    """The samples as the library itself finds them; WebDataset() would leave the files open."""
    found = []
    for shard in shards:
        with shard.open("rb") as file:
            source = [{"url": str(shard), "stream": file}]
            found += group_by_keys(tar_file_expander(source))
    return found


def test_members_with_one_key_are_a_sample(tmp_path, mp4):
    described = json.dumps({"label": "run", "start": 0.2, "end": 0.8, "group": 7, "fps": 25})
    tar(tmp_path / "s-0.tar", {"a.mp4": mp4, "a.txt": "walk\n", "b.json": described, "b.mp4": mp4})
    tar(tmp_path / "s-1.tar", {"x/c.MP4": mp4, "x/c.cls": "1"})
    (tmp_path / "labels.txt").write_text("run\nwalk\n")
    data = open_data(tmp_path)
    assert data.labels == ("run", "walk")
    assert [(s.key, s.labels) for s in data.samples] == [
        ("s-0.tar/a", (1,)), ("s-0.tar/b", (0,)), ("s-1.tar/x/c", (1,)),
    ]  # fmt: skip
    assert (data.samples[1].start, data.samples[1].end, data.samples[1].group) == (0.2, 0.8, "7")
    assert data.samples[2].media.name == f"{tmp_path}/s-1.tar: x/c.MP4"


def test_a_video_in_a_shard_is_that_video(tmp_path, mp4):
    """Decoded where it lies, whatever the shard is called."""
    (tmp_path / "whole.mp4").write_bytes(mp4)
    other = {"0.mp4": b"no video" * 1000, "0.cls": "0"}
    shard = tar(tmp_path / "a, b:%d.tar", {**other, "1.mp4": mp4, "1.cls": "0", "9.cls.x": "0"})
    with tarfile.open(shard) as archive:
        member = archive.getmember("1.mp4")
    inside = VideoFile(Region(shard, member.offset_data, member.size, "1.mp4"))
    whole = VideoFile(tmp_path / "whole.mp4")
    assert inside.extent() == whole.extent()
    times = [i / 25 for i in range(30)]
    expected = np.stack(list(whole.frames(times, 1e-3, [])))
    np.testing.assert_array_equal(np.stack(list(inside.frames(times, 1e-3, []))), expected)
    assert shown(inside, [0.8, 1.0]) == [20, 25]


def test_a_video_ends_where_its_member_ends(tmp_path):
    """Formats without a length of their own would run on into the next member."""
    streams = [video(tmp_path / f"{i}.ts", first=10 * i).read_bytes() for i in range(2)]
    shard = tar(
        tmp_path / "a.tar", {"a.ts": streams[0], "a.txt": "x", "b.ts": streams[1], "b.txt": "x"}
    )
    for i, sample in enumerate(open_data(shard).samples):
        whole = VideoFile(tmp_path / f"{i}.ts")
        assert sample.media.extent() == whole.extent()
        assert shown(sample.media, [0.0, 9.0]) == [10 * i, 10 * i + 7]


def test_what_is_written_with_webdataset_is_read_as_it_reads_it(tmp_path, mp4):
    pattern = f"{tmp_path}/train-%03d.tar"
    with ShardWriter(pattern, maxcount=3, verbose=0) as writer:
        for i in range(8):
            writer.write({"__key__": f"clips.d/{i:04d}", "mp4": mp4[i:], "cls": i % 3})
    ours = open_data(f"{tmp_path}/train-{{000..002}}.tar")
    theirs = by_webdataset(*(tmp_path / f"train-{i:03d}.tar" for i in range(3)))
    assert len(ours) == len(theirs) == 8
    for sample, other in zip(ours.samples, theirs, strict=True):
        shard = Path(other["__url__"]).name
        assert sample.key == f"{shard}/{other['__key__']}"
        assert sample.labels == (int(other["cls"]),)
        assert isinstance(sample.media, VideoFile)
        assert isinstance(sample.media.source, Region)
        assert sample.media.source.read() == other["mp4"]


def test_members_that_webdataset_passes_over_are_passed_over(tmp_path, mp4):
    members = {"__about__/a.txt": "x", "README": "x", ".hidden": "x"}
    members |= {"./a.mp4": mp4, "./a.txt": "walk"}
    shard = tar(tmp_path / "a.tar", members)
    theirs = by_webdataset(shard)
    ours = open_data(shard).samples
    assert [sample.key for sample in ours] == [f"a.tar/{other['__key__']}" for other in theirs]


def test_shards_are_in_natural_order_and_keys_are_their_own(tmp_path, mp4):
    for name in ("s10", "s9", "b/s9"):
        tar(tmp_path / f"{name}.tar", {"0.mp4": mp4, "0.cls": "0"})
    keys = [sample.key for sample in open_data(f"{tmp_path}/s*.tar").samples]
    assert keys == ["s9.tar/0", "s10.tar/0"]
    keys = [sample.key for sample in open_data(f"{tmp_path}/{{s9,b/s9}}.tar").samples]
    assert keys == ["s9.tar/0", "b/s9.tar/0"]


def test_numbers_are_classes_of_the_labels_that_are_given(tmp_path, mp4):
    shard = tar(tmp_path / "a.tar", {"a.mp4": mp4, "a.cls": "1", "b.mp4": mp4, "b.json": "{}"})
    with pytest.raises(ConfigError, match=r"sample 'b', .json: has no label"):
        open_data(shard, labels=("x", "y"))
    data = open_data(shard, labels=("x", "y"), multi_label=True)
    assert [sample.labels for sample in data.samples] == [(1,), ()]
    (tmp_path / "labels.txt").write_text("y\nx\n")
    data = open_data(shard, labels=("x", "y"), multi_label=True)
    assert data.samples[0].labels == (0,)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a.mp4": b"", "b.txt": "x"}, "sample 'a': has no label; it needs a .json, .txt or .cls"),
        ({"a.txt": "x", "a.jpg": ""}, r"sample 'a': has 0 videos \(members: txt, jpg\); it needs"),
        ({"a.l.mp4": "", "a.r.mp4": "", "a.txt": "x"}, "sample 'a': has 2 videos"),
        ({"a.mp4": "", "a.cls": "one"}, "sample 'a': its .cls is no number: b'one'"),
        ({"a.mp4": "", "a.cls": "-1"}, "sample 'a': class -1; there are 2, counted from 0"),
        ({"a.mp4": "", "a.cls": "2"}, "sample 'a': class 2; there are 2, counted from 0"),
        ({"a.mp4": "", "a.txt": b"\xff"}, "sample 'a': its .txt is not UTF-8 text"),
        ({"a.mp4": "", "a.txt": "walk\nfast"}, r"sample 'a': 'walk\\nfast' is no name of a class"),
        ({"a.mp4": "", "a.txt": "walc"}, "sample 'a': 'walc' is not one of .*did you mean 'walk'"),
        ({"a.mp4": "", "a.json": "{"}, "sample 'a', .json: not JSON"),
        ({"a.mp4": "", "a.json": '{"label": {}}'}, "sample 'a', .json: {} is no name of a class"),
        ({"a.mp4": "", "a.json": '{"label": "walk", "end": -1}'}, "end must be seconds"),
        ({"a.mp4": "", "a.json": '{"label": "walk", "start": 3, "end": 2}'}, "end 2 must be after"),
        ({"a.mp4": "", "a.json": " " * (2 << 20)}, "a.json: 2097152 bytes; a label has at most"),
        ({"../a.mp4": "", "../a.txt": "walk"}, "'../a.mp4' is not allowed as the name of a member"),
        ({"/etc/a.mp4": ""}, "'/etc/a.mp4' is not allowed as the name of a member"),
        ({"a\nb.mp4": ""}, r"'a\\nb.mp4' is not allowed as the name of a member"),
        ({"README": "nothing here"}, "no samples"),
    ],
)
def test_a_bad_sample_is_one_line(tmp_path, members, message):
    shard = tar(tmp_path / "a.tar", members)
    with pytest.raises(ConfigError, match=message) as caught:
        open_data(shard, labels=("walk", "run"))
    assert str(caught.value).startswith(str(shard))
    assert "\n" not in str(caught.value)


def test_a_name_that_stands_twice_is_refused(tmp_path):
    shard = tmp_path / "a.tar"
    with tarfile.open(shard, "w") as archive:
        for _ in range(2):
            archive.addfile(tarfile.TarInfo("a.mp4"), io.BytesIO())
    with pytest.raises(VideoError, match=r"two members are called 'a\.mp4'"):
        open_data(shard)


def test_links_do_not_lead_out_of_a_shard(tmp_path, mp4):
    shard = tmp_path / "a.tar"
    with tarfile.open(shard, "w") as archive:
        link = tarfile.TarInfo("a.mp4")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "secret.mp4")
        archive.addfile(link)
        text = tarfile.TarInfo("a.txt")
        text.size = 4
        archive.addfile(text, io.BytesIO(b"walk"))
    (tmp_path / "secret.mp4").write_bytes(mp4)
    with pytest.raises(ConfigError, match="sample 'a': has 0 videos"):
        open_data(shard)


@pytest.mark.parametrize("kept", [100, 700, 3000, 512 * 3, -10240, -1])
def test_a_shard_that_is_cut_off_is_an_error(tmp_path, mp4, kept):
    """Also between two members, where it would lose samples in silence."""
    shard = tar(tmp_path / "a.tar", {"0.txt": "walk", "1.mp4": mp4, "0.mp4": mp4, "1.txt": "walk"})
    content = shard.read_bytes()
    end = content.rstrip(b"\0")
    blocks = -(-len(end) // 512) * 512
    if kept == -1:
        kept = blocks  # all members, but no end
    elif kept == -10240:
        kept = blocks - 1024  # without the last member
    shard.write_bytes(content[:kept])
    with pytest.raises(VideoError, match=r"a\.tar: (cut off at byte|not a readable .tar)"):
        open_data(shard)


def test_damage_between_members_is_an_error(tmp_path, mp4):
    shard = tar(tmp_path / "a.tar", {"0.txt": "walk", "0.mp4": mp4, "1.txt": "x", "1.mp4": mp4})
    content = bytearray(shard.read_bytes())
    at = content.index(b"1.txt\0")
    content[at + 148 : at + 156] = b"\xff" * 8  # the checksum of its header
    shard.write_bytes(content)
    with pytest.raises(VideoError, match=rf"a\.tar: damaged at byte {at}"):
        open_data(shard)


@pytest.mark.parametrize("content", [b"", b"text" * 400, b"\x1f\x8b" + b"x" * 1000])
def test_what_is_no_archive_is_an_error(tmp_path, content):
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(VideoError, match=r"a\.tar: (not a readable .tar .*compression|cut off)"):
        open_data(tmp_path / "a.tar")


def test_a_compressed_archive_says_so(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("a.mp4"), io.BytesIO())
    with pytest.raises(VideoError, match="shards are tar archives without compression"):
        open_data(tmp_path / "a.tar")


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("s-{000..002}.tar", r"s-001\.tar: no such file, which .*s-\{000\.\.002\}\.tar asks for"),
        ("s-{000..002.tar", "not a pattern of files"),
        ("t-*.tar", r"t-\*\.tar: no such file$"),
        ("*", r"stands for a\.mp4, s-000\.tar; a data set is made of .tar or of .tfrecord files"),
        ("s-{000..100}.tar", "stands for more than 50 files"),
    ],
)
def test_a_pattern_must_fit(tmp_path, mp4, pattern, message, monkeypatch):
    monkeypatch.setattr("movinet.data.packed._MAX_FILES", 50)
    tar(tmp_path / "s-000.tar", {"a.mp4": mp4, "a.txt": "walk"})
    (tmp_path / "a.mp4").touch()
    with pytest.raises(ConfigError, match=message):
        open_data(f"{tmp_path}/{pattern}")


def test_a_folder_of_shards_and_classes_is_ambiguous(tmp_path, mp4):
    tar(tmp_path / "all.tar", {"a.mp4": mp4, "a.txt": "walk"})
    video(tmp_path / "walk/a.mp4")
    with pytest.raises(ConfigError, match=r"holds all\.tar and folders \(walk\); .* write .*/\*"):
        open_data(tmp_path)
    assert len(open_data(f"{tmp_path}/*.tar")) == 1


def test_a_shard_that_shrinks_later_is_an_error(tmp_path, mp4):
    shard = tar(tmp_path / "a.tar", {"a.txt": "walk", "a.mp4": mp4})
    media = open_data(shard).samples[0].media
    shard.write_bytes(shard.read_bytes()[:3000])
    with pytest.raises(VideoError, match=r"a\.tar: a\.mp4: "):
        media.extent()
