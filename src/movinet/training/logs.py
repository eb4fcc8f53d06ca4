"""What a run records: log.jsonl, TensorBoard, skipped.txt, and lines for people."""

from __future__ import annotations

import contextlib
import json
import math
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from movinet.files import replacing
from movinet.text import printable
from movinet.training.console import Messages, ProgressLine, clock, share

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from movinet.training.batches.loader import Failure

#: So many bad samples are named one by one on the console; skipped.txt names all.
_NAMED = 20


class Meter:
    """Means over the updates since the last line of the log."""

    def __init__(self) -> None:
        self._mark = time.monotonic()
        self._clear()

    def skip(self) -> None:
        """Do not count the time since the last update: it went into something else."""
        self._mark = time.monotonic()

    def add(self, loss: float, hits: float, clips: float) -> float:
        """Count an update: sum of losses, right guesses and clips.

        Returns:
            The seconds that it took.
        """
        now = time.monotonic()
        seconds, self._mark = now - self._mark, now
        self._loss, self._hits = self._loss + loss, self._hits + hits
        self._clips, self._updates = self._clips + clips, self._updates + 1
        self._seconds += seconds
        return seconds

    def read(self) -> dict[str, float]:
        """Loss, accuracy, clips_per_second and update_seconds; starts anew."""
        values = {
            "loss": self._loss / self._clips,
            "accuracy": self._hits / self._clips,
            "clips_per_second": self._clips / max(self._seconds, 1e-9),
            "update_seconds": self._seconds / self._updates,
        }
        self._clear()
        return values

    def _clear(self) -> None:
        self._loss = self._hits = self._clips = self._seconds = 0.0
        self._updates = 0


class RunLog:
    """Files and progress of a run; in other processes than the main one it does nothing.

    Args:
        folder: Of the run.
        messages: Where lines for people go.
        name: Of the file of JSON lines.
        total: Updates of the whole run.
        step: After which the run goes on.
    """

    def __init__(
        self, folder: Path, messages: Messages, *, name: str, total: int, step: int = 0
    ) -> None:
        self.messages, self.total = messages, total
        self._folder, self._name, self._step = folder, name, step
        self._progress: ProgressLine | None = None
        self._skipped: set[str] = set()
        self._accuracy: float | None = None

    @property
    def skipped(self) -> int:
        """How many samples could not be read."""
        return len(self._skipped)

    @contextlib.contextmanager
    def showing(self) -> Iterator[None]:
        """Open the files and show progress while inside."""
        if not self.messages.enabled:
            yield
            return
        self._skipped = read_skipped(self._folder / "skipped.txt")
        with contextlib.ExitStack() as stack:
            # Without a buffer: what a full disk refuses is not tried again when the file is closed.
            file = (self._folder / self._name).open("ab", buffering=0)
            self._file = stack.enter_context(file)
            board = _tensorboard(self._folder / "tensorboard" / Path(self._name).stem, self._step)
            self._board = stack.enter_context(board)
            if self.messages.shown and self.messages.console.is_terminal:
                self._progress = ProgressLine(self.messages.console, self.total, self._step)
                stack.enter_context(self._progress.showing())
            yield
        self._progress = None

    def advance(self, step: int) -> None:
        """Show a step on a terminal."""
        if self._progress is not None:
            self._progress.update(step)

    def train(self, record: dict[str, Any], update_seconds: float) -> None:
        """Write a line of training: step, epoch, loss, accuracy, lr, clips_per_second, seconds."""
        if not self.messages.enabled:
            return
        self._write({"kind": "train", **record}, "train", ("loss", "accuracy", "lr"))
        figures = (
            f"epoch {record['epoch']:.2f}",
            f"loss {record['loss']:.4f}",
            f"accuracy {share(record['accuracy'])}",
            f"{clock((self.total - record['step']) * update_seconds)} left",
            f"{record['clips_per_second']:.3g} clips/s",
            f"lr {record['lr']:.3g}",
        )
        self._accuracy = record["accuracy"]
        if self._progress is not None:
            self._progress.update(record["step"], figures)
        else:
            self.messages.line(f"step {record['step']}/{self.total}  {'  '.join(figures)}")

    @contextlib.contextmanager
    def evaluating(self, total: int) -> Iterator[Callable[[int], None]]:
        """Show an evaluation of a number of samples: call the value with those that are done."""
        progress = self._progress
        if progress is None:
            yield lambda _done: None
            return
        progress.evaluating(0, total)
        try:
            yield lambda done: progress.evaluating(done, total)
        finally:
            progress.evaluated()

    def evaluation(self, record: dict[str, Any], *, is_best: bool = False) -> None:
        """Write one line of evaluation: step, epoch, top1 and the like."""
        if not self.messages.enabled:
            return
        figures = [key for key in record if key not in ("step", "epoch", "samples", "seconds")]
        self._write({"kind": "eval", **record}, "eval", figures)
        step = f"step {record['step']}/{self.total}  " if self.total else ""
        train = "" if self._accuracy is None else f"train {share(self._accuracy)}, "
        best = "; best" if is_best else ""
        self.messages.line(f"{step}{train}{describe(record)}{best}")

    def failures(self, failures: list[Failure]) -> None:
        """Name samples that could not be read, each once."""
        if not self.messages.enabled:
            return
        fresh = [f for f in failures if printable(f.name) not in self._skipped]
        if not fresh:
            return
        with (self._folder / "skipped.txt").open("a", encoding="utf-8") as file:
            for failure in fresh:
                name = printable(failure.name)
                if name in self._skipped:
                    continue
                self._skipped.add(name)
                reason = printable(failure.reason).removeprefix(f"{name}: ")
                file.write(f"{name}\t{reason}\n")
                if len(self._skipped) <= _NAMED:
                    self.messages.say("warning", f"left out: {failure.reason}")
                elif len(self._skipped) == _NAMED + 1:
                    self.messages.say("warning", "more bad samples: skipped.txt names them all")

    def _write(self, record: dict[str, Any], group: str, figures: Any) -> None:
        rounded = {k: _rounded(v) for k, v in record.items()}
        try:
            self._file.write(f"{json.dumps(rounded)}\n".encode())
        except OSError as error:
            path = self._folder / self._name
            raise OSError(f"{path}: cannot be written ({error.strerror})") from None
        for name in figures:
            self._board.add_scalar(f"{group}/{name}", record[name], record["step"])


def cut_log(path: Path, step: int, evaluated: int) -> None:
    """Take out of a log.jsonl what came after a step; a half-written line goes too."""
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    last = {"train": step, "eval": evaluated}
    kept = []
    for line in lines:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            record = json.loads(line)
            if record["step"] <= last[record["kind"]]:
                kept.append(line)
    if kept != lines:
        with replacing(path) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")


def read_skipped(path: Path) -> set[str]:
    """Names that a skipped.txt has."""
    if not path.exists():
        return set()
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return {line.partition("\t")[0] for line in lines}


def describe(record: dict[str, Any]) -> str:
    """The main figures of an evaluation, for people; short enough for a line of a terminal."""
    names = {"top1": "top-1", "map": "mAP", "macro_f1": "macro F1"}
    parts = [f"{label} {share(record[key])}" for key, label in names.items() if key in record]
    return f"{', '.join(parts)}, loss {record['eval_loss']:.4f}"


def _tensorboard(folder: Path, step: int) -> SummaryWriter:
    from torch.utils.tensorboard import SummaryWriter

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of protobuf and numpy, none of a user's business
        return SummaryWriter(str(folder), purge_step=step + 1 if step else None)


def _rounded(value: Any) -> Any:
    """Seven digits, and null for what JSON has no number for."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.7g}") if math.isfinite(value) else None
