"""The facts of a run for people: at its beginning what to check, at its end what came out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import torch

from movinet.data.samples import DataSet
from movinet.network.model import MoViNet
from movinet.text import shorten
from movinet.training.checkpoint import Progress
from movinet.training.config import TrainConfig
from movinet.training.console import clock, share
from movinet.training.distributed import Processes
from movinet.training.results import BEST_WEIGHTS, CURVES, WEIGHTS

#: Classes that are named one by one, and the characters of each.
_NAMED, _NAME = 12, 30


def run_facts(
    config: TrainConfig,
    model: MoViNet,
    data: tuple[DataSet, DataSet | None],
    progress: Progress,
    steps_per_epoch: int,
    processes: Processes,
) -> list[tuple[str, str]]:
    """Labels and texts: model, classes, samples, clips, length and device of a run.

    Args:
        config: The run.
        model: The network; what of it is trained follows from its parameters.
        data: Training and evaluation data.
        progress: Where the run stands.
        steps_per_epoch: Updates in an epoch.
        processes: Who takes part.
    """
    train, valid = data
    view = config.input
    return [
        ("run", f"{config.run.folder}{_resumed(progress)}"),
        ("model", f"{_network(config)}, {_parameters(model)}{_weights(config)}"),
        ("classes", _classes(train)),
        ("samples", _samples(train, valid)),
        (
            "input",
            f"{view.train_frames} frames of {view.image_size} x {view.image_size} pixels at "
            f"{view.frame_rate:g} a second",
        ),
        ("length", _length(config, progress, steps_per_epoch)),
        ("device", _device(config, processes)),
    ]


def _resumed(progress: Progress) -> str:
    return f", resumed after step {progress.step}" if progress.step else ""


def _network(config: TrainConfig) -> str:
    own = " (own architecture)" if config.model.architecture else ""
    return f"{config.model.preset}{own}"


def _parameters(model: MoViNet) -> str:
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    total, trained = sum(n for n, _ in sizes), sum(n for n, is_trained in sizes if is_trained)
    if trained == total:
        return f"{_count(total)} parameters, all trained"
    return f"{_count(trained)} of {_count(total)} parameters trained"


def _weights(config: TrainConfig) -> str:
    return f", from {config.model.weights}" if config.model.weights else ", from random weights"


def _count(number: int) -> str:
    return f"{number / 1e6:.2f} M" if number >= 1e6 else f"{number:,}"


def _classes(train: DataSet) -> str:
    several = "; a sample may have several" if train.multi_label else ""
    if len(train.labels) > _NAMED:
        return f"{len(train.labels)}{several}"
    return f"{len(train.labels)}: {', '.join(shorten(x, _NAME) for x in train.labels)}{several}"


def _samples(train: DataSet, valid: DataSet | None) -> str:
    """How many, and how evenly the classes share them."""
    counts = Counter(label for sample in train.samples for label in sample.labels)
    least, most = (bound(counts[c] for c in range(len(train.labels))) for bound in (min, max))
    each = f"{least}" if least == most else f"{least} to {most}"
    evaluated = f"; {len(valid)} to evaluate on" if valid is not None else "; no evaluation"
    return f"{len(train)} to train on, {each} of each class{evaluated}"


def _length(config: TrainConfig, progress: Progress, steps_per_epoch: int) -> str:
    unit = "step" if steps_per_epoch == 1 else "steps"
    return (
        f"{progress.total:,} steps of {config.engine.batch_size} clips: "
        f"{progress.total / steps_per_epoch:.3g} epochs of {steps_per_epoch:,} {unit}"
    )


def _device(config: TrainConfig, processes: Processes) -> str:
    device = processes.device
    name = str(device.type)
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    elif device.type == "cpu":
        threads = torch.get_num_threads()
        name = f"cpu, {threads} thread{'s' if threads > 1 else ''}"
    several = f", {processes.size} processes" if processes.size > 1 else ""
    return f"{name}{several}, {config.engine.precision}"


def result_facts(config: TrainConfig, figures: Mapping[str, float]) -> list[tuple[str, str]]:
    """Labels and texts at the end of a run: its figures, and the files that it left.

    Args:
        config: The run.
        figures: As `movinet.training.run.run` returns them.
    """
    folder = Path(config.run.folder)
    names = {"top1": "top-1", "map": "mAP", "macro_f1": "macro F1"}
    rows = []
    if parts := [f"{name} {share(figures[key])}" for key, name in names.items() if key in figures]:
        rows.append(("final", ", ".join(parts)))
    for key, name in names.items():
        if (best := figures.get(f"best_{key}")) is not None:
            rows.append(("best", f"{name} {share(best)} after step {figures['best_step']:.0f}"))
    rows.append(("model", str(folder / WEIGHTS)))
    if (folder / BEST_WEIGHTS).is_file():
        rows.append(("best model", str(folder / BEST_WEIGHTS)))
    return [*rows, ("curves", str(folder / CURVES)), ("time", clock(figures["seconds"]))]
