from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_runs import MadeUp, tiny_config

from movinet.data.samples import DataSet, Sample
from movinet.training.advice import advise, mirrored_classes


def data_with(counts: dict[str, int]) -> DataSet:
    samples = [
        Sample(f"{label}-{i}", MadeUp(f"{i}.mp4", 0, i), (number,))
        for number, (label, count) in enumerate(counts.items())
        for i in range(count)
    ]
    return DataSet("made-up", tuple(samples), tuple(counts))


def advice(folder: Path, counts: dict[str, int], **changes: Any) -> list[tuple[str, str]]:
    return list(advise(tiny_config(folder, **changes), data_with(counts), total_steps=100))


@pytest.mark.parametrize(
    ("labels", "pairs"),
    [
        (["turn left", "turn right", "stop"], [("turn left", "turn right")]),
        (["TurnRight", "TurnLeft"], [("TurnLeft", "TurnRight")]),
        (["swipe_left", "swipe-right"], [("swipe_left", "swipe-right")]),
        (["leftwards", "rightwards"], [("leftwards", "rightwards")]),
        (["left to right", "right to left"], [("left to right", "right to left")]),
        (["clockwise", "Counter-Clockwise"], [("clockwise", "Counter-Clockwise")]),
        (["turn anticlockwise", "turn clockwise"], [("turn clockwise", "turn anticlockwise")]),
        (["scroll ltr", "scroll rtl"], [("scroll ltr", "scroll rtl")]),
        (["rotate cw", "rotate ccw"], [("rotate cw", "rotate ccw")]),
        (["left hand", "right foot", "bright", "copyright", "L", "R", "left", "links"], []),
    ],
)
def test_names_that_a_mirror_swaps(labels: list[str], pairs: list[tuple[str, str]]) -> None:
    found = mirrored_classes(labels)
    assert [set(pair) for pair in found] == [set(pair) for pair in pairs]


def test_flips_of_left_and_right_are_warned_of(tmp_path: Path) -> None:
    counts = {"left": 3, "right": 3, "up left": 3, "up right": 3, "stop": 3}
    ((kind, message),) = advice(tmp_path, counts)
    assert kind == "warning"
    assert message == (
        "augment.flip=0.5 mirrors clips, which makes 'left' look like 'right' (and 1 more pair): "
        "set augment.flip=0"
    )
    assert advice(tmp_path, counts, augment__flip=0) == []


def test_unbalanced_classes_are_noted_with_what_to_do(tmp_path: Path) -> None:
    ((kind, message),) = advice(tmp_path, {"rare": 2, "none": 0, "frequent": 11})
    assert kind == "note"
    assert message.startswith("classes are unbalanced: 'frequent' has 11 samples, 'rare' 2; data.")
    assert "data.balance=sampling" in message
    assert advice(tmp_path, {"rare": 2, "frequent": 10}) == []
    for balance in ("sampling", "loss"):
        assert advice(tmp_path, {"rare": 2, "frequent": 11}, data__balance=balance) == []
