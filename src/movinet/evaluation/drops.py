"""What a stream model is worth where frames are missing, for each policy of gaps."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet.data.samples import DataSet, Sample
from movinet.data.sources import open_data
from movinet.errors import ConfigError, VideoError
from movinet.evaluation.metrics import label_matrix, predicted, score_labels
from movinet.evaluation.run import Progress, Trouble, check_fit
from movinet.evaluation.views import Look, part_of, stream_times
from movinet.live.gaps import GAP_POLICIES, RESET_AFTER, GapPolicy, see_after_gap
from movinet.live.options import usual_half_life
from movinet.opening import as_runtime
from movinet.runtime.base import ModelInfo, Runtime
from movinet.video.clips import frames_in_order
from movinet.video.container import SkippedPacket


@dataclass(frozen=True)
class PolicyScore:
    """What a policy comes to.

    Attributes:
        policy: See `movinet.watch`; None where no frame is dropped.
        accuracy: At the end of each sample: top-1 accuracy, or the mean average precision of
            multi-label data.
        running: Share of all frames seen after which the most probable class is right (one of the
            right ones).
        change: Mean over all frames seen of half the summed absolute difference to the
            probabilities without drops, from 0 to 1; of multi-label models, the mean difference.
    """

    policy: GapPolicy | None
    accuracy: float
    running: float
    change: float


@dataclass(frozen=True)
class DropEvaluation:
    """An evaluation with dropped frames.

    Attributes:
        model: The model.
        data: Where the data set came from.
        count: Samples.
        frames: Of all samples, at the model's rate.
        dropped: Of these.
        half_life: Of the streams, seconds; None for the mean of all frames.
        scores: Without drops, then one for each policy.
        multi_label: A sample may have several labels.
        skipped: Samples that could not be read.
    """

    model: ModelInfo
    data: str
    count: int
    frames: int
    dropped: int
    half_life: float | None
    scores: tuple[PolicyScore, ...]
    multi_label: bool
    skipped: tuple[Trouble, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values, shares from 0 to 1."""
        measure = "map" if self.multi_label else "top1"
        return {
            "model": self.model.name,
            "data": self.data,
            "count": self.count,
            "frames": self.frames,
            "dropped": self.dropped,
            "half_life": self.half_life,
            "policies": [
                {
                    "policy": score.policy,
                    measure: score.accuracy if math.isfinite(score.accuracy) else None,
                    "running": score.running,
                    "change": score.change,
                }
                for score in self.scores
            ],
            "skipped": [trouble._asdict() for trouble in self.skipped],
        }


@dataclass(frozen=True)
class Drops:
    """Which frames are dropped.

    Attributes:
        share: Of all frames, in (0, 1).
        mean_gap: Mean length of a gap, seconds; None where each frame is dropped independently of
            the others.
        seed: Of the choice.

    Raises:
        ConfigError: If a value is not allowed.
    """

    share: float
    mean_gap: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ConfigError(f"drop must be a share between 0 and 1, not {self.share:g}")
        if self.mean_gap is not None and not 0 < self.mean_gap < math.inf:
            raise ConfigError(f"the mean gap must be seconds above 0, not {self.mean_gap:g}")
        if self.seed < 0:
            raise ConfigError(f"seed must be 0 or more, not {self.seed}")

    def of(self, index: int, count: int, rate: float) -> NDArray[np.bool_]:
        """Whether each of the `count` frames of sample number `index` is dropped; never the first.

        Args:
            index: Of the sample.
            count: Its frames.
            rate: Frames a second.
        """
        chance = np.random.default_rng((self.seed, index)).random(count + 1)
        if self.mean_gap is None:
            dropped = chance[1:] < self.share
        else:
            odds = self.share / (1 - self.share)
            length = max(1.0, odds, self.mean_gap * rate)  # frames
            dropped = np.empty(count, bool)
            now = bool(chance[0] < self.share)
            for place in range(count):
                now = bool(chance[place + 1] < (1 - 1 / length if now else odds / length))
                dropped[place] = now
        dropped[:1] = False
        return dropped


def evaluate_drops(
    model: str | os.PathLike[str] | Runtime,
    data: str | os.PathLike[str] | DataSet,
    drops: Drops,
    *,
    half_life: float | None = None,
    start: float | None = None,
    end: float | None = None,
    progress: Progress | None = None,
) -> DropEvaluation:
    """Measure a stream model where frames are missing, under each policy of gaps.

    Each sample is seen once without drops, and once for each policy with the same frames dropped,
    as `movinet.watch` sees a stream that drops them. "reset" begins anew after ten seconds.

    Args:
        model: As in `movinet.evaluate`.
        data: As in `movinet.evaluate`.
        drops: Which frames are dropped.
        half_life: Seconds after which a frame counts half; ``math.inf`` for the mean of all. None
            for what `movinet.watch` takes: 5, or the mean if the model has no decay.
        start: Seconds to omit at the beginning of each sample.
        end: Seconds after the beginning of each sample at which to stop.
        progress: Called with the number of samples done and of all samples.

    Raises:
        ConfigError: If the model is no stream model, or does not fit the data or the options.
        CheckpointError, DownloadError, MissingExtraError: As in `movinet.evaluate`.
        VideoError: If not one sample can be read.
    """
    runtime = as_runtime(model)
    info = runtime.info
    if not info.streaming or runtime.members:
        raise ConfigError(f"{info.name} is not a stream model: it has no policy of gaps")
    if not isinstance(data, DataSet):
        data = open_data(data, labels=info.labels, multi_label=info.multi_label)
    half_life = usual_half_life(runtime) if half_life is None else half_life
    finite = None if math.isinf(half_life) else half_life
    look = Look(seed=drops.seed, start=start, end=end, half_life=finite)
    check_fit(runtime, data, look)
    work = _Work(runtime, drops, finite)
    skipped: list[Trouble] = []
    for index, sample in enumerate(data.samples):
        try:
            work.see(index, part_of(sample, look))
        except (VideoError, OSError) as error:
            name = sample.media.name
            skipped.append(Trouble(name, str(error).removeprefix(f"{name}: ")))
        if progress is not None:
            progress(index + 1, len(data))
    if not work.labels:
        first = ": ".join(skipped[0]) if skipped else "it is empty"
        raise VideoError(f"{data.name}: not one of {len(data)} samples can be read; {first}")
    return DropEvaluation(
        info,
        data.name,
        len(work.labels),
        work.frames,
        work.dropped,
        finite,
        work.scores(data),
        data.multi_label,
        tuple(skipped),
    )


class _Work:
    """Streams side by side, and sums of what they say."""

    def __init__(self, runtime: Runtime, drops: Drops, half_life: float | None) -> None:
        self._runtime, self._drops, self._half_life = runtime, drops, half_life
        self._rate = runtime.info.input.frame_rate
        self._reset_ticks = RESET_AFTER * self._rate
        policies = len(GAP_POLICIES)
        self._last: list[NDArray[np.float32]] = []
        self._right, self._changed = np.zeros(1 + policies), np.zeros(1 + policies)
        self.labels: list[tuple[int, ...]] = []
        self.frames = self.dropped = 0

    def see(self, index: int, sample: Sample) -> None:
        """Show a sample to the stream without drops and to one of each policy."""
        times = stream_times(sample, self._rate)
        dropped = self._drops.of(index, len(times), self._rate)
        streams = [
            self._runtime.stream(half_life=self._half_life) for _ in range(1 + len(GAP_POLICIES))
        ]
        says = np.zeros((len(streams), len(self._runtime.info.labels)), np.float32)
        right, changed = np.zeros(len(streams)), np.zeros(len(streams))
        notes: list[SkippedPacket] = []
        gap = 0
        images = frames_in_order(sample.media, times, self._rate, notes)
        for (_, image), drop in zip(images, dropped.tolist(), strict=True):
            says[0] = streams[0](image)
            if drop:
                gap += 1
                continue
            for place, policy in enumerate(GAP_POLICIES, 1):
                says[place] = see_after_gap(streams[place], image, gap, policy, self._reset_ticks)
            gap = 0
            right += self._is_right(says, sample.labels)
            changed += np.abs(says - says[0]).sum(axis=1, dtype=np.float64)
        self._right, self._changed = self._right + right, self._changed + changed
        self._last.append(says)
        self.labels.append(sample.labels)
        self.frames, self.dropped = self.frames + len(times), self.dropped + int(dropped.sum())

    def scores(self, data: DataSet) -> tuple[PolicyScore, ...]:
        """What it comes to."""
        seen, last = self.frames - self.dropped, np.stack(self._last).astype(np.float64)
        scale = len(data.labels) if self._runtime.info.multi_label else 2
        return tuple(
            PolicyScore(
                policy,
                _accuracy(last[:, place], self.labels, data),
                float(self._right[place] / seen),
                float(self._changed[place] / seen / scale),
            )
            for place, policy in enumerate((None, *GAP_POLICIES))
        )

    @staticmethod
    def _is_right(says: NDArray[np.float32], labels: Sequence[int]) -> NDArray[np.bool_]:
        """Whether the most probable class is one of the right ones, and no other is as probable."""
        wrong = np.delete(says, list(labels), axis=1).max(axis=1, initial=-1.0)
        return says[:, list(labels)].max(axis=1, initial=-1.0) > wrong


def _accuracy(
    probabilities: NDArray[np.float64], labels: list[tuple[int, ...]], data: DataSet
) -> float:
    if data.multi_label:
        return score_labels(probabilities, label_matrix(labels, len(data.labels))).map
    targets = np.array([of_sample[0] for of_sample in labels], np.int64)
    return float((predicted(probabilities, targets) == targets).mean())
