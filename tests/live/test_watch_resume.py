"""Watching that is killed with SIGKILL and goes on: nothing lost, nothing told twice."""

from __future__ import annotations

import dataclasses
import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from resume_tools import CLIP, HALF_LIFE, RULES, made
from servers import http_server, paced, transport_stream

from fakes import write_video
from movinet.errors import ConfigError
from movinet.events import Rules, find_events
from movinet.live import Resume, watch
from movinet.live.sinks import Sinks
from movinet.video import VideoReader

TOML = "[default]\non = 0.5\noff = 0.4\nshortest = 0.25\nmerge = 0.25\nupdate = 0.5\n"


def command(sources: list[str], folder: Path) -> list[str]:
    (folder / "rules.toml").write_text(TOML)
    options = ["--half-life", str(HALF_LIFE), "--events", str(folder / "rules.toml")]
    options += ["--to", str(folder / "out.jsonl"), "--to", str(folder / "out.vtt")]
    options += ["--to", str(folder / "out.csv"), "--timeout", "0.5"]
    options += ["--resume", str(folder / "saved"), "--resume-every", "0.3"]
    return [sys.executable, "-m", "movinet", "watch", *sources, "-m", "motions", *options]


def run_and_kill(arguments: list[str], folder: Path, after: float) -> bool:
    """Whether it was killed, so many seconds after its first new line; else it has ended."""
    out, end = folder / "out.jsonl", time.monotonic() + 60
    size = out.stat().st_size if out.exists() else 0
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        try:
            while process.poll() is None and time.monotonic() < end:
                if out.exists() and out.stat().st_size > size:
                    break
                time.sleep(0.02)
            try:
                process.wait(after)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                return True
        finally:
            process.kill()
        assert process.stderr is not None
        assert process.returncode == 0, process.stderr.read().decode()
    return False


def lines(folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Results and events; a line that a killed process did not finish is none."""
    found: tuple[list[Any], list[Any]] = ([], [])
    for line in (folder / "out.jsonl").read_text().splitlines():
        values = json.loads(line)
        found[values.pop("type") == "event"].append(values)
    return found


def check_broken_runs(film_file: Path, runtime: Any, folder: Path, moments: list[float]) -> bool:
    """Compare killed runs with one that goes through; False if the machine was too busy."""
    arguments = command([f"a={film_file}"], folder)
    for moment in moments:
        if not run_and_kill(arguments, folder, moment):
            break
    else:
        assert not run_and_kill(arguments, folder, 60)
    results, events = lines(folder)
    if any(result["dropped"] for result in results):
        return False
    stream = runtime.stream(half_life=HALF_LIFE)
    with VideoReader(film_file, frame_rate=8) as reader:
        frames = [(frame.time, stream(frame.image)) for frame in reader]
    *results, last = results
    assert last["ended"]
    assert [result["time"] for result in results] == [time for time, _ in frames]
    for result, (_, probabilities) in zip(results, frames, strict=True):
        best = result["top"][0]
        assert best["probability"] == float(probabilities.max())
    times, values = zip(*frames, strict=True)
    wanted = find_events(times, values, runtime.info.labels, RULES)
    assert len(wanted) >= 4
    told = Counter((event["kind"], event["id"]) for event in events if event["kind"] != "update")
    assert told == Counter((kind, f"a/{event.id}") for event in wanted for kind in ("new", "end"))
    ends = {event["id"]: event for event in events if event["kind"] == "end"}
    for event in wanted:
        found = ends[f"a/{event.id}"]
        for name in ("start", "end", "peak", "mean"):
            assert found[name] == round(getattr(event, name), 6)
        begun = next(e for e in events if e["kind"] == "new" and e["id"] == found["id"])
        assert begun["started"] == found["started"]
    assert (folder / "out.vtt").read_text().count("-->") == len(wanted)
    assert len((folder / "out.csv").read_text().splitlines()) == 1 + len(wanted)
    assert not (folder / "saved").exists()  # nothing is left to do
    return True


def tries(
    film_file: Path, runtime: Any, tmp_path: Path, moments: Callable[[], list[float]]
) -> None:
    for number in range(3):  # frames are dropped where the machine is busy for a moment
        folder = tmp_path / str(number)
        folder.mkdir()
        if check_broken_runs(film_file, runtime, folder, moments()):
            return
    pytest.skip("the machine is too busy to see every frame of a video at its own pace")


@pytest.mark.heavy
def test_killed_twice_it_tells_what_an_unbroken_run_tells(
    film_file: Path, runtime: Any, tmp_path: Path
) -> None:
    tries(film_file, runtime, tmp_path, lambda: [random.uniform(0.2, 2.5) for _ in range(2)])


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(20))
def test_killed_at_any_moment(film_file: Path, runtime: Any, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    tries(film_file, runtime, tmp_path, lambda: [chance.uniform(0, 4) for _ in range(3)])


@pytest.mark.heavy
def test_a_live_source_goes_on_with_its_time_and_its_events(tmp_path: Path) -> None:
    """Of what went on when it was killed, the end is told; no id is told twice."""
    images = [frame.image for frame in VideoReader(CLIP, frame_rate=20)]
    parts = transport_stream((images + images[::-1]) * 3)

    def serve(send: Any, _: int, stopped: threading.Event) -> None:
        paced(parts, send, stopped)

    with http_server(serve) as url:
        arguments = command([f"a={url}"], tmp_path)
        assert run_and_kill(arguments, tmp_path, 1.2)
        before = len(lines(tmp_path)[0])
        killed = time.time()
        assert run_and_kill(arguments, tmp_path, 2.2)
        assert not run_and_kill([*arguments, "--for", "3"], tmp_path, 60)
    results, events = lines(tmp_path)
    numbers = [result["number"] for result in results if "ended" not in result]
    assert numbers == sorted(set(numbers))
    first = results[before]
    # What was seen after the file was written is not in the state.
    unseen = first["gap"] - (first["number"] - results[before - 1]["number"] - 1)
    assert 0 <= unseen <= 16
    passed = first["captured"] - results[before - 1]["captured"]
    assert (first["gap"] - unseen) / 8 == pytest.approx(passed, abs=1.0)
    assert first["captured"] > killed
    told = Counter((event["kind"], event["id"]) for event in events if event["kind"] != "update")
    assert set(told.values()) == {1}
    assert {i for kind, i in told if kind == "new"} == {i for kind, i in told if kind == "end"}


def test_a_run_goes_on_in_python(film_file: Path, runtime: Any, tmp_path: Path) -> None:
    stream = runtime.stream(half_life=HALF_LIFE)
    with VideoReader(film_file, frame_rate=8, end=1.5) as reader:
        expected = [stream(frame.image) for frame in reader]
    for number in range(5):
        path, found = tmp_path / f"saved{number}", []
        for _ in range(3):
            results = watch([f"a={film_file}"], runtime, half_life=HALF_LIFE, resume=path)
            found += [next(results) for _ in range(3)]
            results.close()
        if not any(result.dropped for result in found):  # the machine was busy for a moment
            break
    else:
        pytest.skip("the machine is too busy to see every frame of a video at its own pace")
    assert [result.number for result in found] == [*range(9)]
    np.testing.assert_array_equal([result.probabilities for result in found], expected[:9])


def test_a_source_that_failed_is_tried_again(runtime: Any, tmp_path: Path) -> None:
    """One that has ended is not."""
    path, late, short = tmp_path / "saved", tmp_path / "late.mp4", tmp_path / "short.mp4"
    write_video(short, [(255, 0, 0)] * 4)
    sources = [f"a={short}", f"b={late}"]
    first = list(watch(sources, runtime, resume=path))
    assert {result.source for result in first} == {"a", "b"}
    assert path.exists()
    statuses: list[tuple[str, str]] = []
    again = watch(
        sources,
        runtime,
        resume=path,
        seconds=0.5,
        on_status=lambda status: statuses.append((status.source, status.state)),
    )
    assert [(result.source, result.ended) for result in again] == [("b", True)]
    assert statuses == [("b", "failed")]
    write_video(late, [(255, 0, 0)] * 4)
    *results, last = watch(sources, runtime, resume=path)
    assert {result.source for result in results} == {"b"}
    assert last.ended
    assert not path.exists()


def test_another_run_does_not_go_on(film_file: Path, runtime: Any, tmp_path: Path) -> None:
    path = tmp_path / "saved"
    made(path, film_file, runtime)
    other = tmp_path / "other.mp4"
    other.write_bytes(film_file.read_bytes() + b"\0")
    for sources, rules, reason in (
        ([f"b={film_file}"], RULES, "other sources"),
        ([f"a={other}"], RULES, "other sources"),
        ([f"a={film_file}", "0"], RULES, "other sources"),
        ([f"a={film_file}"], Rules(), "other rules"),
        ([f"a={film_file}"], None, "other rules"),
    ):
        with pytest.raises(ConfigError, match=f"saved: it is of a run with {reason}"):
            watch(sources, runtime, rules=rules, resume=path)


def test_a_run_of_other_weights_does_not_go_on(
    film_file: Path, runtime: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for letter in "ab":
        manifest = dataclasses.replace(runtime.manifest, weights_sha256=letter * 64)
        monkeypatch.setattr(runtime, "manifest", manifest)
        if letter == "a":
            made(tmp_path / "saved", film_file, runtime)
    with pytest.raises(ConfigError, match="other weights"):
        watch([f"a={film_file}"], runtime, rules=RULES, resume=tmp_path / "saved")


def test_a_disk_that_is_full_later_stops_nothing(
    film_file: Path, runtime: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    resume = Resume(tmp_path / "saved", every=0.25, say=lambda _, line: said.append(line))
    results = watch([f"a={film_file}"], runtime, rules=RULES, resume=resume)
    full = OSError(28, "No space left on device")
    monkeypatch.setattr(Path, "write_bytes", lambda *_: (_ for _ in ()).throw(full))
    numbers = [next(results).number for _ in range(6)]
    assert numbers == sorted(set(numbers))
    results.close()
    assert len(said) == 1
    assert "No space left on device" in said[0]


class Hook(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.server.told.append(  # pyright: ignore[reportAttributeAccessIssue]
            json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        )
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


def test_what_waits_for_a_server_waits_for_the_next_run(
    film_file: Path, runtime: Any, tmp_path: Path
) -> None:
    path = tmp_path / "saved"
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook, bind_and_activate=False)
    server.server_bind()  # it is down: nobody listens
    server.told = told = []  # pyright: ignore[reportAttributeAccessIssue]
    hook = f"http://127.0.0.1:{server.server_port}/hook"
    made(path, film_file, runtime, 12, [hook])
    server.server_activate()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        found = []
        for _ in range(2):  # the second time nothing waits any more
            resume = Resume(path)
            with Sinks([hook], sources=["a"], resume=resume):
                watch([f"a={film_file}"], runtime, rules=RULES, resume=resume).close()
            found.append([(one["kind"], one["id"]) for one in told])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert found[0] == found[1]
    assert len(found[0]) == len(set(found[0]))
    assert {kind for kind, _ in found[0]} == {"new", "end"}
