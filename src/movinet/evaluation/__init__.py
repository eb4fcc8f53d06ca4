"""Evaluation of models on data sets: metrics, accuracy over time, and a report."""

from __future__ import annotations

from movinet.data.samples import DataSet
from movinet.evaluation.looking import CONTROLS, Control, Look
from movinet.evaluation.over_time import OverTime
from movinet.evaluation.running import Progress, Trouble, run_model
from movinet.evaluation.summary import Evaluation, Mistake, MultiLabel, SingleLabel, summarize
from movinet.runtime.base import Runtime

__all__ = [
    "CONTROLS",
    "Control",
    "Evaluation",
    "Mistake",
    "MultiLabel",
    "OverTime",
    "SingleLabel",
    "Trouble",
    "evaluate",
]


def evaluate(
    runtime: Runtime,
    data: DataSet,
    *,
    views: int = 1,
    crops: int = 1,
    control: Control | None = None,
    seed: int = 0,
    workers: int = 2,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure a model on a data set.

    A stream model sees each sample frame by frame at its own rate, from the beginning to the end;
    its last prediction counts, and all of them give the accuracy over time. A base model sees test
    views, whose probabilities are averaged. Samples that cannot be read are left out and named.

    Args:
        runtime: The model, from `movinet.prediction.load_runtime` or `movinet.runtime`.
        data: Opened with the model's labels: ``open_data(where, labels=runtime.info.labels)``.
        views: Base models: windows, spread evenly over a sample; one is its middle.
        crops: Base models: 1, the centre of each window, or 3 along its longer side.
        control: Takes motion away, to see whether it matters: "last-frame" shows the last frame all
            the time, "shuffled" the frames in random order.
        seed: Of the random order.
        workers: Threads that decode beside the model.
        progress: Called with the samples done and all samples.

    Raises:
        ConfigError: If the classes or the options do not fit the model.
        VideoError: If not one sample can be read.
        MovinetError: If the model gives no usable probabilities.
    """
    look = Look(views, crops, control, seed)
    outputs = run_model(runtime, data, look, workers=workers, progress=progress)
    return summarize(outputs, runtime.info, data, look)
