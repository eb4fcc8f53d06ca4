"""All clips of a run: which events have one, and what they are called."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from movinet.errors import ConfigError
from movinet.events import Event, Rules
from movinet.live.clips.recording import LONGEST, Recorder
from movinet.live.clips.writing import PART, Writer
from movinet.live.results import LiveResult
from movinet.live.sources import LiveSource
from movinet.text import one_line

#: Between an event's beginning and its report, besides the shortest time of its rule, seconds.
_LAG = 3.0


class Clips:
    """Writes a clip of each event of live sources, by copying packets: nothing is encoded again.

    A clip begins at the last keyframe before the event's start less `pre`, and ends `post` seconds
    after it, where its connection ends, or after ten minutes. Names are those of source, time and
    class; files that are being written end in ``.part``.

    Args:
        folder: For the clips; made if needed.
        pre: Seconds before the event.
        post: Seconds after it.
        say: Called, in other threads, with "warning" and a line about a clip that is not written.

    Raises:
        ConfigError: If a number is not possible, or the folder cannot be made.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        pre: float = 5.0,
        post: float = 5.0,
        say: Callable[[str, str], None] | None = None,
    ) -> None:
        for name, value in (("pre", pre), ("post", post)):
            if not (math.isfinite(value) and 0 <= value <= LONGEST / 2):
                raise ConfigError(f"{name} must be 0 to {LONGEST / 2:g} seconds, not {value:g}")
        self._folder, self._pre, self._post = Path(folder), pre, post
        self._say = say or (lambda _kind, _line: None)
        self._writer: Writer | None = None
        self._recorders: dict[str, Recorder] = {}
        self._names: set[Path] = set()
        if self._folder.exists() and not self._folder.is_dir():
            raise ConfigError(f"{one_line(folder)}: it is no folder")

    def recorder(self, source: LiveSource, rules: Rules | None) -> Recorder:
        """What keeps a source's packets.

        Raises:
            ConfigError: If there are no rules of events, the source is a file, or the folder cannot
                be made.
        """
        if rules is None:
            raise ConfigError("clips are of events: rules are needed")
        if source.kind == "file":
            raise ConfigError(
                f"{source.name}: clips are of live sources; cut a file at the times of its events"
            )
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            why = f"cannot be made ({error.strerror})"
            raise ConfigError(f"{one_line(self._folder)}: {why}") from None
        if self._writer is None:
            self._writer = Writer(self._say)
        listed = (rules.default, *rules.classes.values())
        shortest = max((rule.shortest for rule in listed if rule is not None), default=0.0)
        seconds = self._pre + shortest + _LAG
        made = self._recorders[source.name] = Recorder(
            source.name, seconds, self._writer, self._say
        )
        return made

    def see(self, result: LiveResult) -> None:
        """Begin and end clips as the events of a result do."""
        recorder = self._recorders.get(result.source)
        if recorder is None:
            return
        for change in result.events:
            event = change.event
            if change.kind == "new":
                began = result.captured - result.time + event.start
                path = self._path(result.source, event, began)
                recorder.begin(event.id, path, event.start - self._pre)
            elif change.kind == "end":
                recorder.end(event.id, event.end + self._post)

    def close(self, seconds: float = 5.0) -> None:
        """End all clips, and write what waits for the disk, for so many seconds."""
        for recorder in self._recorders.values():
            recorder.close()
        self._recorders.clear()
        if self._writer is not None:
            self._writer.close(seconds)
            self._writer = None

    def _path(self, source: str, event: Event, began: float) -> Path:
        """A name that no clip has."""
        when = datetime.fromtimestamp(began, UTC).strftime("%Y%m%dT%H%M%SZ")
        stem = f"{_plain(source)}_{when}_{_plain(event.label)}"
        number = 1
        while True:
            path = self._folder / f"{stem}{'' if number == 1 else f'_{number}'}.mkv"
            taken = path.exists() or path.with_name(path.name + PART).exists()
            if path not in self._names and not taken:
                # Only what may not be on the disk yet has to be known.
                self._names = {path, *list(self._names)[-100:]}
                return path
            number += 1


def _plain(text: str) -> str:
    """Text as a part of a file's name on any system."""
    return re.sub(r"[^\w-]+", "-", text, flags=re.ASCII).strip("-")[:60] or "x"
