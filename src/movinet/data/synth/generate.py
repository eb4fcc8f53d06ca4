"""Clips of a task, rendered, and written as files in a folder per class."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from movinet.data.synth.motions import PATHS, STILL, TASKS, Task
from movinet.data.synth.scene import draw, make_texture, make_thing, pose
from movinet.errors import ConfigError
from movinet.files import replacing
from movinet.video.writer import VideoWriter

#: Raised when the same seed gives other clips than before.
VERSION = 1
CARD = "synth.json"
_SIZES = ((120, 136), (128, 128), (136, 120), (128, 144), (144, 128))
_RATES = (10, 12, 15, 20)
_SECONDS = (2.0, 2.6)
#: How far a shaken camera can look beyond the frame, pixels.
_BORDER = 3


class Clip(NamedTuple):
    """A rendered clip.

    Attributes:
        frames: (time, height, width, 3) uint8 RGB.
        frame_rate: Frames per second.
        crf: H.264's constant rate factor that it is written with.
    """

    frames: NDArray[np.uint8]
    frame_rate: int
    crf: int


def render_clip(task: Task, label: str, seed: int, number: int) -> Clip:
    """One clip; it depends on nothing but the arguments.

    Args:
        task: A task of `TASKS`.
        label: One of its classes.
        seed: Of the data set.
        number: Of the clip in its class.
    """
    entropy = (VERSION, list(TASKS).index(task), TASKS[task].index(label), seed, number)
    rng = np.random.default_rng(entropy)
    height, width = frame = _SIZES[rng.integers(len(_SIZES))]
    rate = int(rng.choice(_RATES))
    times = np.arange(round(rng.uniform(*_SECONDS) * rate)) / rate
    backdrop = make_texture(rng, height + 2 * _BORDER, width + 2 * _BORDER, contrast=80)
    behind, moving, before = (
        [make_thing(rng) for _ in range(rng.integers(*counts))]
        for counts in ((0, 3), (3, 6), (0, 2))
    )
    paths = [PATHS[task][label](rng, times) for _ in moving]
    rest = [STILL] * len(times)
    scene = [
        *((thing, rest) for thing in behind),
        *(
            (thing, list(zip(*path, strict=True)))
            for thing, path in zip(moving, paths, strict=True)
        ),
        *((thing, rest) for thing in before),
    ]
    jitter = _jitter(rng, len(times)) * min(frame) / 128
    camera = _Camera(rng, frame)
    frames = np.empty((len(times), height, width, 3), np.uint8)
    for i, shift in enumerate(jitter):
        canvas = _shifted(Image.fromarray(backdrop), shift, frame)
        for thing, moved in scene:
            at = pose(thing, moved[i], frame)
            draw(canvas, thing, at._replace(x=at.x - shift[0], y=at.y - shift[1]))
        frames[i] = camera(canvas)
    return Clip(frames, rate, int(rng.integers(18, 34)))


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

    A clip that is there is left as it is, so an interrupted call can be repeated.

    Args:
        out: A new or empty folder, or one that a call with the same arguments began to fill.
        seed: Decides everything; the clips of different seeds have nothing in common.
        clips_per_class: Number of clips of each class.
        task: "motions" (10 classes) or "paths" (8 others).
        workers: Processes; by default one a processor.
        progress: Called with the clips done and all clips.

    Returns:
        `out`.

    Raises:
        ConfigError: If an argument is not allowed, or `out` holds something else.
        OSError: If something cannot be written.
    """
    if task not in TASKS:
        raise ConfigError(f"no task {task!r}; tasks: {', '.join(TASKS)}")
    for name, value, least in (("seed", seed, 0), ("clips_per_class", clips_per_class, 1)):
        if value < least:
            raise ConfigError(f"{name} must be {least} or more, not {value}")
    _claim(out, {"task": task, "seed": seed, "version": VERSION})
    for label in TASKS[task]:
        (out / label).mkdir(exist_ok=True)
    jobs = [(label, number) for number in range(clips_per_class) for label in TASKS[task]]
    write = partial(_write_clip, out, task, seed)
    count = min(workers or os.cpu_count() or 1, len(jobs))
    with ProcessPoolExecutor(count, multiprocessing.get_context("spawn")) as pool:
        for done, _ in enumerate(pool.map(write, jobs, chunksize=8), start=1):
            if progress is not None:
                progress(done, len(jobs))
    return out


def _claim(out: Path, card: dict[str, object]) -> None:
    """Make the folder ours, with a card that says what is in it."""
    path = out / CARD
    if path.is_file():
        try:
            found = json.loads(path.read_text(encoding="utf-8")[:10_000])
        except ValueError:
            found = None
        if found != card:
            raise ConfigError(
                f"{out} holds other clips ({path.name} does not fit); give a new folder"
            )
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} is not empty; give a new folder")
    out.mkdir(parents=True, exist_ok=True)
    labels = TASKS["paths" if card["task"] == "paths" else "motions"]
    (out / "labels.txt").write_text("\n".join(labels) + "\n", encoding="utf-8")
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(card) + "\n", encoding="utf-8")


def _write_clip(out: Path, task: Task, seed: int, job: tuple[str, int]) -> None:
    label, number = job
    path = out / label / f"{label.replace(' ', '_')}_{seed}_{number:05d}.mp4"
    if path.exists():
        return
    clip = render_clip(task, label, seed, number)
    with VideoWriter(path, clip.frame_rate, crf=clip.crf) as writer:
        for frame in clip.frames:
            writer.write(frame)


def _jitter(rng: Generator, count: int) -> NDArray[np.float64]:
    """(time, 2) pixels that a hand-held camera moves by; weak beside any motion."""
    steps = rng.normal(0, rng.uniform(0, 0.5), (count + 4, 2))
    return np.stack([steps[i : i + 5].mean(0) for i in range(count)]).clip(-_BORDER, _BORDER)


def _shifted(
    backdrop: Image.Image, shift: NDArray[np.float64], frame: tuple[int, int]
) -> Image.Image:
    """What of the background the moved camera sees."""
    matrix = (1, 0, _BORDER + float(shift[0]), 0, 1, _BORDER + float(shift[1]))
    return backdrop.transform(
        (frame[1], frame[0]), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
    )


class _Camera:
    """Noise of the sensor and flicker of the light; one frame after another."""

    def __init__(self, rng: Generator, frame: tuple[int, int]) -> None:
        self._rng, self._flicker = rng, rng.uniform(0, 0.04)
        self._size = frame[0] * frame[1] * 3
        # Frames take their noise from random places of one pool, which costs less than new noise.
        pool = rng.standard_normal(2 * self._size, np.float32) * rng.uniform(0, 6)
        self._noise = np.round(pool).astype(np.int16)

    def __call__(self, canvas: Image.Image) -> NDArray[np.uint8]:
        start = self._rng.integers(self._size)
        gain = int(256 * (1 + self._flicker * self._rng.standard_normal()))
        pixels = np.asarray(canvas).astype(np.int32)
        seen = (pixels * gain >> 8) + self._noise[start : start + self._size].reshape(pixels.shape)
        return np.clip(seen, 0, 255).astype(np.uint8)
