"""A logged run is repeated bit for bit, whatever became of the stream, the process or the log."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import signal
import struct
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from replay_tools import CLIP, copy, crc, logged, pieces, whole
from servers import RATE, http_server, paced
from typer.testing import CliRunner

from movinet.cli import build_app
from movinet.errors import ConfigError
from movinet.live import LiveResult, Replay, RunLog, watch
from movinet.live.runlog import STEP, LogReader
from movinet.video import VideoReader
from real_material import real_video

FRAGMENTS = {"movflags": "frag_keyframe+empty_moov"}


def test_a_run_is_repeated_bit_for_bit(run: tuple[Path, list[LiveResult]], runtime: Any) -> None:
    path, found = run
    assert any(result.dropped for result in found)
    assert any(result.gap > 2 for result in found)  # a connection was lost
    assert any(result.events for result in found)
    assert len({result.source for result in found}) == 2
    replay = Replay(path, runtime)
    again = list(replay.results())
    assert replay.whole
    assert all(one.same for one in again)
    assert len(again) == len(found)
    for result, (repeated, _) in zip(found, again, strict=True):
        np.testing.assert_array_equal(result.probabilities, repeated.probabilities)
        assert result.to_json() == repeated.to_json()
        assert result.events == repeated.events
    assert b"secret" not in path.read_bytes()


@pytest.mark.parametrize("gap", ["hold", "reset"])
def test_gaps_are_repeated_by_the_policy_of_the_run(
    gap: Any, film: list[bytes], runtime: Any, tmp_path: Path
) -> None:
    found = logged(film, tmp_path / "log", runtime, 6, gap=gap, reset_after=0.2, half_life=1.0)
    again = list(Replay(tmp_path / "log", runtime).results())
    assert len(again) == len(found)
    assert all(one.same for one in again)


def test_pictures_out_of_order_are_those_of_the_run(runtime: Any, tmp_path: Path) -> None:
    """B-frames: packets and pictures come in different orders."""
    path = tmp_path / "film.ts"
    with av.open(path, "w") as container:
        stream: Any = container.add_stream("libx264", rate=RATE, options={"bf": "3", "g": "24"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        random = np.random.default_rng(5)
        for frame in VideoReader(CLIP, frame_rate=RATE):
            image = frame.image[:48, :64] // 2 + random.integers(0, 99, (48, 64, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    data = path.read_bytes()

    def serve(send: Callable[[bytes], None], _: int, stopped: threading.Event) -> None:
        paced([data[i : i + 4 * 188] for i in range(0, len(data), 4 * 188)], send, stopped, 200)

    with http_server(serve) as url:
        results = watch(url, runtime, log=tmp_path / "log")
        found = [next(results) for _ in range(6)]
        results.close()
    again = list(Replay(tmp_path / "log", runtime).results())
    assert [one.same for one in again] == [True] * len(found)


def sent(data: bytes, runtime: Any, log: Path, count: int, **options: Any) -> list[LiveResult]:
    """Results of a file that a server sends, again and again."""
    with http_server(lambda send, _, __: send(data), **options) as url:
        results = watch(url, runtime, log=log, seconds=20)
        found = list(itertools.islice(results, count))
        results.close()
    assert len(found) == count
    return found


@pytest.mark.parametrize("degrees", [90, 180])
def test_a_turned_video_is_turned_again(degrees: int, runtime: Any, tmp_path: Path) -> None:
    """The container says that it is turned, and no packet does."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4", options=FRAGMENTS) as container:
        stream: Any = container.add_stream("libx264", rate=RATE, options={"tune": "zerolatency"})
        stream.width, stream.height, stream.pix_fmt = 120, 160, "yuv420p"
        stream.set_display_rotation(degrees)
        for frame in VideoReader(CLIP, frame_rate=RATE):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.image, format="rgb24")))
        container.mux(stream.encode())
    found = sent(buffer.getvalue(), runtime, tmp_path / "log", 6, content_type="video/mp4")
    again = list(Replay(tmp_path / "log", runtime).results())
    assert [one.same for one in again] == [True] * len(found)
    log = (tmp_path / "log").read_bytes()
    assert log.count(b'"turn":[false,false,false]') == 0 < log.count(b'"turn":[')


def test_damage_is_repeated(film: list[bytes], runtime: Any, tmp_path: Path) -> None:
    """What a decoder makes of it depends on the pictures that somebody still has."""
    data = bytearray(b"".join(film))
    for at in range(15 * 188 + 90, len(data), 31 * 188):
        data[at : at + 60] = bytes(60)
    found = sent(bytes(data), runtime, tmp_path / "log", 12)
    again = list(Replay(tmp_path / "log", runtime).results())
    assert [one.same for one in again] == [True] * len(found)


@pytest.mark.parametrize("name", ["corrupted.mp4"])
def test_real_damage_is_repeated(name: str, runtime: Any, tmp_path: Path) -> None:
    data = real_video(name).read_bytes()
    found = sent(data, runtime, tmp_path / "log", 36, content_type="video/mp4")
    again = list(Replay(tmp_path / "log", runtime).results())
    assert [one.same for one in again] == [True] * len(found)


def test_a_difference_is_told(
    run: tuple[Path, list[LiveResult]], tmp_path: Path, runtime: Any
) -> None:
    """A decoder that gives another picture, and a model that gives other numbers."""
    data = bytearray(run[0].read_bytes())
    reader = LogReader(run[0])
    steps = [record for record in reader.records() if record.kind == STEP]
    reader.close()
    third = steps[2]
    body = bytes(data[third.start : third.start + third.size])
    values = json.loads(body)
    values["digest"] = values["digest"][::-1]
    body = json.dumps(values, separators=(",", ":")).encode()
    assert len(body) == third.size
    data[third.start : third.start + third.size] = body
    data[third.start - 4 : third.start] = struct.pack("<I", crc(STEP, third.source, body))
    path = copy(bytes(data), tmp_path)
    assert [one.same for one in Replay(path, runtime).results()].index(False) == 2
    done = CliRunner().invoke(build_app(), ["replay", str(path), "--json"])
    assert done.exit_code == 1
    told = json.loads(done.stdout.splitlines()[2])
    assert f"1 of {len(run[1])} results are not as logged" in " ".join(done.stderr.split())
    assert f"{told['time']:.3f} s" in " ".join(done.stderr.split())


def test_the_command_says_what_the_run_said(run: tuple[Path, list[LiveResult]]) -> None:
    done = CliRunner().invoke(build_app(), ["replay", str(run[0]), "--json", "-k", "2"])
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [json.dumps(result.to_json(2)) for result in run[1]]
    assert f"note: {len(run[1])} results, all as logged" in done.stderr
    lines = CliRunner().invoke(build_app(), ["replay", str(run[0])])
    began = sum(change.kind == "new" for result in run[1] for change in result.events)
    assert lines.stdout.count("begins") == began > 0


def test_a_killed_run_is_repeated_up_to_the_kill(film: list[bytes], tmp_path: Path) -> None:
    path = tmp_path / "log"

    def serve(send: Callable[[bytes], None], _: int, stopped: threading.Event) -> None:
        paced(film, send, stopped)

    with http_server(serve) as url:
        command = [sys.executable, "-m", "movinet", "watch", url, "--json", "--log", str(path)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline().decode() for _ in range(5)]
            time.sleep(0.1)
            process.send_signal(signal.SIGKILL)
    done = CliRunner().invoke(build_app(), ["replay", str(path), "--json"])
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[:5] == [line.strip() for line in lines]
    assert "the log ends before the run did" in " ".join(done.stderr.split())


def test_another_model_is_refused(
    run: tuple[Path, list[LiveResult]], tmp_path: Path, runtime: Any
) -> None:
    (kind, source, body), *rest = pieces(run[0])

    def saying(**values: str) -> Path:
        changed = json.dumps({**json.loads(body), **values}).encode()
        return copy(whole([(kind, source, changed), *rest]), tmp_path)

    done = CliRunner().invoke(build_app(), ["replay", str(saying(model="another"))])
    assert done.exit_code == 2
    assert "the log is of another, not of motions" in " ".join(done.stderr.split())
    assert not done.stdout
    # The bundled model does not state its weights; this one does.
    stated = types.SimpleNamespace(
        info=runtime.info,
        manifest=dataclasses.replace(runtime.manifest, weights_sha256="1" * 64),
        stream=runtime.stream,
    )
    with pytest.raises(ConfigError, match="the log is of weights 222222222222 of motions"):
        Replay(saying(weights_sha256="2" * 64), stated)  # pyright: ignore[reportArgumentType]
    path = saying(weights_sha256="1" * 64)
    same = Replay(path, stated).results()  # pyright: ignore[reportArgumentType]
    assert next(same).same
    same.close()


def test_what_cannot_be_logged_is_refused(tmp_path: Path, runtime: Any) -> None:
    with pytest.raises(ConfigError, match="logs are for cameras and network streams"):
        watch(str(CLIP), runtime, log=tmp_path / "log")
    with pytest.raises(ConfigError, match="a log records a run from its start"):
        watch("http://127.0.0.1:9/", runtime, log=tmp_path / "log", resume=tmp_path / "resume")
    assert not list(tmp_path.iterdir())
    (tmp_path / "log").write_bytes(b"something")
    with pytest.raises(ConfigError, match="the file exists"):
        watch("http://127.0.0.1:9/", runtime, log=tmp_path / "log")
    assert (tmp_path / "log").read_bytes() == b"something"


def test_a_log_of_full_size_ends_and_watching_goes_on(
    film: list[bytes], runtime: Any, tmp_path: Path
) -> None:
    said: list[str] = []
    path = tmp_path / "log"
    log = RunLog(path, most=60e3, say=lambda kind, line: said.append(f"{kind}: {line}"))
    found = logged(film, log, runtime, 12)
    assert len(found) >= 12
    assert said == [
        f"warning: {path}: the log ends here: it has reached its size limit; watching goes on"
    ]
    assert path.stat().st_size <= 60e3
    replay = Replay(path, runtime)
    again = list(replay.results())
    assert 0 < len(again) < len(found)
    assert all(one.same for one in again)
    assert not replay.whole


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_ends_the_log_and_nothing_else(
    film: list[bytes], runtime: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    log = RunLog(tmp_path / "log", say=lambda _, line: said.append(line))
    monkeypatch.setattr(Path, "open", lambda *_, **__: open("/dev/full", "wb", buffering=0))  # noqa: PTH123, SIM115
    found = logged(film, log, runtime, 3)
    assert len(found) >= 3
    assert len(said) == 1
    assert "No space left" in said[0]
