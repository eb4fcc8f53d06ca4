"""What the outputs of a model on a data set come to."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet.data.samples import DataSet, Sample
from movinet.evaluation.metrics import (
    Calibration,
    ClassScores,
    LabelScores,
    calibration,
    class_scores,
    confusion,
    interval,
    label_matrix,
    label_scores,
    mean_of_known,
    predicted,
    score_classes,
    score_labels,
)
from movinet.evaluation.over_time import OverTime, map_over_time, top1_over_time
from movinet.evaluation.run import Outputs, Trouble
from movinet.evaluation.segments import SegmentScores
from movinet.evaluation.views import Look
from movinet.runtime.base import ModelInfo

#: How many mistakes are kept: the most confident ones.
MOST_MISTAKES = 100


@dataclass(frozen=True)
class Mistake:
    """A sample whose predicted class is not its true one.

    Attributes:
        sample: The sample.
        target: The true class.
        guess: The predicted one.
        confidence: Probability of the predicted class.
        true_confidence: Probability of the true class.
    """

    sample: Sample
    target: int
    guess: int
    confidence: float
    true_confidence: float


@dataclass(frozen=True)
class SingleLabel:
    """Figures of single-label classification.

    Attributes:
        top1: Share of samples whose most probable class is right.
        top1_interval: Where the share lies with 95 % confidence, were there endless samples like
            these.
        top5: Share whose class is among the five most probable, or all if there are fewer.
        macro_f1: Mean F1 of the classes that some sample has or is predicted as.
        mean_class_accuracy: Mean over the classes with samples of the share that is right.
        loss: Mean cross-entropy.
        confusion: (classes, classes) counts, rows are the true classes, columns the predicted ones.
        classes: Scores of each class.
        calibration: How often confident predictions are right.
        over_time: Of stream models.
        mistakes: The most confident first, at most `MOST_MISTAKES`.
    """

    top1: float
    top1_interval: tuple[float, float]
    top5: float
    macro_f1: float
    mean_class_accuracy: float
    loss: float
    confusion: NDArray[np.int64]
    classes: ClassScores
    calibration: Calibration
    over_time: OverTime | None
    mistakes: tuple[Mistake, ...]


@dataclass(frozen=True)
class MultiLabel:
    """Figures of multi-label classification: means over the labels that have samples.

    Attributes:
        map: Mean average precision.
        macro_f1: Mean F1 at a probability of one half, also of labels that are only predicted.
        roc_auc: Mean area below the receiver's operating characteristic.
        pr_auc: Mean area below precision over recall.
        recall_at_precision: Mean of the largest recall at a precision of 95 %.
        loss: Mean binary cross-entropy over samples and labels.
        classes: Scores of each label.
        over_time: Of stream models.
    """

    map: float
    macro_f1: float
    roc_auc: float
    pr_auc: float
    recall_at_precision: float
    loss: float
    classes: LabelScores
    over_time: OverTime | None


@dataclass(frozen=True)
class Evaluation:
    """What was evaluated and what came out.

    Attributes:
        model: The model, with the names of the classes.
        data: Where the data set came from.
        look: Views, crops and control.
        count: Samples evaluated.
        skipped: Samples that could not be read; they count nowhere.
        damaged: Evaluated samples of which some packets could not be decoded.
        doubtful: Other evaluated samples whose colours or times are in doubt.
        figures: The results.
        segments: Of events in whole recordings, if they were asked for.
    """

    model: ModelInfo
    data: str
    look: Look
    count: int
    skipped: tuple[Trouble, ...]
    damaged: tuple[Trouble, ...]
    doubtful: tuple[Trouble, ...]
    figures: SingleLabel | MultiLabel
    segments: SegmentScores | None = None

    def write_report(self, path: str | os.PathLike[str]) -> None:
        """Write a self-contained HTML page with plots and the worst mistakes.

        Args:
            path: An .html file; appears whole or not at all. Videos of mistakes are read again.

        Raises:
            ConfigError: If the path is not allowed.
            MissingExtraError: If matplotlib or Pillow is not installed.
            OSError: If it cannot be written.
        """
        from movinet.evaluation.report import write_report

        write_report(Path(path), self)

    def to_json(self) -> dict[str, Any]:
        """Plain values, shares from 0 to 1; NaN, where nothing is counted, is None."""
        figures, labels = self.figures, self.model.labels
        single = isinstance(figures, SingleLabel)
        return _plain(
            {
                "model": {
                    "name": self.model.name,
                    "origin": self.model.origin,
                    "streaming": self.model.streaming,
                    "image_size": self.model.input.image_size,
                    "frame_rate": self.model.input.frame_rate,
                    "num_classes": len(labels),
                },
                "data": self.data,
                "multi_label": not single,
                **vars(self.look),
                "count": self.count,
                **(_single_json(figures, labels) if single else _multi_json(figures, labels)),
                **({} if self.segments is None else {"segments": self.segments.to_json()}),
                "skipped": [trouble._asdict() for trouble in self.skipped],
                "damaged": [trouble._asdict() for trouble in self.damaged],
                "doubtful": [trouble._asdict() for trouble in self.doubtful],
            }
        )


def summarize(outputs: Outputs, info: ModelInfo, data: DataSet, look: Look) -> Evaluation:
    """All figures of a model's outputs."""
    rate = info.input.frame_rate
    figures = _multi_label(outputs, data, rate) if data.multi_label else _single(outputs, rate)
    return Evaluation(
        model=info,
        data=data.name,
        look=look,
        count=len(outputs.samples),
        skipped=outputs.skipped,
        damaged=outputs.damaged,
        doubtful=outputs.doubtful,
        figures=figures,
    )


def _single(outputs: Outputs, frame_rate: float) -> SingleLabel:
    targets = np.array([sample.labels[0] for sample in outputs.samples], np.int64)
    probabilities = outputs.probabilities
    score = score_classes(probabilities, targets)
    guesses = predicted(probabilities, targets)
    counts = confusion(guesses, targets, probabilities.shape[1])
    scores, running = class_scores(counts), outputs.running
    return SingleLabel(
        top1=score.top1,
        top1_interval=interval(int(np.trace(counts)), len(targets)),
        top5=score.top5,
        macro_f1=score.macro_f1,
        mean_class_accuracy=mean_of_known(scores.recall),
        loss=score.loss,
        confusion=counts,
        classes=scores,
        calibration=calibration(probabilities, targets),
        over_time=top1_over_time(running, targets, frame_rate) if running else None,
        mistakes=_mistakes(outputs, targets, guesses),
    )


def _multi_label(outputs: Outputs, data: DataSet, frame_rate: float) -> MultiLabel:
    targets = label_matrix([sample.labels for sample in outputs.samples], len(data.labels))
    score = score_labels(outputs.probabilities, targets)
    scores, running = label_scores(outputs.probabilities, targets), outputs.running
    return MultiLabel(
        map=score.map,
        macro_f1=score.macro_f1,
        roc_auc=mean_of_known(scores.roc_auc),
        pr_auc=mean_of_known(scores.pr_auc),
        recall_at_precision=mean_of_known(scores.recall_at_precision),
        loss=score.loss,
        classes=scores,
        over_time=map_over_time(running, targets, frame_rate) if running else None,
    )


def _mistakes(
    outputs: Outputs, targets: NDArray[np.int64], guesses: NDArray[np.int64]
) -> tuple[Mistake, ...]:
    confidence = outputs.probabilities.max(axis=1)
    wrong = np.flatnonzero(guesses != targets)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:MOST_MISTAKES]
    return tuple(
        Mistake(
            outputs.samples[i],
            int(targets[i]),
            int(guesses[i]),
            float(confidence[i]),
            float(outputs.probabilities[i, targets[i]]),
        )
        for i in worst
    )


def _single_json(figures: SingleLabel, labels: tuple[str, ...]) -> dict[str, Any]:
    calibrated = figures.calibration
    return {
        "top1": figures.top1,
        "top1_interval": list(figures.top1_interval),
        "top5": figures.top5,
        "macro_f1": figures.macro_f1,
        "mean_class_accuracy": figures.mean_class_accuracy,
        "loss": figures.loss,
        "ece": calibrated.error,
        "per_class": _per_class(figures.classes, labels),
        "confusion": figures.confusion,
        "calibration": {
            "samples": calibrated.samples,
            "confidence": calibrated.confidence,
            "accuracy": calibrated.accuracy,
        },
        "over_time": figures.over_time and _over_time_json(figures.over_time, "top1"),
        "mistakes": [
            {
                "name": mistake.sample.media.name,
                "start": mistake.sample.start,
                "end": mistake.sample.end,
                "label": labels[mistake.target],
                "predicted": labels[mistake.guess],
                "confidence": mistake.confidence,
                "true_confidence": mistake.true_confidence,
            }
            for mistake in figures.mistakes
        ],
    }


def _multi_json(figures: MultiLabel, labels: tuple[str, ...]) -> dict[str, Any]:
    return {
        "map": figures.map,
        "macro_f1": figures.macro_f1,
        "roc_auc": figures.roc_auc,
        "pr_auc": figures.pr_auc,
        "recall_at_precision_95": figures.recall_at_precision,
        "loss": figures.loss,
        "per_class": _per_class(figures.classes, labels),
        "over_time": figures.over_time and _over_time_json(figures.over_time, "map"),
    }


def _per_class(scores: ClassScores | LabelScores, labels: tuple[str, ...]) -> list[dict[str, Any]]:
    columns = scores._asdict()
    return [
        {"label": label, **{name: column[i] for name, column in columns.items()}}
        for i, label in enumerate(labels)
    ]


def _over_time_json(over_time: OverTime, measure: str) -> dict[str, Any]:
    return {
        "seconds": over_time.seconds,
        measure: over_time.accuracy,
        "confidence": over_time.confidence,
        "running": over_time.running,
        "time_to_correct": over_time.time_to_correct,
    }


def _plain(value: Any) -> Any:
    """JSON values of numpy's; NaN is None."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
