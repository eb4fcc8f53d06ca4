"""The events of a recording, in constant memory however long it is."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from movinet.errors import ConfigError, VideoError
from movinet.events import Detector, Event, Rules
from movinet.live.options import usual_half_life
from movinet.opening import as_runtime, check_for_files
from movinet.runtime.base import Runtime
from movinet.segments.progress import Progress
from movinet.video import SkippedPacket, open_media


@dataclass(frozen=True)
class Segments:
    """The events of a recording.

    Attributes:
        path: The video.
        duration: Its length, seconds.
        width: Of its pictures, pixels.
        height: Of its pictures, pixels.
        frame_rate: Its frames a second; None if the file does not state it.
        model: Name of the model.
        labels: Names of all classes.
        events: By start and class.
        notes: What was skipped or is doubtful, one line each.
    """

    path: Path
    duration: float
    width: int
    height: int
    frame_rate: float | None
    model: str
    labels: tuple[str, ...]
    events: tuple[Event, ...]
    notes: tuple[str, ...] = ()


def find_segments(
    video: str | os.PathLike[str],
    model: str | os.PathLike[str] | Runtime = "motions",
    rules: Rules | None = None,
    *,
    half_life: float | None = None,
    on_time: Callable[[float], None] | None = None,
    resume: str | os.PathLike[str] | None = None,
    fps: float | None = None,
) -> Segments:
    """Find what happens from when to when in a recording.

    The events are those that `movinet.watch` finds in a stream of the same frames.

    Args:
        video: A video file, or a folder of numbered JPEG or PNG frames, with `fps`.
        model: A stream model, as `movinet.open_model` takes it.
        rules: When events begin and end.
        half_life: Seconds after which a frame counts half; ``math.inf`` for the mean of all.
            None for 5, or for the mean if the model has no decay.
        on_time: Called with the time of each frame that was seen, seconds.
        resume: A file that is written every 30 seconds of video, and from which the work goes on
            after the process was killed. It stays: with it, another call gives the same at once.
        fps: Of a folder: frames per second.

    Raises:
        CheckpointError: If the file to resume from is damaged.
        ConfigError: If the model is no stream model, an option is not possible, or the file to
            resume from is of something else.
        OSError: If this file cannot be written.
        VideoError: If the video cannot be read.
    """
    runtime = as_runtime(model)
    check_for_files(runtime, None)
    info = runtime.info
    if not info.streaming or runtime.members:
        raise ConfigError(f"{info.name} is not a stream model: segments are found by streams")
    half_life = usual_half_life(runtime) if half_life is None else half_life
    rules = Rules() if rules is None else rules
    stream = runtime.stream(half_life=None if math.isinf(half_life) else half_life)
    detector = Detector(info.labels, rules)
    media = open_media(video, fps)
    progress = Progress(resume, media, runtime, rules, half_life)
    progress.restore(stream, detector)
    path, rate, events = Path(os.fspath(video)), info.input.frame_rate, progress.events
    start = 0.0 if progress.time is None else (round(progress.time * rate) + 1) / rate
    size = media.info()
    with media.stream(rate, start=start) as (frames, skipped):
        for frame in () if progress.done else frames:
            changes = detector.update(frame.time, stream(frame.image))
            events += [change.event for change in changes if change.kind == "end"]
            progress.see(frame.time, stream, detector, _reasons(skipped))
            if on_time is not None:
                on_time(frame.time)
        notes = tuple(dict.fromkeys((*progress.notes, *_reasons(skipped))))
    if progress.time is None:
        raise VideoError(f"{path}: not one frame can be decoded")
    duration = progress.time + 1 / rate
    events += [change.event for change in detector.finish(duration) if change.kind == "end"]
    if not progress.done:
        progress.done = True
        progress.save(stream, detector, notes)
    order = {label: number for number, label in enumerate(info.labels)}
    events.sort(key=lambda event: (event.start, order[event.label]))
    return Segments(
        path,
        duration,
        size.width,
        size.height,
        size.frame_rate,
        info.name,
        info.labels,
        tuple(events),
        notes,
    )


def _reasons(skipped: list[SkippedPacket]) -> list[str]:
    return [packet.reason for packet in skipped]
