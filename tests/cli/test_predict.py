from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from fakes import (
    ColourRuntime,
    ColourStream,
    gradient,
    mean_logits,
    model_info,
    softmax,
    write_broken_video,
    write_video,
)
from movinet import __version__
from movinet.cli import build_app
from movinet.cli.prediction_table import bar, sparkline
from movinet.errors import CheckpointError

Run = Callable[..., Result]
#: Red at first, blue later: the most probable class changes.
FRAMES = gradient(20)


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Replaces the loader by fakes; holds the arguments of each call."""
    calls: list[dict[str, Any]] = []

    def load(model: str | None, **options: Any) -> ColourRuntime:
        calls.append({"model": model, **options})
        name = model or "told by the file"
        return ColourRuntime(
            model_info(
                name=name,
                streaming="base" not in name,
                origin=f"origin of {options['weights']}",
                notes=("mind the gap",),
                **({"labels": options["labels"]} if options["labels"] else {}),
            )
        )

    monkeypatch.setattr("movinet.prediction.load_runtime", load)
    return calls


@pytest.fixture
def run(loaded: list[dict[str, Any]]) -> Run:
    del loaded  # whoever wants to see it asks for it

    def invoke(*arguments: object) -> Result:
        return CliRunner().invoke(
            build_app(), ["predict", *map(str, arguments)], env={"COLUMNS": "100"}
        )

    return invoke


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_video(tmp_path / "video.mkv", FRAMES)


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    path = tmp_path / "bad.mkv"
    path.write_text("no video")
    return path


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


def test_outputs_never_overwrite_each_other_or_an_input(
    run: Run, video: Path, tmp_path: Path, loaded: list[dict[str, Any]]
) -> None:
    same_name = tmp_path / "video.mp4"
    same_name.write_bytes(video.read_bytes())
    result = run(video, same_name, "-m", "a0_stream", "--plot", tmp_path / "p.png")
    assert result.exit_code == 2
    assert "also that of" in result.stderr
    before = same_name.read_bytes()
    result = run(same_name, "-m", "a0_stream", "--render", same_name)
    assert result.exit_code == 2
    assert "a video to read" in result.stderr
    assert same_name.read_bytes() == before
    assert loaded == []  # found out before any work


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

    monkeypatch.setattr("movinet.prediction.load_runtime", load)
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
    assert "pip install 'movinet[plot]'" in result.stderr
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


@pytest.mark.parametrize("count", [1, 20])  # less and more than a buffer holds
def test_a_reader_that_goes_away_is_no_traceback(tmp_path: Path, count: int) -> None:
    video = write_video(tmp_path / "video.mkv", FRAMES[:count])
    code = (
        "import sys, fakes, movinet.prediction, movinet.cli;"
        "movinet.prediction.load_runtime = lambda *_, **__: fakes.ColourRuntime();"
        "sys.argv = ['movinet', 'predict', sys.argv[1], '-m', 'x', '-w', 'y', '--json'];"
        "movinet.cli.main()"
    )
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.run(
        [sys.executable, "-c", code, str(video)],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "PYTHONUNBUFFERED": "",  # with a buffer, the interpreter writes once more at exit
        },
        check=False,
    )
    os.close(writing)
    assert process.returncode == 1
    assert all(line.startswith("note: ") for line in process.stderr.splitlines())


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
    assert "movinet predict video.mp4 --model a0_stream --weights kinetics-600" in result.stdout


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
