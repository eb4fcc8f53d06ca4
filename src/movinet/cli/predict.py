"""`movinet predict`: the classes of videos, as a table, JSON, a plot or a video."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from movinet.cli.common import FAILED, err, printable, say
from movinet.cli.jobs import Job, plan_jobs
from movinet.cli.models import (
    MODEL_HELP,
    DeviceOption,
    EndOption,
    FrameRateOption,
    HalfLifeOption,
    HeadActivationOption,
    ManifestOption,
    MultiLabelOption,
    SpeedOption,
    StartOption,
    WeightsOption,
    say_model,
)
from movinet.cli.prediction_results import as_text, check_results, result, write_results
from movinet.errors import ConfigError, MovinetError

if TYPE_CHECKING:
    from movinet.runtime import ModelInfo, Runtime

_MANY_SKIPPED = 6  # times of skipped packets that fit on a line
_MANY_NOTES = 5  # on one video


@dataclass(frozen=True)
class _View:
    """How the model looks at a video: arguments of `movinet.predict`."""

    views: int | None
    crops: int
    stride: float | None
    window: float | None
    start: float | None
    end: float | None
    half_life: float | None


@dataclass(frozen=True)
class _Shown:
    """What is printed of the predictions."""

    top: int
    every: float | None
    as_json: bool
    output: Path | None


def command(
    videos: Annotated[
        list[str],  # a Path would make http:/x of http://x, and a folder of an empty name
        typer.Argument(metavar="VIDEO", help="Video files, and folders to search for them."),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME_OR_FILE",
            help=MODEL_HELP,
        ),
    ] = None,
    weights: WeightsOption = None,
    manifest: ManifestOption = None,
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels",
            "-l",
            metavar="NAME_OR_FILE",
            help="kinetics-400, kinetics-600, kinetics-700, or a text file with a label a line.",
        ),
    ] = None,
    head_activation: HeadActivationOption = None,
    multi_label: MultiLabelOption = False,
    top: Annotated[
        int, typer.Option("--top", "-k", metavar="NUMBER", min=1, help="Classes to show.")
    ] = 5,
    every: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="A line for every SECONDS; 0: for each prediction."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="All predictions as JSON on stdout, or those of --every.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write all predictions: .csv or .json."
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw the probabilities over time: .png, .svg, .pdf."),
    ] = None,
    render: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the video with its predictions: .mp4, .gif."),
    ] = None,
    views: Annotated[
        int | None,
        typer.Option(
            metavar="NUMBER", min=1, help="Base models: windows to average over, up to 1000."
        ),
    ] = None,
    crops: Annotated[
        int, typer.Option(metavar="1|3", help="Base models: crops of each window to average over.")
    ] = 1,
    stride: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Base models: slide a window over the video by this much, rounded to whole "
            "frames, at least one.",
        ),
    ] = None,
    window: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", help="Base models: length of a window, rounded to whole frames."
        ),
    ] = None,
    start: StartOption = None,
    end: EndOption = None,
    half_life: HalfLifeOption = None,
    frame_rate: FrameRateOption = None,
    speed: SpeedOption = 1.0,
    device: DeviceOption = None,
) -> None:
    """Predict the classes of videos.

    Stream models see a video frame by frame and predict all the time;
    base models see windows of it. With several videos, --plot and --render
    put each video's name (and its folder's, if names are equal) into
    the file's name.

    For example:

      movinet predict video.mp4 --model a0_stream --weights kinetics-600

      movinet predict video.mp4 --model exported.tflite

      movinet predict folder/ -m run/model.safetensors --json

      movinet predict folder/ -m run/model.safetensors --every 1 -o results.csv

      movinet predict long.mp4 -m a0_stream -w kinetics-600 --start 60 --end 90 --half-life 3

      movinet predict video.mp4 -m a2_base -w kinetics-600 --views 4 --crops 3

      movinet predict video.mp4 -m a0_stream --plot out.png --render out.mp4

      movinet predict frames/ -m motions --frame-rate 25
    """
    if model is None and weights is None:
        raise ConfigError(
            "give --model (see 'movinet list', or a file), for a preset with --weights, as in: "
            "movinet predict video.mp4 --model a0_stream --weights kinetics-600"
        )
    if every is not None and not 0 <= every < math.inf:
        raise ConfigError(f"--every must be 0 or more seconds, not {every:g}")
    jobs = plan_jobs(videos, plot, render, frame_rate)
    if output is not None:
        check_results(output, jobs)
    shown = _Shown(top, every, as_json, output)
    if all(job.error for job in jobs):
        _fail(jobs, shown)
    runtime = _load(model, weights, labels, head_activation, manifest, multi_label, device)
    from movinet.opening import at_speed

    runtime = at_speed(runtime, speed)
    view = _View(views, crops, stride, window, start, end, half_life)
    _predict_all(jobs, runtime, view, shown)
    if any(job.error for job in jobs):
        raise typer.Exit(FAILED)


def _predict_all(jobs: list[Job], runtime: Runtime, view: _View, shown: _Shown) -> None:
    """Predict on one video after the other, and show each at once, or all as JSON at the end.

    What was done until an interruption is complete JSON too.
    """
    from movinet.cli.prediction_table import print_predictions
    from movinet.runtime.base import RANDOM

    random = runtime.info.origin == RANDOM
    described = f"{runtime.info.name}{' with random weights' if random else ''}"
    results, stopped = [], None
    for number, job in enumerate(jobs):
        if job.error is None:
            try:
                _run(job, runtime, view, shown, f"({number + 1}/{len(jobs)}) " if jobs[1:] else "")
            except (KeyboardInterrupt, SystemExit) as error:
                if not shown.as_json and shown.output is None:
                    raise
                stopped, job.error = error, f"{job.name}: interrupted"
        if shown.as_json or shown.output is not None:
            warning = _skipped_line(job)
            results.append(result(job, runtime.info, shown.top, shown.every, warning))
        if not shown.as_json and job.predictions:
            title = f"{described}, {_seen(runtime.info, view, len(job.predictions))}"
            print_predictions(job.predictions, title, top=shown.top, every=shown.every)
        if warning := _skipped_line(job):
            say("warning", f"{job.name}: {warning}")
        for note in _notes(job):
            say("note", f"{job.name}: {note}")
        if job.error is not None:
            say("error", job.error)
        job.predictions.clear()  # thousands of frames of hundreds of classes, for many videos
        if stopped is not None:
            break
    _put_out(runtime.info, results, shown)
    if stopped is not None:
        sys.stdout.flush()
        raise stopped


def _put_out(info: ModelInfo | None, results: list[dict[str, Any]], shown: _Shown) -> None:
    """All results as JSON on stdout, and in a file, as they are wanted."""
    if shown.output is not None:
        write_results(shown.output, info, results)
        say("note", f"wrote {shown.output}")
    if shown.as_json:
        print(as_text(info, results))


def _fail(jobs: list[Job], shown: _Shown) -> NoReturn:
    """End where there is no video: loading a model would be for nothing."""
    for job in jobs:
        say("error", job.error or "")
    _put_out(None, [result(job, None, 0, None, None) for job in jobs], shown)
    raise typer.Exit(FAILED)


def _load(
    model: str | None,
    weights: str | None,
    labels: str | None,
    head_activation: str | None,
    manifest: Path | None,
    multi_label: bool,
    device: str | None,
) -> Runtime:
    """Load the model and say on stderr what it is."""
    from movinet import opening as choosing
    from movinet.labels import load_labels

    names = None if labels is None else load_labels(labels)
    runtime = choosing.open_model(
        model,
        weights=weights,
        labels=names,
        head_activation=head_activation,
        manifest=manifest,
        multi_label=multi_label or None,
        device=device,
    )
    inputs = [member.info.input for member in runtime.members or [runtime]]
    sees = " and ".join(
        f"{spec.image_size}x{spec.image_size} pixels at {spec.frame_rate:g} frames per second"
        for spec in inputs
    )
    say_model(runtime.info, f", {sees}", "predictions")
    return runtime


def _run(job: Job, runtime: Runtime, view: _View, shown: _Shown, number: str) -> None:
    """Predict, plot and render one video; what goes wrong with it is kept in the job."""
    from movinet.prediction import predict

    # Options that are wrong, for every video, are told here, before any of it is read.
    on_skipped = job.skipped.append
    predictions = predict(
        job.path, runtime, fps=job.frame_rate, on_skipped=on_skipped, **vars(view)
    )
    try:
        with _progress(job, number) as step:
            for prediction in predictions:
                job.predictions.append(prediction)
                step("predicting", prediction.time)
            _draw(job, shown.top, step)
        for written in filter(None, (job.plot, job.render)):
            say("note", f"wrote {written}")
    except BrokenPipeError:
        raise
    except (MovinetError, OSError) as error:
        message = str(error)
        job.error = message if str(job.path) in message else f"{job.name}: {message}"
    except Exception as error:  # whatever it is, the other videos go on
        first, *_ = str(error).strip().splitlines() or [""]
        job.error = f"{job.name}: {type(error).__name__}{first and ': '}{first}"


def _draw(job: Job, top: int, step: Callable[[str, float], None]) -> None:
    """Write the plot and the video that are wanted; warnings of either are notes."""
    from movinet.drawing.predictions import MAX_PLOTTED, plot_predictions
    from movinet.drawing.video import MAX_RENDERED, render

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if job.plot is not None:
            plot_predictions(job.predictions, job.plot, top=min(top, MAX_PLOTTED))
        if job.render is not None:
            render(
                job.path,
                job.predictions,
                job.render,
                top=min(top, MAX_RENDERED),
                progress=lambda time: step("rendering", time),
                fps=job.frame_rate,
            )
    for message in dict.fromkeys(str(warning.message) for warning in caught):
        say("note", message)


@contextmanager
def _progress(job: Job, number: str) -> Iterator[Callable[[str, float], None]]:
    """A bar on stderr if that is a terminal: call it with what is done, and up to what second."""
    console = err()
    if not console.is_terminal:
        yield lambda _what, _seconds: None
        return
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    from movinet.video import open_media

    duration = open_media(job.path, job.frame_rate).info().duration
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        name = printable(job.path.name)
        task = progress.add_task(f"{number}reading {name}", total=duration)
        yield lambda what, seconds: progress.update(
            task, description=f"{number}{what} {name}", completed=seconds
        )


def _skipped_line(job: Job) -> str | None:
    """What could not be decoded, and when it should have been shown."""
    skipped = [packet for packet in job.skipped if not packet.note]
    if not skipped:
        return None
    count = len(skipped)
    times = [f"{p.time:.2f}" for p in skipped[:_MANY_SKIPPED] if p.time is not None]
    when = f" at {', '.join(times)}{', ...' if count > _MANY_SKIPPED else ''} s" if times else ""
    reasons = "; ".join(dict.fromkeys(p.reason for p in skipped))
    return f"skipped {count} corrupted packet{'s' if count > 1 else ''}{when}: {reasons}"


def _notes(job: Job) -> list[str]:
    """What is doubtful about what was shown, the first of many."""
    notes = [packet for packet in job.skipped if packet.note]
    told = [p.reason if p.time is None else f"at {p.time:.2f} s {p.reason}" for p in notes]
    more = len(told) - _MANY_NOTES
    return [*told[:_MANY_NOTES], f"and {more} notes more"] if more > 1 else told


def _seen(info: ModelInfo, view: _View, count: int) -> str:
    """What `count` predictions are made of, in a few words."""
    if info.streaming:
        return f"{count} frame{'s' if count > 1 else ''} seen"
    if view.stride is not None:
        return f"{count} window{'s' if count > 1 else ''}"
    views = (view.views or 1) * view.crops
    return f"mean of {views} views" if views > 1 else "the middle of the video"
