"""How sources are watched: what can be chosen, what is usual, and what goes together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from movinet.errors import ConfigError
from movinet.events import Rules
from movinet.live.gaps import GAP_POLICIES, RESET_AFTER, GapPolicy
from movinet.live.reading import Patience
from movinet.live.resuming import Resume
from movinet.live.sources import LiveSource
from movinet.runtime.base import Runtime

#: Seconds after which a frame counts half, unless said otherwise: without one, an endless stream
#: goes stale.
HALF_LIFE = 5.0


@dataclass(frozen=True)
class WatchOptions:
    """How sources are watched.

    Attributes:
        half_life: Seconds after which a frame counts half; infinity for the mean of all frames.
        rules: Of events; None for none.
        gap: What a stream makes of ticks that it did not see. "fade": it forgets as much as if it
            had seen them; "hold": it sees the next frame in their place, up to 10 times; "skip":
            nothing; "reset": it starts anew after `reset_after` seconds, and fades before.
        reset_after: Seconds.
        seconds: After which to stop.
        patience: How long to wait for sources.
        idle: Save power while nothing moves, at the price of what is too small to notice.
    """

    half_life: float = HALF_LIFE
    rules: Rules | None = None
    gap: GapPolicy = "fade"
    reset_after: float = RESET_AFTER
    seconds: float = math.inf
    patience: Patience = field(default_factory=Patience)
    idle: bool = False

    def __post_init__(self) -> None:
        if self.gap not in GAP_POLICIES:
            raise ConfigError(f"gap must be one of {', '.join(GAP_POLICIES)}")
        for name in ("reset_after", "seconds"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be a positive number of seconds")


def usual_half_life(runtime: Runtime) -> float:
    """The half-life, seconds, if nobody says one; infinity if the model has no decay."""
    manifest = getattr(runtime, "manifest", None)
    return HALF_LIFE if manifest is None or manifest.decays else math.inf


def check_can_be_logged(
    sources: Sequence[LiveSource], resume: Resume | None, *, idle: bool
) -> None:
    """Raise ConfigError for what a log does not repeat."""
    if idle:
        raise ConfigError("a log repeats every frame: omit the log, or idle")
    if resume is not None:
        raise ConfigError(
            "a log records a run from its start: omit the log or the file to resume from"
        )
    for source in sources:
        if source.kind == "file":
            raise ConfigError(
                f"{source.name}: logs are for cameras and network streams; run a file again instead"
            )


def described(
    runtime: Runtime, options: WatchOptions, sources: Sequence[LiveSource]
) -> dict[str, Any]:
    """What a log says of a run, as JSON values without secrets."""
    manifest = getattr(runtime, "manifest", None)
    rules = options.rules
    return {
        "model": runtime.info.name,
        "weights_sha256": getattr(manifest, "weights_sha256", ""),
        "half_life": None if math.isinf(options.half_life) else options.half_life,
        "gap": options.gap,
        "reset_after": None if math.isinf(options.reset_after) else options.reset_after,
        "rules": None if rules is None else rules.to_json(),
        "sources": [{"name": source.name, "kind": source.kind} for source in sources],
    }
