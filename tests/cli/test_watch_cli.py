"""`movinet watch` as a user sees it."""

from __future__ import annotations

import csv
import io
import json
import re
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

import movinet
from hub_tflite import write_hub
from movinet.cli import build_app
from movinet.cli.watch_view import live_view
from movinet.live import watch
from networks import make_model, tiny_stream

CLIP = Path(movinet.__file__).parent / "demo" / "clip.mp4"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(build_app(), ["watch", *arguments])


def test_a_pipe_gets_a_line_for_each_event() -> None:
    done = run(f"door={CLIP}")
    assert done.exit_code == 0, done.output
    begins, ended = done.stdout.splitlines()
    assert re.fullmatch(r"begins  door  turning right  from 0:00:0\d\.\d, peak \d+%", begins)
    assert re.match(r"ended   door  turning right  0:00:0\d\.\d to 0:00:0\d\.\d, ", ended)
    assert "note: door: connected" in done.stderr
    assert "note: door: ended" in done.stderr


def test_json_has_a_line_for_each_result() -> None:
    done = run(f"door={CLIP}", "--json", "--half-life", "inf", "-k", "2")
    *lines, last = [json.loads(line) for line in done.stdout.splitlines()]
    expected = list(movinet.predict(CLIP, "motions"))
    assert [line["time"] for line in lines] == [round(p.time, 6) for p in expected]
    for line, prediction in zip(lines, expected, strict=True):
        assert [(one["label"], one["probability"]) for one in line["top"]] == prediction.top(2)
        assert line["captured"] <= line["finished"]
    assert last["ended"]
    kinds = [event["kind"] for line in (*lines, last) for event in line["events"]]
    assert (kinds[0], kinds[-1]) == ("new", "end")


def test_rules_decide_about_events(tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text("only_listed = true\n[classes.still]\non = 0.5\nshortest = 0.2\n")
    done = run(str(CLIP), "--events", str(rules))
    assert "still" in done.stdout
    assert "turning right" not in done.stdout
    assert run(str(CLIP), "--on", "0.999999").stdout == ""


def test_a_terminal_gets_one_view(capsys: pytest.CaptureFixture[str]) -> None:
    with live_view({}, 2) as view:
        for result in watch([f"door={CLIP}", f"yard={CLIP}"]):
            view(result)
    shown = capsys.readouterr().out
    for text in ("door", "yard", "turning right", "98%"):
        assert text in shown


def test_a_terminal_that_stands_still_holds_up_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-S, or a connection that was lost."""
    goes_on, stands = threading.Event(), threading.Event()

    class Terminal(io.StringIO):
        def write(self, text: str) -> int:
            stands.set()
            goes_on.wait(20)
            return super().write(text)

        def isatty(self) -> bool:
            return True

    terminal = Console(file=Terminal(), force_terminal=True)
    monkeypatch.setattr("movinet.cli.watch_view.out", lambda: terminal)
    monkeypatch.setattr("movinet.cli.watch_view._PATIENCE", 0.1)
    try:
        began = time.monotonic()
        with live_view({}, 2) as view:
            results = list(watch(str(CLIP), seconds=0.5))
            assert stands.wait(5)
            for result in results:
                view(result)
        assert time.monotonic() - began < 4
    finally:
        goes_on.set()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["none.mp4"], 1, "error: none.mp4: no such file"),
        (["ftp://u:s3cret@host"], 2, "no source has this protocol"),
        ([str(CLIP), "-m", "a0_base"], 2, "a0_base is not a stream model"),
        ([str(CLIP), "--half-life", "0"], 2, "--half-life must be a positive number"),
        ([str(CLIP), "--half-life", "soon"], 2, "--half-life must be a positive number"),
        ([str(CLIP), "--gap", "guess"], 2, "gap must be one of fade, hold, skip, reset"),
        ([str(CLIP), "--on", "2"], 2, "on and off must be probabilities"),
        ([str(CLIP), "--events", "none.toml"], 2, "none.toml: cannot be read"),
        ([str(CLIP), "--for", "0"], 2, "seconds must be a positive number"),
        ([str(CLIP), "--to", "http://u:s3cret@/x"], 2, "it is not a URL with a host"),
        ([str(CLIP), "--clips", "."], 2, "clips are of live sources"),
        ([str(CLIP), "--to", "out.txt"], 2, "expected a file with the suffix .jsonl, .csv"),
        ([str(CLIP), "--to", "/dev/null/x.csv"], 2, "there is no such folder"),
    ],
)
def test_what_is_wrong_is_one_line(arguments: list[str], code: int, message: str) -> None:
    done = run(*arguments)
    assert done.exit_code == code
    assert message in done.stderr
    assert "s3cret" not in done.output


def test_a_source_that_is_down_is_tried_until_the_time_is_up() -> None:
    done = run("cam=http://me:s3cret@127.0.0.1:9/x", "--for", "1.5")
    assert done.exit_code == 1  # nothing was seen of it
    assert "error" not in done.stderr  # but it may come yet
    assert done.stderr.count("trying again") == 1  # said once, not at every try
    assert "s3cret" not in done.output


def test_targets_get_the_events_that_are_shown(tmp_path: Path) -> None:
    out, subtitles = tmp_path / "out.csv", tmp_path / "out.srt"
    started = time.time()
    done = run(f"door={CLIP}", "--to", str(out), "--to", str(subtitles))
    assert done.exit_code == 0, done.output
    with out.open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["source"], row["label"]) == ("door", "turning right")
    shown = f"to 0:00:0{float(row['end']):.1f}"
    assert shown in done.stdout
    began = datetime.fromisoformat(row["started"]).timestamp() - float(row["start"])
    assert started < began < time.time()
    assert "-->" in subtitles.read_text()
    again = run(f"door={CLIP}", "--to", str(subtitles))
    assert again.exit_code == 2
    assert "it exists" in again.stderr


def test_an_event_that_lasts_when_time_is_up_ends(tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text("[default]\non = 0.01\noff = 0.001\nshortest = 0.2\n")
    out = tmp_path / "out.jsonl"
    done = run(f"door={CLIP}", "--events", str(rules), "--for", "1.5", "--to", str(out))
    assert done.exit_code == 0, done.output
    events = [json.loads(line) for line in out.read_text().splitlines() if '"event"' in line]
    new = {event["id"] for event in events if event["kind"] == "new"}
    assert new
    assert {event["id"] for event in events if event["kind"] == "end"} == new


def test_stdin_is_a_source() -> None:
    code = "from movinet.cli import main; main()"
    command = [sys.executable, "-c", code, "watch", "-", "--json"]
    done = subprocess.run(command, input=CLIP.read_bytes(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[-1]["ended"]
    assert {line["source"] for line in lines} == {"stdin"}
    assert lines[-1]["top"][0]["label"] == "turning right"


def test_an_empty_stdin_is_an_error() -> None:
    command = [sys.executable, "-m", "movinet", "watch", "-"]
    done = subprocess.run(command, input=b"", capture_output=True, check=False)
    assert done.returncode == 1
    assert b"error: stdin: cannot be opened" in done.stderr


def test_events_end_when_watching_does() -> None:
    done = run(str(CLIP), "--for", "1.8", "--on", "0.01", "--off", "0.001", "--json")
    kinds = [e["kind"] for line in done.stdout.splitlines() for e in json.loads(line)["events"]]
    assert kinds.count("new") == kinds.count("end") >= 1
    assert json.loads(done.stdout.splitlines()[-1])["ended"]


def test_events_end_on_ctrl_c() -> None:
    code = "from movinet.cli import main; main()"
    command = [sys.executable, "-c", code, "watch", str(CLIP), "--json", "--on", "0.5"]
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(json.loads(line))
            if any(event["kind"] == "new" for event in lines[-1]["events"]):
                process.send_signal(signal.SIGINT)
                break
        lines += [json.loads(line) for line in process.stdout]
        assert process.wait() == 130
    kinds = [event["kind"] for line in lines for event in line["events"]]
    assert kinds.count("new") == kinds.count("end")


def test_a_model_without_a_decay_is_watched_with_a_note(tmp_path: Path) -> None:
    path = tmp_path / "hub.tflite"
    write_hub(make_model(tiny_stream(se_type="2plus3d"), num_classes=5), path)
    done = run(str(CLIP), "-m", str(path), "--for", "0.5")
    assert done.exit_code == 0, done.output
    assert "has no decay: it remembers all frames" in done.stderr
    assert run(str(CLIP), "-m", str(path), "--half-life", "2").exit_code == 2
