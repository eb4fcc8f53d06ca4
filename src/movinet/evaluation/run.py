"""Running a model over a data set."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from movinet.data.samples import DataSet, Sample
from movinet.errors import ConfigError, MovinetError, VideoError
from movinet.evaluation.metrics import predicted
from movinet.evaluation.views import Look, Pixels, part_of, stream_frames, window_clips
from movinet.runtime.base import Runtime
from movinet.runtime.numbers import to_probabilities
from movinet.text import same_form
from movinet.video.container import SkippedPacket

#: Called with the samples done and all samples.
Progress = Callable[[int, int], None]
#: Multi-label streams: seconds between the predictions that are kept for accuracy over time.
STEP = 0.5


class Trouble(NamedTuple):
    """A sample that could not be read, or of which some packets could not be decoded."""

    name: str
    reason: str


class Running(NamedTuple):
    """What a stream said after each frame of a sample.

    Attributes:
        guesses: (frames,) the most probable class; of equal ones, one that is wrong.
        confidence: (frames,) its probability.
        kept: Multi-label: (steps, classes) probabilities after each `STEP` seconds and at the end;
            None of single-label data, where so much is not needed.
    """

    guesses: NDArray[np.int64]
    confidence: NDArray[np.float64]
    kept: NDArray[np.float32] | None


@dataclass(frozen=True)
class Outputs:
    """What a model says of a data set.

    Attributes:
        samples: Those that could be evaluated, in the data set's order.
        probabilities: (samples, classes) at the end of each sample.
        running: Of each sample after each frame, from stream models; empty from base models.
        skipped: The samples that could not be read.
        damaged: Evaluated samples of which some packets could not be decoded.
        doubtful: Other evaluated samples whose colours or times are in doubt.
    """

    samples: tuple[Sample, ...]
    probabilities: NDArray[np.float64]
    running: tuple[Running, ...]
    skipped: tuple[Trouble, ...]
    damaged: tuple[Trouble, ...]
    doubtful: tuple[Trouble, ...]


def run_model(
    runtime: Runtime,
    data: DataSet,
    look: Look,
    *,
    workers: int = 2,
    progress: Progress | None = None,
) -> Outputs:
    """Probabilities of every sample; see `movinet.evaluation.evaluate`."""
    check_fit(runtime, data, look)
    done: list[tuple[Sample, NDArray[np.float64]]] = []
    running, skipped, damaged, doubtful = [], [], [], []
    windows = 1 if runtime.info.streaming else look.views

    def read(number: int) -> _Seen:
        index, window = divmod(number, windows)
        return _see(runtime, part_of(data.samples[index], look), (index, window), look)

    results = _in_parallel(read, len(data) * windows, workers)
    for index, sample in enumerate(data.samples):
        of_sample = itertools.islice(results, windows)
        try:
            target = None if data.multi_label else sample.labels[0]
            seen = _look(runtime, of_sample, target, look.half_life)
        except (VideoError, OSError) as error:
            deque(of_sample, maxlen=0)  # the other windows
            name = sample.media.name
            skipped.append(Trouble(name, str(error).removeprefix(f"{name}: ")))
        else:
            _check_output(runtime, sample, seen.probabilities)
            done.append((sample, seen.probabilities))
            running += seen.running
            if lost := [packet for packet in seen.missed if not packet.note]:
                reason = f"{len(lost)} packet{'s' if len(lost) > 1 else ''}: {lost[0].reason}"
                damaged.append(Trouble(sample.media.name, reason))
            elif seen.missed:
                doubtful.append(Trouble(sample.media.name, seen.missed[0].reason))
        if progress is not None:
            progress(index + 1, len(data))
    if not done:
        first = ": ".join(skipped[0]) if skipped else "it is empty"
        raise VideoError(f"{data.name}: not one of {len(data)} samples can be read; {first}")
    samples, stacked = zip(*done, strict=True)
    return Outputs(
        samples=samples,
        probabilities=np.stack(stacked),
        running=tuple(running),
        skipped=tuple(skipped),
        damaged=tuple(damaged),
        doubtful=tuple(doubtful),
    )


def check_fit(runtime: Runtime, data: DataSet, look: Look) -> None:
    """Raise ConfigError where the model, the data and the options do not go together."""
    info = runtime.info
    if len(data.labels) != len(info.labels):
        raise ConfigError(
            f"{info.name} has {len(info.labels)} classes, {data.name} {len(data.labels)}: "
            "open the data with the model's labels"
        )
    for number, (wanted, given) in enumerate(zip(info.labels, data.labels, strict=True)):
        if same_form(wanted) != same_form(given):
            raise ConfigError(
                f"class {number} is {wanted!r} for {info.name} and {given!r} in {data.name}: "
                "open the data with the model's labels"
            )
    if info.streaming and (look.views, look.crops) != (1, 1):
        raise ConfigError(
            f"{info.name} is a stream model, which sees every frame: views and crops are for base "
            "models"
        )
    if look.half_life is not None and not info.streaming:
        raise ConfigError(
            f"{info.name} is a base model, which sees whole windows: half_life is for stream models"
        )
    if info.streaming and runtime.members:
        raise ConfigError(f"{info.name} is an ensemble of streams: evaluate its members")


def _check_output(runtime: Runtime, sample: Sample, probabilities: NDArray[np.float64]) -> None:
    """Raise MovinetError for outputs that are no probabilities of the classes."""
    info = runtime.info
    if probabilities.shape != (len(info.labels),):
        raise MovinetError(
            f"{info.name} gives outputs of shape {probabilities.shape} for {len(info.labels)} "
            "labels"
        )
    if not np.isfinite(probabilities).all():
        raise MovinetError(
            f"{info.name} gives values that are not numbers (NaN or infinite) for "
            f"{sample.media.name}; are its weights ({info.origin}) broken?"
        )


class _Seen(NamedTuple):
    """What a model gets to see of a sample, or of one window of it.

    Attributes:
        chunks: Stream models: the frames, in chunks.
        clips: Base models: the crops for each member.
        skipped: Packets that could not be decoded; complete when all has been read.
    """

    chunks: Iterator[Pixels]
    clips: list[list[Pixels]]
    skipped: list[SkippedPacket]


def _see(runtime: Runtime, sample: Sample, place: tuple[int, int], look: Look) -> _Seen:
    """What there is to see in window `place[1]` of sample number `place[0]`."""
    skipped: list[SkippedPacket] = []
    if runtime.info.streaming:
        chunks = stream_frames(sample, place[0], runtime.info.input, look, skipped)
        # The first chunk is read here and now, beside the model: mostly that is all.
        return _Seen(itertools.chain([next(chunks)], chunks), [], skipped)
    clips = []
    for member in runtime.members or [runtime]:
        spec, late = member.info.input, member.info.time_offset
        clips.append(window_clips(sample, *place, spec, look, late, skipped))
    return _Seen(iter(()), clips, skipped)


class _Result(NamedTuple):
    """Of one sample: what the model says at last and, of a stream, all along."""

    probabilities: NDArray[np.float64]
    running: list[Running]
    missed: list[SkippedPacket]


def _look(
    runtime: Runtime,
    windows: Iterator[Future[_Seen]],
    target: int | None,
    half_life: float | None,
) -> _Result:
    """Show a sample to a model; `target` is its class, None of multi-label data."""
    multi_label = target is None
    if runtime.info.streaming:
        seen = next(windows).result()
        last, running = _stream(runtime, seen.chunks, target, half_life)
        return _Result(last, [running], seen.skipped)
    probabilities, missed = [], []
    for window in windows:
        seen = window.result()
        probabilities.append(
            _of_window(runtime, seen.clips, multi_label or runtime.info.multi_label)
        )
        missed += seen.skipped
    # Members and windows may have met the same packet.
    return _Result(np.concatenate(probabilities).mean(axis=0), [], list(dict.fromkeys(missed)))


def _stream(
    runtime: Runtime, chunks: Iterator[Pixels], target: int | None, half_life: float | None
) -> tuple[NDArray[np.float64], Running]:
    """Probabilities at the end, and the course of them."""
    multi_label = target is None
    step = max(1, round(STEP * runtime.info.input.frame_rate))
    guesses, confidence, kept = [], [], []
    state: Any = None
    probabilities, count = np.empty((0, 0)), 0
    for frames in chunks:
        logits, state = runtime.running_logits(frames, state, half_life=half_life)
        probabilities = to_probabilities(
            logits, multi_label=multi_label or runtime.info.multi_label
        )
        if multi_label:
            guesses.append(probabilities.argmax(axis=1))
        else:
            guesses.append(predicted(probabilities, np.full(len(probabilities), target)))
        confidence.append(probabilities.max(axis=1))
        if multi_label:
            due = (count + np.arange(1, len(frames) + 1)) % step == 0
            kept += list(probabilities[due].astype(np.float32))
        count += len(frames)
    last = probabilities[-1]
    if multi_label and count % step:
        kept.append(last.astype(np.float32))
    rows = np.stack(kept) if multi_label else None
    return last, Running(np.concatenate(guesses), np.concatenate(confidence), rows)


def _of_window(
    runtime: Runtime, clips: list[list[Pixels]], multi_label: bool
) -> NDArray[np.float64]:
    """(crops, classes) probabilities: logits are averaged over the members of an ensemble."""
    members = runtime.members or [runtime]
    logits = [
        [member.clip_logits(clip) for clip in crops]
        for member, crops in zip(members, clips, strict=True)
    ]
    return to_probabilities(np.array(logits, np.float64).mean(axis=0), multi_label=multi_label)


def _in_parallel(read: Callable[[int], _Seen], count: int, workers: int) -> Iterator[Future[_Seen]]:
    """Results in order; a few are read ahead."""
    with ThreadPoolExecutor(max(1, workers)) as pool:
        waiting: deque[Future[_Seen]] = deque()
        numbers = iter(range(count))
        try:
            for number in itertools.islice(numbers, 1 + max(1, workers)):
                waiting.append(pool.submit(read, number))
            while waiting:
                result = waiting.popleft()
                result.exception()  # wait
                yield result
                for number in itertools.islice(numbers, 1):
                    waiting.append(pool.submit(read, number))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
