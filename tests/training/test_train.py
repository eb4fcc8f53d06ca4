"""`movinet.train`: settings from Python, and the result."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_runs import made_up_data, tiny_config

import movinet
from movinet.data.synth.generate import generate
from movinet.errors import ConfigError
from movinet.training.config import TrainConfig
from movinet.training.recipes import load_config


@pytest.fixture(autouse=True)
def _made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("movinet.training.inputs.open_data", made_up_data)


@pytest.fixture
def configs(monkeypatch: pytest.MonkeyPatch) -> list[TrainConfig]:
    """Replaces training; holds what would have been trained."""
    found: list[TrainConfig] = []

    def run(config: TrainConfig, *, quiet: bool) -> dict[str, float]:
        found.append(config)
        return {"step": 1.0, "quiet": float(quiet)}

    monkeypatch.setattr("movinet.training.train.run", run)
    return found


def test_the_result_of_a_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    result = movinet.train(tiny_config(tmp_path), verbose=False)
    assert capfd.readouterr() == ("", "")
    assert result.folder == tmp_path
    assert result.model == tmp_path / "model.safetensors"
    assert result.best == tmp_path / "best.safetensors"
    assert result.curves == tmp_path / "curves.png"
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert list(result.history) == log
    assert result.figures["step"] == 4
    assert result.figures["top1"] == pytest.approx(result.history[-1]["top1"])
    assert movinet.create_model(tmp_path / "best.safetensors").config.num_classes == 3
    info = movinet.open_model(tmp_path / "best.safetensors").info
    assert info.name == f"{tmp_path.name} (t0_stream)"  # by its run, not "best"
    again = movinet.train(tiny_config(tmp_path), verbose=False)  # it is finished
    assert again == result


def test_what_only_evaluates_leaves_no_model(tmp_path: Path) -> None:
    made = movinet.train(tiny_config(tmp_path), verbose=False)
    alone = movinet.train(tiny_config(tmp_path), {"run.mode": "eval"}, verbose=False)
    assert (alone.model, alone.best, alone.curves) == (None, made.best, None)
    assert [record["kind"] for record in alone.history] == ["eval"]
    assert alone.figures["top1"] == made.figures["top1"]


def test_settings_in_every_form_are_those_of_the_command_line(
    tmp_path: Path, configs: list[TrainConfig]
) -> None:
    wanted = load_config(
        "finetune",
        ["data.train=t.csv", "augment.crop_area=[0.5, 1]", "schedule.steps=7", "engine.ema=0"],
    )
    file = tmp_path / "mine.yaml"
    file.write_text("base: finetune\nengine: {ema: 0}\n")
    rest = {"crop_area": (0.5, 1)}
    mixed = {"data.train": Path("t.csv"), "engine": {"ema": 0}, "augment.crop_area": (0.5, 1)}
    movinet.train("finetune", {**mixed, "schedule": {"steps": 7}})
    movinet.train(file, {"data": {"train": "t.csv"}}, schedule={"steps": 7}, augment=rest)
    config = load_config("finetune", ["data.train=t.csv"])
    movinet.train(config, schedule={"steps": 7}, augment=rest, engine={"ema": 0})
    assert configs == [wanted, wanted, wanted]


@pytest.mark.parametrize(
    ("config", "settings", "sections", "message"),
    [
        ("finetun", {}, {}, "no recipe 'finetun'; did you mean finetune"),
        ("finetune", {"engine.batchsize": 4}, {}, "did you mean engine.batch_size"),
        ("finetune", {}, {"engin": {"ema": 0}}, "no setting 'engin.*did you mean engine"),
        ("finetune", {"engine.batch_size": "many"}, {}, "batch_size: must be an integer"),
        ("finetune", {"engine.ema": 0}, {"engine": {"ema": 0}}, "engine.ema: given both"),
        ("finetune", {"engine.ema": 0, "engine": {"ema": 0}}, {}, "engine.ema is given twice"),
        ("finetune", {1: 2}, {}, "1: keys of settings are text"),
        (7, {}, {}, "a .yaml file or a TrainConfig, not int"),
    ],
)
def test_wrong_settings_are_one_line(
    config: str, settings: dict[str, object], sections: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        movinet.train(config, settings, **sections)
    assert "\n" not in str(error.value)


def test_ctrl_c_is_a_keyboard_interrupt_after_saving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames, interrupted = made_up_data("train:1").samples[0].media.frames, threading.Event()

    def interrupt(*arguments: object) -> object:
        if not interrupted.is_set():
            interrupted.set()
            os.kill(os.getpid(), signal.SIGINT)
        return frames(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("tiny_runs.MadeUp.frames", lambda _self, *rest: interrupt(*rest))
    with pytest.raises(KeyboardInterrupt):
        movinet.train(tiny_config(tmp_path), verbose=False)
    assert (tmp_path / "checkpoints" / "last.pt").is_file()
    result = movinet.train(tiny_config(tmp_path), verbose=False)  # resumes
    assert result.figures["step"] == 4


@pytest.mark.heavy
@pytest.mark.nightly  # test_train_loader.py has the workers, test_train.py the rest
def test_a_script_without_a_guard_trains_with_workers(tmp_path: Path) -> None:
    """The processes that decode do not run the script again."""
    generate(tmp_path / "videos", seed=3, clips_per_class=1, workers=1)
    script = tmp_path / "script.py"
    script.write_text(
        "import movinet\n"
        "print('begins')\n"
        "settings = {'schedule.steps': 1, 'schedule.warmup_steps': 0, 'run.mode': 'train'}\n"
        "data = {'train': 'videos', 'workers': 1}\n"
        "result = movinet.train('finetune_small', settings, data=data, verbose=False)\n"
        "print(result.figures['step'], result.best)\n"
    )
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["begins", "1 None"]


def test_settings_may_come_from_numpy(configs: list[TrainConfig]) -> None:
    movinet.train("finetune", {"data.train": "x", "optimizer.learning_rate": np.float64(0.5)})
    assert configs[0].optimizer.learning_rate == 0.5
