"""What a stream on the server says of a frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet.events import EventChange
from movinet.live.results import change_to_json


@dataclass(frozen=True, eq=False)
class ServedResult:
    """What a model makes of one frame.

    Attributes:
        stream: Id of the stream.
        sequence: The client's number of the frame.
        number: Of the tick.
        time: Seconds in the stream.
        age: Seconds from the frame's arrival to the result.
        dropped: Frames that came since the last result and were replaced by newer ones.
        gap: Ticks without a frame before this one.
        probabilities: (classes,) float32.
        labels: Names of the classes.
        events: What there is to report.
        top: Classes that `to_json` lists.
    """

    stream: str
    sequence: int
    number: int
    time: float
    age: float
    dropped: int
    gap: int
    probabilities: NDArray[np.float32]
    labels: tuple[str, ...]
    events: tuple[EventChange, ...]
    top: int

    def to_json(self) -> dict[str, Any]:
        """As a message."""
        order = np.argsort(-self.probabilities, kind="stable")[: self.top]
        return {
            "type": "result",
            "sequence": self.sequence,
            "number": self.number,
            "time": round(self.time, 6),
            "age": round(self.age, 5),
            "dropped": self.dropped,
            "gap": self.gap,
            "top": [
                {"label": self.labels[i], "probability": float(self.probabilities[i])}
                for i in order
            ],
            "events": [change_to_json(change) for change in self.events],
        }
