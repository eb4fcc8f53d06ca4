"""Prediction on video files: streams frame by frame, base models window by window."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from movinet.errors import ConfigError, MovinetError
from movinet.opening import as_runtime, at_speed, check_for_files
from movinet.prediction.looking import OnSkipped, averaged, slid, streamed, window_spec
from movinet.runtime.base import Runtime
from movinet.text import printable

if TYPE_CHECKING:
    from movinet.video import SkippedPacket
    from movinet.video.inputs import VideoInput

#: The longest window or stride, seconds, and the most windows to average over.
MAX_SECONDS, MAX_VIEWS = 86_400, 1000


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model makes of a video, or of the part of it that it has seen.

    Attributes:
        path: The video.
        time: Presentation time of the last frame seen, seconds.
        probabilities: (classes,) float32: summing up to 1, or of a multi-label model each by itself
            in [0, 1].
        labels: Names of the classes, in the order of `probabilities`.
        multi_label: Whether any number of the labels may be right.
    """

    path: Path
    time: float
    probabilities: np.ndarray
    labels: tuple[str, ...]
    multi_label: bool = False

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """The most probable classes.

        Args:
            k: How many; all of them if there are fewer.

        Returns:
            (label, probability) pairs, the most probable first; equal ones in class order.
        """
        order = np.argsort(-self.probabilities, kind="stable")[: max(0, k)]
        return [(self.labels[i], float(self.probabilities[i])) for i in order]

    def present(self, threshold: float = 0.5) -> tuple[str, ...]:
        """The labels that have at least this probability, in class order.

        What a multi-label model says of a clip; of exclusive classes at most one has more than
        one half.
        """
        chosen = np.flatnonzero(self.probabilities >= threshold)
        return tuple(self.labels[i] for i in chosen)


def predict(
    video: str | os.PathLike[str] | bytes | NDArray[np.uint8],
    model: str | os.PathLike[str] | Runtime | None = None,
    *,
    weights: str | os.PathLike[str] | None = None,
    labels: Sequence[str] | str | os.PathLike[str] | None = None,
    head_activation: str | None = None,
    multi_label: bool | None = None,
    views: int | None = None,
    crops: int = 1,
    stride: float | None = None,
    window: float | None = None,
    start: float | None = None,
    end: float | None = None,
    half_life: float | None = None,
    fps: float | None = None,
    speed: float = 1.0,
    device: str | None = None,
    on_skipped: OnSkipped | None = None,
) -> Iterator[Prediction]:
    """Predict the classes of a video.

    A stream model gives one prediction for each frame at its own frame rate, of everything seen
    until then. A base model gives one for the middle window; or one for `views` windows and `crops`
    each, their probabilities averaged; or with `stride` one for each window of a sliding one.
    Each member of an ensemble sees the video at its own size and frame rate, and their logits are
    averaged.

    Args:
        video: A video file, or the bytes of one; or with `fps`, a folder of numbered JPEG or PNG
            frames, or an array of frames, (time, height, width, 3) uint8 RGB.
        model: What `movinet.open_model` takes (an exported file, a preset, "motions" or a file of
            weights), or an opened model. None if `weights` determine it.
        weights: Of a preset, as in `movinet.open_model`.
        labels: As in `movinet.open_model`.
        head_activation: As in `movinet.open_model`.
        multi_label: As in `movinet.open_model`.
        views: Base models: number of windows spread evenly over the video, up to 1000; default 1.
        crops: Base models: 1 for the centre, 3 along the longer side.
        stride: Base models: seconds from one window to the next, rounded to whole frames of the
            model and at least one. The last window ends with the video; one that is shorter than a
            window is repeated.
        window: Base models: seconds that a window lasts, rounded to whole frames of the model; by
            default that of the published accuracy.
        start: Where to begin, seconds; by default the beginning. Times stay those of the video.
        end: Where to stop, seconds; by default the end.
        half_life: Stream models: seconds after which a frame counts half; by default all frames
            count the same.
        fps: Of an array or a folder: frames per second.
        speed: How many times slower than life the video shows things: 4 for slow motion that a
            camera took at 100 frames a second and plays at 25. Times stay those of the video.
        device: As in `movinet.open_model`.
        on_skipped: Called with each part of the file that cannot be decoded, or whose pictures or
            times are doubtful (a note); by default each is a warning (`warnings.warn`).

    Returns:
        An iterator of predictions in order of time. Frames are decoded as it advances.

    Raises:
        ConfigError: If the model is unknown or the options don't fit it.
        CheckpointError, DownloadError: If the weights cannot be loaded.
        MissingExtraError: If a preset is given and torch is not installed.
        VideoError: If the video's name is empty or a URL; while iterating, if it cannot be read.
        MovinetError: While iterating, if the model gives no usable probabilities.
    """
    runtime = as_runtime(
        model,
        weights=weights,
        labels=labels,
        head_activation=head_activation,
        multi_label=multi_label,
        device=device,
    )
    runtime = at_speed(runtime, speed)
    _check_options(views, crops, stride, window)
    from movinet.video.inputs import check_input

    members, given = _members(runtime), check_input(video, fps, start, end)
    for member in members:
        check_for_files(member, window)
    part = (start, end)
    if runtime.info.streaming:
        if views is not None or crops != 1 or stride is not None or window is not None:
            raise ConfigError(
                f"{runtime.info.name} is a stream model, which predicts at every frame: "
                "views, crops, stride and window are for base models"
            )
        streams = [
            member.stream() if half_life is None else member.stream(half_life=half_life)
            for member in members
        ]
        look = partial(streamed, members, streams)
        return _predictions(given, part, runtime, look, on_skipped)
    if half_life is not None:
        raise ConfigError(
            f"{runtime.info.name} is a base model, which sees whole windows: half_life is for "
            "stream models"
        )
    specs = [window_spec(member.info.input, window, crops) for member in members]
    if stride is None:
        look = partial(averaged, members, specs, (views or 1, crops))
        return _predictions(given, part, runtime, look, on_skipped)
    if views is not None or crops != 1:
        raise ConfigError("stride slides one centre crop over the video: omit views and crops")
    look = partial(slid, members, specs, stride)
    return _predictions(given, part, runtime, look, on_skipped)


def _check_options(
    views: int | None, crops: int, stride: float | None, window: float | None
) -> None:
    if crops not in (1, 3):
        raise ConfigError(f"crops must be 1 or 3, not {crops}")
    if views is not None and not (isinstance(views, Integral) and 1 <= views <= MAX_VIEWS):
        raise ConfigError(f"views must be from 1 to {MAX_VIEWS}, not {views!r}")
    for name, value in (("stride", stride), ("window", window)):
        if value is None or (isinstance(value, Real) and 0 < value <= MAX_SECONDS):
            continue
        said = f"{value:g}" if isinstance(value, Real) else repr(value)
        raise ConfigError(
            f"{name} must be a positive number of seconds, at most {MAX_SECONDS}, not {said}"
        )


def _warning_of(path: Path) -> OnSkipped:
    def warn(packet: SkippedPacket) -> None:
        when = "" if packet.time is None else f"at {packet.time:.2f} s: "
        if not packet.note:
            when = f"skipped {when}" if when else "skipped: "
        warnings.warn(printable(f"{path}: {when}{packet.reason}"), stacklevel=2)

    return warn


def _members(runtime: Runtime) -> Sequence[Runtime]:
    """The members of an ensemble, or the model itself."""
    for member in runtime.members:
        if member.info.streaming != runtime.info.streaming:
            raise ConfigError(
                f"the ensemble {runtime.info.name} mixes stream and base models: "
                f"{member.info.name} is not like the ensemble"
            )
        if len(member.info.labels) != len(runtime.info.labels):
            raise ConfigError(
                f"the ensemble {runtime.info.name} has {len(runtime.info.labels)} classes, "
                f"its member {member.info.name} {len(member.info.labels)}"
            )
        if member.info.multi_label != runtime.info.multi_label:
            raise ConfigError(
                f"the ensemble {runtime.info.name} mixes exclusive classes and several labels a "
                f"clip: {member.info.name} is not like the ensemble"
            )
    return runtime.members or [runtime]


def _predictions(
    given: VideoInput | bytes,
    part: tuple[float | None, float | None],
    runtime: Runtime,
    look: Callable[[VideoInput, OnSkipped], Iterable[tuple[float, np.ndarray]]],
    on_skipped: OnSkipped | None,
) -> Iterator[Prediction]:
    """Outputs (time, probabilities) as predictions, checked."""
    from movinet.video.inputs import opened

    with opened(given, *part) as video:
        outputs = look(video, on_skipped or _warning_of(video.path))
        yield from _checked(video.path, runtime, outputs)


def _checked(
    path: Path, runtime: Runtime, outputs: Iterable[tuple[float, np.ndarray]]
) -> Iterator[Prediction]:
    info = runtime.info
    for time, probabilities in outputs:
        probabilities = np.asarray(probabilities, np.float32)
        if probabilities.shape != (len(info.labels),):
            raise MovinetError(
                f"{info.name} gives outputs of shape {probabilities.shape} "
                f"for {len(info.labels)} labels"
            )
        if not np.isfinite(probabilities).all():
            raise MovinetError(
                f"{info.name} gives values that are not numbers (NaN or infinite) for "
                f"{path} at {time:.2f} s; are its weights ({info.origin}) broken?"
            )
        yield Prediction(path, time, probabilities, info.labels, info.multi_label)
