"""Streams in a folder: asleep, beside anything else, and in the next process."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import struct
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving_tools import SIDES, TEN, Process, alone, pictures, served, values, wait_for

from movinet import Client
from movinet.client import ServerError
from movinet.serving.hub import Hub, HubOptions
from movinet.serving.metrics import Metrics
from movinet.serving.options import StreamOptions
from movinet.serving.sessions import Session


def test_a_stream_sleeps_on_disk_and_wakes_up(runtime: Any, tmp_path: Path) -> None:
    frames = pictures(10, 6)
    options = {"snapshots": tmp_path, "idle": 0.2, "interval": 0.1}
    with served(runtime=runtime, **options) as (url, hub), Client(url) as client:
        stream = client.stream(**TEN)
        for frame in frames[:3]:
            stream(frame)
        stream.disconnect()
        wait_for(lambda: hub.count == 0)
        again = client.resume(stream.id)
        assert again.sequence == 2
        assert [values(again(frame)) for frame in frames[3:]] == alone(runtime, frames)[3:]
        again.close()
        assert not [*tmp_path.iterdir()]
        with pytest.raises(ServerError, match="no stream of this id"):
            client.resume(stream.id)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_what_else_lies_in_the_folder_harms_no_stream(runtime: Any, tmp_path: Path) -> None:
    """Pipes, folders, and files that are damaged in ways that only their own stream may notice."""
    stream = Session("a", runtime, StreamOptions())
    kept = stream.to_bytes()
    (length,) = struct.unpack_from("<Q", kept, 8)
    about = json.loads(kept[16 : 16 + length])
    names = [letter * 22 for letter in "ABCDEF"]
    files = [tmp_path / f"{name}.stream" for name in names]
    os.mkfifo(files[0])
    files[1].mkdir()
    files[2].write_bytes(b"")
    for file, change in zip(
        files[3:], ({"number": 10**400}, {"results": math.inf}, {"sequence": -(2**63)}), strict=True
    ):
        text = json.dumps(about | change).encode()
        file.write_bytes(kept[:8] + struct.pack("<Q", len(text)) + text + kept[16 + length :])
    with served(runtime=runtime, snapshots=tmp_path) as (url, _):
        for name in names:
            answer = httpx.get(f"{url}/v1/streams/{name}", timeout=5)
            assert answer.status_code == 422, (name, answer.text)
        assert httpx.get(f"{url}/v1/streams").json() == []
        with Client(url) as client, client.stream(**SIDES) as whole:
            assert whole(pictures(15, 1)[0])["type"] == "result"


def test_a_full_disk_is_told_once_with_its_reason(
    runtime: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    said: list[str] = []
    options = HubOptions(snapshots=tmp_path, interval=0.1)
    hub = Hub({"motions": runtime}, options, Metrics(), said.append)
    sessions = [hub.create(StreamOptions()) for _ in range(3)]
    hub.drain()
    hub.stop()
    assert len(said) == 1
    assert os.strerror(errno.ENOSPC) in said[0]
    assert not any(session.id in said[0] for session in sessions)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_streams_go_on_in_another_process(
    runtime: Any, tmp_path: Path, number: signal.Signals
) -> None:
    """Bit for bit after SIGTERM; after kill -9 from a frame that the server names."""
    frames = pictures(11, 24)
    wanted = alone(runtime, frames, 5.0)
    options = ("--snapshots", tmp_path, "--interval", "0.1")
    with Process(*options) as first, Client(first.url) as client:
        streams = [client.stream(**{**TEN, "half_life": 5.0}) for _ in range(3)]
        for stream in streams:
            for frame in frames[:12]:
                stream(frame)
        if number == signal.SIGKILL:
            kept = [tmp_path / f"{stream.id}.stream" for stream in streams]
            wait_for(lambda: all(b'"sequence":' in path.read_bytes() for path in kept))
            wait_for(lambda: all(b'"sequence":null' not in path.read_bytes() for path in kept))
        code = first.end(number)
        if number == signal.SIGTERM:
            assert code == 0, first.said
            (message,) = [m for m in _rest(streams[0]) if m["type"] == "moved"]
            assert message["sequence"] == 11
    with Process(*options) as second, Client(second.url) as client:
        for stream in streams:
            again = client.resume(stream.id)
            if number == signal.SIGTERM:
                assert again.sequence == 11
            seen = again.sequence + 1
            assert 0 < seen <= 12
            found = [values(again(frame)) for frame in frames[seen:]]
            assert found == wanted[seen:]


def _rest(stream: Any) -> list[dict[str, Any]]:
    """What still comes; the server closes with 1012, for a restart."""
    messages: list[dict[str, Any]] = []
    with pytest.raises(ServerError) as ended:
        messages.extend(stream.results())
    assert ended.value.status == 1012
    return messages
