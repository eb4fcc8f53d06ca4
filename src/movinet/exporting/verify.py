"""Run an exported file against the model that it was made from."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from movinet.errors import MovinetError
from movinet.exporting.calibration import Clips
from movinet.exporting.graph.graph import GraphOptions
from movinet.network.model import MoViNet
from movinet.runtime.exported import ExportedRuntime
from movinet.runtime.numbers import to_probabilities
from movinet.runtime.stream import ExportedStream
from movinet.video.preprocessing import crop_pixels

#: Steps of a stream that a file is run for.
STEPS = 4
#: The largest error of an output, relative to the largest one, that is rounding and no mistake.
TOLERANCE = {None: 1e-4, "float16": 0.02, "mixed": 0.2, "dynamic": 0.3, "int8": 1.0}

#: The same where the graph resizes: some pixels are cut to the next lower integer.
RESIZING_TOLERANCE = 0.01


@dataclass(frozen=True)
class Agreement:
    """How near a file's outputs are to the model's.

    Attributes:
        steps: Steps with carried state, or 1 clip.
        error: Largest difference of a logit (or a probability, where the file gives those),
            relative to the largest of them.
        rms: Root mean square of the differences over that of the outputs.
        tolerance: What the errors may be.
        embedding_error: As `error`, of the embedding; None if the file does not give it.
    """

    steps: int
    error: float
    rms: float
    tolerance: float
    embedding_error: float | None = None

    def check(self, where: str) -> None:
        """Raise MovinetError where the file is not the model."""
        errors = {"output": self.error, "value of the embedding": self.embedding_error or 0.0}
        for what, error in errors.items():
            if not error <= self.tolerance:
                raise MovinetError(
                    f"{where}: the exported file is off by {error:.2g} of the largest {what} "
                    f"after {self.steps} steps (allowed: {self.tolerance:g}); nothing was written"
                )


def compare(
    model: MoViNet,
    runtime: ExportedRuntime,
    options: GraphOptions,
    quantize: str | None = None,
    clips: Clips | None = None,
) -> Agreement:
    """Show a file and its model the same frames, with carried state.

    Args:
        model: The model.
        runtime: The file.
        options: Of its graph.
        quantize: How its numbers are held.
        clips: What it was calibrated on; the first one is shown, else noise.
    """
    if not model.stem.weight.dtype.itemsize >= 4:  # the file computes in float32
        model = copy.deepcopy(model).float()
    generator = np.random.default_rng(0)
    batch = options.batch_size or 2
    height, width = options.source_size or options.image_size
    steps = STEPS if model.config.causal else 1
    shape = (steps, options.num_frames, batch, height, width, 3)
    video = generator.integers(0, 256, shape, np.uint8)
    if clips is not None and options.source_size is None:
        video = np.resize(clips[0][:, None], shape)
    wanted, found = _outputs(model, runtime, video, runtime.manifest.output)
    if options.softmax:
        wanted = to_probabilities(wanted, multi_label=options.multi_label).astype(np.float32)
    error, rms = _errors(wanted, found)
    tolerance = TOLERANCE[quantize]
    if options.source_size is not None:
        tolerance = max(tolerance, RESIZING_TOLERANCE)
    embedding_error = None
    if options.embedding:
        embedding_error, _ = _errors(*_outputs(model, runtime, video, "embedding"))
    return Agreement(steps, error, rms, tolerance, embedding_error)


def _errors(wanted: NDArray[np.float32], found: NDArray[np.float32]) -> tuple[float, float]:
    """The largest error relative to the largest value, and the relative root mean square."""
    difference = found.astype(np.float64) - wanted
    squares = (difference**2).mean(), (wanted.astype(np.float64) ** 2).mean()
    error = _share(np.abs(difference).max(), np.abs(wanted).max())
    return error, math.sqrt(_share(*squares))


def _share(part: np.floating[Any], whole: np.floating[Any]) -> float:
    """What an error is of a whole; of nothing, none or all too much."""
    if whole == 0:
        return 0.0 if part == 0 else math.inf
    return float(part / whole)


def _outputs(
    model: MoViNet, runtime: ExportedRuntime, video: NDArray[np.uint8], output: str
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """An output of the model and of the file, for each of (steps, num_frames, batch, h, w, 3)."""
    if model.config.causal:
        return _stream_outputs(model, runtime, video, output)
    return _clip_outputs(model, runtime, video[0], output)


def _stream_outputs(
    model: MoViNet, runtime: ExportedRuntime, video: NDArray[np.uint8], output: str
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What both give after each step of (steps, num_frames, batch, h, w, 3)."""
    batch, spec = video.shape[2], runtime.manifest.input
    stream: ExportedStream = runtime.stream(batch_size=batch, resize=False)
    like = model.stem.weight
    state = model.initial_state(batch, (spec.image_size, spec.image_size))
    run: Callable[..., Any] = model.running_logits
    if output == "embedding":
        run = functools.partial(model.embed, every_frame=True)
    wanted, found = [], []
    for frames in video:
        found.append(stream.advance(_as_input(runtime, frames), output))
        with torch.inference_mode():
            chunk = torch.from_numpy(_seen(runtime, frames)).to(like.device, like.dtype)
            after_each, state = run(chunk.permute(1, 4, 0, 2, 3), state)
        rows = after_each.transpose(0, 1).flatten(0, 1)  # time before batch
        wanted.append(rows.float().cpu().numpy())
    return np.stack(wanted), np.stack(found)


def _clip_outputs(
    model: MoViNet, runtime: ExportedRuntime, frames: NDArray[np.uint8], output: str
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    like = model.stem.weight
    with torch.inference_mode():
        clip = torch.from_numpy(_seen(runtime, frames)).to(like.device, like.dtype)
        video = clip.permute(1, 4, 0, 2, 3)
        wanted = model.embed(video)[0] if output == "embedding" else model(video)
    with runtime.lock:
        found = runtime.engine.clip(_as_input(runtime, frames), output)
    return wanted.float().cpu().numpy(), found


def _as_input(runtime: ExportedRuntime, frames: NDArray[np.uint8]) -> NDArray[np.generic]:
    """(num_frames, batch, h, w, 3) as the file takes it."""
    flat = frames.reshape(-1, *frames.shape[2:])
    if runtime.manifest.frames.dtype == "uint8":
        return flat
    return flat.astype(np.float32) / np.float32(255)


def _seen(runtime: ExportedRuntime, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(num_frames, batch, h, w, 3) as the network sees it."""
    spec = runtime.manifest.input
    if runtime.manifest.resizes:
        cropped = [crop_pixels(frame, spec) for frame in frames.reshape(-1, *frames.shape[2:])]
        frames = np.stack(cropped).reshape(*frames.shape[:2], spec.image_size, spec.image_size, 3)
    return frames.astype(np.float32) / np.float32(255)
