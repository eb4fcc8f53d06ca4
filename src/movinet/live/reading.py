"""One thread a source: opens it, decodes it, keeps the newest due frame, connects again."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from movinet.errors import MovinetError, VideoError
from movinet.live.clips.recording import Recorder
from movinet.live.clock import StreamClock
from movinet.live.idle import Idle
from movinet.live.opening import Connection
from movinet.live.results import SourceStatus
from movinet.live.runlog import SourceLog
from movinet.live.sources import LiveSource
from movinet.live.ticks import Due, Ticker
from movinet.video.container import SkippedPacket
from movinet.video.pixels import UPRIGHT, Orientation, RgbConverter
from movinet.video.reader import VideoReader

#: A recording whose last seconds are missing has been seen: sound may last longer than video.
_REST = 1.0


class Origin(NamedTuple):
    """Where a frame comes from.

    Attributes:
        connection: Its number.
        picture: Number of the decoded picture in it.
        aspect: Width of a pixel, in heights.
        turn: What makes it upright.
    """

    connection: int = 0
    picture: int = 0
    aspect: float = 1.0
    turn: Orientation = UPRIGHT


_NOWHERE = Origin()


@dataclass(frozen=True)
class Waiting:
    """What a source has for the model.

    Attributes:
        image: (height, width, 3) uint8 RGB.
        numbers: Ticks at which it is on screen.
        captured: When it arrived, seconds since the epoch.
        dropped: Ticks with frames that nobody took, since the ones that somebody took.
        origin: Of a stream: where in it the frame is.
    """

    image: NDArray[np.uint8]
    numbers: range
    captured: float
    dropped: int
    origin: Origin = _NOWHERE


@dataclass(frozen=True)
class Patience:
    """How long to wait for a source, seconds.

    Attributes:
        opening: For it to open.
        silence: For its next packet.
        shortest: Before connecting again, at first; doubled each time.
        longest: Before connecting again, at most.
        restart: A camera may take as long to start anew: until then it is tried again after
            `brief` at most.
        brief: See `restart`.
    """

    opening: float = 10.0
    silence: float = 5.0
    shortest: float = 0.5
    longest: float = 30.0
    restart: float = 120.0
    brief: float = 1.5

    def next_wait(self, wait: float, lost_for: float) -> float:
        """How long to wait after a wait in vain, for a source that was lost so long ago."""
        return min(2 * wait, self.brief if lost_for < self.restart else self.longest)


class _Shower:
    """The pictures of one connection as the model sees them.

    Args:
        connection: It.
        to_rgb: Converts pictures with pixels of a shape.
        idle: Put off decoding while nothing moves.
    """

    def __init__(self, connection: Connection, to_rgb: RgbConverter, *, idle: bool) -> None:
        self._connection, self._to_rgb, self._told = connection, to_rgb, 0
        self._idle = Idle(connection.stream.codec_context, self._convert) if idle else None
        self._last: tuple[VideoFrame, NDArray[np.uint8]] | None = None

    def decode(self, packet: Packet) -> Iterable[object]:
        """See `Idle.decode`."""
        return packet.decode() if self._idle is None else self._idle.decode(packet)

    def image(self, picture: VideoFrame, at: float) -> NDArray[np.uint8]:
        """A picture as RGB; the same array for the same picture.

        Args:
            picture: As decoded.
            at: Now, seconds in the stream.
        """
        if self._idle is None:
            return self._convert(picture)
        if self._last is None or self._last[0] is not picture:
            self._last = picture, self._convert(picture)
            self._idle.look(*self._last, at)
        return self._last[1]

    @property
    def news(self) -> int:
        """Packets that were not decoded since last asked."""
        undecoded = 0 if self._idle is None else self._idle.undecoded
        news, self._told = undecoded - self._told, undecoded
        return news

    def _convert(self, picture: VideoFrame) -> NDArray[np.uint8]:
        return self._to_rgb(picture, self._connection.aspect)


class SourceReader:
    """Reads one source in a thread of its own; at most one frame waits.

    Args:
        source: What to read.
        rate: Frames a second that the model takes.
        wake: Notified when a frame waits, or the source has ended.
        patience: How long to wait for it.
        start: Stream time of its first frame, seconds.
        on_status: Called in the thread when it connects, is lost or ends.
        recorder: Gets the packets of streams.
        log: Gets them, too.
        idle: Put off decoding while nothing moves.

    Attributes:
        status: How it is doing.
    """

    def __init__(
        self,
        source: LiveSource,
        rate: float,
        wake: threading.Condition,
        patience: Patience,
        start: float,
        on_status: Callable[[SourceStatus], None],
        recorder: Recorder | None = None,
        log: SourceLog | None = None,
        *,
        idle: bool = False,
    ) -> None:
        self.source, self.status = source, SourceStatus(source.name, "connecting")
        self._rate, self._wake, self._patience = rate, wake, patience
        self._clock = StreamClock(start)
        self._ticker: Ticker[tuple[int, VideoFrame]] = Ticker(rate)
        self._on_status, self._recorder, self._log = on_status, recorder, log
        self._connections, self._idle = 0, idle
        self._waiting: Waiting | None = None
        self._ended, self._first, self._is_whole = False, 0, False
        self._stop = threading.Event()
        self._notes: list[SkippedPacket] = []
        # Notes on colours: one of each at most.
        self._to_rgb = RgbConverter(source.name, self._notes)
        self._thread = threading.Thread(
            target=self._run, name=f"movinet {source.name}", daemon=True
        )

    def resume(self, number: int, passed: float) -> None:
        """Go on after a tick that another process saw; before `start`.

        Args:
            number: Of the tick.
            passed: Since its frame arrived, seconds.
        """
        self._first = number + 1
        self._ticker.skip_to(self._first)
        self._clock.resume(number / self._rate, time.monotonic() - max(0.0, passed))

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """End as soon as a read returns; does not wait for it."""
        self._stop.set()

    def join(self, seconds: float) -> None:
        """Wait for the thread to end."""
        self._thread.join(seconds)

    @property
    def ended(self) -> bool:
        """Whether there will be no more frames. With `wake` held."""
        return self._ended

    def peek(self) -> Waiting | None:
        """What waits. With `wake` held."""
        return self._waiting

    def take(self) -> Waiting:
        """Take what waits. With `wake` held."""
        assert self._waiting is not None
        waiting, self._waiting = self._waiting, None
        return waiting

    def _run(self) -> None:
        try:
            if self.source.kind == "file":
                self._read_file()
            else:
                self._read_stream()
        except MovinetError as error:
            self._say("failed", str(error))
        except Exception as error:
            self._say("failed", f"{self.source.name}: {type(error).__name__}: {error}")

    def _read_file(self) -> None:
        """A file at its own pace."""
        start = self._first / self._rate
        with VideoReader(self.source.address, start=start, frame_rate=self._rate) as reader:
            self._say("connected", "")
            began: float | None = None
            for frame in reader:
                if began is None:
                    began = time.monotonic() - frame.time
                if self._stop.wait(max(0.0, began + frame.time - time.monotonic())):
                    return
                number = round(frame.time * self._rate)
                self._offer(Due(frame.image, range(number, number + 1)), time.time())
        self._say("ended", "")

    def _read_stream(self) -> None:
        """A stream, again and again."""
        wait, lost = self._patience.shortest, time.monotonic()
        while not self._stop.is_set():
            before = self.status.frames
            try:
                self._read_connection()
            except VideoError as error:
                if self.source.ends or self._is_whole:
                    self._say("ended", str(error) if not self.status.frames else "")
                    return
                if self._stop.is_set():
                    return
                self._say("waiting", str(error))
            if self.status.frames > before:
                wait, lost = self._patience.shortest, time.monotonic()
            # Sources that were lost together must not all come back at the same moment.
            if self._stop.wait(wait * random.uniform(0.75, 1.25)):
                return
            wait = self._patience.next_wait(wait, time.monotonic() - lost)

    def _read_connection(self) -> None:
        patience = self._patience
        connection = Connection(self.source, patience.opening, patience.silence)
        try:
            lasts, self._is_whole = connection.seconds, False
            self._clock.restart()
            self._ticker.pause()
            captured, began, start = 0.0, None, None
            if self._recorder is not None:
                self._recorder.connect(connection.stream, clock=connection.has_clock)
            if self._log is not None:
                self._log.connect(connection.stream)
            self._connections += 1
            shower = _Shower(connection, self._to_rgb, idle=self._idle)
            pictures = connection.pictures(self._record, shower.decode)
            for ordinal, (stamp, picture) in enumerate(pictures):
                if self._stop.is_set():
                    return
                if not self.status.connected:
                    self._say("connected", "")
                self.status.frames += 1
                now = time.time()
                at = self._clock.see(stamp, time.monotonic())
                if self.source.kind == "stdin" or lasts:  # it comes all at once
                    began = time.monotonic() - at if began is None else began
                    self._stop.wait(max(0.0, began + at - time.monotonic()))
                    now = time.time()
                start = at if start is None else start
                self._is_whole = lasts is not None and at - start >= lasts - _REST
                due = self._ticker.see(at, (ordinal, picture))
                if due is not None:
                    image = shower.image(due.frame[1], at)
                    aspect, turn = connection.aspect, self._to_rgb.turn
                    origin = Origin(self._connections - 1, due.frame[0], aspect, turn)
                    self._offer(Due(image, due.numbers), captured, origin)
                # What a decoder makes of damage depends on which pictures somebody still has, since
                # it writes over the others: as many as when a log is replayed, none but the newest.
                due = None
                captured = now
                self.status.broken, self.status.jumps = connection.broken, self._clock.jumps
                self.status.undecoded += shower.news
        finally:
            if self._recorder is not None:
                self._recorder.disconnect()
            with contextlib.suppress(Exception):
                connection.close()

    def _record(self, packet: Packet) -> None:
        if self._recorder is not None:
            self._recorder.see(packet, self._clock.time or 0.0)
        if self._log is not None:
            self._log.see(packet)

    def _offer(
        self, due: Due[NDArray[np.uint8]], captured: float, origin: Origin = _NOWHERE
    ) -> None:
        """Let a frame wait; it takes the place of one that nobody took."""
        with self._wake:
            dropped = 0
            if self._waiting is not None:
                dropped = self._waiting.dropped + len(self._waiting.numbers)
                self.status.dropped += len(self._waiting.numbers)
            self._waiting = Waiting(due.frame, due.numbers, captured, dropped, origin)
            self._wake.notify_all()

    def _say(self, state: str, reason: str) -> None:
        if state == "connected" and self.status.state == "waiting":
            self.status.reconnects += 1
        self.status.state, self.status.reason = state, reason
        self._on_status(self.status)  # before the last result is there
        with self._wake:
            self._ended = state in ("ended", "failed")
            self._wake.notify_all()
