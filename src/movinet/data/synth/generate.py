"""Writing a data set of clips: a folder per class."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import closing
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import (
    ColorPrimaries,
    ColorRange,
    Colorspace,
    ColorTrc,
    VideoReformatter,
)

from movinet.data.processes import in_processes
from movinet.data.synth.motions import TASKS, Task
from movinet.data.synth.render import VERSION, Clip, check_seed, check_task, render_clip
from movinet.errors import ConfigError, VideoError
from movinet.files import replacing
from movinet.video.container import reason_of

CARD = "synth.json"
_ABOUT = (
    "Made-up videos of moving objects, by `movinet data synth`. Only motion tells the classes "
    "apart: every single frame looks alike in all of them."
)
#: (class, number) of a clip.
_Job = tuple[str, int]


def generate(
    out: Path,
    *,
    seed: int,
    clips_per_class: int,
    task: Task = "motions",
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write ``OUT/<class>/<class>_<seed>_<number>.mp4``, ``labels.txt`` and a card.

    A clip that is there is left as it is, so an interrupted call can be repeated, and a data set
    can be made larger.

    Args:
        out: A new or empty folder, or one that a call with the same seed and task began to fill.
        seed: Decides everything, from 0 to 2^32 - 1; the clips of different seeds have nothing in
            common.
        clips_per_class: Number of clips of each class.
        task: "motions" (10 classes) or "paths" (8 others).
        workers: Processes; by default one a processor. With several, a script must call this under
            ``if __name__ == "__main__":``, as they start anew.
        progress: Called with the clips done and all clips.

    Returns:
        `out`.

    Raises:
        ConfigError: If an argument is not allowed, or `out` holds something else.
        VideoError: If a clip cannot be written.
        OSError: If a folder, the labels or the card cannot be written.
    """
    check_task(task)
    check_seed(seed)
    count = workers if workers is not None else os.cpu_count() or 1
    for name, value in (("clips_per_class", clips_per_class), ("workers", count)):
        if value < 1:
            raise ConfigError(f"{name} must be 1 or more, not {value}")
    _claim(out, task, seed)
    jobs = [(label, number) for number in range(clips_per_class) for label in TASKS[task]]
    write = partial(_write_clip, out, task, seed)
    with closing(in_processes(write, jobs, count)) as written:
        for done, path in enumerate(written, start=1):
            if path is None:
                raise VideoError(
                    "a process that made clips was ended from outside; repeat the call to "
                    "continue, with fewer workers if memory ran out"
                )
            if progress is not None:
                progress(done, len(jobs))
    return out


def _claim(out: Path, task: Task, seed: int) -> None:
    """Make the folder ours: a card that says what is in it, the labels, a folder per class."""
    card = {"about": _ABOUT, "task": task, "seed": seed, "version": VERSION}
    path = out / CARD
    if path.is_file():
        found = _read_card(path)
        for key in ("task", "seed", "version"):
            if found.get(key) != card[key]:
                raise ConfigError(
                    f"{out} holds other clips ({CARD}: {key} is {found.get(key)!r}, "
                    f"not {card[key]!r}); give a new folder"
                )
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} is not an empty folder, nor one of such clips; give a new one")
    else:
        out.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    with replacing(out / "labels.txt") as temporary:
        temporary.write_text("\n".join(TASKS[task]) + "\n", encoding="utf-8")
    for label in TASKS[task]:
        (out / label).mkdir(exist_ok=True)


def _read_card(path: Path) -> dict[str, object]:
    """What a card says; nothing if it is none."""
    try:
        with path.open("rb") as file:
            card = json.loads(file.read(10_000))
    except (ValueError, RecursionError):
        return {}
    return card if isinstance(card, dict) else {}


def _write_clip(out: Path, task: Task, seed: int, job: _Job) -> Path:
    """Make a clip, unless it is there."""
    label, number = job
    path = out / label / f"{label.replace(' ', '_')}_{seed}_{number:05d}.mp4"
    if path.exists():
        return path
    clip = render_clip(task, label, seed, number)
    try:
        with replacing(path) as temporary:
            _encode(temporary, clip)
    except FFmpegError as error:
        raise VideoError(f"{path}: cannot be written ({reason_of(error)})") from None
    except OSError as error:
        raise VideoError(str(error)) from None
    return path


def _encode(path: Path, clip: Clip) -> None:
    """Write an MP4.

    `movinet.video.VideoWriter` makes files to be looked at. Here the encoder is part of the made-up
    world: worse quality and other distances of key frames, and a fast preset for many clips.
    """
    reformatter = VideoReformatter()  # one for all frames: it keeps what it has prepared
    with av.open(f"file:{path.absolute()}", "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=clip.frame_rate)
        stream.height, stream.width = clip.frames.shape[1:3]
        stream.pix_fmt, stream.thread_count = "yuv420p", 1
        stream.options = {
            "crf": str(clip.crf),
            "preset": "veryfast",
            # Else x264 makes other files with AVX-512, and not always the same ones.
            "x264-params": "cpu-independent=1",
            "g": str(clip.key_frames),
        }
        context = stream.codec_context
        context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
        context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        for i, pixels in enumerate(clip.frames):
            frame = reformatter.reformat(
                VideoFrame.from_ndarray(pixels, format="rgb24"),
                format="yuv420p",
                dst_colorspace=Colorspace.ITU709,
                dst_color_range=ColorRange.MPEG,
            )
            frame.pts, frame.time_base = i, Fraction(1, clip.frame_rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
