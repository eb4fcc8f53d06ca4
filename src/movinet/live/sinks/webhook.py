"""A webhook: one POST of JSON for each report of an event."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import time
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import quote, urlsplit

from movinet.live.sinks.reports import Report
from movinet.live.sinks.urls import split_url
from movinet.live.sinks.worker import RefusedError, Sink, TryAgainError
from movinet.text import one_line

#: Answers that are about the report and not about the server: it will never be taken.
_REFUSALS = (400, 413, 415, 422)
#: Of an answer's head, bytes read at most.
_MOST_HEAD = 65_536
#: For a server to end its answer, whose body nobody needs, seconds.
_FAREWELL = 0.5


class Webhook(Sink):
    """Posts reports to a server; an answer of 200 to 299 means that one has arrived.

    Args:
        url: With ``http`` or ``https``; a user and password become basic authentication.

    Raises:
        ConfigError: If it is no such URL.
    """

    def __init__(self, url: str) -> None:
        place = split_url(url)
        self._secure, self._host = url.lower().startswith("https"), place.host
        self._port = place.port
        # Paths and queries of webhooks are secrets.
        self.name = one_line(f"{place.scheme}://{place.shown}")
        parts = urlsplit(url)
        path = quote(parts.path or "/", safe="/%:=&?~+!$,;'@()*[]-._")
        query = quote(parts.query, safe="/%:=&?~+!$,;'@()*[]-._")
        self._path = f"{path}?{query}" if query else path
        self._headers = {
            "Content-Type": "application/json",
            "User-Agent": "movinet",
            "Connection": "close",
        }
        if place.user is not None:
            told = f"{place.user}:{place.password or ''}".encode()
            self._headers["Authorization"] = f"Basic {base64.b64encode(told).decode()}"
        self._connection: HTTPConnection | None = None

    def open(self) -> None:
        """Nothing: the server may come later."""

    def deliver(self, report: Report, seconds: float) -> None:
        """Post it, and wait for the answer."""
        body = json.dumps(dict(report.values)).encode()
        try:
            status = self._post(body, time.monotonic() + seconds)
        except (OSError, HTTPException, ValueError) as error:
            raise TryAgainError(_why(error)) from None
        if 200 <= status < 300:
            return
        if status in _REFUSALS:
            raise RefusedError(f"refuses a report (answer {status})")
        raise TryAgainError(f"answers {status}")

    def finish(self, seconds: float) -> None:
        """Nothing: every report has a connection of its own."""

    def abandon(self) -> None:
        """Break the connection."""
        connection = self._connection
        if connection is not None and connection.sock is not None:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def _post(self, body: bytes, end: float) -> int:
        kind = HTTPSConnection if self._secure else HTTPConnection
        left = max(0.05, end - time.monotonic())
        connection = self._connection = kind(self._host, self._port, timeout=left)
        try:
            connection.request("POST", self._path, body, self._headers)
            status = _status(connection.sock, end)
            with contextlib.suppress(OSError):
                _until_closed(connection.sock, min(end, time.monotonic() + _FAREWELL))
            return status
        finally:
            self._connection = None
            connection.close()


def _status(sock: socket.socket, end: float) -> int:
    """The code of an answer. `http.client` would wait again for every byte of a slow one."""
    head = b""
    while len(head) <= _MOST_HEAD:
        line, found, _ = head.partition(b"\n")
        if found:
            words = line.split(None, 2)
            if len(words) < 2 or not words[0].startswith(b"HTTP/1") or not words[1].isdigit():
                raise ValueError
            code = int(words[1])
            if code >= 200:
                return code
            # The final answer comes behind the head of this one.
            _, ended, behind = head.replace(b"\r\n", b"\n").partition(b"\n\n")
            if ended:
                head = behind
                continue
        sock.settimeout(_left(end))
        data = sock.recv(4096)
        if not data:
            raise ConnectionResetError
        head += data
    raise ValueError


def _until_closed(sock: socket.socket, end: float) -> None:
    """Closing before a server has sent all would break its connection."""
    read = 0
    while read < _MOST_HEAD:
        sock.settimeout(_left(end))
        data = sock.recv(4096)
        if not data:
            return
        read += len(data)


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _why(error: Exception) -> str:
    """Why there is no answer, without the address."""
    if isinstance(error, TimeoutError):
        return "does not answer in time"
    if isinstance(error, OSError):
        return f"cannot be reached ({one_line(error.strerror or type(error).__name__)})"
    return "gives no answer of HTTP"
