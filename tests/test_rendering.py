from __future__ import annotations

import re
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from fakes import gradient, write_video
from movinet.drawing.video import Panel, render
from movinet.errors import ConfigError, MissingExtraError, VideoError, install_command
from movinet.prediction import Prediction
from video.synthetic import make_video

LABELS = ("falling", "rising")


def predictions(count: int = 10) -> list[Prediction]:
    """At 5 a second; the first class falls from 90 to 10 %."""
    return [
        Prediction(Path("v.mkv"), i / 5, np.array([p, 1 - p], np.float32), LABELS)
        for i, p in enumerate(np.linspace(0.9, 0.1, count))
    ]


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Two seconds at 10 frames per second, 64 x 32."""
    frames = [np.broadcast_to(np.array(c, np.uint8), (32, 64, 3)) for c in gradient(20)]
    return write_video(tmp_path / "video.mkv", [frame.copy() for frame in frames])


def decode(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_every_frame_is_there_with_a_panel_that_changes(
    tmp_path: Path, video: Path, suffix: str
) -> None:
    out, times = tmp_path / f"out{suffix}", []
    render(video, predictions(), out, progress=times.append)
    frames = decode(out)
    assert len(frames) == 20
    assert times == pytest.approx([i / 10 for i in range(20)])
    assert frames[0].shape[1] == 480  # enlarged
    for frame, colour in zip(frames, gradient(20), strict=True):
        assert np.abs(frame[20:220].mean(axis=(0, 1)) - colour).max() < 12  # the video on top
    panels = np.array([frame[240:] for frame in frames], float)
    steps = np.abs(np.diff(panels, axis=0)).mean(axis=(1, 2, 3))
    assert (steps > 0.05).all()  # the cursor at least
    with av.open(str(out)) as container:
        shown = [frame.time for frame in container.decode(video=0)]
    assert shown == pytest.approx(times)  # at the speed of the video


def test_pictures_of_another_shape_lie_in_black(tmp_path: Path) -> None:
    white = [np.full(shape, 255, np.uint8) for shape in ((240, 480, 3), (480, 240, 3))]
    parts = [make_video(tmp_path / f"{i}.ts", [image] * 10) for i, image in enumerate(white)]
    video, out = tmp_path / "turned.ts", tmp_path / "out.mp4"
    video.write_bytes(b"".join(part.read_bytes() for part in parts))
    render(video, predictions(), out)
    frames = decode(out)
    assert len(frames) == 20
    first, last = (frame[:240, :, 0] > 128 for frame in (frames[0], frames[-1]))
    assert first.mean() > 0.98
    columns = np.flatnonzero(last.mean(axis=0) > 0.9)
    assert (columns[0], columns[-1]) == (pytest.approx(180, abs=3), pytest.approx(299, abs=3))
    assert not last[:, :170].any()


def test_large_videos_are_reduced_to_even_sides(tmp_path: Path) -> None:
    image = np.full((301, 1501, 3), 90, np.uint8)
    video = write_video(tmp_path / "large.mkv", [image] * 2)
    render(video, predictions(2), tmp_path / "out.mp4")
    height, width, _ = decode(tmp_path / "out.mp4")[0].shape
    assert (width, height % 2) == (1280, 0)


def test_gifs_have_at_most_ten_frames_a_second(tmp_path: Path) -> None:
    video = write_video(tmp_path / "fast.mkv", gradient(20), rate=40)
    render(video, predictions(3), tmp_path / "out.gif")
    assert len(decode(tmp_path / "out.gif")) == 5


def test_curves_go_on_while_a_picture_stays(tmp_path: Path) -> None:
    video = write_video(tmp_path / "slides.mkv", gradient(2), rate=1)
    render(video, predictions(), tmp_path / "out.mp4")
    frames = decode(tmp_path / "out.mp4")
    assert len(frames) == 20
    assert np.abs(frames[2].astype(float) - frames[6])[480:].mean() > 0.5


def differing_columns(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.flatnonzero((a != b).any(axis=(0, 2)))


CURVES = slice(22, 112)  # rows of a panel of scale 1


def test_curves_do_not_show_the_future() -> None:
    known = predictions(6)
    futures = [
        Prediction(Path("v"), 1.0 + i / 5, np.array(p, np.float32), LABELS)
        for i, p in enumerate([(0.1, 0.9), (0.9, 0.1)] * 2, start=1)
    ]
    other = [Prediction(p.path, p.time, p.probabilities[::-1].copy(), LABELS) for p in futures[:-1]]
    one = Panel([*known, *futures], 480, 2.0, 2)
    two = Panel([*known, *other, futures[-1]], 480, 2.0, 2)
    # One pixel at the head is blended with the next piece of its line.
    np.testing.assert_allclose(one.at(1.1)[CURVES], two.at(1.1)[CURVES].astype(float), atol=16)
    assert (one.at(1.9)[CURVES] != two.at(1.9)[CURVES]).any()


def test_curves_grow_up_to_the_cursor() -> None:
    panel = Panel(predictions(), 480, 2.0, 2)
    grown = differing_columns(panel.at(0.2)[CURVES], panel.at(1.0)[CURVES])
    left, right = 50, 462  # of the curves
    assert grown.min() >= left - 5
    assert left + (right - left) / 2 - 8 < grown.max() < left + (right - left) / 2 + 8


def bar_lengths(panel: np.ndarray) -> list[int]:
    """Pixels of each bar's colour in its middle row, below the curves."""
    rows = panel[112:].astype(int)
    sky, orange = np.array([86, 180, 233]), np.array([230, 159, 0])
    return [
        int((np.abs(rows - colour).max(axis=2) < 3)[:, 30:].sum(axis=1).max())
        for colour in (sky, orange)
    ]


def test_bars_have_the_length_of_the_latest_probability() -> None:
    panel = Panel(predictions(), 480, 2.0, 2)
    for time, falling in ((0.0, 0.9), (0.19, 0.9), (1.8, 0.1)):
        rising_bar, falling_bar = bar_lengths(panel.at(time))  # the strongest at the end first
        assert falling_bar / (rising_bar + falling_bar) == pytest.approx(falling, abs=0.02)


def test_before_the_first_prediction_there_are_labels_alone() -> None:
    later = [Prediction(p.path, p.time + 1, p.probabilities, LABELS) for p in predictions()]
    panel = Panel(later, 480, 3.0, 2)
    assert bar_lengths(panel.at(0.5)) == [0, 0]
    assert min(bar_lengths(panel.at(1.0))) > 10


def test_a_single_prediction_holds_for_the_whole_video() -> None:
    panel = Panel(predictions(1), 480, 2.0, 2)
    assert panel.height < Panel(predictions(2), 480, 2.0, 2).height  # no curves
    np.testing.assert_array_equal(panel.at(0.0), panel.at(1.5))
    assert panel.at(0.0).shape == (panel.height, 480, 3)


def test_a_line_break_in_a_label_is_shown_escaped() -> None:
    def panel(label: str) -> np.ndarray:
        shown = Prediction(Path("v"), 0.0, np.array([0.9, 0.1], np.float32), (label, "other"))
        return Panel([shown], 480, 1.0, 2).at(0.0)

    np.testing.assert_array_equal(panel("a\nb"), panel(r"a\nb"))


def test_nothing_is_left_behind_by_a_failure(tmp_path: Path, video: Path) -> None:
    out = tmp_path / "out.mp4"
    out.write_bytes(b"old")

    def stop(time: float) -> None:
        if time > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render(video, predictions(), out, progress=stop)
    with pytest.raises(VideoError, match=r"none\.mkv"):
        render(tmp_path / "none.mkv", predictions(), out)
    assert out.read_bytes() == b"old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.mp4", "video.mkv"]


def test_bad_arguments_are_one_clear_line(
    tmp_path: Path, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"must end in \.mp4, \.gif"):
        render(video, predictions(), tmp_path / "out.avi")
    with pytest.raises(ConfigError, match="no predictions"):
        render(video, [], tmp_path / "out.mp4")
    with pytest.raises(ConfigError, match="top must be from 1 to 7 in a rendered video, not 8"):
        render(video, predictions(), tmp_path / "out.mp4", top=8)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=re.escape(install_command("plot"))):
        render(video, predictions(), tmp_path / "out.mp4")
