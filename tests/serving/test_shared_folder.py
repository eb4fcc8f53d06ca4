"""Servers that share a folder of streams: one of them has a stream, and which one is never open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving_tools import SIZE, pictures, served, wait_for

from movinet import Client
from movinet.client import RemoteStream, ServerError
from movinet.serving.hub import Hub

SIDES = {"height": SIZE[0], "width": SIZE[1], "rules": None}


def send_on(stream: RemoteStream, number: int) -> None:
    """Send frames for as long as the server takes them."""
    frame = pictures(0, 1)[0]
    for each in range(number, 200):
        stream(frame, each / 8)


@contextmanager
def two(runtime: Any, folder: Path, **options: Any) -> Iterator[tuple[Client, Hub, Client, Hub]]:
    """Two servers of a folder, and a client of each."""
    shared = {"snapshots": folder, "interval": 0.1, "runtime": runtime, **options}
    with (
        served(**shared) as (first, hub),
        served(**shared) as (second, other_hub),
        Client(first) as client,
        Client(second) as other,
    ):
        yield client, hub, other, other_hub


def test_a_stream_that_goes_on_elsewhere_is_let_go(runtime: Any, tmp_path: Path) -> None:
    frames = pictures(0, 5)
    with two(runtime, tmp_path) as (one, hub, other, _):
        stream = one.stream(**SIDES)
        for number in range(4):
            stream(frames[number], number / 8)
        hub.release(hub.find(stream.id))
        wait_for(lambda: hub.find(stream.id).saved == hub.find(stream.id).version)
        taken = other.resume(stream.id)
        assert taken.hello["sequence"] == 3
        wanted = runtime.stream(half_life=5.0)
        for frame in frames[:4]:
            wanted(frame)
        row = wanted(frames[4])
        (file,) = tmp_path.iterdir()
        before = file.stat().st_mtime_ns
        found = taken(frames[4], 4 / 8)["top"][0]
        assert found["probability"] == pytest.approx(float(np.max(row)), abs=1e-6)
        taken.disconnect()
        wait_for(lambda: file.stat().st_mtime_ns != before)
        # A frame at the first server would make two streams of one.
        with pytest.raises(ServerError, match="goes on elsewhere") as caught:
            send_on(stream, 4)
        assert caught.value.status == 1012
        assert stream.id not in [session.id for session in hub.sessions()]
        again = one.resume(stream.id)
        assert again.hello["sequence"] == 4
        again.close()


def test_a_stream_that_was_ended_elsewhere_does_not_come_back(runtime: Any, tmp_path: Path) -> None:
    with two(runtime, tmp_path) as (one, hub, other, _):
        stream = one.stream(**SIDES)
        stream(pictures(0, 1)[0], 0.0)
        other.resume(stream.id).close()
        with pytest.raises(ServerError, match="the stream was closed"):
            send_on(stream, 1)
        stream.disconnect()
        assert hub.count == 0
        assert list(tmp_path.iterdir()) == []


def test_a_new_stream_waits_for_whoever_is_asked(runtime: Any, tmp_path: Path) -> None:
    with two(runtime, tmp_path, scattered=True) as (one, hub, other, there):
        made = one._ask("POST", "/v1/streams", json=SIDES).json()
        assert (hub.count, there.count) == (0, 0)
        stream = other.resume(made["id"])
        assert (hub.count, there.count) == (0, 1)
        result = stream(pictures(0, 1)[0], 0.0)
        assert result["number"] == 0
        stream.close()
