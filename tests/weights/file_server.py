"""A small web server on this machine, for tests of downloads: it fails in the ways servers do."""

from __future__ import annotations

import contextlib
import gzip
import io
import re
import tarfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

import numpy as np

#: Does something else than serve the file.
Fault = Callable[["Handler"], None]


def make_archive(seed: int = 0, size: int = 400_000) -> bytes:
    """A gzipped tar archive of one incompressible file: always the same bytes for one seed."""
    content = np.random.default_rng(seed).bytes(size)
    tar_bytes = io.BytesIO()
    with tarfile.open(fileobj=tar_bytes, mode="w") as tar:
        info = tarfile.TarInfo("ckpt-1.index")
        info.size = size
        tar.addfile(info, io.BytesIO(content))
    return gzip.compress(tar_bytes.getvalue(), 1, mtime=0)


def wait_until(condition: Callable[[], bool]) -> None:
    """Return once the condition holds; give up after a minute."""
    deadline = time.monotonic() + 60
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("waited a minute in vain")
        time.sleep(0.01)


@dataclass
class Request:
    """What was asked, and how many bytes of the file were sent for it."""

    path: str
    headers: dict[str, str]
    sent: int = 0


@dataclass
class FileServer:
    """Serves `content` under every path.

    Attributes:
        content: The file.
        etag: Its validator, None to send none.
        date: Last-Modified, None to send none.
        ranges: Whether Range is understood.
        heeds_if_range: Whether If-Range is understood.
        faults: Used up from the front, one a request; afterwards all goes well.
        requests: What was asked so far.
    """

    content: bytes = field(default_factory=make_archive)
    etag: str | None = '"one"'
    date: str | None = None
    ranges: bool = True
    heeds_if_range: bool = True
    content_type: str = "application/gzip"
    faults: list[Fault] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    def __enter__(self) -> FileServer:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.files = self  # pyright: ignore[reportAttributeAccessIssue]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/"


class Handler(BaseHTTPRequestHandler):
    """One request; faults call its methods."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.close_connection = True
        self.files: FileServer = self.server.files  # pyright: ignore[reportAttributeAccessIssue]
        self.request_seen = Request(self.path, dict(self.headers))
        self.files.requests.append(self.request_seen)
        fault = self.files.faults.pop(0) if self.files.faults else Handler.serve
        fault(self)

    def serve(self) -> None:
        self.begin()
        self.send(self.rest)

    def begin(self) -> None:
        """Send the headers of a good answer; afterwards `rest` is what belongs in its body."""
        files, whole = self.files, self.files.content
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        condition = self.headers.get("If-Range")
        strong = None if not files.etag or files.etag.startswith("W/") else files.etag
        current = condition in (None, strong, files.date) or not files.heeds_if_range
        start = int(asked[1]) if asked and files.ranges and current else 0
        self.rest = whole[start:]
        if start and start >= len(whole):
            return self.answer(416, {"Content-Length": "0"})
        headers = {"Content-Length": str(len(self.rest)), "Content-Type": files.content_type}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(whole) - 1}/{len(whole)}"
        if files.etag:
            headers["ETag"] = files.etag
        if files.date:
            headers["Last-Modified"] = files.date
        return self.answer(206 if start else 200, headers)

    def answer(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def send(self, data: bytes) -> None:
        self.request_seen.sent += len(data)
        with contextlib.suppress(ConnectionError):  # who asked may be gone
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


def cut_after(count: int) -> Fault:
    """Close the connection after some bytes of the body."""

    def fault(handler: Handler) -> None:
        handler.begin()
        handler.send(handler.rest[:count])

    return fault


def pause_after(count: int, event: threading.Event) -> Fault:
    """Send some bytes of the body, wait for the event, and end there."""

    def fault(handler: Handler) -> None:
        handler.begin()
        handler.send(handler.rest[:count])
        event.wait(60)

    return fault


def drip(body: bool, event: threading.Event) -> Fault:
    """Send a byte now and then until the event: of the body, or of the headers."""

    def fault(handler: Handler) -> None:
        if body:
            handler.begin()
            pieces = handler.rest
        else:
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
            pieces = b"x" * 10_000
        for byte in pieces:
            if event.wait(0.05):
                break
            handler.send(bytes([byte]))

    return fault


def status(code: int, **headers: str) -> Fault:
    """Answer with a status and an empty body."""

    def fault(handler: Handler) -> None:
        handler.answer(code, {"Content-Length": "0", **headers})

    return fault
