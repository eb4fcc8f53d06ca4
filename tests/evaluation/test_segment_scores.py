"""Events against annotations: cases done by hand, and a matching that tries everything."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import movinet
from fakes import COLOURS, ColourRuntime, model_info, write_video
from movinet.cli import build_app
from movinet.data.samples import DataSet, Sample
from movinet.errors import ConfigError, VideoError
from movinet.evaluation import evaluate
from movinet.evaluation.segments import iou, matched, score_segments
from movinet.events import Rule, Rules
from movinet.segments import find_segments
from movinet.video import VideoFile

CLIP = Path(movinet.__file__).parent / "demo" / "clip.mp4"
RULES = Rules(Rule(on=0.5, off=0.4, shortest=0.25, merge=0.25))


@pytest.mark.parametrize(
    ("truths", "found", "pairs"),
    [
        ([], [], []),
        ([(0, 2)], [], []),
        ([(0, 2)], [(0, 2)], [(0, 0)]),
        ([(0, 2)], [(1, 2)], [(0, 0)]),  # just half
        ([(0, 2)], [(1.01, 2)], []),
        ([(0, 2)], [(2, 4)], []),
        ([(0, 2)], [(0, 2), (0, 2)], [(0, 0)]),  # the second is one too many
        ([(0, 2), (5, 6)], [(5, 6.5), (0, 3)], [(0, 1), (1, 0)]),
        ([(0, 10)], [(0, 6), (6, 10)], [(0, 0)]),  # in pieces
        ([(0, 3), (0, 2)], [(0, 2)], [(1, 0)]),  # the better one
    ],
)
def test_pairs_are_those_of_hand(truths: Any, found: Any, pairs: Any) -> None:
    assert sorted(matched(truths, found)) == pairs


SPANS = st.lists(st.tuples(st.integers(0, 12), st.integers(1, 8)), max_size=5).map(
    lambda drawn: [(float(start), float(start + length)) for start, length in drawn]
)


def best(truths: Any, found: Any) -> int:
    """The most pairs that fit, by trying all."""
    few, many, turned = truths, found, False
    if len(few) > len(many):
        few, many, turned = found, truths, True
    return max(
        sum(iou(*((b, a) if turned else (a, b))) >= 0.5 for a, b in zip(few, chosen, strict=True))
        for chosen in itertools.permutations(many, len(few))
    )


def apart(spans: Any) -> bool:
    return all(a[1] <= b[0] for a, b in itertools.pairwise(sorted(spans)))


@given(SPANS, SPANS)
def test_no_matching_is_better_where_spans_are_apart(truths: Any, found: Any) -> None:
    pairs = matched(truths, found)
    assert all(iou(truths[i], found[j]) >= 0.5 for i, j in pairs)
    assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)
    most = best(truths, found)
    assert most / 2 <= len(pairs) <= most
    # An event that two annotations fit half each may be given to the wrong one.
    if apart(truths) and apart(found) and not any(iou(a, b) == 0.5 for a in truths for b in found):
        assert len(pairs) == most


def data_of(path: Path, spans: Any, labels: tuple[str, ...]) -> DataSet:
    samples = tuple(
        Sample(str(n), VideoFile(path), (labels.index(label),), start, end)
        for n, (label, start, end) in enumerate(spans)
    )
    return DataSet("made", samples, labels)


def test_figures_are_those_of_the_same_events(tmp_path: Path) -> None:
    """Red, then blue; one annotation is late, two are of nothing."""
    red, blue = (255, 0, 0), (0, 0, 255)
    path = write_video(tmp_path / "a.mkv", [red] * 40 + [blue] * 80)
    runtime = ColourRuntime(model_info(frame_rate=5.0))
    events = find_segments(path, runtime, RULES, half_life=float("inf")).events
    assert [event.label for event in events] == ["red", "blue"]
    (a, b), (c, d) = ((event.start, event.end) for event in events)
    annotated = [("red", a, b), ("blue", c + 0.25, d), ("red", 11.0, 12.0), ("green", 0.0, 1.0)]
    scores = score_segments(
        runtime, data_of(path, annotated, COLOURS), RULES, half_life=float("inf")
    )
    assert (scores.videos, scores.annotated, scores.found, scores.matched) == (1, 4, 2, 2)
    assert scores.f1 == pytest.approx(2 * 2 / (4 + 2))
    assert scores.start_delay == pytest.approx((0 - 0.25) / 2)
    assert [one.f1 for one in scores.classes] == pytest.approx([2 / 3, 0.0, 1.0])
    found = scores.to_json()
    assert (found["precision"], found["recall"]) == (1.0, 0.5)
    json.dumps(found, allow_nan=False)


def test_annotations_without_times_are_left_out(tmp_path: Path) -> None:
    runtime = ColourRuntime()
    path = write_video(tmp_path / "a.mkv", [(255, 0, 0)] * 20)
    other = write_video(tmp_path / "b.mkv", [(255, 0, 0)] * 20)
    (tmp_path / "bad.mkv").write_text("no video")
    labels = COLOURS
    whole = Sample("w", VideoFile(other), (0,))
    part = Sample("p", VideoFile(other), (0,), 0.0, 1.0)
    bad = Sample("x", VideoFile(tmp_path / "bad.mkv"), (0,), 0.0, 1.0)
    good = data_of(path, [("red", 0.0, 2.0)], labels).samples
    data = DataSet("made", (*good, whole, part, bad), labels)
    scores = score_segments(runtime, data, half_life=float("inf"))
    assert (scores.videos, scores.left_out, scores.f1) == (1, 2, 1.0)
    with pytest.raises(ConfigError, match="have a start and an end"):
        score_segments(runtime, DataSet("made", (whole, part), labels))
    with pytest.raises(VideoError, match="not one recording can be read"):
        score_segments(runtime, DataSet("made", (bad,), labels), half_life=float("inf"))


def test_the_command_and_the_report_tell_them(tmp_path: Path) -> None:
    (event,) = find_segments(CLIP, "motions", RULES).events[:1]
    rows = f"path,label,start,end\n{CLIP},{event.label},{event.start + 0.125},{event.end}\n"
    (tmp_path / "list.csv").write_text(rows)
    rules = "[default]\non = 0.5\noff = 0.4\nshortest = 0.25\nmerge = 0.25\n"
    (tmp_path / "rules.toml").write_text(rules)
    arguments = ["eval", "--data", str(tmp_path / "list.csv"), "--segments"]
    arguments += ["--events", str(tmp_path / "rules.toml")]
    result = CliRunner().invoke(build_app(), [*arguments, "--json"])
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)["segments"]
    assert found["recall"] == 1
    assert found["start_delay"] == pytest.approx(-0.125)
    assert found["rules"] == RULES.to_json()
    report = tmp_path / "x.html"
    result = CliRunner().invoke(build_app(), [*arguments, "--report", str(report)])
    assert "segments, F1 at IoU 0.5" in result.stdout
    assert "-0.12 s" in result.stdout
    assert "segments, F1 at IoU 0.5" in report.read_text()


def test_what_does_not_go_together_is_said(tmp_path: Path) -> None:
    data = data_of(CLIP, [("red", 0.0, 1.0)], COLOURS)
    with pytest.raises(ConfigError, match="segments are of whole recordings"):
        evaluate(ColourRuntime(), data, segments=True, end=1.0)
    with pytest.raises(ConfigError, match="rules are of segments"):
        evaluate(ColourRuntime(), data, rules=RULES)
    result = CliRunner().invoke(
        build_app(), ["eval", "--data", str(tmp_path), "--events", "rules.toml"]
    )
    assert "--events is of --segments" in (result.stderr or str(result.exception))
    with pytest.raises(ConfigError, match="not a stream model"):
        evaluate(ColourRuntime(model_info(streaming=False)), data, segments=True)
