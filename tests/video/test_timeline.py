"""One timeline for all ways of reading, whatever a file says of its times."""

import bisect
import random
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from synthetic import make_video, number_of, numbered

from movinet.data.probe import probe
from movinet.data.samples import Sample
from movinet.evaluation.views import stream_times
from movinet.video import SkippedPacket, VideoReader
from movinet.video.decoding import extent
from movinet.video.media import VideoFile
from real_material import real_file

MPEG2 = {"codec": "mpeg2video", "options": {"bf": "2", "g": "12"}}
H264 = {"codec": "libx264", "options": {"bf": "2", "g": "12", "preset": "ultrafast"}}


def read(path: Path) -> tuple[list[float], list[int], list[SkippedPacket]]:
    """Times and numbers of all frames, and what was noted."""
    reader = VideoReader(path)
    times, numbers = zip(*((time, number_of(image)) for time, image in reader), strict=True)
    return list(times), list(numbers), reader.skipped


def shown_at(path: Path, times: list[float]) -> list[int]:
    return [number_of(image) for image in VideoFile(path).frames(times, 1e-3, [])]


def assert_all_ways_agree(path: Path, rate: float = 8.0) -> None:
    """Reading on, from anywhere, at a rate, at given times, and asking for the end."""
    times, numbers, _ = read(path)
    first, end = extent(path)
    assert first == pytest.approx(times[0], abs=1e-6)
    assert end > times[-1]
    rng = random.Random(3)
    for start in (rng.uniform(times[0], times[-1]) for _ in range(12)):
        got = [(round(t, 4), number_of(i)) for t, i in VideoReader(path, start=start, end=end)]
        wanted = zip(times, numbers, strict=True)
        assert got == [(round(t, 4), n) for t, n in wanted if t >= start - 1e-6]
    asked = sorted(rng.uniform(first, end) for _ in range(30))
    places = [max(0, bisect.bisect_right(times, time + 1e-3) - 1) for time in asked]
    assert shown_at(path, asked) == [numbers[place] for place in places]
    sample = Sample("key", VideoFile(path), (0,))
    ticks = [(time, number_of(image)) for time, image in VideoReader(path, frame_rate=rate)]
    if first == 0:
        np.testing.assert_allclose([t for t, _ in ticks], stream_times(sample, rate), atol=1e-6)
        assert [n for _, n in ticks] == shown_at(path, [t for t, _ in ticks])
    found = probe(sample)
    assert found.frames == len(times)
    assert found.seconds == pytest.approx(end - first)


def at_times(path: Path, stamps: list[int], **options) -> Path:
    """A video of numbered frames at multiples of 10 ms, every one as the packets say."""
    times = [stamp / 100 for stamp in stamps]
    return make_video(path, map(numbered, range(len(stamps))), times=times, **options)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", {"options": {"preset": "ultrafast"}}),
        ("b.mp4", {"options": {"bf": "2"}}),
        ("a.mkv", {"options": {"bf": "2"}}),
        ("a.webm", {"codec": "libvpx", "options": {"deadline": "realtime"}}),
        ("a.gif", {"codec": "gif", "pix_fmt": "rgb8"}),
        ("a.flv", {"options": {"preset": "ultrafast"}}),
    ],
)
def test_the_last_picture_is_shown_as_long_as_its_packet_says(tmp_path, name, options):
    path = at_times(tmp_path / name, [*range(0, 100, 4), 2000], **options)
    times, numbers, notes = read(path)
    assert (times[-1], numbers[-1], notes) == (pytest.approx(20.0, abs=0.1), 25, [])
    assert 20.0 < extent(path)[1] <= 20.13  # a file without B-frames may say a bit more
    ticks = [time for time, _ in VideoReader(path, frame_rate=8)]
    assert ticks[-1] == pytest.approx(20.0, abs=0.13)
    assert np.diff(ticks).max() == pytest.approx(1 / 8)
    assert_all_ways_agree(path)


def test_a_long_last_picture_is_shown_to_its_end(tmp_path):
    path = make_video(
        tmp_path / "a.gif",
        map(numbered, range(3)),
        rate=Fraction(1, 2),
        codec="gif",
        pix_fmt="rgb8",
    )
    ticks = [number_of(image) for _, image in VideoReader(path, frame_rate=4)]
    assert ticks == [0] * 8 + [1] * 8 + [2] * 8
    assert_all_ways_agree(path)


def test_ticks_may_be_late(tmp_path):
    path = make_video(tmp_path / "a.mp4", map(numbered, range(10)), rate=10)
    ticks = [(round(t, 3), number_of(i)) for t, i in VideoReader(path, frame_rate=5, offset=0.1)]
    assert ticks == [(0.1, 1), (0.3, 3), (0.5, 5), (0.7, 7), (0.9, 9)]


def joined(path: Path, *parts: tuple[float, int], **options) -> Path:
    """Recordings of 2 s (50 frames), each with a clock that begins at a time; numbered through."""
    content = b""
    for index, (start, first) in enumerate(parts):
        part = path.with_name(f"{index}{path.name}")
        images = (numbered(i, 160, 128) for i in range(first, first + 50))
        content += make_video(part, images, start=start, **options).read_bytes()
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.ts", MPEG2), ("b.ts", H264), ("a.mpg", MPEG2), ("a.vob", MPEG2), ("a.mkv", H264)],
)
def test_recordings_put_end_to_end_are_one_video(tmp_path, name, options):
    path = joined(tmp_path / name, (0, 0), (0, 50), **options)
    times, numbers, notes = read(path)
    assert numbers == list(range(100))
    np.testing.assert_allclose(np.diff(times), 0.04, atol=2e-3)
    assert [note.note for note in notes] == [True]
    assert "clock jumps by -" in notes[0].reason
    assert_all_ways_agree(path)


@pytest.mark.parametrize(("name", "options"), [("a.ts", H264), ("a.mpg", MPEG2)])
def test_clocks_that_jump_ahead_go_on(tmp_path, name, options):
    path = joined(tmp_path / name, (0, 0), (3000, 50), (20, 100), **options)
    times, numbers, notes = read(path)
    assert numbers == list(range(150))
    np.testing.assert_allclose(np.diff(times), 0.04, atol=2e-3)
    assert [note.note for note in notes] == [True, True]
    assert_all_ways_agree(path)


@pytest.mark.parametrize("name", ["a.ts", "a.mpg"])
def test_a_clock_that_wraps_goes_on(tmp_path, name):
    path = tmp_path / name
    ahead = round((2**33 / 90000 - 2) * 25)  # 2 s before 33 bits are over
    options = {"mpegts_copyts": "1"} if name == "a.ts" else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("mpeg2video", rate=25, options={"bf": "2", "g": "12"})
        stream.width, stream.height, stream.pix_fmt = 160, 128, "yuv420p"
        images = [numbered(i, 160, 128) for i in range(100)]
        frames = [av.VideoFrame.from_ndarray(i, "rgb24").reformat(format="yuv420p") for i in images]
        for packet in [p for frame in [*frames, None] for p in stream.encode(frame)]:
            assert packet.pts is not None
            assert packet.dts is not None
            packet.pts, packet.dts = packet.pts + ahead, packet.dts + ahead
            container.mux(packet)
    times, numbers, notes = read(path)
    assert (numbers, notes) == (list(range(100)), [])
    np.testing.assert_allclose(np.diff(times), 0.04, atol=2e-3)
    assert_all_ways_agree(path)


@pytest.mark.parametrize("name", ["a.mpg", "a.vob", "a.ts"])
def test_program_and_transport_streams_have_the_same_frames_after_a_seek(tmp_path, name):
    images = (numbered(i, 160, 128) for i in range(300))
    path = make_video(tmp_path / name, images, codec="mpeg2video", options={"bf": "2", "g": "15"})
    assert read(path)[1] == list(range(300))
    assert_all_ways_agree(path)


OFTEN: dict[str, Any] = {"options": {"bf": "0", "preset": "ultrafast"}}


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_gap_that_the_file_does_not_hold_is_left_out_and_noted(tmp_path, name):
    stamps = [n * 10 + (2_000_000 if n >= 5 else 0) for n in range(10)]
    path = at_times(tmp_path / name, stamps, **OFTEN)
    times, numbers, notes = read(path)
    assert numbers == list(range(10))
    assert times[4:6] == [pytest.approx(0.4), pytest.approx(0.4, abs=1.01)]
    np.testing.assert_allclose(np.diff(times[5:]), 0.1, atol=1e-3)
    assert [note.note for note in notes] == [True]
    assert "no frame for 20000 s" in notes[0].reason
    assert sum(1 for _ in VideoReader(path, frame_rate=8)) < 30
    assert extent(path)[1] < 3
    found = probe(Sample("key", VideoFile(path), (0,)))
    assert "no frame for 20000 s" in found.broken
    assert found.frames == 10


def test_a_small_file_is_no_long_video(tmp_path):
    # 100 frames of 100 s each in a few kilobytes: hours.
    images = [numbered(0)] * 100
    path = make_video(tmp_path / "a.mp4", images, times=[i * 100.0 for i in range(100)], **OFTEN)
    seconds = 100 * 11 + 60 + path.stat().st_size / 500
    assert extent(path)[1] < seconds < 2000
    assert sum(1 for _ in VideoReader(path, frame_rate=1)) < seconds


def test_a_slow_slide_show_keeps_its_pace(tmp_path):
    path = at_times(tmp_path / "a.mp4", [n * 900 for n in range(12)], **OFTEN)  # 9 s each
    times, _, notes = read(path)
    assert (times, notes) == ([pytest.approx(9.0 * n) for n in range(12)], [])
    assert_all_ways_agree(path, 2)


def test_one_wrong_timestamp_moves_no_other(tmp_path):
    stamps = [n * 4 for n in range(50)]
    stamps[20] += 500_000
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 80, 64, "yuvj420p"
        for index, stamp in enumerate(stamps):
            frame = av.VideoFrame.from_ndarray(numbered(index), "rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            for packet in stream.encode(frame.reformat(format="yuvj420p")):
                packet.time_base = Fraction(1, 100)
                packet.pts, packet.dts = stamp, index * 4
                container.mux(packet)
    times, numbers, _ = read(path)
    assert numbers == list(range(50))
    kept = [n for n in range(50) if n != 20]
    np.testing.assert_allclose([times[n] for n in kept], [n / 25 for n in kept], atol=2e-3)
    assert times[19] < times[20] <= times[21]


def test_what_an_edit_list_cuts_off_is_no_part_of_the_video():
    path = real_file(
        "odd_videos", "androidx", "sample_edit_list_no_sync_frame_before_edit.mp4"
    )  # 10 of its 68 frames are shown before 0
    times, _, _ = read(path)
    assert (len(times), times[0], extent(path)[0]) == (58, 0, 0)
    assert probe(Sample("key", VideoFile(path), (0,))).frames == 58
