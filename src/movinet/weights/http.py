"""One file over HTTP into a partial file: resume, retries, limits. Knows nothing of models."""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from movinet.errors import DownloadError
from movinet.text import one_line
from movinet.version import __version__
from movinet.weights.store import (
    beside,
    disk_full_message,
    free_bytes,
    read_record,
    write_record,
    writing,
)

#: The largest published file has 72 MB.
MAX_BYTES = 1 << 30
_CHUNK = 1 << 15
_GZIP_MAGIC = b"\x1f\x8b"
_RETRIED_STATUS = (408, 425, 429)

#: called with (bytes there, bytes in all or None)
OnProgress = Callable[[int, int | None], None]


class TransferError(DownloadError):
    """The other side or the way to it failed; the file may still be had by other means."""


class _TransientError(TransferError):
    """Worth another attempt."""


class _WrongContentError(TransferError):
    """What was sent cannot be the file, so nothing of it is kept."""


@dataclass(frozen=True)
class Patience:
    """How long to keep trying.

    Attributes:
        timeout: Seconds after which a connection counts as broken: of silence, and until the
            server has answered.
        least_rate: Bytes a second that have to come; fewer, over `timeout` seconds, are as good as
            silence.
        attempts: How often to try in all.
        backoff: Seconds before the second attempt; each further pause is twice as long.
    """

    timeout: float = 30.0
    attempts: int = 5
    backoff: float = 1.0
    least_rate: float = 1000.0


def transfer(url: str, part: Path, patience: Patience, on_progress: OnProgress) -> None:
    """Download a gzip file into `part`, going on from what is there if it is the same file's.

    What arrived stays in `part` when this fails for a passing reason, so the next call goes on.
    The caller checks the content as a whole.

    Args:
        url: Where the file is, http or https.
        part: The partial file; a record of its origin is kept beside it.
        patience: Time limit and number of attempts.
        on_progress: Told after each piece.

    Raises:
        TransferError: If the file cannot be had, is too large or is no gzip file.
        DownloadError: If it cannot be written.
    """
    try:
        _try_repeatedly(url, part, patience, on_progress)
    except _WrongContentError:
        discard(part)
        raise
    finally:
        if part.exists() and not part.stat().st_size:
            discard(part)


def discard(part: Path) -> None:
    """Remove a partial file and its record."""
    part.unlink(missing_ok=True)
    _origin_path(part).unlink(missing_ok=True)


def _try_repeatedly(url: str, part: Path, patience: Patience, on_progress: OnProgress) -> None:
    for attempt in range(1, patience.attempts + 1):
        try:
            _attempt(url, part, patience, on_progress)
        except _TransientError as error:
            if attempt == patience.attempts:
                raise TransferError(f"{error} ({attempt} attempts)") from None
            time.sleep(patience.backoff * 2 ** (attempt - 1))
        else:
            return


def _attempt(url: str, part: Path, patience: Patience, on_progress: OnProgress) -> None:
    origin = read_record(_origin_path(part)) or {}
    validator, total = origin.get("validator"), origin.get("total")
    resumable = origin.get("url") == url and isinstance(validator, str)
    start = part.stat().st_size if resumable and part.exists() else 0
    if start and start == total:
        return  # a run ended between the last byte and the caller's check
    # Without this a store that keeps its files compressed would unpack them on the way, and then it
    # gives no length and no ranges (Google Cloud Storage: decompressive transcoding).
    headers = {"User-Agent": f"movinet/{__version__}", "Accept-Encoding": "gzip"}
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": str(validator)}
    try:
        request = urllib.request.Request(url, headers=headers)
        with _make_opener(patience.timeout).open(request, timeout=patience.timeout) as reply:
            paced = _Paced(reply, patience)
            _receive(reply, paced, part, url, start, validator, on_progress)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416:
                discard(part)
                raise _TransientError("the server refused to resume where it ended") from None
            raise _http_error(error) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _connection_error(error) from None


class _Paced:
    """The body of an answer, which has to come at a least rate.

    A timeout of the socket alone would let a server hold a connection for ever with a byte now and
    then.
    """

    def __init__(self, reply: http.client.HTTPResponse, patience: Patience) -> None:
        self._reply, self._patience = reply, patience
        self._since, self._count = time.monotonic(), 0

    def read(self) -> bytes:
        """A piece, of what is there; empty at the end."""
        pieces, held = [], 0
        while held < _CHUNK and (piece := self._reply.read1(_CHUNK - held)):
            pieces.append(piece)
            held += len(piece)
            self._check(len(piece))
        return b"".join(pieces)

    def _check(self, count: int) -> None:
        self._count += count
        now, patience = time.monotonic(), self._patience
        if now - self._since < patience.timeout:
            return
        if self._count < patience.least_rate * (now - self._since):
            raise _TransientError(
                f"the server sent {self._count:,} bytes in {now - self._since:.0f} seconds, less "
                f"than {patience.least_rate:g} a second"
            )
        self._since, self._count = now, 0


def _receive(
    reply: http.client.HTTPResponse,
    body: _Paced,
    part: Path,
    url: str,
    start: int,
    validator: str | None,
    on_progress: OnProgress,
) -> None:
    total = _declared_total(reply, start)
    if reply.status == 206 and _validator(reply) not in (None, validator):
        discard(part)
        raise _TransientError("the file changed while it was being downloaded")
    if reply.status != 206:  # the whole file: never asked for less, or it changed, or no ranges
        start = 0
    if total is not None and total > MAX_BYTES:
        raise _WrongContentError(_too_large(f"declares {total:,} bytes"))
    if total is not None and (missing := total - start) > free_bytes(part):
        raise DownloadError(disk_full_message(part, missing))
    with writing(part):
        file = part.open("r+b" if start else "wb", buffering=0)
    with file:
        file.seek(start)
        if not start:  # after the old content is gone: a record must never outlive its bytes
            record = {"url": url, "validator": _validator(reply), "total": total}
            write_record(_origin_path(part), record)
        _copy(reply, body, file, part, start, total, on_progress)


def _copy(
    reply: http.client.HTTPResponse,
    body: _Paced,
    file: BinaryIO,
    part: Path,
    done: int,
    total: int | None,
    on_progress: OnProgress,
) -> None:
    on_progress(done, total)
    while piece := body.read():
        if done == 0 and not piece.startswith(_GZIP_MAGIC[: len(piece)]):
            kind = reply.headers.get("Content-Type", "no type")
            raise _WrongContentError(
                "the answer is not a gzip archive but "
                f"{one_line(kind)}, beginning {one_line(piece[:40].decode('latin-1'))!r}: "
                "the page of a proxy or of a login?"
            )
        done += len(piece)
        if done > MAX_BYTES:
            raise _WrongContentError(_too_large("sends more"))
        with writing(part, None if total is None else total - done + len(piece)):
            rest = memoryview(piece)
            while rest:  # a disk that fills up takes a part before it refuses
                rest = rest[file.write(rest) :]
        on_progress(done, total)
    if total is not None and done < total:
        raise _TransientError(f"the connection ended after {done:,} of {total:,} bytes")
    if not done:
        raise _WrongContentError("the answer is empty")


def _declared_total(reply: http.client.HTTPResponse, start: int) -> int | None:
    """Size of the whole file if the server tells it.

    Raises:
        TransferError: If the answer is not what was asked for.
    """
    if reply.status == 200:
        return reply.length
    content_range = reply.headers.get("Content-Range", "")
    match = re.fullmatch(r"bytes (\d{1,15})-\d{1,15}/(\d{1,15})", content_range.strip())
    if reply.status == 206 and start and match and int(match[1]) == start:
        return int(match[2])
    raise TransferError(
        f"the server answers {reply.status} {one_line(content_range)} to a request "
        f"{'from byte ' + str(start) if start else 'for the whole file'}"
    )


def _validator(reply: http.client.HTTPResponse) -> str | None:
    """What If-Range takes to name this version of the file: a strong ETag, else the date."""
    etag = reply.headers.get("ETag", "")
    if etag.startswith('"'):
        return etag
    return reply.headers.get("Last-Modified")


def _http_error(error: urllib.error.HTTPError) -> TransferError:
    reason = f"the server answers {error.code} {one_line(error.reason)}"
    if 500 <= error.code < 600 or error.code in _RETRIED_STATUS:
        return _TransientError(reason)
    return TransferError(reason)


def _connection_error(error: Exception) -> TransferError:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, TimeoutError):
        return _TransientError("the server was silent for too long")
    passing = (ConnectionError, http.client.HTTPException, ssl.SSLError)
    lasting = (ConnectionRefusedError, ssl.SSLCertVerificationError)
    transient = isinstance(reason, passing) and not isinstance(reason, lasting)
    message = one_line(getattr(reason, "strerror", None) or reason) or type(reason).__name__
    return _TransientError(message) if transient else TransferError(message)


def _too_large(what: str) -> str:
    return f"the server {what}; no published file comes near {MAX_BYTES:,}, so this is not one"


def _origin_path(part: Path) -> Path:
    return beside(part, ".json")


class _WebRedirects(urllib.request.HTTPRedirectHandler):
    """Redirects stay on the web, and on encrypted connections where they began on one."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        old, new = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if new not in ("http", "https") or (old, new) == ("https", "http"):
            refusal = f"and redirects from {old} to {one_line(newurl)}, which is refused"
            raise urllib.error.HTTPError(req.full_url, code, refusal, headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _AnswersInTime:
    """Cuts connections whose headers are not there in time, however many bytes of them come."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def of(self, kind: type[http.client.HTTPConnection]) -> type[http.client.HTTPConnection]:
        """A class of connections that wait no longer."""
        seconds = self._seconds

        class Connection(kind):
            def getresponse(self) -> http.client.HTTPResponse:
                timer = threading.Timer(seconds, self._cut)
                timer.daemon = True
                timer.start()
                try:
                    return super().getresponse()
                finally:
                    timer.cancel()

            def _cut(self) -> None:
                with contextlib.suppress(OSError, AttributeError):
                    self.sock.shutdown(socket.SHUT_RDWR)

        return Connection


class _Http(urllib.request.HTTPHandler):
    def __init__(self, limit: _AnswersInTime) -> None:
        super().__init__()
        self._limit = limit

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._limit.of(http.client.HTTPConnection), req)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, limit: _AnswersInTime) -> None:
        super().__init__()
        self._limit = limit

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        connection = self._limit.of(http.client.HTTPSConnection)
        return self.do_open(connection, req, context=ssl.create_default_context())


def _make_opener(seconds: float) -> urllib.request.OpenerDirector:
    """Not `build_opener`: that one also opens file:, ftp: and data: addresses."""
    opener, limit = urllib.request.OpenerDirector(), _AnswersInTime(seconds)
    for handler in (
        urllib.request.ProxyHandler(),
        _Http(limit),
        _Https(limit),
        _WebRedirects(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
    ):
        opener.add_handler(handler)
    return opener
