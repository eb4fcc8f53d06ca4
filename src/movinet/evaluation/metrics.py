"""Figures of merit of predictions, in numpy: they serve runtimes without torch too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.float64]
Targets = NDArray[np.int64]
#: Bins of the calibration error, as is usual.
BINS = 15
#: Of the recall at a precision.
PRECISION = 0.95


class SingleLabelScore(NamedTuple):
    """How good predictions of one class a sample are; shares from 0 to 1.

    Attributes:
        top1: Share of samples whose class is the most probable one.
        top5: Share of samples whose class is among the five most probable ones.
        macro_f1: Mean F1 of the classes that some sample has or is predicted as.
        loss: Mean cross-entropy.
    """

    top1: float
    top5: float
    macro_f1: float
    loss: float


class MultiLabelScore(NamedTuple):
    """How good predictions of any number of labels a sample are; NaN if no sample has a label.

    Attributes:
        map: Mean average precision over the labels that some sample has.
        macro_f1: Mean F1, at a probability of one half, of the labels that some sample has or is
            predicted to have.
        loss: Mean binary cross-entropy over samples and labels.
    """

    map: float
    macro_f1: float
    loss: float


def score_classes(probabilities: Probabilities, targets: Targets) -> SingleLabelScore:
    """The figures by which single-label models are compared, in training and in `movinet eval`.

    Equal probabilities count against the model: it has not decided for the true class.

    Args:
        probabilities: (samples, classes).
        targets: (samples,) classes.
    """
    counts = confusion(predicted(probabilities, targets), targets, probabilities.shape[1])
    return SingleLabelScore(
        top_k(probabilities, targets, 1),
        top_k(probabilities, targets, 5),
        mean_of_known(class_scores(counts).f1),
        log_loss(probabilities, targets),
    )


def score_labels(probabilities: Probabilities, targets: NDArray[np.bool_]) -> MultiLabelScore:
    """The figures by which multi-label models are compared, in training and in `movinet eval`.

    Args:
        probabilities: (samples, classes).
        targets: (samples, classes), which labels are right.
    """
    scores = label_scores(probabilities, targets)
    return MultiLabelScore(
        mean_of_known(scores.average_precision),
        mean_of_known(scores.f1),
        multi_label_loss(probabilities, targets),
    )


def label_matrix(labels: Sequence[Sequence[int]], num_classes: int) -> NDArray[np.bool_]:
    """(samples, classes), which labels each sample has, from lists of their numbers."""
    matrix = np.zeros((len(labels), num_classes), bool)
    for row, numbers in zip(matrix, labels, strict=True):
        row[list(numbers)] = True
    return matrix


def predicted(probabilities: Probabilities, targets: Targets) -> Targets:
    """(samples,) the most probable class of each sample; of equal ones, one that is wrong.

    A network that gives all classes the same probability is then never right by their order.

    Args:
        probabilities: (samples, classes).
        targets: (samples,) classes.
    """
    rows = np.arange(len(targets))
    others = probabilities.astype(np.float64)
    right = others[rows, targets]
    others[rows, targets] = -np.inf
    best = others.argmax(axis=1)
    return np.where(right > others[rows, best], targets, best)


def top_k(probabilities: Probabilities, targets: Targets, k: int) -> float:
    """Share of samples whose class is among the `k` most probable ones.

    Args:
        probabilities: (samples, classes).
        targets: (samples,) classes.
        k: At most the number of classes counts. Classes as probable as the right one are counted
            before it.
    """
    right = probabilities[np.arange(len(targets)), targets]
    # What is not less is before it: the class itself, and everything if values are not numbers.
    before = (~(probabilities < right[:, None])).sum(axis=1) - 1
    return float((before < k).mean())


def log_loss(probabilities: Probabilities, targets: Targets) -> float:
    """Mean negative logarithm of the probability of the true class."""
    right = probabilities[np.arange(len(targets)), targets]
    return float(-np.log(np.maximum(right, np.finfo(np.float32).tiny)).mean())


def multi_label_loss(probabilities: Probabilities, targets: NDArray[np.bool_]) -> float:
    """Mean binary cross-entropy over (samples, classes)."""
    right = np.where(targets, probabilities, 1 - probabilities)
    return float(-np.log(np.maximum(right, np.finfo(np.float32).tiny)).mean())


def interval(hits: int, count: int) -> tuple[float, float]:
    """Wilson's interval of a share at 95 % (doi:10.1080/01621459.1927.10502953)."""
    z, share = 1.959964, hits / count
    centre = share + z * z / (2 * count)
    spread = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def mean_of_known(values: NDArray[np.float64]) -> float:
    """The mean of what is not NaN; NaN if all are."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def confusion(guesses: Targets, targets: Targets, classes: int) -> NDArray[np.int64]:
    """(classes, classes) counts: rows are the true classes, columns the predicted ones."""
    counts = np.bincount(targets * classes + guesses, minlength=classes * classes)
    return counts.reshape(classes, classes)


class ClassScores(NamedTuple):
    """Of each class, (classes,); NaN where nothing is counted.

    Attributes:
        support: Samples of the class.
        precision: Share of the samples predicted as the class that are of it.
        recall: Share of the samples of the class that are predicted as it: its accuracy.
        f1: Harmonic mean of both.
    """

    support: NDArray[np.int64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]


def class_scores(counts: NDArray[np.int64]) -> ClassScores:
    """Scores from a confusion matrix."""
    support, predicted = counts.sum(axis=1), counts.sum(axis=0)
    return ClassScores(support, *_precision_recall_f1(np.diag(counts), predicted, support))


class Calibration(NamedTuple):
    """How often predictions of a confidence are right.

    Attributes:
        error: Expected calibration error: mean distance of confidence and accuracy, weighted by
            the samples in each bin.
        samples: (bins,) how many there are.
        confidence: (bins,) mean confidence; NaN in empty bins.
        accuracy: (bins,) share of right ones; NaN in empty bins.
    """

    error: float
    samples: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]


def calibration(probabilities: Probabilities, targets: Targets) -> Calibration:
    """Expected calibration error over `BINS` bins of equal width (arXiv 1706.04599)."""
    confidences = probabilities.max(axis=1)
    right = (predicted(probabilities, targets) == targets).astype(np.float64)
    # A bin holds its upper end: (0, 1/15], (1/15, 2/15], ...
    bins = np.clip(np.ceil(confidences * BINS).astype(np.int64) - 1, 0, BINS - 1)
    count = np.bincount(bins, minlength=BINS)
    with np.errstate(invalid="ignore"):
        confidence = np.bincount(bins, confidences, BINS) / count
        accuracy = np.bincount(bins, right, BINS) / count
    error = float(np.nansum(count * np.abs(confidence - accuracy)) / max(1, len(targets)))
    return Calibration(error, count, confidence, accuracy)


class LabelScores(NamedTuple):
    """Multi-label scores of each class, (classes,); NaN where nothing is counted.

    Attributes:
        support: Samples with the label.
        average_precision: Area below precision over recall, as a sum over steps.
        roc_auc: Area below the receiver's operating characteristic.
        pr_auc: Area below precision over recall, by trapezes from a precision of 1 at no recall.
        recall_at_precision: The largest recall at a precision of at least `PRECISION`.
        precision: Of the labels with a probability above one half.
        recall: Of the labels with a probability above one half.
        f1: Harmonic mean of both.
    """

    support: NDArray[np.int64]
    average_precision: NDArray[np.float64]
    roc_auc: NDArray[np.float64]
    pr_auc: NDArray[np.float64]
    recall_at_precision: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]


def label_scores(probabilities: Probabilities, targets: NDArray[np.bool_]) -> LabelScores:
    """Scores of each label.

    Args:
        probabilities: (samples, classes).
        targets: (samples, classes), which labels are right.
    """
    rows = [_ranked(p, t) for p, t in zip(probabilities.T, targets.T, strict=True)]
    average, roc, pr, recall = np.array(rows, np.float64).T
    support, chosen = targets.sum(axis=0), probabilities > 0.5
    right, predicted = (targets & chosen).sum(axis=0), chosen.sum(axis=0)
    at_half = _precision_recall_f1(right, predicted, support)
    return LabelScores(support, average, roc, pr, recall, *at_half)


def _ranked(
    scores: NDArray[np.float64], right: NDArray[np.bool_]
) -> tuple[float, float, float, float]:
    """Average precision, ROC-AUC, PR-AUC, and recall at precision of one label."""
    positive, negative = int(right.sum()), int((~right).sum())
    if not positive:
        return np.nan, np.nan, np.nan, np.nan
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    hits, misses = np.cumsum(right[order]), np.cumsum(~right[order])
    # One threshold for each different score.
    last = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    hits, misses = hits[last], misses[last]
    precision, recall = hits / (hits + misses), hits / positive
    average = float((np.diff(recall, prepend=0) * precision).sum())
    pr_auc = _area(np.append(1, precision), np.append(0, recall))
    roc = np.nan
    if negative:
        roc = _area(np.append(0, recall), np.append(0, misses / negative))
    good = recall[precision >= PRECISION]
    return average, roc, pr_auc, float(good.max()) if len(good) else 0.0


def _precision_recall_f1(
    right: NDArray[np.int64], predicted: NDArray[np.int64], support: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    with np.errstate(invalid="ignore", divide="ignore"):
        return right / predicted, right / support, 2 * right / (support + predicted)


def _area(heights: NDArray[np.float64], places: NDArray[np.float64]) -> float:
    """By trapezes."""
    return float((np.diff(places) * (heights[1:] + heights[:-1])).sum() / 2)
