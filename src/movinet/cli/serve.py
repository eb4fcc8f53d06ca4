"""`movinet serve`: a server of streams."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from typing import Annotated, Literal

import typer

from movinet.cli.common import say
from movinet.errors import ConfigError, MissingExtraError

_LOCAL = ("127.0.0.1", "::1", "localhost")
_TOKEN = "MOVINET_TOKEN"
_NEEDED = ("fastapi", "prometheus_client", "uvicorn", "websockets")


def command(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL",
            help="An exported stream (.mvn is the fastest), or motions. NAME=FILE gives it a name; "
            "the first is the default. [motions]",
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Where to listen. 0.0.0.0 is everywhere.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="PORT", min=0, max=65535)] = 8765,
    token: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            envvar=_TOKEN,
            show_envvar=False,
            help=f"What clients must know; better in the variable {_TOKEN}, which nobody else "
            "sees. Needed unless the address is this machine's own.",
        ),
    ] = None,
    hosts: Annotated[
        list[str] | None,
        typer.Option("--allow-host", metavar="NAME", help="By which the server may be called."),
    ] = None,
    origins: Annotated[
        list[str] | None,
        typer.Option("--allow-origin", metavar="ORIGIN", help="Of other pages that may use it."),
    ] = None,
    watch: Annotated[
        list[str] | None,
        typer.Option(
            "--watch",
            metavar="SOURCE",
            help="An RTSP, RTMP, HTTP or UDP URL, or a camera, that the server follows itself; "
            "NAME=URL gives it a name. Clients see its results, and never its address. May be "
            "given several times.",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(metavar="NUMBER", min=1, max=256, help="Threads. [one for each core]"),
    ] = None,
    max_streams: Annotated[
        int, typer.Option(metavar="NUMBER", min=1, help="Open at a time.")
    ] = 1000,
    snapshots: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|URL",
            help="Where streams are kept, so that they go on after a restart, or on another "
            "server that has the folder, or the store (s3://bucket/streams; extra store).",
        ),
    ] = None,
    interval: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=0.1, help="Between two snapshots of a stream."),
    ] = 5.0,
    idle: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", min=1.0, help="After which a silent stream sleeps on disk, or ends."
        ),
    ] = 300.0,
    max_upload: Annotated[
        int, typer.Option(metavar="MB", min=1, help="Of a video that is sent whole.")
    ] = 1024,
    log_format: Annotated[
        Literal["text", "json"],
        typer.Option(help="Of what is told on stderr: a line for people, or a JSON object a line."),
    ] = "text",
) -> None:
    """Serve streams over WebSocket and HTTP, with a page that shows them.

    Open http://127.0.0.1:8765 in a browser, or send frames from a program
    (docs/serving.md). When there is no time for another stream, it is
    refused. SIGTERM or Ctrl-C keeps the streams in the folder of snapshots.

    For example:

      movinet serve

      movinet serve a0.mvn --snapshots streams --workers 4

      movinet serve front=a0.mvn yard=a2.mvn --host 0.0.0.0 --allow-host cam.local

      movinet serve a0.mvn --watch door=rtsp://user:password@192.168.1.20/stream
    """
    if host not in _LOCAL and token is None:
        raise ConfigError(
            f"{host} is not only this machine: set a token in the variable {_TOKEN}, such as "
            "the output of 'openssl rand -hex 16'"
        )
    if any(importlib.util.find_spec(name) is None for name in _NEEDED):
        raise MissingExtraError("a server", "serve")
    from movinet.live.sources import parse_sources
    from movinet.serving.app import create_app
    from movinet.serving.following import Follower
    from movinet.serving.guard import LOCAL, Access
    from movinet.serving.hub import Hub, HubOptions
    from movinet.serving.logs import log_as
    from movinet.serving.metrics import Metrics
    from movinet.serving.models import open_served
    from movinet.serving.server import listen, make_server
    from movinet.serving.store import place_of

    tell = log_as(log_format, say, token)
    sources = parse_sources(watch) if watch else ()
    opened = open_served(models or ["motions"])
    with listen(host, port) as listening:
        options = HubOptions(
            workers or _cores(),
            max_streams,
            idle,
            snapshots,
            interval,
        )
        hub = Hub(opened, options, Metrics(), lambda text: tell("warning", text))
        if sources:
            Follower(hub, sources, log=tell).start()
        names = () if host in ("0.0.0.0", "::") and not hosts else (*LOCAL, host, *(hosts or ()))
        access = Access(token, tuple(name.lower() for name in names), tuple(origins or ()))
        app = create_app(hub, access, max_upload=max_upload * 2**20)
        place = f"[{host}]" if ":" in host else host
        tell("note", f"serving {', '.join(opened)} at http://{place}:{listening.getsockname()[1]}")
        sys.stderr.flush()
        # uvicorn stops in order, then raises the signal again.
        with contextlib.suppress(KeyboardInterrupt, SystemExit):
            make_server(app, hub, host, port).run(sockets=[listening])
    kept = "" if snapshots is None else f"; streams are in {place_of(snapshots)}"
    tell("note", f"stopped{kept}")


def _cores() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
