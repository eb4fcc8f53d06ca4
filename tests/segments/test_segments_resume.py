"""Segments of long recordings: work that was killed goes on, and gives what it would have given."""

from __future__ import annotations

import contextlib
import gc
import itertools
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from typer.testing import CliRunner

import movinet
from movinet.cli import build_app
from movinet.errors import CheckpointError, ConfigError, MovinetError
from movinet.events import Rule, Rules
from movinet.segments import Segments, find_segments, finding
from movinet.segments.progress import EVERY
from movinet.video import VideoReader
from movinet.video.pixels import Frame
from saved_runs import edited

CLIP = Path(movinet.__file__).parent / "demo" / "clip.mp4"
RULES = Rules(Rule(on=0.5, off=0.4, shortest=0.25, merge=0.25))
RATE = 8


class KilledError(Exception):
    """The process ends here."""


def write_film(path: Path, seconds: int, codec: str = "libx264") -> None:
    """Things that happen again and again, in groups of pictures that look ahead."""
    with VideoReader(CLIP, frame_rate=RATE) as reader:
        images = [frame.image[::4, ::4].copy() for frame in reader]
    images += images[::-1]
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=RATE)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt, stream.gop_size = "yuv420p", 50
        if codec == "libx264":
            stream.options = {"preset": "fast", "bf": "2"}
        for number in range(seconds * RATE):
            image = images[number % len(images)]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def runtime() -> Any:
    return movinet.load("motions")


@pytest.fixture(scope="module", params=["film.mp4", "film.ts", "film.mkv"])
def film(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / request.param
    write_film(path, 75)
    return path


def found(segments: Segments) -> Any:
    return segments.events, segments.duration, segments.notes


def test_it_goes_on_within_a_minute_and_gives_the_same(
    film: Path, runtime: Any, tmp_path: Path
) -> None:
    path, seen = tmp_path / "saved", []

    def watch(end: float) -> Any:
        def see(time: float) -> None:
            seen.append(time)
            if time >= end:
                raise KilledError

        return see

    options: dict[str, Any] = {"rules": RULES, "half_life": 0.3}
    whole = find_segments(film, runtime, **options)
    for end in (5.0, 47.3, 70.0):
        with pytest.raises(KilledError):
            find_segments(film, runtime, **options, on_time=watch(end), resume=path)
    resumed = find_segments(film, runtime, **options, on_time=watch(1e9), resume=path)
    assert found(resumed) == found(whole)
    assert len(whole.events) > 30
    begins = [seen[0], *(b for a, b in itertools.pairwise(seen) if b <= a)]
    assert begins[:2] == [0, 0]  # nothing was saved before
    for end, begin in zip((47.3, 70.0), begins[2:], strict=True):
        assert end - EVERY - 0.2 < begin <= end + 0.2
    late: list[float] = []
    again = find_segments(film, runtime, **options, on_time=late.append, resume=path)
    assert found(again) == found(whole)
    assert not late  # nothing is seen again


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("short") / "short.mp4"
    write_film(path, 3)
    return path


def test_work_on_something_else_does_not_go_on(short: Path, runtime: Any, tmp_path: Path) -> None:
    path = tmp_path / "saved"
    find_segments(short, runtime, RULES, resume=path)
    before = path.read_bytes()
    other = tmp_path / short.name
    other.write_bytes(short.read_bytes())
    for video, rules, half_life, reason in (
        (other, RULES, None, "another recording"),
        (short, Rules(), None, "other rules"),
        (short, RULES, 1.0, "another half-life"),
    ):
        with pytest.raises(ConfigError, match=f"saved: it is of a run with {reason}"):
            find_segments(video, runtime, rules, half_life=half_life, resume=path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "edit",
    [
        lambda s: s.update(of=[]),
        lambda s: s.update(events=[{}]),
        lambda s: s["events"][0].update(start="x"),
        lambda s: s["events"][0].update(label="unknown"),
        lambda s: s["events"][0].update(more=1),
        lambda s: s.update(notes=["a\nb"]),
        lambda s: s.update(done=1),
        lambda s: s.update(time=1e400),
        lambda s: s["detector"].update(odds=[1.0]),
        lambda s: s.clear(),
    ],
)
def test_damaged_states_are_one_line(edit: Any, short: Path, runtime: Any, tmp_path: Path) -> None:
    path = tmp_path / "saved"
    find_segments(short, runtime, RULES, half_life=0.3, resume=path)
    path.write_bytes(edited(path.read_bytes(), edit))
    with pytest.raises(MovinetError, match="saved: ") as caught:
        find_segments(short, runtime, RULES, half_life=0.3, resume=path)
    assert str(caught.value).isprintable()


def test_files_of_others_are_neither_read_nor_removed(short: Path, tmp_path: Path) -> None:
    """The name of a model or a video may stand there by mistake."""
    path = tmp_path / "precious.safetensors"
    path.write_bytes(b"precious")
    result = CliRunner().invoke(build_app(), ["segments", str(short), "--resume", str(path)])
    assert result.exit_code == 1
    assert "nothing to resume from" in result.stderr
    assert path.read_bytes() == b"precious"
    with pytest.raises(CheckpointError):
        find_segments(short, "motions", resume=path)


@pytest.mark.heavy
def test_a_killed_command_goes_on(tmp_path: Path) -> None:
    """Of two recordings, the one that was done is not seen again."""
    for name, seconds in (("a.mp4", 10), ("b.mp4", 300)):
        write_film(tmp_path / name, seconds, "mpeg4")
    (tmp_path / "rules.toml").write_text("[default]\non = 0.5\nshortest = 0.25\nmerge = 0.25\n")
    command = [sys.executable, "-m", "movinet", "segments", "a.mp4", "b.mp4", "--half-life", "0.3"]
    command += ["--events", "rules.toml", "-o"]
    subprocess.run([*command, "whole.csv"], cwd=tmp_path, check=True, capture_output=True)
    resumed = [*command, "out.csv", "--resume", "x.resume"]
    saved = tmp_path / "x-b.resume"
    with subprocess.Popen(resumed, cwd=tmp_path, stdout=subprocess.PIPE) as process:
        end, first = time.monotonic() + 60, None
        while time.monotonic() < end:
            if saved.exists():
                first = first or saved.stat().st_ino
                if saved.stat().st_ino != first:  # it was written again
                    break
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert (tmp_path / "x-a.resume").exists()
    changed = (tmp_path / "x-a.resume").stat().st_mtime_ns
    (tmp_path / "a.copy").hardlink_to(tmp_path / "x-a.resume")
    subprocess.run(resumed, cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "a.copy").stat().st_mtime_ns == changed
    for name in "ab":
        one, other = (tmp_path / f"{base}-{name}.csv" for base in ("whole", "out"))
        assert one.read_text() == other.read_text()
        assert one.read_text().count("\n") > 5
    assert not [*tmp_path.glob("*.resume")]


def test_segments_are_shown_below_the_picture(short: Path, tmp_path: Path) -> None:
    """Bars have the colour of their row, from start to end; what goes on is named in white."""
    from movinet.drawing.events import EventPanel

    out = tmp_path / "out.mp4"
    arguments = ["segments", str(short), "--half-life", "0.3", "--render", str(out)]
    result = CliRunner().invoke(build_app(), arguments)
    assert result.exit_code == 0, result.stderr
    with VideoReader(short) as one, VideoReader(out) as other:
        assert len([*other]) >= len([*one])
        assert other.info.width == 480
        assert other.info.height > one.info.height * 480 / one.info.width + 40
    segments = find_segments(short, rules=RULES, half_life=0.3)
    panel = EventPanel(segments.events, 480, segments.duration)
    event = max(segments.events, key=lambda event: event.end - event.start)
    middle = panel._middle(0)
    row = panel.at(0.0)[middle]
    colour = np.array([0x56, 0xB4, 0xE9])
    for share, inside in ((0.5, True), (-0.2, False), (1.2, False)):
        at = event.start + share * (event.end - event.start)
        others = [e for e in segments.events if e.label == event.label and e != event]
        if 0.1 < at < segments.duration and not any(e.start <= at <= e.end for e in others):
            assert (row[round(panel._x(at))] == colour).all() == inside
    name = slice(12, panel._left - 10)
    during = panel.at((event.start + event.end) / 2)[middle - 6 : middle + 6, name]
    before = panel.at(max(0.0, event.start - 0.01))[middle - 6 : middle + 6, name]
    assert during.max() > before.max()
    assert EventPanel((), 480, 3.0).at(1.0).shape[1] == 480


def test_memory_does_not_grow_with_the_length(
    runtime: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only events are kept, not the probabilities."""
    sizes = []

    class Long:
        """A recording of a thousand frames."""

        name, given_rate = "x.mp4", None

        def __init__(self, *_: Any) -> None: ...

        def files(self) -> tuple[Any, ...]:
            return ()

        def info(self) -> Any:
            return SimpleNamespace(width=1, height=1, frame_rate=8.0)

        @contextlib.contextmanager
        def stream(self, *_: Any, **__: Any) -> Any:
            yield iter(self), []

        def __iter__(self) -> Any:
            frame = np.zeros((64, 64, 3), np.uint8)
            for number in range(1000):
                yield Frame(number / 8, frame)
                if number in (99, 999):
                    gc.collect()
                    sizes.append(tracemalloc.get_traced_memory()[0])

    monkeypatch.setattr(finding, "open_media", Long)
    tracemalloc.start()
    try:
        find_segments("x.mp4", runtime, RULES)
    finally:
        tracemalloc.stop()
    assert sizes[1] - sizes[0] < 900 * 10  # a row of probabilities has 40 bytes
