"""Events in probabilities over time, against a second way of finding them."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from movinet.errors import ConfigError
from movinet.events import Detector, Event, EventChange, Rule, Rules, find_events

LABELS = ("rest", "wave")
#: Without anything that joins or drops events.
PLAIN = Rule(on=0.6, off=0.4, shortest=0, merge=0, update=1000)


def series(*values: float) -> tuple[list[float], list[np.ndarray]]:
    """One frame a second, with the probability of "wave"."""
    return [*map(float, range(len(values)))], [np.array([0.0, value]) for value in values]


def spans(rule: Rule, *values: float) -> list[tuple[float, float]]:
    return [(e.start, e.end) for e in find_events(*series(*values), LABELS, Rules(rule))]


def by_hand(times: np.ndarray, values: np.ndarray, rule: Rule) -> list[tuple[float, float]]:
    """The definition, on the whole recording at once: intervals, merged, then dropped."""
    odds = np.log(np.clip(values, 1e-6, 1 - 1e-6)) - np.log1p(-np.clip(values, 1e-6, 1 - 1e-6))
    smooth = [odds[0]]
    for before, now, target in zip(times, times[1:], odds[1:], strict=False):
        kept = np.exp(-(now - before) / rule.smoothing) if rule.smoothing else 0.0
        smooth.append(kept * smooth[-1] + (1 - kept) * target)
    value = 1 / (1 + np.exp(-np.array(smooth)))
    intervals, start = [], None
    for time, one in zip(times, value, strict=True):
        if start is None and one >= rule.on:
            start = time
        elif start is not None and one < rule.off:
            intervals.append((start, time))
            start = None
    if start is not None:
        intervals.append((start, times[-1]))
    merged: list[tuple[float, float]] = []
    for interval in intervals:
        if merged and interval[0] - merged[-1][1] < rule.merge - 1e-9:
            merged[-1] = (merged[-1][0], interval[1])
        else:
            merged.append(interval)
    return [one for one in merged if one[1] - one[0] >= rule.shortest - 1e-9]


@settings(max_examples=150)
@given(
    seed=st.integers(0, 10**6),
    smoothing=st.sampled_from([0.0, 0.3, 2.0]),
    shortest=st.sampled_from([0.0, 0.6, 2.0]),
    merge=st.sampled_from([0.0, 0.5, 1.4]),
    thresholds=st.sampled_from([(0.6, 0.4), (0.5, 0.5), (0.9, 0.2)]),
)
def test_online_is_offline(
    seed: int, smoothing: float, shortest: float, merge: float, thresholds: tuple[float, float]
) -> None:
    draw = np.random.default_rng(seed)
    steps = draw.choice([0.2, 0.2, 0.2, 0.4, 1.0], 120)
    times = np.cumsum(steps)
    values = 1 / (1 + np.exp(-np.cumsum(draw.normal(0, 1.5, 120)) % 9 + 4))
    rule = Rule(*thresholds, smoothing, shortest, merge, update=0.7)
    detector, changes = Detector(LABELS, Rules(rule)), []
    for time, value in zip(times, values, strict=True):
        changes += detector.update(time, np.array([0.0, value]))
    changes += detector.finish()
    found = [(c.event.start, c.event.end) for c in changes if c.kind == "end"]
    assert found == by_hand(times, values, rule)
    check_reports(changes)


def check_reports(changes: list[EventChange]) -> None:
    """Each event is new once, first, and ends once, last; what is reported does not go back."""
    by_id: dict[str, list[EventChange]] = {}
    for change in changes:
        by_id.setdefault(change.event.id, []).append(change)
    for reports in by_id.values():
        kinds = [report.kind for report in reports]
        assert kinds == ["new", *["update"] * (len(kinds) - 2), "end"]
        assert len({report.event.start for report in reports}) == 1
        assert all(a.event.peak <= b.event.peak for a, b in pairwise(reports))


def test_thresholds_have_a_hysteresis() -> None:
    assert spans(PLAIN, 0, 0.55, 0.6, 0.5, 0.41, 0.39, 0.59, 0) == [(2, 5)]
    assert spans(PLAIN, 0, 0.55, 0.6) == [(2, 2)]


def test_short_events_are_dropped_and_short_gaps_are_merged() -> None:
    values = (0, 1, 0, 0, 1, 1, 1, 0, 1, 0, 0, 0)
    assert spans(PLAIN, *values) == [(1, 2), (4, 7), (8, 9)]
    assert spans(replace(PLAIN, shortest=2), *values) == [(4, 7)]
    assert spans(replace(PLAIN, merge=1.5), *values) == [(1, 2), (4, 9)]
    assert spans(replace(PLAIN, merge=2.5, shortest=6), *values) == [(1, 9)]


def test_a_dead_time_follows_an_event() -> None:
    assert spans(replace(PLAIN, dead=3), 0, 1, 0, 1, 1, 1, 1, 0) == [(1, 2), (5, 7)]


def test_smoothing_is_in_log_odds() -> None:
    rule = replace(PLAIN, smoothing=1.0, on=0.9, off=0.5)
    times = np.arange(0, 20, 0.2)
    probabilities = [np.array([0.0, 0.999 if time >= 5 else 0.001]) for time in times]
    (event,) = find_events(times.tolist(), probabilities, LABELS, Rules(rule))
    # From -l to +l, l = log(999): l (1 - 2 exp(-t)) >= log(9).
    delay = -np.log((1 - np.log(9) / np.log(999)) / 2)
    assert 0 <= event.start - (5 - 0.2 + delay) <= 0.2
    assert event.end == times[-1]


def test_a_gap_in_the_stream_ends_an_event_at_its_last_frame() -> None:
    rule = replace(PLAIN, break_after=5)
    times, ones = [0.0, 1.0, 2.0, 6.5, 7.5, 20.0, 21.0], [np.array([0.0, 1.0])] * 7
    found = find_events(times, ones, LABELS, Rules(rule))
    assert [(event.start, event.end) for event in found] == [(0, 7.5), (20, 21)]


def test_the_end_of_a_recording_is_the_end_of_its_events() -> None:
    (event,) = find_events(*series(0, 1, 1), LABELS, Rules(PLAIN), end=2.4)
    assert (event.start, event.end) == (1, 2.4)


def test_statistics_are_of_the_frames_of_the_event() -> None:
    rule = replace(PLAIN, merge=1.5)
    (event,) = find_events(*series(0, 0.7, 0.9, 0.1, 0.8, 0.1, 0, 0), LABELS, Rules(rule))
    assert (event.peak, event.peak_time) == (pytest.approx(0.9), 2)
    assert event.mean == pytest.approx((0.7 + 0.9 + 0.1 + 0.8) / 4)


def test_exclusive_rules_allow_one_event_at_a_time() -> None:
    times = [float(i) for i in range(6)]
    probabilities = [np.array(p) for p in [(0.9, 0.7)] * 3 + [(0.7, 0.9)] * 3]
    both = find_events(times, probabilities, LABELS, Rules(PLAIN))
    assert [(e.label, e.start, e.end) for e in both] == [("rest", 0, 5), ("wave", 0, 5)]
    one = find_events(times, probabilities, LABELS, Rules(PLAIN, exclusive=True))
    assert [(e.label, e.start, e.end) for e in one] == [("rest", 0, 3), ("wave", 3, 5)]


def test_classes_have_rules_of_their_own() -> None:
    rules = Rules(None, {"wave": replace(PLAIN, on=0.8)})
    times = [float(i) for i in range(4)]
    probabilities = [np.array(p) for p in [(0.9, 0.7), (0.9, 0.85), (0.9, 0.7), (0.9, 0.1)]]
    found = find_events(times, probabilities, LABELS, rules)
    assert [(e.label, e.start, e.end) for e in found] == [("wave", 1, 3)]
    with pytest.raises(ConfigError, match=r"no class 'wav'; did you mean 'wave'\?"):
        Detector(LABELS, Rules(classes={"wav": PLAIN}))


def test_an_event_is_reported_as_soon_as_it_is_certain() -> None:
    rule = Rule(shortest=2, merge=2, update=2)
    detector, seen = Detector(LABELS, Rules(rule), source="door"), []
    for time, values in zip(*series(0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0), strict=True):
        seen += [(time, c.kind, c.event.end) for c in detector.update(time, values)]
    assert seen == [(3, "new", 3), (5, "update", 5), (9, "end", 7)]
    (event,) = find_events(*series(0, 1, 1, 1, 0), LABELS, Rules(rule))
    assert event.id == "1-1000"


def test_a_detector_goes_on_where_it_was() -> None:
    draw = np.random.default_rng(3)
    rules = Rules(Rule(smoothing=0.5, shortest=0.5, merge=0.5, dead=1, update=0.5))
    times = np.arange(200) * 0.2
    values = 1 / (1 + np.exp(-np.cumsum(draw.normal(0, 1.5, (200, 2)), axis=0)))

    def run(detector: Detector, part: slice) -> list[EventChange]:
        pairs = zip(times[part], values[part], strict=True)
        return [change for time, value in pairs for change in detector.update(time, value)]

    whole = run(Detector(LABELS, rules), slice(None))
    assert len(whole) > 10
    for cut in (1, 37, 38, 90, 199):
        first, second = Detector(LABELS, rules), Detector(LABELS, rules)
        before = run(first, slice(0, cut))
        second.restore(json.loads(json.dumps(first.state())))
        assert before + run(second, slice(cut, None)) == whole


@pytest.mark.parametrize(
    "state", [{}, {"time": 1, "odds": [1], "tracks": {}, "free": {}}, {"time": "x"}, [], None]
)
def test_another_state_is_refused(state: Any) -> None:
    with pytest.raises(ConfigError):
        Detector(LABELS).restore(state)


@pytest.mark.parametrize(
    ("time", "values", "message"),
    [
        (1.0, [0.5, 0.5], "a time after 1.0"),
        (float("nan"), [0.5, 0.5], "a time after"),
        (2.0, [0.5], "shape"),
        (2.0, [0.5, float("nan")], "in \\[0, 1\\]"),
        (2.0, [0.5, 1.2], "in \\[0, 1\\]"),
    ],
)
def test_what_is_no_next_frame_is_refused(time: float, values: list[float], message: str) -> None:
    detector = Detector(LABELS)
    detector.update(1.0, np.array([0.1, 0.9]))
    before = detector.state()
    with pytest.raises(ConfigError, match=message):
        detector.update(time, np.array(values))
    assert detector.state() == before


def test_ids_are_the_same_again() -> None:
    first, second = (find_events(*series(0, 1, 1, 0, 0, 1, 1, 0), LABELS) for _ in range(2))
    assert first == second
    assert isinstance(first[0], Event)
    assert len({event.id for event in first}) == len(first)
