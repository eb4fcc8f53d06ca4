"""`movinet predict`: the classes of videos, as a table, JSON, a plot or a video."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from movinet.cli.common import FAILED, err, printable, say
from movinet.errors import ConfigError, MissingExtraError, MovinetError

if TYPE_CHECKING:
    from movinet.prediction import Prediction
    from movinet.runtime import ModelInfo, Runtime
    from movinet.video import SkippedPacket

_MANY_SKIPPED = 6  # times of skipped packets that fit on a line


@dataclass
class _Job:
    """One video, and what becomes of it."""

    path: Path
    plot: Path | None = None
    render: Path | None = None
    predictions: list[Prediction] = field(default_factory=list)
    skipped: list[SkippedPacket] = field(default_factory=list)
    error: str | None = None


@dataclass(frozen=True)
class _View:
    """How the model looks at a video: arguments of `movinet.predict`."""

    views: int | None
    crops: int
    stride: float | None
    window: float | None


def command(
    videos: Annotated[
        list[Path],
        typer.Argument(metavar="VIDEO", help="Video files, and folders to search for them."),
    ],
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Preset, such as a0_stream or a2_base."),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            "-w",
            metavar="NAME_OR_FILE",
            help="Published weights, such as kinetics-600, or a checkpoint. A file alone will do: "
            "it tells its preset and classes.",
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels",
            "-l",
            metavar="NAME_OR_FILE",
            help="kinetics-400, kinetics-600, kinetics-700, or a text file with a label a line.",
        ),
    ] = None,
    head_activation: Annotated[
        str | None,
        typer.Option(help="Of the classifier: swish or hard_swish, where it is not the preset's."),
    ] = None,
    top: Annotated[int, typer.Option("--top", "-k", min=1, help="Classes to show.")] = 5,
    every: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="A line for every so many seconds; 0: for each one."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="All predictions as JSON on stdout.")
    ] = False,
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
        typer.Option(min=1, help="Base models: number of windows to average over."),
    ] = None,
    crops: Annotated[
        int, typer.Option(metavar="1|3", help="Base models: crops of each window to average over.")
    ] = 1,
    stride: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Base models: slide a window over the video."),
    ] = None,
    window: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Base models: length of a window."),
    ] = None,
) -> None:
    """Predict the classes of videos.

    Stream models see a video frame by frame and predict all the time;
    base models see windows of it. With several videos, --plot and --render
    put each video's name into the file's name.

    For example:

      movinet predict video.mp4 --model a0_stream --weights kinetics-600

      movinet predict folder/ -w checkpoint.safetensors --json

      movinet predict video.mp4 -m a2_base -w kinetics-600 --views 4 --crops 3

      movinet predict video.mp4 -m a0_stream --plot out.png --render out.mp4
    """
    if model is None and weights is None:
        raise ConfigError(
            "give --model (see 'movinet list'), --weights or both, "
            "as in: movinet predict video.mp4 --model a0_stream --weights kinetics-600"
        )
    if every is not None and every < 0:
        raise ConfigError(f"--every must be 0 or more seconds, not {every:g}")
    jobs = _jobs(videos, plot, render)
    if all(job.error for job in jobs):
        _fail(jobs, as_json)
    runtime = _load(model, weights, labels, head_activation)
    view = _View(views, crops, stride, window)
    from movinet.cli.prediction_table import print_predictions

    described = f"{runtime.info.name}{'' if weights else ' with random weights'}"
    results = []
    for number, job in enumerate(jobs):
        if job.error is None:
            _run(job, runtime, view, top, f"({number + 1}/{len(jobs)}) " if jobs[1:] else "")
        if as_json:
            results.append(_result(job, runtime.info, top))
        elif job.predictions:
            seen = _seen(runtime.info, view, len(job.predictions))
            print_predictions(job.predictions, f"{described}, {seen}", top=top, every=every)
        if warning := _skipped_line(job):
            say("warning", f"{job.path}: {warning}")
        if job.error is not None:
            say("error", job.error)
        job.predictions.clear()  # thousands of frames of hundreds of classes, for many videos
    if as_json:
        print(json.dumps({"model": _model(runtime.info, weights), "results": results}, indent=2))
    if any(job.error for job in jobs):
        raise typer.Exit(FAILED)


def _fail(jobs: list[_Job], as_json: bool) -> NoReturn:
    """End where there is no video: loading a model would be for nothing."""
    for job in jobs:
        say("error", job.error or "")
    if as_json:
        results = [_result(job, None, 0) for job in jobs]
        print(json.dumps({"model": None, "results": results}, indent=2))
    raise typer.Exit(FAILED)


def _jobs(videos: list[Path], plot: Path | None, render: Path | None) -> list[_Job]:
    """Find all videos and plan what to write, before any work is done."""
    from movinet.plotting import PLOT_SUFFIXES, check_output, require_matplotlib
    from movinet.rendering import RENDER_SUFFIXES
    from movinet.video import find_videos

    jobs: dict[Path, _Job] = {}
    for given in videos:
        try:
            for path in find_videos([given]):
                jobs.setdefault(path, _Job(path))
        except MovinetError as error:
            jobs.setdefault(given, _Job(given, error=str(error)))
    inputs = {job.path.resolve() for job in jobs.values() if job.error is None}
    written: dict[Path, Path] = {}
    for option, base, suffixes in (
        ("plot", plot, PLOT_SUFFIXES),
        ("render", render, RENDER_SUFFIXES),
    ):
        if base is None:
            continue
        require_matplotlib(f"--{option}")
        check_output(base, suffixes)
        for job in jobs.values():
            name = base if len(jobs) == 1 else base.with_stem(f"{base.stem}-{job.path.stem}")
            other = written.setdefault(name.resolve(), job.path)
            if name.resolve() in inputs or other != job.path:
                what = "a video to read" if other == job.path else f"also that of {str(other)!r}"
                raise ConfigError(
                    f"--{option} would write {str(name)!r} for {str(job.path)!r}, but that is "
                    f"{what}; choose another name, or give fewer videos"
                )
            setattr(job, option, name)
    return list(jobs.values())


def _load(
    model: str | None, weights: str | None, labels: str | None, head_activation: str | None
) -> Runtime:
    """Load the model and say on stderr what it is."""
    from movinet import prediction
    from movinet.labels import load_labels

    names = None if labels is None else load_labels(labels)
    runtime = prediction.load_runtime(
        model, weights=weights, labels=names, head_activation=head_activation
    )
    info = runtime.info
    inputs = [member.info.input for member in runtime.members or [runtime]]
    sees = " and ".join(
        f"{spec.image_size}x{spec.image_size} pixels at {spec.frame_rate:g} frames per second"
        for spec in inputs
    )
    say("note", f"{info.name}, {len(info.labels)} classes, {sees}; weights: {info.origin}")
    for note in info.notes:
        say("note", note)
    if weights is None:
        say("warning", "random weights: the predictions mean nothing; give --weights")
    return runtime


def _run(job: _Job, runtime: Runtime, view: _View, top: int, number: str) -> None:
    """Predict, plot and render one video; what goes wrong with it is kept in the job."""
    from movinet.plotting import MAX_PLOTTED, plot_predictions
    from movinet.prediction import predict
    from movinet.rendering import MAX_RENDERED, render

    try:
        with _progress(job.path, number) as step:
            for prediction in predict(
                job.path, runtime, on_skipped=job.skipped.append, **vars(view)
            ):
                job.predictions.append(prediction)
                step("predicting", prediction.time)
            if job.plot is not None:
                plot_predictions(job.predictions, job.plot, top=min(top, MAX_PLOTTED))
            if job.render is not None:
                render(
                    job.path,
                    job.predictions,
                    job.render,
                    top=min(top, MAX_RENDERED),
                    progress=lambda time: step("rendering", time),
                )
        for written in filter(None, (job.plot, job.render)):
            say("note", f"wrote {written}")
    except (ConfigError, MissingExtraError):
        raise  # wrong for every video
    except (MovinetError, OSError) as error:
        message = str(error)
        job.error = message if str(job.path) in message else f"{job.path}: {message}"


@contextmanager
def _progress(path: Path, number: str) -> Iterator[Callable[[str, float], None]]:
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

    from movinet.video import VideoReader

    with VideoReader(path) as reader:
        duration = reader.info.duration
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        name = printable(path.name)
        task = progress.add_task(f"{number}reading {name}", total=duration)
        yield lambda what, seconds: progress.update(
            task, description=f"{number}{what} {name}", completed=seconds
        )


def _skipped_line(job: _Job) -> str | None:
    """What could not be decoded, and when it should have been shown."""
    if not job.skipped:
        return None
    count = len(job.skipped)
    times = [f"{p.time:.2f}" for p in job.skipped[:_MANY_SKIPPED] if p.time is not None]
    when = f" at {', '.join(times)}{', ...' if count > _MANY_SKIPPED else ''} s" if times else ""
    reasons = "; ".join(dict.fromkeys(p.reason for p in job.skipped))
    return f"skipped {count} corrupted packet{'s' if count > 1 else ''}{when}: {reasons}"


def _model(info: ModelInfo, weights: str | None) -> dict[str, Any]:
    """The model as JSON values."""
    return {
        "name": info.name,
        "origin": info.origin,
        "random_weights": weights is None,
        "streaming": info.streaming,
        "frame_rate": info.input.frame_rate,
        "image_size": info.input.image_size,
        "num_classes": len(info.labels),
        "notes": list(info.notes),
    }


def _result(job: _Job, info: ModelInfo | None, top: int) -> dict[str, Any]:
    """What became of one video as JSON values."""
    warning = _skipped_line(job)
    return {
        "path": str(job.path),
        "model": info and info.name,
        "predictions": [
            {
                "time": round(prediction.time, 6),
                "top": [
                    {"label": label, "probability": probability}
                    for label, probability in prediction.top(top)
                ],
            }
            for prediction in job.predictions
        ],
        "warnings": [] if warning is None else [warning],
        "error": job.error,
    }


def _seen(info: ModelInfo, view: _View, count: int) -> str:
    """What `count` predictions are made of, in a few words."""
    if info.streaming:
        return f"{count} frame{'s' if count > 1 else ''} seen"
    if view.stride is not None:
        return f"{count} window{'s' if count > 1 else ''}"
    views = (view.views or 1) * view.crops
    return f"mean of {views} views" if views > 1 else "the middle of the video"
