"""benchmarks/streaming.py runs and says what it claims to measure."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def streaming(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("streaming")


def test_ratios_do_not_follow_a_machine_that_drifts(streaming: ModuleType) -> None:
    drift = np.array([[1.0, 1.0, 1.0], [4.0, 4.0, 4.0], [0.5, 0.5, 30.0]])
    times = {
        "invoke: reference": 2 * drift,
        "stream: reference": 4 * drift,
        "invoke: ours, tflite": 1 * drift,
        "step: ours, tflite": 1.25 * drift,
        "stream: ours, tflite": 1.5 * drift,
    }
    ratios = streaming.ratios(times)
    assert {label: row["median"] for label, row in ratios.items()} == {
        "invoke: ours, tflite / invoke: reference": 0.5,
        "step: ours, tflite / invoke: ours, tflite": 1.25,
        "stream: ours, tflite / stream: reference": 0.375,
        "stream: ours, tflite / step: ours, tflite": pytest.approx(1.2),
    }
    assert all(row["25 %"] == row["75 %"] for row in ratios.values())


@pytest.mark.heavy
def test_measures_ours_where_there_is_no_reference(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason="needs LiteRT")
    arguments = [
        "--models",
        "t0_stream",
        "--frames",
        "2",
        "--rounds",
        "3",
        "--endless",
        "5",
        "--json",
    ]
    plot = tmp_path / "plot.png"
    command = [sys.executable, BENCHMARKS / "streaming.py", *arguments]
    run = subprocess.run(
        [*command, "--exported", tmp_path / "ours", "--plot", plot],
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert run.returncode == 0, run.stderr
    assert "only ours was measured" in run.stderr
    report = json.loads(run.stdout)
    times = report["models"]["t0_stream"]["wall"]["ms"]
    assert list(times) == [f"{kind}: ours, tflite" for kind in ("invoke", "step", "stream")]
    assert all(0 < row["min"] <= row["median"] for row in times.values())
    assert [window["frame"] for window in report["endless"]["t0_stream"]] == [5]
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "ours" / "t0_stream.tflite").exists()


def test_says_which_reference_file_is_missing(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, BENCHMARKS / "streaming.py", "--reference", tmp_path],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert run.returncode == 2
    assert f"{tmp_path / 'a0.tflite'}: build_reference_tflite.py makes it" in run.stderr
