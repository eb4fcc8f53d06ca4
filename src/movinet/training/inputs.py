"""What a run reads: its data sets, and the checkpoint that it goes on from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from movinet.data.samples import DataSet
from movinet.data.sources import open_data
from movinet.errors import ConfigError
from movinet.labels import load_labels
from movinet.training.checkpoint import check_config, read_checkpoint
from movinet.training.config import TrainConfig
from movinet.training.distributed import Processes


def open_train(config: TrainConfig) -> DataSet:
    """The training data."""
    assert config.data.train is not None
    labels = None if config.data.labels is None else load_labels(config.data.labels)
    return _open(config.data.train, config, labels)


def open_valid(config: TrainConfig, labels: tuple[str, ...] | None) -> DataSet:
    """The evaluation data, with the classes of the training data; None takes its own."""
    assert config.data.valid is not None
    return _open(config.data.valid, config, labels)


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


def _open(where: str, config: TrainConfig, labels: tuple[str, ...] | None) -> DataSet:
    section = config.data
    data = open_data(where, root=section.root, labels=labels, multi_label=section.multi_label)
    if not len(data):
        raise ConfigError(f"{data.name}: there is no sample in it")
    return data
