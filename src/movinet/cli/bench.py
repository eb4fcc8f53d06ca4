"""`movinet bench`: how fast models run on this machine, as a table, JSON or a plot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from movinet.cli.common import out, printable, say
from movinet.cli.models import MODEL_HELP, ManifestOption
from movinet.cli.tables import new_table, print_whole
from movinet.errors import ConfigError

if TYPE_CHECKING:
    from movinet.benchmarking import Figures


def command(
    models: Annotated[
        list[str],
        typer.Argument(metavar="MODEL...", help=MODEL_HELP),
    ],
    seconds: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", help="For each model's latency; throughput takes as many again."
        ),
    ] = 3.0,
    streams: Annotated[
        int, typer.Option(metavar="NUMBER", help="Streams that are stepped in turn.")
    ] = 8,
    threads: Annotated[int, typer.Option(metavar="NUMBER", help="Threads of one step.")] = 1,
    manifest: ManifestOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="All figures as JSON on stdout.")] = False,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw latency and throughput: .png, .svg, .pdf."),
    ] = None,
) -> None:
    """Measure latency, throughput and memory of models.

    Each model gets a process of its own, and they run in turns, so that a
    machine that slows down slows all of them. A step of a stream takes a
    frame of the model's short side: cropping and softmax count, decoding
    and resizing do not. Presets run with random weights in PyTorch.

    For example:

      movinet bench a0.tflite

      movinet bench a0.tflite a0.onnx a0_stream --threads 2 --plot bench.png

      movinet bench a0.tflite --streams 100 --json
    """
    from movinet.benchmarking import Subject, benchmark, machine
    from movinet.cli.data_common import progress_bar
    from movinet.drawing.predictions import PLOT_SUFFIXES, check_output, require_matplotlib
    from movinet.model_names import resolve

    if plot is not None:
        require_matplotlib("--plot")
        check_output(plot, PLOT_SUFFIXES)
    if repeated := [name for name in models if models.count(name) > 1]:
        raise ConfigError(f"{repeated[0]} is there twice")
    if manifest is not None and models[1:]:
        raise ConfigError("--manifest is of one model: give one MODEL with it")
    for name in models:  # before anything is loaded
        resolve(name)
    subjects = [Subject(name, manifest) for name in models]
    with progress_bar("measuring") as step:
        figures = benchmark(
            subjects, seconds=seconds, streams=streams, threads=threads, progress=step
        )
    here = machine()
    if as_json:
        settings = {"seconds": seconds, "threads": threads}
        results = [one.to_json() for one in figures]
        print(json.dumps({"machine": here, **settings, "results": results}, indent=2))
    else:
        _print(figures)
        say("note", f"{here['processor']}, {here['cores']} cores, {threads} of them for a step")
    if plot is not None:
        from movinet.drawing.benchmark import plot_benchmark

        plot_benchmark(figures, plot, here["processor"])
        say("note", f"wrote {plot}")


def _print(figures: list[Figures]) -> None:
    """A row for each model."""
    header = (
        *("model", "engine", "size\nMB", "load\nms", "memory\nMB", "state\nkB", "frames\na step"),
        *("median\nms", "p90\nms", "p99\nms", "one stream\nframes/s", "many\nframes/s"),
    )
    table = new_table(header, texts=(0, 1))
    for one in figures:
        latency = [f"{1e3 * one.percentile(share):.2f}" for share in (50, 90, 99)]
        alone = one.unit * len(one.latency) / sum(one.latency)
        table.add_row(
            printable(one.name),
            one.engine,
            _scaled(one.bytes, 1e6, ".2f"),
            f"{1e3 * one.load:.0f}",
            _scaled(one.memory, 1e6, ".0f"),
            _scaled(one.state_bytes, 1e3, ".0f"),
            str(one.unit),
            *latency,
            f"{alone:.0f}",
            "-" if one.streams == 1 else f"{one.throughput:.0f} ({one.streams})",
        )
    console = out()
    print_whole(console, table)


def _scaled(value: int | None, by: float, form: str) -> str:
    return "-" if value is None else f"{value / by:{form}}"
