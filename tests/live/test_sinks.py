"""Files and commands that get the results and events of live video."""

from __future__ import annotations

import csv
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from made_results import EPOCH, change, result

from movinet.errors import ConfigError
from movinet.live.sinks import Counts, Limits, Sinks
from movinet.live.sinks.files import JsonLines
from movinet.live.sinks.reports import Report, ReportQueue
from movinet.live.sinks.worker import Sink, TryAgainError, Worker


def report(kind: Any, number: int) -> Report:
    return Report(kind, "door", {"number": number})


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_a_full_queue_gives_up_results_then_updates_then_the_oldest() -> None:
    queue = ReportQueue(4)
    for number, kind in enumerate(
        ["new", "update", "result", "end", "new", "end", "update", "new"]
    ):
        queue.put(report(kind, number))
    assert queue.counts.dropped == {"result": 1, "update": 2, "new": 1}
    queue.close()
    left = []
    while (one := queue.get()) is not None:
        left.append((one.kind, one.values["number"]))
    assert left == [("end", 3), ("new", 4), ("end", 5), ("new", 7)]
    queue.put(report("new", 8))  # closed
    assert queue.counts.accepted == 9 == len(left) + sum(queue.counts.dropped.values())


class Stuck(Sink):
    """Takes nothing until it is let go."""

    name = "stuck"

    def __init__(self) -> None:
        self.go, self.seen = threading.Event(), []

    def open(self) -> None:
        pass

    def deliver(self, report: Report, seconds: float) -> None:  # noqa: ARG002
        self.go.wait(20)
        self.seen.append(report.values["number"])

    def finish(self, seconds: float) -> None:
        pass


def test_a_sink_that_hangs_costs_neither_time_nor_memory() -> None:
    sink = Stuck()
    worker = Worker(sink, Limits(room=50), lambda *_: None)
    began, worst = time.monotonic(), 0.0
    for number in range(20_000):
        before = time.perf_counter()
        worker.put(report("update" if number % 3 else "new", number))
        worst = max(worst, time.perf_counter() - before)
        assert worker.waiting <= 50
    assert time.monotonic() - began < 5
    assert worst < 0.5  # a busy machine, not the sink
    worker.close(time.monotonic() + 0.2)
    worker.join()
    assert time.monotonic() - began < 7
    counts = worker.counts
    assert counts.accepted == 20_000 == counts.delivered + sum(counts.dropped.values())
    sink.go.set()


class Flaky(Sink):
    """Takes a report at the second try, and remembers every try."""

    name = "flaky"

    def __init__(self) -> None:
        self.tries: list[int] = []

    def open(self) -> None:
        pass

    def deliver(self, report: Report, seconds: float) -> None:  # noqa: ARG002
        self.tries.append(report.values["number"])
        if len(self.tries) % 2:
            raise TryAgainError("not now")

    def finish(self, seconds: float) -> None:  # noqa: ARG002
        self.tries.append(-1)


def test_what_fails_is_tried_again_in_order() -> None:
    sink, said = Flaky(), []
    worker = Worker(sink, Limits(shortest=0.001), lambda *words: said.append(words))
    for number in range(3):
        worker.put(report("new", number))
    while worker.counts.delivered < 3:
        time.sleep(0.005)
    worker.close(time.monotonic() + 5)
    worker.join()
    assert sink.tries == [0, 0, 1, 1, 2, 2, -1]
    assert worker.counts == Counts(3, 3, {})
    assert said[0] == ("warning", "flaky: not now; trying again")
    assert said.count(said[0]) == 1  # not at every try
    assert said.count(("note", "flaky: works again")) == 3


def test_json_lines_have_results_and_events(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with Sinks([str(path)], top=1) as sinks:
        sinks.send(result(1.0))
        sinks.send(result(2.0, change("new", 1.5, 2.0)))
        deadline = time.monotonic() + 5
        while path.read_text().count("\n") != 3 and time.monotonic() < deadline:
            time.sleep(0.005)
        found = lines(path)  # there at once, not at the end
    assert [line["type"] for line in found] == ["result", "result", "event"]
    assert found[0]["top"] == [{"label": "still", "probability": pytest.approx(0.7)}]
    assert "events" not in found[0]
    assert (found[2]["kind"], found[2]["source"], found[2]["label"]) == ("new", "door", "falling")
    assert found[2]["started"] == EPOCH + 1.5
    assert sinks.counts == {str(path): Counts(4, 4, {})}

    # Another run goes on behind it; the line of one that was killed stays apart.
    with path.open("a") as file:
        file.write('{"half')
    with Sinks([str(path)]) as sinks:
        sinks.send(result(1.0))
    texts = path.read_text().splitlines()
    assert len(texts) == 6
    assert texts[4] == '{"half'
    assert json.loads(texts[5])["time"] == 1.0


def test_events_that_last_end_with_the_run(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with Sinks([str(path)]) as sinks:
        sinks.send(result(2.0, change("new", 1.0, 2.0), change("new", 1.0, 2.0, "waving")))
        sinks.send(result(3.0, change("end", 1.0, 2.5)))
        sinks.send(result(4.0))
    sinks.close()  # again: nothing happens
    sinks.send(result(5.0))
    assert sinks.counts[str(path)].dropped == {"result": 1}
    events = [line for line in lines(path) if line["type"] == "event"]
    assert [(e["kind"], e["label"]) for e in events[2:]] == [("end", "falling"), ("end", "waving")]
    assert "cut" not in events[2]
    assert events[3]["cut"]
    assert events[3]["end"] == 4.0


def test_a_table_has_the_events_that_ended(tmp_path: Path) -> None:
    path = tmp_path / "out.CSV"
    for _ in range(2):
        with Sinks([str(path)]) as sinks:
            sinks.send(result(3.0, change("new", 1.0, 2.0), change("end", 1.0, 2.5)))
            sinks.send(result(9.0, change("new", 5.0, 7.0, 'a "b",\nc'), source="yard"))
            sinks.send(result(9.5, change("end", 5.0, 8.0, 'a "b",\nc'), source="yard", ended=True))
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[:2] == rows[2:]
    assert rows[0] == {
        "source": "door",
        "id": "1-1000",
        "label": "falling",
        "start": "1.0",
        "end": "2.5",
        "peak": "0.9",
        "mean": "0.8",
        "started": "2001-09-09T01:46:41.000Z",
    }
    assert rows[1]["label"] == 'a "b",\\nc'
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ConfigError, match="it has other columns than events"), Sinks([str(path)]):
        pass
    assert path.read_text() == "a,b\n1,2\n"


@pytest.mark.parametrize("suffix", [".srt", ".vtt"])
def test_subtitles_are_in_order_and_safe(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    with Sinks([str(path)], sources=["door", "yard"]) as sinks:
        sinks.send(result(3.0, change("new", 1.0, 2.0)))
        sinks.send(result(5.0, change("new", 2.0, 3.0, "<b>x\n-->"), source="yard"))
        sinks.send(result(6.0, change("end", 2.0, 4.0, "<b>x\n-->"), source="yard"))
        sinks.send(result(7300.0, change("end", 1.0, 7261.5)))
    mark = "," if suffix == ".srt" else "."
    label = r"<b>x\n->" if suffix == ".srt" else r"&lt;b&gt;x\n-&gt;"
    expected = "" if suffix == ".srt" else "WEBVTT\n\n"
    expected += f"1\n00:00:01{mark}000 --> 02:01:01{mark}500\ndoor: falling (90%)\n\n"
    expected += f"2\n00:00:02{mark}000 --> 00:00:04{mark}000\nyard: {label} (90%)\n\n"
    assert path.read_text("utf-8") == expected
    assert os.listdir(tmp_path) == [path.name]  # noqa: PTH208
    with pytest.raises(ConfigError, match="it exists, and the times of its cues"):
        Sinks([str(path)])
    assert path.read_text("utf-8") == expected


def test_cues_of_one_source_do_not_name_it(tmp_path: Path) -> None:
    path = tmp_path / "out.vtt"
    with Sinks([str(path)], sources=["door"]) as sinks:
        sinks.send(result(3.0, change("new", 1.0, 1.0), change("end", 1.0, 1.0)))
    assert path.read_text() == "WEBVTT\n\n1\n00:00:01.000 --> 00:00:01.001\nfalling (90%)\n\n"


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, write, full = tmp_path / "out.jsonl", os.write, threading.Event()
    said: list[str] = []

    def little_room(file: int, data: bytes) -> int:
        if full.is_set() and data.startswith(b'{"type"'):
            return write(file, data[:10])  # some, and then nothing
        if full.is_set() and b'"door"' in data:
            raise OSError(28, "No space left on device")
        return write(file, data)

    limits = Limits(shortest=0.01)
    with Sinks([str(path)], limits=limits, say=lambda _, line: said.append(line)) as sinks:
        monkeypatch.setattr(os, "write", little_room)
        full.set()
        sinks.send(result(3.0, change("new", 1.0, 2.0)))
        deadline = time.monotonic() + 5
        while not said and time.monotonic() < deadline:
            time.sleep(0.005)
        assert path.read_bytes() == b""
        full.clear()
    assert [line["type"] for line in lines(path)][-1] == "event"
    assert said[0] == f"{path}: cannot be written (No space left on device); trying again"


def test_a_command_gets_each_event(tmp_path: Path) -> None:
    said: list[str] = []
    code = (
        "import sys, json, time; e = json.load(sys.stdin); open(sys.argv[1], 'a').write("
        "json.dumps(e) + chr(10)); print('s3cret'); "
        "sys.exit('it is late' if e['kind'] == 'end' else 0)"
    )
    target = f"exec:'{sys.executable}' -c \"{code}\" '{tmp_path / 'got'}'"
    with Sinks([target], say=lambda _, line: said.append(line)) as sinks:
        sinks.send(result(3.0, change("new", 1.0, 2.0)))
        sinks.send(result(4.0, change("update", 1.0, 3.0)))
        sinks.send(result(5.0, change("end", 1.0, 4.0)))
    assert [one["kind"] for one in lines(tmp_path / "got")] == ["new", "end"]
    (counts,) = sinks.counts.values()
    assert counts == Counts(2, 1, {"end": 1})
    name = f"exec:{Path(sys.executable).name}"
    assert said[0] == f"{name}: failed with exit code 1: it is late"


@pytest.mark.skipif(os.name != "posix", reason="children are ended by process group")
def test_a_command_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    target = f"exec:sh -c 'sleep 60 & echo $! > {tmp_path / 'child'}; yes >&2 & wait'"
    limits = Limits(closing=0.7)
    began = time.monotonic()
    with Sinks([target], limits=limits) as sinks:
        sinks.send(result(3.0, change("new", 1.0, 2.0)))
    assert time.monotonic() - began < 5
    child = int((tmp_path / "child").read_text())
    deadline = time.monotonic() + 5
    while _runs(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _runs(child)
    (counts,) = sinks.counts.values()
    assert counts.accepted == sum(counts.dropped.values()) == 2


def _runs(process: int) -> bool:
    """Whether it runs; one that has ended may wait for its parent."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("out.txt", "out.txt: expected a file with the suffix .jsonl, .csv, .srt or .vtt"),
        ("", "expected a file with the suffix"),
        ("none/out.csv", "none/out.csv: there is no such folder"),
        ("ftp://u:s3cret@host/x", r"ftp://\*\*\*: nothing is sent there"),
        ("http://u:s3cret@/x", r"http://\*\*\*: it is not a URL with a host"),
        ("http://u:s3cret@host:99999/x", r"http://\*\*\*: it is not a URL with a host"),
        ("http://host/s3cret x", r"http://\*\*\*: it is not a URL with a host; spaces are written"),
        ("exec:", "expected a command behind it"),
        ("exec:no-such-program --token s3cret", "exec:no-such-program: there is no such program"),
        ("exec:sh 's3cret", "exec: its quotation marks are not closed"),
    ],
)
def test_a_bad_target_is_one_line(
    target: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message) as caught:
        Sinks(["good.jsonl", target])
    assert "s3cret" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_target_is_named_once_and_is_a_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="it is named twice"):
        Sinks([f"{tmp_path}/a.csv", f"{tmp_path}/./a.csv"])
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ConfigError, match="it is no file"):
        Sinks([f"{tmp_path}/folder.csv"])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    sink = JsonLines(tmp_path / "pipe.jsonl")
    os.mkfifo(tmp_path / "pipe.jsonl")  # it came after the check
    with pytest.raises(ConfigError, match="it is no file"):
        sink.open()
