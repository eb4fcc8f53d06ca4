"""Evaluation beside training: few figures, exact over all processes."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from movinet.data.loader import Batch, Failure
from movinet.errors import TrainingError
from movinet.model import MoViNet
from movinet.training.config import TrainConfig
from movinet.training.distributed import Processes
from movinet.training.stopping import Stop

#: How evaluations are compared, single- and multi-label: higher is better.
PRIMARY = {False: "top1", True: "map"}


class _Tally:
    """Averages the views of each sample, and scores it once all have come."""

    def __init__(self, views: int, *, multi_label: bool) -> None:
        self.views, self.multi_label = views, multi_label
        self._open: dict[int, tuple[Tensor, int]] = {}
        #: loss, top-1 hits, top-5 hits, samples
        self.sums = torch.zeros(4, dtype=torch.float64)
        #: multi-label: probabilities and targets of all samples
        self.rows: list[tuple[Tensor, Tensor]] = []

    def add(self, probabilities: Tensor, batch: Batch) -> None:
        for i, index in enumerate(batch.indices.tolist()):
            total, seen = self._open.pop(index, (torch.zeros(()), 0))
            total, seen = total + probabilities[i], seen + 1
            if seen < self.views:
                self._open[index] = (total, seen)
            else:
                self._score(total / seen, batch.targets[i])

    def _score(self, mean: Tensor, target: Tensor) -> None:
        if self.multi_label:
            loss = F.binary_cross_entropy(mean, target)
            self.rows.append((mean, target))
            self.sums += torch.tensor([float(loss), 0, 0, 1], dtype=torch.float64)
            return
        probability = mean[target]
        # Equal ones count as before: a network that says nothing is not right by its order.
        above = int((mean > probability).sum()) + int((mean == probability).sum()) - 1
        loss = -float(probability.clamp(min=1e-12).log())
        self.sums += torch.tensor([loss, above < 1, above < 5, 1], dtype=torch.float64)


@torch.no_grad()
def validate(
    model: MoViNet,
    batches: Iterable[Batch],
    config: TrainConfig,
    processes: Processes,
    stop: Stop,
    failures: list[Failure],
) -> dict[str, float] | None:
    """Measure a network.

    Args:
        model: In evaluation mode.
        batches: This process's share of the test views; shares may differ in length, for the
            processes wait for each other at the end alone.
        config: Views, whose probabilities are averaged for each sample; kind of labels; precision.
        processes: Who takes part.
        stop: A request to stop breaks the evaluation off.
        failures: Samples that could not be read are appended here.

    Returns:
        "eval_loss", "samples", and "top1" and "top5", or "map": mean average precision over the
        classes that some sample has. None if it was broken off.

    Raises:
        TrainingError: If no sample could be read.
    """
    multi_label, device = config.data.multi_label, processes.device
    tally = _Tally(config.run.views * config.run.crops, multi_label=multi_label)
    for batch in batches:
        failures += batch.failures
        if stop.signal:
            break
        if len(batch.indices):
            logits = _logits(model, batch, device, config.engine.precision == "bfloat16")
            scores = logits.sigmoid() if multi_label else logits.softmax(1)
            tally.add(scores.cpu(), batch)
    sums = [*tally.sums.tolist(), float(bool(stop.signal))]
    loss, top1, top5, samples, stops = processes.totals(torch.tensor(sums, device=device))
    if stops:
        return None
    if not samples:
        raise TrainingError("no sample of data.valid could be read: run movinet data check on it")
    figures = {"eval_loss": loss / samples, "samples": round(samples)}
    if multi_label:
        return {**figures, "map": _mean_average_precision(tally, model, processes)}
    return {**figures, "top1": top1 / samples, "top5": top5 / samples}


def _logits(model: MoViNet, batch: Batch, device: torch.device, low_precision: bool) -> Tensor:
    video = batch.video.to(device, non_blocking=True).permute(0, 4, 1, 2, 3).float() / 255
    with torch.autocast(device.type, torch.bfloat16, enabled=low_precision):
        return model(video).float()


def _mean_average_precision(tally: _Tally, model: MoViNet, processes: Processes) -> float:
    from torchmetrics.functional.classification import multilabel_average_precision

    classes = model.config.num_classes
    pairs = [torch.stack(pair) for pair in tally.rows]
    rows = torch.stack(pairs) if pairs else torch.zeros(0, 2, classes)
    rows = processes.gather(rows.to(processes.device)).cpu()
    targets = rows[:, 1].long()
    there = targets.any(0)
    if not there.any():
        return 0.0
    precisions = multilabel_average_precision(
        rows[:, 0][:, there], targets[:, there], num_labels=int(there.sum()), average="none"
    )
    return float(torch.as_tensor(precisions).mean())
