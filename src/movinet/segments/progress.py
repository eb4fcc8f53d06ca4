"""How far a recording has been seen, as a file from which the work goes on after a kill."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from movinet.errors import CheckpointError, ConfigError
from movinet.events import Detector, Event, Rules
from movinet.files import file_path
from movinet.runtime.base import Runtime
from movinet.runtime.saved_run import SavedRun, finite, stream_snapshot
from movinet.runtime.tensor_file import DAMAGE
from movinet.text import is_name, one_line
from movinet.video import Media
from movinet.video.container import Region

#: Of video between two writes, seconds.
EVERY = 30.0
_NUMBERS = ("start", "end", "peak", "peak_time", "mean")


class Progress:
    """How far a recording has been seen.

    Args:
        path: The file; the work begins at the start where there is none. None to write none.
        video: The recording.
        runtime: The model.
        rules: Of events.
        half_life: Of its stream, seconds.

    Attributes:
        time: Of the last frame that was seen, seconds; None before the first.
        events: Those that have ended.
        notes: On the part that was seen.
        done: The whole recording has been seen.

    Raises:
        CheckpointError: If the file is damaged, or of another kind.
        ConfigError: If it is of another recording, model or rules.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None,
        video: Media,
        runtime: Runtime,
        rules: Rules,
        half_life: float,
    ) -> None:
        self._path = None if path is None else file_path(path)
        self._of = {
            "model": runtime.info.name,
            "weights": getattr(getattr(runtime, "manifest", None), "weights_sha256", ""),
            "video": _described(video),
            "rules": rules.to_json(),
            "half_life": None if math.isinf(half_life) else half_life,
        }
        self._labels = runtime.info.labels
        self.time: float | None = None
        self.events: list[Event] = []
        self.notes: tuple[str, ...] = ()
        self.done = False
        self._saved = None
        if self._path is not None and self._path.exists():
            self._saved = SavedRun.load(self._path, "segments")
        self._last = 0.0

    def restore(self, stream: Any, detector: Detector) -> None:
        """Go on where a killed run was; its first file is written where there was none.

        Raises:
            CheckpointError, ConfigError: As the class.
            OSError: If it cannot be written.
        """
        if self._path is None:
            return
        if self._saved is None:
            stream_snapshot(stream)  # that there can be one
            self.save(stream, detector, ())
            return
        state = self._saved.state
        try:
            self._compare(state["of"])
            self.events = [self._event(values) for values in state["events"]]
            if not all(isinstance(note, str) and is_name(note) for note in state["notes"]):
                raise ValueError("its notes are no lines")
            if type(state["done"]) is not bool:
                raise ValueError("whether it is done is not known")
            self.notes, self.done = tuple(state["notes"]), state["done"]
            if state["time"] is not None:
                self.time = self._last = finite(state["time"])
                stream.restore(self._saved.streams["0"])
                detector.restore(state["detector"])
        except ConfigError as error:
            raise ConfigError(f"{self._path}: {error}") from None
        except DAMAGE as error:
            raise CheckpointError(
                f"{self._path}: damaged: {one_line(error)}; remove it to start again"
            ) from None
        self._saved = None

    def see(self, time: float, stream: Any, detector: Detector, notes: Sequence[str]) -> None:
        """A frame was seen; the file is written every `EVERY` seconds of video.

        Raises:
            OSError: If it cannot be written.
        """
        self.time = time
        if time - self._last >= EVERY:
            self._last = time
            self.save(stream, detector, notes)

    def save(self, stream: Any, detector: Detector, notes: Sequence[str]) -> None:
        """Write the file."""
        if self._path is None:
            return
        state = {
            "of": self._of,
            "time": self.time,
            "events": [dataclasses.asdict(event) for event in self.events],
            "notes": [*dict.fromkeys((*self.notes, *notes))],
            "done": self.done,
            "detector": detector.state(),
        }
        SavedRun("segments", state, {"0": stream_snapshot(stream)}).save(self._path)

    def _compare(self, was: dict[str, Any]) -> None:
        for name, what in (
            ("model", "another model"),
            ("weights", "other weights"),
            ("video", "another recording"),
            ("rules", "other rules of events"),
            ("half_life", "another half-life"),
        ):
            if name == "weights" and not (was[name] and self._of[name]):
                continue  # not every file states them
            if was[name] != self._of[name]:
                raise ConfigError(
                    f"it is of a run with {what}; name another file, or remove it to start again"
                )

    def _event(self, values: dict[str, Any]) -> Event:
        event = Event(**values)
        for name in _NUMBERS:
            finite(values[name])
        if not isinstance(event.id, str) or event.label not in self._labels:
            raise ValueError("its events are of other classes")
        return event


def _described(video: Media) -> dict[str, Any]:
    """What distinguishes a recording from others, and from itself after a change."""
    name = {"name": Path(video.name).name}
    if video.given_rate is not None:
        name["frame_rate"] = f"{video.given_rate:g}"
    paths = [file.path if isinstance(file, Region) else file for file in video.files()]
    try:
        found = [path.stat() for path in paths if path.is_file()]
    except OSError:  # the reader reports what is wrong
        found = []
    size = sum(one.st_size for one in found)
    return {**name, "size": size, "changed": max((one.st_mtime_ns for one in found), default=0)}
