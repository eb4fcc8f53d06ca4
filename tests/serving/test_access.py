"""Who may ask a server, and what it does with those who send anything."""

from __future__ import annotations

import json
import random
import re
import socket
import struct
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from serving_tools import SIZE, Process, pictures, served, wait_for
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

import movinet
from movinet import Client
from movinet.client import ServerError
from movinet.serving import guard, live_socket, server
from movinet.serving.frames import HEADER, MAX_FRAME_BYTES
from movinet.serving.guard import Access
from movinet.serving.hub import Hub

CLIP = Path(movinet.__file__).parent / "demo" / "clip.mp4"
PROTOCOLS = [Subprotocol("movinet.1")]


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[str, Hub]]:
    with served(workers=1) as found:
        yield found


@pytest.fixture
def url(running: tuple[str, Hub]) -> str:
    return running[0]


def socket_url(url: str, name: str) -> str:
    return f"{url.replace('http', 'ws', 1)}/v1/streams/{name}/live"


def new_stream(url: str, **options: Any) -> str:
    return httpx.post(f"{url}/v1/streams", json=options).json()["id"]


def test_a_page_of_another_origin_gets_nothing(url: str) -> None:
    own = httpx.get(f"{url}/v1/models", headers={"Origin": url})
    other = httpx.get(f"{url}/v1/models", headers={"Origin": "https://evil.example"})
    assert (own.status_code, other.status_code) == (200, 403)
    with (
        pytest.raises(InvalidStatus) as refused,
        connect(
            socket_url(url, new_stream(url)),
            origin=Origin("https://evil.example"),
            subprotocols=PROTOCOLS,
        ),
    ):
        pass
    assert refused.value.response.status_code == 403


def test_a_name_that_somebody_else_points_here_gets_nothing(url: str) -> None:
    """DNS rebinding: the page's origin would be the server's own."""
    answer = httpx.get(f"{url}/v1/models", headers={"Host": "evil.example:80"})
    assert answer.status_code == 421
    assert "--allow-host" in answer.json()["error"]


def test_a_token_is_needed_where_there_is_one() -> None:
    with served(Access(token="s3cret")) as (url, _):
        assert httpx.get(f"{url}/v2/health/ready").status_code == 200
        assert httpx.get(url).status_code == 200  # the page, which asks for the token
        assert httpx.get(f"{url}/v1/models").status_code == 401
        assert httpx.get(f"{url}/metrics").status_code == 401
        assert httpx.get(f"{url}/v1/models?access_token=wrong").status_code == 401
        with Client(url, token="s3cret") as client, client.stream() as stream:
            with (
                pytest.raises(InvalidStatus),
                connect(socket_url(url, stream.id), subprotocols=PROTOCOLS),
            ):
                pass
            both = [*PROTOCOLS, Subprotocol("movinet.token.s3cret")]
            with connect(socket_url(url, stream.id), subprotocols=both) as opened:
                assert opened.subprotocol == "movinet.1"
                assert json.loads(opened.recv(5))["type"] == "hello"


def test_an_open_address_needs_a_token_and_nothing_tells_it() -> None:
    refused = subprocess.run(
        [*Process.command(), "--host", "0.0.0.0"], capture_output=True, text=True, check=False
    )
    assert refused.returncode == 2
    assert "set a token" in refused.stderr
    with Process("--host", "0.0.0.0", token="s3cret") as process:
        port = urlsplit(process.url).port
        answer = httpx.get(f"http://127.0.0.1:{port}/v1/models?access_token=s3cret")
        assert answer.status_code == 200
        assert process.end() == 0
        assert "s3cret" not in process.said


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "reason"),
    [
        ("POST", "/v1/streams", {"half_life": -1}, 422, "half_life"),
        ("POST", "/v1/streams", {"half_life": "soon"}, 422, "half_life"),
        ("POST", "/v1/streams", {"colour": 1}, 422, "colour"),
        ("POST", "/v1/streams", {"model": "none"}, 422, "no model 'none' is served"),
        ("POST", "/v1/streams", {"width": 3}, 422, "together"),
        ("POST", "/v1/streams", {"width": 8192, "height": 8192}, 422, "pixels"),
        ("POST", "/v1/streams", {"rules": {"default": {"on": 2}}}, 422, "on and off"),
        ("POST", "/v1/streams", {"rules": {"classes": {"none": {}}}}, 422, "no class 'none'"),
        ("GET", "/v1/streams/none", None, 404, "no stream of this id"),
        ("GET", "/v1/streams/..%2f..%2fetc%2fpasswd", None, 404, ""),
        ("GET", "/page/../app.py", None, 404, ""),
        ("GET", "/page/__init__.py", None, 404, ""),
        ("POST", "/v1/predict", None, 422, "no bytes"),
    ],
)
def test_what_cannot_be_is_one_line(
    url: str, method: str, path: str, body: Any, status: int, reason: str
) -> None:
    answer = httpx.request(method, url + path, json=body)
    assert answer.status_code == status
    if reason:
        error = answer.json()["error"]
        assert re.search(reason, error), error
        assert "\n" not in error
        assert "Traceback" not in error


def test_bodies_are_bounded(url: str) -> None:
    large = b"x" * (2**20 + 1)
    assert httpx.post(f"{url}/metrics", content=large).status_code == 413
    name = new_stream(url)
    answer = httpx.put(f"{url}/v1/streams/{name}/snapshot", content=large)
    assert answer.status_code == 422
    assert "not a snapshot" in answer.json()["error"]

    def endless() -> Iterator[bytes]:
        for _ in range(12):
            yield b"x" * 2**20

    try:  # without a length, it ends in the middle
        status = httpx.post(f"{url}/v1/predict", content=endless()).status_code
    except httpx.HTTPError:
        status = 413
    assert status == 413


def head_of(url: str, path: str, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", f"Host: {urlsplit(url).netloc}", *headers, "", ""]
    return "\r\n".join(lines).encode()


def sent_raw(url: str, data: bytes) -> socket.socket:
    address = urlsplit(url)
    connection = socket.create_connection((address.hostname or "", address.port or 0), timeout=10)
    connection.sendall(data)
    return connection


@pytest.mark.parametrize("path", ["/v1/streams", "/v1/streams/x/fork", "/v2/models/motions/infer"])
def test_a_body_without_a_length_that_is_too_long_is_told_so(
    url: str, path: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(guard.Guard, "_limit", lambda *_: 1000)
    head = head_of(url, path, "Transfer-Encoding: chunked", "Content-Type: application/json")
    with sent_raw(url, head + b"7d0\r\n" + b"[" * 2000 + b"\r\n") as connection:
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"at most 1000 bytes" in answer
    assert "Exception" not in caplog.text


def test_a_video_that_does_not_come_keeps_nobody_waiting_for_ever(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(guard, "BODY_PATIENCE", 0.5)
    with sent_raw(url, head_of(url, "/v1/predict", "Content-Length: 1000") + b"x") as silent:
        answer = b"".join(iter(lambda: silent.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 408 ")
    sent_raw(url, head_of(url, "/v1/predict", "Content-Length: 1000") + b"x").close()

    def predicted() -> bool:
        return httpx.post(f"{url}/v1/predict", content=CLIP.read_bytes()).status_code == 200

    wait_for(predicted)
    assert "Exception" not in caplog.text


@pytest.mark.parametrize("origin", ["http://[", "http://]", "http://[x]", "http://\xff["])
def test_an_origin_that_is_no_address_is_refused(url: str, origin: str) -> None:
    headers = {b"Origin": origin.encode("latin-1")}
    assert httpx.get(f"{url}/v1/models", headers=headers).status_code == 403


def jpeg_of(width: int, height: int) -> bytes:
    size = struct.pack(">BHHB", 8, height, width, 3) + bytes(9)
    return b"\xff\xd8\xff\xc0" + struct.pack(">H", len(size) + 2) + size + b"\xff\xd9"


def test_bad_frames_are_refused_and_the_stream_goes_on(url: str) -> None:
    frame = pictures(0, 1)[0].tobytes()
    size = {"height": SIZE[0], "width": SIZE[1]}
    with connect(socket_url(url, new_stream(url, **size)), subprotocols=PROTOCOLS) as opened:
        assert json.loads(opened.recv(5))["sequence"] is None

        def send(message: bytes | str) -> dict[str, Any]:
            opened.send(message)
            return json.loads(opened.recv(5))

        for payload, reason in [
            (HEADER.pack(0, 0, 1, 0) + jpeg_of(16_000, 16_000), "at most|a side"),
            (HEADER.pack(0, 0, 1, 0) + jpeg_of(64, 64), "cannot be decoded"),
            (HEADER.pack(0, 0, 1, 0) + b"no picture", "not a JPEG"),
            (HEADER.pack(0, 0, 2, 0) + frame[:-1], "bytes, not"),
            (HEADER.pack(0, 0, 9, 0) + frame, "of kind 1"),
            (HEADER.pack(0, -5, 2, 0) + frame, "presentation time"),
            (b"short", "16 bytes of header"),
            ('{"type": "sing"}', "of type ping"),
            ("nothing", "JSON with a"),
            ("[" * 3000, "JSON with a"),
            ('{"type": "half_life", "seconds": -1}', "above 0"),
        ]:
            answer = send(payload)
            assert answer["type"] == "refused", answer
            assert re.search(reason, answer["reason"]), answer
        assert send('{"type": "ping"}')["type"] == "pong"
        assert send(HEADER.pack(7, -1, 2, 0) + frame)["sequence"] == 7


def ended_by(opened: ClientConnection, messages: Iterable[bytes]) -> int:
    """The code with which the server ends a connection that gets these messages."""
    try:
        for message in messages:
            opened.send(message)
            opened.recv(5)
        while True:
            opened.recv(5)
    except ConnectionClosed as error:
        return 0 if error.rcvd is None else error.rcvd.code


def test_who_sends_nothing_but_rubbish_is_cut_off(url: str) -> None:
    chance = random.Random(1)
    rubbish = [chance.randbytes(chance.randrange(1, 3000)) for _ in range(40)]
    with connect(socket_url(url, new_stream(url)), subprotocols=PROTOCOLS) as opened:
        assert ended_by(opened, rubbish) == 1008
    with connect(socket_url(url, new_stream(url)), subprotocols=PROTOCOLS) as opened:
        # The close may be lost with what was still on its way.
        assert ended_by(opened, [bytes(MAX_FRAME_BYTES + 1)]) in (0, 1009)
    assert httpx.get(f"{url}/v2/health/ready").status_code == 200


def test_a_websocket_lives_longer_than_a_head_may_take(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "HEAD_TIMEOUT", 0.3)
    with connect(socket_url(url, new_stream(url)), subprotocols=PROTOCOLS) as opened:
        time.sleep(0.7)
        opened.send('{"type": "ping"}')
        assert [json.loads(opened.recv(5))["type"] for _ in range(2)] == ["hello", "pong"]


def test_a_head_that_comes_byte_by_byte_is_not_waited_for(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "HEAD_TIMEOUT", 0.5)
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "", parts.port or 0)) as slow:
        began = time.monotonic()
        slow.settimeout(5)
        try:
            for character in "GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX: " + "x" * 200:
                slow.sendall(character.encode())
                time.sleep(0.02)
            ended = slow.recv(100)
        except OSError:
            ended = b""
    assert not ended
    assert time.monotonic() - began < 3


def test_who_never_reads_is_let_go_and_others_do_not_notice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live_socket, "SLOW", 0.5)
    monkeypatch.setattr(server, "LINGER", 0.2)
    size = {"height": SIZE[0], "width": SIZE[1], "half_life": None}
    frames = pictures(3, 30)
    with served(workers=2) as (url, hub), Client(url) as client:
        stream = client.stream(**size, top=10)
        host, port = urlsplit(url).hostname or "", urlsplit(url).port or 0
        deaf, before = [], len([*Path("/proc/self/fd").iterdir()])
        for _ in range(5):
            connection = socket.create_connection((host, port))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            head = (
                f"GET /v1/streams/{stream.id}/live HTTP/1.1\r\nHost: {host}:{port}\r\n"
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            connection.sendall(head.encode())
            deaf.append(connection)
        session = hub.find(stream.id)
        wait_for(lambda: session.listeners == 6)
        for frame in frames:
            assert stream(frame)["type"] == "result"
        # What a system buffers for a reader is its own; fill it.
        for _ in range(200):
            session.tell({"type": "note", "text": "x" * 100_000})
            time.sleep(0.002)
        wait_for(lambda: session.listeners <= 1, 20)
        # Nothing is kept for them; the six ends of the clients are in this process too.
        wait_for(lambda: len([*Path("/proc/self/fd").iterdir()]) <= before + len(deaf) + 1)
        for connection in deaf:
            connection.close()


def test_a_flood_of_control_messages_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_socket, "_CONTROLS", 100.0)
    monkeypatch.setattr(live_socket, "_CONTROLS_AT_ONCE", 10.0)
    with served() as (url, _):
        name = new_stream(url)
        with connect(socket_url(url, name), subprotocols=PROTOCOLS) as opened:
            assert json.loads(opened.recv())["type"] == "hello"
            began = time.monotonic()
            for _ in range(110):
                opened.send('{"type":"ping"}')
            answers = [json.loads(opened.recv(10))["type"] for _ in range(110)]
            assert answers == ["pong"] * 110  # in time, each of them
            assert 0.9 < time.monotonic() - began < 8


def test_who_answers_no_ping_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is sent that would fill a buffer."""
    monkeypatch.setattr(server, "PING_INTERVAL", 0.3)
    monkeypatch.setattr(server, "PING_TIMEOUT", 0.3)
    with served() as (url, hub), Client(url) as client:
        stream = client.stream(height=SIZE[0], width=SIZE[1])
        session, parts = hub.find(stream.id), urlsplit(url)
        head = (
            f"GET /v1/streams/{stream.id}/live HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        with socket.create_connection((parts.hostname or "", parts.port or 0)) as deaf:
            deaf.sendall(head.encode())
            wait_for(lambda: session.listeners == 2)
            wait_for(lambda: session.listeners == 1, 5)
            # Its library answers the pings.
            assert stream(pictures(5, 1)[0])["type"] == "result"


def test_mutated_messages_do_no_harm(url: str) -> None:
    chance = random.Random(2)
    frame = pictures(4, 1)[0].tobytes()
    size = {"height": SIZE[0], "width": SIZE[1]}
    good = HEADER.pack(1, -1, 2, 0) + frame
    name, count = new_stream(url, **size), 0
    while count < 400:
        with connect(socket_url(url, name), subprotocols=PROTOCOLS, close_timeout=0.5) as opened:
            try:
                for _ in range(400 - count):
                    data = bytearray(good[: chance.choice([len(good), chance.randrange(1, 40)])])
                    for _ in range(chance.randrange(4)):
                        data[chance.randrange(min(16, len(data)))] = chance.randrange(256)
                    opened.send(bytes(data))
                    count += 1
            except ConnectionClosed:
                continue
    with Client(url) as client:
        assert client.resume(name).hello["type"] == "hello"


def test_metrics_count_and_name_no_stream(url: str) -> None:
    with Client(url) as client, client.stream(height=SIZE[0], width=SIZE[1]) as stream:
        stream(pictures(5, 1)[0])
        text = httpx.get(f"{url}/metrics").text
        name = stream.id
    assert name not in text
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(lines['movinet_frames_total{outcome="seen"}']) >= 1
    assert float(lines["movinet_age_seconds_count"]) >= 1
    assert float(lines["movinet_streams"]) >= 1
    assert float(lines["movinet_state_bytes"]) > 0


def test_a_video_is_predicted_as_from_a_file(url: str) -> None:
    with Client(url) as client:
        answer = client.predict(CLIP, every=0, top=3)
        wanted = list(movinet.predict(CLIP, "motions"))
        assert [row["time"] for row in answer["predictions"]] == [round(p.time, 6) for p in wanted]
        found = [row["top"][0]["probability"] for row in answer["predictions"]]
        assert found == [float(p.probabilities.max()) for p in wanted]
        with pytest.raises(ServerError, match="not a video") as refused:
            client.predict(__file__)
        assert refused.value.status == 422
