"""Training from Python: `movinet.train`, and what it returns."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from movinet.errors import ConfigError
from movinet.training import evaluating
from movinet.training.checks import Config
from movinet.training.config import TrainConfig
from movinet.training.overrides import read_settings
from movinet.training.probing.settings import ProbeConfig
from movinet.training.recipes import change_config, load_any_config
from movinet.training.resolve import overlay
from movinet.training.results import BEST_WEIGHTS, CURVES, WEIGHTS
from movinet.training.run import LOG, run


@dataclass(frozen=True)
class TrainResult:
    """A finished run.

    Attributes:
        folder: The run's folder.
        model: The network at the end, a file that every command and function takes; None if the
            run only evaluated.
        best: The network of the best evaluation; None if there was no evaluation.
        curves: Plot of loss, accuracy and learning rate; None if the run only evaluated.
        figures: The final ones, of these those that there are: "step", "loss", "accuracy",
            "eval_loss", "top1", "top5", "macro_f1", "map", "best_top1" or "best_map", "best_step",
            "skipped", "seconds"; of a probe those of
            `movinet.training.probing.run.run_probe`. Shares are from 0 to 1.
        history: The lines of the run's log in order; each has "kind" ("train" or "eval") and
            "step".
    """

    folder: Path
    model: Path | None
    best: Path | None
    curves: Path | None
    figures: dict[str, float]
    history: tuple[dict[str, Any], ...] = field(repr=False)


def train(
    config: str | os.PathLike[str] | Config,
    settings: Mapping[str, Any] | None = None,
    *,
    verbose: bool = True,
    **sections: Mapping[str, Any],
) -> TrainResult:
    """Train a model on videos, as ``movinet train`` does.

    The settings are those of the command line: ``movinet train finetune --show`` prints all of a
    recipe. A run keeps everything in its folder; the same call resumes one that was interrupted,
    and returns the result of one that is finished.

    For example::

        result = movinet.train(
            "finetune",
            data={"train": "train.csv", "valid": "valid.csv"},
            schedule={"epochs": 10},
            run={"folder": "runs/first"},
        )
        movinet.evaluate(result.best, "test.csv")

    Args:
        config: A recipe (``movinet train --list``), a YAML file, or a configuration.
        settings: Settings that replace those of `config`, with dotted keys, nested mappings or
            both: ``{"data.train": "train.csv", "engine": {"batch_size": 4}}``.
        verbose: Whether progress is shown on stderr.
        **sections: Further settings, a section each: ``engine={"batch_size": 4}``.

    Returns:
        Where the results are, the final figures, and the history.

    Raises:
        ConfigError: If there is no such recipe or setting, or settings do not fit each other, the
            data, or the run that is already in the folder.
        CheckpointError, DownloadError: If weights or a checkpoint cannot be read or written.
        VideoError: If no sample can be read.
        TrainingError: If training diverges, or memory is short.
        KeyboardInterrupt: On Ctrl-C, after the run has been saved.
    """
    given = read_settings(settings or {})
    if twice := sorted(set(_keys(given)) & set(_keys(read_settings(sections)))):
        raise ConfigError(f"{', '.join(twice)}: given both in settings and by keyword")
    given = overlay(given, read_settings(sections))
    if isinstance(config, TrainConfig | ProbeConfig):
        checked = change_config(config, given) if given else config
    elif isinstance(config, str | os.PathLike):
        checked = load_any_config(config, given)
    else:
        raise ConfigError(
            "train takes a recipe's name, a .yaml file or a TrainConfig, not "
            f"{type(config).__name__}"
        )
    if isinstance(checked, ProbeConfig):
        from movinet.training.probing.run import run_probe  # it needs scikit-learn, others do not

        figures = run_probe(checked, quiet=not verbose)
        folder = Path(checked.run.folder)
        return TrainResult(folder, folder / WEIGHTS, None, None, figures, ())
    try:
        figures = run(checked, quiet=not verbose)
    except SystemExit as stopped:
        if stopped.code == 128 + signal.SIGINT:
            raise KeyboardInterrupt from None
        raise
    return _result(checked, figures)


def _keys(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The dotted keys of nested settings."""
    keys = []
    for key, value in values.items():
        if isinstance(value, dict):
            keys += _keys(value, f"{prefix}{key}.")
        else:
            keys.append(f"{prefix}{key}")
    return keys


def _result(config: TrainConfig, figures: dict[str, float]) -> TrainResult:
    folder, trains = Path(config.run.folder), config.run.mode in ("train", "train_and_eval")

    def made(name: str, *, here: bool = True) -> Path | None:
        return folder / name if here and (folder / name).is_file() else None

    log = folder / (LOG if trains else evaluating.LOG)
    lines = log.read_text(encoding="utf-8").splitlines() if log.is_file() else ()
    return TrainResult(
        folder=folder,
        model=made(WEIGHTS, here=trains),
        best=made(BEST_WEIGHTS),
        curves=made(CURVES, here=trains),
        figures=figures,
        history=tuple(json.loads(line) for line in lines),
    )
