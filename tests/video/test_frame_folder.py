"""A folder of numbered pictures is a video like any other."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.codec.context import CodecContext
from av.video.codeccontext import VideoCodecContext
from PIL import Image as Pictures

import movinet
from fakes import ColourRuntime, model_info
from movinet.errors import ConfigError, VideoError
from movinet.network.config import InputSpec
from movinet.video import FrameFolder, Media, VideoFile, find_videos, open_media
from movinet.video.clips import read_views
from video.synthetic import make_video, number_of, numbered


def picture(image: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    stored = io.BytesIO()
    Pictures.fromarray(image).save(stored, kind, **options)
    return stored.getvalue()


def folder(path: Path, numbers: Iterable[int], name: str = "frame_{}.png") -> Path:
    """Pictures that show the numbers in their names."""
    path.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        (path / name.format(number)).write_bytes(picture(numbered(number)))
    return path


def of_clip(path: Path, clip: Path) -> Path:
    """Each frame of a clip as a lossless picture; written by PyAV alone."""
    path.mkdir()
    with av.open(str(clip)) as container:
        for number, frame in enumerate(container.decode(video=0), start=1):
            context = CodecContext.create("png", "w")
            assert isinstance(context, VideoCodecContext)
            context.width, context.height, context.pix_fmt = frame.width, frame.height, "rgb24"
            context.time_base = Fraction(1, 25)
            image = frame.reformat(format="rgb24")
            packets = [*context.encode(image), *context.encode(None)]
            (path / f"{number}.png").write_bytes(b"".join(map(bytes, packets)))
    return path


def streamed(media: Media, rate: float, **part: Any) -> tuple[list[tuple[float, int]], list[str]]:
    """Times and numbers of the frames, and what was reported."""
    with media.stream(rate, **part) as (frames, skipped):
        found = [(round(frame.time, 6), number_of(frame.image)) for frame in frames]
        return found, [packet.reason for packet in skipped]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(
        tmp_path_factory.mktemp("clip") / "a.mkv", [numbered(i) for i in range(40)], rate=20
    )


@pytest.fixture(scope="module")
def frames(clip: Path) -> Path:
    return of_clip(clip.parent / "frames", clip)


RUNTIMES: dict[str, tuple[Any, dict[str, Any]]] = {
    "stream": (model_info(), {}),
    "middle": (model_info(streaming=False), {}),
    "views": (model_info(streaming=False), {"views": 3, "crops": 3}),
    "sliding": (model_info(streaming=False), {"stride": 0.4}),
}


@pytest.mark.parametrize("kind", RUNTIMES)
@pytest.mark.parametrize("part", [{}, {"start": 0.62}, {"start": 0.35, "end": 1.45}])
def test_lossless_frames_of_a_clip_give_what_the_clip_gives(
    clip: Path, frames: Path, kind: str, part: dict[str, Any]
) -> None:
    info, options = RUNTIMES[kind]
    expected, found = (
        [(p.time, p.probabilities.tolist()) for p in movinet.predict(*given, **options, **part)]
        for given, options in (
            ((clip, ColourRuntime(info)), options),
            ((frames, ColourRuntime(info)), {**options, "fps": 20}),
        )
    )
    assert expected
    assert found == expected


@pytest.mark.parametrize("rate", [7.0, 20.0, 33.0])
@pytest.mark.parametrize("part", [{}, {"start": 0.62}, {"start": 0.3, "end": 1.0, "offset": 0.01}])
def test_all_ways_of_reading_agree_with_the_file(
    clip: Path, frames: Path, rate: float, part: dict[str, Any]
) -> None:
    file, pictures = VideoFile(clip), FrameFolder(frames, 20)
    assert streamed(pictures, rate, **part) == streamed(file, rate, **part)
    assert pictures.extent() == pytest.approx(file.extent())
    assert pictures.header() == pytest.approx(file.header())
    assert pictures.check(0.2, 0.5) == file.check(0.2, 0.5) == (6, "")
    spec = InputSpec(image_size=32, short_side=36, frame_rate=rate, num_frames=30)
    one, other = (read_views(m, spec, (0.0, 2.0), 0.35)[0] for m in (file, pictures))
    np.testing.assert_array_equal(one.frames, other.frames)


def test_numbers_count_in_natural_order_from_anywhere(tmp_path: Path) -> None:
    path = folder(tmp_path / "take 2", [9, 10, 8, 11], "cam1_{}_left.png")
    media = FrameFolder(path, 10)
    assert streamed(media, 10) == ([(0, 8), (0.1, 9), (0.2, 10), (0.3, 11)], [])
    assert pickle.loads(pickle.dumps(media)) == media
    assert len({media, FrameFolder(path, 10), FrameFolder(path, 20)}) == 2


def test_every_fifth_frame_is_no_gap(tmp_path: Path) -> None:
    media = FrameFolder(folder(tmp_path / "a", [5, 10, 15]), 2)
    assert streamed(media, 2) == ([(0, 5), (0.5, 10), (1, 15)], [])


def test_missing_numbers_take_their_time_and_are_noted(tmp_path: Path) -> None:
    media = FrameFolder(folder(tmp_path / "a", [1, 2, 5, 6]), 10)
    found, notes = streamed(media, 10)
    assert [number for _, number in found] == [1, 2, 2, 2, 5, 6]
    assert notes == ["2 numbers are missing, after frame_2.png the first: the picture before stays"]
    assert media.extent() == (0.0, 0.6)


@pytest.mark.parametrize(
    ("numbers", "name"), [([1, 3, 8, 900], "{}.png"), ([33, 67, 100], "t{}.png")]
)
def test_numbers_that_do_not_count_frames_give_the_order_with_a_note(
    tmp_path: Path, numbers: list[int], name: str
) -> None:
    found, notes = streamed(FrameFolder(folder(tmp_path / "a", numbers, name), 10), 10)
    assert [number for _, number in found] == numbers
    assert len(notes) == 1
    assert notes[0].startswith("numbers are not evenly spaced, after")


def test_two_numbers_in_names_are_noted(tmp_path: Path) -> None:
    path = folder(tmp_path / "a", [])
    for number, name in enumerate(["1_20", "1_100", "2_3"]):
        (path / f"{name}.png").write_bytes(picture(numbered(number)))
    found, notes = streamed(FrameFolder(path, 10), 10)
    assert [number for _, number in found] == [0, 1, 2]
    assert notes == [
        "2 numbers change in the names: pictures follow one another in natural order, 1_20.png the "
        "first, 2_3.png the last"
    ]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "no JPEG or PNG picture in this folder"),
        ([".1.png", "notes.txt", "2.bmp"], "no JPEG or PNG picture in this folder"),
        (["1.jpg", "2.png", "3.png"], "has 1 JPEG and 2 PNG pictures; the frames"),
        (["left1.png", "left2.png", "right1.png"], "more than one sequence .* left1.png and right"),
        (["a.png", "b.png"], "more than one sequence"),
        (["a.jpg", "a.jpeg"], "pictures without numbers in their names"),
        (["1.png", "01.png", "2.png"], "01?.png and 0?1.png have the same number"),
        (["1.jpg", "1.jpeg"], "have the same number"),
    ],
)
def test_what_is_no_sequence_is_one_line(tmp_path: Path, names: list[str], message: str) -> None:
    for name in names:
        (tmp_path / name).write_bytes(picture(numbered(0)))
    for read in (FrameFolder(tmp_path, 5).extent, FrameFolder(tmp_path, 5).header):
        with pytest.raises(VideoError, match=message) as caught:
            read()
        assert str(caught.value).startswith(f"{tmp_path}: ")
        assert "\n" not in str(caught.value)


def test_a_bad_picture_is_the_one_before_it_and_reported(tmp_path: Path) -> None:
    path = folder(tmp_path / "a", range(6))
    jpeg = picture(numbered(3), "JPEG")
    (path / "frame_0.png").write_bytes(b"")
    (path / "frame_3.png").write_bytes(jpeg[: len(jpeg) // 2])  # a JPEG of which half is there
    (path / "frame_4.png").write_bytes(b"GIF89a")
    media = FrameFolder(path, 10)
    found, reasons = streamed(media, 10)
    assert [number for _, number in found] == [1, 1, 2, 2, 2, 5]
    assert reasons[0] == reasons[2].replace("_4", "_0")
    assert reasons[2] == "frame_4.png: neither a JPEG nor a PNG picture"
    assert reasons[1].startswith("frame_3.png: damaged")
    assert [number_of(image) for image in media.frames([0.45, 0.5], 1e-3, [])] == [2, 5]
    skipped: list[Any] = []
    media.decode_all(0, 1, skipped)
    assert [packet.time for packet in skipped] == [0, 0.3, 0.4]
    assert media.info().codec == "png"


def test_a_folder_of_bad_pictures_is_one_line(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.jpg").write_bytes(b"\xff\xd8\xff no picture")
    media = FrameFolder(tmp_path, 10)
    for read in (media.info, lambda: streamed(media, 10), lambda: list(media.frames([0], 0, []))):
        with pytest.raises(VideoError, match=r"not one picture can be decoded \(0.jpg: damaged"):
            read()


def test_pictures_of_absurd_size_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    data = bytearray(picture(numbered(0), "JPEG"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = (60000).to_bytes(2, "big") * 2
    (tmp_path / "1.jpg").write_bytes(data)
    with pytest.raises(VideoError, match=r"1\.jpg: frames of 60000x60000 pixels; at most"):
        FrameFolder(tmp_path, 10).info()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipes_are_no_pictures(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "1.png")
    with pytest.raises(VideoError, match="no JPEG or PNG picture"):
        FrameFolder(tmp_path, 10).info()


def test_pictures_of_two_sizes_are_noted_and_fitted(tmp_path: Path) -> None:
    path = folder(tmp_path / "a", range(4))
    (path / "frame_2.png").write_bytes(picture(numbered(2, 160, 128)))
    found, reasons = streamed(FrameFolder(path, 10), 10)
    assert [number for _, number in found] == [0, 1, 2, 3]
    assert reasons == ["pictures change size from 80x64 to 160x128 pixels"]


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "I;16", "1"])
def test_any_kind_of_png_becomes_rgb(tmp_path: Path, mode: str) -> None:
    grey = Pictures.fromarray(numbered(5)).convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        grey = Pictures.fromarray(np.asarray(grey, np.uint16) * 257)
    grey.save(tmp_path / "1.png")
    ((_, found),) = streamed(FrameFolder(tmp_path, 1), 1)[0]
    assert found == 5


def test_a_turned_jpeg_is_upright(tmp_path: Path) -> None:
    exif = Pictures.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    (tmp_path / "1.jpg").write_bytes(picture(np.zeros((40, 60, 3), np.uint8), "JPEG", exif=exif))
    media = FrameFolder(tmp_path, 1)
    assert next(media.frames([0], 0, [])).shape == (60, 40, 3)
    info = media.info()
    assert (info.width, info.height, info.rotation) == (40, 60, 90)


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf"), 1001, "25", True])
def test_a_rate_that_cannot_be_is_refused(tmp_path: Path, rate: Any) -> None:
    with pytest.raises(ConfigError, match=r"fps must be frames per second, 0\.001 to 1000, not"):
        open_media(folder(tmp_path / "a", [1]), rate)


def test_folders_need_a_rate_and_files_have_one(clip: Path, frames: Path) -> None:
    assert open_media(frames, 20) == FrameFolder(frames, 20)
    assert open_media(clip) == VideoFile(clip)
    with pytest.raises(ConfigError, match=r"frames: a folder; .* fps=25"):
        movinet.predict(frames, ColourRuntime(model_info()))
    with pytest.raises(ConfigError, match=r"a\.mkv: fps is for arrays and folders"):
        movinet.predict(clip, ColourRuntime(model_info()), fps=20)


def test_folders_of_frames_are_found_where_they_are_asked_for(clip: Path, frames: Path) -> None:
    assert find_videos([clip.parent]) == [clip]
    with pytest.raises(VideoError, match=r"there are 40 pictures: .* frame rate"):
        find_videos([frames])
    assert find_videos([frames], frame_folders=True) == [frames]
    # Pictures beside videos are covers of these.
    (clip.parent / "cover.jpg").write_bytes(b"")
    with contextlib.ExitStack() as stack:
        stack.callback((clip.parent / "cover.jpg").unlink)
        assert find_videos([clip.parent], frame_folders=True) == [clip, frames]


def test_a_folder_that_grows_is_seen_anew(tmp_path: Path) -> None:
    media = FrameFolder(folder(tmp_path / "a", range(3)), 10)
    assert media.extent()[1] == pytest.approx(0.3)
    folder(tmp_path / "a", [3])
    os.utime(tmp_path / "a", ns=(1, 1))  # clocks of some disks are slow
    assert media.extent()[1] == pytest.approx(0.4)


def test_a_picture_that_stays_is_decoded_once(tmp_path: Path) -> None:
    media = FrameFolder(folder(tmp_path / "a", range(2)), 1)
    first, second, third = media.frames([0, 0.5, 1], 1e-3, [])
    assert first is second
    assert second is not third
    with media.stream(4) as (frames, _):
        assert len({id(image) for _, image in list(frames)}) == 2
