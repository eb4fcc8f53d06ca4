"""The log of a live run: what arrived and what came out, so that the run can be repeated.

A file of records, appended: whatever happens to the process, all but the last record is whole.
"""

from __future__ import annotations

import json
import os
import queue
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, NamedTuple

from av.packet import Packet
from av.video.stream import VideoStream

from movinet.errors import CheckpointError, ConfigError
from movinet.files import file_path
from movinet.live.results import LiveResult
from movinet.text import one_line
from movinet.version import __version__

MAGIC = b"movinet run log\n"
VERSION = 1
#: Kinds of records.
HEADER, CONNECTION, PACKET, STEP, END, CLOSED = range(1, 7)
#: Length of the body, kind, source, CRC-32 of the kind, the source and the body.
_HEAD = struct.Struct("<IBHI")
#: Presentation and decoding time in the stream's ticks, flags.
_PACKET = struct.Struct("<qqB")
_NO_TIME = -(2**63)
_KEY, _CORRUPT = 1, 2
#: Bytes of a packet; of any other record.
MAX_PACKET, MAX_JSON = 64 << 20, 1 << 20
#: Bytes that may wait for the disk.
_MOST_WAITING = 64 << 20
#: Decoders that are fed from logs, and so from files of anybody: those of cameras and streams.
DECODERS = {
    *("h264", "hevc", "vvc", "av1", "libdav1d", "libaom-av1", "vp8", "vp9", "libvpx", "libvpx-vp9"),
    *("mpeg1video", "mpeg2video", "mpegvideo", "mpeg4", "msmpeg4", "msmpeg4v2", "h263", "flv"),
    *("wmv1", "wmv2", "wmv3", "vc1", "mjpeg", "rawvideo", "theora", "vp6f", "vp6a", "bmp", "png"),
}
#: What a decoder is told besides, by name of the attribute.
SETTINGS = (
    *("width", "height", "color_range", "color_primaries", "color_trc", "colorspace"),
    "bits_per_coded_sample",
)


class Record(NamedTuple):
    """A record of a log.

    Attributes:
        kind: Of record.
        source: Its number.
        start: Where its body is in the file.
        size: Of the body, bytes.
    """

    kind: int
    source: int
    start: int
    size: int


class RunLog:
    """Where `movinet.watch` writes what a run can be repeated from; see `movinet.live.Replay`.

    A thread writes, so no disk makes results later. One that is full or too slow ends the log, with
    a warning, and nothing else.

    Args:
        path: The file; there must be none yet.
        most: Bytes after which the log ends; packets are nearly all of it.
        say: Called with "warning" and a line if the log ends before the run does.

    Raises:
        ConfigError: If there is such a file, or `most` is not positive.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        most: float = 1024e6,
        say: Callable[[str, str], None] | None = None,
    ) -> None:
        self.path: Path = file_path(path)
        if not most > 0:
            raise ConfigError("expected a positive size of the log")
        if self.path.exists():
            raise ConfigError(f"{self.path}: the file exists; give the log another name")
        self._most, self._say = most, say or (lambda _kind, _line: None)
        self._file: IO[bytes] | None = None
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._lock, self._waiting, self._size, self.over = threading.Lock(), 0, 0, True
        self._thread = threading.Thread(target=self._run, name="movinet log", daemon=True)

    def begin(self, header: dict[str, Any]) -> None:
        """Create the file.

        Raises:
            OSError: If that is not possible.
        """
        self._file = self.path.open("xb", buffering=0)
        self.over = False
        self._put(MAGIC)
        self.add_json(HEADER, 0, {"version": VERSION, "movinet": __version__, **header})
        self._thread.start()

    def of(self, source: int) -> SourceLog:
        """What one source writes."""
        return SourceLog(self, source)

    def close(self) -> None:
        """The run is over: write what waits."""
        if not self.over:
            self.add_json(CLOSED, 0, {})
        self.over = True
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def add_json(self, kind: int, source: int, values: dict[str, Any]) -> None:
        """Log a record of values."""
        body = json.dumps(values, separators=(",", ":")).encode()
        if len(body) > MAX_JSON:
            self.stop("what it says of a source is too long")
            return
        self.add(kind, source, body)

    def add(self, kind: int, source: int, body: bytes) -> None:
        """Log a record."""
        head = _HEAD.pack(len(body), kind, source, _checksum(kind, source, body))
        self._put(head + body)

    def _put(self, data: bytes) -> None:
        with self._lock:
            if self.over:
                return
            self._size += len(data)
            self._waiting += len(data)
            full, slow = self._size > self._most, self._waiting > _MOST_WAITING + len(data)
            if not full and not slow:
                self._queue.put(data)
                return
        self.stop("it has reached its size limit" if full else "the disk is too slow")

    def stop(self, reason: str) -> None:
        """Log no more."""
        with self._lock:
            told, self.over = self.over, True
        if not told:
            self._say("warning", f"{self.path}: the log ends here: {reason}; watching goes on")

    def _run(self) -> None:
        assert self._file is not None
        with self._file as file:
            while (data := self._queue.get()) is not None:
                try:
                    rest = memoryview(data)
                    while rest:
                        rest = rest[file.write(rest) :]
                except OSError as error:
                    self.stop(one_line(error.strerror or error))
                    return
                with self._lock:
                    self._waiting -= len(data)


class SourceLog:
    """What one source writes to a log."""

    def __init__(self, log: RunLog, source: int) -> None:
        self._log, self._source, self._extradata = log, source, b""

    def connect(self, stream: VideoStream) -> None:
        """A connection has begun, and so have its pictures."""
        context = stream.codec_context
        if context.name not in DECODERS:
            self._log.stop(f"video of the kind {one_line(context.name)} cannot be logged")
            return
        values: dict[str, Any] = {name: int(getattr(context, name) or 0) for name in SETTINGS}
        self._extradata = context.extradata or b""
        values["extradata"] = self._extradata.hex()
        values["decoder"], values["reorder"] = context.name, int(context.has_b_frames)
        values["pixels"] = context.pix_fmt if context.name == "rawvideo" else None
        values["tag"] = context.codec_tag if context.name == "rawvideo" else None
        self._log.add_json(CONNECTION, self._source, values)

    def see(self, packet: Packet) -> None:
        """A packet has arrived; before it is decoded."""
        if self._log.over:
            return
        if packet.size > MAX_PACKET - _PACKET.size:
            self._log.stop(f"a packet of {packet.size} bytes is too large")
            return
        changed = packet.has_sidedata("new_extradata")
        if changed and bytes(packet.get_sidedata("new_extradata")) != self._extradata:
            self._log.stop("the parameters of the video have changed, which no log can contain")
            return
        pts, dts = (_NO_TIME if time is None else time for time in (packet.pts, packet.dts))
        flags = _KEY * packet.is_keyframe | _CORRUPT * packet.is_corrupt
        self._log.add(PACKET, self._source, _PACKET.pack(pts, dts, flags) + bytes(packet))

    def step(
        self, origin: tuple[int, int, float, tuple[bool, bool, bool]], result: LiveResult
    ) -> None:
        """A result is there.

        Args:
            origin: See `movinet.live.reading.Origin`.
            result: The result.
        """
        connection, ordinal, aspect, turn = origin
        self._log.add_json(
            END if result.ended else STEP,
            self._source,
            {
                "connection": connection,
                "picture": ordinal,
                "aspect": aspect,
                "turn": turn,
                "number": result.number,
                "gap": result.gap,
                "dropped": result.dropped,
                "captured": result.captured,
                "finished": result.finished,
                "digest": digest(result),
            },
        )


class LogReader:
    """Reads a log, which may be anybody's.

    Args:
        path: The file.

    Attributes:
        path: The file.

    Raises:
        CheckpointError: If it is no log.
        OSError: If it cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path: Path = file_path(path)
        if self.path.exists() and not self.path.is_file():  # a pipe would be waited for
            raise CheckpointError(f"{self.path}: not a regular file")
        self._file = self.path.open("rb")
        self._size = os.fstat(self._file.fileno()).st_size
        if self._file.read(len(MAGIC)) != MAGIC:
            self.close()
            raise CheckpointError(f"{self.path}: not a log of 'movinet watch --log'")

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def records(self) -> Iterator[Record]:
        """The whole records, in order; a last one that was being written is none.

        Raises:
            CheckpointError: If one has an impossible length.
        """
        at = len(MAGIC)
        while self._size - at >= _HEAD.size:
            size, kind, source, _ = _HEAD.unpack(self._read(at, _HEAD.size))
            if not HEADER <= kind <= CLOSED or size > (MAX_PACKET if kind == PACKET else MAX_JSON):
                raise self.damaged(at)
            at += _HEAD.size
            if size > self._size - at:
                return
            yield Record(kind, source, at, size)
            at += size

    def values(self, record: Record) -> dict[str, Any]:
        """What a record other than a packet says; may be any values.

        Raises:
            CheckpointError: If it is damaged.
        """
        try:
            values = json.loads(self._body(record).decode())
        except (ValueError, RecursionError):
            raise self.damaged(record.start) from None
        if not isinstance(values, dict):
            raise self.damaged(record.start)
        return values

    def packet(self, record: Record) -> Packet:
        """The packet of a record.

        Raises:
            CheckpointError: If it is damaged.
        """
        body = self._body(record)
        if len(body) < _PACKET.size:
            raise self.damaged(record.start)
        pts, dts, flags = _PACKET.unpack_from(body)
        packet = Packet(body[_PACKET.size :])
        packet.pts = None if pts == _NO_TIME else pts
        packet.dts = None if dts == _NO_TIME else dts
        packet.is_keyframe, packet.is_corrupt = bool(flags & _KEY), bool(flags & _CORRUPT)
        return packet

    def damaged(self, at: int) -> CheckpointError:
        """The error for what is wrong at a place in the file."""
        return CheckpointError(f"{self.path}: the log is damaged at byte {at}")

    def _body(self, record: Record) -> bytes:
        (checksum,) = struct.unpack("<I", self._read(record.start - 4, 4))
        body = self._read(record.start, record.size)
        if _checksum(record.kind, record.source, body) != checksum:
            raise self.damaged(record.start)
        return body

    def _read(self, at: int, size: int) -> bytes:
        self._file.seek(at)
        data = self._file.read(size)
        if len(data) < size:  # it has become shorter meanwhile
            raise self.damaged(at)
        return data


def digest(result: LiveResult) -> str:
    """What tells whether two results are the same: probabilities and events, to the last bit."""
    sha = sha256(result.probabilities.astype("<f4").tobytes())
    sha.update(json.dumps([asdict(change) for change in result.events], sort_keys=True).encode())
    return sha.hexdigest()


def _checksum(kind: int, source: int, body: bytes) -> int:
    return zlib.crc32(body, kind << 16 | source)
