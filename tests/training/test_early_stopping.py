"""Runs that end because evaluations get no better."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_runs
import torch
from tiny_runs import tiny_config
from torch import Tensor

from movinet.errors import ConfigError
from movinet.training.run import run
from movinet.training.step import Trainer
from movinet.weights.factory import load_model

#: Step -> accuracy that its evaluation finds.
SCORES = {1: 0.2, 2: 0.5, 3: 0.4, 4: 0.5, 5: 0.9, 6: 0.1, 7: 0.1, 8: 0.1}
SETTINGS: dict[str, Any] = {
    "data__train": "train:4",  # an epoch of one step
    "schedule__steps": 8,
    "schedule__patience": 2,
    "engine__ema": 0,
}


@pytest.fixture(autouse=True)
def updates(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[int], object]]:
    """Scores as above; what the list holds is called before each update, with its step.

    An update changes a tensor by its step, and trains nothing.
    """
    hooks: list[Callable[[int], object]] = []
    done = [0]

    def update(trainer: Trainer, batch: Any, step: int) -> Tensor:
        for hook in hooks:
            hook(step)
        with torch.no_grad():
            trainer.model.classifier.bias[0] += step
        done[0] = step + 1
        return torch.tensor([1.0, 1.0, len(batch.video)])

    def scored(*_: Any) -> dict[str, float]:
        return {"eval_loss": 1.0, "samples": 5, "top1": SCORES[done[0]], "top5": 1.0}

    monkeypatch.setattr("movinet.training.inputs.open_data", tiny_runs.made_up_data)
    monkeypatch.setattr(Trainer, "update", update)
    monkeypatch.setattr("movinet.training.loop.validate", scored)
    return hooks


def weights(path: Path) -> dict[str, Tensor]:
    return load_model(None, path).model.state_dict()


def test_a_run_stops_when_evaluations_are_no_better(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    figures = run(tiny_config(tmp_path, **SETTINGS))
    assert (figures["step"], figures["best_top1"], figures["best_step"]) == (4, 0.5, 2)
    message = capfd.readouterr().err
    assert "note: stopped early after step 4 of 8: top1 was no better than 50.0% in 2 ev" in message
    assert "best.safetensors is the network of step 2, the best, and model.safetensors" in message
    for name, step in (("model", 4), ("best", 2)):
        assert f", {step} steps," in load_model(None, tmp_path / f"{name}.safetensors").info.origin
    assert (tmp_path / "curves.png").is_file()
    assert run(tiny_config(tmp_path, **SETTINGS))["step"] == 4
    assert "this run is finished (4 steps)" in capfd.readouterr().err


def test_more_patience_finds_the_better_one(tmp_path: Path) -> None:
    figures = run(tiny_config(tmp_path, **{**SETTINGS, "schedule__patience": 3}))
    assert (figures["step"], figures["best_step"]) == (8, 5)


def test_a_run_that_reaches_its_end_has_not_stopped_early(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run(tiny_config(tmp_path, **{**SETTINGS, "schedule__steps": 4}))
    assert "stopped early" not in capfd.readouterr().err


def test_patience_is_kept_when_a_run_resumes(
    tmp_path: Path, updates: list[Callable[[int], object]]
) -> None:
    run(tiny_config(tmp_path / "whole", **SETTINGS))

    def crash(now: int) -> None:
        if now == 3:
            raise RuntimeError("crash")

    updates.append(crash)
    config = tiny_config(tmp_path / "broken", **SETTINGS, run__checkpoint_seconds=0)
    with pytest.raises(RuntimeError, match="crash"):
        run(config)
    updates.clear()
    assert run(config)["step"] == 4
    for name in ("model.safetensors", "best.safetensors"):
        ours, theirs = weights(tmp_path / "broken" / name), weights(tmp_path / "whole" / name)
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_a_run_that_was_killed_before_it_could_end_trains_no_further(
    tmp_path: Path, updates: list[Callable[[int], object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr("movinet.training.run._finish", killed)
        with pytest.raises(RuntimeError, match="killed"):
            run(tiny_config(tmp_path, **SETTINGS))
    updates.append(killed)
    assert run(tiny_config(tmp_path, **SETTINGS))["step"] == 4
    assert (tmp_path / "model.safetensors").is_file()


def test_patience_without_evaluations_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"schedule\.patience: run\.mode=train evaluates nothing"):
        tiny_config(tmp_path, **SETTINGS, run__mode="train")
