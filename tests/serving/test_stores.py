"""Where streams are kept: stores over the network, in which they appear whole or not at all."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from serving_tools import SIZE, pictures, served, wait_for

from movinet import Client
from movinet.errors import CheckpointError, ConfigError
from movinet.serving.hub import Hub, HubOptions
from movinet.serving.metrics import Metrics
from movinet.serving.store import open_store, place_of

fsspec: Any = pytest.importorskip("fsspec", reason="needs the extra store")
from fsspec.implementations.memory import MemoryFileSystem  # noqa: E402

NAME = "a" * 22
SIDES = {"height": SIZE[0], "width": SIZE[1]}


class Server(MemoryFileSystem):
    """A store whose files grow as they are written, as those of SFTP do."""

    protocol = "testftp"
    store: Any = {}  # noqa: RUF012 - as the base class has it
    pseudo_dirs: Any = [""]  # noqa: RUF012
    breaks = False

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return "/" + path.removeprefix("testftp://").strip("/")

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> None:
        if Server.breaks:
            super().pipe_file(path, value[: len(value) // 2], mode, **options)
            raise RuntimeError("connection to sftp://user:geheim@host lost")
        super().pipe_file(path, value, mode, **options)


@pytest.fixture(params=["memory", "testftp", "file", "folder"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    fsspec.register_implementation("testftp", Server, clobber=True)
    kind = request.param
    if kind in ("memory", "testftp"):
        yield f"{kind}://streams-{secrets.token_hex(4)}"
    else:
        yield str(tmp_path / "s") if kind == "folder" else (tmp_path / "s p").as_uri()


def test_a_store_keeps_what_is_written(place: str) -> None:
    store, other = open_store(place), open_store(place)
    assert store is not None
    assert other is not None
    assert (store.read(NAME), store.stamp(NAME), store.is_gone(NAME)) == (None, None, True)
    store.delete(NAME)
    store.write(NAME, b"one")
    first = other.stamp(NAME)
    assert first == store.stamp(NAME)
    assert first is not None
    assert (other.read(NAME), other.is_gone(NAME)) == (b"one", False)
    other.write(NAME, b"two!")
    assert store.stamp(NAME) != first
    assert store.read(NAME) == b"two!"
    store.delete(NAME)
    assert (other.read(NAME), other.is_gone(NAME)) == (None, True)
    for name in ("../up" + NAME, "x", NAME + "/y"):
        with pytest.raises(CheckpointError, match="another kind of id"):
            store.read(name)


def test_half_a_write_leaves_what_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec.register_implementation("testftp", Server, clobber=True)
    store = open_store("testftp://half")
    assert store is not None
    store.write(NAME, b"all of it")
    monkeypatch.setattr(Server, "breaks", True)
    with pytest.raises(OSError, match=r"^RuntimeError$"):  # its text has a password
        store.write(NAME, b"something longer than that")
    assert store.read(NAME) == b"all of it"
    assert [path for path in Server.store if path.startswith("/half/")] == [f"/half/{NAME}.stream"]


def test_streams_go_on_from_a_store(place: str, runtime: Any) -> None:
    frames = pictures(0, 8)
    wanted = runtime.stream(half_life=5.0)
    rows = [wanted(frame) for frame in frames]
    with served(runtime=runtime, snapshots=place) as (url, _), Client(url) as client:
        stream = client.stream(**SIDES, top=10)
        for number in range(4):
            stream(frames[number], number / 8)
    with served(runtime=runtime, snapshots=place) as (url, _), Client(url) as client:
        again = client.resume(stream.id)
        assert again.hello["sequence"] == 3
        for number in range(4, 8):
            found = again(frames[number], number / 8)
            values = {each["label"]: each["probability"] for each in found["top"]}
            there = [values[label] for label in again.labels]
            np.testing.assert_array_equal(np.array(there, np.float32), rows[number])
        again.close()
        assert httpx.get(f"{url}/v1/streams/{again.id}").status_code == 404


def test_a_place_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="nosuch://u:") as caught:
        open_store("nosuch://u:geheim@host/x")
    assert "geheim" not in str(caught.value)
    assert place_of("s3://key:geheim@bucket/x?y=z") == "s3://key:***@bucket/x?***"
    assert place_of("streams/of mine?") == "streams/of mine?"


def test_what_fails_for_one_stream_stops_no_other(
    runtime: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that keeps streams outlives whatever goes wrong with one."""
    from movinet.serving.options import StreamOptions
    from movinet.serving.sessions import Session

    said: list[str] = []
    options = HubOptions(snapshots=tmp_path, interval=0.1)
    hub = Hub({"motions": runtime}, options, Metrics(), said.append)
    try:
        bad, good = hub.create(StreamOptions()), hub.create(StreamOptions())
        whole = Session.to_bytes

        def to_bytes(session: Session) -> bytes:
            if session is bad:
                raise ZeroDivisionError
            return whole(session)

        monkeypatch.setattr(Session, "to_bytes", to_bytes)
        for session in (bad, good):
            session.step_now(pictures(0, 1))
        wait_for(lambda: good.saved == good.version)
        wait_for(lambda: said == ["a stream could not be kept, for a fault of the server"])
        good.step_now(pictures(0, 1))
        wait_for(lambda: good.saved == good.version)
        assert bad.saved < bad.version
    finally:
        hub.stop()
