"""A `movinet predict` whose loader gives fake models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from fakes import (
    ColourRuntime,
    gradient,
    model_info,
    write_video,
)
from movinet.cli import build_app
from movinet.network.presets import list_models
from movinet.runtime.base import RANDOM

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
        random = name in list_models() and not options["weights"]
        return ColourRuntime(
            model_info(
                name=name,
                streaming="base" not in name,
                origin=RANDOM if random else f"origin of {options['weights']}",
                notes=("mind the gap",),
                **({"labels": options["labels"]} if options["labels"] else {}),
            )
        )

    monkeypatch.setattr("movinet.opening.open_model", load)
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
