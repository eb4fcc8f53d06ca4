"""Watching that goes on where it was after the process was killed."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from movinet.errors import CheckpointError, ConfigError
from movinet.events import Rules
from movinet.files import file_path
from movinet.live.sources import LiveSource, redacted
from movinet.runtime.base import Runtime
from movinet.runtime.saved_run import SavedRun
from movinet.runtime.snapshot import StreamSnapshot
from movinet.text import one_line

#: Between two writes at least, seconds, however much happens.
_LEAST = 0.25
#: The same trouble with the file is told again after so long, seconds.
_SAID_FOR = 60.0


class Resume:
    """A file from which `movinet.watch` goes on: states of streams and events, and what waits.

    It is written every few seconds, and at once when an event begins or ends, though not more than
    four times a second. Give the same one to
    `movinet.watch` and to `movinet.live.sinks.Sinks`.

    Args:
        path: The file; without one, watching starts anew.
        every: Seconds between two writes.
        say: Called with "warning" and a line where it cannot be written.

    Raises:
        CheckpointError: If the file is none of this kind, or damaged.
        ConfigError: If `every` is not possible.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        every: float = 5.0,
        say: Callable[[str, str], None] | None = None,
    ) -> None:
        if not (math.isfinite(every) and _LEAST <= every <= 3600):
            raise ConfigError(f"every must be {_LEAST:g} to 3600 seconds, not {every:g}")
        self.path: Path = file_path(path)
        self._saved = SavedRun.load(self.path, "watch") if self.path.exists() else None
        self._every, self._say = every, say or (lambda _kind, _line: None)
        self._of: dict[str, Any] = {}
        self._sources: dict[int, dict[str, Any]] = {}
        self._streams: dict[str, StreamSnapshot] = {}
        self._sinks: Callable[[], dict[str, Any]] | None = None
        self._passed_on: Callable[[], int] = lambda: 0
        self._last, self._last_passed_on, self._told = 0.0, 0, -math.inf
        self._complete, self._open = False, False
        self._writing: threading.Thread | None = None

    @property
    def sinks(self) -> Any:
        """What the sinks of the killed run had; None if there was none. May be anything."""
        return None if self._saved is None else self._saved.state.get("sinks")

    def attach(self, state: Callable[[], dict[str, Any]], passed_on: Callable[[], int]) -> None:
        """Save the state of sinks, too.

        Args:
            state: Gives it.
            passed_on: Counts the reports that have arrived where a file cannot tell.
        """
        self._sinks, self._passed_on = state, passed_on

    @property
    def has_sinks(self) -> bool:
        """Whether sinks save themselves at the end."""
        return self._sinks is not None

    def begin(
        self, sources: Sequence[LiveSource], runtime: Runtime, rules: Rules | None
    ) -> list[tuple[dict[str, Any], StreamSnapshot | None]] | None:
        """Compare with the killed run; what it had of each source, None if there was none.

        Raises:
            ConfigError: If it was of another model, other sources or rules.
            CheckpointError: If the file is damaged.
        """
        manifest = getattr(runtime, "manifest", None)
        self._of = {
            "model": runtime.info.name,
            "weights": getattr(manifest, "weights_sha256", ""),
            "rules": None if rules is None else rules.to_json(),
            "sources": [_described(source) for source in sources],
        }
        if self._saved is None:
            return None
        was = self._saved.state.get("of")
        found = self._saved.state.get("sources")
        if not isinstance(was, dict) or not isinstance(found, list):
            raise CheckpointError(f"{self.path}: it has no sources; remove it to start again")
        self.compare(was)
        if len(found) != len(sources) or not all(isinstance(one, dict) for one in found):
            raise CheckpointError(f"{self.path}: its sources are damaged; remove it to start again")
        self._sources = dict(enumerate(found))
        self._streams = dict(self._saved.streams)
        return [(one, self._streams.get(str(i))) for i, one in enumerate(found)]

    def compare(self, was: Mapping[str, Any]) -> None:
        """Raise ConfigError if a run of something else is saved."""
        for name, what in (
            ("model", "another model"),
            ("weights", "other weights"),
            ("sources", "other sources, or of a file that has changed"),
            ("rules", "other rules of events"),
        ):
            if name == "weights" and not (was.get(name) and self._of[name]):
                continue  # not every file states them
            found, wanted = was.get(name), self._of[name]
            if name == "sources":
                found, wanted = _fitting(found, wanted)
            if found != wanted:
                raise ConfigError(
                    f"{self.path}: it is of a run with {what}; name another file, or remove it to "
                    "start anew"
                )

    def start(self) -> None:
        """Write the file for the first time.

        Raises:
            OSError: If it cannot be written.
        """
        self._run().save(self.path)
        self._open = True

    def capture(self, number: int, state: dict[str, Any], stream: StreamSnapshot | None) -> None:
        """Remember how a source stands."""
        self._sources[number] = state
        if stream is not None:
            self._streams[str(number)] = stream

    def due(self, *, news: bool) -> bool:
        """Whether it is time to write; `news` that an event has begun or ended since last time."""
        passed = time.monotonic() - self._last
        if passed < _LEAST:  # several events at a time are one write
            return False
        return news or passed >= self._every or self._passed_on() != self._last_passed_on

    @property
    def wait(self) -> float:
        """Seconds after which to look again."""
        return min(_LEAST, self._every)

    def save(self) -> bool:
        """Write the file in another thread, if that is not at it still; whether it began."""
        if self._writing is not None and self._writing.is_alive():
            return False
        run = self._run()
        self._writing = threading.Thread(
            target=self._try, args=(run,), name="movinet resume", daemon=True
        )
        self._writing.start()
        return True

    def _try(self, run: SavedRun) -> None:
        """Write the file; trouble is told, and it is tried again next time."""
        try:
            run.save(self.path)
        except OSError as error:
            now = time.monotonic()
            if now >= self._told + _SAID_FOR:
                self._told = now
                self._say("warning", one_line(error))

    def complete(self) -> None:
        """Every source has ended: there is nothing left to see."""
        self._complete = True

    def close(self) -> None:
        """Write the file for the last time, or remove it if nothing is left to do."""
        if not self._open:
            return
        self._open = False
        if self._writing is not None:
            self._writing.join()
        sinks = {} if self._sinks is None else self._sinks()
        if self._complete and not any(target["waiting"] for target in sinks.get("targets", [])):
            self.path.unlink(missing_ok=True)
        else:
            self._try(self._run())

    def _run(self) -> SavedRun:
        """All of it as it is now; nothing in it changes afterwards."""
        self._last, self._last_passed_on = time.monotonic(), self._passed_on()
        state = {
            "of": self._of,
            "sources": [self._sources.get(i, {}) for i in range(len(self._of["sources"]))],
            "sinks": self.sinks if self._sinks is None else self._sinks(),
        }
        return SavedRun("watch", state, dict(self._streams))


def _fitting(found: Any, wanted: list[dict[str, Any]]) -> tuple[Any, list[dict[str, Any]]]:
    """Both without the sizes of files that were missing then and may have come since."""
    if not isinstance(found, list) or len(found) != len(wanted):
        return found, wanted
    came = [isinstance(was, dict) and was.get("size") is None for was in found]

    def cut(sources: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            {**one, "size": None} if new else one for one, new in zip(sources, came, strict=True)
        ]

    return cut(found), cut(wanted)


def _described(source: LiveSource) -> dict[str, Any]:
    """What tells a source from others, without secrets."""
    address, size = "", None
    if source.kind == "file":
        path = Path(source.address)
        address = str(path.absolute())
        size = path.stat().st_size if path.is_file() else None
    elif "://" in source.address:
        address = redacted(source.address)
    return {"name": source.name, "kind": source.kind, "address": address, "size": size}
