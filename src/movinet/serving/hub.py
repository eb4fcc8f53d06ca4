"""All streams of a server: who gets in, who sleeps on disk, who goes on elsewhere."""

from __future__ import annotations

import logging
import math
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from movinet.errors import ConfigError, MovinetError
from movinet.live.results import change_to_json
from movinet.runtime.exported import ExportedRuntime
from movinet.runtime.snapshot import StreamSnapshot
from movinet.serving.metrics import Metrics
from movinet.serving.options import StreamOptions
from movinet.serving.scheduler import Scheduler
from movinet.serving.sessions import Session, moved, tick_of
from movinet.serving.store import is_id, open_store

if TYPE_CHECKING:
    from movinet.serving.following import Follower

#: Of the workers' time, what streams may take together; the rest is for what comes in bursts.
USABLE = 0.8
#: Share of the workers' time from which on no stream gets in, whatever the others had said.
_SATURATED = 0.95
#: Seconds in which a warning is not repeated.
_SILENCE = 60.0


class FullError(MovinetError):
    """There is no time or room for another stream."""


class UnknownStreamError(MovinetError):
    """There is no stream of this id."""


@dataclass(frozen=True)
class HubOptions:
    """Limits of a server.

    Attributes:
        workers: Threads that step streams.
        max_streams: Open at a time.
        idle: Seconds without a frame or request after which a stream goes to disk, if there is a
            folder, and is closed otherwise.
        snapshots: Folder for streams, or the address of a store (``s3://…``); None to keep none.
        interval: Seconds between two snapshots of a stream that moves.
        scattered: Another server of the folder may be asked for a new stream next: until one is,
            it is kept there and takes no room.
    """

    workers: int = 1
    max_streams: int = 1000
    idle: float = 300.0
    snapshots: Path | str | None = None
    interval: float = 5.0
    scattered: bool = False


class Hub:
    """The streams of one server.

    Args:
        models: Served ones by name; the first is the default.
        options: Limits.
        metrics: What is counted.
        log: Told in one line what an operator should know.
    """

    def __init__(
        self,
        models: Mapping[str, ExportedRuntime],
        options: HubOptions,
        metrics: Metrics,
        log: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.models, self.options, self.metrics, self._log = dict(models), options, metrics, log
        self._store = open_store(options.snapshots)
        self._schedulers = {
            name: Scheduler(runtime, options.workers, metrics) for name, runtime in models.items()
        }
        self._sessions: dict[str, Session] = {}
        self._lock = threading.RLock()
        self.draining = False
        #: Feeds the streams of sources that the server follows, if it follows any.
        self.follower: Follower | None = None
        self._told: dict[str, float] = {}
        self._stopped = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="movinet-keep", daemon=True)
        self._keeper.start()
        metrics.watch(self)

    @property
    def count(self) -> int:
        """Open streams."""
        return len(self._sessions)

    @property
    def state_bytes(self) -> int:
        """Memory of all states."""
        return sum(session.state_bytes for session in tuple(self._sessions.values()))

    @property
    def load(self) -> float:
        """Share of the workers' time that the open streams may ask for; at most `USABLE`."""
        return sum(self._share(session) for session in self.sessions())

    def _share(self, session: Session) -> float:
        return session.demand * self.scheduler(session).cost / self.options.workers

    def runtime(self, model: str) -> ExportedRuntime:
        """A served model; the first for an empty name.

        Raises:
            ConfigError: If it is not served.
        """
        name = model or next(iter(self.models))
        if name not in self.models:
            raise ConfigError(f"no model {name!r} is served; there are {', '.join(self.models)}")
        return self.models[name]

    def scheduler(self, session: Session) -> Scheduler:
        """Who steps a stream."""
        return self._schedulers[session.options.model or next(iter(self.models))]

    def create(
        self,
        options: StreamOptions,
        snapshot: StreamSnapshot | None = None,
        name: str = "",
        source: str = "",
    ) -> Session:
        """A new stream.

        Args:
            options: What its client chooses.
            snapshot: What it continues from.
            name: Its id; empty for a new one that nobody can guess.
            source: What the server follows for it, if anything.

        Raises:
            FullError: If there is no room.
            ConfigError: If an option is not possible.
        """
        runtime = self.runtime(options.model)
        session = Session(name or secrets.token_urlsafe(16), runtime, options, snapshot)
        session.source = source
        if snapshot is not None:
            session.number = tick_of(snapshot, session.rate)
        return self._enter(session)

    def fork(self, name: str, **changes: object) -> Session:
        """A second stream that has seen what a first one has, perhaps with other options."""
        session = self.find(name)
        options = replace(session.options, **changes)  # type: ignore[arg-type]
        return self._enter(session.fork(secrets.token_urlsafe(16), options))

    def lend(self, session: Session) -> None:
        """A stream was made, and its client knows of it: whoever is asked next has it."""
        if self.options.scattered and session.saved == session.version and not session.listeners:
            self._forget(session)

    def find(self, name: str) -> Session:
        """A stream by its id; one that sleeps on disk wakes up.

        Raises:
            UnknownStreamError: If there is none.
            FullError: If it sleeps, and there is no room.
        """
        with self._lock:
            session = self._sessions.get(name)
            if session is not None and self._is_current(session):
                session.used = time.monotonic()
                return session
            if session is not None:
                self._forget(session)
            data = self._store.read(name) if self._store is not None and is_id(name) else None
            if data is None:
                raise UnknownStreamError("there is no stream of this id: it was closed, or expired")
            stamp = None if self._store is None else self._store.stamp(name)
            session = Session.from_bytes(name, data, self.runtime)
            session.saved, session.stamp = session.version, stamp
            return self._admit(session)

    def _is_current(self, session: Session) -> bool:
        """Whether no other server has written a stream since; one that is in use is ours."""
        if self._store is None or session.listeners or session.stamp is None:
            return True
        return self._store.stamp(session.id) in (None, session.stamp)

    def release(self, session: Session) -> None:
        """Nobody listens any more: another server may be asked for the stream next."""
        if not session.listeners and session.id in self._sessions:
            self._save(session)

    def close(self, name: str) -> Session:
        """End a stream, for good."""
        with self._lock:
            session = self.find(name)
            self._forget(session)
            session.ended = True
            self._delete(name)
        if events := session.finish_events():
            session.tell({"type": "events", "events": [change_to_json(each) for each in events]})
        session.tell({"type": "closed"})
        return session

    def sessions(self) -> list[Session]:
        """The open streams."""
        return list(self._sessions.values())

    def drain(self) -> list[Session]:
        """Let no stream in, and keep all of them on disk."""
        self.draining = True
        if self.follower is not None:
            self.follower.stop()
        sessions = self.sessions()
        for session in sessions:
            self.scheduler(session).close(session)
            self._save(session)
        return sessions

    def stop(self) -> None:
        """End the threads."""
        self._stopped.set()
        self._keeper.join()
        for scheduler in self._schedulers.values():
            scheduler.stop()

    def _enter(self, session: Session) -> Session:
        """Let a new stream in; where there is a folder, other servers know it at once."""
        if self.scheduler(session).busy > _SATURATED:  # one that wakes up was let in before
            self._refuse("the open streams send more than they said, and there is no time left")
        self._admit(session)
        self._save(session)
        return session

    def _admit(self, session: Session) -> Session:
        with self._lock:
            if self.draining:
                raise FullError("this server is about to stop")
            if len(self._sessions) >= self.options.max_streams:
                self._refuse(f"the limit of open streams is {self.options.max_streams}")
            left = max(0.0, USABLE - self.load)
            share = self._share(session)
            if share > left:
                rate = session.demand * left / share
                self._refuse(
                    f"there is time for {rate:.1f} more frames a second, and this stream may send "
                    f"{session.demand:g}"
                )
            self._sessions[session.id] = session
        if session.source and self.follower is not None:
            self.follower.attach(session)
        return session

    def _refuse(self, reason: str) -> None:
        self.metrics.refused_streams.inc()
        raise FullError(reason)

    def _forget(self, session: Session) -> None:
        with self._lock:
            self._sessions.pop(session.id, None)
            self.scheduler(session).close(session)

    def _save(self, session: Session) -> bool:
        """Keep a stream on disk if it has moved; whether it is kept."""
        if self._store is None:
            return False
        if session.saved == session.version:
            return True
        if session.stamp is not None and self._is_elsewhere(session):
            return True
        with session.lock:
            version, data = session.version, session.to_bytes()
        try:
            self._store.write(session.id, data)
        except OSError as error:
            self._warn(f"streams cannot be kept in {self._store.place} ({_reason(error)})")
            return False
        if session.ended:  # while it was written
            self._delete(session.id)
            return False
        session.saved, session.stamp = version, self._store.stamp(session.id)
        return True

    def _delete(self, name: str) -> None:
        try:
            if self._store is not None:
                self._store.delete(name)
        except OSError as error:
            self._warn(f"a stream that has ended cannot be deleted ({_reason(error)})")

    def _is_elsewhere(self, session: Session) -> bool:
        """Whether another server was asked for a stream that was kept here, which ends here then.

        Otherwise two servers would go on with a stream each, and one that was ended would be back.
        """
        assert self._store is not None
        if self._store.is_gone(session.id):
            session.ended = True
            message: dict[str, Any] = {"type": "closed"}
        elif self._store.stamp(session.id) in (None, session.stamp):
            return False
        else:
            message = moved(session)
        self._forget(session)
        session.tell(message)
        return True

    def _warn(self, text: str) -> None:
        """Tell the operator, but not of each stream of a full disk."""
        now = time.monotonic()
        if now >= self._told.get(text, -math.inf) + _SILENCE:
            self._told = {text: now}
            self._log(text)

    def _keep(self) -> None:
        """Write snapshots from time to time, and put idle streams to sleep."""
        interval = max(0.05, min(self.options.interval, self.options.idle) / 2)
        saved: dict[str, float] = {}
        while not self._stopped.wait(interval):
            now = time.monotonic()
            for session in self.sessions():
                try:
                    self._keep_one(session, now, saved)
                except Exception:  # without the thread, no stream would be kept any more
                    logging.getLogger(__name__).exception("a stream could not be kept")
                    self._warn("a stream could not be kept, for a fault of the server")
            saved = {name: at for name, at in saved.items() if name in self._sessions}

    def _keep_one(self, session: Session, now: float, saved: dict[str, float]) -> None:
        if now - session.used > self.options.idle and not session.listeners:
            if self._save(session) or self._store is None:
                self._forget(session)
                session.tell({"type": "closed"})
        elif now - saved.get(session.id, 0.0) >= self.options.interval and self._save(session):
            saved[session.id] = now


def _reason(error: OSError) -> str:
    """Why a file was not written, without its name: ids of streams are secrets."""
    first = error if error.strerror else error.__context__
    return getattr(first, "strerror", None) or str(error) or type(error).__name__
