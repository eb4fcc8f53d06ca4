"""Names from outside in messages: nothing in them steers a terminal or forges a line of a log."""

from __future__ import annotations

import io
import logging
import tarfile
import warnings
from pathlib import Path

import pytest

import movinet
from movinet.data.sources import open_data
from movinet.errors import (
    CheckpointError,
    ConfigError,
    DownloadError,
    MissingExtraError,
    MovinetError,
    TrainingError,
    VideoError,
)
from movinet.files import replacing
from movinet.training.overrides import read_overrides

#: A bell, a colour, a new line with what looks like another message, and a turned direction.
HOSTILE = "a\x07\x1b[31m\nerror: all is lost\r\u202etxt.exe\u2028\x9b2J"


@pytest.mark.parametrize(
    "kind", [MovinetError, CheckpointError, ConfigError, DownloadError, TrainingError, VideoError]
)
def test_messages_are_one_printable_line(kind: type[MovinetError]) -> None:
    error = kind(f"{HOSTILE}: no good")
    assert str(error).isprintable()
    assert str(error) == r"a\x07\x1b[31m\nerror: all is lost\r\u202etxt.exe\u2028\x9b2J: no good"
    assert str(kind(str(error))) == str(error)  # escaped once, however often it is told on
    assert str(kind("größer, 大きい")) == "größer, 大きい"


def test_extras_too() -> None:
    error = MissingExtraError(HOSTILE, "onnx")
    assert str(error).isprintable()
    assert isinstance(error, ImportError)


def test_a_log_of_the_api_has_a_line_for_each_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w") as tar:
        for name in (f"c/{HOSTILE}.index", "c/b.index"):
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    rows = tmp_path / "rows.csv"
    rows.write_text("label,youtube_id,time_start,time_end,split\na,b,0,1,\u202etest\x07\n")
    for give in (
        lambda: movinet.read_tf_checkpoint(archive),
        lambda: open_data(rows),
        lambda: read_overrides([f"{HOSTILE}=3"]),
        lambda: movinet.load(f"{HOSTILE}.tflite"),
        lambda: list(movinet.predict(tmp_path / f"{HOSTILE}.mp4", "motions")),
    ):
        with pytest.raises(MovinetError) as caught:
            give()
        logging.getLogger("user").error("%s", caught.value)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 5
    assert all(line.isprintable() for line in lines)


def test_what_cannot_be_written_is_named_in_one_line(tmp_path: Path) -> None:
    with (
        pytest.raises(OSError, match="cannot be written") as caught,
        replacing(tmp_path / "nowhere" / f"{HOSTILE[:4]}.onnx") as temporary,
    ):
        temporary.write_text("x")
    assert str(caught.value).isprintable()


def test_warnings_are_one_line(tmp_path: Path) -> None:
    clip = Path(movinet.__file__).parent / "demo" / "clip.mp4"
    loose = tmp_path / "data\x1b[31m"
    (loose / "class").mkdir(parents=True)
    for path in (loose / "class" / "a.mp4", loose / "loose\nerror.mp4"):
        path.write_bytes(clip.read_bytes())
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        open_data(loose)
    (warning,) = told
    assert "in no folder of a class" in str(warning.message)
    assert str(warning.message).isprintable()
