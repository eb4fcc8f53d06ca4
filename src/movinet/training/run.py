"""A training run: what `movinet train` does."""

from __future__ import annotations

import contextlib
import math
import signal
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import filelock
import torch

from movinet.data.balance import loss_weights
from movinet.data.samples import DataSet
from movinet.errors import CheckpointError, ConfigError, MovinetError, TrainingError
from movinet.files import replacing
from movinet.network.model import MoViNet
from movinet.training.advice import advise
from movinet.training.batches.loader import TrainLoader
from movinet.training.build import build_model
from movinet.training.checkpoint import (
    Checkpoints,
    Identity,
    Progress,
    check_data,
    progress_of,
)
from movinet.training.config import TrainConfig
from movinet.training.console import Messages
from movinet.training.distributed import Processes, joined
from movinet.training.evaluating import evaluate_continuously, evaluate_once
from movinet.training.evaluation_loader import EvalLoader
from movinet.training.failures import explain
from movinet.training.inputs import find_checkpoint, open_train, open_valid
from movinet.training.logs import RunLog, cut_log
from movinet.training.loop import Loop
from movinet.training.memory import keep_freed_memory
from movinet.training.norm_statistics import folded_norms, unfold_norms
from movinet.training.overview import result_facts, run_facts
from movinet.training.plots import plot_curves
from movinet.training.recipes import to_yaml
from movinet.training.results import BEST_WEIGHTS, CURVES, WEIGHTS, write_network
from movinet.training.step import Trainer, as_video
from movinet.training.stopping import stoppable
from movinet.training.validation import PRIMARY

#: In a run's folder.
LOG = "log.jsonl"
#: On which the statistics of folded batch norms are measured.
_UNFOLD_CLIPS = 64


def run(config: TrainConfig, *, quiet: bool = False) -> dict[str, float]:
    """Do what a configuration says, in one process or as one of those that torchrun started.

    A run whose folder has a checkpoint goes on from there, and one that is finished says so.

    Args:
        config: The run; `movinet.training.recipes.load_config` makes it.
        quiet: Show no progress and no notes.

    Returns:
        The latest figures: "step", "loss", "accuracy", "eval_loss", "top1", "top5" or "map",
        "macro_f1", "best_top1" or "best_map", "best_step", "skipped", "seconds"; those that there
        are.

    Raises:
        ConfigError: If settings do not fit each other, the data or the folder's checkpoint.
        TrainingError: If training diverges, memory is short, or another process is lost.
        MovinetError: If data, weights or a checkpoint cannot be read or written.
        SystemExit: If a signal asked to stop, with 128 + its number, after saving.
    """
    keep_freed_memory()
    folder = Path(config.run.folder)
    with (
        joined(config.engine) as processes,
        _threads(config.engine.threads),
        _only_warnings_of_main(processes),
    ):
        try:
            _check(config)
            messages = Messages(enabled=processes.is_main, quiet=quiet)
            match config.run.mode:
                case "eval":
                    return evaluate_once(config, processes, messages)
                case "continuous_eval":
                    return evaluate_continuously(config, processes, messages)
                case _:
                    return _train(config, folder, processes, messages)
        except (MovinetError, OSError, RuntimeError) as error:
            processes.finish_by_itself()
            message = None
            if isinstance(error, RuntimeError):
                message = explain(error, config, processes)
                if message is None:
                    raise
            if not processes.is_to_tell():
                raise SystemExit(1) from None
            if message is None:
                raise
            raise TrainingError(message) from None


def _check(config: TrainConfig) -> None:
    """Raise ConfigError where settings do not go together."""
    if config.run.mode in ("train", "train_and_eval"):
        if config.data.train is None:
            raise ConfigError("data.train is missing: give the training videos")
        if (config.schedule.epochs is None) == (config.schedule.steps is None):
            raise ConfigError("give either schedule.epochs or schedule.steps")
    if config.run.mode != "train" and config.data.valid is None:
        raise ConfigError(
            f"data.valid is missing: run.mode={config.run.mode} evaluates; run.mode=train does not"
        )


def _train(
    config: TrainConfig, folder: Path, processes: Processes, messages: Messages
) -> dict[str, float]:
    checkpoints = Checkpoints(folder)
    with _only_run_in(folder) if processes.is_main else contextlib.nullcontext():
        found = find_checkpoint(checkpoints.last, config, processes)
        progress = Progress() if found is None else progress_of(found, checkpoints.last)
        if progress.finished:
            messages.say(
                "note",
                f"{folder}: this run is finished ({progress.step} steps); choose another "
                "run.folder for a new one",
            )
            messages.facts(result_facts(config, _figures(progress, config)))
            return _figures(progress, config)
        loop = _prepare(config, processes, messages, progress, found)
        with stoppable() as loop.stop:
            loop.run()
        if loop.stopping:
            messages.say("note", _stop_message(loop))
            raise SystemExit(128 + loop.stopping)
        if loop.has_stopped_early:
            messages.say("note", _early_message(loop))
        _finish(loop, folder)
        messages.facts(result_facts(config, _figures(progress, config)))
        return _figures(progress, config)


def _prepare(
    config: TrainConfig,
    processes: Processes,
    messages: Messages,
    progress: Progress,
    found: dict[str, Any] | None,
) -> Loop:
    """Everything that training needs, as a checkpoint has it if there is one."""
    folder = Path(config.run.folder)
    checkpoints = Checkpoints(folder)
    train = open_train(config)
    identity = Identity.of(config, train)
    if found is not None:
        check_data(found, identity, checkpoints.last)
    rank, size = processes.rank, processes.size
    train_loader = TrainLoader(train, config, rank=rank, world_size=size)
    progress.total = _total_steps(config, train_loader.steps_per_epoch)
    valid = None
    if config.run.mode == "train_and_eval":
        valid = open_valid(config, train.labels, train)
    _advise(config, train, progress, messages)
    model, fresh_norms = _build(config, train, messages, resumes=found is not None)
    valid_loader = None
    if valid is not None:
        valid_loader = EvalLoader(
            valid, config, streams=model.config.streams, rank=rank, world_size=size
        )
    if found is None:
        _unfold(model, train_loader, processes, messages)
    weights = torch.from_numpy(loss_weights(train)) if config.data.balance == "loss" else None
    trainer = Trainer(model, config, processes, progress.total, weights, fresh_norms)
    if config.engine.norm_batches:
        first = train_loader.first(config.engine.norm_batches)
        trainer.norm_clips = [batch.video for batch in first]
    _restore(trainer, found, config, checkpoints)
    if processes.is_main:
        checkpoints.clean()
        _describe_run(config, folder, train.labels)
        cut_log(folder / LOG, progress.step, progress.evaluated)
    per_epoch = train_loader.steps_per_epoch
    messages.facts(run_facts(config, model, (train, valid), progress, per_epoch, processes))
    log = RunLog(folder, messages, name=LOG, total=progress.total, step=progress.step)
    return Loop(
        config=config,
        processes=processes,
        trainer=trainer,
        train=train,
        train_loader=train_loader,
        valid_loader=valid_loader,
        progress=progress,
        checkpoints=checkpoints,
        identity=identity,
        log=log,
    )


def _advise(config: TrainConfig, train: DataSet, progress: Progress, messages: Messages) -> None:
    """Notes and warnings on settings that do not fit the data or each other."""
    if config.model.freeze_norm and config.model.weights is None:
        messages.say(
            "note", "model.freeze_norm has no effect without model.weights: all norms train"
        )
    for kind, message in advise(config, train, progress.total):
        messages.say(kind, message)


def _restore(
    trainer: Trainer, found: dict[str, Any] | None, config: TrainConfig, checkpoints: Checkpoints
) -> None:
    """The state of a checkpoint, if there is one; no values that are not numbers in any case."""
    if found is not None:
        trainer.load_state_dict(found, str(checkpoints.last))
    if not trainer.is_finite():
        where = config.model.weights if found is None else checkpoints.last
        raise CheckpointError(f"{where}: contains values that are not numbers (NaN or infinite)")


def _build(
    config: TrainConfig, train: DataSet, messages: Messages, *, resumes: bool
) -> tuple[MoViNet, list[str]]:
    """The network; where a checkpoint follows, without weights that it would replace."""
    torch.manual_seed(config.engine.seed)
    section = config.model.model_copy(update={"weights": None}) if resumes else config.model
    built = build_model(section, train.labels)
    for note in built.notes:
        messages.say("note", note)
    fresh = {name.rpartition(".")[0] for name in built.fresh if ".norm." in name}
    return built.model, sorted(fresh)


def _unfold(model: MoViNet, loader: TrainLoader, processes: Processes, messages: Messages) -> None:
    """Give a network whose batch norms were folded its statistics back, from its first clips."""
    if not folded_norms(model):
        return
    model.to(processes.device)
    batches = loader.first(math.ceil(_UNFOLD_CLIPS / loader.batch_size))
    clips = (as_video(batch.video, processes.device) for batch in batches)
    count = unfold_norms(model, clips, processes)
    messages.say(
        "note",
        f"{count} batch norms of the weights are folded into the kernels: their statistics are "
        f"measured on {_UNFOLD_CLIPS} training clips, which leaves the network's outputs as they "
        "are",
    )


def _total_steps(config: TrainConfig, steps_per_epoch: int) -> int:
    if config.schedule.steps is not None:
        return config.schedule.steps
    assert config.schedule.epochs is not None
    return max(1, round(config.schedule.epochs * steps_per_epoch))


def _describe_run(config: TrainConfig, folder: Path, labels: Sequence[str]) -> None:
    """Keep beside the results what made them."""
    texts = {"config.yaml": to_yaml(config), "labels.txt": "".join(f"{x}\n" for x in labels)}
    for name, text in texts.items():
        with replacing(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


def _finish(loop: Loop, folder: Path) -> None:
    """Write the trained network and the curves, and note that all is done."""
    with loop.trainer.evaluating() as model:
        if loop.processes.is_main:
            labels, step = loop.identity.labels, loop.progress.step
            write_network(WEIGHTS, model, loop.config, labels, step)
    if loop.processes.is_main:
        plot_curves(folder / LOG, folder / CURVES, folder.absolute().name)
    loop.progress.finished = True
    loop.save()


def _figures(progress: Progress, config: TrainConfig) -> dict[str, float]:
    """What `run` returns."""
    figures = {"step": progress.step, **progress.metrics, "seconds": progress.seconds}
    if progress.best is not None:
        name = f"best_{PRIMARY[config.data.multi_label]}"
        figures |= {name: progress.best, "best_step": progress.best_step}
    return figures


def _stop_message(loop: Loop) -> str:
    name = signal.Signals(loop.stopping).name
    return (
        f"stopped by {name} after step {loop.progress.step} of {loop.progress.total}: saved in "
        f"{loop.checkpoints.last}; the same command continues from there"
    )


def _early_message(loop: Loop) -> str:
    progress = loop.progress
    measure = PRIMARY[loop.config.data.multi_label]
    return (
        f"stopped early after step {progress.step} of {progress.total}: {measure} was no better "
        f"than {progress.best:.1%} in {progress.stale} evaluations (schedule.patience); "
        f"{BEST_WEIGHTS} is the network of step {progress.best_step}, the best, and {WEIGHTS} "
        f"that of step {progress.step}"
    )


@contextlib.contextmanager
def _only_run_in(folder: Path) -> Iterator[None]:
    """Hold a run's folder against other runs; the system frees it however the process ends."""
    lock = filelock.FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise ConfigError(
            f"another process trains in {folder}: wait for it, or choose another run.folder"
        ) from None
    except OSError as error:
        raise ConfigError(
            f"run.folder: {str(folder)!r} cannot be made or written to ({error.strerror})"
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _only_warnings_of_main(processes: Processes) -> Iterator[None]:
    """All processes open the same data: one tells what is wrong with it."""
    with warnings.catch_warnings():
        if not processes.is_main:
            warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    """Compute with a number of threads; 0 leaves it alone."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
