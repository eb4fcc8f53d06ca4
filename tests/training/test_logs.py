"""What a run says: its lines, its files, its curves."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from movinet.training.batches.loader import Failure
from movinet.training.logs import Messages, Meter, RunLog, cut_log
from movinet.training.plots import plot_curves


def train(step: int, loss: float = 1.0) -> dict[str, Any]:
    return {
        "step": step,
        "epoch": step / 10,
        "loss": loss,
        "accuracy": 0.5,
        "clips_per_second": 12.345678901,
        "lr": 0.1,
        "seconds": 3.0,
    }


def evaluation(step: int, top1: float = 0.25) -> dict[str, Any]:
    figures = {"eval_loss": 1.5, "samples": 8, "top1": top1, "top5": 0.75}
    return {"step": step, "epoch": step / 10, **figures, "seconds": 1.0}


def make_log(folder: Path, **options: Any) -> RunLog:
    return RunLog(folder, Messages(enabled=True), name="log.jsonl", total=100, **options)


def steps(path: Path) -> list[tuple[str, int]]:
    records = [json.loads(line) for line in path.read_text().splitlines()]
    return [(r["kind"], r["step"]) for r in records]


def test_lines_and_records(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log = make_log(tmp_path)
    with log.showing():
        log.train(train(10), update_seconds=2.0)
        log.evaluation(evaluation(10), is_best=True)
    told = capfd.readouterr().err.splitlines()
    assert told[0] == (
        "step 10/100  epoch 1.00  loss 1.0000  accuracy 50.0%  3:00 left  12.3 clips/s  lr 0.1"
    )
    assert told[1] == "step 10/100  train 50.0%, top-1 25.0%, loss 1.5000; best"
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert records[0] == {"kind": "train", **train(10), "clips_per_second": 12.34568}
    assert records[1] == {"kind": "eval", **evaluation(10)}


def test_numbers_that_json_has_no_word_for(tmp_path: Path) -> None:
    log = make_log(tmp_path)
    with log.showing():
        log.train(train(10, loss=float("inf")), update_seconds=1.0)
    assert json.loads((tmp_path / "log.jsonl").read_text())["loss"] is None


def test_a_full_disk(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").symlink_to("/dev/full")
    log = make_log(tmp_path)
    with pytest.raises(OSError, match=r"log\.jsonl: cannot be written \(No space"), log.showing():
        log.train(train(10), update_seconds=1.0)


def test_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = make_log(tmp_path)
    with log.showing():
        log.train(train(10), update_seconds=1.0)
        log.train(train(20, loss=0.5), update_seconds=1.0)
    resumed = make_log(tmp_path, step=10)
    with resumed.showing():
        resumed.train(train(20, loss=0.25), update_seconds=1.0)
        resumed.evaluation(evaluation(20))
    events = EventAccumulator(str(tmp_path / "tensorboard/log"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(10, 1.0), (20, 0.25)]
    assert [e.value for e in events.Scalars("eval/top1")] == [0.25]


def test_going_on_cuts_the_log(tmp_path: Path) -> None:
    """What came after the checkpoint goes, and a line that a killed process left half-written."""
    log, path = make_log(tmp_path), tmp_path / "log.jsonl"
    with log.showing():
        for step in (10, 20, 30):
            log.train(train(step), update_seconds=1.0)
            log.evaluation(evaluation(step))
    with path.open("a") as file:
        file.write('{"kind": "train", "st')
    cut_log(path, 20, 10)
    assert steps(path) == [("train", 10), ("eval", 10), ("train", 20)]


def test_bad_samples(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Each once, over all parts of a run; only the first ones on the console."""
    bad = [Failure(i, f"{i}\n.mp4", f"{i}\n.mp4: broken") for i in range(30)]
    log = make_log(tmp_path)
    with log.showing():
        log.failures([*bad[:2], bad[0]])
        log.failures(bad[:25])
    again = make_log(tmp_path)
    with again.showing():
        again.failures(bad)
    told = capfd.readouterr().err.splitlines()
    assert told[0] == "warning: left out: 0\\n.mp4: broken"
    assert len(told) == 21
    assert "skipped.txt" in told[-1]
    lines = (tmp_path / "skipped.txt").read_text().splitlines()
    assert lines == [f"{i}\\n.mp4\tbroken" for i in range(30)]


def test_other_processes_write_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log = RunLog(tmp_path, Messages(enabled=False), name="log.jsonl", total=100)
    with log.showing():
        log.train(train(10), update_seconds=1.0)
        log.evaluation(evaluation(10))
        log.failures([Failure(0, "a", "b")])
        log.advance(11)
    assert not [*tmp_path.iterdir()]
    assert capfd.readouterr() == ("", "")


def test_progress_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss, accuracy, time left, clips a second and learning rate, beside the bar."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "160")
    messages = Messages(enabled=True)
    messages.console.file = (tmp_path / "terminal").open("w")
    log = RunLog(tmp_path, messages, name="log.jsonl", total=100)
    with log.showing():
        log.advance(9)
        log.train(train(10), update_seconds=45.0)
        log.evaluation(evaluation(10))
    messages.console.file.close()
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", (tmp_path / "terminal").read_text())
    wanted = "step 10/100  ━━━━━━━━━━  epoch 1.00  loss 1.0000  accuracy 50.0%  1:07:30 left"
    assert f"{wanted}  12.3 clips/s  lr 0.1" in shown
    assert "top-1 25.0%" in shown


def test_meter(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("movinet.training.logs.time.monotonic", lambda: now[0])
    meter = Meter()
    now[0] = 2.0
    assert meter.add(loss=8.0, hits=1, clips=4) == 2.0
    now[0] = 100.0  # an evaluation
    meter.skip()
    now[0] = 104.0
    assert meter.add(loss=4.0, hits=3, clips=4) == 4.0
    means = meter.read()
    assert means["loss"] == 1.5
    assert means["accuracy"] == 0.5
    assert means["clips_per_second"] == pytest.approx(8 / 6)
    assert means["update_seconds"] == 3.0


@pytest.mark.parametrize("count", [1, 6])
def test_curves_of_a_few_steps_are_drawn(tmp_path: Path, count: int) -> None:
    """A line needs two points: one alone is a dot."""
    log = make_log(tmp_path)
    with log.showing():
        for step in range(1, count + 1):
            log.train(train(step, loss=3 / step), update_seconds=1.0)
        log.evaluation(evaluation(count))
    plot_curves(tmp_path / "log.jsonl", tmp_path / "curves.png", "my $run$")
    with Image.open(tmp_path / "curves.png") as picture:
        pixels = np.asarray(picture.convert("RGB"), int)
    # Below the legends, which have the colours too; the learning rate has none.
    for panel in np.array_split(pixels, 3, axis=1):
        blue = np.abs(panel - (0x00, 0x72, 0xB2)).sum(-1) < 30
        assert blue[:, panel.shape[1] // 2 :].sum() > 30


def test_curves(tmp_path: Path) -> None:
    log = make_log(tmp_path)
    with log.showing():
        for step in range(1, 60):
            log.train(train(step, loss=3 / step), update_seconds=1.0)
        log.train(train(60, loss=float("nan")), update_seconds=1.0)
        log.evaluation(evaluation(30))
        log.evaluation(evaluation(60, top1=0.9))
    plot_curves(tmp_path / "log.jsonl", tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as picture:
        pixels = np.asarray(picture.convert("RGB"), int)
    height, width, _ = pixels.shape
    assert width > 1000
    for panel in np.array_split(pixels, 3, axis=1):
        blue = (np.abs(panel - (0x00, 0x72, 0xB2)).sum(-1) < 30).sum()
        assert blue > height / 3  # training's curve crosses each of them
