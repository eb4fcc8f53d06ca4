"""What live video promises for long runs, as figures: docs/live.md has them."""

from __future__ import annotations

import dataclasses
import gc
import multiprocessing
import os
import statistics
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from servers import http_server, paced, transport_stream

from movinet.data.synth import render
from movinet.events import Detector, Rule, Rules, find_events
from movinet.live import SourceStatus, watch

#: Seconds after which a frame counts half, and rules, for events of eight seconds.
HALF_LIFE, RULES = 0.2, Rules(Rule(on=0.5, off=0.3, smoothing=0, shortest=3.0, merge=2.0))


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(40, marks=pytest.mark.heavy),
        pytest.param(1000, marks=[pytest.mark.nightly, pytest.mark.timeout(1800)]),
    ],
)
def test_events_are_the_segments_of_a_recording(
    count: int, runtime: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One motion after another, cut hard, of scenes that nobody has seen."""
    monkeypatch.setattr(render, "_SECONDS", (8.0, 10.0))
    monkeypatch.setattr(render, "_RATES", (8,))
    rate, labels = runtime.info.input.frame_rate, runtime.info.labels
    assert rate == 8
    random, order = np.random.default_rng(0), [labels[0]]
    while len(order) < count:
        label = labels[random.integers(len(labels))]
        if label != order[-1]:
            order.append(label)
    stream = runtime.stream(half_life=HALF_LIFE)
    detector = Detector(labels, RULES)
    spans, probabilities, online = [], [], []
    for number, label in enumerate(order):
        began = len(probabilities)
        for frame in render.render_clip("motions", label, 99, number).frames:
            probabilities.append(stream(frame))
            online += detector.update((len(probabilities) - 1) / rate, probabilities[-1])
        spans.append((label, began / rate, len(probabilities) / rate))
    online += detector.finish()
    times = [number / rate for number in range(len(probabilities))]
    events = find_events(times, probabilities, labels, RULES)
    ended = [change.event for change in online if change.kind == "end"]
    assert sorted(ended, key=lambda event: event.id) == sorted(events, key=lambda event: event.id)

    delays, several, taken = [], 0, set()
    for label, start, end in spans:
        of_it = [
            number
            for number, event in enumerate(events)
            if event.label == label and event.start < end and event.end > start
        ]
        several += len(of_it) > 1
        for number in of_it:
            event = events[number]
            both = min(end, event.end) - max(start, event.start)
            either = max(end, event.end) - min(start, event.start)
            if number not in taken and both >= 0.5 * either:
                taken.add(number)
                delays.append(event.start - start)
                break
    f1 = 2 * len(taken) / (len(events) + len(spans))
    print(f"F1 {f1:.3f}, {len(events)} events, median delay {statistics.median(delays):.2f} s")
    assert f1 >= (0.95 if count >= 1000 else 0.9)
    assert statistics.median(delays) <= 1.0
    assert several <= count // 200


def send_films(queue: Any, frames: int, rate: int) -> None:
    """A server in a process of its own, so that its memory does not count."""
    random = np.random.default_rng(0)
    images = [random.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(40)]
    film = transport_stream(
        (images[number % 40] for number in range(frames)), rate=rate, keyframes=50
    )
    with http_server(lambda send, _, stopped: paced(film, send, stopped, rate)) as url:
        queue.put(url)
        threading.Event().wait()


def resources() -> tuple[int, int, float]:
    """Threads, descriptors, MB."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    descriptors = len([*Path("/proc/self/fd").iterdir()])
    return threading.active_count(), descriptors, pages * os.sysconf("SC_PAGESIZE") / 2**20


@pytest.mark.nightly
@pytest.mark.timeout(900)
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_a_hundred_thousand_frames_and_a_hundred_connections_leave_nothing(runtime: Any) -> None:
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    server = context.Process(target=send_films, args=(queue, 1000, 1000), daemon=True)
    server.start()
    statuses: list[SourceStatus] = []
    before: tuple[int, int, float] | None = None
    after = (0, 0, 0.0)
    try:
        watched = watch(queue.get(timeout=60), runtime, on_status=statuses.append, rules=Rules())
        for _ in watched:
            del statuses[:-1]
            if before is None and statuses[0].frames > 1000:
                before = resources()
            if statuses[0].frames >= 100_000 and statuses[0].connected:
                after = resources()
                break
        watched.close()
    finally:
        server.terminate()
    assert statuses[0].reconnects >= 99
    assert before is not None
    print(f"before {before}, after {after}")
    assert after[0] <= before[0]
    assert after[1] <= before[1] + 1
    assert after[2] <= before[2] + 5


class Slow:
    """A model whose steps last three ticks."""

    members = ()

    def __init__(self, runtime: Any, rate: float) -> None:
        spec = dataclasses.replace(runtime.info.input, frame_rate=rate)
        self.info, self.seconds = dataclasses.replace(runtime.info, input=spec), 3 / rate

    def stream(self, *, half_life: float | None = None) -> Slow:  # noqa: ARG002
        return self

    def __call__(self, image: np.ndarray) -> np.ndarray:  # noqa: ARG002
        time.sleep(self.seconds)
        return np.full(len(self.info.labels), 0.1, np.float32)

    def fade(self, missed: int) -> None:
        pass


@pytest.mark.parametrize(
    "frames", [150, pytest.param(5000, marks=[pytest.mark.nightly, pytest.mark.timeout(600)])]
)
def test_overload_makes_no_result_late(frames: int, runtime: Any) -> None:
    rate = 25
    random = np.random.default_rng(0)
    images = [random.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(40)]
    film = transport_stream(
        (images[number % 40] for number in range(frames)), rate=rate, keyframes=25
    )
    statuses: list[SourceStatus] = []
    with http_server(lambda send, _, stopped: paced(film, send, stopped, rate)) as url:
        model: Any = Slow(runtime, rate)
        watched = watch(url, model, on_status=statuses.append, seconds=frames / rate + 0.5)
        found = [result for result in watched if not result.ended]
    numbers = [result.number for result in found]
    assert len(found) + sum(result.gap for result in found) == numbers[-1] + 1 >= frames - 40
    if statuses[-1].reconnects == 0:  # with the film over, it is sent again
        assert sum(result.dropped for result in found) == sum(result.gap for result in found)
    ages = np.array([result.age for result in found])
    times = np.array([result.finished for result in found])
    slope = float(np.polyfit(times - times[0], ages, 1)[0]) * 60_000
    # A frame arrives at any time of a step, so the slope of so few has an error.
    error = 60_000 * ages.std() / np.sqrt(len(ages)) / times.std()
    print(f"p99 {np.quantile(ages, 0.99):.3f} s, slope {slope:+.2f} ± {error:.2f} ms a minute")
    assert np.quantile(ages, 0.99) <= 1 / rate + 2 * 3 / rate + 0.1  # on a busy machine
    if frames >= 5000:  # ages of a short run are those of one beat of steps and frames
        assert abs(slope) <= 1 + 4 * error
