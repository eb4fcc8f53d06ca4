"""Streams on a server: what they compute, their clock, their state on the move."""

from __future__ import annotations

import io
import itertools
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from serving_tools import SIDES, TEN, alone, pictures, served, values, wait_for

import movinet
from movinet import Client
from movinet.client import ServerError
from movinet.events import Rule, Rules, find_events
from movinet.serving import scheduler as schedulers
from movinet.serving.hub import Hub
from movinet.serving.sessions import Session


@pytest.fixture(scope="module")
def server(runtime: Any) -> Iterator[tuple[str, Hub]]:
    with served(runtime=runtime, workers=2) as found:
        yield found


@pytest.fixture
def client(server: tuple[str, Hub]) -> Iterator[Client]:
    with Client(server[0]) as found:
        yield found


def test_a_stream_gives_what_the_model_gives(runtime: Any, client: Client) -> None:
    frames = pictures(0, 6)
    with client.stream(**TEN) as stream:
        assert stream.labels == runtime.info.labels
        found = [stream(frame) for frame in frames]
    assert [values(message) for message in found] == alone(runtime, frames)
    assert [message["number"] for message in found] == [*range(6)]
    assert [message["sequence"] for message in found] == [*range(6)]
    assert all(0 <= message["age"] < 5 and not message["dropped"] for message in found)


def test_jpeg_and_i420_are_seen_as_pixels_are(runtime: Any, client: Client) -> None:
    (frame,) = pictures(1, 1)
    picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="yuvj420p")
    codec: Any = av.CodecContext.create("mjpeg", "w")
    codec.width, codec.height, codec.pix_fmt = picture.width, picture.height, "yuvj420p"
    codec.time_base = Fraction(1, 8)
    picture.pts = 0
    (packet,) = codec.encode(picture)
    with client.stream(**TEN) as stream:
        seen = values(stream(bytes(packet)))
    with av.open(io.BytesIO(bytes(packet)), "r", format="mjpeg") as opened:
        (decoded,) = opened.decode(video=0)
    assert seen == pytest.approx(alone(runtime, [decoded.to_ndarray(format="rgb24")])[0], abs=2e-3)


def test_streams_are_never_mixed_up(runtime: Any, client: Client) -> None:
    """With joins, leaves, resets, forks and restores at random, each gives its lone run's bits."""
    chance = random.Random(3)
    failures: list[str] = []

    def run(number: int) -> None:
        chosen = random.Random(number)
        frames, half_life = pictures(number, 14), chosen.choice([None, 0.5, 3.0])
        local = runtime.stream(half_life=half_life)
        remote = client.stream(**{**TEN, "half_life": half_life})
        for frame in frames:
            action = chosen.random()
            if action < 0.1:
                remote.reset()
                local.reset()
            elif action < 0.2:
                snapshot = remote.snapshot()
                remote.close()
                remote = client.stream(**{**TEN, "half_life": half_life})
                remote.restore(snapshot)
            elif action < 0.3:
                old, remote = remote, remote.fork()
                old.close()
            found = values(remote(frame))
            wanted = dict(zip(runtime.info.labels, map(float, local(frame)), strict=True))
            if found != wanted:
                failures.append(f"stream {number}: {found} {wanted}")
        remote.close()

    threads = [threading.Thread(target=run, args=(i,)) for i in range(6)]
    chance.shuffle(threads)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_time_decides_what_is_seen(runtime: Any, client: Client) -> None:
    """A tick is seen once; what is missing is forgotten as the half-life says."""
    frames = pictures(4, 4)
    with client.stream(**{**TEN, "half_life": 1.0}) as stream:
        first = stream(frames[0], 10.0)
        assert stream(frames[1], 10.01)["type"] == "skipped"
        second = stream(frames[2], 10.5)
    assert (first["number"], second["number"], second["gap"]) == (80, 84, 3)
    local = runtime.stream(half_life=1.0)
    local(frames[0])
    local.fade(3)
    row = dict(zip(runtime.info.labels, map(float, local(frames[2])), strict=True))
    assert values(second) == row


def test_state_goes_to_this_machine_and_back(runtime: Any, client: Client) -> None:
    frames = pictures(5, 9)
    wanted = alone(runtime, frames, 2.0)
    with client.stream(**{**TEN, "half_life": 2.0}) as stream:
        for frame in frames[:3]:
            stream(frame)
        local = runtime.open_stream(stream.snapshot())
        row = [local(frame) for frame in frames[3:6]][-1]
        assert dict(zip(runtime.info.labels, map(float, row), strict=True)) == wanted[5]
        stream.restore(local.snapshot())
        assert [values(stream(frame)) for frame in frames[6:]] == wanted[6:]


@pytest.mark.parametrize("time", [1e308, -1e308, 2.0**53, -1e10])
def test_a_snapshot_of_an_impossible_time_is_refused(client: Client, time: float) -> None:
    """Where floats no longer tell two ticks apart, events would have no order."""
    frames = pictures(12, 3)
    with client.stream(**SIDES) as stream:
        stream(frames[0], 1.0)
        kept = stream.snapshot()
        with pytest.raises(ServerError, match="time of a snapshot"):
            stream.restore(replace(kept, time=time))
        assert stream(frames[1], 2.0)["number"] == 16  # as before


def test_a_state_that_is_no_number_harms_its_own_stream_only(client: Client, runtime: Any) -> None:
    """The streams of one step are told apart, though they are stepped together."""
    local = runtime.stream(), runtime.stream()
    frames = pictures(13, 2)
    for stream, frame in zip(local, frames, strict=True):
        stream(frame)
    kept = local[0].snapshot()
    broken = {k: v * np.float32("nan") if "buffer" in k else v for k, v in kept.values.items()}
    local[0].restore(replace(kept, values=broken))
    before = runtime.stream()
    before.restore(local[1].snapshot())
    rows = runtime.step(local, list(frames), check=False)
    assert np.isnan(rows[0]).all()
    np.testing.assert_array_equal(rows[1], before(frames[1]))
    with client.stream(**SIDES) as stream:
        stream.restore(replace(kept, values=broken))
        with pytest.raises(ServerError, match="not numbers"):
            stream(frames[0])


def test_a_worker_outlives_what_fails_in_it(
    runtime: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with served(runtime=runtime, workers=1) as (url, _), Client(url) as client:
        (frame,) = pictures(14, 1)
        with client.stream(**SIDES) as stream, monkeypatch.context() as patched:
            patched.setattr(Session, "prepare", lambda *_: 1 / 0)
            with pytest.raises(ServerError, match="the server failed"):
                stream(frame)
        with client.stream(**SIDES) as stream:
            assert stream(frame)["type"] == "result"
    assert "ZeroDivisionError" in caplog.text


def test_a_stream_goes_back_in_time(runtime: Any, client: Client) -> None:
    frames = pictures(6, 25)
    with client.stream(**TEN, rewind=3) as stream:
        for number, frame in enumerate(frames[:24]):
            stream(frame, number / 8)
        at = stream.rewind(1.0)
        assert at == 1.0
        row = values(stream(frames[24], 3.0))
        with pytest.raises(ServerError, match="nothing is kept of 60 s ago"):
            stream.rewind(60)
    # What was seen since is forgotten, the clock goes on: gaps without a half-life cost nothing.
    assert row == alone(runtime, [*frames[:9], frames[24]])[-1]


def test_forks_differ_in_their_half_life(runtime: Any, client: Client) -> None:
    frames = pictures(7, 8)
    with client.stream(**TEN) as stream:
        for frame in frames[:5]:
            stream(frame)
        with stream.fork(half_life=0.25, top=10) as fork:
            found = [values(fork(frame)) for frame in frames[5:]]
        kept = [values(stream(frame)) for frame in frames[5:]]
    assert kept == alone(runtime, frames)[5:]
    local = runtime.stream()
    for frame in frames[:5]:
        local(frame)
    local.set_decay(movinet.decay_from_half_life(0.25, 8.0))
    rows = [local(frame) for frame in frames[5:]]
    assert found == [dict(zip(runtime.info.labels, map(float, row), strict=True)) for row in rows]


def test_events_are_those_of_a_recording(runtime: Any, client: Client) -> None:
    rule = {"on": 0.3, "off": 0.2, "shortest": 0.25, "merge": 0.25}
    frames = pictures(8, 24)
    stream = client.stream(**TEN, rules={"default": rule})
    changes: list[dict[str, Any]] = []
    rows = []
    for number, frame in enumerate(frames):
        message = stream(frame, number / 8)
        changes += message["events"]
        rows.append([values(message)[label] for label in runtime.info.labels])
    ended = client._ask("DELETE", f"/v1/streams/{stream.id}")
    assert ended.status_code == 204
    changes += [e for message in stream.results() for e in message.get("events", ())]
    found = [(e["label"], e["start"], e["end"]) for e in changes if e["kind"] == "end"]
    times = [number / 8 for number in range(24)]
    wanted = find_events(times, np.array(rows), runtime.info.labels, Rules(Rule(**rule)))
    assert wanted
    assert sorted(found) == sorted((e.label, e.start, e.end) for e in wanted)


def test_the_newest_frame_wins(runtime: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes during a long step is dropped, but for the last, and counted."""
    frames, busy, free = pictures(9, 40), threading.Event(), threading.Event()
    step = type(runtime).step

    def slow(self: Any, *arguments: Any, **options: Any) -> Any:
        busy.set()
        assert free.wait(10)
        return step(self, *arguments, **options)

    with served(runtime=runtime, workers=1) as (url, hub), Client(url) as client:
        stream = client.stream(**TEN)
        monkeypatch.setattr(type(runtime), "step", slow)
        for number, frame in enumerate(frames):
            stream.send(frame, number / 8)
            assert busy.wait(10)
        wait_for(lambda: hub.sessions()[0].dropped == 38)
        free.set()
        found = []
        for message in stream.results():
            found.append(message)
            if message["sequence"] == 39:
                break
        stream.close()
    assert [message["type"] for message in found] == ["result"] * len(found)
    assert [message["dropped"] for message in found] == [0, 38]
    assert [message["gap"] for message in found] == [0, 38]


def test_who_has_no_room_is_told_when_to_come(runtime: Any) -> None:
    with served(runtime=runtime, max_streams=2) as (url, hub), Client(url) as client:
        first, second = client.stream(), client.stream()
        with pytest.raises(ServerError, match="the limit of open streams is 2") as refused:
            client.stream()
        assert refused.value.status == 503
        assert refused.value.retry_after == 5
        first.close()
        client.stream().close()
        second.close()
        for session in hub.sessions():
            hub.close(session.id)
        for scheduler in hub._schedulers.values():
            scheduler.cost = 0.1
        client.stream(rate=7)
        with pytest.raises(ServerError, match=r"time for 1\.0 more frames a second.*may send 7"):
            client.stream(rate=7)
        client.stream(rate=0.5)


def test_nobody_gets_in_while_the_others_send_more_than_they_said(
    runtime: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = type(runtime).step

    def slow(self: Any, *arguments: Any, **options: Any) -> Any:
        time.sleep(0.05)
        return step(self, *arguments, **options)

    with served(runtime=runtime, workers=1) as (url, hub), Client(url) as client:
        stream = client.stream(**TEN, rate=0.01)
        monkeypatch.setattr(type(runtime), "step", slow)
        monkeypatch.setattr(schedulers, "_MEMORY", 0.5)
        reader = threading.Thread(target=lambda: list(stream.results()))
        reader.start()
        (scheduler,) = hub._schedulers.values()
        stop = threading.Event()

        def send() -> None:
            for number, frame in enumerate(itertools.cycle(pictures(0, 2))):
                if stop.wait(0.01):
                    return
                stream.send(frame, number / 8)

        sender = threading.Thread(target=send)
        sender.start()
        wait_for(lambda: scheduler.busy > 0.98, 60)
        with pytest.raises(ServerError, match="send more than they said") as refused:
            client.stream(rate=0.01)
        assert refused.value.status == 503
        stop.set()
        sender.join()
        # Once they have stopped, there is room again.
        wait_for(lambda: scheduler.busy < 0.8)
        client.stream(rate=0.01).close()
        stream.close()
        reader.join()
