"""Steps that need not be made, since the same picture leaves a stream as it is.

With a decay, a still scene brings a stream's state to a fixed point. There, a step with the same
pixels gives the same probabilities and the same state again, bit for bit: every engine computes the
same numbers from the same numbers. So once a step was compared and changed nothing, those that
follow are omitted until a pixel changes or frames were missed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet.errors import ConfigError
from movinet.runtime.snapshot import StreamSnapshot

#: Steps with equal pixels from one comparison of states to the next: it takes as long as a step.
_FIRST, _MOST = 8, 64
#: What probabilities, and the embedding in parts of its largest value, may still change in all.
REST_PROBABILITY, REST_EMBEDDING = 0.005, 0.02


class Steady:
    """Sees frames with one stream, and omits steps that would change nothing.

    Args:
        stream: A `movinet.runtime.base.Stream`.
        decay: What its poolings keep a frame; 1 if they keep everything.
        tolerant: Also omit steps that would change next to nothing. Poolings approach their fixed
            point by a factor of `decay` a step, so what is left is at most the last change divided
            by (1 - decay); where that is below `REST_PROBABILITY` (and the embedding's below
            `REST_EMBEDDING`), nothing that is worth a step is.
    """

    def __init__(self, stream: Any, decay: float, *, tolerant: bool = False) -> None:
        self._stream, self._decay = stream, decay
        self._tolerant = tolerant and decay < 1
        self._image: NDArray[np.uint8] | None = None
        self._result: NDArray[np.float32] | None = None
        self._embedding: NDArray[np.float32] | None = None
        self._at_rest, self._equal, self._compare_at = False, 0, _FIRST

    def __call__(
        self, image: NDArray[np.uint8], gap: int, step: Callable[[], NDArray[np.float32]]
    ) -> tuple[NDArray[np.float32], bool]:
        """See a frame.

        Args:
            image: (height, width, 3) uint8 RGB.
            gap: Ticks before it that were not seen.
            step: Steps the stream.

        Returns:
            Probabilities, and whether they are those of before, without a step.
        """
        if gap or not self._is_last(image):
            self._begin(image)
            self._result = step()
            return self._result, False
        assert self._result is not None
        if self._at_rest:
            return self._result, True
        self._equal += 1
        before = self._state() if self._equal >= self._compare_at else None
        last, self._result = self._result, step()
        if before is not None:
            self._equal, self._compare_at = 0, min(2 * self._compare_at, _MOST)
            self._at_rest = _same(before, self._state()) and np.array_equal(last, self._result)
        if self._tolerant and not self._at_rest:
            self._at_rest = self._is_settled(last, self._result)
        return self._result, False

    def _is_last(self, image: NDArray[np.uint8]) -> bool:
        last = self._image
        return last is not None and (image is last or np.array_equal(image, last))

    def _begin(self, image: NDArray[np.uint8]) -> None:
        """Another picture."""
        self._image, self._embedding = image, None
        self._at_rest, self._equal, self._compare_at = False, 0, _FIRST

    def _state(self) -> StreamSnapshot | None:
        snapshot = self._stream.snapshot()
        return snapshot if isinstance(snapshot, StreamSnapshot) else None

    def _is_settled(self, last: NDArray[np.float32], result: NDArray[np.float32]) -> bool:
        """Whether all that another million steps would change is next to nothing."""
        left = 1 / (1 - self._decay)
        if np.abs(result - last).max() * left > REST_PROBABILITY:
            self._embedding = None
            return False
        try:
            before, self._embedding = self._embedding, self._stream.embedding
        except ConfigError:  # the file has none
            self._tolerant = False
            return False
        if before is None or self._embedding is None:
            return False
        change = np.abs(self._embedding - before).max() * left
        return bool(change <= REST_EMBEDDING * np.abs(self._embedding).max())


def _same(before: StreamSnapshot | None, after: StreamSnapshot | None) -> bool:
    """Whether two states are the same, bit for bit."""
    if before is None or after is None:
        return False
    return all(
        value.tobytes() == after.values[name].tobytes() for name, value in before.values.items()
    )
