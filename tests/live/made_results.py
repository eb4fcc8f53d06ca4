"""Results of live sources, made without a model."""

from __future__ import annotations

from typing import Any

import numpy as np

from movinet.events import Event, EventChange
from movinet.live import LiveResult

#: When the made sources began, seconds since the epoch: 2001-09-09 01:46:40 UTC.
EPOCH = 1_000_000_000.0
LABELS = ("still", "falling", "waving")


def result(
    time: float, *changes: EventChange, source: str = "door", ended: bool = False
) -> LiveResult:
    probabilities = np.array([0.7, 0.2, 0.1], np.float32)
    captured = EPOCH + time
    return LiveResult(
        source,
        round(time * 8),
        time,
        captured,
        captured + 0.01,
        0,
        0,
        probabilities,
        LABELS,
        changes,
        ended,
    )


def change(kind: Any, start: float, end: float, label: str = "falling") -> EventChange:
    number = LABELS.index(label) if label in LABELS else 9
    return EventChange(
        kind, Event(f"{number}-{round(start * 1000)}", label, start, end, 0.9, start, 0.8)
    )
