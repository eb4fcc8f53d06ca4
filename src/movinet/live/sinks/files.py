"""Files of results and events: JSON lines and CSV, appended, and subtitles."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from movinet.errors import ConfigError
from movinet.events.subtitles import VTT_HEAD, cue
from movinet.files import replacing
from movinet.live.sinks.reports import EVERYTHING, Kind, Report
from movinet.live.sinks.saved import time_of_start
from movinet.live.sinks.worker import Sink, TryAgainError
from movinet.text import one_line, printable

#: Columns of a CSV file.
COLUMNS = ("source", "id", "label", "start", "end", "peak", "mean", "started")
#: Of a file, what a run that was killed may have written after it was saved, bytes at most.
_MOST_TOLD = 64_000_000
#: Subtitles that are put in order at the end, bytes at most.
_MOST_SORTED = 64_000_000


class FileSink(Sink):
    """A file to which whole lines are appended: each is there at once, or not at all.

    Args:
        path: Of the file; it may exist.

    Raises:
        ConfigError: If it cannot be a file to write.
    """

    def __init__(self, path: Path) -> None:
        self.name, self._path = one_line(path), path
        self._file = -1
        self._before = b""
        if path.exists() and not path.is_file():
            raise ConfigError(f"{self.name}: it is no file")
        if not path.parent.is_dir():
            raise ConfigError(f"{self.name}: there is no such folder")

    def open(self) -> None:
        """Open it, and see what is there."""
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
        try:
            # Whoever puts a pipe there meanwhile does not stop us.
            self._file = os.open(self._path, flags | getattr(os, "O_NONBLOCK", 0), 0o644)
            found = os.fstat(self._file)
            if not stat.S_ISREG(found.st_mode):
                raise ConfigError(f"{self.name}: it is no file")
            self._begin(found.st_size)
        except OSError as error:
            self._close()
            raise ConfigError(f"{self.name}: cannot be written ({error.strerror})") from None
        except ConfigError:
            self._close()
            raise

    def finish(self, seconds: float) -> None:  # noqa: ARG002
        """Close it."""
        self._close()

    def size(self) -> int | None:
        """See `Sink`."""
        with contextlib.suppress(OSError):
            return self._path.stat().st_size
        return 0

    def told(self, size: int) -> frozenset[str]:
        """See `Sink`."""
        return frozenset(self._keys(self._since(size)))

    def _since(self, size: int) -> str:
        """What was written after the file had a size."""
        with self._path.open("rb") as file:
            found = os.fstat(file.fileno()).st_size
            # A file that is shorter than it was is another one.
            file.seek(max(size if size <= found else 0, found - _MOST_TOLD))
            return file.read(_MOST_TOLD).decode(errors="replace")

    def _keys(self, text: str) -> Iterator[str]:  # noqa: ARG002
        """Keys of the reports in a part of the file; the first and the last may be cut off."""
        yield from ()

    def _begin(self, size: int) -> None:
        """Look at a file of `size` bytes that was opened."""
        if size:
            os.lseek(self._file, -1, os.SEEK_END)
            if os.read(self._file, 1) != b"\n":  # a line whose writer was killed
                self._before = b"\n"

    def _append(self, text: str) -> None:
        """Append lines, or nothing."""
        data, size = self._before + text.encode(), os.fstat(self._file).st_size
        try:
            written = 0
            while written < len(data):
                written += os.write(self._file, data[written:])
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, size)
            raise TryAgainError(f"cannot be written ({error.strerror})") from None
        self._before = b""

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class JsonLines(FileSink):
    """Every result and every report of an event, a line of JSON each."""

    wants = EVERYTHING

    def deliver(self, report: Report, seconds: float) -> None:  # noqa: ARG002
        """Append a line."""
        self._append(json.dumps({"type": _type(report), **report.values}) + "\n")

    def begun(self, size: int) -> dict[tuple[str, str], float]:
        """See `Sink`."""
        found = {}
        for report in self._reports(self._since(size)):
            with contextlib.suppress(ValueError, KeyError, TypeError, OverflowError):
                if report.kind == "new":
                    key = (report.source, report.values["id"])
                    found[key] = time_of_start(report.values)
        return found

    def _keys(self, text: str) -> Iterator[str]:
        for report in self._reports(text):
            with contextlib.suppress(KeyError, TypeError):
                yield self.key(report)

    @staticmethod
    def _reports(text: str) -> Iterator[Report]:
        """Of the whole lines of a part of the file."""
        for line in text.splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
                values = json.loads(line)
                kind = "result" if values["type"] == "result" else values["kind"]
                yield Report(kind, values["source"], values)


def _type(report: Report) -> str:
    return "result" if report.kind == "result" else "event"


class CsvFile(FileSink):
    """A row for each event that has ended."""

    wants: frozenset[Kind] = frozenset(("end",))

    def deliver(self, report: Report, seconds: float) -> None:  # noqa: ARG002
        """Append a row."""
        started = datetime.fromtimestamp(report.values["started"], UTC)
        values = {
            **report.values,
            "started": started.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        }
        self._append(_row([printable(str(values[column])) for column in COLUMNS]))

    def key(self, report: Report) -> str:
        """See `Sink`."""
        return printable(str(report.values["id"]))

    def _keys(self, text: str) -> Iterator[str]:
        for row in csv.reader(io.StringIO(text)):
            if len(row) == len(COLUMNS):
                yield row[COLUMNS.index("id")]

    def _begin(self, size: int) -> None:
        super()._begin(size)
        header = _row(COLUMNS)
        if not size:
            self._append(header)
            return
        os.lseek(self._file, 0, os.SEEK_SET)
        if os.read(self._file, len(header)).splitlines() != header.encode().splitlines():
            raise ConfigError(f"{self.name}: it has other columns than events; name another file")


def _row(values: tuple[str, ...] | list[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue()


class Subtitles(FileSink):
    """A cue for each event that has ended.

    Cues are written when their events end, and put in the order of their starts at the end.

    Args:
        path: Of a file that does not exist yet, or is empty.
        vtt: WebVTT instead of SRT.
        named: Whether cues name their source.
        resumed: Go on with the file of a run that was killed.
    """

    wants: frozenset[Kind] = frozenset(("end",))

    def __init__(self, path: Path, *, vtt: bool, named: bool, resumed: bool = False) -> None:
        super().__init__(path)
        self._vtt, self._named, self._resumed = vtt, named, resumed
        self._head = VTT_HEAD if vtt else ""
        self._cues, self._last, self._ordered = 0, 0.0, True
        if not resumed and path.exists() and path.stat().st_size:
            self._refuse()

    def deliver(self, report: Report, seconds: float) -> None:  # noqa: ARG002
        """Append a cue."""
        self._append(f"{self._cues + 1}\n{self._shown(report)}\n\n")
        start = report.values["start"]
        self._cues += 1
        self._ordered, self._last = self._ordered and start >= self._last, start

    def finish(self, seconds: float) -> None:
        """Put the cues in order."""
        super().finish(seconds)
        if not self._ordered and self._path.stat().st_size <= _MOST_SORTED:
            self._sort()

    def key(self, report: Report) -> str:
        """See `Sink`: a cue has no id, but no two events of a class begin at the same time."""
        return _key(self._shown(report))

    def told(self, size: int) -> frozenset[str]:  # noqa: ARG002
        """See `Sink`: all of the file, whose cues may have been put in order since then."""
        return super().told(0)

    def _shown(self, report: Report) -> str:
        """The cue of a report, without its number."""
        values = report.values
        text = f"{values['label']} ({values['peak']:.0%})"
        if self._named:
            text = f"{report.source}: {text}"
        return cue(values["start"], values["end"], text, vtt=self._vtt)

    def _keys(self, text: str) -> Iterator[str]:
        for part in text.split("\n\n"):
            _, _, shown = part.partition("\n")
            if "\n" in shown:
                yield _key(shown)

    def _begin(self, size: int) -> None:
        if size and not self._resumed:
            self._refuse()
        if size:
            self._go_on(size)
        elif self._head:
            self._append(self._head)

    def _go_on(self, size: int) -> None:
        """Behind the last whole cue of a run that was killed."""
        if size > _MOST_TOLD:
            raise ConfigError(f"{self.name}: it is too long to continue; name another file")
        os.lseek(self._file, 0, os.SEEK_SET)
        data = os.read(self._file, size)
        if not data.startswith(self._head.encode()):
            self._refuse()
        whole = max(data.rfind(b"\n\n") + 2, len(self._head))
        os.ftruncate(self._file, whole)
        self._cues = sum(1 for part in data[len(self._head) : whole].split(b"\n\n") if part)
        self._ordered = False

    def _refuse(self) -> None:
        raise ConfigError(
            f"{self.name}: it exists, and the times of its cues are those of another run; remove "
            "it or name another file"
        )

    def _sort(self) -> None:
        text = self._path.read_text("utf-8").removeprefix(self._head)
        cues = [cue.split("\n", 1)[1] for cue in text.split("\n\n") if cue]
        cues.sort(key=_start)
        body = "".join(f"{number}\n{cue}\n\n" for number, cue in enumerate(cues, 1))
        with replacing(self._path) as name:
            name.write_text(self._head + body, "utf-8", newline="\n")


def _key(shown: str) -> str:
    """A cue's start and text, without its end and its probability."""
    times, _, text = shown.partition("\n")
    return f"{times.split(' ', 1)[0]} {text.rpartition(' (')[0]}"


def _start(cue: str) -> tuple[int, ...]:
    """When a cue begins: numbers that compare as the times do."""
    return tuple(int(part) for part in re.split(r"[:.,]", cue.split(" ", 1)[0]))
