"""Shape and colours of pixels, whatever the file says of them."""

from fractions import Fraction

import av
import numpy as np
import pytest
from av.video.format import names  # pyright: ignore[reportAttributeAccessIssue]
from synthetic import corners, make_video, numbered, quadrants

from movinet.errors import VideoError
from movinet.video import VideoReader
from movinet.video.media import VideoFile
from movinet.video.pixels import Orientation, RgbConverter, orientation, shown_size
from real_material import real_file


def circle(width: int, height: int, aspect: Fraction) -> np.ndarray:
    """A white circle of 60 rows as it is stored with pixels of a shape."""
    y, x = np.mgrid[:height, :width] + 0.5
    inside = ((x - width / 2) * float(aspect)) ** 2 + (y - height / 2) ** 2 < 30**2
    return np.repeat(inside[..., None] * np.uint8(255), 3, axis=2)


def roundness(image: np.ndarray) -> float:
    """Width over height of what is white."""
    rows, columns = np.nonzero(image[..., 0] > 127)
    return (np.ptp(columns) + 1) / (np.ptp(rows) + 1)


@pytest.mark.parametrize("aspect", [Fraction(32, 27), Fraction(2), Fraction(8, 9), Fraction(1, 2)])
@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.mpg", "mpeg2video")]
)
def test_pixels_become_square(tmp_path, aspect, name, codec):
    if codec == "mpeg2video":
        aspect = Fraction(4, 3) * 128 / 192 if aspect < 1 else Fraction(16, 9) * 128 / 192
    images = [circle(192, 128, aspect)] * 4
    path = make_video(tmp_path / name, images, codec=codec, aspect=aspect)
    reader = VideoReader(path)
    image = next(iter(reader)).image
    assert roundness(image) == pytest.approx(1, abs=0.03)
    wide, tall = round(192 * max(aspect, 1)), round(128 / min(aspect, 1))
    assert image.shape == (tall, wide, 3)
    assert (reader.info.width, reader.info.height) == (wide, tall)
    header = VideoFile(path).header()
    assert (header.width, header.height) == (wide, tall)
    assert next(iter(VideoFile(path).frames([0.0], 0.0, []))).shape == (tall, wide, 3)


def test_turned_pixels_become_square(tmp_path):
    images = [circle(192, 128, Fraction(2))] * 4
    path = make_video(tmp_path / "a.mp4", images, aspect=Fraction(2), rotation=90)
    image = next(iter(VideoReader(path))).image
    assert image.shape == (384, 128, 3)
    assert roundness(image) == pytest.approx(1, abs=0.03)


def test_size_and_shape_of_pixels_may_change_on_the_way(tmp_path):
    parts = [(192, 128, Fraction(1)), (192, 128, Fraction(2)), (96, 128, Fraction(1))]
    content = b""
    for width, height, aspect in parts:
        images = [circle(width, height, aspect)] * 20
        part = make_video(tmp_path / "part.ts", images, aspect=aspect, options={"g": "5"})
        content += part.read_bytes()
    path = tmp_path / "a.ts"
    path.write_bytes(content)
    images = [frame.image for frame in VideoReader(path)]
    shapes = [image.shape[:2] for image in images]
    assert shapes == [(128, 192)] * 20 + [(128, 384)] * 20 + [(128, 96)] * 20
    assert [roundness(image) for image in images] == pytest.approx([1] * 60, abs=0.04)
    times = [0.1, 1.0, 2.0]
    assert [i.shape[:2] for i in VideoFile(path).frames(times, 0.0, [])] == shapes[::20]


@pytest.mark.parametrize(
    ("stored", "aspect", "shown"),
    [
        ((720, 576), 16 / 15, (768, 576)),
        ((1440, 1080), 4 / 3, (1920, 1080)),
        ((352, 480), 20 / 11, (640, 480)),
        ((100, 100), 0.25, (100, 400)),
        ((1920, 1080), 1.0004, (1920, 1080)),  # rounded by a container
        ((1000, 1000), 1e6, (1000, 1000)),
        ((1000, 1000), 1e-6, (1000, 1000)),
        ((10000, 6000), 1.5, (10000, 6000)),
    ],
)
def test_shown_sizes(stored, aspect, shown):
    assert shown_size(stored[0], stored[1], aspect) == shown


def picture(matrix: int = 2, trc: int = 2, primaries: int = 2, colour_range: int = 1):
    frame = av.VideoFrame(32, 32, "yuv444p")
    for plane, value in zip(frame.planes, (110, 90, 170), strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    frame.colorspace, frame.color_trc, frame.color_primaries = matrix, trc, primaries
    frame.color_range = colour_range
    return frame


def colour(frame) -> tuple[tuple[int, ...], list[str]]:
    notes = []
    pixel = RgbConverter("a.mp4", notes)(frame)[16, 16]
    assert all(note.note and note.time is None for note in notes)
    return tuple(pixel.tolist()), [note.reason for note in notes]


@pytest.mark.parametrize("primaries", [1, 9])
@pytest.mark.parametrize("matrix", [3, 8, 10, 11, 12, 13, 14, 15, 16, 17, 200])
def test_matrices_that_ffmpeg_cannot_convert_are_shown_as_the_nearest(matrix, primaries):
    nearest = 9 if primaries == 9 or matrix in (10, 14, 15) else 1
    expected, no_note = colour(picture(nearest, primaries=primaries))
    found, notes = colour(picture(matrix, primaries=primaries))
    assert (found, no_note, len(notes)) == (expected, [], 1)
    assert ("BT.2020" if nearest == 9 else "BT.709") in notes[0]


def test_nothing_that_a_file_may_say_of_colours_is_an_error():
    converter, notes = RgbConverter("a.mp4", []), []
    for number in range(300):
        for frame in (picture(number), picture(trc=number), picture(primaries=number)):
            converter(frame)
        colour(picture(colour_range=number))
    assert notes == []
    converter = RgbConverter("a.mp4", notes)
    for _ in range(3):
        converter(picture(8))
    assert len(notes) == 1


@pytest.mark.parametrize(("trc", "name"), [(16, "PQ"), (18, "HLG")])
def test_hdr_is_noted(trc, name):
    _, notes = colour(picture(9, trc, 9))
    assert len(notes) == 1
    assert name in notes[0]


def test_any_pixel_format_is_converted_or_one_line():
    refused = []
    for name in names:
        try:
            frame = av.VideoFrame(32, 32, name)
        except (ValueError, av.FFmpegError):
            continue  # of no pixels: those of hardware
        try:
            image = RgbConverter("a.mp4", [])(frame)
        except VideoError as error:
            refused.append((name, str(error)))
        else:
            assert image.shape == (32, 32, 3)
    # With the first one, libswscale would end the process.
    assert {"yaf32le", "y210be"} <= {name for name, _ in refused}
    for name, message in refused:
        assert message.startswith(f"a.mp4: its pixels ({name}) cannot be converted")
        assert "\n" not in message
    assert len(refused) < 40


@pytest.mark.parametrize(
    ("degrees", "expected"),
    [(0, "RGBY"), (90, "GYRB"), (-180, "YBGR"), (180, "YBGR"), (-90, "BRYG"), (-(2**31), "RGBY")],
)
def test_unknown_side_data_hides_no_rotation(tmp_path, degrees, expected):
    class Unknown:
        """A frame with a kind of side data that PyAV has no name for."""

        rotation = degrees

        @property
        def side_data(self):
            raise ValueError("29 is not a valid Type")

    turn = orientation(Unknown())  # type: ignore[arg-type]
    path = make_video(tmp_path / "a.mp4", [quadrants()], rotation=degrees % 360)
    if degrees > -360:
        assert turn == orientation(next(av.open(str(path)).decode(video=0)))
        assert corners(next(iter(VideoReader(path))).image) == expected
    else:
        assert turn == Orientation()


def test_spatial_video_is_read():
    path = real_file("odd_videos", "androidx", "water_180_mvhevc_5frames.mov")
    assert sum(1 for _ in VideoReader(path)) == 5


def test_colours_and_shape_change_nothing_for_usual_videos(tmp_path):
    path = make_video(tmp_path / "a.mp4", map(numbered, range(3)), aspect=Fraction(1))
    reader = VideoReader(path)
    assert [frame.image.shape for frame in reader] == [(64, 80, 3)] * 3
    assert reader.skipped == []
