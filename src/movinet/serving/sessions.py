"""A stream on the server: its state, its clock, its events, and who listens to it."""

from __future__ import annotations

import json
import math
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet.errors import CheckpointError, ConfigError
from movinet.events import Detector, EventChange
from movinet.runtime.exported import ExportedRuntime
from movinet.runtime.numbers import decay_from_half_life
from movinet.runtime.saved_run import finite
from movinet.runtime.snapshot import StreamSnapshot
from movinet.runtime.tensor_file import DAMAGE
from movinet.serving.frames import SentFrame
from movinet.serving.options import MAX_REWIND, StreamOptions
from movinet.serving.results import ServedResult
from movinet.text import one_line

#: Seconds of a gap after which "reset" starts anew.
RESET_AFTER = 10.0
#: Seconds in a stream, before and after 0, that a clock can show: those of frames that are sent.
MAX_TIME = 1e9
#: Seconds of stream time between two snapshots that `rewind` can go back to.
_RING_STEP = 1.0
_BUNDLE = b"MOVINETS"
#: Ticks, and numbers that clients give: those of `MAX_TIME` and of all frames after it.
_MAX_COUNT = 2**50


@dataclass(frozen=True)
class _Moment:
    """A point to which a stream can go back."""

    time: float
    snapshot: StreamSnapshot
    number: int | None
    events: dict[str, Any] | None


class Session:
    """A stream on the server.

    Attributes:
        id: Nobody can guess it: who has it may use the stream.
        options: What its client chose.
        stream: The model's own.
        lock: Held while it moves.
        waiting: The frame that is seen next, if any. The scheduler's, as the next four are.
        since: Since when a frame has waited (monotonic).
        arrived: When the waiting one came (monotonic).
        replaced: Frames that the waiting one has replaced.
        busy: A worker has it.
        closed: Nothing is seen any more.
        ended: Nor is it kept on disk.
        sequence: The client's number of the last frame that was seen.
        used: When it was last used (monotonic).
        results: So far.
        dropped: Frames replaced, so far.
        version: Counts every change of what a snapshot has.
        saved: The version that is on disk.
        stamp: Of the file with it.
        source: Name of the source that the server follows for it; empty if clients send frames.
        seen_at: When the last frame was seen, seconds since the epoch.
    """

    def __init__(
        self,
        name: str,
        runtime: ExportedRuntime,
        options: StreamOptions,
        snapshot: StreamSnapshot | None = None,
    ) -> None:
        self.id, self.options, self.runtime = name, options, runtime
        self.rate = runtime.info.input.frame_rate
        self.stream = runtime.stream(half_life=options.half_life)
        if snapshot is not None:
            self.stream.restore(snapshot)
        rules = options.parsed_rules()
        self.detector = None if rules is None else Detector(runtime.info.labels, rules, source=name)
        self.lock = threading.RLock()
        self.waiting: SentFrame | None = None
        self.since = self.arrived = 0.0
        self.replaced, self.busy, self.closed, self.ended = 0, False, False, False
        self.number: int | None = None
        self.sequence: int | None = None
        self.used = time.monotonic()
        self.results = self.dropped = 0
        self.version, self.saved = 0, -1
        self.stamp: object = None
        self.source, self.seen_at = "", 0.0
        self._ring: deque[_Moment] = deque()
        self._listeners: list[Callable[[dict[str, Any]], None]] = []

    @property
    def demand(self) -> float:
        """Frames a second that it takes of the server."""
        return min(self.options.rate or self.rate, self.rate)

    @property
    def state_bytes(self) -> int:
        """Bytes of its state, with those of the seconds that it can go back."""
        states = self.runtime.manifest.states
        sizes = {"int8": 1, "float16": 2}
        one = sum(
            math.prod(side or 1 for side in s.shape[1:]) * sizes.get(s.dtype, 4) for s in states
        )
        return one * (1 + len(self._ring))

    def listen(self, listener: Callable[[dict[str, Any]], None]) -> Callable[[], None]:
        """Call somebody with every message, in the thread of a worker; returns how to stop it."""
        self._listeners.append(listener)

        def stop() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return stop

    @property
    def listeners(self) -> int:
        """How many listen."""
        return len(self._listeners)

    def tell(self, message: dict[str, Any]) -> None:
        """Give a message to all who listen."""
        for listener in tuple(self._listeners):
            listener(message)

    # What follows is called with the lock held, but for those that take it themselves.

    def tick(self, frame: SentFrame) -> tuple[int, int] | None:
        """The tick of a frame and those missed before it; None if its tick has been seen."""
        if frame.time is None:
            return (0 if self.number is None else self.number + 1), 0
        number = int(frame.time * self.rate + 0.5)
        if self.number is None:
            return number, 0
        return (number, number - self.number - 1) if number > self.number else None

    def prepare(self, gap: int) -> None:
        """Let the stream forget what the gap policy says, before the next frame."""
        policy = self.options.gap
        if gap and policy == "reset" and gap >= RESET_AFTER * self.rate:
            self.stream.reset()
        elif gap and policy in ("fade", "reset"):
            self.stream.fade(gap)

    def seen(
        self,
        frame: SentFrame,
        number: int,
        gap: int,
        probabilities: NDArray[np.float32],
        age: float,
        dropped: int,
    ) -> ServedResult:
        """Count a frame that was stepped, and say what came of it."""
        self.number, self.sequence, self.seen_at = number, frame.sequence, time.time()
        self.results += 1
        self.version += 1
        at = number / self.rate
        events = () if self.detector is None else tuple(self.detector.update(at, probabilities))
        self._remember(at)
        labels = self.runtime.info.labels
        return ServedResult(
            self.id, frame.sequence, number, at, age, dropped, gap, probabilities, labels, events,
            self.options.top,
        )  # fmt: skip

    def step_now(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See frames that are there already, a tick each, in the thread that asks.

        Args:
            frames: (frames, height, width, 3) uint8 RGB.

        Returns:
            (frames, classes) float32 probabilities after each.
        """
        with self.lock:
            rows = np.stack([self.stream(frame) for frame in frames])
            self.number = len(frames) + (-1 if self.number is None else self.number)
            self.results += len(frames)
            self.version += 1
            return rows

    def _remember(self, at: float) -> None:
        if not self.options.rewind or (self._ring and at - self._ring[-1].time < _RING_STEP):
            return
        self._ring.append(self._moment(at))
        while self._ring and at - self._ring[0].time > self.options.rewind:
            self._ring.popleft()

    def _moment(self, at: float) -> _Moment:
        events = None if self.detector is None else self.detector.state()
        return _Moment(at, self.stream.snapshot(), self.number, events)

    def snapshot(self) -> StreamSnapshot:
        """The state, with its time in the stream."""
        with self.lock:
            at = None if self.number is None else self.number / self.rate
            return replace(self.stream.snapshot(), time=at)

    def restore(self, snapshot: StreamSnapshot) -> None:
        """Continue from a snapshot of the same weights, from anywhere.

        Raises:
            ConfigError: If it is of another model, or its time is out of range.
        """
        number = tick_of(snapshot, self.rate)
        with self.lock:
            self.stream.restore(snapshot)
            if not self.source:  # whose clock goes on
                self.number = number
            self._start_again()

    def reset(self) -> None:
        """Forget everything."""
        with self.lock:
            self.stream.reset()
            self.number = None
            self._start_again()

    def _start_again(self) -> None:
        self.version += 1
        self._ring.clear()
        if self.detector is not None:
            rules = self.options.parsed_rules()
            self.detector = Detector(self.runtime.info.labels, rules, source=self.id)

    def rewind(self, seconds: float) -> float:
        """Forget the last seconds; the clock goes on.

        Returns:
            The time that the state is of now, at least as many seconds ago, if kept.

        Raises:
            ConfigError: If nothing is kept from so long ago.
        """
        with self.lock:
            now = 0.0 if self.number is None else self.number / self.rate
            kept = [moment for moment in self._ring if moment.time <= now - seconds]
            if not kept:
                raise ConfigError(
                    f"nothing is kept of {seconds:g} s ago: make the stream with rewind, at most "
                    f"{MAX_REWIND:g} seconds"
                )
            moment = kept[-1]
            self.stream.restore(moment.snapshot)
            self.version += 1
            while self._ring[-1] is not moment:
                self._ring.pop()
            return moment.time

    def set_half_life(self, half_life: float | None) -> None:
        """Change how fast it forgets, from the next frame on."""
        options = replace(self.options, half_life=half_life)
        with self.lock:
            decay = 1.0 if half_life is None else decay_from_half_life(half_life, self.rate)
            self.stream.set_decay(decay)
            self.options = options
            self.version += 1

    def finish_events(self) -> list[EventChange]:
        """End the events that last."""
        with self.lock:
            return [] if self.detector is None else self.detector.finish()

    def fork(self, name: str, options: StreamOptions) -> Session:
        """Another stream that has seen what this one has."""
        with self.lock:
            other = Session(name, self.runtime, options, self.stream.snapshot())
            other.number, other.sequence = self.number, self.sequence
            other.source, other.seen_at = self.source, self.seen_at
            if (
                other.detector is not None
                and self.detector is not None
                and options.rules == self.options.rules
            ):
                other.detector.restore(self.detector.state())
            return other

    def to_bytes(self) -> bytes:
        """Everything, for a file that another process continues from."""
        with self.lock:
            about = {
                "version": 1,
                "options": self.options.plain(),
                "number": self.number,
                "sequence": self.sequence,
                "results": self.results,
                "dropped": self.dropped,
                "source": self.source,
                "seen_at": self.seen_at,
                "events": None if self.detector is None else self.detector.state(),
            }
            state = self.snapshot().to_bytes()
        text = json.dumps(about, separators=(",", ":")).encode()
        return _BUNDLE + struct.pack("<Q", len(text)) + text + state

    @classmethod
    def from_bytes(cls, name: str, data: bytes, find: Callable[[str], ExportedRuntime]) -> Session:
        """The inverse of `to_bytes`.

        Args:
            name: The stream's id.
            data: The file.
            find: A served model by its name.

        Raises:
            CheckpointError: If it is damaged.
            ConfigError: If it is of a model that is not served.
        """
        try:
            if data[:8] != _BUNDLE:
                raise ValueError("it is none")
            (length,) = struct.unpack_from("<Q", data, 8)
            if length > len(data) - 16:
                raise ValueError("it is cut off")
            about = json.loads(data[16 : 16 + length])
            if about["version"] != 1:
                raise ValueError("it is of another version")
            options = StreamOptions(**about["options"])
            snapshot = StreamSnapshot.from_bytes(data[16 + length :])
            session = cls(name, find(options.model), options, snapshot)
            for field_name in ("number", "sequence"):
                value = about[field_name]
                if value is not None and (type(value) is not int or abs(value) > _MAX_COUNT):
                    raise ValueError(f"its {field_name} is none")
                setattr(session, field_name, value)
            session.source = str(about.get("source", ""))
            session.seen_at = finite(about.get("seen_at", 0.0))
            session.results, session.dropped = int(about["results"]), int(about["dropped"])
            if session.detector is not None and about["events"] is not None:
                session.detector.restore(about["events"])
        except (*DAMAGE, struct.error) as error:
            if isinstance(error, ConfigError):
                raise
            raise CheckpointError(f"not a stream of this server: {one_line(error)}") from None
        return session


def tick_of(snapshot: StreamSnapshot, rate: float) -> int | None:
    """The tick of a snapshot's time; None if it has none.

    Raises:
        ConfigError: If floating-point numbers could not tell the ticks after it apart.
    """
    if snapshot.time is None:
        return None
    if not abs(snapshot.time) <= MAX_TIME:
        raise ConfigError(
            f"the time of a snapshot is -{MAX_TIME:g} to {MAX_TIME:g} s, not {snapshot.time:g}"
        )
    return round(snapshot.time * rate)


def moved(session: Session) -> dict[str, Any]:
    """What a client of a stream that moves is told."""
    return {"type": "moved", "id": session.id, "sequence": session.sequence}
