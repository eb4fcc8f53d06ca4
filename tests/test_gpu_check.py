"""tools/gpu_check.py, tried on the CPU: it measures everything, and sees what is wrong."""

import copy
import importlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

TOOLS = Path(__file__).parent.parent / "tools"
SMALL = ["--device", "cpu", "--models", "t0_stream", "--checks"]


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(TOOLS))
    flags: list[Any] = [torch.backends.cuda.matmul, torch.backends.cudnn]
    before = [flag.allow_tf32 for flag in flags]
    yield importlib.import_module("gpu_check")
    for flag, value in zip(flags, before, strict=True):
        flag.allow_tf32 = value


def figures(content: dict[str, Any], check: str) -> dict[tuple[str, str], dict[str, Any]]:
    rows = [row for row in content["rows"] if row["check"] == check]
    return {(row["model"], row["what"]): row for row in rows}


def test_every_figure_is_measured_and_written(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "figures.json"
    checks = ["parity", "autocast", "streams"]
    assert tool.main([*SMALL, *checks, "--json", str(path)]) == 0
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["failures"] == 0
    assert content["machine"]["torch"] == torch.__version__
    parity = figures(content, "parity")
    assert parity.keys() == {
        ("t0_stream", f"{precision}, {what}")
        for precision in ("float32", "TF32")
        for what in ("clip", "frame by frame")
    }
    lower = figures(content, "autocast")
    assert all(0 < row["value"] <= row["limit"] for row in lower.values())
    coarse, fine = (lower["t0_stream", f"{dtype}, clip"] for dtype in ("bfloat16", "float16"))
    assert coarse["value"] > fine["value"]
    rates = figures(content, "streams")
    assert rates["t0_stream", "batch of 2, float32"]["unit"] == "frames/s"
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == f"{len(content['rows'])} figures, 0 failed"
    assert "FAILED" not in out


def test_a_device_that_computes_something_else_fails(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(model: nn.Module, device: torch.device) -> nn.Module:
        model = copy.deepcopy(model).to(device)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1 + 0.01 * torch.rand_like(parameter))
        return model

    monkeypatch.setattr(tool.measure, "_on", broken)
    assert tool.main([*SMALL, "parity", "training"]) == 1
    lines = capsys.readouterr().out.splitlines()
    failed = [line for line in lines if line.endswith("FAILED")]
    assert len([line for line in failed if "float32, " in line]) == 2
    assert [line for line in failed if "gradients" in line]
    assert [line for line in lines if "step of 2 x 2 frames, bfloat16" in line and "ms" in line]


def test_what_stops_a_check_fails_and_the_next_goes_on(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(_: Any) -> Any:
        raise RuntimeError("CUDA error: an illegal memory access\nand more lines")

    monkeypatch.setitem(tool.CHECKS, "parity", stop)
    assert tool.main([*SMALL, "parity", "streams"]) == 1
    out = capsys.readouterr().out
    assert "RuntimeError: CUDA error: an illegal memory access" in out
    assert "frames/s" in out
    assert out.splitlines()[-1].endswith(" 1 failed")


def test_a_figure_that_is_no_number_fails(tool: ModuleType) -> None:
    assert not tool.Row("parity", "a0_base", "clip", math.nan, limit=1.0).passed
    assert tool.Row("streams", "a0_stream", "batch of 1", 3.0).passed


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_it_says_so(tool: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert tool.main([]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("no CUDA GPU here: ")
    assert captured.err.count("\n") == 1


def test_a_port_that_is_not_there_is_refused(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        tool.main(["--device", "cpu", "--port", str(tmp_path)])
    assert "no checkout of MoViNet-pytorch" in capsys.readouterr().err


@pytest.mark.heavy
@pytest.mark.nightly
@pytest.mark.parametrize("check", ["processes", "compile"])
def test_the_long_checks(tool: ModuleType, check: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Processes of their own, and a compiler."""
    assert tool.main([*SMALL, check]) == 0
    out = capsys.readouterr().out
    assert ("weights after 3 steps, gloo on CPU" if check == "processes" else "logits") in out
