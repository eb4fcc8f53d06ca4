"""Evaluation with dropped frames: the same streams, stepped by hand."""

from __future__ import annotations

import dataclasses
import json
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colour_data import BLUE, GREEN, RED, make_data
from typer.testing import CliRunner

import movinet
from fakes import COLOURS, ColourRuntime, model_info, write_video
from movinet.cli import build_app
from movinet.data.samples import DataSet, Sample
from movinet.errors import ConfigError, VideoError
from movinet.evaluation.drops import Drops, evaluate_drops
from movinet.live.gaps import GAP_POLICIES
from movinet.video import VideoFile, VideoReader

CLIP = Path(movinet.__file__).parent / "demo" / "clip.mp4"


def test_each_policy_is_a_stream_that_misses_the_same_frames() -> None:
    runtime = movinet.load("motions")
    labels = runtime.info.labels
    target = labels.index("turning right")
    data = DataSet("one", (Sample("a", VideoFile(CLIP), (target,)),), labels, multi_label=False)
    drops = Drops(0.4, seed=5)
    found = evaluate_drops(runtime, data, drops, half_life=0.5)
    with VideoReader(CLIP, frame_rate=8) as reader:
        images = [frame.image.copy() for frame in reader]
    missing = drops.of(0, len(images), 8)
    whole = runtime.stream(half_life=0.5)
    said = np.array([whole(image) for image in images])[~missing]
    assert (found.frames, found.dropped) == (len(images), missing.sum())
    assert missing.any()
    assert [score.policy for score in found.scores] == [None, *GAP_POLICIES]
    assert found.scores[0].change == 0
    changes = set()
    for score in found.scores[1:]:
        stream, gap, says = runtime.stream(half_life=0.5), 0, []
        for image, drop in zip(images, missing, strict=True):
            if drop:
                gap += 1
                continue
            if score.policy in ("fade", "reset"):
                stream.fade(gap)
            for _ in range(gap if score.policy == "hold" else 0):
                stream(image)
            says.append(stream(image))
            gap = 0
        array = np.array(says)
        assert score.running == pytest.approx((array.argmax(1) == target).mean())
        assert score.accuracy == float(array[-1].argmax() == target)
        change = np.abs(array - said).sum(1).mean() / 2
        assert score.change == pytest.approx(change, abs=1e-6)
        assert change > 0.001
        changes.add(round(change, 6))
    assert len(changes) == 3  # reset fades in gaps as short as these


def test_a_long_gap_begins_anew(tmp_path: Path) -> None:
    """Red, a gap of more than ten seconds, blue: only a new start says blue at once."""
    runtime = ColourRuntime(model_info(frame_rate=1.0))
    write_video(tmp_path / "a.mp4", [RED] * 14 + [BLUE] * 2, rate=1)
    media = VideoFile(tmp_path / "a.mp4")
    data = DataSet("one", (Sample("a", media, (2,)),), COLOURS, multi_label=False)

    class Middle(Drops):
        def of(self, index: int, count: int, rate: float) -> Any:
            del index, rate
            return np.array([2 <= place < 14 for place in range(count)])

    found = evaluate_drops(runtime, data, Middle(0.5), half_life=np.inf)
    by_policy = {score.policy: score for score in found.scores}
    assert by_policy["reset"].accuracy == by_policy["hold"].accuracy == 1
    assert by_policy["skip"].accuracy == 0
    assert by_policy["reset"].running == 0.5


def test_drops_have_their_share_and_their_length() -> None:
    alone = Drops(0.3, seed=1).of(0, 100_000, 8)
    assert alone.mean() == pytest.approx(0.3, abs=0.01)
    for length in (0.5, 2.0):
        gaps = Drops(0.3, length, seed=1).of(0, 200_000, 8)
        runs = [len([*run]) for dropped, run in groupby(gaps) if dropped]
        assert gaps.mean() == pytest.approx(0.3, abs=0.02)
        assert np.mean(runs) / 8 == pytest.approx(length, rel=0.05)
    assert Drops(0.9, 1e-9).of(0, 100_000, 8).mean() == pytest.approx(0.9, abs=0.01)
    again, other = Drops(0.3, seed=1).of(0, 100_000, 8), Drops(0.3, seed=2).of(0, 100_000, 8)
    assert (again == alone).all()
    assert (other != alone).any()
    assert (Drops(0.3, seed=1).of(1, 100_000, 8) != alone).any()
    assert not any(Drops(0.99, seed=n).of(0, 3, 8)[0] for n in range(20))


def test_several_labels_are_counted_as_such(tmp_path: Path) -> None:
    data = make_data(
        tmp_path, {"a": ((0, 2), [RED, RED, BLUE, BLUE] * 3), "b": ((1,), [GREEN] * 9)}
    )
    data = dataclasses.replace(data, multi_label=True)
    runtime = ColourRuntime(model_info(multi_label=True))
    found = evaluate_drops(runtime, data, Drops(0.5), half_life=np.inf)
    assert found.multi_label
    assert found.scores[0].accuracy == 1
    assert "map" in found.to_json()["policies"][0]
    json.dumps(found.to_json(), allow_nan=False)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_text("no video")
    bad = Sample("x", VideoFile(tmp_path / "x.mp4"), (0,))
    with pytest.raises(VideoError, match="not one of 1 samples"):
        evaluate_drops(ColourRuntime(), DataSet("d", (bad,), COLOURS), Drops(0.5), half_life=np.inf)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--drop", "1"], "share between 0 and 1"),
        (["--drop", "nan"], "share between 0 and 1"),
        (["--drop", "0.3", "--drop-gap", "0"], "seconds above 0"),
        (["--drop-gap", "2"], "--drop-gap is of --drop"),
        (["--drop", "0.3", "--control", "shuffled"], "its own table"),
    ],
)
def test_what_is_not_possible_is_said(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(build_app(), ["eval", "--data", "none", *arguments])
    assert result.exit_code != 0
    assert message in (result.stderr or str(result.exception))


def test_base_models_have_no_gaps(tmp_path: Path) -> None:
    data = make_data(tmp_path, {"a": ((0,), [RED])})
    with pytest.raises(ConfigError, match="not a stream model"):
        evaluate_drops(ColourRuntime(model_info(streaming=False)), data, Drops(0.5))


def test_the_command_prints_a_table(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(f"path,label\n{CLIP},turning right\n")
    arguments = ["eval", "--data", str(tmp_path / "list.csv"), "--drop", "0.4"]
    result = CliRunner().invoke(build_app(), arguments)
    assert result.exit_code == 0, result.stderr
    for word in ("nothing dropped", *GAP_POLICIES, "half-life 5 s"):
        assert word in result.stdout
    result = CliRunner().invoke(build_app(), [*arguments, "--json"])
    assert len(json.loads(result.stdout)["policies"]) == 5
