"""Evaluation beside training: few figures, those of `movinet eval`, exact over all processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from movinet.data.samples import DataSet
from movinet.errors import TrainingError
from movinet.evaluation.metrics import label_matrix, score_classes, score_labels
from movinet.network.model import MoViNet
from movinet.network.state import StreamState
from movinet.runtime.numbers import to_probabilities
from movinet.training.batches.loader import Failure
from movinet.training.distributed import Processes
from movinet.training.evaluation_loader import EvalBatch, EvalLoader
from movinet.training.stopping import Stop

#: How evaluations are compared, single- and multi-label: higher is better.
PRIMARY = {False: "top1", True: "map"}


class Predictions(NamedTuple):
    """What a network predicts for a data set.

    Attributes:
        indices: Numbers of the samples that could be read, increasing.
        probabilities: (samples, classes) float64, at the end of each sample.
    """

    indices: list[int]
    probabilities: NDArray[np.float64]


def validate(
    model: MoViNet,
    loader: EvalLoader,
    processes: Processes,
    stop: Stop,
    failures: list[Failure],
    progress: Callable[[int], None] | None = None,
    seen: list[Predictions] | None = None,
) -> dict[str, float] | None:
    """Measure a network as `movinet eval` measures the file that is saved of it.

    Args:
        model: See `predict_samples`.
        loader: See `predict_samples`.
        processes: See `predict_samples`.
        stop: See `predict_samples`.
        failures: See `predict_samples`.
        progress: See `predict_samples`.
        seen: The predictions are appended here.

    Returns:
        "eval_loss", "samples", "macro_f1", and "top1" and "top5", or "map"; see
        `movinet.evaluation.metrics`. None if it was broken off.

    Raises:
        TrainingError: If no sample could be read.
    """
    predictions = predict_samples(model, loader, processes, stop, failures, progress)
    if predictions is None:
        return None
    if seen is not None:
        seen.append(predictions)
    data, (indices, probabilities) = loader.data, predictions
    labels = [data.samples[index].labels for index in indices]
    if data.multi_label:
        score = score_labels(probabilities, label_matrix(labels, len(data.labels)))
    else:
        score = score_classes(probabilities, np.array([first for first, *_ in labels]))
    figures = score._asdict()
    return {"eval_loss": figures.pop("loss"), "samples": len(indices), **figures}


@torch.no_grad()
def predict_samples(
    model: MoViNet,
    loader: EvalLoader,
    processes: Processes,
    stop: Stop,
    failures: list[Failure],
    progress: Callable[[int], None] | None = None,
) -> Predictions | None:
    """Predict every sample, in float32 whatever precision training has.

    Args:
        model: In evaluation mode.
        loader: This process's share of the data; shares may differ in length, for the processes
            wait for each other only at the end.
        processes: Who takes part.
        stop: A request to stop breaks the evaluation off.
        failures: Samples that could not be read are appended here.
        progress: Called with the number of this process's samples that are done.

    Returns:
        The predictions of all processes, in each of them; None if it was broken off.

    Raises:
        TrainingError: If no sample could be read.
    """
    streams = model.config.streams
    seen = _Seen(streams=streams, multi_label=loader.data.multi_label)
    logits_of = _StreamLogits(model) if streams else _ClipLogits(model)
    for batch in loader:
        failures += batch.failures
        if stop.signal:
            break
        if len(batch.indices):
            seen.add(logits_of(batch, processes.device), batch)
        for failure in batch.failures:
            seen.forget(failure.sample)
        if progress is not None:
            progress(len(seen.probabilities) + len(failures))
    counts = torch.tensor([len(seen.probabilities), float(bool(stop.signal))], dtype=torch.float32)
    samples, stops = processes.totals(counts.to(processes.device))
    if stops:
        return None
    if not samples:
        raise TrainingError("no sample of data.valid could be read: run movinet data check on it")
    return seen.gathered(loader.data, processes)


class _ClipLogits:
    """Logits of whole clips."""

    def __init__(self, model: MoViNet) -> None:
        self._model = model

    def __call__(self, batch: EvalBatch, device: torch.device) -> Tensor:
        return self._model(_video(batch, device)).float()


class _StreamLogits:
    """Logits of streams after their frames in a batch; keeps the state of those under way."""

    def __init__(self, model: MoViNet) -> None:
        self._model = model
        #: Of each worker: which samples are under way, and their state.
        self._under_way: dict[int, tuple[list[int], StreamState]] = {}

    def __call__(self, batch: EvalBatch, device: torch.device) -> Tensor:
        video, indices = _video(batch, device), batch.indices.tolist()
        if batch.begins:
            state = self._model.initial_state(len(indices), (video.shape[3], video.shape[4]))
        else:
            before, state = self._under_way[batch.worker]
            if before != indices:  # some have ended
                rows = torch.tensor([before.index(i) for i in indices], device=device)
                state = state.map(lambda value: value[rows])
        # Not compiled, as a call of the model is with engine.compile: chunks have many shapes.
        logits, state = self._model.forward(video, state)
        self._under_way[batch.worker] = (indices, state)
        return logits.float()


class _Seen:
    """Probabilities of samples: the mean over a sample's views, or a stream's last ones.

    Attributes:
        probabilities: Of each sample that has been seen whole, by its number: (classes,).
    """

    def __init__(self, *, streams: bool, multi_label: bool) -> None:
        self._streams, self._multi_label = streams, multi_label
        self._views: dict[int, list[NDArray[np.float64]]] = {}
        self.probabilities: dict[int, NDArray[np.float64]] = {}

    def add(self, logits: Tensor, batch: EvalBatch) -> None:
        rows = to_probabilities(logits.cpu().numpy(), multi_label=self._multi_label)
        for index, end, row in zip(batch.indices.tolist(), batch.ends.tolist(), rows, strict=True):
            if end or not self._streams:
                self._views.setdefault(index, []).append(row)
            if end:
                self.probabilities[index] = np.stack(self._views.pop(index)).mean(axis=0)

    def forget(self, index: int) -> None:
        """Drop the views of a sample of which a later one could not be read."""
        self._views.pop(index, None)

    def gathered(self, data: DataSet, processes: Processes) -> Predictions:
        """The samples of all processes, in the data set's order."""
        mine = np.array(list(self.probabilities.values())).reshape(-1, len(data.labels))
        rows = processes.gather(torch.from_numpy(mine)).cpu().numpy()
        shares = processes.gather_objects(list(self.probabilities))
        indices = [index for share in shares for index in share]
        order = np.argsort(indices)
        return Predictions([indices[i] for i in order], rows[order])


def _video(batch: EvalBatch, device: torch.device) -> Tensor:
    return batch.video.to(device, non_blocking=True).permute(0, 4, 1, 2, 3).float() / 255
