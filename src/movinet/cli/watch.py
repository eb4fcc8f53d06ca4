"""`movinet watch`: live video in the terminal, as lines, as JSON."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from movinet.cli.common import printable, say
from movinet.cli.models import StreamModelOption, WeightsOption, say_model
from movinet.errors import ConfigError

if TYPE_CHECKING:
    from movinet.cli.watch_view import View
    from movinet.events import Rules
    from movinet.live import LiveResult, SourceStatus
    from movinet.live.gaps import GapPolicy
    from movinet.runtime.base import Runtime


def command(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="A camera's number or device; an rtsp, rtmp, http, https or udp URL; screen; a "
            "file, at its own pace; - for stdin. NAME=SOURCE gives it a name.",
        ),
    ],
    model: StreamModelOption = "motions",
    weights: WeightsOption = None,
    half_life: Annotated[
        str | None,
        typer.Option(
            metavar="SECONDS",
            help="Seconds after which a frame counts half; inf for the mean of all frames, which "
            "goes stale in endless streams. [5]",
        ),
    ] = None,
    events: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Rules of events, TOML. Without, all classes have some."),
    ] = None,
    on: Annotated[
        float | None,
        typer.Option("--on", metavar="P", help="Probability at which an event begins. [0.6]"),
    ] = None,
    off: Annotated[
        float | None,
        typer.Option("--off", metavar="P", help="Probability below which it ends. [0.4]"),
    ] = None,
    gap: Annotated[
        str,
        typer.Option(
            metavar="POLICY",
            help="What a stream makes of frames that it missed: fade (forget as if it had seen "
            "them), hold, skip or reset.",
        ),
    ] = "fade",
    top: Annotated[
        int, typer.Option("--top", "-k", metavar="NUMBER", min=1, help="Classes to show.")
    ] = 3,
    seconds: Annotated[
        float | None,
        typer.Option("--for", metavar="SECONDS", min=0.0, help="Stop after this time."),
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", min=0.1, help="Silence after which a source is lost and tried again."
        ),
    ] = 5.0,
    to: Annotated[
        list[str] | None,
        typer.Option(
            "--to",
            metavar="TARGET",
            help="Where results and events go, besides: a file with the suffix .jsonl, .csv, .srt "
            "or .vtt; a webhook's URL; mqtt://HOST/TOPIC; exec:COMMAND. May be repeated.",
        ),
    ] = None,
    clips: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where a video of each event of live sources goes."),
    ] = None,
    pre: Annotated[
        float, typer.Option(metavar="SECONDS", help="Part of a clip before its event.")
    ] = 5.0,
    post: Annotated[
        float, typer.Option(metavar="SECONDS", help="Part of a clip after its event.")
    ] = 5.0,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Written every few seconds; after the process was killed, the same command "
            "continues from there.",
        ),
    ] = None,
    resume_every: Annotated[
        float, typer.Option(metavar="SECONDS", help="Between two writes of the file of --resume.")
    ] = 5.0,
    log: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A new file that records the run; 'movinet replay' computes its results again.",
        ),
    ] = None,
    log_size: Annotated[
        float, typer.Option(metavar="MB", min=1, help="Size limit of the log, at which it ends.")
    ] = 1024.0,
    idle: Annotated[
        bool,
        typer.Option(
            "--idle",
            help="Save power while nothing moves: tiny packets are not decoded, and a stream at "
            "rest is not stepped. What is too small to notice is missed.",
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="A line of JSON for each result on stdout.")
    ] = False,
) -> None:
    """Watch cameras, network streams and files, newest frame first.

    Results are never late: frames that there is no time for are dropped
    and counted. A source that fails is tried again for ever; the others
    go on. In a terminal there is one view of all sources, in a pipe a line
    for each event. Ctrl-C ends it. The exit code is 1 if no source could be
    read.

    For example:

      movinet watch 0

      movinet watch rtsp://user:password@192.168.1.20/stream -m a0.mvn

      movinet watch door=rtsp://10.0.0.2/s yard=http://10.0.0.3/live.m3u8 --json

      movinet watch video.mp4 -m motions --for 3

      movinet watch 0 --to events.csv --to https://example.org/hook

      movinet watch 0 --to events.jsonl --resume door.resume

      movinet watch rtsp://10.0.0.2/s --log door.log
    """
    from movinet.live import Clips, Resume, RunLog, watch
    from movinet.live.sinks import Sinks
    from movinet.live.sources import parse_sources
    from movinet.opening import open_model

    rules = rules_of(events, on, off)
    names = [source.name for source in parse_sources(sources)]
    saved = None if resume is None else Resume(resume, every=resume_every, say=say)
    sinks = Sinks(to or (), sources=names, top=top, say=say, resume=saved)
    runtime = open_model(model, weights=weights)
    say_model(runtime.info, "", "predictions")
    statuses = _Statuses(live=not as_json and sys.stdout.isatty())
    results = watch(
        sources,
        runtime,
        half_life=half_life_of(half_life, runtime),
        rules=rules,
        gap=cast("GapPolicy", gap),
        seconds=math.inf if seconds is None else seconds,
        read_timeout=timeout,
        open_timeout=max(timeout, 10.0),
        on_status=statuses.see,
        clips=None if clips is None else Clips(clips, pre=pre, post=post, say=say),
        resume=saved,
        log=None if log is None else RunLog(log, most=log_size * 1e6, say=say),
        idle=idle,
    )
    # Sources end first, and then what waits for sinks is passed on.
    with sinks, contextlib.closing(results), statuses.view(top) as view:

        def show(result: LiveResult) -> None:
            sinks.send(result)
            if as_json:
                print(json.dumps(result.to_json(top)), flush=True)
            else:
                view(result)

        try:
            for result in results:
                show(result)
        except KeyboardInterrupt:
            with contextlib.suppress(KeyboardInterrupt):  # the events that last end now
                show(results.throw(KeyboardInterrupt()))
                for result in results:
                    show(result)
            raise
    if statuses.nothing_seen:
        raise typer.Exit(1)


class _Statuses:
    """How sources are doing: lines on stderr, or a part of the view."""

    def __init__(self, *, live: bool) -> None:
        self._live = live
        self._last: dict[str, SourceStatus] = {}
        self._said: dict[str, tuple[str, str]] = {}
        self._connected = False

    def see(self, status: SourceStatus) -> None:
        """A source has connected, is lost or has ended."""
        self._last[status.source] = status
        self._connected |= status.connected
        told = (status.state, status.reason)
        # A source that is down for hours says so once, not at every try.
        if self._said.get(status.source) == told:
            return
        self._said[status.source] = told
        name = printable(status.source)
        if status.state == "failed" or (status.state == "ended" and status.reason):
            say("error", status.reason)
        elif status.state == "waiting":
            say("warning", f"{status.reason}; trying again")
        elif not self._live:
            say("note", f"{name}: {status.state}")

    @property
    def nothing_seen(self) -> bool:
        """Whether no source could be read at any time."""
        return bool(self._last) and not self._connected

    def view(self, top: int) -> contextlib.AbstractContextManager[View]:
        """Shows results: one view in a terminal, lines of events elsewhere."""
        from movinet.cli.watch_view import lines_of_events, live_view

        return live_view(self._last, top) if self._live else lines_of_events()


def rules_of(path: Path | None, on: float | None, off: float | None) -> Rules:
    """The rules that --events, --on and --off say."""
    from movinet.events import Rule, Rules, load_rules

    if path is not None:
        if on is not None or off is not None:
            raise ConfigError("--on and --off are in the rules that --events names: omit them")
        return load_rules(path)
    begins = 0.6 if on is None else on
    return Rules(Rule(on=begins, off=min(0.4, begins) if off is None else off))


def half_life_of(text: str | None, runtime: Runtime) -> float:
    """What --half-life says, seconds; if it says nothing, what is usual for the model."""
    from movinet.live.options import usual_half_life

    if text is None:
        usual = usual_half_life(runtime)
        if math.isinf(usual):
            say(
                "note",
                f"{runtime.info.name} has no decay: it remembers all frames, and no longer changes "
                "its mind in a long stream; 'movinet convert' makes weights of it that have one",
            )
        return usual
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value > 0:
        raise ConfigError(f"--half-life must be a positive number of seconds or inf, not {text!r}")
    return value
