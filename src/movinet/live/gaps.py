"""What a stream makes of ticks that it did not see."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

GapPolicy = Literal["fade", "hold", "skip", "reset"]
GAP_POLICIES: tuple[GapPolicy, ...] = get_args(GapPolicy)
#: Seconds after which "reset" begins anew, unless said otherwise.
RESET_AFTER = 10.0
#: Ticks that "hold" fills with the newest frame at most.
_MOST_HELD = 10


def see_after_gap(
    stream: Any, image: NDArray[np.uint8], gap: int, policy: GapPolicy, reset_ticks: float
) -> NDArray[np.float32]:
    """Show a stream the next frame, and what the policy makes of the ticks before it.

    Args:
        stream: A `movinet.runtime.base.Stream`.
        image: (height, width, 3) uint8 RGB.
        gap: Ticks since the frame before that the stream did not see.
        policy: See `movinet.watch`.
        reset_ticks: Ticks after which "reset" begins anew; it fades before.

    Returns:
        (classes,) float32 probabilities.
    """
    repeats = 0
    if gap and policy == "hold":
        repeats = min(gap, _MOST_HELD)
    elif gap and policy == "reset" and gap >= reset_ticks:
        stream.reset()
    elif gap and policy in ("fade", "reset"):
        stream.fade(gap)
    for _ in range(repeats):
        stream(image)
    return np.asarray(stream(image), np.float32)
