"""A linear probe from videos to a model file: what ``movinet train probe`` does."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from movinet.data.samples import DataSet
from movinet.errors import CheckpointError, ConfigError, TrainingError
from movinet.evaluation.metrics import (
    class_scores,
    confusion,
    label_matrix,
    predicted,
    score_classes,
    score_labels,
)
from movinet.files import replacing
from movinet.network.convolution import activate
from movinet.network.model import MoViNet
from movinet.runtime.numbers import to_probabilities
from movinet.training.build import build_model
from movinet.training.console import Messages, clock, share
from movinet.training.distributed import find_device
from movinet.training.doubts import find_doubt
from movinet.training.inputs import open_train, open_valid
from movinet.training.probing.embedding import Embedded, embed
from movinet.training.probing.fitting import Fit, Samples, fit_layer
from movinet.training.probing.settings import ProbeConfig
from movinet.training.results import WEIGHTS
from movinet.weights.saving import save_weights

#: In a run's folder: the figures of the probe.
REPORT = "probe.json"
#: Of samples that cannot be read, how many are named on the console.
_NAMED = 10
#: Figures of classes with fewer samples mean little.
_FEW = 3


def run_probe(config: ProbeConfig, *, quiet: bool = False) -> dict[str, float]:
    """Fit a linear layer on a frozen network's embeddings, and write the model.

    Args:
        config: The probe; `movinet.training.recipes.load_any_config` makes it.
        quiet: Show nothing on stderr.

    Returns:
        "cv_top1" and "cv_macro_f1", or "cv_map" (of the cross-validation, where there was one),
        "train_top1" or "train_map"; with `data.valid` also "eval_loss", "samples", "macro_f1", and
        "top1" and "top5", or "map"; "c", "skipped", "embedding_seconds", "fit_seconds", "seconds".

    Raises:
        ConfigError: If settings do not fit each other or the data.
        CheckpointError, DownloadError: If the weights cannot be had, or the model not be written.
        TrainingError: If too little of the data can be read.
    """
    began = time.monotonic()
    if config.data.train is None:
        raise ConfigError("data.train is missing: give the training videos")
    messages = Messages(enabled=True, quiet=quiet)
    train = open_train(config)
    valid = open_valid(config, train.labels, train) if config.data.valid else None
    _check_folder(config)
    _note_tiny_classes(train, messages)
    model = frozen_network(config, train.labels, messages)
    device = find_device(config.engine.device)
    seen, engine = embed(config, model, device, [d for d in (train, valid) if d], messages)
    _tell_failures(config, seen, messages)
    embedded = time.monotonic()
    model.cpu()
    averaged = not model.config.streams
    features = features_of(model, seen[0].embeddings)
    samples = fit_samples(train, seen[0], features, averaged=averaged)
    if not train.multi_label and np.count_nonzero(samples.targets.any(axis=0)) < 2:
        raise TrainingError(f"{train.name}: fewer than two classes have a sample that can be read")
    fit = fit_layer(
        samples,
        c=config.probe.c,
        folds=config.probe.folds,
        balance=config.data.balance == "loss",
        seed=config.engine.seed,
    )
    with torch.no_grad():
        model.classifier.weight.copy_(torch.from_numpy(fit.weight)[..., None, None, None])
        model.classifier.bias.copy_(torch.from_numpy(fit.bias))
    fitted = time.monotonic()
    figures = _cross_validated(fit, samples)
    own = _scored(fit, samples)
    figures |= {f"train_{key}": own[key] for key in ("top1", "map") if key in own}
    if valid is not None:
        features = features_of(model, seen[1].embeddings)
        evaluated = fit_samples(valid, seen[1], features, averaged=averaged)
        figures |= _scored(fit, evaluated)
        _warn_of_doubts(fit, evaluated, valid, own.get("top1", 0.0), messages)
    figures |= {
        "c": fit.c,
        "skipped": sum(len(each.failures) for each in seen),
        "embedding_seconds": embedded - began,
        "fit_seconds": fitted - embedded,
        "seconds": time.monotonic() - began,
    }
    _write(config, model, train.labels, figures, engine)
    messages.facts(_result_facts(config, figures, engine))
    return figures


def frozen_network(config: ProbeConfig, labels: Sequence[str], messages: Messages) -> MoViNet:
    """The frozen network with a last layer for the classes."""
    torch.manual_seed(config.engine.seed)
    built = build_model(config.model.section(), labels)
    if any(name.startswith("hidden.") for name in built.fresh):
        raise ConfigError(
            f"model.weights: {config.model.weights} brings no hidden layer of the classifier, "
            "which the probe takes its features from; fine-tune it instead (movinet train finetune)"
        )
    for note in built.notes:
        messages.say("note", note)
    model = built.model.eval()
    values = [value for value in model.state_dict().values() if value.is_floating_point()]
    if not all(bool(torch.isfinite(value).all()) for value in values):
        raise CheckpointError(
            f"{config.model.weights}: contains values that are not numbers (NaN or infinite)"
        )
    return model


@torch.no_grad()
def features_of(model: MoViNet, embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
    """What the last layer sees of embeddings, (samples, views, hidden)."""
    hidden = model.hidden(torch.from_numpy(embeddings))
    return activate(hidden, model.config.head_activation).double().numpy()


def fit_samples(
    data: DataSet, seen: Embedded, features: NDArray[np.float64], *, averaged: bool
) -> Samples:
    """The readable samples of a data set; their views are `averaged` or the last one counts."""
    samples = [data.samples[index] for index in seen.indices]
    targets = label_matrix([sample.labels for sample in samples], len(data.labels))
    names = [sample.group or sample.media.name for sample in samples]
    groups = np.unique(names, return_inverse=True)[1].astype(np.int64)
    return Samples(features, targets, groups, data.multi_label, averaged)


def probabilities_of(fit: Fit, samples: Samples) -> NDArray[np.float64]:
    """(samples, classes), as evaluation gives them."""
    logits = samples.features[:, samples.evaluated] @ fit.weight.T.astype(np.float64) + fit.bias
    return to_probabilities(logits, multi_label=samples.multi_label).mean(axis=1)


def _scored(fit: Fit, samples: Samples) -> dict[str, float]:
    """The figures of `movinet eval`."""
    return _figures(probabilities_of(fit, samples), samples.targets, samples.multi_label)


def _figures(
    probabilities: NDArray[np.float64], targets: NDArray[np.bool_], multi_label: bool
) -> dict[str, float]:
    if multi_label:
        values = score_labels(probabilities, targets)._asdict()
    else:
        values = score_classes(probabilities, targets.argmax(axis=1))._asdict()
    return {"eval_loss": values.pop("loss"), "samples": len(targets), **values}


def _cross_validated(fit: Fit, samples: Samples) -> dict[str, float]:
    """The figures of the samples that were held out; empty without a cross-validation."""
    if fit.validated is None:
        return {}
    targets = samples.targets[fit.validated.indices]
    values = _figures(fit.validated.probabilities, targets, samples.multi_label)
    return {f"cv_{key}": values[key] for key in ("top1", "map", "macro_f1") if key in values}


def _warn_of_doubts(
    fit: Fit, samples: Samples, data: DataSet, trained: float, messages: Messages
) -> None:
    if data.multi_label:
        return
    targets = samples.targets.argmax(axis=1)
    guesses = predicted(probabilities_of(fit, samples), targets)
    if (doubt := find_doubt(guesses, targets, data.labels, trained)) is not None:
        messages.say("warning", doubt.message(trained))
    recall = class_scores(confusion(guesses, targets, len(data.labels))).recall
    missed = [label for label, value in zip(data.labels, recall, strict=True) if value == 0]
    if missed:
        messages.say("warning", f"never recognised in data.valid: {', '.join(missed[:_NAMED])}")


def _tell_failures(config: ProbeConfig, seen: Sequence[Embedded], messages: Messages) -> None:
    """Name the samples that could not be read, all of them in skipped.txt."""
    failures = [failure for each in seen for failure in each.failures]
    for name, reason in failures[:_NAMED]:
        messages.say("warning", f"left out: {name}: {reason}")
    if len(failures) > _NAMED:
        messages.say("warning", f"{len(failures)} samples in all; skipped.txt names them")
    for name in (damaged := [name for each in seen for name in each.damaged])[:_NAMED]:
        messages.say("warning", f"{name}: some packets cannot be decoded; the rest was used")
    if len(damaged) > _NAMED:
        messages.say("warning", f"{len(damaged)} damaged samples; 'movinet data check' names them")
    if failures:
        with _written(Path(config.run.folder) / "skipped.txt") as temporary:
            lines = (f"{name}\t{reason}\n" for name, reason in failures)
            temporary.write_text("".join(lines), encoding="utf-8", errors="surrogateescape")


def _check_folder(config: ProbeConfig) -> None:
    """Raise unless the run's folder can be written and holds no probe of other data."""
    folder = Path(config.run.folder)
    with _written(folder / ".trial") as temporary:
        temporary.touch()
    (folder / ".trial").unlink(missing_ok=True)
    if not (folder / WEIGHTS).exists():
        return
    try:
        before = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        other = before["data"]["train"] != config.data.train
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        other = True
    if other:
        raise ConfigError(
            f"{folder} has a run of other data: choose another run.folder, or remove it"
        )


def _note_tiny_classes(data: DataSet, messages: Messages) -> None:
    """Name the classes of which nothing can be held out, so that figures say little of them."""
    counts = label_matrix([sample.labels for sample in data.samples], len(data.labels)).sum(axis=0)
    tiny = [
        f"{label} ({count})"
        for label, count in zip(data.labels, counts, strict=True)
        if 0 < count < _FEW
    ]
    if tiny:
        more = f" and {len(tiny) - _NAMED} more" if len(tiny) > _NAMED else ""
        messages.say(
            "note",
            f"classes with fewer than {_FEW} samples: {', '.join(tiny[:_NAMED])}{more}; figures of "
            "them mean little",
        )


def _write(
    config: ProbeConfig,
    model: MoViNet,
    labels: Sequence[str],
    figures: dict[str, float],
    engine: str,
) -> None:
    """The model, and beside it what made it."""
    folder = Path(config.run.folder)
    save_weights(
        folder / WEIGHTS,
        model.state_dict(),
        config=model.config,
        input_spec=config.input.spec(),
        preset=None if config.model.architecture else config.model.preset,
        labels=labels,
        origin=f"fitted by movinet train probe, run {folder.absolute().name}",
        run=folder.absolute().name,
        multi_label=config.data.multi_label,
    )
    settings = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    report = json.dumps({"engine": engine, **figures}, indent=2)
    texts = {
        "config.yaml": settings,
        "labels.txt": "".join(f"{label}\n" for label in labels),
        REPORT: report,
    }
    for name, text in texts.items():
        with _written(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def _written(path: Path) -> Iterator[Path]:
    """`replacing`, in a folder that is made, and its errors in one line."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            yield temporary
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written ({error.strerror})") from None


def _result_facts(
    config: ProbeConfig, figures: dict[str, float], engine: str
) -> list[tuple[str, str]]:
    names = {"top1": "top-1", "map": "mAP", "macro_f1": "macro F1"}
    rows = []
    for label, prefix in (("held out", "cv_"), ("data.valid", "")):
        parts = [
            f"{name} {share(figures[prefix + key])}"
            for key, name in names.items()
            if prefix + key in figures
        ]
        if parts:
            rows.append((label, ", ".join(parts)))
    seconds = f"embeddings {clock(figures['embedding_seconds'])} ({engine}), "
    return [
        *rows,
        ("model", str(Path(config.run.folder) / WEIGHTS)),
        ("time", f"{seconds}fit {figures['fit_seconds']:.1f} s"),
    ]
