"""`movinet predict`: what it prints, writes and asks of the loader."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.cells import cell_len
from typer.testing import CliRunner, Result

from fakes import (
    gradient,
    mean_logits,
    softmax,
    write_broken_video,
    write_video,
)
from movinet import __version__
from movinet.cli import build_app
from movinet.cli.prediction_table import bar, sparkline

Run = Callable[..., Result]
#: Red at first, blue later: the most probable class changes.
FRAMES = gradient(20)


def test_the_table_shows_the_last_prediction_best_first(run: Run, video: Path) -> None:
    result = run(video, "-m", "a0_stream", "-w", "some.ckpt", "-k", "2")
    assert result.exit_code == 0
    title, first, second, axis, *_ = result.stdout.splitlines()
    assert title == f"{video}  a0_stream, 10 frames seen"
    # The video is as blue as it was red in the end, so far: red leads by its first frames.
    red, _green, blue = softmax(mean_logits(FRAMES[::2]))
    assert first.split()[:3] == ["red", f"{100 * red:.0f}", "%"]
    assert second.split()[:3] == ["blue", f"{100 * blue:.0f}", "%"]
    assert axis.split() == ["0.0", "s", "1.8", "s"]


def test_what_was_most_probable_when(run: Run, tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mkv", [(255, 0, 0)] * 8 + [(0, 0, 255)] * 12)
    result = run(video, "-m", "a0_stream")
    lines = [line.split() for line in result.stdout.splitlines()]
    # Four red frames at 5 a second, then six blue ones: even after eight in all, which is at 1.4 s.
    start = lines.index(["most", "probable", "over", "time"])
    assert lines[start + 1][:6] == ["0.0", "to", "1.4", "s", "red,", "up"]
    assert lines[start + 2][:6] == ["1.6", "to", "1.8", "s", "blue,", "up"]


def test_every_shows_a_line_for_each_step_and_the_end(run: Run, video: Path) -> None:
    stdout = run(video, "-m", "a0_stream", "--every", "0.5").stdout
    times = [line.split()[0] for line in stdout.splitlines() if " s  red " in line]
    assert times == ["0.00", "0.60", "1.00", "1.60", "1.80"]
    stdout = run(video, "-m", "a0_stream", "--every", "0").stdout
    assert sum(" s  red " in line for line in stdout.splitlines()) == 10


def test_stderr_says_once_what_the_model_is(run: Run, video: Path, tmp_path: Path) -> None:
    second = write_video(tmp_path / "second.mkv", FRAMES[:3])
    result = run(video, second, "-w", "some.ckpt")
    assert result.stderr.count("origin of some.ckpt") == 1
    assert result.stderr.count("told by the file, 3 classes, 16x16 pixels at 5 frames") == 1
    assert result.stderr.count("note: mind the gap") == 1
    assert "random" not in result.stderr + result.stdout


def test_random_weights_are_said_plainly(run: Run, video: Path) -> None:
    result = run(video, "-m", "a0_stream")
    assert "warning: random weights: the predictions mean nothing" in result.stderr
    assert "a0_stream with random weights" in result.stdout.splitlines()[0]
    result = run(video, "-m", "a0_stream", "--json")
    assert json.loads(result.stdout)["model"]["random_weights"] is True


def test_json_has_every_prediction_and_nothing_else_is_on_stdout(run: Run, video: Path) -> None:
    result = run(video, "-m", "a0_stream", "-w", "x", "--json", "-k", "2")
    data = json.loads(result.stdout)
    assert data["model"] == {
        "name": "a0_stream",
        "origin": "origin of x",
        "random_weights": False,
        "streaming": True,
        "frame_rate": 5.0,
        "image_size": 16,
        "num_classes": 3,
        "multi_label": False,
        "notes": ["mind the gap"],
    }
    (one,) = data["results"]
    assert {key: one[key] for key in ("path", "model", "warnings", "error")} == {
        "path": str(video),
        "model": "a0_stream",
        "warnings": [],
        "error": None,
    }
    assert [p["time"] for p in one["predictions"]] == pytest.approx([i / 5 for i in range(10)])
    red, _, blue = softmax(mean_logits(FRAMES[::2]))
    (first, second) = one["predictions"][-1]["top"]
    assert first == {"label": "red", "probability": pytest.approx(red, abs=1e-5)}
    assert second == {"label": "blue", "probability": pytest.approx(blue, abs=1e-5)}


def test_a_bad_file_does_not_stop_the_rest(run: Run, video: Path, bad: Path) -> None:
    missing = bad.with_name("missing.mkv")
    result = run(bad, missing, video, "-m", "a0_stream")
    assert result.exit_code == 1
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2
    assert str(bad) in errors[0]
    assert str(missing) in errors[1]
    assert f"{video}  a0_stream" in result.stdout

    result = run(bad, missing, video, "-m", "a0_stream", "--json")
    assert result.exit_code == 1
    results = json.loads(result.stdout)["results"]
    assert [entry["path"] for entry in results] == [str(bad), str(missing), str(video)]
    assert [entry["error"] is None for entry in results] == [False, False, True]
    assert [len(entry["predictions"]) for entry in results] == [0, 0, 10]


def test_without_any_video_no_model_is_loaded(
    run: Run, tmp_path: Path, loaded: list[dict[str, Any]]
) -> None:
    (tmp_path / "empty").mkdir()
    result = run(tmp_path / "empty", "-m", "a0_stream", "--json")
    assert result.exit_code == 1
    assert loaded == []
    assert "no video in this folder" in result.stderr
    data = json.loads(result.stdout)
    assert data["model"] is None
    assert "no video" in data["results"][0]["error"]


def test_folders_are_searched_for_videos(run: Run, tmp_path: Path) -> None:
    for name in ("b2.mkv", "b10.mkv", "note.txt"):
        write_video(tmp_path / "b2.mkv", FRAMES[:2])
        (tmp_path / name).write_bytes((tmp_path / "b2.mkv").read_bytes())
    data = json.loads(run(tmp_path, tmp_path / "b2.mkv", "-m", "a0_stream", "--json").stdout)
    assert [Path(entry["path"]).name for entry in data["results"]] == ["b2.mkv", "b10.mkv"]


def test_skipped_packets_are_a_warning_with_their_times(run: Run, tmp_path: Path) -> None:
    video = write_broken_video(tmp_path / "broken.mkv", broken=9)
    result = run(video, "-m", "a0_stream", "--json")
    assert result.exit_code == 0
    assert f"warning: {video}: skipped 1 corrupted packet at 0.90 s" in result.stderr
    (warning,) = json.loads(result.stdout)["results"][0]["warnings"]
    assert warning.startswith("skipped 1 corrupted packet at 0.90 s")


def test_base_models_take_views_crops_stride_and_window(run: Run, video: Path) -> None:
    def predictions(*options: object) -> list[dict[str, Any]]:
        stdout = run(video, "-m", "a0_base", "--json", *options).stdout
        return json.loads(stdout)["results"][0]["predictions"]

    assert [p["time"] for p in predictions()] == pytest.approx([1.2])
    assert [p["time"] for p in predictions("--views", 2)] == pytest.approx([1.8])
    assert [p["time"] for p in predictions("--stride", 0.6)] == pytest.approx([0.6, 1.2, 1.8])
    assert [p["time"] for p in predictions("--window", 1.2)] == pytest.approx([1.4])
    title = run(video, "-m", "a0_base", "--views", 2, "--crops", 3).stdout.splitlines()[0]
    assert title.endswith("mean of 6 views")


def test_options_reach_the_loader(
    run: Run, video: Path, tmp_path: Path, loaded: list[dict[str, Any]]
) -> None:
    (tmp_path / "labels.txt").write_text("one\ntwo\nthree\n")
    result = run(
        video, "-m", "t0_stream", "-w", "w.ckpt", "-l", tmp_path / "labels.txt",
        "--head-activation", "swish", "--json",
    )  # fmt: skip
    assert loaded == [
        {
            "model": "t0_stream",
            "weights": "w.ckpt",
            "labels": ("one", "two", "three"),
            "head_activation": "swish",
            "manifest": None,
            "multi_label": None,
            "device": None,
        }
    ]
    top = json.loads(result.stdout)["results"][0]["predictions"][0]["top"]
    assert top[0]["label"] == "one"


def test_plot_and_render_are_written(run: Run, video: Path, tmp_path: Path) -> None:
    plot, out = tmp_path / "plot.png", tmp_path / "out.mp4"
    result = run(video, "-m", "a0_stream", "--plot", plot, "--render", out)
    assert result.exit_code == 0
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert out.read_bytes()[4:8] == b"ftyp"
    assert f"note: wrote {plot}" in result.stderr
    assert f"note: wrote {out}" in result.stderr


def test_with_several_videos_each_has_its_own_plot(run: Run, video: Path, tmp_path: Path) -> None:
    other = write_video(tmp_path / "other.mkv", FRAMES[:4])
    assert run(video, other, "-m", "a0_stream", "--plot", tmp_path / "p.svg").exit_code == 0
    assert "<!-- video.mkv -->" in (tmp_path / "p-video.svg").read_text()
    assert "<!-- other.mkv -->" in (tmp_path / "p-other.svg").read_text()
    assert not (tmp_path / "p.svg").exists()


def test_equal_names_are_told_apart_by_folder_and_then_by_number(
    run: Run, video: Path, tmp_path: Path
) -> None:
    for name in ("a/1.mkv", "b/1.mkv", "b/1.mov"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(video.read_bytes())
    out = tmp_path / "out"
    out.mkdir()
    paths = [tmp_path / "a", tmp_path / "b", video]
    assert run(*paths, "-m", "a0_stream", "--plot", out / "p.svg").exit_code == 0
    shown = {p.name: re.findall("<!-- (.*[.]m..) -->", p.read_text()) for p in out.iterdir()}
    assert shown == {
        "p-a-1.svg": ["1.mkv"],
        "p-b-1.svg": ["1.mkv"],
        "p-b-1-2.svg": ["1.mov"],
        "p-video.svg": ["video.mkv"],
    }


def test_wide_labels_stay_in_line(run: Run, video: Path, tmp_path: Path) -> None:
    labels = ("\u65e5\u672c\u8a9e", "\U0001f389 party", "\u65e5" * 40)
    (tmp_path / "labels.txt").write_text("\n".join(labels), "utf-8")
    stdout = run(video, "-m", "a0_stream", "-l", tmp_path / "labels.txt").stdout
    ends = {cell_len(line[: line.index(" %")]) for line in stdout.splitlines()[1:4]}
    assert ends == {2 + 43 + 2 + 4}  # 44 columns hold 21 characters of two and an ellipsis


def test_help_is_light_and_shows_examples() -> None:
    code = (
        "import sys; from movinet.cli import build_app; build_app();"
        "print([m for m in ('torch', 'av', 'matplotlib', 'numpy', 'PIL') if m in sys.modules])"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert process.stdout.strip() == "[]"
    result = CliRunner().invoke(build_app(), ["predict", "--help"])
    assert result.exit_code == 0
    example = "movinet predict video.mp4 --model a0_stream --weights kinetics-600"
    assert example in result.stdout
    assert "rounded to whole" in result.stdout
    assert example in CliRunner().invoke(build_app(), ["--help"]).stdout


def test_version() -> None:
    result = CliRunner().invoke(build_app(), ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"movinet {__version__}\n")


@pytest.mark.parametrize(
    ("values", "width", "expected"),
    [
        ([0.0, 0.5, 1.0], 3, "▁▅█"),
        ([0.0, 0.0, 1.0, 1.0], 2, "▁█"),  # averaged
        ([0.0, 1.0], 5, "▁▁██"),  # stretched
    ],
)
def test_sparkline(values: list[float], width: int, expected: str) -> None:
    assert sparkline(np.array(values), width) == expected


def test_bar() -> None:
    assert [bar(value, 4) for value in (0, 0.25, 0.28125, 1)] == ["", "█", "█▏", "████"]
    assert bar(0.5, 4, plain=True) == "##"
