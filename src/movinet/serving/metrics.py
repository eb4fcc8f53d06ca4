"""What `/metrics` shows, in Prometheus's text format; nothing has a label for each stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from movinet.errors import MissingExtraError

if TYPE_CHECKING:
    from movinet.serving.hub import Hub

#: What became of a frame: a newer one came first; its tick had been seen; it was no frame.
Outcome = Literal["seen", "dropped", "skipped", "refused"]
_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class Metrics:
    """Counters of one server.

    Attributes:
        frames: By outcome.
        step: Seconds of a frame in a worker: decoding, resizing, step.
        queue: Seconds that a stream's oldest unseen frame waited.
        age: Seconds from a frame's arrival to its result.
        refused_streams: Streams for which there was no room.
    """

    def __init__(self) -> None:
        try:
            import prometheus_client as prometheus
        except ImportError:
            raise MissingExtraError("a server", "serve") from None
        self._prometheus: Any = prometheus
        self.registry = prometheus.CollectorRegistry()
        counter = prometheus.Counter(
            "movinet_frames", "Frames that arrived", ["outcome"], registry=self.registry
        )
        outcomes: tuple[Outcome, ...] = ("seen", "dropped", "skipped", "refused")
        self.frames = {outcome: counter.labels(outcome) for outcome in outcomes}

        def histogram(name: str, about: str) -> Any:
            return prometheus.Histogram(name, about, buckets=_SECONDS, registry=self.registry)

        self.step = histogram("movinet_step_seconds", "Decoding, resizing and step of a frame")
        self.queue = histogram("movinet_queue_seconds", "From when a stream waits to its turn")
        self.age = histogram("movinet_age_seconds", "From a frame's arrival to its result")
        self.refused_streams = prometheus.Counter(
            "movinet_streams_refused", "Streams without room", registry=self.registry
        )

    def watch(self, hub: Hub) -> None:
        """Show how many streams there are, and their memory."""

        def gauge(name: str, about: str, value: Any) -> None:
            self._prometheus.Gauge(name, about, registry=self.registry).set_function(value)

        gauge("movinet_streams", "Open streams", lambda: hub.count)
        gauge("movinet_state_bytes", "Memory of the streams' states", lambda: hub.state_bytes)
        gauge("movinet_load", "Share of the time that the streams may ask for", lambda: hub.load)

    def text(self) -> bytes:
        """The page."""
        return self._prometheus.generate_latest(self.registry)
