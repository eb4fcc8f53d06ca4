"""Sources that the server follows itself: cameras of the network, read by `movinet.live`.

What may be followed is said when the server is started. A client names one of these sources and
never an address: the server would open connections where the client cannot, into its own network,
and no list of hosts stops that where names can be given other addresses later. So no client needs
to know a camera's password, either.
"""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from movinet.errors import CheckpointError, ConfigError, MovinetError
from movinet.live.reading import Patience, SourceReader, Waiting
from movinet.live.results import SourceStatus
from movinet.live.sources import LiveSource, redacted
from movinet.live.watching import usual_half_life
from movinet.serving.frames import Kind, SentFrame
from movinet.serving.hub import Hub, UnknownStreamError
from movinet.serving.logs import Log
from movinet.serving.options import StreamOptions
from movinet.serving.sessions import Session
from movinet.text import one_line

#: Kinds of sources that a server follows: those that need nobody beside it, and have no end.
KINDS = ("rtsp", "rtmp", "http", "udp", "camera")
_ANSWERS = ("result", "skipped", "refused")


class Feed:
    """A source that is read at one frame rate, for the streams that see it.

    Args:
        source: What is read.
        rate: Ticks a second.
        wake: Guards everything here; notified when there is something to do.
        patience: How long to wait for the source.
        start: Tick after which it goes on, and seconds since then; None for a new one.
        log: Told when the source is connected or lost.

    Attributes:
        streams: Those that see it, with how they stop listening.
        busy: Ids of those that have not answered.
    """

    def __init__(
        self,
        source: LiveSource,
        rate: float,
        wake: threading.Condition,
        patience: Patience,
        start: tuple[int, float] | None,
        log: Log,
    ) -> None:
        self._log, self._told = log, ""
        self.source, self.rate = source, rate
        self.streams: dict[str, tuple[Session, Callable[[], None]]] = {}
        self.busy: set[str] = set()
        self._shown: Waiting | None = None
        self._left: deque[int] = deque()
        self._reader = SourceReader(source, rate, wake, patience, 0.0, self._tell)
        if start is not None:
            self._reader.resume(*start)

    @property
    def status(self) -> SourceStatus:
        """How the source is doing."""
        return self._reader.status

    def start(self) -> None:
        """Begin to read."""
        self._reader.start()

    def stop(self) -> None:
        """End as soon as a read returns."""
        self._reader.stop()
        for _, deaf in self.streams.values():
            deaf()

    @property
    def ready(self) -> bool:
        """Whether there is a frame that every stream can take."""
        waits = bool(self._left) or self._reader.peek() is not None
        return waits and bool(self.streams) and not self.busy

    def take(self) -> tuple[SentFrame, float, int]:
        """The next frame, when it arrived (monotonic), and how many were dropped before it."""
        dropped = 0
        if not self._left:
            self._shown = self._reader.take()
            self._left.extend(self._shown.numbers)
            dropped = self._shown.dropped
        assert self._shown is not None
        number, image = self._left.popleft(), np.ascontiguousarray(self._shown.image)
        height, width = image.shape[:2]
        frame = SentFrame(
            number % 2**32, number / self.rate, Kind.RGB, image.data.cast("B"), width, height
        )
        arrived = time.monotonic() - max(0.0, time.time() - self._shown.captured)
        self.busy = set(self.streams)
        return frame, arrived, dropped

    def message(self) -> dict[str, Any]:
        """How the source is doing, for those who listen to a stream."""
        status = self.status
        return {
            "type": "source",
            "source": self.source.name,
            "state": status.state,
            "reason": one_line(status.reason),
        }

    def _tell(self, status: SourceStatus) -> None:
        text = f"{status.source}: {status.state}"
        if status.reason:
            text = one_line(status.reason)  # it has the name
        if text != self._told:  # not at each attempt
            self._told = text
            self._log("note" if status.connected else "warning", text)
        for session, _deaf in tuple(self.streams.values()):
            session.tell(self.message())


class Follower:
    """Feeds streams with the sources that a server follows.

    Args:
        hub: The streams.
        sources: What may be followed.
        patience: How long to wait for a source.
        log: Told in one line what an operator should know, and how the sources are doing.

    Raises:
        ConfigError: If a source is of a kind that no server follows.
    """

    def __init__(
        self,
        hub: Hub,
        sources: Sequence[LiveSource],
        patience: Patience | None = None,
        log: Log = lambda *_: None,
    ) -> None:
        for source in sources:
            if source.kind not in KINDS:
                raise ConfigError(
                    f"{source.name}: a server follows cameras and the network (rtsp, rtmp, http, "
                    "https, udp); send videos to /v1/predict"
                )
        self._hub, self._log = hub, log
        self._sources = {source.name: source for source in sources}
        self._patience = patience or Patience()
        self._wake = threading.Condition(threading.RLock())
        self._feeds: dict[tuple[str, float], Feed] = {}
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="movinet-follow", daemon=True)
        hub.follower = self

    def start(self) -> None:
        """Follow each source, with the usual options; a stream that was kept goes on."""
        self._thread.start()
        for source in self._sources.values():
            try:
                self._begin(source)
            except MovinetError as error:
                self._log("warning", f"{source.name} is not followed: {one_line(error)}")

    def _begin(self, source: LiveSource) -> None:
        name = self._id(source)
        try:
            self._hub.find(name)
        except (UnknownStreamError, CheckpointError, ConfigError):
            half_life = usual_half_life(self._hub.runtime(""))
            options = StreamOptions(half_life=None if math.isinf(half_life) else half_life)
            self._hub.create(options, name=name, source=source.name)

    def _id(self, source: LiveSource) -> str:
        """The same after a restart, so that the stream goes on; nothing of it is a secret."""
        first = self._hub.runtime("").info.name
        text = "\0".join((source.name, redacted(source.address), first))
        return f"watch-{hashlib.sha256(text.encode()).hexdigest()[:26]}"

    def follow(self, name: str, options: StreamOptions) -> Session:
        """A new stream that sees a source.

        Raises:
            ConfigError: If there is no such source, or an option is not possible.
            FullError: If there is no room.
        """
        if name not in self._sources:
            known = ", ".join(self._sources) or "none"
            raise ConfigError(
                f"{one_line(name)} is no source of this server; there are: {known} (--watch)"
            )
        return self._hub.create(options, source=name)

    def attach(self, session: Session) -> None:
        """Let a stream see its source, if that is still there."""
        source = self._sources.get(session.source)
        if source is None:
            session.source = ""
            return
        with self._wake:
            if self._stopped:
                return
            key = (source.name, session.rate)
            feed = self._feeds.get(key)
            if fresh := feed is None:
                passed = max(0.0, time.time() - session.seen_at)
                start = None if session.number is None else (session.number, passed)
                feed = Feed(source, session.rate, self._wake, self._patience, start, self._log)
                self._feeds[key] = feed
            heard = self._listener(feed, session.id)
            feed.streams[session.id] = (session, session.listen(heard))
            if fresh:
                feed.start()

    def _listener(self, feed: Feed, name: str) -> Callable[[dict[str, Any]], None]:
        def hear(message: dict[str, Any]) -> None:
            """What became of a frame, in the thread of a worker."""
            if message["type"] in _ANSWERS:
                with self._wake:
                    feed.busy.discard(name)
                    self._wake.notify_all()
            elif message["type"] in ("closed", "moved"):
                self._detach(feed, name)
                if message["type"] == "moved":
                    self._log(
                        "warning", f"another server follows {feed.source.name}; this one stops"
                    )

        return hear

    def _detach(self, feed: Feed, name: str) -> None:
        with self._wake:
            _, deaf = feed.streams.pop(name, (None, lambda: None))
            deaf()
            feed.busy.discard(name)
            key = (feed.source.name, feed.rate)
            if not feed.streams and self._feeds.get(key) is feed:
                del self._feeds[key]
                feed.stop()
            self._wake.notify_all()

    def sources(self) -> list[tuple[str, SourceStatus | None, list[str]]]:
        """Each source with how it is doing, if it is followed, and the streams that see it."""
        with self._wake:
            listed = []
            for name in self._sources:
                feeds = [feed for feed in self._feeds.values() if feed.source.name == name]
                streams = [stream for feed in feeds for stream in feed.streams]
                listed.append((name, feeds[0].status if feeds else None, streams))
            return listed

    def stop(self) -> None:
        """Follow nothing any more."""
        with self._wake:
            self._stopped = True
            for feed in self._feeds.values():
                feed.stop()
            self._wake.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        """Give frames to streams: the next one when all have seen the last."""
        while True:
            with self._wake:
                while not (found := [each for each in self._feeds.values() if each.ready]):
                    if self._stopped:
                        return
                    self._wake.wait()
                if self._stopped:
                    return
                given = [
                    (*feed.take(), [session for session, _ in feed.streams.values()])
                    for feed in found
                ]
            for frame, arrived, dropped, sessions in given:
                for session in sessions:
                    scheduler = self._hub.scheduler(session)
                    scheduler.offer(session, frame, arrived=arrived, dropped=dropped)
