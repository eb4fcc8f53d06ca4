"""Live video end to end, from servers on this machine."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from servers import RATE, http_server, paced, still, transport_stream
from watching_tools import seen

import movinet
from movinet.errors import ConfigError
from movinet.events import Rule, Rules
from movinet.live import LiveResult, SourceStatus, watch
from movinet.live.reading import Patience
from movinet.video import VideoReader

CLIP = Path(movinet.__file__).parent / "demo" / "clip.mp4"
Serve = Callable[[Callable[[bytes], None], int, threading.Event], None]


def test_a_file_at_its_own_pace_is_the_file(runtime: Any) -> None:
    expected = list(movinet.predict(CLIP, runtime))
    began = time.monotonic()
    *found, last = watch(str(CLIP), runtime, half_life=math.inf)
    assert time.monotonic() - began >= expected[-1].time
    assert [result.time for result in found] == [p.time for p in expected]
    np.testing.assert_array_equal(
        [result.probabilities for result in found], [p.probabilities for p in expected]
    )
    assert last.ended
    assert not any(result.ended or result.gap for result in found)


def test_a_stream_over_the_network_is_the_file_that_is_sent(
    runtime: Any, film: list[bytes], tmp_path: Path
) -> None:
    """Ticks and probabilities, bit for bit."""
    (tmp_path / "film.ts").write_bytes(b"".join(film))
    expected = list(movinet.predict(tmp_path / "film.ts", runtime))
    half = len(film) // 2 + 4

    def serve(send: Callable[[bytes], None], _: int, stopped: threading.Event) -> None:
        paced(film[:half], send, stopped)
        stopped.wait(20)

    with http_server(serve) as url:
        found = seen(watch(url, runtime, half_life=math.inf), 7)
        if any(result.dropped for result in found):  # the machine was busy for a moment
            found = seen(watch(url, runtime, half_life=math.inf), 7)
    assert [result.number for result in found] == [0, 1, 2, 3, 4, 5, 6]
    np.testing.assert_array_equal(
        [result.probabilities for result in found], [p.probabilities for p in expected[:7]]
    )
    assert all(0 < result.age < 1 for result in found)


def test_who_is_slow_gets_the_newest_frame(runtime: Any, film: list[bytes]) -> None:
    statuses: list[SourceStatus] = []
    with http_server(lambda send, _, stopped: paced(film, send, stopped)) as url:
        results = watch(url, runtime, on_status=statuses.append)
        found = []
        for result in results:
            found.append(result)
            if len(found) == 5:
                break
            time.sleep(0.4)  # three ticks
        results.close()
    gaps = [result.gap for result in found[1:]]
    assert all(1 <= gap <= 5 for gap in gaps)
    assert [result.dropped for result in found[1:]] == gaps
    numbers = [result.number for result in found]
    assert numbers[-1] - numbers[0] == sum(gaps) + 4
    assert statuses[-1].dropped >= sum(gaps)
    # A tick, a frame of the source and a step, on a busy machine.
    assert max(result.age for result in found) < 1 / 8 + 1 / RATE + 0.3


def test_a_lost_stream_comes_back(runtime: Any, film: list[bytes]) -> None:
    """The stream's time goes on; the gap is told; nothing of before is shown as new."""
    statuses: list[tuple[str, str]] = []

    def serve(send: Callable[[bytes], None], _: int, stopped: threading.Event) -> None:
        paced(film[:15], send, stopped)

    with http_server(serve) as url:
        results = watch(
            f"door={url}", runtime, on_status=lambda s: statuses.append((s.state, s.reason))
        )
        found = seen(results, 14)
    times = [result.time for result in found]
    assert times == sorted(set(times))
    assert sum(result.gap > 2 for result in found) >= 1
    assert all(result.source == "door" for result in found)
    assert [state for state, _ in statuses[:3]] == ["connected", "waiting", "connected"]
    assert "door: " in statuses[1][1]


def test_dead_sources_leave_the_others_alone(runtime: Any, film: list[bytes]) -> None:
    def serve(send: Callable[[bytes], None], _: int, stopped: threading.Event) -> None:
        paced(film * 3, send, stopped)

    def silent(send: Callable[[bytes], None], _: int, stopped: threading.Event) -> None:
        send(film[0])
        stopped.wait(20)

    def garbage(send: Callable[[bytes], None], _: int, stopped: threading.Event) -> None:
        send(os.urandom(1 << 20))
        stopped.wait(20)

    statuses: dict[str, str] = {}
    found: list[LiveResult] = []
    with http_server(serve) as good, http_server(silent) as mute, http_server(garbage) as bad:
        for _ in range(3):
            results = watch(
                [f"good={good}", f"mute={mute}", f"bad={bad}", "none=http://127.0.0.1:9/x"],
                runtime,
                read_timeout=0.5,
                open_timeout=0.5,
                on_status=lambda s: statuses.__setitem__(s.source, s.state),
            )
            found = seen(results, 16)
            if not any(result.gap for result in found):  # else the machine was busy for a moment
                break
    assert {result.source for result in found} == {"good"}
    assert [result.number for result in found] == [*range(16)]
    assert statuses["mute"] == statuses["bad"] == statuses["none"] == "waiting"


def test_sources_are_not_mixed_up(runtime: Any) -> None:
    shades = [0, 80, 160, 255]
    films = [transport_stream(still(shade) for _ in range(40)) for shade in shades]

    def alone(shade: int, count: int) -> np.ndarray:
        stream = runtime.stream(half_life=5.0)
        return [stream(still(shade)) for _ in range(count)][-1]

    def serving(film: list[bytes]) -> Serve:
        return lambda send, _, stopped: paced(film, send, stopped)

    with (
        http_server(serving(films[0])) as a,
        http_server(serving(films[1])) as b,
        http_server(serving(films[2])) as c,
        http_server(serving(films[3])) as d,
    ):
        found = seen(watch([f"0={a}", f"1={b}", f"2={c}", f"3={d}"], runtime, gap="skip"), 40)
    for number, shade in enumerate(shades):
        own = [result for result in found if result.source == str(number)]
        assert len(own) >= 5
        expected = alone(shade, len(own))
        others = [alone(other, len(own)) for other in shades if other != shade]
        error = np.abs(own[-1].probabilities - expected).max()  # the codec rounds colours
        assert error < min(np.abs(expected - other).max() for other in others) / 2


@pytest.mark.parametrize("gap", ["fade", "hold", "skip", "reset"])
def test_gaps_do_what_their_policy_says(gap: Any, runtime: Any, film: list[bytes]) -> None:
    """Compared with a stream that is stepped by hand."""

    def serve(send: Callable[[bytes], None], _: int, stopped: threading.Event) -> None:
        paced(film, send, stopped)

    with http_server(serve) as url:
        results = watch(url, runtime, gap=gap, half_life=1.0, reset_after=0.3)
        found = []
        for result in results:
            found.append(result)
            if len(found) == 3:
                break
            time.sleep(0.6)
        results.close()
    images = {}
    with VideoReader(CLIP, frame_rate=RATE) as reader:
        frames = [frame.image.copy() for frame in reader]
    for result in found:
        images[result.number] = frames[math.floor(result.number / 8 * RATE + 1e-9)]
    stream, expected = runtime.stream(half_life=1.0), np.zeros(0)
    for result in found:
        image = images[result.number]
        if result.gap:
            if gap == "fade":
                stream.fade(result.gap)
            elif gap == "hold":
                for _ in range(result.gap):
                    stream(image)
            elif gap == "reset":
                stream.reset()
        expected = stream(image)
    # The codec changes pixels a little.
    assert np.abs(found[-1].probabilities - expected).max() < 0.1
    assert sum(result.gap for result in found) > 3


def test_events_have_their_times(runtime: Any) -> None:
    rules = Rules(Rule(on=0.5, off=0.3, shortest=0.3, merge=0.3))
    results = list(watch(str(CLIP), runtime, rules=rules))
    changes = [change for result in results for change in result.events]
    ended = [change.event for change in changes if change.kind == "end"]
    labels = runtime.info.labels
    times = [result.time for result in results[:-1]]
    probabilities = [result.probabilities for result in results[:-1]]
    expected = movinet.events.find_events(times, probabilities, labels, rules)
    assert [(e.label, e.start, e.end) for e in ended] == [
        (e.label, e.start, e.end) for e in expected
    ]
    assert expected


def test_a_clock_that_is_put_back_makes_no_result_early(
    runtime: Any, film: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By an hour, while frames arrive and steps are made."""
    real, calls = time.time, iter(range(10**9))
    monkeypatch.setattr(time, "time", lambda: real() - 3600 * (next(calls) >= 20))
    with http_server(lambda send, _, stopped: paced(film, send, stopped)) as url:
        found = seen(watch(url, runtime), 12)
    assert all(0 <= result.age < 5 for result in found)
    times = [result.time for result in found]
    assert times == sorted(times)
    assert times[-1] < 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sources": []}, "at least one source"),
        ({"sources": "x.mp4", "gap": "guess"}, "gap must be one of fade, hold, skip, reset"),
        ({"sources": "x.mp4", "half_life": -1}, "half-life"),
        ({"sources": "x.mp4", "reset_after": 0}, "reset_after must be"),
        ({"sources": "x.mp4", "rules": Rules(classes={"x": Rule()})}, "no class 'x'"),
    ],
)
def test_what_cannot_be_watched_is_said_at_once(
    arguments: dict[str, Any], message: str, runtime: Any
) -> None:
    with pytest.raises(ConfigError, match=message):
        watch(arguments.pop("sources"), runtime, **arguments)


def test_a_file_that_is_none_ends_alone(runtime: Any, tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_text("no video")
    statuses: list[SourceStatus] = []
    found = list(watch(str(tmp_path / "x.mp4"), runtime, on_status=statuses.append))
    assert [result.ended for result in found] == [True]
    assert statuses[-1].state == "failed"
    assert "x.mp4" in statuses[-1].reason


def test_how_long_a_lost_source_is_left_alone() -> None:
    """One that comes back within two minutes is seen within two seconds, jitter included."""
    patience, wait, lost_for, waits = Patience(), 0.5, 0.0, []
    while lost_for < 600:
        waits.append((lost_for, wait))
        lost_for += wait
        wait = patience.next_wait(wait, lost_for)
    assert [each for _, each in waits[:4]] == [0.5, 1.0, 1.5, 1.5]
    assert all(1.25 * each < 2 for since, each in waits if since < 120)
    assert [each for _, each in waits[-3:]] == [30.0] * 3
