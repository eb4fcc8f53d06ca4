"""The ranges of a graph's tensors, measured on videos with carried state."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from movinet.errors import ConfigError, VideoError
from movinet.exporting.graph.graph import Graph
from movinet.exporting.graph.interpreter import ProgramModule
from movinet.network.config import InputSpec
from movinet.runtime.tensors import carried
from movinet.video import VideoFile, find_videos
from movinet.video.preprocessing import crop_pixels

#: What calibration looks at: so many videos, and so many frames from the start of each.
MAX_VIDEOS, MAX_FRAMES = 64, 32
#: Bins of a tensor's histogram, and the parts of its range that are tried out.
_BINS = 2048
_SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)

Calibration = str | os.PathLike[str] | Sequence[NDArray[np.uint8]]
Clips = list[NDArray[np.uint8]]


def read_clips(calibration: Calibration, spec: InputSpec) -> Clips:
    """Preprocessed beginnings of some videos.

    Args:
        calibration: A video, a folder with videos (anywhere below it), or clips of frames of any
            size, (time, height, width, 3) uint8.
        spec: The model's input.

    Returns:
        (time, image_size, image_size, 3) uint8 each.

    Raises:
        VideoError: If there is no video that can be read.
        ConfigError: If clips are not such arrays.
    """
    if not isinstance(calibration, str | os.PathLike):
        return _cropped(calibration, spec)
    where, clips, reason = Path(calibration), [], "there are none"
    for path in _videos(where):
        try:
            with VideoFile(path).stream(spec.frame_rate) as (found, _):
                frames = [frame.image for frame in itertools.islice(found, MAX_FRAMES)]
        except VideoError as error:
            reason = str(error)
            continue
        if frames:
            clips.append(np.stack([crop_pixels(frame, spec) for frame in frames]))
        if len(clips) == MAX_VIDEOS:
            break
    if not clips:
        raise VideoError(f"{where}: no video for calibration can be read ({reason})")
    return clips


def measure_ranges(graph: Graph, clips: Clips) -> dict[str, tuple[float, float]]:
    """The range of every tensor with which rounding to 256 steps costs least.

    The extremes are found first, then a histogram between them: cutting off what is rare makes the
    steps finer for the rest.

    Args:
        graph: A step of one frame, or a clip, in float32.
        clips: What to show it.
    """
    module = ProgramModule(graph.program)
    extremes: dict[str, tuple[float, float]] = {}

    def widen(name: str, y: torch.Tensor) -> torch.Tensor:
        low, high = float(y.min()), float(y.max())
        before = extremes.get(name, (low, high))
        extremes[name] = (min(low, before[0]), max(high, before[1]))
        return y

    counts: dict[str, torch.Tensor] = {}

    def count(name: str, y: torch.Tensor) -> torch.Tensor:
        low, high = extremes[name]
        if high > low:
            counts[name] = counts.get(name, torch.zeros(_BINS)) + torch.histc(y, _BINS, low, high)
        return y

    for observe in (widen, count):
        module.observe = observe
        for clip in clips:
            _show(module, graph, clip)
    ranges = {name: _narrowed(extremes[name], counts.get(name)) for name in extremes}
    scale = 255.0 if graph.program.values["frames"].dtype == "uint8" else 1.0
    return ranges | {"frames": (0.0, scale), "frames/float": (0.0, scale)}


def _cropped(clips: Sequence[NDArray[np.uint8]], spec: InputSpec) -> Clips:
    """Clips of frames at the model's size."""
    wanted = "calibration takes a folder, or clips, (time, height, width, 3) uint8 each"
    if not isinstance(clips, Iterable):
        raise ConfigError(f"{wanted}, not {type(clips).__name__}")
    cropped = []
    for number, clip in enumerate(clips):
        frames = np.asarray(clip)
        if frames.ndim != 4 or len(frames) == 0:
            raise ConfigError(f"{wanted}: number {number} is {frames.shape} {frames.dtype}")
        cropped.append(np.stack([crop_pixels(frame, spec) for frame in frames]))
    if not cropped:
        raise ConfigError(f"{wanted}: there are none")
    return cropped


def _videos(where: Path) -> list[Path]:
    try:
        return find_videos([where])
    except VideoError as error:
        raise VideoError(f"{where}: no video for calibration can be read ({error})") from None


def _show(module: ProgramModule, graph: Graph, clip: NDArray[np.uint8]) -> None:
    """Run the graph over a clip, frame by frame or at once."""
    program = graph.program
    frames = torch.from_numpy(clip)
    if program.values["frames"].dtype == "float32":
        frames = frames.float() / 255
    with torch.inference_mode():
        if not graph.states:
            length = program.values["frames"].shape[0]
            repeats = -(-length // len(frames))
            module(frames.repeat(repeats, 1, 1, 1)[:length])
            return
        values = {
            state.name: torch.full(program.values[state.name].shape, state.initial)
            for state in graph.states
        }
        batch = program.batch_size
        for frame in frames:
            values |= {"frames": frame.expand(batch, -1, -1, -1), "decay": torch.ones(batch, 1)}
            results = module(*(values[name] for name in program.inputs))
            outputs = dict(zip(program.outputs, results, strict=True))
            values = carried(graph.states, outputs, values)


def _narrowed(extremes: tuple[float, float], counts: torch.Tensor | None) -> tuple[float, float]:
    """The part of a range that costs least, by the mean square error of rounding to it."""
    if counts is None:
        return extremes
    low, high = extremes
    edges = torch.linspace(low, high, _BINS + 1, dtype=torch.float64)
    centres = (edges[1:] + edges[:-1]) / 2
    best, chosen = float("inf"), extremes
    for below, above in itertools.product(_SHARES, _SHARES):
        first, last = min(low * below, 0.0), max(high * above, 0.0)
        step = (last - first) / 255
        rounded = torch.round(centres.clamp(first, last) / step) * step
        error = float(((rounded - centres) ** 2 * counts).sum())
        if error < best:
            best, chosen = error, (first, last)
    return chosen
