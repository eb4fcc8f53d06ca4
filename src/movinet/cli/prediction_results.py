"""The predictions of all videos as values for programs: JSON, and files of it or of CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from movinet.errors import ConfigError

if TYPE_CHECKING:
    from movinet.cli.jobs import Job
    from movinet.prediction import Prediction
    from movinet.runtime import ModelInfo

#: The columns of a .csv: a row for each class shown of each prediction; a video that failed has one
#: row, with its error.
COLUMNS = ("path", "time", "rank", "label", "probability", "error")
_SUFFIXES = (".csv", ".json")


def check_results(path: Path, jobs: Sequence[Job]) -> None:
    """Raise ConfigError, before any work, if results cannot be written there."""
    from movinet.drawing.predictions import check_output

    check_output(path, _SUFFIXES)
    if path.resolve() in {job.path.resolve() for job in jobs}:
        raise ConfigError(f"--output would write {str(path)!r}, but that is a video to read")


def at_every(predictions: Sequence[Prediction], every: float) -> Iterator[Prediction]:
    """The first prediction, one for every so many seconds after it, and the last; 0 takes all."""
    due = -math.inf
    for prediction in predictions:
        if prediction.time + 1e-6 < due and prediction is not predictions[-1]:
            continue
        due = prediction.time if due == -math.inf else due
        due += every * (math.floor((prediction.time - due) / every + 1e-6) + 1) if every else 0
        yield prediction


def result(
    job: Job, info: ModelInfo | None, top: int, every: float | None, warning: str | None
) -> dict[str, Any]:
    """What became of one video as JSON values.

    Args:
        job: The video.
        info: The model, if it was loaded.
        top: Number of classes.
        every: Seconds from one prediction to the next; None for all of them.
        warning: What could not be decoded, if anything.
    """
    predictions = job.predictions if every is None else at_every(job.predictions, every)
    return {
        "path": job.name,
        "model": info and info.name,
        "predictions": [
            {
                "time": round(prediction.time, 6),
                "top": [
                    {"label": label, "probability": probability}
                    for label, probability in prediction.top(top)
                ],
            }
            for prediction in predictions
        ],
        "warnings": [] if warning is None else [warning],
        "error": job.error,
    }


def as_text(info: ModelInfo | None, results: Sequence[dict[str, Any]]) -> str:
    """All results as one JSON object."""
    return json.dumps({"model": info and _model(info), "results": results}, indent=2)


def write_results(path: Path, info: ModelInfo | None, results: Sequence[dict[str, Any]]) -> None:
    """Write all results; the file appears when it is complete.

    Raises:
        OSError: If it cannot be written.
    """
    from movinet.files import replacing

    text = as_text(info, results) + "\n" if path.suffix.lower() == ".json" else _csv(results)
    with replacing(path) as temporary:
        # Names of files may be bytes that are no UTF-8.
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")


def _csv(results: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for one in results:
        for prediction in one["predictions"]:
            for rank, top in enumerate(prediction["top"], start=1):
                cells = (rank, top["label"], top["probability"], "")
                table.writerow((one["path"], prediction["time"], *cells))
        if one["error"] is not None:
            table.writerow((one["path"], "", "", "", "", one["error"]))
    return text.getvalue()


def _model(info: ModelInfo) -> dict[str, Any]:
    """The model as JSON values."""
    from movinet.runtime.base import RANDOM

    return {
        "name": info.name,
        "origin": info.origin,
        "random_weights": info.origin == RANDOM,
        "streaming": info.streaming,
        "frame_rate": info.input.frame_rate,
        "image_size": info.input.image_size,
        "num_classes": len(info.labels),
        "multi_label": info.multi_label,
        "notes": list(info.notes),
    }
