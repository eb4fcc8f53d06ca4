"""Whose frame is seen next: newest frame of each stream, longest waiting stream first, no batches.

On a CPU a batch saves some per cent of a frame, and waiting for one costs its whole window, so
nobody waits: a worker that is free takes what is ready, in one step if it is several streams.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import logging
import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from movinet.errors import MovinetError
from movinet.runtime.base import check_numbers
from movinet.runtime.exported import ExportedRuntime
from movinet.serving.frames import SentFrame, decode
from movinet.serving.metrics import Metrics
from movinet.serving.results import ServedResult
from movinet.serving.sessions import Session
from movinet.text import one_line

#: Streams in one step at most: more would let the first wait for the last.
_MOST_TOGETHER = 8
#: Seconds after which work counts a third, where it is asked how busy the workers are.
_MEMORY = 5.0
#: Weight of a new measurement of a frame's cost.
_NEW = 0.05


@dataclass(frozen=True, slots=True)
class _Turn:
    """A frame that a worker has taken."""

    session: Session
    frame: SentFrame
    arrived: float
    since: float
    dropped: int


@dataclass(frozen=True, slots=True)
class _Step:
    """A frame that is stepped."""

    turn: _Turn
    image: NDArray[np.uint8]
    number: int
    gap: int


class Scheduler:
    """Steps the streams of one model, with a thread for each core.

    Args:
        runtime: The model.
        workers: Threads.
        metrics: What is counted.

    Attributes:
        cost: Seconds of a worker that a frame takes, lately.
    """

    def __init__(self, runtime: ExportedRuntime, workers: int, metrics: Metrics) -> None:
        self._runtime, self.workers, self._metrics = runtime, workers, metrics
        self._wake = threading.Condition()
        self._ready: list[tuple[float, int, Session]] = []
        self._order = itertools.count()
        self._stopped = False
        self._worked, self._worked_at = 0.0, time.monotonic()
        #: Since when a worker is at what it does, by its thread.
        self._running: dict[int, float] = {}
        self.cost = self._measure()
        self._threads = [
            threading.Thread(target=self._work, name=f"movinet-step-{i}", daemon=True)
            for i in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def offer(
        self,
        session: Session,
        frame: SentFrame,
        *,
        arrived: float | None = None,
        dropped: int = 0,
    ) -> None:
        """The newest frame of a stream; one that still waits is dropped.

        Args:
            session: The stream.
            frame: What comes next.
            arrived: When it came (monotonic); now, unless somebody else has let it wait.
            dropped: Frames that it has replaced there.
        """
        now = time.monotonic()
        with self._wake:
            if self._stopped or session.closed:
                return
            session.used, session.arrived = now, now if arrived is None else arrived
            session.replaced += dropped
            session.dropped += dropped
            if session.waiting is None:
                # Replaced frames keep their place, or a stream of many would never be seen.
                session.since = now
                if not session.busy:
                    self._queue(session)
            else:
                session.replaced += 1
                session.dropped += 1
                self._metrics.frames["dropped"].inc()
            session.waiting = frame

    @property
    def busy(self) -> float:
        """Share of the workers' time of the last seconds in which they had something to do."""
        with self._wake:
            now = time.monotonic()
            running = sum(min(now - began, _MEMORY) for began in tuple(self._running.values()))
            return (self._forgotten(now) + running) / (_MEMORY * self.workers)

    def _forgotten(self, now: float) -> float:
        """Seconds of work, of which those long ago count less."""
        return self._worked * math.exp((self._worked_at - now) / _MEMORY)

    def close(self, session: Session) -> None:
        """Nothing of it is seen any more."""
        with self._wake:
            session.closed, session.waiting = True, None

    def stop(self) -> None:
        """End the workers, after what they are at."""
        with self._wake:
            self._stopped = True
            self._wake.notify_all()
        for thread in self._threads:
            thread.join()

    def _queue(self, session: Session) -> None:
        heapq.heappush(self._ready, (session.since, next(self._order), session))
        self._wake.notify()

    def _measure(self) -> float:
        """What a frame costs on this machine, seconds, before there is any."""
        side = self._runtime.info.input.image_size
        stream, image = self._runtime.stream(), np.zeros((side, side, 3), np.uint8)
        took = []
        for _ in range(5):
            began = time.perf_counter()
            self._runtime.step([stream], [image])
            took.append(time.perf_counter() - began)
        return min(took)

    def _work(self) -> None:
        while turns := self._take():
            began = self._running[threading.get_ident()] = time.monotonic()
            try:
                self._see(turns)
            except Exception:  # a worker that ends would leave all streams without results
                logging.getLogger(__name__).exception("a step failed")
                for turn in turns:
                    self._refuse(turn, MovinetError("the server failed at this frame; see its log"))
            finally:
                self._put_back(turns, time.monotonic() - began)

    def _take(self) -> list[_Turn]:
        """Those that have waited longest, this worker's share; empty at the end."""
        turns: list[_Turn] = []
        with self._wake:
            while not turns:
                if self._stopped:
                    return []
                share = min(_MOST_TOGETHER, math.ceil(len(self._ready) / self.workers))
                while self._ready and len(turns) < share:
                    _, _, session = heapq.heappop(self._ready)
                    if session.waiting is None:
                        continue  # closed meanwhile
                    turns.append(
                        _Turn(
                            session,
                            session.waiting,
                            session.arrived,
                            session.since,
                            session.replaced,
                        )
                    )
                    session.replaced = 0
                    session.waiting, session.busy = None, True
                if not turns:
                    self._wake.wait()
        return turns

    def _put_back(self, turns: Sequence[_Turn], seconds: float) -> None:
        with self._wake:
            now = time.monotonic()
            self._running.pop(threading.get_ident(), None)
            self._worked, self._worked_at = self._forgotten(now) + seconds, now
            self.cost += _NEW * (seconds / len(turns) - self.cost)
            for turn in turns:
                turn.session.busy = False
                if turn.session.waiting is not None:
                    self._queue(turn.session)

    def _see(self, turns: Sequence[_Turn]) -> None:
        """Step the streams of some frames; what goes wrong with one is told to its client."""
        began = time.monotonic()
        with contextlib.ExitStack() as held:
            for turn in sorted(turns, key=lambda turn: id(turn.session)):
                held.enter_context(turn.session.lock)
            steps = [step for turn in turns if (step := self._prepared(turn)) is not None]
            if steps:
                self._step(steps)
        if steps:
            self._metrics.step.observe((time.monotonic() - began) / len(steps))

    def _step(self, steps: Sequence[_Step]) -> None:
        try:
            streams = [step.turn.session.stream for step in steps]
            images = [step.image for step in steps]
            rows = self._runtime.step(streams, images, check=False)
        except MovinetError as error:
            for step in steps:
                self._refuse(step.turn, error)
            return
        for step, row in zip(steps, rows, strict=True):
            # Each by itself: the others in the step have seen their frames.
            try:
                check_numbers(row, self._runtime.info)
                self._finish(step, row)
            except MovinetError as error:
                self._refuse(step.turn, error)

    def _prepared(self, turn: _Turn) -> _Step | None:
        """A frame's pixels and tick; None if it is not stepped, which its client is told."""
        session, frame = turn.session, turn.frame
        self._metrics.queue.observe(time.monotonic() - turn.since)
        tick = session.tick(frame)
        if tick is None:
            self._metrics.frames["skipped"].inc()
            session.tell({"type": "skipped", "sequence": frame.sequence})
            return None
        try:
            image = decode(frame)
        except MovinetError as error:
            self._refuse(turn, error)
            return None
        number, gap = tick
        session.prepare(gap)
        return _Step(turn, image, number, gap)

    def _finish(self, step: _Step, row: NDArray[np.float32]) -> None:
        session, age = step.turn.session, time.monotonic() - step.turn.arrived
        result: ServedResult = session.seen(
            step.turn.frame, step.number, step.gap, row, age, step.turn.dropped
        )
        self._metrics.frames["seen"].inc()
        self._metrics.age.observe(age)
        session.tell(result.to_json())

    def _refuse(self, turn: _Turn, error: Exception) -> None:
        self._metrics.frames["refused"].inc()
        sequence = turn.frame.sequence
        turn.session.tell({"type": "refused", "sequence": sequence, "reason": one_line(error)})
