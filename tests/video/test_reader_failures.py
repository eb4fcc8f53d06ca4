"""Files that are damaged, or no videos at all."""

import os
import shutil
from pathlib import Path

import pytest
from synthetic import at, damage, make_sound, make_video, number_of, numbered, read

from movinet.errors import ConfigError, VideoError
from movinet.video import VideoReader
from movinet.video.container import MAX_SIDE

FAST = {"preset": "ultrafast"}


@pytest.mark.parametrize("broken", [[3], [25], [25, 26, 40], [57], [58], [59], [30, 59]])
@pytest.mark.parametrize("threads", ["AUTO", "FRAME", "SLICE", "NONE"])
@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_broken_packets_are_skipped_and_named(tmp_path, broken, threads, suffix):
    path = tmp_path / f"b{suffix}"
    options = {"bf": "0", "g": "1", "preset": "ultrafast"}
    make_video(path, map(numbered, range(60)), options=options)
    for index in broken:
        damage(path, index)
    reader = VideoReader(path, thread_type=threads)
    frames = [(round(time, 4), number_of(image)) for time, image in reader]
    assert frames == [pair for pair in at(25, 60) if pair[1] not in broken]
    assert [packet.time and round(packet.time, 4) for packet in reader.skipped] == [
        i / 25 for i in broken
    ]
    assert "invalid data" in reader.skipped[0].reason


@pytest.mark.parametrize("name", ["b.mp4", "b.mkv", "b.ts"])
@pytest.mark.parametrize("index", [1, 20, 38])
def test_frames_behind_a_broken_packet_keep_their_times(tmp_path, name, index):
    path = tmp_path / name
    make_video(path, map(numbered, range(40)), codec="mpeg2video", options={"bf": "2", "g": "10"})
    damage(path, index)
    # No frame is lost but those that need the broken packet: at most one group of ten.
    results = []
    for threads in ("AUTO", "NONE"):
        reader = VideoReader(path, thread_type=threads)
        results.append([(round(time, 4), number_of(image)) for time, image in reader])
        assert len(results[-1]) >= 39
        assert len(set(results[-1]) & set(at(25, 40))) >= 28
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("name", "codec"), [("b.mkv", "libx264"), ("b.webm", "libvpx-vp9"), ("b.mp4", "libx264")]
)
def test_a_damaged_first_packet_costs_the_frames_that_need_it(tmp_path, name, codec):
    options = {"g": "10", "bf": "0", "preset": "ultrafast"} if codec == "libx264" else {"g": "10"}
    path = make_video(tmp_path / name, map(numbered, range(30)), codec=codec, options=options)
    damage(path, 0)
    reader = VideoReader(path)
    frames = [(round(time, 4), number_of(image)) for time, image in reader]
    assert frames == at(25, 30)[10:]
    assert reader.info.duration == pytest.approx(1.2)
    assert reader.skipped


def good(tmp_path: Path) -> Path:
    return make_video(tmp_path / "good.mp4", map(numbered, range(50)), options=FAST)


def cut(tmp_path: Path) -> Path:
    path = tmp_path / "cut.mp4"
    path.write_bytes(good(tmp_path).read_bytes()[:1500])
    return path


def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("hello, I am no video\n" * 100)
    return path


def empty(tmp_path: Path) -> Path:
    path = tmp_path / "empty.mp4"
    path.touch()
    return path


def playlist(tmp_path: Path) -> Path:
    path = tmp_path / "list.m3u8"
    path.write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{good(tmp_path)}\n#EXT-X-ENDLIST"
    )
    return path


def script(tmp_path: Path) -> Path:
    good(tmp_path)
    path = tmp_path / "list.mp4"
    path.write_text("ffconcat version 1.0\nfile good.mp4\n")
    return path


def all_broken(tmp_path: Path) -> Path:
    path = good(tmp_path)
    for index in range(50):
        damage(path, index)
    return path


def song(tmp_path: Path) -> Path:
    return make_sound(tmp_path / "song.m4a")


def sound_file(tmp_path: Path) -> Path:
    return make_sound(tmp_path / "sound.mp3")


def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "pipe.mp4"
    os.mkfifo(path)
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "missing.mp4", "no such file"),
        (lambda folder: folder, "a directory"),
        (cut, "not a video"),
        (text, "not a video"),
        (empty, "not a video"),
        (playlist, "not a video"),
        (script, "not a video"),
        (all_broken, "not one frame can be decoded"),
        (song, "no video stream"),
        (sound_file, "no video stream"),
        (pipe, "not a regular file"),
    ],
)
def test_what_is_no_video_gets_one_line_with_its_name(tmp_path, make, message):
    path = make(tmp_path)
    with pytest.raises(VideoError, match=message) as error:
        VideoReader(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name",
    ["http://127.0.0.1:9/a.mp4", "concat:good.mp4", "file:good.mp4", "-", "pipe:0", "good.mp4\0"],
)
def test_only_names_of_local_files_are_opened(tmp_path, monkeypatch, name):
    good(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(VideoError):
        VideoReader(name)


@pytest.mark.parametrize("name", ["-", "http:a.mp4", "50%d.mp4", "a|b.mp4", "ünï.mp4", "concat:x"])
def test_any_file_name_can_be_read(tmp_path, monkeypatch, name):
    shutil.copy(good(tmp_path), tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert read(Path(name)) == at(25, 50)


def test_absurd_sizes_are_refused(tmp_path):
    path = make_video(tmp_path / "wide.gif", [numbered(0)], codec="gif", pix_fmt="rgb8")
    data = bytearray(path.read_bytes())
    data[6:8] = (MAX_SIDE + 1).to_bytes(2, "little")  # the width of the canvas
    path.write_bytes(data)
    with pytest.raises(VideoError, match=f"{path.name}: frames of 16385x64 pixels"):
        VideoReader(path)


def test_arguments_are_checked(tmp_path):
    path = good(tmp_path)
    for start, end in ((-1, None), (None, float("nan")), (2, 1)):
        with pytest.raises(ConfigError):
            VideoReader(path, start=start, end=end)
    with pytest.raises(ConfigError):
        VideoReader(path, frame_rate=0)
    assert read(path, start=100) == read(path, start=1e300) == []
