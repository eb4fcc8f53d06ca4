"""A run that was broken off, however, ends with the weights of one that was not."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_runs
import torch
from tiny_runs import tiny_config

from movinet.errors import CheckpointError, ConfigError
from movinet.training.checkpoint import FREE
from movinet.training.config import TrainConfig
from movinet.training.run import run
from movinet.training.step import Trainer

Hook = Callable[[Callable[[int], object]], None]


@pytest.fixture(autouse=True)
def _made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("movinet.training.inputs.open_data", tiny_runs.made_up_data)


@pytest.fixture
def before_step(monkeypatch: pytest.MonkeyPatch) -> Hook:
    """Do something before each update; given its step."""

    def install(action: Callable[[int], object]) -> None:
        update = Trainer.update

        def hooked(trainer: Trainer, batch: Any, step: int) -> torch.Tensor:
            action(step)
            return update(trainer, batch, step)

        monkeypatch.setattr(Trainer, "update", hooked)

    return install


def stored(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "checkpoints/last.pt", weights_only=True)


def assert_same_weights(one: Path, other: Path) -> None:
    """Bit for bit: network, optimiser and average."""
    first, second = stored(one), stored(other)
    assert first["progress"]["step"] == second["progress"]["step"]
    for name in ("model", "optimizer", "ema"):
        torch.testing.assert_close(first[name], second[name], rtol=0, atol=0)


def lines(folder: Path) -> list[tuple[str, int, float]]:
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [(r["kind"], r["step"], r.get("loss", r.get("eval_loss"))) for r in records]


MIXING = {"augment__mixup": 0.3, "augment__cutmix": 1.0, "run__log_steps": 2}


@pytest.mark.heavy
@pytest.mark.parametrize("step", [2, 3])  # after an evaluation, and between two
def test_a_crash_changes_nothing(tmp_path: Path, before_step: Hook, step: int) -> None:
    """Dropout, stochastic depth, augmentation and mixing draw what they would have drawn."""
    changes = {"augment__mixup": 0.3, "augment__cutmix": 1.0, "run__log_steps": 2}
    run(tiny_config(tmp_path / "whole", **changes))
    crashes = iter([False] * step + [True])

    def crash(_: int) -> None:
        if next(crashes, False):
            raise RuntimeError("crash")

    before_step(crash)
    config = tiny_config(tmp_path / "broken", **changes, run__checkpoint_seconds=0)
    with pytest.raises(RuntimeError, match="crash"):
        run(config)
    assert stored(tmp_path / "broken")["progress"]["step"] == step
    run(config)
    assert_same_weights(tmp_path / "whole", tmp_path / "broken")
    # The crash was between two lines of the log; all others are the same.
    assert [(k, n) for k, n, _ in lines(tmp_path / "broken")] == [
        (k, n) for k, n, _ in lines(tmp_path / "whole")
    ]


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("workers", "moments_after"),
    [
        (0, (5,)),
        pytest.param(0, (3, 8), marks=pytest.mark.nightly),
        pytest.param(1, (3, 8), marks=pytest.mark.nightly),
    ],
)
def test_killed_at_any_moment(tmp_path: Path, workers: int, moments_after: tuple[int, ...]) -> None:
    """kill -9, the same command again, and so on: the weights are those of an unbroken run."""
    arguments = [f"data.workers={workers}", "schedule.steps=12", "run.checkpoint_seconds=0"]
    run(tiny_config(tmp_path / "whole", schedule__steps=12))
    folder, moments = tmp_path / "killed", random.Random(workers)
    command = [sys.executable, tiny_runs.__file__, str(folder), *arguments]
    for target in moments_after:
        with subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True) as process:
            log = folder / "log.jsonl"
            while process.poll() is None:
                if log.exists() and log.read_text().count('"train"') >= target:
                    break
                time.sleep(0.01)
            time.sleep(moments.uniform(0, 0.4))
            assert process.poll() is None
            os.killpg(process.pid, signal.SIGKILL)
    subprocess.run(command, check=True, capture_output=True)
    assert_same_weights(tmp_path / "whole", folder)
    assert [step for kind, step, _ in lines(folder) if kind == "train"] == [*range(1, 13)]
    assert [step for kind, step, _ in lines(folder) if kind == "eval"] == [2, 4, 6, 8, 10, 12]
    assert not [*folder.glob("checkpoints/.*")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_ends(
    tmp_path: Path,
    number: signal.Signals,
    before_step: Hook,
    capfd: pytest.CaptureFixture[str],
) -> None:
    before = signal.getsignal(number)
    before_step(lambda step: os.kill(os.getpid(), number) if step == 2 else None)
    config = tiny_config(tmp_path / "run", run__mode="train")
    with pytest.raises(SystemExit) as ended:
        run(config)
    assert ended.value.code == 128 + number
    assert f"stopped by {number.name} after step 3 of 4" in capfd.readouterr().err
    assert stored(tmp_path / "run")["progress"]["step"] == 3
    assert signal.getsignal(number) is before
    assert run(config)["step"] == 4


@pytest.mark.heavy
def test_a_signal_during_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The evaluation is done again, whole, before training goes on."""
    from movinet.training import loop

    def validate(*arguments: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return whole(*arguments)

    whole = loop.validate
    run(tiny_config(tmp_path / "whole"))
    with monkeypatch.context() as patch:
        patch.setattr(loop, "validate", validate)
        with pytest.raises(SystemExit):
            run(tiny_config(tmp_path / "run"))
    assert [kind for kind, *_ in lines(tmp_path / "run")] == ["train"] * 2
    run(tiny_config(tmp_path / "run"))
    assert lines(tmp_path / "run") == lines(tmp_path / "whole")


def test_a_finished_run_says_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = tiny_config(tmp_path, schedule__steps=2)
    figures = run(config)
    before = (tmp_path / "model.safetensors").stat().st_mtime_ns
    capfd.readouterr()
    assert run(config) == figures
    assert "this run is finished (2 steps)" in capfd.readouterr().err
    assert (tmp_path / "model.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model__preset": "t0_base"}, "model.preset='t0_stream', not 't0_base'"),
        ({"engine__batch_size": 2}, "engine.batch_size=4, not 2"),
        ({"model__overrides": {"dropout": 0.1}}, r"model.overrides.drop_path=0.2, not None"),
        ({"data__train": "train:15"}, "data.train='train:10', not 'train:15'"),
    ],
)
def test_another_run_is_refused(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    run(tiny_config(tmp_path, schedule__steps=2))
    with pytest.raises(ConfigError, match=f"{says}.*another run.folder"):
        run(tiny_config(tmp_path, **{"schedule__steps": 2, **change}))


def test_other_data_of_the_same_name_is_refused(
    tmp_path: Path, before_step: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    before_step(lambda _: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit):
        run(tiny_config(tmp_path))
    more = tiny_runs.made_up_data("train:16")
    monkeypatch.setattr("movinet.training.inputs.open_data", lambda *_, **__: more)
    with pytest.raises(ConfigError, match="10 then, 16 now"):
        run(tiny_config(tmp_path))


@pytest.mark.heavy
def test_what_does_not_matter_may_change(tmp_path: Path, before_step: Hook) -> None:
    run(tiny_config(tmp_path / "whole"))
    before_step(lambda step: os.kill(os.getpid(), signal.SIGTERM) if step == 1 else None)
    with pytest.raises(SystemExit):
        run(tiny_config(tmp_path / "moved"))
    (tmp_path / "moved").rename(tmp_path / "here")
    changes = {"data__workers": 1, "run__log_steps": 3, "run__eval_batch_size": 3}
    run(tiny_config(tmp_path / "here", **changes))
    assert_same_weights(tmp_path / "whole", tmp_path / "here")


def test_settings_that_may_change_are_settings() -> None:
    """One that is renamed would bind its runs from then on."""
    found = {
        f"{section}.{name}"
        for section, field in TrainConfig.model_fields.items()
        if field.annotation is not None
        for name in field.annotation.model_fields  # pyright: ignore[reportAttributeAccessIssue]
    }
    assert found >= FREE


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def other(path: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, path)


def bare(path: Path) -> None:
    torch.save({"format": 1, "config": {}}, path)


def garbled(path: Path) -> None:
    """Instructions of a pickle that pop from an empty stack: an IndexError in PyTorch."""
    path.write_bytes(b"\x80\x02R.")


def pickled(path: Path) -> None:
    torch.save({"format": 1, "config": TrainConfig}, path)


@pytest.mark.parametrize("breaks", [cut, other, pickled, bare, garbled])
def test_a_broken_checkpoint(tmp_path: Path, breaks: Callable[[Path], None]) -> None:
    config = tiny_config(tmp_path, schedule__steps=2)
    run(config)
    breaks(tmp_path / "checkpoints/last.pt")
    with pytest.raises(CheckpointError, match=r"last\.pt: (.*not a checkpoint|has no)") as error:
        run(config)
    assert "\n" not in str(error.value)


def test_a_checkpoint_of_values_that_are_not_numbers(tmp_path: Path, before_step: Hook) -> None:
    before_step(lambda step: os.kill(os.getpid(), signal.SIGTERM) if step == 1 else None)
    with pytest.raises(SystemExit):
        run(tiny_config(tmp_path))
    content = stored(tmp_path)
    content["model"]["stem.weight"][0] = float("nan")
    torch.save(content, tmp_path / "checkpoints/last.pt")
    with pytest.raises(CheckpointError, match=r"last\.pt: contains values that are not numbers"):
        run(tiny_config(tmp_path))
