"""Planning `movinet predict`: which videos there are, and what is written for each."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from movinet.errors import ConfigError, MovinetError

if TYPE_CHECKING:
    from movinet.prediction import Prediction
    from movinet.video import SkippedPacket


@dataclass
class Job:
    """One video, by the name that was given or found, and what becomes of it.

    `frame_rate` is that of a folder of pictures.
    """

    name: str
    path: Path
    frame_rate: float | None = None
    plot: Path | None = None
    render: Path | None = None
    predictions: list[Prediction] = field(default_factory=list)
    skipped: list[SkippedPacket] = field(default_factory=list)
    error: str | None = None


def plan_jobs(
    videos: list[str], plot: Path | None, render: Path | None, frame_rate: float | None = None
) -> list[Job]:
    """Find all videos and plan what to write, before any work is done."""
    from movinet.drawing.predictions import PLOT_SUFFIXES, check_output, require_matplotlib
    from movinet.drawing.video import RENDER_SUFFIXES
    from movinet.video import find_videos
    from movinet.video.frame_folder import check_frame_rate

    if frame_rate is not None:
        check_frame_rate(frame_rate, "--frame-rate")
    found: dict[str, Job] = {}
    for given in videos:
        try:
            for path in find_videos([given], frame_folders=frame_rate is not None):
                rate = frame_rate if path.is_dir() else None
                found.setdefault(str(path), Job(str(path), path, rate))
        except MovinetError as error:
            found.setdefault(given, Job(given, Path(given), error=str(error)))
    jobs = list(found.values())
    if frame_rate is not None and all(job.error or job.frame_rate is None for job in jobs):
        files = [job.name for job in jobs if job.error is None]
        if files:
            raise ConfigError(
                f"--frame-rate is for folders of numbered pictures; {files[0]} is a video file, "
                "which has its own"
            )
    inputs = {job.path.resolve() for job in jobs if job.error is None}
    for option, base, suffixes in (
        ("plot", plot, PLOT_SUFFIXES),
        ("render", render, RENDER_SUFFIXES),
    ):
        if base is None:
            continue
        require_matplotlib(f"--{option}")
        check_output(base, suffixes)
        for job, name in zip(jobs, output_names(base, jobs), strict=True):
            if job.error is not None:
                continue
            if name.resolve() in inputs:
                raise ConfigError(
                    f"--{option} would write {str(name)!r} for {job.name!r}, but that is a video "
                    "to read; choose another name"
                )
            check_output(name, suffixes)
            setattr(job, option, name)
    return jobs


def output_names(base: Path, jobs: list[Job]) -> list[Path]:
    """`base` for one video; for several with each one's name, with its folder's where it must be.

    A number tells apart what even then has the same name.
    """
    if len(jobs) == 1:
        return [base]
    count = Counter(job.path.stem.casefold() for job in jobs)
    names: dict[str, Path] = {}
    for job in jobs:
        stem = job.path.stem
        if count[stem.casefold()] > 1:
            stem = f"{job.path.absolute().parent.name}-{stem}"
        numbered = (f"{stem}-{n}" for n in itertools.count(2))
        unique = next(s for s in itertools.chain([stem], numbered) if s.casefold() not in names)
        names[unique.casefold()] = base.with_stem(f"{base.stem}-{unique}")
    return list(names.values())
