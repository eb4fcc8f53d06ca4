"""`movinet predict`: bad files, wrong usage, interruptions, broken outputs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import xml.dom.minidom
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from fakes import (
    ColourStream,
    gradient,
    write_video,
)
from movinet.cli import build_app
from movinet.errors import CheckpointError

Run = Callable[..., Result]
#: Red at first, blue later: the most probable class changes.
FRAMES = gradient(20)


def test_outputs_never_overwrite_an_input(
    run: Run, video: Path, tmp_path: Path, loaded: list[dict[str, Any]]
) -> None:
    path = video.rename(tmp_path / "video.mp4")
    before = path.read_bytes()
    result = run(path, "-m", "a0_stream", "--render", path)
    assert result.exit_code == 2
    assert "a video to read" in result.stderr
    assert path.read_bytes() == before
    assert loaded == []  # found out before any work


@pytest.mark.parametrize(
    "error", [RuntimeError("a\nb"), MemoryError(), ValueError("bad"), KeyError()]
)
@pytest.mark.parametrize("as_json", [False, True])
def test_whatever_goes_wrong_with_a_video_the_others_go_on(
    run: Run,
    video: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    as_json: bool,
) -> None:
    bad = write_video(tmp_path / "bad.mkv", [(0, 255, 0)])
    call = ColourStream.__call__

    def fail_on_green(self: ColourStream, frame: np.ndarray) -> np.ndarray:
        if frame[0, 0, 1] == 255:
            raise error
        return call(self, frame)

    monkeypatch.setattr(ColourStream, "__call__", fail_on_green)
    result = run(bad, video, "-m", "a0_stream", *(["--json"] if as_json else []))
    assert result.exit_code == 1
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert line.startswith(f"error: {bad}: {type(error).__name__}")
    if as_json:
        entries = json.loads(result.stdout)["results"]
        assert [len(entry["predictions"]) for entry in entries] == [0, 10]
        assert line == f"error: {entries[0]['error']}"
    else:
        assert f"{video}  a0_stream" in result.stdout


def test_names_that_cannot_be_looked_at_do_not_stop_the_rest(run: Run, video: Path) -> None:
    names = ("n" * 300, "", "http://x/y.mp4", str(video))
    result = run(*names, "-m", "a0_stream", "--json")
    assert result.exit_code == 1
    entries = json.loads(result.stdout)["results"]
    assert [entry["path"] for entry in entries] == [*names]
    assert entries[0]["error"].startswith(f"{names[0]}: cannot be read")
    assert entries[1]["error"] == "an empty name is not a video"
    assert entries[2]["error"].startswith("http://x/y.mp4: no such file (only local files")
    assert entries[3]["error"] is None


@pytest.mark.parametrize("name", ["bad\udcff", "steers\x1b[31m", "breaks\n"])
def test_names_that_are_no_text_are_plotted(
    run: Run, video: Path, tmp_path: Path, name: str
) -> None:
    path = video.rename(tmp_path / f"{name}.mkv")
    result = run(path, "-m", "a0_stream", "--plot", tmp_path / "p.svg")
    assert result.exit_code == 0
    title = ascii(f"{name}.mkv")[1:-1]
    assert f"<!-- {title} -->" in (tmp_path / "p.svg").read_text()
    xml.dom.minidom.parse(str(tmp_path / "p.svg"))  # is XML


def test_missing_glyphs_are_one_note(
    run: Run, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("movinet.drawing.predictions._FALLBACK_FONTS", ())
    (tmp_path / "labels.txt").write_text("\U00013000\U00013001\ntwo\nthree\n", "utf-8")
    result = run(
        video, "-m", "a0_stream", "-l", tmp_path / "labels.txt", "--plot", tmp_path / "p.png"
    )
    assert result.exit_code == 0
    assert result.stderr.count("note: ") == 4  # the model, its own note, the font, what was written
    assert result.stderr.count("no installed font has all characters") == 1
    assert ".py" not in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give --model"),
        (["-m", "a0_stream", "--plot", "plot.jpg"], "must end in .png, .svg, .pdf"),
        (["-m", "a0_stream", "--render", "no/such/out.mp4"], "there is no folder"),
        (["-m", "a0_stream", "--views", "2"], "stream model"),
        (["-m", "a0_base", "--crops", "2"], "crops must be 1 or 3"),
        (["-m", "a0_base", "--stride", "-1"], "stride must be a positive number"),
        (["-m", "a0_stream", "--every", "-1"], "--every must be 0 or more"),
        (["-m", "a0_stream", "--every", "nan"], "--every must be 0 or more"),
        (["-m", "a0_stream", "--every", "inf"], "--every must be 0 or more"),
        (["-m", "a0_base", "--window", "1e9"], "window must be a positive number"),
        (["-m", "a0_base", "--views", "1001"], "views must be from 1 to 1000"),
        (["-m", "a0_stream", "--plot", "."], "must end in"),
        (["-m", "a0_stream", "--labels", "kinetics-60"], "kinetics-600"),
        (["-m", "a0_stream", "-k", "0"], "--top"),
        (["-m", "a0_stream", "--no-such-option"], "--no-such-option"),
    ],
)
def test_wrong_usage_exits_with_2(
    run: Run, video: Path, options: Sequence[str], message: str
) -> None:
    result = run(video, *options)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""


def test_weights_that_cannot_be_loaded_are_one_line(
    run: Run, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_args: object, **_kwargs: object) -> None:
        raise CheckpointError("w.ckpt: \x1b[31mtruncated")

    monkeypatch.setattr("movinet.opening.open_model", load)
    result = run(video, "-w", "w.ckpt")
    assert result.exit_code == 1
    assert result.stderr == "error: w.ckpt: \\x1b[31mtruncated\n"  # nothing steers the terminal


@pytest.mark.parametrize("option", ["--plot", "--render"])
def test_a_missing_extra_is_told_before_any_work(
    run: Run,
    video: Path,
    loaded: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    option: str,
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = run(video, "-m", "a0_stream", option, "x.png" if option == "--plot" else "x.gif")
    assert result.exit_code == 1
    assert "pip install -e '.[plot]' in " in result.stderr
    assert loaded == []


def test_ctrl_c_exits_quietly_and_leaves_nothing(
    run: Run, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_args: object) -> np.ndarray:
        raise KeyboardInterrupt

    monkeypatch.setattr(ColourStream, "__call__", interrupt)
    result = run(video, "-m", "a0_stream", "-w", "x", "--render", tmp_path / "out.mp4")
    assert result.exit_code == 130
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == [video]


def test_ctrl_c_keeps_the_json_of_what_is_done(
    run: Run, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = write_video(tmp_path / "slow.mkv", [(0, 255, 0)])
    call = ColourStream.__call__

    def interrupt(self: ColourStream, frame: np.ndarray) -> np.ndarray:
        if frame[0, 0, 1] == 255:
            raise KeyboardInterrupt
        return call(self, frame)

    monkeypatch.setattr(ColourStream, "__call__", interrupt)
    result = run(video, slow, bad := tmp_path / "never.mkv", "-m", "a0_stream", "--json")
    assert result.exit_code == 130
    assert str(bad) not in result.stdout
    first, second = json.loads(result.stdout)["results"]
    assert (first["error"], len(first["predictions"])) == (None, 10)
    assert (second["error"], second["predictions"]) == (f"{slow}: interrupted", [])


def run_main(
    *arguments: object, before: str = "", closed: bool = False, **options: Any
) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, with a fake model; `before` is code to run first."""
    code = (
        "import os, sys, fakes, movinet.prediction, movinet.cli\n"
        "movinet.opening.open_model = lambda *_, **__: fakes.ColourRuntime()\n"
        f"{before}\n"
        "sys.argv[0] = 'movinet'\n"
        "movinet.cli.main()"
    )
    shell = ["sh", "-c", 'exec "$@" >&-', "sh"] if closed else []
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PYTHONUNBUFFERED": "",  # with a buffer, the interpreter writes once more at exit
    }
    return subprocess.run(
        [*shell, sys.executable, "-c", code, *map(str, arguments)],
        **{"stdout": subprocess.PIPE, **options},
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        check=False,
    )


@pytest.mark.parametrize("count", [1, 20])  # less and more than a buffer holds
def test_a_reader_that_goes_away_is_no_traceback(tmp_path: Path, count: int) -> None:
    video = write_video(tmp_path / "video.mkv", FRAMES[:count])
    reading, writing = os.pipe()
    os.close(reading)
    process = run_main("predict", video, "-m", "x", "-w", "y", "--json", stdout=writing)
    os.close(writing)
    assert process.returncode == 1
    assert all(line.startswith("note: ") for line in process.stderr.splitlines())


def test_a_closed_output_is_no_traceback(video: Path) -> None:
    process = run_main("predict", video, "-m", "x", "-w", "y", closed=True)
    assert process.returncode == 0
    assert process.stderr.startswith("note: ")
    assert process.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["list"]])
def test_an_output_that_cannot_be_written_is_one_line(arguments: list[str]) -> None:
    with Path(os.devnull).open() as read_only:
        process = run_main(*arguments, stdout=read_only)
    assert process.returncode == 1
    assert process.stderr.startswith("error: ")
    assert process.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_request_to_end_leaves_nothing_behind(video: Path, tmp_path: Path, name: str) -> None:
    number = getattr(signal, name)
    process = run_main(
        "predict", video, "-m", "x", "-w", "y", "--render", tmp_path / "out.mp4",
        before="import movinet.drawing.video\n"
        f"movinet.drawing.video.Panel.at = lambda *_: os.kill(os.getpid(), {int(number)})",
    )  # fmt: skip
    assert process.returncode == 128 + number
    assert "Traceback" not in process.stderr
    assert list(tmp_path.iterdir()) == [video]


def test_a_misspelt_model_is_told_without_torch(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "movinet.torch_runtime", raising=False)
    result = CliRunner().invoke(build_app(), ["predict", str(video), "-m", "a0_streem"])
    assert result.exit_code == 2
    assert "no model 'a0_streem'; did you mean a0_stream?" in result.stderr
