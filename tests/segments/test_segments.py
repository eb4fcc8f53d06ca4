"""Segments of recordings, read back by the tools that they are for."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pysubs2
import pytest
import webvtt
from pympi.Elan import Eaf
from typer.testing import CliRunner

import movinet
from movinet.cli import build_app
from movinet.errors import ConfigError
from movinet.events import Event, Rule, Rules
from movinet.live import watch
from movinet.segments import SEGMENT_FORMATS, Segments, find_segments, write_segments

CLIP = Path(movinet.__file__).parent / "demo" / "clip.mp4"
#: Names that break formats: quotes, markup, separators, other scripts.
LABELS = ("plain", 'a "b", <c> & d;=#\\', "日本語 --> x", "=1+1")
EVENTS = (
    Event("0-1000", LABELS[0], 1.0, 2.5, 0.99, 2.0, 0.9),
    Event("1-2000", LABELS[1], 2.0, 3723.25, 0.8, 2.5, 0.7),
    Event("2-3723500", LABELS[2], 3723.5, 3724.0, 0.7, 3723.5, 0.6),
    Event("3-3724000", LABELS[3], 3724.0, 3724.125, 0.7, 3724.0, 0.6),
)


def made() -> Segments:
    return Segments(Path("some video.mp4"), 3725.0, 640, 360, 25.0, "model", LABELS, EVENTS)


@pytest.fixture
def written(tmp_path: Path) -> Any:
    def write(name: str) -> Path:
        path = tmp_path / f"x{SEGMENT_FORMATS[name].suffix}"
        write_segments(made(), path, name)
        return path

    return write


def spans(events: tuple[Event, ...] = EVENTS) -> list[tuple[float, float]]:
    return [(event.start, event.end) for event in events]


def test_elan_reads_its_file(written: Any) -> None:
    eaf = Eaf(str(written("elan")))
    for event in EVENTS:
        ((start, end, value),) = eaf.get_annotation_data_for_tier(event.label)
        assert (start / 1000, end / 1000, value) == (event.start, event.end, event.label)
    assert eaf.get_linked_files()[0]["RELATIVE_MEDIA_URL"] == "./some video.mp4"


def test_subtitles_are_read(written: Any) -> None:
    captions = webvtt.read(str(written("vtt")))
    assert [caption.start for caption in captions][1:3] == ["00:00:02.000", "01:02:03.500"]
    assert [caption.end for caption in captions][0:2] == ["00:00:02.500", "01:02:03.250"]
    for name in ("vtt", "srt"):
        lines = pysubs2.load(str(written(name)), encoding="utf-8")
        assert [(line.start / 1000, line.end / 1000) for line in lines] == spans()
        assert lines[0].text.startswith("plain")
    srt = written("srt").read_text(encoding="utf-8")
    assert LABELS[1] in srt


def test_chapters_are_read_by_ffmpeg(written: Any) -> None:
    with av.open(str(written("chapters")), format="ffmetadata") as container:
        chapters = container.chapters()
    assert [chapter["metadata"]["title"].rstrip() for chapter in chapters] == [*LABELS]
    times = [
        (c["start"] * float(c["time_base"] or 0), c["end"] * float(c["time_base"] or 0))
        for c in chapters
    ]
    # One ends where the next begins.
    assert times == [(1, 2), (2, 3723.25), (3723.5, 3724), (3724, 3724.125)]


def test_tables_are_read(written: Any) -> None:
    with written("csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == [*LABELS]
    assert [(float(row["start"]), float(row["end"])) for row in rows] == spans()
    with written("ava").open(newline="", encoding="utf-8") as file:
        ava = list(csv.reader(file))
    assert ava[0] == ["some video", "1", "0", "0", "1", "1", "1", "0.9900"]
    assert {int(row[6]) for row in ava} == {1, 2, 3, 4}
    assert sum(row[6] == "2" for row in ava) == 3721


def test_json_formats_hold_what_their_tools_read(written: Any) -> None:
    own = json.loads(written("json").read_text(encoding="utf-8"))
    assert [(e["label"], e["start"], e["end"]) for e in own["events"]] == [
        (e.label, e.start, e.end) for e in EVENTS
    ]
    activitynet = json.loads(written("activitynet").read_text(encoding="utf-8"))
    found = activitynet["results"]["some video"]
    assert [tuple(one["segment"]) for one in found] == spans()
    (task,) = json.loads(written("label-studio").read_text(encoding="utf-8"))
    (prediction,) = task["predictions"]
    first = prediction["result"][0]["value"]
    assert first == {"ranges": [{"start": 26, "end": 62}], "timelinelabels": ["plain"]}
    via = json.loads(written("via").read_text(encoding="utf-8"))
    assert via["metadata"]["1_1"]["z"] == [2.0, 3723.25]
    assert via["attribute"]["1"]["options"][via["metadata"]["1_1"]["av"]["1"]] == LABELS[1]
    fiftyone = json.loads(written("fiftyone").read_text(encoding="utf-8"))
    assert fiftyone["classes"] == [*LABELS]
    assert fiftyone["labels"]["some video"][0]["support"] == [26, 62]


@pytest.mark.parametrize("name", SEGMENT_FORMATS)
def test_recordings_without_events_are_files_too(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_segments(dataclasses.replace(made(), events=()), path, name)
    assert path.exists()


def test_recordings_have_the_events_of_streams() -> None:
    rules = Rules(Rule(on=0.5, off=0.3, shortest=0.3, merge=0.3))
    segments = find_segments(CLIP, "motions", rules)
    changes = [change for result in watch(str(CLIP), rules=rules) for change in result.events]
    live = [change.event for change in changes if change.kind == "end"]
    assert [(e.id.rpartition("/")[2], e.label, e.start) for e in live] == [
        (e.id, e.label, e.start) for e in segments.events
    ]
    assert segments.events
    assert segments.duration == pytest.approx(2.375)
    assert (segments.width, segments.height) == (120, 160)


def test_the_command_writes_every_file(tmp_path: Path) -> None:
    outputs = [tmp_path / "a.eaf", tmp_path / "a.vtt", tmp_path / "a.csv"]
    options = [part for path in outputs for part in ("-o", str(path))]
    done = CliRunner().invoke(build_app(), ["segments", str(CLIP), *options])
    assert done.exit_code == 0, done.output
    assert "turning right" in done.stdout
    for path in outputs:
        assert "turning right" in path.read_text()
    several = ["segments", str(CLIP), str(tmp_path / "none.mp4"), "-o", str(tmp_path / "b.csv")]
    done = CliRunner().invoke(build_app(), several)
    assert done.exit_code == 1
    assert "none.mp4" in done.stderr
    assert (tmp_path / "b-clip.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "x.txt"], "segments end in one of .csv, .json"),
        (["-o", "x.csv", "--format", "guess"], "no format 'guess'; there are csv, json"),
        (["-o", "nowhere/x.csv"], "there is no folder nowhere"),
        (["-m", "a0_base"], "a0_base is not a stream model"),
        (["-o", str(CLIP), "--format", "csv"], "is a video to read"),
    ],
)
def test_what_is_wrong_is_one_line(arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(build_app(), ["segments", str(CLIP), *arguments])
    assert done.exit_code in (1, 2)
    assert message in done.stderr
    assert "Traceback" not in done.output


def test_formats_are_checked_in_python(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no format"):
        write_segments(made(), tmp_path / "x.csv", "guess")
    assert not [*tmp_path.iterdir()]
    assert np.isfinite(made().duration)
