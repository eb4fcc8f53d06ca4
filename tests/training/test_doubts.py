"""A run says so when its evaluation does not fit its training."""

import re
from pathlib import Path

import numpy as np
import pytest
from tiny_runs import made_up_data, tiny_config

from movinet.training.doubts import find_doubt
from movinet.training.run import run

LABELS = ("down", "in", "out", "up")
#: Of a data set that one class dominates.
TARGETS = np.repeat([0, 1, 2, 3], [62, 14, 14, 10])
EVEN = np.repeat([0, 1, 2, 3], 10)


def test_one_class_for_nearly_everything_is_doubted() -> None:
    guesses = np.where(np.arange(100) < 95, 0, 1)
    doubt = find_doubt(guesses, TARGETS, LABELS, 0.8)
    assert doubt is not None
    assert doubt.finding == "95% of data.valid is predicted as 'down', which 62% is"


def test_evaluation_at_chance_is_doubted_if_training_is_not() -> None:
    guesses = np.tile([0, 1, 2, 3], 10)
    doubt = find_doubt(guesses, EVEN, LABELS, 0.8)
    assert doubt is not None
    assert "evaluation is at chance (25% mean recall), training at 80%" in doubt.finding
    assert find_doubt(guesses, EVEN, LABELS, 0.3) is None  # nothing has been learnt yet


def test_figures_that_fit_are_not_doubted() -> None:
    assert find_doubt(TARGETS, TARGETS, LABELS, 1.0) is None
    weak = np.where(np.arange(40) % 2, EVEN, (EVEN + 1) % 4)  # half of them right
    assert find_doubt(weak, EVEN, LABELS, 1.0) is None
    # One class alone, and too few samples to say anything.
    assert find_doubt(np.zeros(40, int), np.zeros(40, int), LABELS, 1.0) is None
    assert find_doubt(np.zeros(8, int), np.arange(8) % 4, LABELS, 1.0) is None
    # Nearly all samples are of the class that nearly all are predicted as.
    assert find_doubt(np.zeros(40, int), np.where(np.arange(40) < 38, 0, 1), LABELS, 0.95) is None


@pytest.mark.parametrize(
    ("trained", "as_evaluated", "advice"),
    [
        (
            0.8,
            0.3,
            r"right for 30% of training clips, in training for 80%.*model\.freeze_norm=true",
        ),
        (0.3, 0.3, r"little has been learnt; train longer"),
        (0.9, 0.9, r"videos of data\.valid differ .* or labels are wrong"),
    ],
)
def test_the_advice_follows_from_the_training_clips(
    trained: float, as_evaluated: float, advice: str
) -> None:
    doubt = find_doubt(np.zeros(40, int), EVEN, LABELS, trained)
    assert doubt is not None
    message = doubt.message(as_evaluated)
    assert "\n" not in message
    assert re.search(advice, message), message


@pytest.mark.heavy
@pytest.mark.parametrize("norm_batches", [0, 3])
def test_statistics_that_lag_behind_are_found_in_a_run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    norm_batches: int,
) -> None:
    monkeypatch.setattr("movinet.training.inputs.open_data", made_up_data)
    figures = run(
        tiny_config(
            tmp_path,
            model__overrides={"norm_momentum": 1e-6, "drop_path": 0},
            engine__ema=0.0,
            engine__norm_batches=norm_batches,
            schedule__steps=24,
            data__train="train:12",
            data__valid="valid:12",
            run__eval_epochs=4,
        )
    )
    warnings = [
        line for line in capsys.readouterr().err.splitlines() if line.startswith("warning:")
    ]
    if not norm_batches:
        assert figures["top1"] < 0.7
        assert len(warnings) == 1
        assert "set model.freeze_norm=true or engine.norm_batches=16" in warnings[0]
    else:  # the advice helps
        assert not any("statistics lag behind" in line for line in warnings)
