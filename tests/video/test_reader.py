import gc
import itertools
import subprocess
import sys
import weakref

import av
import numpy as np
import pytest
from synthetic import at, corners, damage, make_video, number_of, numbered, quadrants, read

from movinet.video import VideoReader

FAST = {"preset": "ultrafast"}


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.mp4", "libx264", "yuv420p"),  # B-frames: decoded in another order than shown
        ("a.mov", "mpeg4", "yuv420p"),
        ("a.mkv", "libx264", "yuv420p"),
        ("a.ts", "libx264", "yuv420p"),
        ("a.h264", "libx264", "yuv420p"),  # no timestamps, no length
        ("a.avi", "libx264", "yuv420p"),  # decoding times only
        ("b.avi", "mjpeg", "yuvj420p"),
        ("a.flv", "libx264", "yuv420p"),
        ("a.mpg", "mpeg2video", "yuv420p"),
        ("a.webm", "libvpx-vp9", "yuv420p"),
        ("a.gif", "gif", "rgb8"),
        ("a.y4m", "wrapped_avframe", "yuv420p"),
        ("10bit.mp4", "libx264", "yuv420p10le"),
        ("10bit.mkv", "ffv1", "yuv422p10le"),
        ("grey.mp4", "libx264", "gray"),
        ("grey16.mkv", "ffv1", "gray16le"),
        ("full.mp4", "libx264", "yuvj444p"),
    ],
)
def test_every_frame_comes_at_its_time(tmp_path, name, codec, pix_fmt):
    options = {"deadline": "realtime", "cpu-used": "8"} if "vp9" in codec else None
    images = map(numbered, range(40))
    path = make_video(tmp_path / name, images, codec=codec, pix_fmt=pix_fmt, options=options)
    assert read(path) == at(25, 40)
    assert read(path, start=0.8) == at(25, 40)[20:]
    assert read(path, start=0.5, end=1.2) == at(25, 40)[13:30]
    assert read(path, end=0.2) == at(25, 40)[:5]


OPEN_GROUPS = {"bf": "2", "g": "10"}


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "mpeg2video", OPEN_GROUPS),
        ("a.mkv", "mpeg2video", OPEN_GROUPS),
        ("a.ts", "mpeg2video", OPEN_GROUPS),
        ("a.mpg", "mpeg2video", OPEN_GROUPS),
        ("b.mp4", "libx264", {"x264-params": "keyint=12:min-keyint=12:open-gop=1:bframes=3"}),
        ("b.ts", "libx264", {"x264-params": "keyint=12:min-keyint=12:open-gop=1:bframes=3"}),
        ("b.flv", "libx264", {"g": "9"}),
    ],
)
def test_a_start_anywhere_gives_what_a_whole_pass_gives(tmp_path, name, codec, options):
    path = make_video(tmp_path / name, map(numbered, range(120)), codec=codec, options=options)
    for index in (1, 9, 10, 11, 12, 13, 29, 59, 60, 61, 118, 119):
        assert read(path, start=index / 25) == at(25, 120)[index:]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
def test_a_start_does_not_decode_what_is_far_before(tmp_path, name):
    path = make_video(tmp_path / name, map(numbered, range(60)), options={"g": "10", "bf": "0"})
    damage(path, 5)
    reader = VideoReader(path, start=1.6)
    assert len(list(reader)) == 20
    assert bool(reader.skipped) == (name == "a.avi")  # its times allow no seeking


@pytest.mark.parametrize("size", [(81, 64), (80, 63), (33, 31)])
def test_odd_sizes_are_kept(tmp_path, size):
    path = make_video(tmp_path / "odd.mkv", [numbered(i, *size) for i in range(5)], codec="ffv1")
    reader = VideoReader(path)
    assert (reader.info.width, reader.info.height) == size
    assert [frame.image.shape for frame in reader] == [(size[1], size[0], 3)] * 5
    assert read(path) == at(25, 5)


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv"])
def test_variable_frame_rate(tmp_path, name):
    times = [0, 0.04, 0.5, 0.6, 1.5, 1.52, 4.0]
    path = make_video(tmp_path / name, map(numbered, range(7)), times=times)
    assert read(path) == [(time, i) for i, time in enumerate(times)]
    assert read(path, start=0.55, end=2) == [(0.6, 3), (1.5, 4), (1.52, 5)]
    ticks = [0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0]
    shown = [number for _, number in read(path, frame_rate=2)]
    assert shown[: len(ticks)] == [0, 2, 3, 4, 5, 5, 5, 5, 6]


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv", "v.ts"])
def test_times_start_where_the_container_starts(tmp_path, name):
    times = [10 / 3 + i / 10 for i in range(5)]
    path = make_video(tmp_path / name, map(numbered, range(5)), times=times)
    assert read(path) == at(10, 5)
    assert next(iter(VideoReader(path))).time == 0


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv"])
def test_a_video_stream_may_start_after_its_sound(tmp_path, name):
    times = [1 + i / 10 for i in range(5)]
    path = make_video(tmp_path / name, map(numbered, range(5)), times=times, sound=2)
    assert read(path) == [(round(time, 4), i) for i, time in enumerate(times)]
    assert read(path, start=1.2) == [(1.2, 2), (1.3, 3), (1.4, 4)]
    assert read(path, frame_rate=5) == [(1.0, 0), (1.2, 2), (1.4, 4)]


@pytest.mark.parametrize(
    ("counterclockwise", "expected", "degrees"),
    [(0, "RGBY", 0), (90, "GYRB", 270), (180, "YBGR", 180), (-90, "BRYG", 90), (-80, "BRYG", 90)],
)
def test_rotation_is_applied(tmp_path, counterclockwise, expected, degrees):
    path = make_video(tmp_path / "r.mp4", [quadrants()] * 3, rotation=counterclockwise)
    reader = VideoReader(path)
    images = [frame.image for frame in reader]
    assert [corners(image) for image in images] == [expected] * 3
    assert reader.info.rotation == degrees
    assert images[0].shape == (reader.info.height, reader.info.width, 3)
    assert images[0].flags.c_contiguous or degrees == 0


@pytest.mark.parametrize(
    ("x", "y", "expected"), [(-1, 1, "GRYB"), (1, -1, "BYRG"), (-1, -1, "YBGR"), (0, 0, "RGBY")]
)
def test_mirroring_is_applied(tmp_path, x, y, expected):
    matrix = (x << 16, 0, 0, 0, y << 16, 0, 0, 0, 1 << 30)
    path = make_video(tmp_path / "m.mp4", [quadrants()] * 2, matrix=matrix)
    assert corners(next(iter(VideoReader(path))).image) == expected


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.mov", "qtrle", "argb"),
        ("b.mov", "png", "rgba"),
        ("c.mov", "prores_ks", "yuva444p10le"),
        ("d.apng", "apng", "rgba"),
    ],
)
def test_transparent_pixels_are_shown_over_black(tmp_path, name, codec, pix_fmt):
    alpha = np.full((64, 96, 1), 255, np.uint8)
    alpha[:, 48:] = 0
    image = np.concatenate([quadrants(), alpha], axis=2)
    path = make_video(tmp_path / name, [image] * 3, codec=codec, pix_fmt=pix_fmt)
    assert [corners(frame.image) for frame in VideoReader(path)] == ["RKBK"] * 3


def test_half_transparent_pixels_are_half_as_bright(tmp_path):
    image = np.full((64, 96, 4), 200, np.uint8)
    image[..., 3] = 128
    path = make_video(tmp_path / "a.mov", [image], codec="png", pix_fmt="rgba")
    assert np.unique(next(iter(VideoReader(path))).image).tolist() == [100]


@pytest.mark.parametrize(
    ("matrix", "red", "blue"), [(1, 0.2126, 0.0722), (5, 0.299, 0.114), (2, 0.299, 0.114)]
)
@pytest.mark.parametrize("full", [False, True])
def test_colour_matrix_and_range_are_used(tmp_path, matrix, red, blue, full):
    y, u, v = 110, 90, 170
    path = tmp_path / "c.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=5)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv444p"
        stream.codec_context.colorspace = matrix
        stream.codec_context.color_range = 2 if full else 1
        frame = av.VideoFrame(64, 64, "yuv444p")
        for plane, value in zip(frame.planes, (y, u, v), strict=True):
            plane.update(bytes([value]) * plane.buffer_size)
        frame.pts, frame.colorspace, frame.color_range = 0, matrix, 2 if full else 1
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    # ITU-R BT.601 and BT.709: Y' = Kr R' + Kg G' + Kb B'.
    light = y / 255 if full else (y - 16) / 219
    cb, cr = ((c - 128) / (255 if full else 224) for c in (u, v))
    r, b = light + 2 * (1 - red) * cr, light + 2 * (1 - blue) * cb
    g = (light - red * r - blue * b) / (1 - red - blue)
    pixel = next(iter(VideoReader(path))).image[32, 32]
    np.testing.assert_allclose(pixel, np.array([r, g, b]) * 255, atol=1)


def test_iterating_again_starts_again(tmp_path):
    path = tmp_path / "b.mp4"
    make_video(path, map(numbered, range(20)), options={"bf": "0", "g": "1"})
    damage(path, 7)
    with VideoReader(path) as reader:
        first = [(f.time, number_of(f.image)) for f in reader]
        assert len(list(itertools.islice(reader, 3))) == 3
        assert [(f.time, number_of(f.image)) for f in reader] == first
        assert len(reader.skipped) == 1


def test_info(tmp_path):
    path = make_video(tmp_path / "v.mp4", map(numbered, range(50)), rate=10, sound=7)
    info = VideoReader(path).info
    assert (info.width, info.height, info.rotation) == (80, 64, 0)
    assert (info.frame_rate, info.duration) == (10, 5)
    assert (info.codec, info.pixel_format) == ("h264", "yuv420p")
    raw = make_video(tmp_path / "v.h264", map(numbered, range(50)))
    assert VideoReader(raw).info.duration is None


def test_memory_does_not_grow(tmp_path):
    images = (numbered(i, 320, 240) for i in range(600))
    path = make_video(tmp_path / "long.mp4", images, options=FAST)
    for rate in (None, 40, 5):
        alive: list[weakref.ref] = []
        for frame in VideoReader(path, frame_rate=rate):
            alive = [ref for ref in alive if ref() is not None]
            alive.append(weakref.ref(frame.image))
            assert len(alive) <= 3


def test_decoded_frames_are_freed_at_once(tmp_path):
    path = make_video(tmp_path / "r.mp4", map(numbered, range(200)), options=FAST, rotation=90)

    def count_alive() -> int:
        return sum(type(item) is av.VideoFrame for item in gc.get_objects())

    gc.collect()
    before = count_alive()
    gc.disable()  # a frame in a reference cycle would stay
    try:
        assert sum(1 for _ in VideoReader(path)) == 200
        alive = count_alive() - before
    finally:
        gc.enable()
    assert alive <= 5


def test_nothing_is_printed(tmp_path):
    path = make_video(tmp_path / "b.mp4", map(numbered, range(20)), options={"g": "5"})
    damage(path, 8)
    code = f"""
from movinet.video import VideoReader
reader = VideoReader({str(path)!r})
assert list(reader) and reader.skipped
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (run.stdout, run.stderr) == ("", "")
