"""`movinet eval`: what it prints, writes and asks of the loader."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from fakes import write_video
from movinet.cli import build_app
from movinet.cli.eval import DEFAULT_MODEL

Run = Callable[..., Result]
RED, BLUE = (255, 0, 0), (0, 0, 255)


@pytest.fixture
def run_eval(loaded: list[dict[str, Any]]) -> Run:
    del loaded  # whoever wants to see it asks for it

    def invoke(*arguments: object) -> Result:
        return CliRunner().invoke(
            build_app(), ["eval", *map(str, arguments)], env={"COLUMNS": "120"}
        )

    return invoke


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder per class: a red one, a blue one that was red first, and one that is misplaced."""
    for name, colours in (
        ("red/plain", [RED] * 6),
        ("blue/turning", [RED] * 4 + [BLUE] * 10),
        ("green/really red", [RED] * 6),
    ):
        path = tmp_path / "data" / f"{name}.mkv"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, colours)
    return tmp_path / "data"


def test_the_table_tells_figures_classes_and_mistakes(run_eval: Run, folder: Path) -> None:
    result = run_eval("a0_stream", "-w", "some.ckpt", "--data", folder)
    assert result.exit_code == 0, result.output
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert lines[0] == f"a0_stream on 3 samples of {folder}"
    assert "top-1 66.7 %" in lines
    assert not [line for line in lines if line.startswith("top-5")]  # of three classes
    assert "seconds 0.2 0.4 0.6 1 1.2 1.4" in lines
    assert "accuracy, % 33.3 33.3 33.3 66.7 66.7 66.7" in lines
    assert "still running 3 3 3 1 1 1" in lines
    assert "red 1 50.0 100.0 66.7" in lines
    assert "green 1 - 0.0 0.0" in lines
    assert "green red 1" in lines
    assert "really red.mkv" in result.stdout
    assert "weights: origin of some.ckpt" in result.stderr
    assert "mind the gap" in result.stderr


def test_json_is_all_that_is_on_stdout(run_eval: Run, folder: Path) -> None:
    (folder / "red" / "bad.mp4").write_bytes(b"no video")
    result = run_eval("a0_stream", "-w", "some.ckpt", "--data", folder, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["top1"] == pytest.approx(2 / 3)
    assert found["top5"] == 1
    assert found["count"] == 3
    assert [item["name"] for item in found["skipped"]] == [str(folder / "red" / "bad.mp4")]
    assert f"warning: skipped: {folder / 'red' / 'bad.mp4'}: " in result.stderr


def test_what_is_left_out_is_told_in_one_line_each(
    run_eval: Run, folder: Path, tmp_path: Path
) -> None:
    write_video(folder / "loose.mkv", [RED] * 6)
    listed = tmp_path / "bad.txt"
    listed.write_text(f"{folder / 'green' / 'really red.mkv'}\tdamaged\tby hand\n")
    result = run_eval("-w", "some.ckpt", "--data", folder, "--exclude", listed, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["count"] == 2
    assert result.stderr.splitlines()[-2:] == [
        f"warning: {folder}: 1 video is in no folder of a class and left out, loose.mkv the first",
        "note: 1 of 3 samples are excluded",
    ]


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        ([], (DEFAULT_MODEL, None)),
        (["a0_stream"], ("a0_stream", None)),
        (["a0_stream", "-w", "kinetics-600"], ("a0_stream", "kinetics-600")),
        (["run/model.safetensors"], ("run/model.safetensors", None)),
        (["-w", "run/model.safetensors"], (None, "run/model.safetensors")),
    ],
)
def test_what_is_loaded(
    run_eval: Run,
    loaded: list[dict[str, Any]],
    folder: Path,
    arguments: list[str],
    asked: tuple[str | None, str | None],
) -> None:
    result = run_eval(*arguments, "--data", folder)
    assert result.exit_code == 0, result.output
    assert [(call["model"], call["weights"]) for call in loaded] == [asked]
    assert ("random weights" in result.stderr) == (asked == ("a0_stream", None))


def test_options_reach_the_evaluation(run_eval: Run, folder: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "some.csv"
    manifest.write_text("path,labels\nred/plain.mkv,red|green\nblue/turning.mkv,blue\n")
    result = run_eval(
        *("a0_base", "-w", "x.ckpt", "--data", manifest, "--root", folder, "--multi-label"),
        *("--views", 2, "--crops", 3, "--control", "shuffled", "--seed", 5, "--json"),
    )
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    keys = ("views", "crops", "control", "seed", "multi_label", "count")
    assert [found[key] for key in keys] == [2, 3, "shuffled", 5, True, 2]
    assert 0 <= found["map"] <= 1


def test_a_report_is_written(run_eval: Run, folder: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    result = run_eval("a0_stream", "-w", "x.ckpt", "--data", folder, "--report", report)
    assert result.exit_code == 0, result.output
    assert "Worst mistakes" in report.read_text("utf-8")
    assert f"wrote {report}" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["a0_stream"], 2, "give --data"),
        (["a0_stream", "--data", "{}/nothing"], 2, "no such file or folder"),
        (["a0_stream", "--data", "{}", "--views", "3"], 2, "is a stream model"),
        (["a0_base", "--data", "{}", "--crops", "2"], 2, "crops must be 1 or 3, not 2"),
        (["a0_stream", "--data", "{}", "--report", "{}/x.pdf"], 2, "must end in .html"),
        (["a0_stream", "--data", "{}", "--labels", "{}/none.txt"], 2, "there is no such file"),
    ],
)
def test_wrong_usage_is_one_line(
    run_eval: Run, folder: Path, arguments: list[str], code: int, message: str
) -> None:
    result = run_eval(*(argument.format(folder) for argument in arguments))
    assert result.exit_code == code
    assert not result.stdout
    errors = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert message in errors[0]


def test_nothing_that_can_be_read_fails(run_eval: Run, tmp_path: Path) -> None:
    path = tmp_path / "data" / "red" / "bad.mp4"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no video")
    result = run_eval("a0_stream", "-w", "x", "--data", tmp_path / "data", "--json")
    assert result.exit_code == 1
    assert not result.stdout
    assert "not one of 1 samples can be read" in result.stderr


def test_many_bad_files_are_told_in_a_few_lines(run_eval: Run, folder: Path) -> None:
    for i in range(14):
        (folder / "red" / f"bad{i}.mp4").write_bytes(b"no video")
    result = run_eval("a0_stream", "-w", "x", "--data", folder)
    assert result.exit_code == 0
    warnings = [line for line in result.stderr.splitlines() if line.startswith("warning:")]
    assert len(warnings) == 11
    assert "4 more" in warnings[-1]


def test_nothing_of_it_imports_torch() -> None:
    code = (
        "import sys, movinet.evaluation, movinet.evaluation.report, movinet.cli.eval, "
        "movinet.cli.evaluation_table; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
