"""Files have a name, and appear whole or not at all, those that belong together at once."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import movinet
from movinet.errors import ConfigError
from movinet.files import replacing, replacing_folder
from movinet.prediction import Prediction
from networks import make_model, tiny_stream


def write(path: Path) -> None:
    path.write_text("graph")
    path.with_suffix(".bin").write_text("weights")


def test_files_that_belong_together_get_their_names(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_text("older")
    with replacing(tmp_path / "model.xml", (".bin",)) as temporary:
        write(temporary)
        assert (tmp_path / "model.bin").read_text() == "older"
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "model.xml": "graph",
        "model.bin": "weights",
    }


def test_nothing_is_left_of_work_that_failed(tmp_path: Path) -> None:
    def work() -> None:
        with replacing(tmp_path / "model.xml", (".bin",)) as temporary:
            write(temporary)
            raise ValueError("no good")

    with pytest.raises(ValueError, match="no good"):
        work()
    assert list(tmp_path.iterdir()) == []


def set_age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then), follow_symlinks=False)


def leftover(folder: Path, process: int, hours: float, name: str = "0123abcd.onnx") -> Path:
    path = folder / f".movinet-{process}-{name}"
    path.write_text("half")
    set_age(path, 3600 * hours)
    return path


def test_what_killed_processes_left_is_removed(tmp_path: Path) -> None:
    """And nothing of a process that runs, or may run elsewhere, or of anybody else."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    gone = [
        leftover(tmp_path, ended.pid, 2),
        leftover(tmp_path, ended.pid, 2, "0123abcd"),
        leftover(tmp_path, 10**30, 2),
        leftover(tmp_path, os.getpid(), 30),
    ]
    kept = [
        leftover(tmp_path, ended.pid, 0.1, "0123abcc.onnx"),
        leftover(tmp_path, os.getpid(), 2, "0123abce.onnx"),
        leftover(tmp_path, ended.pid, 2, "mine.onnx"),
        tmp_path / "model.onnx",
    ]
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x").write_text("x")
    link = tmp_path / f".movinet-{ended.pid}-0123abcf"
    link.symlink_to(outside)
    folder = tmp_path / f".movinet-{ended.pid}-0123abca"
    folder.mkdir()
    (folder / "000000.tar").write_text("half")
    set_age(folder, 3600 * 30)
    set_age(link, 3600 * 30)
    with replacing(tmp_path / "model.onnx") as temporary:
        temporary.write_text("new")
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in [*kept, outside]}
    assert (outside / "x").exists()
    assert not any(path.exists() for path in gone)


def test_an_export_that_is_killed_leaves_nothing_for_ever(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from movinet.files import replacing\n"
        f"with replacing(Path({str(tmp_path / 'model.onnx')!r})) as temporary:\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
    (left,) = tmp_path.iterdir()
    set_age(left, 7200)
    with replacing(tmp_path / "other.onnx") as temporary:
        temporary.write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["other.onnx"]


def fail_halfway(folder: Path, replace: bool) -> None:
    with replacing_folder(folder, replace=replace) as work:
        (work / "second").write_text("2")
        raise ZeroDivisionError


@pytest.mark.parametrize("replace", [False, True])
def test_a_folder_appears_whole_or_stays_as_it_was(tmp_path: Path, replace: bool) -> None:
    folder = tmp_path / "page"
    with replacing_folder(folder, replace=replace) as work:
        (work / "first").write_text("1")
        assert not folder.exists()
    with pytest.raises(ZeroDivisionError):
        fail_halfway(folder, replace)
    assert [path.name for path in folder.iterdir()] == ["first"]
    refused = pytest.raises(OSError, match="page: cannot be written")
    with (
        contextlib.nullcontext() if replace else refused,
        replacing_folder(folder, replace=replace),
    ):
        pass
    assert [path.name for path in folder.iterdir()] == ([] if replace else ["first"])
    assert [path.name for path in tmp_path.iterdir()] == ["page"]


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "model.xml"
    with (
        pytest.raises(OSError, match=r"model\.xml: cannot be written"),
        replacing(path) as temporary,
    ):
        write(temporary)


def plot(path: Any) -> None:
    half = np.full(2, 0.5, np.float32)
    movinet.plot_predictions([Prediction(Path("x.mp4"), 0.0, half, ("a", "b"))], path)


def save(path: Any) -> None:
    model = make_model(tiny_stream())
    spec = movinet.InputSpec(32, 36, 5.0, 4)
    movinet.save_weights(path, model.state_dict(), config=model.config, input_spec=spec)


@pytest.mark.parametrize(
    ("use", "suffix"),
    [
        (movinet.load, ".tflite"),
        (lambda path: movinet.load("x.onnx", manifest=path), ".json"),
        (lambda path: movinet.export(make_model(tiny_stream()), path), ".tflite"),
        (plot, ".png"),
        (save, ".safetensors"),
    ],
)
def test_a_name_that_no_file_has_is_one_line(
    use: Callable[[Any], object], suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.onnx").write_bytes(b"")
    for name in (f"a\0b{suffix}", Path(f"a\0/b{suffix}")):
        with pytest.raises(ConfigError, match="no file has a null character in its name") as caught:
            use(name)
        assert str(caught.value).startswith(r"'a\x00")
    for wrong in (5, b"a.tflite"):
        with pytest.raises(ConfigError, match=r"a path is a string or a Path, not (int|bytes)"):
            use(wrong)
    assert [path.name for path in tmp_path.iterdir()] == ["x.onnx"]
