"""The loop behind `movinet watch`: whichever source has waited longest is seen next."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from movinet.errors import ConfigError
from movinet.events import Detector, Rules
from movinet.live.clips import Clips
from movinet.live.gaps import RESET_AFTER, GapPolicy, see_after_gap
from movinet.live.options import WatchOptions, check_can_be_logged, described, usual_half_life
from movinet.live.reading import Origin, Patience, SourceReader, Waiting
from movinet.live.results import LiveResult, SourceStatus
from movinet.live.resuming import Resume
from movinet.live.runlog import RunLog
from movinet.live.sources import LiveSource, parse_sources
from movinet.live.steady import Steady
from movinet.live.watched import Watched
from movinet.opening import as_runtime, check_for_files
from movinet.runtime.base import Runtime
from movinet.runtime.numbers import decay_from_half_life
from movinet.runtime.saved_run import stream_snapshot

#: Of a wait for sources, seconds; some platforms take no larger ones.
_LONGEST_WAIT = 3600.0
_NOWHERE = Origin()


def watch(
    sources: str | Sequence[str],
    model: str | os.PathLike[str] | Runtime = "motions",
    *,
    half_life: float | None = None,
    rules: Rules | None = None,
    gap: GapPolicy = "fade",
    reset_after: float = RESET_AFTER,
    seconds: float = math.inf,
    open_timeout: float = 10.0,
    read_timeout: float = 5.0,
    on_status: Callable[[SourceStatus], None] | None = None,
    clips: Clips | None = None,
    resume: Resume | str | os.PathLike[str] | None = None,
    log: RunLog | str | os.PathLike[str] | None = None,
    idle: bool = False,
) -> Generator[LiveResult]:
    """Watch cameras, network streams and files, newest frame first.

    Each source is decoded in a thread of its own, at most one frame of it waits, and the one that
    has waited longest is seen next, whenever the iterator is asked for a result: whoever asks
    slowly gets fewer results, never older ones. Sources that fail are tried again for ever; the
    others go on meanwhile. The iterator ends when every source has ended, which only files and
    stdin do.

    Args:
        sources: One or several: a camera's number or device, an ``rtsp``, ``rtmp``, ``http(s)`` or
            ``udp`` URL, ``screen``, a file (at its own pace) or ``-`` for stdin; ``NAME=`` before
            it gives it a name.
        model: A stream model, as `movinet.open_model` takes it.
        half_life: Seconds after which a frame counts half; ``math.inf`` for the mean of all frames.
            None for 5, or for the mean if the model has no decay.
        rules: When events begin and end; None to look for none.
        gap: What a stream makes of ticks that it did not see: "fade" (it forgets as much as if it
            had seen them), "hold" (it sees the next frame in their place), "skip" (nothing) or
            "reset" (a new start after `reset_after` seconds).
        reset_after: See `gap`, seconds.
        seconds: After which to stop, in any case.
        open_timeout: For a source to open, seconds.
        read_timeout: Silence after which a source is lost, seconds.
        on_status: Called, in a thread of the source, when it connects, is lost or ends.
        clips: Where the video around each event goes; closed at the end.
        resume: A file that is written every few seconds, and from which watching goes on after the
            process was killed; a result counts as seen when the next one is asked for.
        log: A file from which `movinet.live.Replay` repeats the run, bit for bit. Not for files,
            and not with `resume` or `idle`.
        idle: Save power while nothing moves: packets that are tiny are not decoded, and a stream
            that has come to rest is not stepped; what a larger packet, or the next keyframe, does
            not show is missed meanwhile. Steps that would change no bit are always omitted. Both
            are told in `LiveResult.held`.

    Yields:
        A result for each tick that was seen, and a last one for each source when it, or watching,
        ends (`seconds`, Ctrl-C).

    Raises:
        ConfigError: If a source, the model or an option is not possible, or is not that of the run
            that is to go on.
        CheckpointError, MissingExtraError: As `movinet.open_model`; or the file to resume from is
            damaged.
        OSError: If the file to resume from, or the log, cannot be written.
        MovinetError: While iterating, if the model gives no numbers.
    """
    patience = Patience(opening=open_timeout, silence=read_timeout)
    listed = parse_sources([sources] if isinstance(sources, str) else sources)
    runtime = as_runtime(model)
    check_for_files(runtime, None)
    half_life = usual_half_life(runtime) if half_life is None else half_life
    options = WatchOptions(half_life, rules, gap, reset_after, seconds, patience, idle)
    if not runtime.info.streaming or runtime.members:
        raise ConfigError(
            f"{runtime.info.name} is not a stream model: live video is seen by streams"
        )
    if resume is not None and not isinstance(resume, Resume):
        resume = Resume(resume)
    if log is not None:
        log = log if isinstance(log, RunLog) else RunLog(log)
        check_can_be_logged(listed, resume, idle=idle)
    on_status = on_status or (lambda _: None)
    watcher = Watcher(listed, runtime, options, on_status, clips, resume, log)
    return watcher.results()


class Watcher:
    """Sources that are being watched with one model.

    Attributes:
        watched: Them, in order.
    """

    def __init__(
        self,
        sources: Sequence[LiveSource],
        runtime: Runtime,
        options: WatchOptions,
        on_status: Callable[[SourceStatus], None],
        clips: Clips | None = None,
        resume: Resume | None = None,
        log: RunLog | None = None,
    ) -> None:
        self._runtime, self._options, self._clips = runtime, options, clips
        self._resume, self._has_news, self._log = resume, False, log
        self._rate = runtime.info.input.frame_rate
        self._wake = threading.Condition()
        self.watched = []
        for number, source in enumerate(sources):
            reader = SourceReader(
                source,
                self._rate,
                self._wake,
                options.patience,
                0.0,
                on_status,
                None if clips is None else clips.recorder(source, options.rules),
                None if log is None else log.of(number),
                idle=options.idle,
            )
            self.watched.append(self._watched(reader))
        if log is not None:
            log.begin(described(runtime, options, sources))
        if resume is not None:
            self._go_on(resume, sources)

    def _watched(self, reader: SourceReader) -> Watched:
        """A source of which nothing was seen yet."""
        runtime, options = self._runtime, self._options
        half_life = None if math.isinf(options.half_life) else options.half_life
        decay = 1.0 if half_life is None else decay_from_half_life(half_life, self._rate)
        stream, detector = runtime.stream(half_life=half_life), None
        if options.rules is not None:
            labels = runtime.info.labels
            detector = Detector(labels, options.rules, source=reader.source.name)
        return Watched(reader, stream, Steady(stream, decay, tolerant=options.idle), detector)

    def _go_on(self, resume: Resume, sources: Sequence[LiveSource]) -> None:
        """Go on where a killed run was, and write the file that tells where this one is."""
        found = resume.begin(sources, self._runtime, self._options.rules)
        for watched, saved in zip(self.watched, found or (), strict=False):
            watched.restore(*saved, str(resume.path), len(self._runtime.info.labels))
        if found is None:
            stream_snapshot(self.watched[0].stream)  # that there can be one
        resume.start()

    def results(self) -> Generator[LiveResult]:
        """See `watch`."""
        for watched in self.watched:
            if not watched.done:
                watched.reader.start()
        end = time.monotonic() + self._options.seconds
        try:
            while True:
                chosen = self._next(end)
                if chosen is None:
                    break
                if chosen != "look":
                    watched, waiting = chosen
                    if waiting is None:
                        yield self.end(watched)
                    else:
                        yield from self.see(watched, waiting)
                self._save()
            yield from self._end_the_rest()
        except KeyboardInterrupt:
            yield from self._end_the_rest()
            raise
        finally:
            for watched in self.watched:
                watched.reader.stop()
            if self._clips is not None:
                self._clips.close()
            if self._log is not None:
                self._log.close()
            self._save(last=True)

    def _save(self, *, last: bool = False) -> None:
        """Write where watching is, if it is time to: what was yielded has been told."""
        resume = self._resume
        if resume is None or not (last or resume.due(news=self._has_news)):
            return
        for number, watched in enumerate(self.watched):
            if watched.moved:
                watched.moved = False
                snapshot = None if watched.seen is None else stream_snapshot(watched.stream)
                resume.capture(number, watched.state(), snapshot)
        if not last:
            self._has_news = not resume.save() and self._has_news
            return
        if all(watched.ended for watched in self.watched):
            resume.complete()
        if not resume.has_sinks:  # those are told of the last events yet
            resume.close()

    def _end_the_rest(self) -> Iterator[LiveResult]:
        """End the events of the sources that are still going, since watching stops."""
        for watched in self.watched:
            if not watched.done and watched.seen is not None:
                watched.done = watched.moved = True
                yield self.end(watched)

    def _next(self, end: float) -> tuple[Watched, Waiting | None] | Literal["look"] | None:
        """What has waited longest, or a source that has ended; None if all have, or at the end.

        "look" if nothing happens for a while and there is a file to write.
        """
        with self._wake:
            while (left_seconds := end - time.monotonic()) > 0:
                ready = [
                    (waiting.captured, i)
                    for i, watched in enumerate(self.watched)
                    if (waiting := watched.reader.peek()) is not None
                ]
                if ready:
                    watched = self.watched[min(ready)[1]]
                    return watched, watched.reader.take()
                left = [watched for watched in self.watched if not watched.done]
                for watched in left:
                    if watched.reader.ended:
                        watched.done = watched.moved = True
                        # The next run tries again what has failed.
                        watched.ended = watched.reader.status.state == "ended"
                        return watched, None
                if not left:
                    return None
                longest = _LONGEST_WAIT if self._resume is None else self._resume.wait
                if not self._wake.wait(min(left_seconds, longest)) and self._resume is not None:
                    return "look"
        return None

    def see(self, watched: Watched, waiting: Waiting) -> Iterator[LiveResult]:
        """Step a stream through the ticks of a frame."""
        dropped = waiting.dropped
        for number in waiting.numbers:
            gap = 0 if watched.seen is None else number - watched.seen - 1
            probabilities, held = self._step(watched, waiting.image, gap)
            watched.see(number, waiting.captured, probabilities)
            at = number / self._rate
            events = ()
            if watched.detector is not None:
                events = tuple(watched.detector.update(at, probabilities))
                self._has_news |= any(change.kind != "update" for change in events)
            yield self._result(
                watched, waiting.captured, dropped, gap, events, waiting.origin, held=held
            )
            dropped = 0

    def _step(
        self, watched: Watched, image: NDArray[np.uint8], gap: int
    ) -> tuple[NDArray[np.float32], bool]:
        """The next frame, and what the policy makes of the ticks before it; see `Steady`."""
        options = self._options
        reset_ticks = options.reset_after * self._rate

        def step() -> NDArray[np.float32]:
            return see_after_gap(watched.stream, image, gap, options.gap, reset_ticks)

        return watched.steady(image, gap, step)

    def end(self, watched: Watched) -> LiveResult:
        """The last result of a source."""
        self._has_news = True
        events = () if watched.detector is None else tuple(watched.detector.finish())
        return self._result(watched, time.time(), 0, 0, events, ended=True)

    def _result(
        self,
        watched: Watched,
        captured: float,
        dropped: int,
        gap: int,
        events: Any,
        origin: Origin = _NOWHERE,
        *,
        ended: bool = False,
        held: bool = False,
    ) -> LiveResult:
        labels = self._runtime.info.labels
        probabilities = watched.probabilities
        if probabilities is None:
            probabilities = np.zeros(len(labels), np.float32)
        number = watched.seen or 0
        result = LiveResult(
            watched.reader.source.name,
            number,
            number / self._rate,
            captured,
            max(captured, time.time()),  # the clock may have been put back
            dropped,
            gap,
            probabilities,
            labels,
            events,
            ended,
            held,
        )
        if self._clips is not None:
            self._clips.see(result)
        if self._log is not None:
            self._log.of(self.watched.index(watched)).step(origin, result)
        return result
