from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from data_sets.made_clips import background, data_set, images, sample, write_clip
from movinet.data.check import check_data
from movinet.data.processes import in_processes
from movinet.data.quarantine import Finding, exclude, write_quarantine
from movinet.data.samples import DataSet
from movinet.errors import ConfigError
from movinet.video import SkippedPacket, VideoReader
from movinet.video.media import VideoFile
from video.synthetic import make_video


def kinds(data: DataSet, **options: object) -> dict[str, str]:
    """Kinds of what was found, by the names of the files."""
    found = check_data(data, **options)  # type: ignore[arg-type]
    return {Path(each.name).name: each.kind for each in found}


def test_good_videos_of_many_scenes_are_all_good(tmp_path: Path) -> None:
    clips = [sample(write_clip(tmp_path / f"{i}.mp4", i), i % 2) for i in range(8)]
    assert kinds(data_set(*clips), deep=True) == {}


def test_broken_files_are_found_with_the_reason(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "whole.mp4", 1, count=48)  # its index comes first
    content = whole.read_bytes()
    files = {
        "cut.mp4": content[: len(content) * 2 // 3],
        "no index.mp4": content[:200],
        "garbage.mp4": np.random.default_rng(0).bytes(3000),
        "empty.mp4": b"",
        "text.mp4": b"no video",
    }
    for name, part in files.items():
        (tmp_path / name).write_bytes(part)
    missing = sample(tmp_path / "missing.mp4")
    data = data_set(sample(whole), *(sample(tmp_path / name) for name in files), missing)
    found = check_data(data)
    assert [(Path(each.name).name, each.kind) for each in found] == [
        ("cut.mp4", "damaged"),
        ("no index.mp4", "unreadable"),
        ("garbage.mp4", "unreadable"),
        ("empty.mp4", "unreadable"),
        ("text.mp4", "unreadable"),
        ("missing.mp4", "unreadable"),
    ]
    assert "of 4.00 s" in found[0].reason
    assert found[-1].reason == "no such file"


def test_repeated_samples_are_found_and_the_first_is_kept(tmp_path: Path) -> None:
    one, two, copy = (write_clip(tmp_path / f"{name}.mp4", i) for i, name in enumerate("abc"))
    copy.write_bytes(one.read_bytes())
    part = sample(one, start=0.5)
    data = data_set(*(sample(path) for path in (one, two, one, copy, one)), part, part)
    progress: list[tuple[int, int]] = []
    found = check_data(data, progress=lambda done, total: progress.append((done, total)))
    assert [(Path(each.name).name, each.kind, each.start) for each in found] == [
        ("a.mp4", "repeated", None),
        ("c.mp4", "duplicate", None),
        ("a.mp4", "repeated", None),
        ("a.mp4", "repeated", 0.5),
    ]
    assert progress == [(i, 4) for i in range(1, 5)]
    write_quarantine(tmp_path / "bad.txt", found)
    kept, unused = exclude(data, tmp_path / "bad.txt")
    assert kept.samples == (data.samples[0], data.samples[1], part)
    assert unused == 0
    # What is listed for another reason, too, is out altogether.
    with (tmp_path / "bad.txt").open("a") as file:
        file.write(f"{one}\n")
    assert exclude(data, tmp_path / "bad.txt")[0].samples == (data.samples[1],)


def test_only_a_deep_check_decodes_what_comparing_does_not_need(tmp_path: Path) -> None:
    # 24 frames are looked at, at (i + 0.5) / 24 of the length: the last of 480 is not.
    clip = write_clip(tmp_path / "long.mp4", 3, count=480, rate=60)
    content = bytearray(clip.read_bytes())
    content[-60:] = np.random.default_rng(1).bytes(60)
    clip.write_bytes(content)
    assert kinds(data_set(sample(clip))) == {}
    assert kinds(data_set(sample(clip)), deep=True) == {"long.mp4": "damaged"}


def test_a_deep_check_finds_pictures_that_the_decoder_painted_over(tmp_path: Path) -> None:
    clip = make_video(tmp_path / "clip.mpg", images(1, 1), codec="mpeg2video")
    content = clip.read_bytes()  # the header tells no length: nothing else shows that it is cut
    clip.write_bytes(content[: len(content) // 2])
    found = check_data(data_set(sample(clip)), deep=True)
    assert [(each.kind, each.reason) for each in found] == [
        ("damaged", "damaged in 1 place: a picture is not whole")
    ]


def test_short_videos_are_found_by_frames_and_by_seconds(tmp_path: Path) -> None:
    one = write_clip(tmp_path / "one.mp4", 1, count=1, rate=1)  # a frame that stays for a second
    two = write_clip(tmp_path / "two.mp4", 2, count=2)
    long = write_clip(tmp_path / "long.mp4", 3)
    data = data_set(sample(one), sample(two), sample(long))
    assert kinds(data) == {"one.mp4": "short"}
    assert kinds(data, min_seconds=0.5) == {"one.mp4": "short", "two.mp4": "short"}
    assert kinds(data, min_seconds=2.5, min_frames=1) == dict.fromkeys(
        ("one.mp4", "two.mp4", "long.mp4"), "short"
    )


def test_colours_that_cannot_be_converted_are_no_damage(tmp_path: Path) -> None:
    options = {"x264-params": "colormatrix=YCgCo"}
    odd = make_video(tmp_path / "odd.mp4", images(4, 4), rate=12, options=options)
    skipped: list[SkippedPacket] = []
    assert len(list(VideoFile(odd).frames([0.0, 0.5], 1e-3, skipped))) == 2
    assert [packet.note for packet in skipped] == [True]
    good = sample(write_clip(tmp_path / "good.mp4", 3))
    assert kinds(data_set(sample(odd), good), deep=True) == {}


def test_parts_of_a_video_are_looked_at_by_themselves(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 1)  # 2 s
    data = data_set(
        sample(clip, start=0.0, end=1.0),
        sample(clip, start=1.0, end=2.0),
        sample(clip, start=1.0, end=1.05),
        sample(clip, start=5.0),
    )
    found = check_data(data)
    assert [(each.kind, each.start, each.end) for each in found] == [
        ("short", 1.0, 1.05),
        ("unreadable", 5.0, None),
    ]
    write_quarantine(tmp_path / "bad.txt", found)
    kept, unused = exclude(data, tmp_path / "bad.txt")
    assert kept.samples == data.samples[:2]
    assert unused == 0


def test_copies_are_found_and_the_first_is_kept(tmp_path: Path) -> None:
    first = write_clip(tmp_path / "first.mp4", 1)
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(first.read_bytes())
    other = write_clip(tmp_path / "other.mp4", 2)
    found = check_data(data_set(sample(first), sample(other), sample(copy)))
    assert found == [Finding(str(copy), "duplicate", f"the same bytes as {first}")]


@pytest.mark.parametrize(
    "change", [{"crf": 34}, {"step": 2}, {"crf": 28, "step": 2}], ids=["quality", "size", "both"]
)
def test_videos_that_were_encoded_anew_are_found(tmp_path: Path, change: dict[str, int]) -> None:
    clips = [sample(write_clip(tmp_path / f"{i}.mp4", i)) for i in range(6)]
    again = [sample(write_clip(tmp_path / f"again {i}.mp4", i, **change)) for i in range(6)]
    found = check_data(data_set(*clips, *again))
    assert [(each.name, each.kind) for each in found] == [
        (each.media.name, "duplicate") for each in again
    ]
    assert found[3].reason == f"looks like {clips[3].media.name}"


def test_videos_of_a_fixed_camera_are_no_duplicates(tmp_path: Path) -> None:
    clips = [sample(write_clip(tmp_path / f"{i}.mp4", 0, i)) for i in range(1, 13)]
    assert kinds(data_set(*clips)) == {}
    again = sample(write_clip(tmp_path / "again.mp4", 0, 5, crf=30))
    assert kinds(data_set(*clips, again)) == {"again.mp4": "duplicate"}


def small_figure(place: tuple[int, int], step: tuple[int, int], seed: int) -> list[np.ndarray]:
    """20 frames of noise from a fixed camera, and of a figure of 4x10 pixels that walks through."""
    rng = np.random.default_rng(seed)
    ground = background(0, 144, 256)
    frames = []
    for i in range(20):
        frame = ground + rng.normal(0, 2, ground.shape[:2])[..., None]
        y, x = place[0] + i * step[0], place[1] + i * step[1]
        frame[y : y + 10, x : x + 4] += 40
        frames.append(frame.clip(0, 255).astype(np.uint8))
    return frames


@pytest.mark.parametrize("contrast", ["seen", "hardly seen"])
def test_little_motion_before_a_fixed_camera_tells_videos_apart(
    tmp_path: Path, contrast: str
) -> None:
    ways = [((50, 20), (0, 4)), ((50, 96), (0, -4)), ((90, 200), (-3, 0)), ((30, 200), (3, 0))]
    crf = {"seen": 20, "hardly seen": 38}[contrast]
    paths = []
    for number, (place, step) in enumerate(ways):
        path = tmp_path / f"{number}.mp4"
        make_video(path, small_figure(place, step, number), rate=10, options={"crf": str(crf)})
        paths.append(path)
    data = data_set(*(sample(path, i % 2) for i, path in enumerate(paths)))
    assert kinds(data) == {}
    again = tmp_path / "again.mp4"
    half = [image[::2, ::2] for _, image in VideoReader(paths[1])]
    make_video(again, half, rate=10, options={"crf": "28"})
    found = kinds(data_set(*(sample(path) for path in [*paths, again])))
    assert found == {"again.mp4": "duplicate"}


def test_where_nothing_moves_nothing_is_a_duplicate_but_copies(tmp_path: Path) -> None:
    paths = []
    for number in range(3):
        noise = np.random.default_rng(number).normal(0, 1, (20, 144, 256, 1))
        pictures = (background(0, 144, 256) + noise).clip(0, 255).astype(np.uint8)
        paths.append(make_video(tmp_path / f"{number}.mp4", pictures, options={"crf": "24"}))
    assert kinds(data_set(*(sample(path, i % 2) for i, path in enumerate(paths)))) == {}
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(paths[0].read_bytes())
    assert kinds(data_set(*map(sample, [*paths, copy]))) == {"copy.mp4": "duplicate"}


def test_of_duplicates_with_other_labels_none_is_kept(tmp_path: Path) -> None:
    first = write_clip(tmp_path / "first.mp4", 1)
    again = write_clip(tmp_path / "again.mp4", 1, crf=28)
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(first.read_bytes())
    found = check_data(data_set(sample(first, 0), sample(copy, 0), sample(again, 1)))
    assert [(Path(each.name).name, each.kind) for each in found] == [
        ("first.mp4", "conflict"),
        ("copy.mp4", "duplicate"),
        ("again.mp4", "conflict"),
    ]
    assert found[0].reason == f"looks like {again}, but labels differ: a, b"


def test_labels_of_copies_count_for_what_looks_like_them(tmp_path: Path) -> None:
    first = write_clip(tmp_path / "first.mp4", 1, crf=28)
    again = write_clip(tmp_path / "again.mp4", 1)
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(again.read_bytes())
    found = check_data(data_set(sample(first, 0), sample(again, 0), sample(copy, 1)))
    assert [each.kind for each in found] == ["conflict"] * 3
    assert found[1].reason == f"the same bytes as {copy}, but labels differ: a, b"


@pytest.mark.heavy
def test_both_works_tell_how_far_they_are(tmp_path: Path) -> None:
    clips = [sample(write_clip(tmp_path / f"{i}.mp4", i)) for i in range(3)]
    looked, compared = [], []
    check_data(
        data_set(*clips),
        progress=lambda *done: looked.append(done),
        comparing=lambda *done: compared.append(done),
    )
    assert looked == [(1, 3), (2, 3), (3, 3)]
    assert compared[-1] == (3, 3)


def test_processes_find_the_same(tmp_path: Path) -> None:
    clips = [sample(write_clip(tmp_path / f"{i}.mp4", i // 2, crf=18 + i)) for i in range(6)]
    (tmp_path / "bad.mp4").write_bytes(b"bad")
    data = data_set(*clips, sample(tmp_path / "bad.mp4"))
    seen: list[tuple[int, int]] = []
    found = check_data(data, workers=2, progress=lambda *done: seen.append(done))
    assert found == check_data(data, workers=1)
    assert [each.kind for each in found] == ["duplicate"] * 3 + ["unreadable"]
    assert seen == [(i, 7) for i in range(1, 8)]


def leave(folder: Path, number: int) -> int:
    """End the process, as a crash in a decoder would, for a number of 3."""
    (folder / str(number)).touch()
    if number == 3:
        os._exit(9)
    return number * 2


@pytest.mark.heavy
def test_an_item_that_ends_its_process_ends_nothing_else(tmp_path: Path) -> None:
    results = list(in_processes(partial(leave, tmp_path), range(30), 2))
    assert results == [None if i == 3 else i * 2 for i in range(30)]
    assert len(list(tmp_path.iterdir())) == 30


def test_a_list_holds_wherever_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["a.mp4", "with\ttab.mp4", 'with "quote".mp4', "with\nline.mp4", "ünï.mp4"]
    odd = os.fsdecode(b"not \xff utf-8.mp4")
    for name in ["good.mp4", *names, odd]:
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    write_quarantine(Path("bad.txt"), [Finding(name, "short", "1 frame") for name in [*names, odd]])
    assert b"a.mp4\tshort\t1 frame\n" in Path("bad.txt").read_bytes()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    data = data_set(*(sample(tmp_path / name) for name in ["good.mp4", *names, odd]))
    kept, unused = exclude(data, Path("../bad.txt"))
    assert [each.key for each in kept.samples] == ["good.mp4"]
    assert unused == 0


def test_a_list_made_by_hand_names_files_alone(tmp_path: Path) -> None:
    data = data_set(
        sample(tmp_path / "a.mp4", start=0.0, end=1.0),
        sample(tmp_path / "a.mp4", start=1.0, end=2.0),
        sample(tmp_path / "b.mp4"),
    )
    (tmp_path / "bad.txt").write_text(f"{tmp_path}/a.mp4\n\n{tmp_path}/other.mp4\n")
    kept, unused = exclude(data, tmp_path / "bad.txt")
    assert [each.media.name for each in kept.samples] == [str(tmp_path / "b.mp4")]
    assert unused == 1


def test_a_list_that_is_none_is_told(tmp_path: Path) -> None:
    data = data_set(sample(tmp_path / "a.mp4"))
    path = tmp_path / "bad.txt"
    with pytest.raises(ConfigError, match=r"bad\.txt: cannot be read \(No such file"):
        exclude(data, path)
    path.write_text("a\tb\tc\td\te\tf\n")
    with pytest.raises(ConfigError, match=r"bad\.txt, line 1: not a line of a list"):
        exclude(data, path)
    path.write_text(f"{tmp_path}/a.mp4\n")
    with pytest.raises(ConfigError, match=r"names every sample of made"):
        exclude(data, path)
