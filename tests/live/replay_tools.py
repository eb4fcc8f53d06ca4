"""Logged runs, for tests of what is made of them."""

from __future__ import annotations

import struct
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from servers import http_server, paced

import movinet
from movinet.events import Rule, Rules
from movinet.live import LiveResult, RunLog, watch
from movinet.live.runlog import MAGIC, LogReader

CLIP = Path(movinet.__file__).parent / "demo" / "clip.mp4"
RULES = Rules(Rule(on=0.3, off=0.2, shortest=0.1, merge=0.1, update=0.2))
HEAD = struct.Struct("<IBHI")


def logged(
    film: list[bytes],
    log: Path | RunLog,
    runtime: Any,
    count: int = 14,
    seconds: float = 0.0,
    **options: Any,
) -> list[LiveResult]:
    """A run with lost connections, and with frames that nobody takes in time."""

    def serve(send: Callable[[bytes], None], number: int, stopped: threading.Event) -> None:
        paced(film[: 15 + 2 * number], send, stopped)

    found: list[LiveResult] = []
    began = time.monotonic()
    with http_server(serve) as url:
        url = url.replace("http://", "http://user:secret@") + "?token=secret"
        results = watch([url, f"yard={url}"], runtime, log=log, rules=RULES, **options)
        for result in results:
            found.append(result)
            sources = {result.source for result in found}
            if len(found) >= count and len(sources) == 2 and time.monotonic() > began + seconds:
                break
            time.sleep(0.3 if len(found) % 4 == 1 else 0.0)
        results.close()
    return found


def copy(data: bytes, folder: Path) -> Path:
    path = folder / "copy.log"
    path.write_bytes(data)
    return path


def crc(kind: int, source: int, body: bytes) -> int:
    return zlib.crc32(body, kind << 16 | source)


def pieces(path: Path) -> list[tuple[int, int, bytes]]:
    reader, data = LogReader(path), path.read_bytes()
    found = [(r.kind, r.source, data[r.start : r.start + r.size]) for r in reader.records()]
    reader.close()
    return found


def whole(records: list[tuple[int, int, bytes]]) -> bytes:
    return MAGIC + b"".join(
        HEAD.pack(len(body), kind, source, crc(kind, source, body)) + body
        for kind, source, body in records
    )
