"""Clips of events: the packets of a stream, around the event and no others, bounded in memory."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.packet import Packet
from made_results import EPOCH, change, result
from servers import RATE, http_server, paced, still, transport_stream

import movinet
from movinet.errors import ConfigError
from movinet.events import Rule, Rules
from movinet.live import Clips, watch
from movinet.live.clips.recording import Kept, Recorder, Ring
from movinet.live.clips.writing import Writer
from movinet.live.sources import parse_source
from movinet.video import VideoReader

CLIP = Path(movinet.__file__).parent / "demo" / "clip.mp4"
SOURCE = parse_source("door=http://127.0.0.1/x")


def decoded(data: str | io.BytesIO) -> list[np.ndarray]:
    with av.open(data, "r") as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def where(part: list[np.ndarray], whole: list[np.ndarray]) -> int:
    """The frame of the whole at which a part of it begins."""
    (first,) = [
        i
        for i, image in enumerate(whole)
        if np.array_equal(image, part[0]) and np.array_equal(part, whole[i : i + len(part)])
    ]
    return first


@pytest.fixture(scope="module")
def film() -> bytes:
    """Ten seconds, a keyframe each second, no two frames the same."""
    generator = np.random.default_rng(0)
    pictures = generator.integers(0, 255, (10 * RATE, 48, 64, 3), np.uint8)
    return b"".join(transport_stream(pictures, start=5.0, keyframes=RATE))


def play(
    film: bytes, recorder: Recorder, at: dict[int, Callable[[], None]], form: str = "mpegts"
) -> None:
    """Send a film through a recorder; something happens before some frames."""
    with av.open(io.BytesIO(film), "r", format=form) as container:
        stream = container.streams.video[0]
        recorder.connect(stream, clock=form != "mjpeg")
        for number, packet in enumerate(container.demux(stream)):
            at.get(number, lambda: None)()
            recorder.see(packet, max(0, number - 1) / RATE)  # that of the frame decoded before it
        recorder.disconnect()


def test_a_clip_has_the_packets_around_its_event(film: bytes, tmp_path: Path) -> None:
    clips = Clips(tmp_path / "new" / "clips", pre=1.5, post=1.0)
    recorder = clips.recorder(SOURCE, Rules(Rule(shortest=0.5)))
    new, end = change("new", 4.2, 4.7), change("end", 4.2, 5.5)
    play(
        film,
        recorder,
        {
            95: lambda: clips.see(result(4.75, new)),
            96: lambda: clips.see(result(4.8, change("new", 4.2, 4.7, "waving"))),
            115: lambda: clips.see(result(5.75, end)),
        },
    )
    clips.close()
    falling, waving = sorted((tmp_path / "new" / "clips").iterdir())
    assert falling.name == "door_20010909T014644Z_falling.mkv"
    assert waving.name == "door_20010909T014644Z_waving.mkv"
    whole, part = decoded(io.BytesIO(film)), decoded(str(falling))
    first = where(part, whole)
    assert first == 2 * RATE  # the last keyframe before 4.2 s - 1.5 s
    assert (first + len(part)) / RATE == pytest.approx(5.5 + 1.0, abs=2.01 / RATE)
    assert where(decoded(str(waving)), whole) == 2 * RATE  # its event never ended
    with av.open(str(falling)) as container:
        assert container.streams.video[0].codec_context.name == "h264"  # as it was
        assert container.duration == pytest.approx(len(part) / RATE * 1e6, abs=1e5)


@pytest.mark.parametrize(
    ("codec", "form", "options"),
    [
        ("libx264", "mpegts", {"bf": "2", "g": "20"}),
        ("libx264", "flv", {"bf": "2", "g": "20"}),
        ("libx264", "matroska", {"g": "20"}),
        ("mpeg2video", "mpegts", {"g": "20"}),
        ("mjpeg", "mjpeg", {}),
        ("mpeg4", "avi", {"g": "20"}),
    ],
)
def test_streams_of_any_kind_have_clips(
    codec: str, form: str, options: dict[str, str], tmp_path: Path
) -> None:
    buffer = io.BytesIO()
    generator = np.random.default_rng(0)
    with av.open(buffer, "w", format=form) as container:
        stream: Any = container.add_stream(codec, rate=RATE, options=options)
        stream.width, stream.height = 64, 48
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for picture in generator.integers(0, 255, (6 * RATE, 48, 64, 3), np.uint8):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    clips = Clips(tmp_path, pre=1.0)
    recorder = clips.recorder(SOURCE, Rules(Rule(shortest=0.5)))
    at = {70: lambda: clips.see(result(3.4, change("new", 2.5, 3.4)))}
    play(buffer.getvalue(), recorder, at, form)
    clips.close()
    (path,) = tmp_path.glob("*.mkv")
    first = where(decoded(str(path)), decoded(io.BytesIO(buffer.getvalue())))
    assert first <= 1.5 * RATE + 1
    assert first > 0


def test_a_ring_forgets_what_is_old_and_never_has_too_much() -> None:
    ring = Ring(2.0, most=10_000)
    worst = 0
    for number in range(1000):
        packet = Packet(bytes(100))
        packet.is_keyframe = number % 10 == 0
        ring.add(Kept(packet, number / 10))
        worst = max(worst, ring.size)
    assert worst <= 10_000
    times = [kept.time for kept in ring.since(0.0)]
    assert times[0] == 97.0  # the last keyframe that is two seconds old
    assert times[-1] == 99.9
    assert next(kept.time for kept in ring.since(98.95)) == 98.0
    assert ring.size == 100 * len(times)
    for number in range(200):  # no keyframe any more
        ring.add(Kept(Packet(bytes(1000)), 100 + number / 10))
        assert ring.size <= 10_000


def test_a_clip_ends_with_its_connection(film: bytes, tmp_path: Path) -> None:
    said: list[str] = []
    clips = Clips(tmp_path, say=lambda _, line: said.append(line))
    recorder = clips.recorder(SOURCE, Rules())
    play(film, recorder, {100: lambda: clips.see(result(4.0, change("new", 3.0, 4.0)))})
    clips.see(result(20.0, change("new", 19.0, 20.0)))  # nothing is connected any more
    play(film, recorder, {100: lambda: clips.see(result(25.0, change("end", 3.0, 4.0)))})
    clips.close()
    (path,) = tmp_path.iterdir()
    assert len(decoded(str(path))) == 10 * RATE
    assert said == ["door: no clip of an event, nothing was in memory"]


def test_a_clock_that_jumps_ends_a_clip(film: bytes, tmp_path: Path) -> None:
    clips = Clips(tmp_path)
    recorder = clips.recorder(SOURCE, Rules())
    with av.open(io.BytesIO(film), "r", format="mpegts") as container:
        recorder.connect(container.streams.video[0])
        for number, packet in enumerate(container.demux(video=0)):
            if number == 60:
                clips.see(result(2.9, change("new", 1.0, 2.0)))
            if number >= 100 and packet.dts is not None and packet.pts is not None:
                packet.dts, packet.pts = packet.dts - 90_000, packet.pts - 90_000
            recorder.see(packet, number / RATE)
        recorder.disconnect()
    clips.close()
    (path,) = tmp_path.iterdir()
    assert len(decoded(str(path))) == 100


def test_a_slow_disk_gives_up_a_clip_and_holds_nobody_up(
    film: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    go, write = threading.Event(), os.write

    def slow(file: int, data: bytes) -> int:
        go.wait(20)
        return write(file, data)

    writer = Writer(lambda _, line: said.append(line), room=100_000)
    recorder = Recorder("door", 20.0, writer, lambda _, line: said.append(line))
    monkeypatch.setattr(os, "write", slow)
    began = time.monotonic()
    play(film, recorder, {50: lambda: recorder.begin("a", tmp_path / "a.mkv", 0.0)})
    assert time.monotonic() - began < 5
    go.set()
    writer.close(5)
    assert said[0] == f"{tmp_path / 'a.mkv'}: given up, since the disk is too slow"
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_nothing(
    film: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    clips = Clips(tmp_path, say=lambda _, line: said.append(line))
    recorder = clips.recorder(SOURCE, Rules())
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        play(film, recorder, {60: lambda: clips.see(result(3.0, change("new", 2.0, 3.0)))})
        clips.close()
    assert said[0].endswith("_falling.mkv: cannot be written (No space left on device)")
    assert len(said) == 1
    assert not list(tmp_path.iterdir())


def test_names_are_safe_and_never_taken(film: bytes, tmp_path: Path) -> None:
    clips = Clips(tmp_path, pre=0)
    recorder = clips.recorder(parse_source("http://me:s3cret@127.0.0.1/../a"), Rules())
    name = "http://me:***@127.0.0.1/../a"
    events = [change("new", 3.0 + n / 100, 4.0, "../../ü\n") for n in range(3)]
    at = {80: lambda: clips.see(result(4.0, *events, source=name))}
    play(film, recorder, at)  # type: ignore[arg-type]
    clips.close()
    stem = "http-me-127-0-0-1-a_20010909T014643Z_x"
    found = sorted(path.name for path in tmp_path.iterdir())
    assert found == [f"{stem}.mkv", f"{stem}_2.mkv", f"{stem}_3.mkv"]
    assert EPOCH + 3 == 1_000_000_003  # what the names say


def test_what_is_not_possible_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for options, message in (
        ({"folder": tmp_path / "file"}, "it is no folder"),
        ({"folder": tmp_path, "pre": -1}, "pre must be 0 to 300 seconds"),
        ({"folder": tmp_path, "post": float("nan")}, "post must be 0 to 300 seconds"),
    ):
        with pytest.raises(ConfigError, match=message):
            Clips(**options)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="cut a file at the times of its events"):
        watch(str(CLIP), clips=Clips(tmp_path), rules=Rules())
    with pytest.raises(ConfigError, match="rules are needed"):
        watch("http://127.0.0.1/x", clips=Clips(tmp_path))


def test_watching_writes_clips_of_what_was_seen(tmp_path: Path) -> None:
    pictures = [frame.image for frame in VideoReader(CLIP, frame_rate=RATE)]
    pictures += [still(0, pictures[0].shape[:2])] * RATE
    parts = transport_stream(pictures)

    def serve(send: Callable[[bytes], None], _: int, stopped: threading.Event) -> None:
        paced(parts, send, stopped)
        stopped.wait(20)  # it is silent

    with http_server(serve) as url:
        results = watch(
            f"door={url}", rules=Rules(Rule(on=0.5)), clips=Clips(tmp_path, pre=0.5, post=0.2)
        )
        began = time.monotonic()
        kinds: list[str] = []
        for one in results:
            kinds += [c.kind for c in one.events]
            if "end" in kinds or time.monotonic() - began > 15:
                break
        results.close()
    assert kinds[0] == "new"
    (path, *_) = tmp_path.glob("*.mkv")
    assert path.name.startswith("door_")
    part, whole = decoded(str(path)), decoded(io.BytesIO(b"".join(parts)))
    assert len(part) > RATE
    first = where(part, whole)
    assert first % 10 == 0  # a keyframe
    assert not list(tmp_path.glob("*.part"))
