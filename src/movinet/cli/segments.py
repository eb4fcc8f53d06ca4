"""`movinet segments`: what happens when in recordings, in the formats of other tools."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from movinet.cli.common import FAILED, err, printable, say
from movinet.cli.jobs import Job, output_names, plan_jobs
from movinet.cli.models import (
    FrameRateOption,
    SpeedOption,
    StreamModelOption,
    WeightsOption,
    say_model,
)
from movinet.cli.watch import half_life_of, rules_of
from movinet.errors import ConfigError, MovinetError

if TYPE_CHECKING:
    from movinet.events import Rules
    from movinet.runtime.base import Runtime
    from movinet.segments import Segments


def command(
    videos: Annotated[
        list[str],
        typer.Argument(metavar="VIDEO", help="Video files, and folders to search for them."),
    ],
    model: StreamModelOption = "motions",
    weights: WeightsOption = None,
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write the segments; again for other formats. .eaf (ELAN), .vtt, .srt, .csv, "
            ".json, .ffmetadata (chapters).",
        ),
    ] = None,
    format: Annotated[  # noqa: A002
        str | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="Format of the files if the suffix does not determine it: activitynet, ava, "
            "label-studio, via, fiftyone and the above.",
        ),
    ] = None,
    render: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.mp4", help="Write the video with its segments below it; .mp4 or .gif."
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Written every 30 seconds of video; after the process was killed, the same "
            "command continues from there. Removed at the end.",
        ),
    ] = None,
    half_life: Annotated[
        str | None,
        typer.Option(
            metavar="SECONDS", help="Seconds after which a frame counts half, or inf. [5]"
        ),
    ] = None,
    frame_rate: FrameRateOption = None,
    speed: SpeedOption = 1.0,
    events: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Rules of events, TOML.")
    ] = None,
    on: Annotated[
        float | None,
        typer.Option("--on", metavar="P", help="Probability at which an event begins. [0.6]"),
    ] = None,
    off: Annotated[
        float | None,
        typer.Option("--off", metavar="P", help="Probability below which it ends. [0.4]"),
    ] = None,
) -> None:
    """Find what happens from when to when in recordings.

    The same events as 'movinet watch' finds in a stream, printed as a table
    and written for ELAN, subtitles, annotation tools and benchmarks. Memory
    does not grow with the length. With several videos each one's name is put
    into the names of the files.

    For example:

      movinet segments video.mp4 -m motions

      movinet segments video.mp4 -m motions -o video.eaf -o video.vtt

      movinet segments video.mp4 -m motions -o pred.json --format activitynet

      movinet segments night.mp4 -m a0.mvn -o night.csv --resume night.resume
    """
    from movinet.opening import at_speed, open_model

    jobs = plan_jobs(videos, None, render, frame_rate)
    outputs = _outputs(jobs, output or [], format)
    resumes = [None] * len(jobs) if resume is None else output_names(resume, jobs)
    rules = rules_of(events, on, off)
    runtime = at_speed(open_model(model, weights=weights), speed)
    say_model(runtime.info, "", "segments")
    half = half_life_of(half_life, runtime)
    failed, finished = False, []
    for number, job in enumerate(jobs):
        try:
            if job.error is not None:
                raise MovinetError(job.error)
            segments = _found(
                job, runtime, rules, half, f"{number + 1}/{len(jobs)} ", resumes[number]
            )
            _print(segments)
            _write(segments, [names[number] for names in outputs], format)
            _render(segments, job)
            finished.append(resumes[number])
        except MovinetError as error:
            if isinstance(error, ConfigError):
                raise
            say("error", str(error))
            failed = True
    for name in finished:  # only now: until all are done, none of these is seen again
        if name is not None:
            name.unlink(missing_ok=True)
    if failed:
        raise typer.Exit(FAILED)


def _outputs(jobs: list[Job], outputs: list[Path], name: str | None) -> list[list[Path]]:
    """For each --output the file of each video, all of them possible."""
    from movinet.segments.formats import chosen_format

    inputs = {job.path.resolve() for job in jobs}
    found = []
    for path in outputs:
        chosen_format(path, name)
        if not path.absolute().parent.is_dir():
            raise OSError(f"{path}: cannot be written (there is no folder {path.parent})")
        names = output_names(path, jobs)
        if clash := inputs & {one.resolve() for one in names}:
            raise ConfigError(f"{clash.pop()} is a video to read; choose another output")
        found.append(names)
    return found


def _found(
    job: Job, runtime: Runtime, rules: Rules, half_life: float, number: str, resume: Path | None
) -> Segments:
    from movinet.segments import find_segments
    from movinet.video import open_media

    found = partial(
        find_segments,
        job.path,
        runtime,
        rules,
        half_life=half_life,
        resume=resume,
        fps=job.frame_rate,
    )
    console = err()
    if not console.is_terminal:
        return found()
    from rich.progress import Progress

    duration = open_media(job.path, job.frame_rate).info().duration
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task(f"{number}{printable(job.path.name)}", total=duration)
        return found(on_time=lambda time: progress.update(task, completed=time))


def _print(segments: Segments) -> None:
    from movinet.cli.watch_view import clock  # with numpy, which help does without

    count = len(segments.events)
    name = printable(str(segments.path))
    print(f"{name}  {clock(segments.duration)}, {count} segment{'' if count == 1 else 's'}")
    for event in segments.events:
        print(
            f"  {clock(event.start)}  {clock(event.end)}  {event.peak:4.0%}  "
            f"{printable(event.label)}"
        )
    for note in segments.notes[:6]:
        say("note", f"{name}: {note}")


def _write(segments: Segments, paths: list[Path], name: str | None) -> None:
    from movinet.segments import write_segments

    for path in paths:
        write_segments(segments, path, name)
        say("note", f"written: {printable(str(path))}")


def _render(segments: Segments, job: Job) -> None:
    from movinet.drawing.events import render_events

    if job.render is not None:
        render_events(job.path, segments.events, job.render, fps=job.frame_rate)
        say("note", f"written: {printable(str(job.render))}")
