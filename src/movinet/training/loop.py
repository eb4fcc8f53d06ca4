"""The training loop: updates, and in their turn the log, checkpoints and evaluations."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from movinet.data.samples import DataSet
from movinet.errors import MovinetError, TrainingError
from movinet.evaluation.metrics import predicted
from movinet.files import replacing
from movinet.text import printable
from movinet.training.batches.loader import Batch, Failure, TrainLoader
from movinet.training.checkpoint import Checkpoints, Identity, Progress
from movinet.training.config import TrainConfig
from movinet.training.distributed import Processes
from movinet.training.doubts import find_doubt
from movinet.training.evaluation_loader import EvalLoader
from movinet.training.logs import Meter, RunLog
from movinet.training.results import BEST_WEIGHTS, write_network
from movinet.training.step import Trainer, as_video
from movinet.training.stopping import Stop
from movinet.training.validation import PRIMARY, Predictions, validate

#: A mean loss from which no network comes back.
_DIVERGED = 1e4
#: A run's log has at least as many lines, if it has as many steps.
_LEAST_LINES = 20
#: So many files of a batch are named in a message; diverged.txt has all.
_NAMED = 4
#: Share of a run from which on an odd evaluation is worth a warning.
_BEGUN = 0.3
#: Training clips on which the network in evaluation is compared with the one in training.
_COMPARED_CLIPS = 48


@dataclass
class Loop:
    """A run from where it stands to its end.

    Attributes:
        config: Its settings.
        processes: Who takes part.
        trainer: The network and what changes it.
        train: Training data.
        train_loader: Its batches.
        valid_loader: What evaluations see; None if nothing is evaluated.
        progress: Where the run stands; changes.
        checkpoints: Where they are kept.
        identity: What they are of.
        log: What the run says.
        stop: Whether this process was asked to stop.
        stopping: The signal by which any process was; 0 is none.
    """

    config: TrainConfig
    processes: Processes
    trainer: Trainer
    train: DataSet
    train_loader: TrainLoader
    valid_loader: EvalLoader | None
    progress: Progress
    checkpoints: Checkpoints
    identity: Identity
    log: RunLog
    stop: Stop = field(default_factory=Stop)
    stopping: int = 0
    _meter: Meter = field(default_factory=Meter)
    _saved_at: float = field(default_factory=time.monotonic)
    _save_is_due: bool = False
    _has_warned: bool = False

    def run(self) -> None:
        """Train to the end, or until somebody asks to stop; either way it is saved.

        Raises:
            TrainingError: If training diverges.
            CheckpointError: If a checkpoint cannot be saved.
            VideoError: If no sample can be read.
        """
        with self.log.showing():
            if self._evaluation_is_due():  # it was broken off
                self._evaluate()
            self._meter.skip()
            batches = self._batches()
            batch = None if self.has_stopped_early else self._next(batches)
            while batch is not None and not self.stopping and not self.has_stopped_early:
                totals = self.trainer.update(batch, self.progress.step)
                upcoming = self._next(batches)  # while a GPU still computes
                self._count(totals, batch)
                self._do_what_is_due(batch)
                batch = upcoming

    @property
    def has_stopped_early(self) -> bool:
        """Whether evaluations have been no better for as long as `schedule.patience` allows."""
        patience, progress = self.config.schedule.patience, self.progress
        is_over = patience is not None and progress.stale >= patience
        return is_over and progress.step < progress.total

    def save(self) -> None:
        """Save the last checkpoint.

        Raises:
            CheckpointError: If it cannot be written.
        """
        self._write(self.checkpoints.last)
        self._saved_at = time.monotonic()

    def _batches(self) -> Iterator[Batch]:
        step, total = self.progress.step, self.progress.total
        while step < total:
            epoch, first = divmod(step, self.train_loader.steps_per_epoch)
            for batch in self.train_loader.batches(epoch, first):
                yield batch
                step += 1
                if step == total:
                    return

    def _next(self, batches: Iterator[Batch]) -> Batch | None:
        try:
            return next(batches, None)
        except MovinetError:
            if self.stop.signal:  # it went to the processes that decode, too
                return None
            raise

    def _count(self, totals: Tensor, batch: Batch) -> None:
        """Count an update, and let all processes agree on what comes next."""
        asks = (
            len(batch.failures),
            bool(self.stop.signal),
            self.processes.is_main and self._is_time_to_save(),
        )
        mine = totals.new_tensor([float(ask) for ask in asks])
        agreed = self.processes.totals(torch.cat([totals, mine]))
        loss, hits, clips, failures, stops, saves = agreed
        if not loss / clips < _DIVERGED:
            raise TrainingError(self._divergence(f"the loss is {loss / clips:g}", batch))
        self.progress.seconds += self._meter.add(loss, hits, clips)
        self.progress.step += 1
        if stops:
            self.stopping = self.stop.signal or signal.SIGTERM
        self._save_is_due = bool(saves)
        if failures:
            self._tell(batch.failures)
        self.log.advance(self.progress.step)

    def _do_what_is_due(self, batch: Batch) -> None:
        ends = self.progress.step == self.progress.total
        if ends or self.progress.step % self._steps_between_lines() == 0:
            self._log()
        evaluates = self._evaluation_is_due()
        if ends or evaluates or self._save_is_due or self.stopping:
            if not self.trainer.is_finite():
                raise TrainingError(self._divergence("weights are not finite", batch))
            self.save()
            if evaluates and not self.stopping:
                self._evaluate()
            self._meter.skip()

    def _steps_between_lines(self) -> int:
        """Of the log: fewer than the setting in a short run, whose curves would have no points."""
        return min(self.config.run.log_steps, max(1, self.progress.total // _LEAST_LINES))

    def _log(self) -> None:
        means = self._meter.read()
        update_seconds = means.pop("update_seconds")
        record = {
            "step": self.progress.step,
            "epoch": self._epoch(),
            **means,
            "lr": self.trainer.learning_rate(self.progress.step - 1),
            "seconds": self.progress.seconds,
        }
        self.progress.metrics.update(loss=record["loss"], accuracy=record["accuracy"])
        self.log.train(record, update_seconds)

    def _evaluation_is_due(self) -> bool:
        step = self.progress.step
        if self.valid_loader is None or not step or step == self.progress.evaluated:
            return False
        per_epoch = self.train_loader.steps_per_epoch
        every = max(1, round(self.config.run.eval_epochs * per_epoch))
        return step % every == 0 or step == self.progress.total

    def _evaluate(self) -> None:
        """Evaluate, and keep the weights if they are the best so far."""
        assert self.valid_loader is not None
        began = time.monotonic()
        failures: list[Failure] = []
        seen: list[Predictions] = []
        with (
            self.trainer.evaluating() as model,
            self.log.evaluating(self.valid_loader.count) as progress,
        ):
            figures = validate(
                model, self.valid_loader, self.processes, self.stop, failures, progress, seen
            )
            is_best = figures is not None and self._is_best(figures)
            if is_best and self.processes.is_main:
                labels, step = self.identity.labels, self.progress.step
                write_network(BEST_WEIGHTS, model, self.config, labels, step)
        self._tell(failures)
        if figures is None:
            self.stopping = self.stop.signal or signal.SIGTERM
            return
        self.progress.evaluated = self.progress.step
        self.progress.metrics.update(figures)
        if is_best:
            self._write(self.checkpoints.best)
        seconds = time.monotonic() - began
        self.log.evaluation(
            {"step": self.progress.step, "epoch": self._epoch(), **figures, "seconds": seconds},
            is_best=is_best,
        )
        self.save()
        for predictions in seen:
            self._warn_of_doubts(predictions)

    def _warn_of_doubts(self, predictions: Predictions) -> None:
        """Warn once, and not of a network that has only begun, where figures deserve no trust."""
        assert self.valid_loader is not None
        data, step = self.valid_loader.data, self.progress.step
        if self._has_warned or data.multi_label or step < _BEGUN * self.progress.total:
            return
        indices, probabilities = predictions
        targets = np.array([data.samples[index].labels[0] for index in indices])
        trained = self.progress.metrics.get("accuracy", 0.0)
        doubt = find_doubt(predicted(probabilities, targets), targets, data.labels, trained)
        if doubt is not None:
            self._has_warned = True
            as_evaluated = self._accuracy_as_evaluated()
            if as_evaluated is not None:
                self.log.messages.say("warning", doubt.message(as_evaluated))

    def _accuracy_as_evaluated(self) -> float | None:
        """Share of some training clips that are right with the network in evaluation.

        None if the run was asked to stop before any was seen.
        """
        count = math.ceil(_COMPARED_CLIPS / self.train_loader.batch_size)
        hits = torch.zeros(2)
        with self.trainer.evaluating() as model, torch.no_grad():
            batches = self.train_loader.first(count)
            while (batch := self._next(batches)) is not None:
                video = as_video(batch.video, self.processes.device)
                guesses = model(video).argmax(1).cpu()
                hits += torch.tensor([int((guesses == batch.targets).sum()), len(guesses)])
        right, clips = self.processes.totals(hits.to(self.processes.device))
        return right / clips if clips else None

    def _is_best(self, figures: Mapping[str, float]) -> bool:
        """Whether figures are the best so far; notes it."""
        primary = figures[PRIMARY[self.config.data.multi_label]]
        if self.progress.best is not None and not primary > self.progress.best:
            self.progress.stale += 1
            return False
        self.progress.best, self.progress.best_step = primary, self.progress.step
        self.progress.stale = 0
        return True

    def _write(self, path: Path) -> None:
        if self.processes.is_main:
            state = self.trainer.state_dict()
            self.checkpoints.save(path, self.identity, self.progress, state)

    def _tell(self, failures: Sequence[Failure]) -> None:
        """Name bad samples of all processes."""
        for some in self.processes.gather_objects(list(failures)):
            self.log.failures(some)
        self.progress.metrics["skipped"] = self.log.skipped

    def _is_time_to_save(self) -> bool:
        return time.monotonic() - self._saved_at >= self.config.run.checkpoint_seconds

    def _epoch(self) -> float:
        return self.progress.step / self.train_loader.steps_per_epoch

    def _divergence(self, what: str, batch: Batch) -> str:
        """A message for a run that cannot go on, with the files that it saw last."""
        indices = self.processes.gather(batch.indices.to(self.processes.device)).tolist()
        names = [printable(self.train.samples[index].media.name) for index in indices]
        listed = Path(self.config.run.folder) / "diverged.txt"
        if self.processes.is_main:
            with replacing(listed) as temporary:
                temporary.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
        more = f" and {len(names) - _NAMED} more in {listed}" if len(names) > _NAMED else ""
        last = self.checkpoints.last
        kept = f"; {last} is from before" if last.exists() else ""
        rate = self.trainer.learning_rate(self.progress.step)
        return (
            f"training diverged in step {self.progress.step + 1}: {what} at learning rate "
            f"{rate:.3g}, on {', '.join(names[:_NAMED])}{more}; lower optimizer.learning_rate or "
            f"raise schedule.warmup_steps in a new run.folder, and look at these files{kept}"
        )
