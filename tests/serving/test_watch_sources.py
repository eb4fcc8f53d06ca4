"""Sources that the server follows itself: what clients see of them, and what they cannot do."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from serving_tools import Process, free_port, served, wait_for

import movinet
from live.real_servers import rtsp_server
from live.servers import RATE, http_server, paced, transport_stream
from movinet import Client
from movinet.client import ServerError
from movinet.data.synth.render import render_clip
from movinet.errors import ConfigError
from movinet.live.reading import Patience
from movinet.live.sources import parse_sources
from movinet.serving.following import Follower
from movinet.serving.hub import Hub

QUICK = Patience(opening=2.0, silence=2.0, shortest=0.1, longest=0.2)
LABEL = "moving right"


@pytest.fixture(scope="module")
def film() -> list[bytes]:
    """Something moves to the right, for two seconds."""
    clip = render_clip("motions", LABEL, 1, 2)
    times = np.arange(0, 2, 1 / RATE)
    return transport_stream([clip.frames[int(each * clip.frame_rate)] for each in times])


@contextmanager
def camera(film: list[bytes]) -> Iterator[tuple[str, list[bool]]]:
    """A camera that shows a film once, then nothing new; and whether its connections last."""
    connected: list[bool] = []

    def serve(send: Callable[[bytes], None], number: int, stopped: threading.Event) -> None:
        connected.append(True)
        try:
            paced(film, send, stopped)
            while not stopped.wait(0.1):
                send(b"\x47\x1f\xff\x10" + bytes(184))  # a packet without content
        finally:
            connected[number] = False

    with http_server(serve) as url:
        yield url, connected


@contextmanager
def following(
    sources: Sequence[str], runtime: Any, **options: Any
) -> Iterator[tuple[httpx.Client, Hub, list[str]]]:
    said: list[str] = []
    with served(runtime=runtime, **options) as (url, hub), asking(url) as client:
        Follower(hub, parse_sources(sources), QUICK, lambda _, text: said.append(text)).start()
        yield client, hub, said


def asking(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, timeout=10)


def get(client: httpx.Client, path: str) -> Any:
    return client.get(path).raise_for_status().json()


def ask(client: httpx.Client, **request: Any) -> httpx.Response:
    return client.post("/v1/watch", json=request)


def seen(hub: Hub, name: str, count: int) -> list[dict[str, Any]]:
    """The next results of a stream."""
    results: list[dict[str, Any]] = []
    session = hub.find(name)
    stop = session.listen(lambda message: results.append(message))
    try:
        wait_for(lambda: sum(each["type"] == "result" for each in results) >= count, 20)
    finally:
        stop()
    return [each for each in results if each["type"] == "result"]


def by_number(results: Sequence[dict[str, Any]]) -> dict[int, dict[str, float]]:
    return {
        each["number"]: {row["label"]: row["probability"] for row in each["top"]}
        for each in results
        if each["type"] == "result"
    }


def test_a_source_is_seen_as_movinet_watch_sees_it(runtime: Any, film: list[bytes]) -> None:
    served_there, wanted, numbers = {}, {}, []
    for _ in range(3):  # a machine that is busy for a moment misses ticks
        with camera(film) as (url, _), following([f"yard={url}"], runtime) as (client, hub, _):
            (stream,) = get(client, "/v1/streams")
            assert stream["source"] == "yard"
            served_there = by_number(seen(hub, stream["id"], 8))
        with camera(film) as (url, _):
            results = movinet.live.watch(url, runtime, seconds=20)
            found = [result for result, _ in zip(results, range(9), strict=False)]
            results.close()
        wanted = by_number([{"type": "result", **result.to_json()} for result in found])
        numbers = sorted(served_there.keys() & wanted.keys())
        if len(numbers) >= 6 and numbers[0] == min(wanted) == min(served_there):
            break
    assert len(numbers) >= 6
    for number in numbers:
        for label, probability in served_there[number].items():
            if label in wanted[number]:
                assert probability == pytest.approx(wanted[number][label], abs=1e-5)
    last = served_there[numbers[-1]]
    assert max(last, key=lambda label: last[label]) == LABEL


def test_a_real_rtsp_server_is_followed(runtime: Any, film: list[bytes], tmp_path: Path) -> None:
    """GStreamer's, with a password; it ends each connection with its film, and is asked again."""
    path = tmp_path / "film.ts"
    path.write_bytes(b"".join(film))
    with rtsp_server(path, free_port(), "u:geheim") as url:
        url = url.replace("rtsp://", "rtsp://u:geheim@")
        with following([f"door={url}"], runtime) as (client, hub, said):
            (stream,) = get(client, "/v1/streams")
            results = seen(hub, stream["id"], 12)
            assert results[-1]["top"][0]["label"] == LABEL
            wait_for(lambda: get(client, "/v1/watch")[0]["reconnects"] >= 1, 20)
        assert "door: connected" in said
        assert "geheim" not in "".join(said)


def test_streams_of_a_source_share_its_connection(runtime: Any, film: list[bytes]) -> None:
    with camera(film) as (url, connected), following([f"yard={url}"], runtime) as found:
        client, hub, _ = found
        (first,) = get(client, "/v1/streams")
        second = ask(client, source="yard", half_life=0.5, top=3).json()
        assert (second["half_life"], second["source"]) == (0.5, "yard")
        fork = client.post(f"/v1/streams/{first['id']}/fork", json={"half_life": 1})
        third = fork.json()
        assert len(seen(hub, third["id"], 2)[0]["top"]) == 5
        assert len(seen(hub, second["id"], 1)[0]["top"]) == 3
        (told,) = get(client, "/v1/watch")
        assert (told["name"], told["state"]) == ("yard", "connected")
        assert set(told["streams"]) == {first["id"], second["id"], third["id"]}
        assert connected == [True]
        for stream in (first, second, third):
            assert connected == [True]
            deleted = client.delete(f"/v1/streams/{stream['id']}")
            assert deleted.status_code == 204
        wait_for(lambda: connected == [False])
        assert get(client, "/v1/watch")[0]["state"] == "off"
        again = ask(client, source="yard").json()
        wait_for(lambda: connected == [False, True])
        seen(hub, again["id"], 1)


def test_a_client_names_no_addresses(runtime: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as inside:
        inside.settimeout(0.5)
        url = f"http://127.0.0.1:{inside.getsockname()[1]}/latest/meta-data"
        with following(["yard=rtsp://127.0.0.1:9/x"], runtime) as (client, _, _):
            for source in (url, f"yard={url}", f"x={url}", "/etc/passwd", "-", "0", "", "yard\n"):
                refused = ask(client, source=source)
                assert refused.status_code == 422, source
                assert "no source of this server; there are: yard" in refused.json()["error"]
        with served(runtime=runtime) as (server, _), asking(server) as client:
            assert get(client, "/v1/watch") == []
            assert "without --watch" in ask(client, source=url).json()["error"]
        with pytest.raises(TimeoutError):
            inside.accept()


def test_nobody_hears_a_password(runtime: Any) -> None:
    secret, query = "geheim-7", "token=abc123"
    urls = [f"http://admin:{secret}@127.0.0.1:9/x?{query}", f"b=rtsp://u:{secret}@127.0.0.1:9/"]
    with following(urls, runtime) as (client, hub, said):
        sources = get(client, "/v1/watch")
        wait_for(lambda: all(s["state"] == "waiting" for s in get(client, "/v1/watch")))
        sources = get(client, "/v1/watch")
        heard: list[Any] = []
        for session in hub.sessions():
            session.listen(heard.append)
        wait_for(lambda: len(heard) > 4)
        refused = ask(client, source="none").json()
        text = json.dumps([sources, get(client, "/v1/streams"), heard, said, refused])
        text += client.get("/metrics").text
        assert "cannot be opened" in text
        assert sources[1]["name"] == "b"
        assert secret not in text
        assert query not in text
    with Process("--watch", f"gate=rtsp://u:{secret}@127.0.0.1:9/", "--watch", urls[0]) as process:
        time.sleep(0.5)
        process.end()
    assert secret not in process.said


def test_its_stream_takes_no_frames(runtime: Any, film: list[bytes]) -> None:
    with camera(film) as (url, _), following([f"yard={url}"], runtime) as (client, hub, _):
        (found,) = get(client, "/v1/streams")
        with Client(str(client.base_url)) as python, python.resume(found["id"]) as stream:
            with pytest.raises(ServerError, match="sees yard, and takes no frames"):
                stream(np.zeros((8, 8, 3), np.uint8), 0.0)
            assert hub.find(found["id"]).dropped == 0


def test_a_stream_goes_on_after_a_restart(runtime: Any, film: list[bytes], tmp_path: Path) -> None:
    with camera(film) as (url, _):
        with following([f"yard={url}"], runtime, snapshots=tmp_path) as (client, hub, _):
            (first,) = get(client, "/v1/streams")
            before = seen(hub, first["id"], 3)[-1]["number"]
            hub.drain()
        assert len(list(tmp_path.iterdir())) == 1
        time.sleep(1.0)
        with following([f"yard={url}"], runtime, snapshots=tmp_path) as (client, hub, _):
            (second,) = get(client, "/v1/streams")
            assert second["id"] == first["id"]
            results = seen(hub, second["id"], 1)
            # The time without a server has passed in the stream, too.
            assert results[0]["number"] >= before + 4
            assert results[0]["gap"] >= 3
        assert len(list(tmp_path.iterdir())) == 1


def test_what_is_no_camera_is_refused(runtime: Any, tmp_path: Path) -> None:
    with served(runtime=runtime) as (_, hub):
        for text in ("-", str(tmp_path / "x.mp4")):
            with pytest.raises(ConfigError, match="a server follows cameras and the network"):
                Follower(hub, parse_sources([text]))


def test_a_full_server_says_that_it_does_not_follow(runtime: Any) -> None:
    urls = ["a=rtsp://127.0.0.1:9/", "b=rtsp://127.0.0.1:9/"]
    with following(urls, runtime, max_streams=1) as (client, _, said):
        assert "b is not followed: the limit of open streams is 1" in said
        assert [len(each["streams"]) for each in get(client, "/v1/watch")] == [1, 0]
        assert ask(client, source="b").status_code == 503
