"""The time of a stream: always forward, whatever its timestamps do."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from movinet.live.clock import LEAST, WRAP, StreamClock
from movinet.live.ticks import LONGEST_HOLD, Ticker
from movinet.video.sampling import at_rate


def times(stamps: list[float | None], arrivals: list[float] | None = None) -> list[float]:
    clock = StreamClock()
    arrivals = arrivals or [0.1 * i for i in range(len(stamps))]
    return [clock.see(stamp, now) for stamp, now in zip(stamps, arrivals, strict=True)]


def test_timestamps_count_while_they_go_on() -> None:
    assert times([7.0, 7.25, 7.5, 9.0]) == [0.0, 0.25, 0.5, 2.0]


@pytest.mark.parametrize(
    ("stamps", "jumps"),
    [
        ([5.0, 5.1, 3605.1, 3605.2], 1),  # an hour ahead
        ([5.0, 5.1, -3594.9, -3594.8], 1),  # an hour back
        ([5.0, 5.1, 5.1, 5.2], 1),  # twice the same
        ([5.0, 5.1, None, None], 0),
        ([WRAP - 0.15, WRAP - 0.05, 0.05, 0.15], 0),
    ],
)
def test_jumps_go_on_by_the_time_that_has_passed(stamps: list[float | None], jumps: int) -> None:
    clock = StreamClock()
    found = [clock.see(stamp, 0.1 * i) for i, stamp in enumerate(stamps)]
    np.testing.assert_allclose(found, [0, 0.1, 0.2, 0.3], atol=1e-9)
    assert clock.jumps == jumps


def test_a_pause_is_a_pause() -> None:
    assert times([1.0, 61.0], [0.0, 60.0]) == [0.0, 60.0]
    clock = StreamClock(start=4.0)
    assert clock.see(100.0, 0.0) == 4.0
    clock.restart()
    assert clock.see(3.0, 2.5) == 6.5  # another count after a lost connection
    assert clock.see(3.5, 2.6) == 7.0


@given(
    st.lists(
        st.tuples(st.one_of(st.none(), st.floats(-1e6, 1e6, allow_nan=False)), st.floats(0, 100)),
        min_size=2,
        max_size=30,
    )
)
def test_time_always_goes_forward(steps: list[tuple[float | None, float]]) -> None:
    clock, now, seen = StreamClock(), 0.0, []
    for stamp, passed in steps:
        now += passed
        seen.append(clock.see(stamp, now))
    assert all(b - a >= min(LEAST, 1e-9) / 2 for a, b in itertools.pairwise(seen))
    assert all(math.isfinite(time) for time in seen)


class _Timed:
    def __init__(self, time: float) -> None:
        self.time = time


@given(
    st.lists(st.floats(0.01, LONGEST_HOLD - 0.01), min_size=2, max_size=40),
    st.sampled_from([2.5, 5.0, 8.0, 12.0]),
)
def test_ticks_are_those_of_files(steps: list[float], rate: float) -> None:
    """Up to the last frame, whose end a live source does not know."""
    frames = [_Timed(time) for time in itertools.accumulate(steps)]
    ticker, found = Ticker[_Timed](rate), []
    for frame in frames:
        due = ticker.see(frame.time, frame)
        if due is not None:
            found += [(number / rate, due.frame.time) for number in due.numbers]
    expected = [(tick, frame.time) for tick, frame in at_rate(frames, rate)]
    assert found == expected[: len(found)]
    assert all(time == frames[-1].time for _, time in expected[len(found) :])


def test_no_picture_stays_longer_than_it_may() -> None:
    ticker = Ticker[str](5.0)
    assert ticker.see(0.0, "a") is None
    due = ticker.see(1.0, "b")
    assert due is not None
    assert (due.frame, due.numbers) == ("a", range(5))
    assert ticker.see(4.0, "c") is None  # "b" was not on screen for three seconds
    due = ticker.see(4.2, "d")
    assert due is not None
    assert (due.frame, due.numbers) == ("c", range(20, 21))
    ticker.pause()
    assert ticker.see(5.0, "e") is None
    due = ticker.see(5.5, "f")
    assert due is not None
    assert (due.frame, due.numbers) == ("e", range(25, 28))
