"""Files appear whole or not at all, those that belong together at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from movinet.files import replacing


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


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "model.xml"
    with (
        pytest.raises(OSError, match=r"model\.xml: cannot be written"),
        replacing(path) as temporary,
    ):
        write(temporary)
