import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import make_video, number_of, numbered

from movinet.errors import ConfigError
from movinet.video import Frame, VideoReader, resample


def frames(times):
    return [Frame(time, np.full((1, 1, 3), i, np.uint8)) for i, time in enumerate(times)]


def shown(times, rate):
    return [(round(t, 6), int(image[0, 0, 0])) for t, image in resample(frames(times), rate)]


def test_the_same_rate_keeps_every_frame():
    times = [i / 25 for i in range(100)]
    assert shown(times, 25) == [(round(t, 6), i) for i, t in enumerate(times)]


def test_times_rounded_to_milliseconds_keep_every_frame():
    times = [round(i * 1.001 / 30, 3) for i in range(200)]
    assert [i for _, i in shown(times, 30 / 1.001)] == list(range(200))


def test_lower_and_higher_rates():
    times = [i / 25 for i in range(50)]
    assert shown(times, 5) == [(round(k / 5, 6), 5 * k) for k in range(10)]
    assert [i for _, i in shown(times, 50)] == [k // 2 for k in range(100)]


def test_gaps_are_filled_and_late_starts_are_not():
    assert shown([0.5, 0.55, 2.0], 2) == [
        (0.5, 0), (1.0, 1), (1.5, 1), (2.0, 2), (2.5, 2), (3.0, 2),
    ]  # fmt: skip


def test_a_single_frame_is_one_tick():
    assert shown([0.0], 5) == [(0.0, 0)]
    assert shown([0.05], 5) == [(0.2, 0)]
    assert shown([], 5) == []


@given(
    st.lists(st.integers(1, 400), min_size=1, max_size=60),
    st.integers(0, 1000),
    st.sampled_from([1.0, 2.5, 5.0, 8.0, 12.0, 30.0]),
)
def test_every_tick_shows_the_last_frame_not_after_it(steps, start, rate):
    times = (start + np.concatenate([[0], np.cumsum(steps)])) / 100
    result = list(resample(frames(times.tolist()), rate))
    ticks = [round(frame.time * rate) for frame in result]
    assert ticks == list(range(ticks[0], ticks[0] + len(ticks)))
    for time, image in result:
        on_screen = np.flatnonzero(times <= time + 1e-3).max()
        assert image[0, 0, 0] == on_screen % 256


@pytest.mark.parametrize("rate", [5, 12, 25, 40])
def test_the_reader_resamples_alike(tmp_path, rate):
    path = make_video(tmp_path / "v.mkv", map(numbered, range(60)), rate=24)
    expected = [(f.time, number_of(f.image)) for f in resample(VideoReader(path), rate)]
    assert [(f.time, number_of(f.image)) for f in VideoReader(path, frame_rate=rate)] == expected
    part = [
        (f.time, number_of(f.image)) for f in VideoReader(path, frame_rate=rate, start=1, end=2)
    ]
    assert part == [pair for pair in expected if 1 <= pair[0] < 2]


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf")])
def test_a_rate_is_a_positive_number(rate):
    with pytest.raises(ConfigError, match="frame_rate"):
        resample([], rate)
