"""All sinks of a run: what they are told, and their end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from movinet.errors import ConfigError
from movinet.events import EventChange
from movinet.live.results import LiveResult, change_to_json
from movinet.live.resuming import Resume
from movinet.live.sinks.reports import Counts, Report
from movinet.live.sinks.saved import SavedSinks
from movinet.live.sinks.targets import make_sinks
from movinet.live.sinks.worker import Limits, Say, Worker


class Sinks:
    """Sends results and events to files, servers and commands.

    A context manager: it opens the targets, and passes on what waits at the end. Events that last
    when it is closed end there, marked ``"cut": true``.

    Args:
        targets: A file with the suffix ``.jsonl``, ``.csv``, ``.srt`` or ``.vtt``, an ``http`` or
            ``https`` URL, ``mqtt://HOST/TOPIC`` or ``exec:COMMAND`` each.
        sources: Names of all sources, if they are known.
        top: Classes of a result.
        limits: What a sink may take.
        say: Called, in the thread of a sink, with "warning" or "note" and a line: something does
            not arrive, or does again.
        resume: Go on where a killed run was; give it to `movinet.watch`, too.

    Raises:
        CheckpointError: If the file to resume from is damaged.
        ConfigError: If a target is not possible; nothing is opened yet.
        MissingExtraError: If MQTT is asked for and paho-mqtt is not installed.
    """

    def __init__(
        self,
        targets: Sequence[str],
        *,
        sources: Sequence[str] = (),
        top: int = 5,
        limits: Limits | None = None,
        say: Say | None = None,
        resume: Resume | None = None,
    ) -> None:
        self._resume = resume
        self._saved = (
            SavedSinks() if resume is None else SavedSinks.of(resume.sinks, str(resume.path))
        )
        targets = [targets] if isinstance(targets, str) else targets
        self._sinks = make_sinks(targets, sources, self._saved.targets)
        self._top, self._limits = top, limits or Limits()
        self._say: Say = say or (lambda _kind, _line: None)
        self._workers: list[Worker] = []
        self._closed = False
        self._wants_results = any("result" in sink.wants for sink in self._sinks)
        #: Of each source: what its time is short of the wall clock's, and its newest time.
        self._clocks = self._saved.clocks
        #: Of events whose beginning a killed run has told: it may be seen again, later.
        self._begun: dict[tuple[str, str], float] = {}
        #: Of each source: the events that last, by their ids.
        self._open = self._saved.open

    def __enter__(self) -> Self:
        """Open the targets.

        Raises:
            ConfigError: If one cannot be opened; those before it are closed.
        """
        opened = []
        try:
            for sink in self._sinks:
                sink.open()
                opened.append(sink)
        except BaseException:
            for sink in opened:
                sink.finish(1.0)
            raise
        self._workers = [Worker(sink, self._limits, self._say) for sink in opened]
        if self._resume is not None:
            self._go_on(self._resume)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def counts(self) -> dict[str, Counts]:
        """What became of the reports, by sink; two with one name are told apart by a number."""
        return {name: worker.counts for name, worker in self._named().items()}

    def state(self) -> dict[str, Any]:
        """What a later run must know, as JSON values that do not change any more."""
        return {
            "clocks": dict(self._clocks),
            "open": {source: dict(events) for source, events in self._open.items()},
            "targets": [{**worker.state(), "name": name} for name, worker in self._named().items()],
        }

    def send(self, result: LiveResult) -> None:
        """Tell all sinks of a result and its events; never waits for one."""
        source = result.source
        if not result.ended or source not in self._clocks:
            self._clocks[source] = (result.captured - result.time, result.time)
        if self._wants_results:
            values = result.to_json(self._top)
            del values["events"]
            self._put(Report("result", source, values))
        for change in result.events:
            self._put(self._report(source, change))

    def close(self) -> None:
        """End what lasts, pass on what waits, for a bounded time; the rest is dropped and told.

        What is sent afterwards is dropped and counted.
        """
        if self._closed:
            return
        for source, events in self._open.items():
            for key, values in list(events.items()):
                del events[key]
                end = max(values["end"], round(self._clocks[source][1], 6))
                last = {**values, "kind": "end", "end": end, "cut": True}
                self._put(Report("end", source, last, _labels(events)))
        self._closed = True
        end = time.monotonic() + self._limits.closing
        for worker in self._workers:
            worker.close(end)
        for worker in self._workers:
            worker.join()
        if self._resume is not None:
            self._resume.close()

    def _named(self) -> dict[str, Worker]:
        found: dict[str, Worker] = {}
        for worker in self._workers:
            name, number = worker.sink.name, 2
            while name in found:
                name, number = f"{worker.sink.name} #{number}", number + 1
            found[name] = worker
        return found

    def _go_on(self, resume: Resume) -> None:
        """Tell what waited in the killed run, and nothing that it has told."""
        named = self._named()
        for name, (size, waiting) in self._saved.targets.items():
            if (worker := named.get(name)) is not None:
                try:
                    worker.resume(size, waiting)
                    if size is not None:
                        self._begun |= worker.sink.begun(size)
                except OSError as error:
                    raise ConfigError(f"{name}: cannot be read ({error.strerror})") from None
            elif waiting:
                self._say("warning", f"{name}: not told any more, and {len(waiting)} reports wait")
        elsewhere = [worker for worker in self._workers if worker.sink.size() is None]
        resume.attach(self.state, lambda: sum(one.counts.delivered for one in elsewhere))

    def _put(self, report: Report) -> None:
        for worker in self._workers:
            worker.put(report)

    def _report(self, source: str, change: EventChange) -> Report:
        """A report with the time of the wall clock at which the event began: one for all of it."""
        events = self._open.setdefault(source, {})
        name, known = change.event.id, events.get(change.event.id)
        if known is not None:
            started = known["started"]
        else:
            now = self._clocks[source][0] + change.event.start
            started = self._begun.pop((source, name), now)
        values = {"source": source, **change_to_json(change), "started": round(started, 3)}
        if change.kind == "end":
            events.pop(name, None)
        else:
            events[name] = values
        return Report(change.kind, source, values, _labels(events))


def _labels(events: dict[str, dict[str, Any]]) -> tuple[str, ...]:
    return tuple(values["label"] for values in events.values())
