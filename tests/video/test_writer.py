import numpy as np
import pytest
from synthetic import corners, number_of, numbered, quadrants

from movinet.errors import ConfigError, MovinetError, VideoError
from movinet.video import VideoReader, VideoWriter


@pytest.mark.parametrize(
    ("name", "rate"), [("a.mp4", 25), ("a.mp4", 30000 / 1001), ("a.mp4", 2.5), ("a.GIF", 12.5)]
)
def test_frames_come_back_at_their_times(tmp_path, name, rate):
    path = tmp_path / name
    with VideoWriter(path, rate) as writer:
        for i in range(30):
            writer.write(numbered(i))
    frames = list(VideoReader(path))
    assert [number_of(frame.image) for frame in frames] == list(range(30))
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(30) / rate, atol=0.006)
    assert [file.name for file in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_colours_come_back(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    colours = np.random.default_rng(0).integers(0, 256, (12, 3))
    with VideoWriter(path, 5) as writer:
        writer.write(quadrants())
        for colour in colours:
            writer.write(np.full((64, 96, 3), colour, np.uint8))
    first, *rest = (frame.image for frame in VideoReader(path))
    assert corners(first) == "RGBY"
    for colour, image in zip(colours, rest, strict=True):
        np.testing.assert_allclose(image[32, 48], colour, atol=5)


def test_a_gif_s_palette_follows_the_picture(tmp_path):
    y, x = np.mgrid[:64, :96]
    image = np.stack([y * 4, x * 2, 255 - y * 2 - x], axis=2).astype(np.uint8)
    with VideoWriter(tmp_path / "a.gif", 5) as writer:
        writer.write(np.zeros_like(image))
        writer.write(image)
    *_, last = (frame.image for frame in VideoReader(tmp_path / "a.gif"))
    assert np.abs(last.astype(int) - image).mean() < 6


def test_odd_sizes_grow_by_a_pixel_in_mp4_only(tmp_path):
    for suffix, shape in ((".mp4", (64, 82, 3)), (".gif", (63, 81, 3))):
        with VideoWriter(tmp_path / f"a{suffix}", 5) as writer:
            writer.write(numbered(5, 81, 63)[:, ::-1][:, ::-1])
        frame = next(iter(VideoReader(tmp_path / f"a{suffix}")))
        assert frame.image.shape == shape
        assert number_of(frame.image) == 5


def test_an_error_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"precious")
    with pytest.raises(RuntimeError), VideoWriter(path, 5) as writer:  # noqa: PT012
        writer.write(numbered(0))
        raise RuntimeError
    with pytest.raises(VideoError, match="no frame"), VideoWriter(path, 5):
        pass
    assert path.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [path]
    with VideoWriter(path, 5) as writer:
        writer.write(numbered(0))
        assert path.read_bytes() == b"precious"
    assert number_of(next(iter(VideoReader(path))).image) == 0


def test_a_name_may_be_as_long_as_the_system_allows(tmp_path):
    path = tmp_path / ("\u65e5" * 83 + ".mp4")  # 253 of 255 bytes
    with VideoWriter(path, 5) as writer:
        writer.write(numbered(0))
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "rate"),
    [("a.avi", 5), ("a", 5), ("a.mp4", 0), ("a.gif", 60), ("a.mp4", float("nan")),
     ("no/such/folder.mp4", 5), ("folder.mp4", 5)],
)  # fmt: skip
def test_what_cannot_be_written_is_one_line(tmp_path, name, rate):
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(MovinetError) as error:
        VideoWriter(tmp_path / name, rate)
    assert "\n" not in str(error.value)
    assert [file.name for file in tmp_path.iterdir()] == ["folder.mp4"]


@pytest.mark.parametrize(
    "image", [numbered(0)[..., 0], numbered(0).astype(float), numbered(0, 82, 64)]
)
def test_frames_must_be_alike(tmp_path, image):
    with pytest.raises(ConfigError), VideoWriter(tmp_path / "a.mp4", 5) as writer:  # noqa: PT012
        writer.write(numbered(0))
        writer.write(image)
    assert not list(tmp_path.iterdir())


def test_a_closed_writer_says_so(tmp_path):
    writer = VideoWriter(tmp_path / "a.mp4", 5)
    writer.write(numbered(0))
    writer.close()
    writer.close()
    with pytest.raises(VideoError, match="closed"):
        writer.write(numbered(0))
