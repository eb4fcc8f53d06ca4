"""Runs that evaluate: once, or each checkpoint of a run that goes on beside."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from movinet.errors import CheckpointError, ConfigError, TrainingError
from movinet.network.model import MoViNet
from movinet.training.batches.loader import Failure, TrainLoader
from movinet.training.build import build_model
from movinet.training.checkpoint import (
    Checkpoints,
    progress_of,
    read_checkpoint,
    write_checkpoint,
)
from movinet.training.config import TrainConfig
from movinet.training.console import Messages
from movinet.training.distributed import Processes
from movinet.training.evaluation_loader import EvalLoader
from movinet.training.inputs import find_checkpoint, open_labels, open_train, open_valid
from movinet.training.logs import RunLog
from movinet.training.norm_statistics import freeze_norms, norms_reestimated, trained_norms
from movinet.training.results import BEST_WEIGHTS, write_network
from movinet.training.step import as_video
from movinet.training.stopping import Stop, stoppable
from movinet.training.validation import PRIMARY, validate

LOG = "eval.jsonl"
#: Between two looks for a new checkpoint, seconds.
_PAUSE = 0.5


def evaluate_once(
    config: TrainConfig, processes: Processes, messages: Messages
) -> dict[str, float]:
    """Evaluate the folder's last checkpoint, or where there is none the weights of `config.model`.

    Raises:
        ConfigError: If there is neither, or they do not fit the data.
        TrainingError: If no sample can be read.
        SystemExit: If a signal asked to stop.
    """
    last = Checkpoints(Path(config.run.folder)).last
    found = find_checkpoint(last, config, processes, "model.")
    if found is None and config.model.weights is None:
        raise ConfigError(f"nothing to evaluate: there is no {last}, and model.weights is not set")
    with stoppable() as stop:
        return _Evaluator(config, processes, stop, found, messages).evaluate(found)


def evaluate_continuously(
    config: TrainConfig, processes: Processes, messages: Messages
) -> dict[str, float]:
    """Evaluate each new checkpoint of the folder and keep the best, until training has ended.

    Returns:
        The figures of the last one.

    Raises:
        ConfigError: If a checkpoint is of another run.
        TrainingError: If none came in time.
        SystemExit: If a signal asked to stop.
    """
    last = Checkpoints(Path(config.run.folder)).last
    evaluator, figures = None, None
    with stoppable() as stop:
        for found in _new_checkpoints(last, config, processes, stop):
            evaluator = evaluator or _Evaluator(config, processes, stop, found, messages)
            figures = evaluator.evaluate(found)
            evaluator.keep_if_best(found, figures)
    if figures is None:
        raise TrainingError(
            f"no checkpoint came to {last} in {config.run.wait_seconds:g} s (run.wait_seconds)"
        )
    return figures


def _new_checkpoints(
    path: Path, config: TrainConfig, processes: Processes, stop: Stop
) -> Iterator[dict[str, Any]]:
    """Each checkpoint of a step not seen before, until the last one or none for long."""
    step, stamp, since = -1, None, time.monotonic()
    while True:
        now = path.stat().st_mtime_ns if processes.is_main and path.exists() else None
        waited = time.monotonic() - since
        is_over = bool(stop.signal) or (now == stamp and waited > config.run.wait_seconds)
        is_new, is_over = processes.share((now != stamp, is_over))
        if is_over:
            if stop.signal:
                raise SystemExit(128 + stop.signal)
            return
        if not is_new:
            time.sleep(_PAUSE)
            continue
        stamp, since = now, time.monotonic()
        found = find_checkpoint(path, config, processes)
        assert found is not None
        progress = progress_of(found, path)
        if progress.step != step:
            step = progress.step
            yield found
        if step == progress.total or progress.finished:
            return


class _Evaluator:
    """Evaluates checkpoints of one run, or the weights that its configuration names."""

    def __init__(
        self,
        config: TrainConfig,
        processes: Processes,
        stop: Stop,
        found: Mapping[str, Any] | None,
        messages: Messages,
    ) -> None:
        self._config, self._processes, self._stop = config, processes, stop
        self._folder = Path(config.run.folder)
        self._best = Checkpoints(self._folder).best
        labels = open_labels(config) if found is None else tuple(found["labels"])
        data = open_valid(config, labels)
        section = config.model
        if found is not None:  # its weights follow
            section = section.model_copy(update={"weights": None})
        self._model = build_model(section, data.labels).model.to(processes.device)
        self._norms: list[str] = []
        self._norm_clips: list[Tensor] = []
        if found is not None and config.engine.norm_batches:
            self._norm_clips = _norm_clips(config, processes)
            if config.model.freeze_norm and config.model.weights is not None:
                freeze_norms(self._model, except_for=found.get("fresh_norms", ()))
            self._norms = trained_norms(self._model)
        self._model.eval()
        streams = self._model.config.streams
        self._loader = EvalLoader(
            data, config, streams=streams, rank=processes.rank, world_size=processes.size
        )
        self._messages = messages

    def evaluate(self, found: Mapping[str, Any] | None) -> dict[str, float]:
        """The figures of a checkpoint, or of the weights as they are."""
        began, step, total = time.monotonic(), 0, 0
        if found is not None:
            progress = progress_of(found, self._folder)
            step, total = progress.step, progress.total
            self._load(found)
        if self._processes.is_main:
            self._folder.mkdir(parents=True, exist_ok=True)
        log = RunLog(self._folder, self._messages, name=LOG, total=total)
        with log.showing():
            failures: list[Failure] = []
            with self._as_evaluated() as model, log.evaluating(self._loader.count) as progress:
                figures = validate(
                    model, self._loader, self._processes, self._stop, failures, progress
                )
            for some in self._processes.gather_objects(failures):
                log.failures(some)
            if figures is None:
                raise SystemExit(128 + (self._stop.signal or signal.SIGTERM))
            log.evaluation({"step": step, **figures, "seconds": time.monotonic() - began})
        return {"step": step, **figures}

    def keep_if_best(self, found: dict[str, Any], figures: Mapping[str, float]) -> None:
        """Make a checkpoint the best one if its figures are better than that one's."""
        if not self._processes.is_main:
            return
        primary = figures[PRIMARY[self._config.data.multi_label]]
        best = None
        if self._best.exists():
            best = progress_of(read_checkpoint(self._best), self._best).best
        if best is None or primary > best:
            progress = progress_of(found, self._best)
            progress.best, progress.best_step = primary, progress.step
            labels = tuple(found["labels"])
            with self._as_evaluated() as model:
                write_network(BEST_WEIGHTS, model, self._config, labels, progress.step)
            write_checkpoint(self._best, {**found, "progress": dataclasses.asdict(progress)})

    def _as_evaluated(self) -> contextlib.AbstractContextManager[MoViNet]:
        """The network with the batch-norm statistics that training evaluates it with."""
        clips = (as_video(clip, self._processes.device) for clip in self._norm_clips)
        return norms_reestimated(self._model, self._norms, clips, self._processes)

    def _load(self, found: Mapping[str, Any]) -> None:
        try:
            self._model.load_state_dict(found["model"])
            if found["ema"] is not None:
                self._model.load_state_dict(found["ema"]["average"], strict=False)
        except (KeyError, RuntimeError, TypeError):
            raise CheckpointError(
                "the checkpoint does not fit the network of this configuration: use the "
                "config.yaml of its folder"
            ) from None


def _norm_clips(config: TrainConfig, processes: Processes) -> list[Tensor]:
    """The training clips on which a run measures the statistics of its batch norms."""
    rank, size = processes.rank, processes.size
    loader = TrainLoader(open_train(config), config, rank=rank, world_size=size)
    return [batch.video for batch in loader.first(config.engine.norm_batches)]
