"""What a server tells its operator: JSON lines on request, and never a secret."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from serving_tools import Process, free_port, served

import movinet
from movinet import Client
from movinet.client import ServerError
from movinet.serving.logs import JsonLines, log_as, without_secrets
from movinet.serving.sessions import Session

ID = "AbCdEfGhIjKlMnOpQrStUv"


@pytest.fixture
def loggers() -> Iterator[None]:
    """What is changed is put back."""
    named = [logging.getLogger(name) for name in ("movinet", "uvicorn.error")]
    before = [(each.handlers, each.propagate, each.level) for each in named]
    yield
    for each, (handlers, propagate, level) in zip(named, before, strict=True):
        each.handlers, each.propagate = handlers, propagate
        each.setLevel(level)


def test_a_server_tells_in_json_lines() -> None:
    port = free_port()
    command = [*Process.command(), "--port", str(port), "--log-format", "json"]
    command += ["--watch", "gate=http://admin:geheim@127.0.0.1:9/x?key=abc"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        for _ in range(100):
            time.sleep(0.1)
            try:
                if httpx.get(f"http://127.0.0.1:{port}/v1/watch").json()[0]["state"] == "waiting":
                    break
            except httpx.HTTPError:
                continue
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=20)
    lines = [json.loads(line) for line in said.splitlines()]
    assert all(set(line) == {"time", "level", "logger", "message"} for line in lines)
    messages = [line["message"] for line in lines]
    assert f"serving motions at http://127.0.0.1:{port}" in messages
    assert "gate: cannot be opened (Connection refused)" in messages
    assert messages[-1] == "stopped"
    assert "geheim" not in said
    assert "abc" not in said


@pytest.mark.usefixtures("loggers")
def test_no_line_shows_a_secret(capsys: pytest.CaptureFixture[str]) -> None:
    tell = log_as("json", lambda *_: None, "sesame")
    tell("warning", f"no room for /v1/streams/{ID}/live\nbut sesame")
    try:
        raise ZeroDivisionError(f"GET /v1/streams/{ID}?access_token=sesame HTTP/1.1")
    except ZeroDivisionError:
        logging.getLogger("movinet.serving.hub").exception("Authorization: Bearer %s", "sesame")
        logging.getLogger("uvicorn.error").error("movinet.token.other, movinet.1")
    said = capsys.readouterr().err
    first, second, third = (json.loads(line) for line in said.splitlines())
    assert first["message"] == "no room for /v1/streams/…/live but …"
    assert (first["level"], first["time"][-1]) == ("warning", "Z")
    assert "ZeroDivisionError: GET /v1/streams/…?access_token=… HTTP/1.1" in second["error"]
    assert (second["logger"], second["level"]) == ("movinet.serving.hub", "error")
    assert third["message"] == "movinet.token.…, movinet.1"
    assert "sesame" not in said
    assert ID not in said


def test_lines_for_people_stay_as_they_are() -> None:
    said: list[tuple[str, str]] = []
    log_as("text", lambda *line: said.append(line), None)("note", "hello")
    assert said == [("note", "hello")]
    assert without_secrets("x", ("", "x")) == "…"
    record = logging.LogRecord("a", logging.INFO, "", 0, "100%", None, None)
    assert json.loads(JsonLines().format(record))["message"] == "100%"


def test_a_stream_outlives_whatever_a_message_does(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    runtime: Any = movinet.load("motions")
    with served(runtime=runtime) as (url, _), Client(url) as client, client.stream() as stream:
        for text in (
            "{}", "[]", "nul", '{"type": []}', '{"type": {"a": 1}}', '{"type": "rewind"}',
            '{"type": "half_life", "seconds": 1e999}', '{"type": "half_life", "seconds": "1"}',
            '{"type": "half_life", "seconds": 1e-300}', '{"type": "rewind", "seconds": true}',
            '{"type": "half_life", "seconds": ' + "9" * 4000 + "}",
        ):  # fmt: skip
            stream._socket.send(text)
            assert stream._receive()["type"] == "refused", text
        assert caplog.records == []

        def fails(_: Session) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(Session, "reset", fails)
        stream._socket.send('{"type": "reset"}')
        answer = stream._receive()
        assert (answer["type"], answer["reason"][:20]) == ("refused", "the server failed at")
        assert [record.message for record in caplog.records] == ["a message could not be handled"]
        stream._socket.send('{"type": "ping"}')
        assert stream._receive()["type"] == "pong"
        with pytest.raises(ServerError):
            stream.rewind(5.0)
