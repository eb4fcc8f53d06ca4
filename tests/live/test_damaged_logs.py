"""Logs of runs that are cut off, damaged or made up."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from replay_tools import HEAD, copy, pieces, whole

from movinet.errors import MovinetError
from movinet.live import LiveResult, Replay, runlog
from movinet.live.runlog import MAGIC, PACKET


def test_a_log_may_end_anywhere(
    run: tuple[Path, list[LiveResult]], tmp_path: Path, runtime: Any
) -> None:
    """As if the process had been killed while it wrote any byte."""
    data = run[0].read_bytes()
    counts = []
    for end in range(len(data) // 2, len(data), len(data) // 9):
        replay = Replay(copy(data[:end], tmp_path), runtime)
        again = list(replay.results())
        assert all(one.same for one in again)
        assert not replay.whole
        counts.append(len(again))
    assert counts == sorted(counts)
    assert counts[-1] > counts[0]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_damaged_logs_end_in_one_line(
    run: tuple[Path, list[LiveResult]], runtime: Any, tmp_path: Path, data: st.DataObject
) -> None:
    """Bytes that changed; and records that somebody has made up, with fitting checksums."""
    records = pieces(run[0])[:60]
    if data.draw(st.booleans()):
        raw = bytearray(whole(records))
        for _ in range(data.draw(st.integers(1, 4))):
            raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    else:
        for _ in range(data.draw(st.integers(1, 3))):
            place = data.draw(st.integers(0, len(records) - 1))
            records[place] = made_up(*records[place], data)
        raw = whole(records)
    said = ""
    try:
        for _ in Replay(copy(bytes(raw), tmp_path), runtime).results():
            pass
    except MovinetError as error:
        said = str(error)
    assert "\n" not in said
    assert len(said) < 600


_VALUES = st.sampled_from(
    [
        None,
        -1,
        0,
        1,
        2**31,
        2**53 - 1,
        2**70,
        1e308,
        float("nan"),
        "",
        "x",
        "wrapped_avframe",
        [],
        {},
    ]
)


def made_up(kind: int, source: int, body: bytes, data: st.DataObject) -> tuple[int, int, bytes]:
    if kind == PACKET:
        at = data.draw(st.integers(0, len(body)))
        body = body[:at] + data.draw(st.binary(max_size=40)) + body[at + 20 :]
    else:
        with contextlib.suppress(ValueError):  # a packet whose kind was changed
            values = json.loads(body)
            if values:
                values[data.draw(st.sampled_from(sorted(values)))] = data.draw(_VALUES)
            body = json.dumps(values).encode()
    kinds = st.one_of(st.just(kind), st.integers(0, 8))
    return data.draw(kinds), data.draw(st.sampled_from([source, 0, 1, 2, 65535])), body


def test_no_decoder_gets_bytes_that_it_takes_for_addresses(
    run: tuple[Path, list[LiveResult]], runtime: Any, tmp_path: Path
) -> None:
    records = [
        (kind, source, body.replace(b'"decoder":"h264"', b'"decoder":"wrapped_avframe"'))
        for kind, source, body in pieces(run[0])
    ]
    with pytest.raises(MovinetError, match="the log is damaged at byte"):
        list(Replay(copy(whole(records), tmp_path), runtime).results())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path, runtime: Any) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(MovinetError, match="not a regular file"):
            Replay(path, runtime)


def test_lengths_that_are_lies_take_no_memory(tmp_path: Path, runtime: Any) -> None:
    for size in (runlog.MAX_JSON, runlog.MAX_JSON + 1, 2**32 - 1):
        path = copy(MAGIC + HEAD.pack(size, 1, 0, 0) + b"{}", tmp_path)
        with pytest.raises(MovinetError, match=r"the log is empty|damaged at byte"):
            Replay(path, runtime)
    with pytest.raises(MovinetError, match="not a log"):
        Replay(copy(os.urandom(1000), tmp_path), runtime)
