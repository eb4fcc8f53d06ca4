"""Accuracy of stream models as a function of the seconds that they have seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from movinet.evaluation.metrics import label_scores, mean_of_known
from movinet.evaluation.run import STEP, Running

#: Points in time at which the mean average precision is worked out, at most.
_MOST_POINTS = 60


@dataclass(frozen=True)
class OverTime:
    """How good predictions are after so many seconds.

    A sample counts until the longest one ends: one that has ended keeps its last prediction, so
    that every point is of all samples. `running` says how many have not ended.

    Attributes:
        seconds: (points,) seen: after each frame; multi-label: after every half second.
        accuracy: (points,) share of samples whose most probable class is right by then;
            multi-label: mean average precision.
        confidence: (points,) mean probability of the most probable class; None of multi-label data.
        running: (points,) samples that are at least this long.
        time_to_correct: Median, over the samples that are right at their end, of the seconds from
            which on they stay right; NaN if none is, None of multi-label data.
    """

    seconds: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    confidence: NDArray[np.float64] | None
    running: NDArray[np.int64]
    time_to_correct: float | None


def top1_over_time(
    running: Sequence[Running], targets: NDArray[np.int64], frame_rate: float
) -> OverTime:
    """The share of right samples after each frame.

    Args:
        running: What the model said of each sample.
        targets: (samples,) the true classes.
        frame_rate: Frames per second.
    """
    longest = max(len(course.guesses) for course in running)
    right, confidence = np.zeros(longest), np.zeros(longest)
    still = np.zeros(longest, np.int64)
    settled = []
    for course, target in zip(running, targets, strict=True):
        hits, length = course.guesses == target, len(course.guesses)
        right[:length] += hits
        right[length:] += hits[-1]
        confidence[:length] += course.confidence
        confidence[length:] += course.confidence[-1]
        still[:length] += 1
        if hits[-1]:
            wrong = np.flatnonzero(~hits)
            settled.append((wrong[-1] + 2 if len(wrong) else 1) / frame_rate)
    return OverTime(
        np.arange(1, longest + 1) / frame_rate,
        right / len(running),
        confidence / len(running),
        still,
        float(np.median(settled)) if settled else float("nan"),
    )


def map_over_time(
    running: Sequence[Running], targets: NDArray[np.bool_], frame_rate: float
) -> OverTime:
    """The mean average precision of multi-label data after every half second.

    Args:
        running: What the model said of each sample.
        targets: (samples, classes), which labels are right.
        frame_rate: Frames per second.
    """
    courses = [course.kept for course in running if course.kept is not None]
    step = max(1, round(STEP * frame_rate))
    longest = max(len(course) for course in courses)
    points = np.unique(np.linspace(0, longest - 1, min(longest, _MOST_POINTS)).round().astype(int))
    precision = []
    for point in points:
        shown = np.stack([course[min(point, len(course) - 1)] for course in courses])
        scores = label_scores(shown.astype(np.float64), targets)
        precision.append(mean_of_known(scores.average_precision))
    lengths = np.array([len(course.guesses) for course in running])
    frames = np.minimum((points + 1) * step, lengths.max())
    return OverTime(
        frames / frame_rate,
        np.array(precision),
        None,
        (lengths[:, None] >= frames).sum(axis=0),
        None,
    )
