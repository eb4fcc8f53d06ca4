"""What requests and answers look like, as OpenAPI describes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from movinet.live.results import SourceStatus
from movinet.runtime.exported import ExportedRuntime
from movinet.serving.frames import MAX_SIDE
from movinet.serving.options import (
    MAX_HALF_LIFE,
    MAX_RATE,
    MAX_REWIND,
    MAX_TOP,
    GapPolicy,
    StreamOptions,
)
from movinet.serving.sessions import Session
from movinet.text import one_line

if TYPE_CHECKING:
    from movinet.serving.hub import Hub

HalfLife = Annotated[
    float | None,
    Field(
        gt=0,
        le=MAX_HALF_LIFE,
        allow_inf_nan=False,
        description="Seconds after which a frame counts half; null for the mean of all frames.",
    ),
]
EventRules = Annotated[
    dict[str, Any] | None,
    Field(
        description="When events begin and end, as in a file of rules; null for no events.",
        examples=[{"default": {"on": 0.6, "off": 0.4}, "exclusive": True}],
    ),
]


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Error(_Message):
    """Why something was not done."""

    error: str


class ModelInfo(_Message):
    """A model that is served."""

    name: str
    labels: list[str]
    image_size: Annotated[int, Field(description="Pixels a side that the model sees.")]
    frame_rate: Annotated[float, Field(description="Frames a second that it sees.")]
    notes: list[str]

    @classmethod
    def of(cls, name: str, runtime: ExportedRuntime) -> ModelInfo:
        """A runtime's."""
        info = runtime.info
        return cls(
            name=name,
            labels=list(info.labels),
            image_size=info.input.image_size,
            frame_rate=info.input.frame_rate,
            notes=list(info.notes),
        )


class SeenOptions(_Message):
    """How frames are seen, wherever they come from; everything has a default."""

    model: Annotated[str, Field(description="Name of a model; the first if empty.")] = ""
    half_life: HalfLife = 5.0
    rules: EventRules = Field(default_factory=dict)
    gap: Annotated[GapPolicy, Field(description="What becomes of ticks without a frame.")] = "fade"
    top: Annotated[int, Field(ge=1, le=MAX_TOP, description="Classes in a result.")] = 5
    rewind: Annotated[
        float,
        Field(ge=0, le=MAX_REWIND, description="Seconds to which rewind can go back."),
    ] = 0.0


class StreamRequest(SeenOptions):
    """A stream that is wanted; everything has a default."""

    width: Annotated[int | None, Field(ge=1, le=MAX_SIDE, description="Of raw pixels.")] = None
    height: Annotated[int | None, Field(ge=1, le=MAX_SIDE, description="Of raw pixels.")] = None
    rate: Annotated[
        float | None,
        Field(gt=0, le=MAX_RATE, description="Frames a second you will send; null: the model's."),
    ] = None

    def options(self) -> StreamOptions:
        """Checked against each other.

        Raises:
            ConfigError: If they do not fit.
        """
        return StreamOptions(**self.model_dump())


class ForkRequest(_Message):
    """What is other in the fork."""

    half_life: HalfLife = 5.0
    rules: EventRules = Field(default_factory=dict)
    top: Annotated[int, Field(ge=1, le=MAX_TOP)] = 5


class RewindRequest(_Message):
    """How far to go back."""

    seconds: Annotated[float, Field(gt=0, le=MAX_REWIND)]


class Rewound(_Message):
    """Where the state is now."""

    time: Annotated[float, Field(description="Seconds in the stream that it is of.")]


class StreamInfo(_Message):
    """A stream as it is."""

    id: Annotated[str, Field(description="Who has it may use the stream, after a restart too.")]
    model: str
    live: Annotated[str, Field(description="Path of its WebSocket.")]
    frame_rate: Annotated[float, Field(description="Ticks a second.")]
    half_life: float | None
    sequence: Annotated[int | None, Field(description="Of the last frame that was seen.")]
    time: Annotated[float | None, Field(description="Seconds in the stream of it.")]
    results: int
    dropped: int
    state_bytes: int
    listeners: int
    source: Annotated[str | None, Field(description="Of the server that it sees, if any.")]

    @classmethod
    def of(cls, session: Session, hub: Hub) -> StreamInfo:
        """A session's."""
        number = session.number
        return cls(
            id=session.id,
            model=session.options.model or next(iter(hub.models)),
            live=f"/v1/streams/{session.id}/live",
            frame_rate=session.rate,
            half_life=session.options.half_life,
            sequence=session.sequence,
            time=None if number is None else number / session.rate,
            results=session.results,
            dropped=session.dropped,
            state_bytes=session.state_bytes,
            listeners=session.listeners - bool(session.source),  # the server itself
            source=session.source or None,
        )


class SourceInfo(_Message):
    """A source that the server may follow."""

    name: str
    state: Annotated[
        str, Field(description="off, connecting, connected, waiting (to be tried again) or failed.")
    ]
    reason: Annotated[str, Field(description="Why it is waiting, or has failed.")]
    reconnects: int
    streams: Annotated[list[str], Field(description="Ids of the streams that see it.")]

    @classmethod
    def of(cls, name: str, status: SourceStatus | None, streams: list[str]) -> SourceInfo:
        """As the follower has it."""
        if status is None:
            return cls(name=name, state="off", reason="", reconnects=0, streams=streams)
        return cls(
            name=name,
            state=status.state,
            reason=one_line(status.reason),
            reconnects=status.reconnects,
            streams=streams,
        )
