"""How the learning rate goes."""

from __future__ import annotations

import math

from movinet.training.config import ScheduleSection

#: The warm-up is at most one part of so many of a run: few updates are for learning.
_WARMUP_PARTS = 5


def warmup_steps(total_steps: int, config: ScheduleSection) -> int:
    """Updates of warm-up: as many as are set, but at most a fifth of the run."""
    return min(config.warmup_steps, total_steps // _WARMUP_PARTS)


def learning_rate(step: int, total_steps: int, peak: float, config: ScheduleSection) -> float:
    """The learning rate of an update, as in the reference's schedules.

    The cosine counts from the first update on; the warm-up is a line from 0 to where the cosine is
    at its end (tf-models: ``LinearWarmup`` around ``CosineDecay``).

    Args:
        step: Updates made before.
        total_steps: Updates of the whole run.
        peak: Where the cosine starts.
        config: Kind, and length of the warm-up.
    """
    warmup = warmup_steps(total_steps, config)
    if step < warmup:
        end = _after_warmup(warmup, total_steps, peak, config)
        return end * step / warmup
    return _after_warmup(step, total_steps, peak, config)


def _after_warmup(step: int, total_steps: int, peak: float, config: ScheduleSection) -> float:
    if config.kind == "constant":
        return peak
    return peak * 0.5 * (1 + math.cos(math.pi * min(step, total_steps) / total_steps))
