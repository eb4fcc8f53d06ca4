"""Sinks of a run that goes on after a kill: what their files have been told is told once."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from made_results import change, result

from movinet.live.sinks import Sinks
from movinet.live.sinks.reports import Report
from movinet.live.sinks.targets import make_sinks


def report(kind: Any, start: float, end: float = 9.0) -> Report:
    values = {"source": "a", "kind": kind, "id": f"a/0-{start}", "label": "x", "start": start}
    values |= {"end": end, "peak": 0.9, "peak_time": 1.0, "mean": 0.8, "started": 5.0}
    return Report(kind, "a", values)


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv", "out.srt", "out.vtt"])
def test_files_tell_what_they_have_been_told(name: str, tmp_path: Path) -> None:
    """Whatever became of them since the state was saved: put in order, or a line cut off."""
    (first,) = make_sinks([str(tmp_path / name)], ["a"])
    first.open()
    first.deliver(report("end", 5.0), 1)
    size = first.size()
    assert size is not None
    first.deliver(report("end", 1.0), 1)
    first.finish(1)
    with (tmp_path / name).open("a") as file:
        file.write("3\n00:00")
    (again,) = make_sinks([str(tmp_path / name)], ["a"], [str(tmp_path / name)])
    again.open()
    told = again.told(size)
    assert again.key(report("end", 1.0)) in told
    assert again.key(report("end", 2.0)) not in told
    again.deliver(report("end", 2.0), 1)
    again.finish(1)
    assert again.key(report("end", 2.0)) in again.told(size)
    if name.endswith(("srt", "vtt")):
        cues = (tmp_path / name).read_text().split("\n\n")
        assert [cue.split("\n")[0] for cue in cues if "-->" in cue] == ["1", "2", "3"]


class Killed:
    """The state that the sinks of a killed run had, as `movinet.live.Resume` hands it on."""

    def __init__(self, state: dict[str, Any], path: Path) -> None:
        self.sinks, self.path = state, path

    def attach(self, *_: Any) -> None:
        pass

    def close(self) -> None:
        pass


def test_an_event_that_begins_again_keeps_its_time(tmp_path: Path) -> None:
    """Its beginning was told after the last snapshot; the stream is a minute later by the clock."""
    path = tmp_path / "out.jsonl"
    with Sinks([str(path)], sources=["door"]) as sinks:
        sinks.send(result(1.0))
        while not path.stat().st_size:
            pass
        state = sinks.state()
        state["targets"][0]["size"] = path.stat().st_size
        sinks.send(result(2.0, change("new", 1.5, 2.0)))
        sinks.send(result(2.5, change("new", 2.0, 2.5, "waving")))
        sinks._open.clear()  # killed: nothing is ended
    resume: Any = Killed(state, tmp_path / "saved")
    with Sinks([str(path)], sources=["door"], resume=resume) as sinks:
        for time, kind in ((2.0, "new"), (4.0, "end")):
            late = result(time, change(kind, 1.5, time))
            sinks.send(dataclasses.replace(late, captured=late.captured + 60))
    events = [json.loads(line) for line in path.read_text().splitlines()]
    found = [e for e in events if e["type"] == "event" and e["label"] == "falling"]
    assert [event["kind"] for event in found] == ["new", "end"]
    assert found[0]["started"] == found[1]["started"] == 1_000_000_001.5
