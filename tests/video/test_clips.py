import numpy as np
import pytest
from synthetic import damage, make_video, numbered

from movinet.errors import ConfigError, VideoError
from movinet.network.config import InputSpec
from movinet.video import VideoReader, preprocess, read_clip, views
from movinet.video.preprocessing import THREE_CROPS, Crop

SPEC = InputSpec(image_size=64, short_side=64, frame_rate=5, num_frames=8)


def picture(index: int) -> np.ndarray:
    return numbered(index, 64, 64)


TABLE = {preprocess(picture(i), SPEC).tobytes(): i for i in range(300)}


def numbers(clip) -> list[int]:
    return [TABLE[np.ascontiguousarray(frame).tobytes()] for frame in clip.frames]


def video(folder, count, rate=25, **options):
    options = {"codec": "ffv1", "pix_fmt": "bgr0", **options}  # lossless
    return make_video(folder / "v.mkv", map(picture, range(count)), rate=rate, **options)


def indices(length: int, count: int, stride: int, offset: int) -> list[int]:
    """The reference's frames: every stride-th, from the beginning again after the last."""
    return [(offset + k * stride) % length for k in range(count)]


@pytest.mark.parametrize("length", [1, 3, 7, 39, 40, 41, 50, 100, 251])
def test_the_middle_window_is_the_reference_s(tmp_path, length):
    clip = read_clip(video(tmp_path, length), SPEC)
    expected = indices(length, 8, 5, max(0, (length - 40) // 2))
    assert numbers(clip) == expected
    assert clip.frames.shape == (8, 64, 64, 3)
    assert clip.frames.dtype == np.float32
    np.testing.assert_array_equal(np.floor(clip.times * 25 + 0.03), expected)


@pytest.mark.parametrize("length", [10, 60, 200])
@pytest.mark.parametrize("windows", [2, 3, 5])
def test_windows_are_spaced_as_in_the_reference(tmp_path, length, windows):
    clips = list(views(video(tmp_path, length), SPEC, num_windows=windows))
    offsets = np.linspace(0, max(0, length - 40), windows).astype(int)
    assert [numbers(clip) for clip in clips] == [indices(length, 8, 5, o) for o in offsets]


def test_another_frame_rate_is_resampled_by_time(tmp_path):
    clip = read_clip(video(tmp_path, 60, rate=12), SPEC, num_frames=5, start=1.0)
    assert numbers(clip) == [12, 14, 16, 19, 21]
    np.testing.assert_allclose(clip.times, [1.0, 1.2, 1.4, 1.6, 1.8])


def test_the_end_of_the_packets_counts_and_not_the_header(tmp_path):
    path = video(tmp_path, 50, sound=10, codec="libx264rgb", options={"crf": "0"}, pix_fmt="rgb24")
    assert (VideoReader(path).info.duration or 0) > 9
    assert numbers(read_clip(path, SPEC)) == indices(50, 8, 5, 5)


def test_a_clip_from_the_end_goes_on_at_the_beginning(tmp_path):
    clip = read_clip(video(tmp_path, 50), SPEC, start=1.8, num_frames=3)
    assert numbers(clip) == [45, 0, 5]


def test_three_crops_of_every_window(tmp_path):
    wide = InputSpec(image_size=30, short_side=32, frame_rate=5, num_frames=2)
    images = [numbered(i, 128, 64) for i in range(50)]
    path = make_video(tmp_path / "v.mkv", images, codec="ffv1", pix_fmt="bgr0")
    clips = list(views(path, wide, num_windows=2, num_crops=3))
    assert len(clips) == 6
    order: list[tuple[int, Crop]] = [(first, crop) for first in (0, 40) for crop in THREE_CROPS]
    for clip, (frame, crop) in zip(clips, order, strict=True):
        np.testing.assert_array_equal(clip.frames[0], preprocess(images[frame], wide, crop))
        np.testing.assert_array_equal(clip.frames[1], preprocess(images[frame + 5], wide, crop))


def test_skipped_packets_are_reported(tmp_path):
    options = {"bf": "0", "g": "1", "crf": "0"}
    path = video(tmp_path, 50, codec="libx264rgb", pix_fmt="rgb24", options=options)
    damage(path, 10)
    clip = read_clip(path, SPEC, start=0)
    assert [packet.time for packet in clip.skipped] == [pytest.approx(0.4)]
    assert numbers(clip) == [0, 5, 9, 15, 20, 25, 30, 35]


def test_arguments_are_checked(tmp_path):
    path = video(tmp_path, 50)
    with pytest.raises(VideoError, match="past its end at 2 s"):
        read_clip(path, SPEC, start=2)
    for start, count in ((-1, 1), (float("inf"), 1), (0, 0)):
        with pytest.raises(ConfigError):
            read_clip(path, SPEC, start=start, num_frames=count)
    for wrong in ({"num_windows": 0}, {"num_crops": 2}, {"num_frames": 0}):
        with pytest.raises(ConfigError):
            views(path, SPEC, **wrong)
    with pytest.raises(VideoError, match="no such file"):
        read_clip(tmp_path / "missing.mp4", SPEC)
