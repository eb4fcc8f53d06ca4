"""`movinet replay`: repeat a logged run of `movinet watch`."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Annotated

import typer

from movinet.cli.common import say
from movinet.cli.models import StreamModelOption, WeightsOption, say_model


def command(
    log: Annotated[
        Path, typer.Argument(metavar="LOG", help="What 'movinet watch --log' has written.")
    ],
    model: StreamModelOption = "motions",
    weights: WeightsOption = None,
    top: Annotated[
        int, typer.Option("--top", "-k", metavar="NUMBER", min=1, help="Classes to show.")
    ] = 3,
    as_json: Annotated[
        bool, typer.Option("--json", help="A line of JSON for each result on stdout.")
    ] = False,
) -> None:
    """Repeat a logged run of 'movinet watch', and compare its results.

    The packets of the log are decoded again, and the model sees the same
    frames with the same gaps. Results are printed as 'movinet watch' prints
    them, with the times of the log. The exit code is 1 if one is not, bit
    for bit, that of the log.

    For example:

      movinet watch rtsp://10.0.0.2/s --log door.log

      movinet replay door.log

      movinet replay door.log -m a0.mvn --json
    """
    from movinet.cli.watch_view import lines_of_events
    from movinet.live import Replay
    from movinet.opening import open_model
    from movinet.version import __version__

    runtime = open_model(model, weights=weights)
    replay = Replay(log, runtime)
    say_model(runtime.info, "", "predictions")
    if replay.version != __version__:
        say("note", f"the log is of movinet {replay.version}; this is {__version__}")
    count, others, first = 0, 0, ""
    with contextlib.closing(replay.results()) as results, lines_of_events() as view:
        for result, same in results:
            count += 1
            if not same:
                others += 1
                first = first or f"{result.source} at {result.time:.3f} s"
            if as_json:
                print(json.dumps(result.to_json(top)), flush=True)
            else:
                view(result)
    if not replay.whole:
        say(
            "note",
            "the log ends before the run did: the run was killed, or the log reached its limit",
        )
    if others:
        say("error", f"{others} of {count} results are not as logged, the first is {first}")
        raise typer.Exit(1)
    say("note", f"{count} result{'s' * (count != 1)}, all as logged")
