"""Saved runs that are damaged or made up, and files that are none."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from resume_tools import RULES, made

from movinet.errors import CheckpointError, MovinetError
from movinet.live import Resume, watch
from movinet.live.sinks import Sinks
from saved_runs import edited


def go_on(path: Path, film_file: Path, runtime: Any) -> None:
    resume = Resume(path)
    Sinks([], resume=resume)
    watch([f"a={film_file}"], runtime, rules=RULES, resume=resume).close()


@pytest.fixture(scope="module")
def saved(film_file: Path, runtime: Any, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("saved")
    made(folder / "saved", film_file, runtime, 12, [str(folder / "out.jsonl")])
    return (folder / "saved").read_bytes()


TRACK = {"start": 0.0, "stop": None, "peak": 0.9, "peak_time": 0.0, "total": 1.0, "count": 0}
TRACK |= {"late_total": 0.0, "late_count": 0, "reported": None}


@pytest.mark.parametrize(
    "edit",
    [
        lambda s: s.update(of=3),
        lambda s: s.update(sources=[]),
        lambda s: s.update(sources=[3]),
        lambda s: s["sources"][0].update(seen=-1),
        lambda s: s["sources"][0].update(seen=True),
        lambda s: s["sources"][0].update(seen=2**70),
        lambda s: s["sources"][0].update(captured="x"),
        lambda s: s["sources"][0].update(captured=1e400),
        lambda s: s["sources"][0].update(captured=10**400),
        lambda s: s["sources"][0].update(probabilities=[1.0]),
        lambda s: s["sources"][0].update(detector=None),
        lambda s: s["sources"][0]["detector"].update(tracks={"0": {"start": "x"}}),
        lambda s: s["sources"][0]["detector"].update(tracks={"0": TRACK}),
        lambda s: s["sources"][0]["detector"].update(free={"77": 1.0}),
        lambda s: s["sources"][0].pop("ended"),
        lambda s: s["sinks"].update(clocks=3),
        lambda s: s["sinks"].update(open={"a": {"x": {}}}),
        lambda s: s["sinks"]["targets"][0].update(size=-1),
        lambda s: s["sinks"]["targets"][0].update(waiting=[["new", "a", {}, []]]),
        lambda s: s["sinks"]["targets"][0].update(waiting=[["result", "a", {}, []]]),
    ],
)
def test_damaged_states_are_one_line(
    edit: Any, saved: bytes, film_file: Path, runtime: Any, tmp_path: Path
) -> None:
    path = tmp_path / "saved"
    path.write_bytes(edited(saved, edit))
    with pytest.raises(MovinetError, match="saved") as caught:
        go_on(path, film_file, runtime)
    assert str(caught.value).isprintable()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_are_refused_or_read(
    data: st.DataObject, saved: bytes, film_file: Path, runtime: Any, tmp_path: Path
) -> None:
    (length,) = struct.unpack_from("<Q", saved)
    whole = bytearray(saved)
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, 8 + length))] = data.draw(st.integers(0, 255))
    path = tmp_path / "saved"
    path.write_bytes(whole)
    try:
        go_on(path, film_file, runtime)
    except MovinetError as error:
        assert str(error).isprintable()  # noqa: PT017


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(film_file: Path, runtime: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(MovinetError, match="not a regular file"):
        watch(str(film_file), runtime, resume=tmp_path / "pipe")


@pytest.mark.parametrize("content", [b"", b"x" * 100])
def test_other_files_are_not_touched(content: bytes, film_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "saved"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="nothing to resume from"):
        watch([f"a={film_file}"], resume=path)
    assert path.read_bytes() == content


def test_a_stream_is_no_run(film_file: Path, runtime: Any, tmp_path: Path) -> None:
    runtime.stream().save(tmp_path / "saved")
    with pytest.raises(CheckpointError, match=r"no file of --resume"):
        watch([f"a={film_file}"], runtime, resume=tmp_path / "saved")


def test_a_folder_that_is_missing_is_told_at_once(
    film_file: Path, runtime: Any, tmp_path: Path
) -> None:
    with pytest.raises(OSError, match="cannot be written"):
        watch([f"a={film_file}"], runtime, resume=tmp_path / "none" / "saved")
