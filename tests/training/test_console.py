"""What a person sees of a run on a terminal of 80 columns."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from tiny_runs import made_up_data, tiny_config

from movinet.training.console import Messages, ProgressLine
from movinet.training.run import run

FIGURES = ("epoch 123.45", "loss 1.2345", "accuracy 100.0%", "10:02:31 left", "12.3 clips/s")


@pytest.fixture(autouse=True)
def _made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("movinet.training.inputs.open_data", made_up_data)
    monkeypatch.setenv("COLUMNS", "80")


def terminal(width: int = 80) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=True, soft_wrap=True)


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_the_line_of_progress_fits_its_terminal(width: int) -> None:
    line = ProgressLine(terminal(width), total=123_456, step=99_999)
    line.update(100_000, FIGURES)
    assert len(line.render()) < width
    line.evaluating(1234, 5678)
    assert len(line.render()) < width


def test_the_line_keeps_the_most_important_figures() -> None:
    narrow, wide = (ProgressLine(terminal(width), total=1200, step=0) for width in (80, 200))
    for line in (narrow, wide):
        line.update(600, FIGURES)
    text = narrow.render().plain
    assert text.startswith("step 600/1200  ━━━━━━━━━━  epoch 123.45  loss 1.2345")
    assert "clips/s" not in text
    assert wide.render().plain.endswith("12.3 clips/s")


def test_evaluating_is_shown_while_it_lasts() -> None:
    line = ProgressLine(terminal(), total=120, step=40)
    line.update(40, ("loss 1.0000",))
    line.evaluating(8, 18)
    assert line.render().plain.startswith("step 40/120  evaluating 8/18 samples  ━")
    line.evaluated()
    assert "evaluating" not in line.render().plain
    assert "loss 1.0000" in line.render().plain


def test_a_line_is_said_once_in_a_run(capfd: pytest.CaptureFixture[str]) -> None:
    messages = Messages(enabled=True)
    for message in ("the weights were guessed", "the weights were guessed", "something else"):
        messages.say("note", message)
    messages.say("warning", "something else")
    assert capfd.readouterr().err.splitlines() == [
        "note: the weights were guessed",
        "note: something else",
        "warning: something else",
    ]


def facts_of(text: str) -> dict[str, str]:
    """Labels and texts of the blocks of facts."""
    found: dict[str, str] = {}
    label = ""
    for line in text.splitlines():
        if line.startswith("  "):
            label = line[2:13].strip() or label
            found[label] = f"{found.get(label, '')} {line[13:].strip()}".strip()
    return found


def test_the_facts_of_a_run(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(tiny_config("runs/first"))
    told = capfd.readouterr().err
    facts_only = [line for line in told.splitlines() if line.startswith("  ")]
    assert all(len(line) <= 80 for line in facts_only)
    begin, _, rest = told.partition("step 1/4")
    facts = facts_of(begin)
    assert facts["run"] == "runs/first"
    assert facts["model"].startswith("t0_stream, 1.")
    assert facts["model"].endswith("M parameters, all trained, from random weights")
    assert facts["classes"] == "3: dark, light, striped"
    assert facts["samples"] == "10 to train on, 3 to 4 of each class; 5 to evaluate on"
    assert facts["input"] == "2 frames of 32 x 32 pixels at 2 a second"
    assert facts["length"] == "4 steps of 4 clips: 2 epochs of 2 steps"
    assert facts["device"] == "cpu, 1 thread, float32"
    facts = facts_of(rest)
    assert facts["best"].startswith("top-1 ")
    assert facts["best model"] == "runs/first/best.safetensors"


def test_the_facts_tell_what_is_frozen(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run(tiny_config(tmp_path / "first"))
    options = {"model__weights": str(tmp_path / "first/model.safetensors"), "run__mode": "train"}
    config = tiny_config(tmp_path / "second", model__freeze_backbone=True, **options)
    capfd.readouterr()
    run(config)
    facts = facts_of(capfd.readouterr().err.partition("step 1/4")[0])
    assert " of 1." in facts["model"]
    assert "M parameters trained, from" in facts["model"]
    assert facts["samples"].endswith("; no evaluation")
