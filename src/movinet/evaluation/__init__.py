"""Evaluation of models on data sets: metrics, accuracy over time, and a report."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from movinet.data.quarantine import exclude as without_excluded
from movinet.data.samples import DataSet
from movinet.data.sources import open_data
from movinet.errors import ConfigError
from movinet.evaluation.over_time import OverTime
from movinet.evaluation.run import Progress, Trouble, run_model
from movinet.evaluation.segments import SegmentScores, score_segments
from movinet.evaluation.summary import Evaluation, Mistake, MultiLabel, SingleLabel, summarize
from movinet.evaluation.views import CONTROLS, Control, Look
from movinet.events import Rules
from movinet.opening import as_runtime, at_speed
from movinet.runtime.base import Runtime

__all__ = [
    "CONTROLS",
    "Control",
    "Evaluation",
    "Mistake",
    "MultiLabel",
    "OverTime",
    "SegmentScores",
    "SingleLabel",
    "Trouble",
    "evaluate",
]


def evaluate(
    model: str | os.PathLike[str] | Runtime,
    data: str | os.PathLike[str] | DataSet,
    *,
    weights: str | os.PathLike[str] | None = None,
    labels: Sequence[str] | str | os.PathLike[str] | None = None,
    root: str | os.PathLike[str] | None = None,
    exclude: str | os.PathLike[str] | None = None,
    multi_label: bool = False,
    views: int = 1,
    crops: int = 1,
    control: Control | None = None,
    seed: int = 0,
    start: float | None = None,
    end: float | None = None,
    half_life: float | None = None,
    speed: float = 1.0,
    segments: bool = False,
    rules: Rules | None = None,
    skip_missing: bool = False,
    frame_rate: float | None = None,
    device: str | None = None,
    workers: int = 2,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure a model on a data set.

    A stream model sees each sample frame by frame at its own rate, from the beginning to the end;
    its last prediction counts, and all of them give the accuracy over time. A base model sees test
    views, whose probabilities are averaged. Samples that cannot be read are omitted and named.

    Args:
        model: What `movinet.open_model` takes (an exported file, a file of weights, "motions", a
            preset), or an opened model.
        data: What `movinet.open_data` takes (a folder with a folder per class, an annotation file,
            shards), which is opened with the model's labels; or an opened data set.
        weights: Of a preset, as in `movinet.open_model`.
        labels: Names of the model's classes, if its weights do not have them: a list, or what
            `movinet.load_labels` takes.
        root: As in `movinet.open_data`.
        exclude: A list of files to omit, as ``movinet data check -o`` writes it.
        multi_label: Whether a sample may have any number of labels; always so for a multi-label
            model and data that it opens.
        views: Base models: windows, spread evenly over a sample; one is its middle.
        crops: Base models: 1, the centre of each window, or 3 along its longer side.
        control: Removes motion, to see whether it matters: "last-frame" shows the last frame all
            the time, "shuffled" the frames in random order.
        seed: Seed of the random order.
        start: Seconds to omit at the beginning of each sample.
        end: Seconds after the beginning of each sample at which to stop.
        half_life: Stream models: seconds after which a frame counts half.
        speed: As in `movinet.predict`: how many times slower than life the videos show things.
        segments: Stream models: find the events of whole recordings, too, and compare them with
            the samples that have a start and an end (`evaluation.segments`).
        rules: Of these events, as in `movinet.watch`.
        skip_missing: As in `movinet.open_data`.
        frame_rate: As in `movinet.open_data`: of folders of frames.
        device: As in `movinet.open_model`.
        workers: Threads that decode beside the model.
        progress: Called with the number of samples done and of all samples.

    Returns:
        The figures: ``evaluation.figures.top1`` (or ``.map`` of multi-label data), confusion,
        per-class scores, mistakes; `Evaluation.to_json` and `Evaluation.write_report`.

    Raises:
        ConfigError: If there is no such model or data, or the classes or the options do not fit
            the model.
        CheckpointError, DownloadError: If the model cannot be loaded.
        VideoError: If files are missing, or not one sample can be read.
        MissingExtraError: If the packages that run the model are not installed.
        MovinetError: If the model gives no usable probabilities.

    Warns:
        UserWarning: If samples are repeated, and so count more than once.
    """
    look = Look(
        views, crops, control, seed, start, end, half_life
    )  # checked before anything is loaded
    if segments and (control, start, end) != (None, None, None):
        raise ConfigError("segments are of whole recordings: omit control, start and end")
    if rules is not None and not segments:
        raise ConfigError("rules are of segments: give segments=True, too")
    runtime = at_speed(as_runtime(model, weights=weights, labels=labels, device=device), speed)
    if not isinstance(data, DataSet):
        multi_label = multi_label or runtime.info.multi_label
        data = open_data(
            data,
            root=root,
            labels=runtime.info.labels,
            multi_label=multi_label,
            skip_missing=skip_missing,
            frame_rate=frame_rate,
        )
    elif root is not None or multi_label or skip_missing or frame_rate is not None:
        raise ConfigError(
            "root, multi_label, skip_missing and frame_rate cannot be given with a data set that "
            "is open already: give them to movinet.open_data"
        )
    if exclude is not None:
        data, _ = without_excluded(data, Path(exclude))
    data.warn_of_repeats()
    outputs = run_model(runtime, data, look, workers=workers, progress=progress)
    evaluation = summarize(outputs, runtime.info, data, look)
    if segments:
        scores = score_segments(runtime, data, rules, half_life=half_life)
        evaluation = dataclasses.replace(evaluation, segments=scores)
    return evaluation
