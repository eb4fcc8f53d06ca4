"""One source's packets: the newest in memory, and those around events in clips.

Packets come from the thread that reads the source, events from the one that watches.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
from av.error import FFmpegError
from av.packet import Packet

from movinet.live.clips.writing import Target, Writer
from movinet.text import one_line

#: Of one source in memory, bytes.
MOST_KEPT = 64_000_000
#: Clips of one source at a time; a clip, seconds.
MOST_CLIPS, LONGEST = 8, 600.0
#: Two packets of one connection are further apart than this, seconds, if its clock has jumped.
_JUMP = 10.0
_MILLISECOND = Fraction(1, 1000)


class Kept(NamedTuple):
    """A packet, and the time of the stream when it arrived, seconds."""

    packet: Packet
    time: float


@dataclass
class _Group:
    """A keyframe and what follows it."""

    packets: list[Kept] = field(default_factory=list)
    size: int = 0


class Ring:
    """The packets of the last seconds, from a keyframe on.

    Args:
        seconds: To keep.
        most: Bytes to keep.

    Attributes:
        size: Bytes that are kept.
    """

    def __init__(self, seconds: float, most: int = MOST_KEPT) -> None:
        self._seconds, self._most, self.size = seconds, most, 0
        self._groups: deque[_Group] = deque()

    def add(self, kept: Kept) -> None:
        """Keep a packet, and forget what is too old."""
        packet = kept.packet
        if packet.is_keyframe:
            self._groups.append(_Group())
        elif not self._groups:
            return  # nothing decodes without a keyframe
        group = self._groups[-1]
        group.packets.append(kept)
        group.size += packet.size
        self.size += packet.size
        while self._groups and (self.size > self._most or self._old(kept.time)):
            self.size -= self._groups.popleft().size

    def since(self, time: float) -> list[Kept]:
        """The packets from the last keyframe at or before a time on, or all of them."""
        first = 0
        for number, group in enumerate(self._groups):
            if group.packets[0].time <= time:
                first = number
        return [kept for group in list(self._groups)[first:] for kept in group.packets]

    def clear(self) -> None:
        """Forget everything."""
        self._groups.clear()
        self.size = 0

    def _old(self, now: float) -> bool:
        """Whether the first keyframe is not needed: the second one is old enough."""
        return len(self._groups) > 1 and self._groups[1].packets[0].time <= now - self._seconds


class _Clip:
    """A clip that is being written."""

    def __init__(self, target: Target, template: Any, until: float, *, clock: bool) -> None:
        self.target, self.until, self._clock = target, until, clock
        self._container = av.open(target, "w", format="matroska")  # pyright: ignore
        self._stream = self._container.add_stream_from_template(template)
        self._first: int | None = None
        self._last: int | None = None

    def add(self, kept: Kept) -> bool:
        """Write a packet; False if the clip cannot go on behind it."""
        packet = kept.packet
        base = packet.time_base
        dts, pts = packet.dts, packet.pts
        if not self._clock or dts is None or pts is None or not base:
            base = None  # the stream's own time is the clock, which two packets may share
            dts = pts = max(round(kept.time * 1000), -1 if self._last is None else self._last + 1)
        tick = float(base) if base else 0.001
        if self._last is not None:
            if dts == self._last:
                return True
            if not 0 < (dts - self._last) * tick <= _JUMP:
                return False
        if self._first is None:
            self._first = dts
        self._last = dts
        # Muxing changes a packet, and other clips need it.
        copied = Packet(bytes(packet))
        copied.dts, copied.pts = dts - self._first, pts - self._first
        copied.time_base = base or _MILLISECOND
        copied.is_keyframe = packet.is_keyframe
        copied.stream = self._stream
        self._container.mux_one(copied)
        return True

    def close(self) -> None:
        self._container.close()


class Recorder:
    """Keeps one source's packets, and writes its clips.

    Args:
        name: Of the source.
        seconds: To keep.
        writer: Of all clips.
        say: Called with "warning" and a line if a clip is not written.
    """

    def __init__(
        self, name: str, seconds: float, writer: Writer, say: Callable[[str, str], None]
    ) -> None:
        self._name, self._writer, self._say = name, writer, say
        self._ring = Ring(seconds)
        self._asked: deque[tuple[str, Path | None, float, float]] = deque()
        self._clips: dict[str, _Clip] = {}
        self._template: Any = None
        self._clock = True
        self._lock, self._closed = threading.Lock(), False

    def begin(self, key: str, path: Path, start: float) -> None:
        """Ask for a clip of an event from a time on. In any thread."""
        self._asked.append((key, path, start, start + LONGEST))

    def end(self, key: str, until: float) -> None:
        """Ask for the clip of an event to end at a time. In any thread."""
        self._asked.append((key, None, 0.0, until))

    def connect(self, template: Any, *, clock: bool = True) -> None:
        """A connection has begun.

        Args:
            template: A stream to take the parameters of.
            clock: Whether its packets have times of their own, and not made-up ones.
        """
        with self._lock:
            self._template, self._clock = template, clock

    def see(self, packet: Packet, time: float) -> None:
        """A packet has arrived.

        Args:
            packet: As it came.
            time: Of the stream, seconds.
        """
        with self._lock:
            if self._closed:
                return
            while self._asked:
                self._answer(*self._asked.popleft())
            if not packet.size:
                return
            kept = Kept(packet, time)
            self._ring.add(kept)
            for key, clip in list(self._clips.items()):
                if time > clip.until or not self._add(clip, kept):
                    self._finish(key)

    def disconnect(self) -> None:
        """The connection is over, and with it the clips: what follows may be coded differently."""
        with self._lock:
            for key in list(self._clips):
                self._finish(key)
            self._ring.clear()
            self._template = None

    def close(self) -> None:
        """End the clips, whatever the source does; it may be silent."""
        with self._lock:
            self._closed = True
        self.disconnect()

    def _answer(self, key: str, path: Path | None, start: float, until: float) -> None:
        if path is None:
            if key in self._clips:
                self._clips[key].until = min(until, self._clips[key].until)
            return
        packets = self._ring.since(start)
        if self._template is None or not packets or len(self._clips) >= MOST_CLIPS:
            why = "too many at a time" if packets else "nothing was in memory"
            self._say("warning", f"{self._name}: no clip of an event, {why}")
            return
        try:
            target = Target(self._writer, path)
            clip = self._clips[key] = _Clip(target, self._template, until, clock=self._clock)
        except (FFmpegError, ValueError) as error:
            self._say("warning", f"{self._name}: no clip of an event ({one_line(error)})")
            return
        for kept in packets:
            if not self._add(clip, kept):
                self._finish(key)
                return

    def _add(self, clip: _Clip, kept: Kept) -> bool:
        try:
            return clip.add(kept) and not clip.target.failed
        except (FFmpegError, ValueError, OSError) as error:
            clip.target.failed = True
            self._say("warning", f"{one_line(clip.target.path)}: given up ({one_line(error)})")
            return False

    def _finish(self, key: str) -> None:
        clip = self._clips.pop(key)
        with contextlib.suppress(FFmpegError, ValueError, OSError):
            clip.close()
        self._writer.finish(clip.target)
