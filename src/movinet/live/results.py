"""What comes out of live video: results at every tick, and how the sources are doing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet.events import EventChange


@dataclass(eq=False)
class SourceStatus:
    """How a source is doing.

    Attributes:
        source: Its name.
        state: "connecting", "connected", "waiting" (to connect again), "ended" or "failed".
        reason: Why it is waiting or has failed.
        frames: That have come so far.
        dropped: Ticks that nobody took in time, so far.
        broken: Packets of this connection that could not be decoded.
        jumps: New counts of its clock.
        reconnects: Times that it was connected again.
        undecoded: Of the frames, those that were not decoded, since nothing moved.
    """

    source: str
    state: str
    reason: str = ""
    frames: int = 0
    dropped: int = 0
    broken: int = 0
    jumps: int = 0
    reconnects: int = 0
    undecoded: int = 0

    @property
    def connected(self) -> bool:
        """Whether frames arrive."""
        return self.state == "connected"


@dataclass(frozen=True, eq=False)
class LiveResult:
    """What a model makes of a live source at one tick.

    Attributes:
        source: Name of the source.
        number: Of the tick: it is at `number` / rate seconds.
        time: Seconds in the stream.
        captured: When the frame arrived, seconds since the epoch.
        finished: When the result was there, seconds since the epoch.
        dropped: Ticks before this one whose frames came but were not seen, for lack of time.
        gap: Ticks before this one that the stream did not see, `dropped` ones among them.
        probabilities: (classes,) float32.
        labels: Names of the classes.
        events: What there is to report of events.
        ended: The source has ended: there is no new frame, and all events end.
        held: The probabilities are those of before, without a step: nothing moved, and the stream
            was at rest. They are those that a step would give, bit for bit, unless `idle` was asked
            for.
    """

    source: str
    number: int
    time: float
    captured: float
    finished: float
    dropped: int
    gap: int
    probabilities: NDArray[np.float32]
    labels: tuple[str, ...]
    events: tuple[EventChange, ...] = ()
    ended: bool = False
    held: bool = False

    @property
    def age(self) -> float:
        """Seconds from the frame's arrival to the result."""
        return self.finished - self.captured

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """The `k` most probable classes with their probabilities."""
        order = np.argsort(-self.probabilities, kind="stable")[: max(0, k)]
        return [(self.labels[i], float(self.probabilities[i])) for i in order]

    def to_json(self, k: int = 5) -> dict[str, Any]:
        """As JSON values, with the `k` most probable classes."""
        return {
            "source": self.source,
            "number": self.number,
            "time": round(self.time, 6),
            "captured": round(self.captured, 3),
            "finished": round(self.finished, 3),
            "age": round(self.age, 4),
            "dropped": self.dropped,
            "gap": self.gap,
            "top": [{"label": label, "probability": p} for label, p in self.top(k)],
            "events": [change_to_json(change) for change in self.events],
            **({"ended": True} if self.ended else {}),
            **({"held": True} if self.held else {}),
        }


def change_to_json(change: EventChange) -> dict[str, Any]:
    """A report of an event as JSON values."""
    event = change.event
    return {
        "kind": change.kind,
        "id": event.id,
        "label": event.label,
        "start": round(event.start, 6),
        "end": round(event.end, 6),
        "peak": round(event.peak, 6),
        "peak_time": round(event.peak_time, 6),
        "mean": round(event.mean, 6),
    }
