"""A source that is watched, what has been seen of it, and how that is saved."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet.errors import CheckpointError, ConfigError
from movinet.events import Detector
from movinet.live.reading import SourceReader
from movinet.live.steady import Steady
from movinet.runtime.saved_run import finite
from movinet.runtime.snapshot import StreamSnapshot
from movinet.runtime.tensor_file import DAMAGE
from movinet.text import one_line


@dataclass(eq=False)
class Watched:
    """A source, and what has been seen of it.

    Attributes:
        reader: Reads it.
        stream: What the model remembers of it.
        steady: Omits steps of it that would change nothing.
        detector: Finds its events.
        seen: Number of the newest tick; None before the first.
        captured: When the frame of this tick arrived, seconds since the epoch.
        probabilities: At this tick.
        done: There is nothing more to tell of it.
        ended: It has ended by itself.
        moved: Any of this has changed since it was saved.
    """

    reader: SourceReader
    stream: Any
    steady: Steady
    detector: Detector | None
    seen: int | None = None
    captured: float = 0.0
    probabilities: NDArray[np.float32] | None = None
    done: bool = False
    ended: bool = False
    moved: bool = False

    def see(self, number: int, captured: float, probabilities: NDArray[np.float32]) -> None:
        """The model has seen a tick."""
        self.seen, self.captured, self.probabilities = number, captured, probabilities
        self.moved = True

    def state(self) -> dict[str, Any]:
        """All but the stream, as JSON values."""
        return {
            "seen": self.seen,
            "captured": self.captured,
            "probabilities": None if self.probabilities is None else self.probabilities.tolist(),
            "detector": None if self.detector is None else self.detector.state(),
            "ended": self.ended,
        }

    def restore(
        self, state: dict[str, Any], snapshot: StreamSnapshot | None, where: str, classes: int
    ) -> None:
        """Go on where another process was; before the reader starts.

        Args:
            state: What `state` gave; may be anything.
            snapshot: Of the stream.
            where: The file, for messages.
            classes: Of the model.

        Raises:
            CheckpointError: If it is damaged.
            ConfigError: If the snapshot is of something else.
        """
        if not state:  # nothing was seen of it
            return
        try:
            self._restore(state, snapshot, classes)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
        except DAMAGE as error:
            raise CheckpointError(
                f"{where}: damaged: {one_line(error)}; remove it to start again"
            ) from None

    def _restore(
        self, state: dict[str, Any], snapshot: StreamSnapshot | None, classes: int
    ) -> None:
        if type(state["ended"]) is not bool:
            raise ValueError("whether it has ended is not known")
        self.ended = self.done = state["ended"]
        if state["seen"] is None:
            return
        if type(state["seen"]) is not int or not 0 <= state["seen"] < 2**53 or snapshot is None:
            raise ValueError("what it has seen is not known")
        self.seen, self.captured = state["seen"], finite(state["captured"])
        self.probabilities = np.array([finite(p) for p in state["probabilities"]], np.float32)
        if len(self.probabilities) != classes:
            raise ValueError("another number of classes")
        self.stream.restore(snapshot)
        if self.detector is not None:
            self.detector.restore(state["detector"])
        self.reader.resume(self.seen, time.time() - self.captured)
