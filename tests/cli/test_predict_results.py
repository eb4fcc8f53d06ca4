"""`movinet predict -o`: files of results for other programs, and thinned JSON."""

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from fakes import gradient, write_video
from movinet.cli.prediction_results import COLUMNS, write_results

Run = Callable[..., Result]
FRAMES = gradient(20)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return list(csv.DictReader(file))


def test_a_table_has_a_row_for_each_class_of_each_prediction(
    run: Run, video: Path, tmp_path: Path
) -> None:
    second, output = write_video(tmp_path / "b.mkv", FRAMES[:3]), tmp_path / "out.csv"
    broken = tmp_path / "c.mkv"
    broken.write_bytes(b"nothing")
    call = (video, second, broken, "-m", "a0_stream", "-w", "x", "-k", "2")
    result = run(*call, "-o", output)
    assert result.exit_code == 1  # for the third video
    assert f"note: wrote {output}" in result.stderr
    found = rows(output)
    assert tuple(found[0]) == COLUMNS
    wanted = json.loads(run(*call, "--json").stdout)["results"]
    plain = [
        (one["path"], p["time"], rank, top["label"], top["probability"])
        for one in wanted
        for p in one["predictions"]
        for rank, top in enumerate(p["top"], start=1)
    ]
    told = [row for row in found if not row["error"]]
    assert [
        (r["path"], float(r["time"]), int(r["rank"]), r["label"], float(r["probability"]))
        for r in told
    ] == plain
    (failed,) = [row for row in found if row["error"]]
    assert (failed["path"], failed["error"]) == (str(broken), wanted[2]["error"])
    assert not list(tmp_path.glob(".*"))


def test_a_json_file_is_what_stdout_gets(run: Run, video: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.json"
    result = run(video, "-m", "a0_stream", "-w", "x", "--json", "-o", output)
    assert json.loads(output.read_text()) == json.loads(result.stdout)


@pytest.mark.parametrize(
    ("every", "times"), [("0.5", [0, 0.6, 1.0, 1.6, 1.8]), ("0", [i / 5 for i in range(10)])]
)
def test_every_thins_what_programs_get(
    run: Run, video: Path, tmp_path: Path, every: str, times: list[float]
) -> None:
    call = (video, "-m", "a0_stream", "--every", every)
    found = json.loads(run(*call, "--json").stdout)["results"][0]["predictions"]
    assert [prediction["time"] for prediction in found] == times
    run(*call, "-o", tmp_path / "out.csv", "-k", "1")
    assert [float(row["time"]) for row in rows(tmp_path / "out.csv")] == times


def test_cells_come_back_as_they_are(tmp_path: Path) -> None:
    label, path = '=1+1, "x"', os.fsdecode(b"-caf\xe9\n.mp4")
    one: dict[str, Any] = {"path": path, "error": None}
    one["predictions"] = [{"time": 0.2, "top": [{"label": label, "probability": 0.25}]}]
    failed = {"path": "@b.mp4", "predictions": [], "error": "+broken"}
    write_results(tmp_path / "out.csv", None, [one, failed])
    first, second = rows(tmp_path / "out.csv")
    assert (first["path"], first["label"], first["probability"]) == (path, label, "0.25")
    assert (second["path"], second["error"]) == ("@b.mp4", "+broken")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("out.txt", "the name must end in .csv, .json"),
        ("nowhere/out.csv", "there is no folder"),
        ("a.csv", "is a video to read"),
    ],
)
def test_what_cannot_be_written_is_told_before_any_work(
    run: Run, tmp_path: Path, loaded: list[Any], name: str, message: str
) -> None:
    write_video(tmp_path / "a.mkv", FRAMES[:3]).rename(tmp_path / "a.csv")
    result = run(tmp_path / "a.csv", "-m", "a0_stream", "-o", tmp_path / name)
    assert result.exit_code == 2
    assert message in result.stderr.replace("\n", " ")
    assert not loaded


def test_an_interrupted_run_keeps_what_is_done(
    run: Run, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from movinet.cli import predict

    output, done = tmp_path / "out.csv", predict._run

    def once(job: Any, *rest: Any) -> None:
        if job.path != video:
            raise KeyboardInterrupt
        done(job, *rest)

    monkeypatch.setattr(predict, "_run", once)
    second = write_video(tmp_path / "z.mkv", FRAMES[:3])
    result = run(video, second, "-m", "a0_stream", "-o", output, "-k", "1")
    assert result.exit_code == 130
    found = rows(output)
    assert len(found) == 11
    assert found[-1]["error"].endswith("interrupted")


def test_a_part_is_what_is_predicted(run: Run, video: Path) -> None:
    call = (video, "-m", "a0_stream", "--start", "0.6", "--end", "1.1", "--json")
    found = json.loads(run(*call).stdout)["results"][0]["predictions"]
    assert [prediction["time"] for prediction in found] == [0.6, 0.8, 1.0]
    result = run(video, "-m", "a0_stream", "--start", "2", "--end", "1")
    assert "error: end 1 must be after start 2" in result.stderr
