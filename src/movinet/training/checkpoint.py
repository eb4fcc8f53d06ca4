"""Checkpoints of a run: whole or not there, complete, and only for the run that they are of."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from movinet.data.samples import DataSet
from movinet.errors import CheckpointError, ConfigError
from movinet.files import replacing
from movinet.text import same_form
from movinet.training.config import TrainConfig

#: Of the content; another one is refused.
_FORMAT = 1
#: What every checkpoint has beside it.
_CONTENT = {"config": dict, "labels": list, "data": list, "progress": dict, "model": dict}
#: Settings that may change while a run goes on: they change neither weights nor what is compared.
FREE = frozenset(
    {
        *("data.workers", "data.prefetch", "data.missing"),
        *("engine.device", "engine.threads", "engine.compile", "engine.timeout"),
        *("run.folder", "run.mode", "run.eval_epochs", "run.checkpoint_seconds", "run.log_steps"),
        *("run.eval_batch_size", "run.wait_seconds"),
    }
)


@dataclass
class Progress:
    """Where a run stands.

    The position in the data and everything random follow from the step and `engine.seed`: nothing
    else has to be kept for them.

    Attributes:
        step: Updates made.
        total: Updates of the whole run.
        seconds: Spent on them.
        evaluated: Step of the last evaluation, -1 before the first.
        best: The best value of what evaluations are compared by, None before the first.
        best_step: When it was reached.
        stale: Evaluations since then, none of them better.
        metrics: The latest of everything measured.
        finished: Whether all is done and written.
    """

    step: int = 0
    total: int = 0
    seconds: float = 0.0
    evaluated: int = -1
    best: float | None = None
    best_step: int = -1
    stale: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    finished: bool = False


@dataclass(frozen=True)
class Identity:
    """What a checkpoint is of.

    Attributes:
        config: The configuration, as plain values.
        labels: Names of the classes.
        data: Number of training samples and a digest of their names.
    """

    config: dict[str, Any]
    labels: tuple[str, ...]
    data: tuple[int, str]

    @classmethod
    def of(cls, config: TrainConfig, train: DataSet) -> Identity:
        """That of a run."""
        digest = hashlib.sha256()
        for sample in train.samples:
            digest.update(f"{sample.key}\0{sample.labels}\n".encode(errors="surrogateescape"))
        data = (len(train), digest.hexdigest())
        return cls(config.model_dump(mode="json"), train.labels, data)


class Checkpoints:
    """The checkpoints in a run's folder.

    Args:
        folder: Of the run; ``checkpoints/`` in it is made when something is saved.
    """

    def __init__(self, folder: Path) -> None:
        self.last = folder / "checkpoints" / "last.pt"
        self.best = folder / "checkpoints" / "best.pt"

    def save(
        self, path: Path, identity: Identity, progress: Progress, state: Mapping[str, Any]
    ) -> None:
        """Write one; what was there stays until it is complete.

        Args:
            path: `last` or `best`.
            identity: Of the run.
            progress: Where it stands.
            state: Of the trainer: tensors and plain values.

        Raises:
            CheckpointError: If it cannot be written.
        """
        content = {
            "format": _FORMAT,
            "config": identity.config,
            "labels": list(identity.labels),
            "data": list(identity.data),
            "progress": dataclasses.asdict(progress),
            **state,
        }
        write_checkpoint(path, content)

    def clean(self) -> None:
        """Remove what a process left that was killed while it saved."""
        for left in self.last.parent.glob(".*.pt"):
            left.unlink(missing_ok=True)


def write_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint's content, whole or not at all.

    Raises:
        CheckpointError: If it cannot be written.
    """
    memory = io.BytesIO()  # torch.save's own errors do not say what the system refused
    torch.save(content, memory)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary, temporary.open("wb") as file:
            file.write(memory.getbuffer())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        kept = "; the one before stays as it was" if path.exists() else ""
        raise CheckpointError(
            f"the checkpoint of step {content['progress']['step']} cannot be saved: "
            f"{_reason(error)}{kept}; make room, then run the same command again"
        ) from None


def read_checkpoint(path: Path, *, lazily: bool = False) -> dict[str, Any]:
    """The content of a checkpoint, tensors on the CPU; nothing in it is executed.

    Args:
        path: The file.
        lazily: Leave tensors in the file until they are used.

    Raises:
        CheckpointError: If it is broken, or not a checkpoint of a run.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=lazily)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None
    except Exception:  # damaged bytes make PyTorch fail in any way it can
        raise CheckpointError(
            f"{path}: broken, or not a checkpoint of a training run; remove it to start from the "
            "beginning, or choose another run.folder"
        ) from None
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise CheckpointError(
            f"{path}: not a checkpoint of a training run of this version; choose another run.folder"
        )
    for key, kind in _CONTENT.items():
        if not isinstance(content.get(key), kind):
            raise CheckpointError(f"{path}: has no {key}; remove it, or choose another run.folder")
    return content


def progress_of(content: Mapping[str, Any], path: Path) -> Progress:
    """Where the run of a checkpoint stood.

    Raises:
        CheckpointError: If it does not say.
    """
    try:
        return Progress(**content["progress"])
    except (KeyError, TypeError):
        raise CheckpointError(f"{path}: does not state where its run stood; remove it") from None


def check_config(
    content: Mapping[str, Any], config: TrainConfig, path: Path, section: str = ""
) -> None:
    """Raise ConfigError unless a checkpoint is of a run with these settings.

    Args:
        content: Of the checkpoint.
        config: Of the run that wants it.
        path: Where it was, for messages.
        section: Compare settings that begin with this alone.
    """
    now = dict(_flat(config.model_dump(mode="json")))
    then = dict(_flat(content["config"]))
    for key in sorted({*now, *then} - FREE):
        if key.startswith(section) and now.get(key) != then.get(key):
            raise ConfigError(
                f"{path} is of a run with {key}={then.get(key)!r}, not {now.get(key)!r}: set it "
                "back to go on with that run, or choose another run.folder for a new one"
            )


def check_data(content: Mapping[str, Any], identity: Identity, path: Path) -> None:
    """Raise ConfigError unless a checkpoint is of a run on this data."""
    if [*map(same_form, content["labels"])] != [*map(same_form, identity.labels)]:
        raise ConfigError(
            f"{path} is of a run with other classes ({len(content['labels'])}, now "
            f"{len(identity.labels)}): choose another run.folder for a new run"
        )
    if tuple(content["data"]) != identity.data:
        raise ConfigError(
            f"{path} is of a run on other samples than data.train has now "
            f"({content['data'][0]} then, {identity.data[0]} now): bring them back to continue, or "
            "choose another run.folder for a new run"
        )


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values; model.overrides too is taken apart."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", list(value) if isinstance(value, tuple) else value


def _reason(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.strerror else str(error)
