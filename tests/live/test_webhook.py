"""Webhooks: servers that hang, fail, are down, say anything."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from made_results import EPOCH, change, result

from movinet.live.sinks import Counts, Limits, Sinks

#: What a server does with a report: the status of its answer.
Answer = Callable[[int], int]
QUICK = Limits(shortest=0.01, longest=0.05, attempt=2.0, closing=3.0)


class Hook:
    """A server of a webhook.

    Attributes:
        url: Where.
        got: Reports to which it has answered 200, in order.
        requests: Path and headers of every request.
    """

    def __init__(self, answer: Answer, port: int = 0) -> None:
        self.got: list[dict[str, Any]] = []
        self.requests: list[tuple[str, dict[str, str]]] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                number = len(hook.requests)
                hook.requests.append((self.path, dict(self.headers)))
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status = answer(number)
                if status == 200:
                    hook.got.append(body)
                with contextlib.suppress(OSError):
                    self.send_response(status)
                    self.send_header("Location", "http://127.0.0.1:9/elsewhere")
                    self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextlib.contextmanager
def hook(answer: Answer = lambda _: 200, port: int = 0) -> Iterator[Hook]:
    server = Hook(answer, port)
    try:
        yield server
    finally:
        server.close()


@contextlib.contextmanager
def talker(say: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that says anything to its first clients."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def run() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = server.accept()
                    with client, contextlib.suppress(OSError):
                        asked = b""
                        while not asked.endswith(b"}"):  # what is left unread breaks connections
                            asked += client.recv(65536) or b"}"
                        say(client)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(5)


def send_events(sinks: Sinks, count: int, *, first: int = 0) -> None:
    for number in range(first, first + count):
        start = 10.0 * number
        sinks.send(
            result(start + 5, change("new", start, start + 1), change("end", start, start + 4))
        )


def kinds(got: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(one["id"], one["kind"]) for one in got]


def expected(count: int) -> list[tuple[str, str]]:
    return [(f"1-{10_000 * n}", kind) for n in range(count) for kind in ("new", "end")]


def wait_for(condition: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_each_report_is_one_post() -> None:
    with hook() as server:
        url = server.url.replace("http://", "HTTP://me%40home:s3cret@") + "?a=b c".replace(" ", "+")
        with Sinks([url]) as sinks:
            send_events(sinks, 3)
    assert kinds(server.got) == expected(3)
    assert server.got[0] == {
        "source": "door",
        "kind": "new",
        "id": "1-0",
        "label": "falling",
        "start": 0.0,
        "end": 1.0,
        "peak": 0.9,
        "peak_time": 0.0,
        "mean": 0.8,
        "started": EPOCH,
    }
    path, headers = server.requests[0]
    assert path == "/hook?a=b+c"
    assert headers["Content-Type"] == "application/json"
    told = base64.b64decode(headers["Authorization"].removeprefix("Basic "))
    assert told == b"me@home:s3cret"
    (name,) = sinks.counts
    assert name == f"http://127.0.0.1:{server.port}"
    assert len(server.requests) == 6


@pytest.mark.parametrize("status", [500, 503, 404, 429, 302])
def test_failures_are_tried_again(status: int) -> None:
    said: list[str] = []
    with (
        hook(lambda number: status if number % 3 else 200) as server,
        Sinks([server.url], limits=QUICK, say=lambda _, line: said.append(line)) as sinks,
    ):
        send_events(sinks, 2)
        wait_for(lambda: len(server.got) == 4)
    assert kinds(server.got) == expected(2)
    assert list(sinks.counts.values()) == [Counts(4, 4, {})]
    assert said[0] == f"http://127.0.0.1:{server.port}: answers {status}; trying again"


def test_a_refused_report_does_not_stop_the_others() -> None:
    with (
        hook(lambda number: 200 if number else 400) as server,
        Sinks([server.url], limits=QUICK) as sinks,
    ):
        send_events(sinks, 2)
    assert kinds(server.got) == expected(2)[1:]
    assert list(sinks.counts.values()) == [Counts(4, 3, {"new": 1})]


def test_a_server_that_is_down_gets_everything_later() -> None:
    """It goes down in the middle, too: nothing is lost or invented."""
    said: list[str] = []
    with hook() as server:
        port = server.port
    with Sinks([server.url], limits=QUICK, say=lambda _, line: said.append(line)) as sinks:
        send_events(sinks, 2)
        wait_for(lambda: bool(said))
        with hook(port=port) as first:
            wait_for(lambda: len(first.got) == 4)
        send_events(sinks, 2, first=2)
        time.sleep(0.1)
        with hook(port=port) as second:
            wait_for(lambda: len(second.got) == 4)
    assert kinds(first.got + second.got) == expected(4)
    assert said[0].endswith("cannot be reached (Connection refused); trying again")
    assert "works again" in said[1]
    assert list(sinks.counts.values()) == [Counts(8, 8, {})]


def test_a_long_outage_loses_updates_and_no_events_while_there_is_room() -> None:
    with hook() as server:
        port = server.port
    limits = Limits(room=200, shortest=0.01, longest=0.05, attempt=2.0, closing=10.0)
    with Sinks([server.url], limits=limits) as sinks:
        worst = 0.0
        for number in range(40):  # as ten minutes of an outage
            start = 10.0 * number
            sinks.send(result(start, change("new", start, start)))
            for second in range(20):
                before = time.perf_counter()
                sinks.send(result(start + second / 2, change("update", start, start + second / 2)))
                worst = max(worst, time.perf_counter() - before)
            sinks.send(result(start + 9.9, change("end", start, start + 9.9)))
        assert worst < 0.5
        with hook(port=port) as server:
            wait_for(lambda: sum(one["kind"] == "end" for one in server.got) == 40)
    assert [one for one in kinds(server.got) if one[1] != "update"] == expected(40)
    (counts,) = sinks.counts.values()
    assert set(counts.dropped) == {"update"}
    assert counts.accepted == 40 * 22 == counts.delivered + counts.dropped["update"]


def hang(_: socket.socket) -> None:
    time.sleep(3)


def drip(client: socket.socket) -> None:
    for _ in range(30):
        client.sendall(b"H")
        time.sleep(0.1)


@pytest.mark.parametrize("say", [hang, drip])
def test_a_server_that_hangs_has_its_time_and_closing_too(
    say: Callable[[socket.socket], None],
) -> None:
    said: list[str] = []
    limits = Limits(attempt=0.3, shortest=0.01, closing=0.5)
    with talker(say) as url:
        with Sinks([url], limits=limits, say=lambda _, line: said.append(line)) as sinks:
            began = time.monotonic()
            send_events(sinks, 10)
            assert time.monotonic() - began < 0.5  # nobody waits for it
            wait_for(lambda: bool(said))
            assert time.monotonic() - began < 2
            began = time.monotonic()
        assert time.monotonic() - began < 2.5
    assert "does not answer in time" in said[0]
    assert said[-1].endswith("reports that did not arrive: 10 new, 10 end")
    (counts,) = sinks.counts.values()
    assert counts == Counts(20, 0, {"new": 10, "end": 10})


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"", "cannot be reached"),
        (b"SSH-2.0-OpenSSH\r\n", "gives no answer of HTTP"),
        (b"HTTP/1.1 abc\r\n\r\n", "gives no answer of HTTP"),
        (b"x" * 200_000, "gives no answer of HTTP"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 507 Full\r\n\r\n", "answers 507"),
    ],
)
def test_servers_may_say_anything(answer: bytes, message: str) -> None:
    said: list[str] = []
    with (
        talker(lambda client: client.sendall(answer)) as url,
        Sinks([url], limits=QUICK, say=lambda _, line: said.append(line)) as sinks,
    ):
        send_events(sinks, 1)
        wait_for(lambda: bool(said))
    assert message in said[0]


def test_no_message_has_a_secret() -> None:
    said: list[str] = []
    url = "http://me:s3cret@127.0.0.1:9/s3cret/hook?key=s3cret"
    with Sinks([url], limits=QUICK, say=lambda _, line: said.append(line)) as sinks:
        send_events(sinks, 1)
        wait_for(lambda: bool(said))
    assert all(line.startswith("http://127.0.0.1:9: ") for line in said)
    names = [*sinks.counts, *(thread.name for thread in threading.enumerate())]
    assert "s3cret" not in str(said) + str(names)
