"""What a client chooses when it makes a stream, and within which limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from movinet.errors import ConfigError
from movinet.events import Rules, parse_rules
from movinet.serving.frames import MAX_PIXELS, MAX_SIDE

GapPolicy = Literal["fade", "skip", "reset"]
MAX_HALF_LIFE, MAX_REWIND, MAX_RATE, MAX_TOP = 86_400.0, 60.0, 240.0, 1000


@dataclass(frozen=True)
class StreamOptions:
    """What a client chooses when it makes a stream.

    Attributes:
        model: Name of a served model; empty for the first.
        half_life: Seconds after which a frame counts half; None for the mean of all frames.
        rules: When events begin and end, as in a file of rules; None for no events.
        width: Of raw pixels.
        height: Of raw pixels.
        rate: Frames a second that the client will send; None for the model's. What exceeds the
            model's rate is not looked at.
        gap: What becomes of ticks without a frame: "fade", "skip" or "reset", as in
            `movinet.watch`.
        top: Classes in a result.
        rewind: Seconds that `rewind` can go back; each second keeps a copy of the state.
    """

    model: str = ""
    half_life: float | None = 5.0
    rules: Mapping[str, Any] | None = field(default_factory=dict)
    width: int | None = None
    height: int | None = None
    rate: float | None = None
    gap: GapPolicy = "fade"
    top: int = 5
    rewind: float = 0.0

    def __post_init__(self) -> None:
        if self.half_life is not None and not 0 < self.half_life <= MAX_HALF_LIFE:
            raise ConfigError(f"half_life must be null or 0 to {MAX_HALF_LIFE:g} seconds")
        if (self.width is None) != (self.height is None):
            raise ConfigError("width and height are given together")
        if self.size is not None:
            width, height = self.size
            if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
                raise ConfigError(f"width and height must be 1 to {MAX_SIDE}")
            if width * height > MAX_PIXELS:
                raise ConfigError(f"a frame has at most {MAX_PIXELS} pixels")
        if self.rate is not None and not 0 < self.rate <= MAX_RATE:
            raise ConfigError(f"rate must be 0 to {MAX_RATE:g} frames a second")
        if self.gap not in get_args(GapPolicy):
            raise ConfigError(f"gap must be one of {', '.join(get_args(GapPolicy))}")
        if not 1 <= self.top <= MAX_TOP:
            raise ConfigError(f"top must be 1 to {MAX_TOP}")
        if not 0 <= self.rewind <= MAX_REWIND:
            raise ConfigError(f"rewind must be 0 to {MAX_REWIND:g} seconds")
        self.parsed_rules()

    @property
    def size(self) -> tuple[int, int] | None:
        """(width, height) of raw pixels."""
        return None if self.width is None or self.height is None else (self.width, self.height)

    def parsed_rules(self) -> Rules | None:
        """The rules of events."""
        return None if self.rules is None else parse_rules(dict(self.rules))

    def plain(self) -> dict[str, Any]:
        """As JSON values that make the same again."""
        return vars(self) | {"rules": None if self.rules is None else dict(self.rules)}
