"""Runs of one process: what they compute, write, and say when something is wrong."""

import errno
import json
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import LABELS, made_up_data, tiny_config
from torch import Tensor
from torch._dynamo.exc import TorchDynamoException

import movinet
from movinet.errors import CheckpointError, ConfigError, TrainingError, VideoError
from movinet.training import step
from movinet.training.build import build_model
from movinet.training.distributed import Processes
from movinet.training.loop import Loop
from movinet.training.run import run
from movinet.training.step import Trainer
from movinet.weights.factory import load_model

ALONE = Processes(0, 1, torch.device("cpu"))


@pytest.fixture(autouse=True)
def _made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("movinet.training.inputs.open_data", made_up_data)


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def stored(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


@pytest.mark.heavy
def test_a_run_learns_and_leaves_everything(tmp_path: Path) -> None:
    config = tiny_config(
        tmp_path,
        model__overrides={"norm_momentum": 0.3, "drop_path": 0},
        engine__ema=0.5,
        schedule__steps=24,
        data__train="train:12",
        data__valid="valid:6",
    )
    figures = run(config)
    assert figures["best_top1"] == 1
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        *("config.yaml", "labels.txt", "log.jsonl", "curves.png", "model.safetensors"),
        *("best.safetensors", "checkpoints", "tensorboard", ".lock"),
    }
    train = [r for r in records(tmp_path / "log.jsonl") if r["kind"] == "train"]
    assert [r["step"] for r in train] == [*range(1, 25)]
    assert train[-1]["loss"] < 0.8 < train[0]["loss"]
    assert {"epoch", "accuracy", "lr", "clips_per_second", "seconds"} <= set(train[0])
    assert train[-1]["epoch"] == 8
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert [*tmp_path.glob("tensorboard/*/events*")]


def test_what_is_saved_is_the_average(tmp_path: Path) -> None:
    run(tiny_config(tmp_path))
    loaded = load_model(None, tmp_path / "model.safetensors")
    content = stored(tmp_path / "checkpoints/last.pt")
    average = content["ema"]["average"]
    assert loaded.info.labels == LABELS
    assert loaded.info.input.image_size == 32
    assert loaded.preset == "t0_stream"
    state = loaded.model.state_dict()
    for name, value in average.items():
        assert torch.equal(state[name], value), name
    assert not torch.equal(average["stem.weight"], content["model"]["stem.weight"])


def batch_of(indices: Sequence[int], config: Any) -> Any:
    from movinet.training.batches.loader import TrainLoader

    batch = next(TrainLoader(made_up_data("train:10"), config).batches(0))
    return type(batch)(batch.video[indices], batch.targets[indices], batch.indices[indices])


def trained(
    tmp_path: Path, *, frozen: bool = False, **changes: Any
) -> tuple[dict[str, Tensor], Tensor]:
    """The weights after one update, and its totals."""
    config = tiny_config(tmp_path, model__overrides={"dropout": 0, "drop_path": 0}, **changes)
    if frozen:  # of random weights, which a configuration is not allowed
        model = config.model.model_copy(update={"freeze_backbone": True})
        config = config.model_copy(update={"model": model})
    torch.manual_seed(0)
    trainer = Trainer(build_model(config.model, LABELS).model, config, ALONE, 4)
    totals = trainer.update(batch_of([0, 1, 2, 3], config), 1)
    return trainer.model.state_dict(), totals


def test_parts_of_a_batch_add_up(tmp_path: Path) -> None:
    """Where batch norms keep their statistics, the whole batch and its parts are the same."""
    whole, totals = trained(tmp_path, frozen=True)
    parts, sums = trained(tmp_path, frozen=True, engine__accumulate=2)
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-6)
    torch.testing.assert_close(sums, totals)
    assert sums[2] == 4


def test_a_frozen_backbone_stays(tmp_path: Path) -> None:
    torch.manual_seed(0)
    before = build_model(tiny_config(tmp_path).model, LABELS).model.state_dict()
    after, _ = trained(tmp_path, frozen=True)
    changed = {name.split(".")[0] for name in after if not torch.equal(after[name], before[name])}
    assert changed == {"hidden", "classifier"}


def test_decay_comes_before_clipping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order = []
    monkeypatch.setattr(step, "add_decay", lambda *_: order.append("decay"))
    monkeypatch.setattr(step, "clip_each_", lambda *_: order.append("clip"))
    trained(tmp_path)
    assert order == ["decay", "clip"]


def test_bfloat16_keeps_float32_weights(tmp_path: Path) -> None:
    low, _ = trained(tmp_path, engine__precision="bfloat16")
    high, _ = trained(tmp_path)
    assert {v.dtype for v in low.values()} == {torch.float32, torch.int64}
    assert not torch.equal(low["stem.weight"], high["stem.weight"])


def test_several_labels(tmp_path: Path) -> None:
    config = tiny_config(
        tmp_path, data__multi_label=True, loss__label_smoothing=0, schedule__steps=2
    )
    figures = run(config)
    assert 0 < figures["map"] <= 1
    assert figures["best_map"] == figures["map"]
    assert "top1" not in figures
    for name in ("model", "best"):  # whoever loads them gets sigmoids
        assert movinet.open_model(tmp_path / f"{name}.safetensors").info.multi_label


def test_bad_samples_are_named_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    figures = run(tiny_config(tmp_path, data__train="train:8:3", data__valid="valid:5:2"))
    assert figures["skipped"] == 2
    told = capfd.readouterr().err
    assert told.count("warning: left out: train/3.mp4: not a video") == 1
    assert told.count("warning: left out: valid/2.mp4") == 1
    assert (tmp_path / "skipped.txt").read_text() == (
        "train/3.mp4\tnot a video\nvalid/2.mp4\tnot a video\n"
    )
    evals = [r for r in records(tmp_path / "log.jsonl") if r["kind"] == "eval"]
    assert [r["samples"] for r in evals] == [4, 4]


def test_the_best_network_is_kept_as_it_was_measured(tmp_path: Path) -> None:
    figures = run(tiny_config(tmp_path, optimizer__learning_rate=0.2, schedule__steps=6))
    best = stored(tmp_path / "checkpoints/best.pt")
    loaded = load_model(None, str(tmp_path / "best.safetensors"))
    assert f"{best['progress']['step']} steps" in loaded.info.origin
    assert best["progress"]["step"] == figures["best_step"]
    ours = loaded.model.state_dict()
    average = {k: v for k, v in best["ema"]["average"].items() if k in ours}
    assert average
    torch.testing.assert_close({k: ours[k] for k in average}, average, rtol=0, atol=0)


def test_a_warm_up_as_long_as_the_run_is_shortened(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """It would end where the cosine does, at a learning rate of 0."""
    run(tiny_config(tmp_path, schedule={"epochs": 5, "steps": None, "warmup_steps": 10}))
    said = "note: warm-up shortened to 2 steps, a fifth of the 10 of this run (schedule.warmup_st"
    assert said in capfd.readouterr().err
    train = [r for r in records(tmp_path / "log.jsonl") if r["kind"] == "train"]
    assert train[0]["lr"] == 0
    assert max(r["lr"] for r in train) == train[2]["lr"] > 0.04


def test_nothing_but_bad_samples(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="cannot be read"):
        run(tiny_config(tmp_path / "train", data__train="train:3:0:1:2"))
    with pytest.raises(TrainingError, match=r"no sample of data\.valid could be read"):
        run(tiny_config(tmp_path / "valid", data__valid="valid:1:0"))


def test_divergence_keeps_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = Trainer.update

    def spoilt(trainer: Trainer, batch: Any, count: int) -> Tensor:
        if count == 3:
            with torch.no_grad():
                trainer.model.hidden.bias[0] = float("inf")
        return update(trainer, batch, count)

    monkeypatch.setattr(Trainer, "update", spoilt)
    with pytest.raises(TrainingError, match=r"diverged in step 4: the loss is nan") as error:
        run(tiny_config(tmp_path, run__checkpoint_seconds=0))
    message = str(error.value)
    assert "train/" in message
    assert "lower optimizer.learning_rate" in message
    assert len((tmp_path / "diverged.txt").read_text().splitlines()) == 4
    content = stored(tmp_path / "checkpoints/last.pt")
    assert content["progress"]["step"] == 3
    assert all(bool(torch.isfinite(v).all()) for v in content["model"].values())


def test_weights_that_are_no_numbers_are_not_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss of the step that broke them was still finite."""
    update = Trainer.update

    def spoilt(trainer: Trainer, batch: Any, count: int) -> Tensor:
        totals = update(trainer, batch, count)
        if count == 3:
            with torch.no_grad():
                trainer.model.hidden.bias[0] = float("nan")
        return totals

    monkeypatch.setattr(Trainer, "update", spoilt)
    with pytest.raises(TrainingError, match="weights are not finite"):
        run(tiny_config(tmp_path, run__checkpoint_seconds=0))
    assert stored(tmp_path / "checkpoints/last.pt")["progress"]["step"] == 3


def test_a_full_disk_keeps_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync, calls = os.fsync, iter([False, False, True])

    def full(file: int) -> None:
        if next(calls, True):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(file)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match=r"step 3 cannot be saved.*No space left") as error:
        run(tiny_config(tmp_path, run__checkpoint_seconds=0, run__mode="train"))
    assert "the one before stays" in str(error.value)
    assert stored(tmp_path / "checkpoints/last.pt")["progress"]["step"] == 2
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["last.pt"]


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "out of memory on"),
        (torch.OutOfMemoryError("CUDA out of memory"), "raise engine.accumulate"),
        (TorchDynamoException("no compiler\nlong trace"), "set engine.compile=false"),
    ],
)
def test_what_pytorch_cannot_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: RuntimeError, says: str
) -> None:
    def fails(*_: Any) -> Tensor:
        raise error

    monkeypatch.setattr(Trainer, "update", fails)
    with pytest.raises(TrainingError, match=says) as told:
        run(tiny_config(tmp_path))
    assert "\n" not in str(told.value)


def test_one_run_in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def again(_: Loop) -> None:
        with pytest.raises(ConfigError, match="another process trains in"):
            run(tiny_config(tmp_path))
        raise KeyboardInterrupt

    monkeypatch.setattr(Loop, "run", again)
    with pytest.raises(KeyboardInterrupt):
        run(tiny_config(tmp_path))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"data__train": None}, r"data\.train is missing"),
        ({"data__valid": None}, r"data\.valid is missing"),
        ({"run__mode": "eval"}, "nothing to evaluate"),
        ({"run__mode": "continuous_eval", "run__wait_seconds": 0}, "no checkpoint came"),
    ],
)
def test_what_a_run_needs(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises((ConfigError, TrainingError), match=says):
        run(tiny_config(tmp_path, **changes))


def test_evaluation_alone_gives_the_same_figures(tmp_path: Path) -> None:
    figures = run(tiny_config(tmp_path, data__valid="valid:7"))
    alone = run(tiny_config(tmp_path, data__valid="valid:7", run__mode="eval"))
    for name in ("top1", "eval_loss", "samples", "step"):
        assert alone[name] == figures[name]


@pytest.mark.heavy
def test_evaluation_beside_training(tmp_path: Path) -> None:
    """Each checkpoint that is seen is evaluated once, and the best kept, until training ends."""
    changes = {"run__checkpoint_seconds": 0, "schedule__steps": 6}
    beside = {"run__mode": "continuous_eval", "run__wait_seconds": 60}
    results: list[dict[str, float]] = []

    def evaluate() -> None:
        results.append(run(tiny_config(tmp_path, **changes, **beside)))

    thread = threading.Thread(target=evaluate)
    thread.start()
    run(tiny_config(tmp_path, **changes, run__mode="train"))
    thread.join(60)
    evals = records(tmp_path / "eval.jsonl")
    steps = [r["step"] for r in evals]
    assert steps == sorted(set(steps))
    assert steps[-1] == results[0]["step"] == 6
    best = stored(tmp_path / "checkpoints/best.pt")["progress"]
    assert best["best"] == max(r["top1"] for r in evals)


def test_views_are_averaged(tmp_path: Path) -> None:
    """Two windows of the made-up videos are not the same, and each sample counts once."""
    base = {"schedule__steps": 2, "model__preset": "t0_base"}
    one = run(tiny_config(tmp_path, **base))
    two = run(tiny_config(tmp_path, **base, run__mode="eval", run__views=2))
    assert two["samples"] == one["samples"] == 5
    assert two["eval_loss"] != one["eval_loss"]
    assert abs(two["eval_loss"] - one["eval_loss"]) < 0.2


@pytest.mark.heavy
def test_the_engine_takes_little_of_a_step(tmp_path: Path) -> None:
    """Agreeing, counting and writing lines: below 2 % of the smallest real step, some 300 ms."""
    config = tiny_config(tmp_path, schedule__steps=40, run__mode="train", run__log_steps=10)
    spent = [0.0]
    update, fetch = Trainer.update, Loop._next

    def timed(function: Any) -> Any:
        def wrapped(*arguments: Any) -> Any:
            began = time.thread_time()
            result = function(*arguments)
            spent[0] += time.thread_time() - began
            return result

        return wrapped

    whole = Loop.run
    seconds = []

    def measured(loop: Loop) -> None:
        began = time.thread_time()
        whole(loop)
        seconds.append(time.thread_time() - began)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "update", timed(update))
        patch.setattr(Loop, "_next", timed(fetch))
        patch.setattr(Loop, "save", lambda _: None)
        patch.setattr(Loop, "run", measured)
        run(config)
    assert (seconds[0] - spent[0]) / 40 < 0.006
