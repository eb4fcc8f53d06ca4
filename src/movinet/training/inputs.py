"""What a run reads: its data sets, and the checkpoint that it goes on from."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from movinet.data.copies import copies
from movinet.data.quarantine import exclude
from movinet.data.samples import DataSet
from movinet.data.sources import open_data
from movinet.errors import ConfigError
from movinet.labels import load_labels
from movinet.text import printable
from movinet.training.checkpoint import check_config, read_checkpoint
from movinet.training.config import TrainConfig
from movinet.training.distributed import Processes
from movinet.training.probing.settings import ProbeConfig

#: Of classes, how many a message names.
_NAMED = 5


def open_train(config: TrainConfig | ProbeConfig) -> DataSet:
    """The training data.

    Raises:
        ConfigError: If it cannot be opened, or has one class alone.

    Warns:
        UserWarning: If there are classes without a sample.
    """
    assert config.data.train is not None
    labels = None if config.data.labels is None else load_labels(config.data.labels)
    data = _open(config.data.train, config, labels)
    if len(data.labels) == 1 and not data.multi_label:
        raise ConfigError(
            f"{data.name}: all samples are {data.labels[0]!r}; it takes two classes to learn to "
            "tell them apart"
        )
    there = {c for sample in data.samples for c in sample.labels}
    if missing := [label for c, label in enumerate(data.labels) if c not in there]:
        more = ", ..." if len(missing) > _NAMED else ""
        warnings.warn(
            printable(
                f"{data.name}: no sample of {len(missing)} of the {len(data.labels)} classes "
                f"({', '.join(missing[:_NAMED])}{more}), which cannot be learnt"
            ),
            stacklevel=2,
        )
    return data


def open_valid(
    config: TrainConfig | ProbeConfig,
    labels: tuple[str, ...] | None,
    train: DataSet | None = None,
) -> DataSet:
    """The evaluation data.

    Args:
        config: The run.
        labels: The classes of the training data; None takes its own.
        train: The training data, if that is known.

    Raises:
        ConfigError: If it cannot be opened.

    Warns:
        UserWarning: If samples are in the training data too, by name or as copies, or repeated.
    """
    assert config.data.valid is not None
    data = _open(config.data.valid, config, labels)
    data.warn_of_repeats()
    known = {sample.part for sample in (() if train is None else train.samples)}
    if common := sum(sample.part in known for sample in data.samples):
        warnings.warn(
            printable(
                f"{data.name}: {common} of {len(data)} samples are training data too: the figures "
                "will say how well they were learnt by heart"
            ),
            stacklevel=2,
        )
    if train is not None and (copied := copies(data, train)):
        warnings.warn(
            printable(
                f"{data.name}: {len(copied)} of {len(data)} samples are copies of training files "
                f"({data.samples[copied[0]].media.name}{', ...' if copied[1:] else ''}): the "
                "figures are too good; remove these from one of the two"
            ),
            stacklevel=2,
        )
    return data


def open_labels(config: TrainConfig) -> tuple[str, ...] | None:
    """The classes, where no checkpoint says them; None leaves them to the evaluation data."""
    if config.data.labels is not None:
        return load_labels(config.data.labels)
    return open_train(config).labels if config.data.train else None


def find_checkpoint(
    path: Path, config: TrainConfig, processes: Processes, section: str = ""
) -> dict[str, Any] | None:
    """A checkpoint that is of this run, or None where there is none; the same in every process.

    Args:
        path: Where it may be; the main process alone looks.
        config: The run.
        processes: Who takes part.
        section: Settings that must be the checkpoint's, by how they begin.

    Raises:
        CheckpointError: If it is broken.
        ConfigError: If it is of another run.
    """
    found = None
    if processes.is_main and path.exists():
        found = read_checkpoint(path)
        check_config(found, config, path, section)
    return processes.share(found)


def _open(where: str, config: TrainConfig | ProbeConfig, labels: tuple[str, ...] | None) -> DataSet:
    section = config.data
    data = open_data(
        where,
        root=section.root,
        labels=labels,
        multi_label=section.multi_label,
        skip_missing=section.missing == "skip",
        frame_rate=section.frame_rate,
    )
    if not len(data):
        raise ConfigError(f"{data.name}: there is no sample in it")
    if section.exclude is None:
        return data
    kept, _ = exclude(data, Path(section.exclude))  # the list may be of more than this data
    if len(kept) < len(data):
        warnings.warn(
            printable(
                f"{data.name}: {len(data) - len(kept)} of {len(data)} samples are on the list "
                f"{section.exclude} and left out"
            ),
            stacklevel=3,
        )
    return kept
