"""Steps and decoding that are omitted while nothing moves."""

from __future__ import annotations

import io
import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from servers import RATE, http_server, paced, transport_stream
from typer.testing import CliRunner

import movinet
from movinet.cli import build_app
from movinet.live import LiveResult, SourceStatus, idle, watch
from movinet.live.idle import Idle, begins_anew
from movinet.live.steady import REST_PROBABILITY, Steady
from movinet.runtime.numbers import decay_from_half_life
from movinet.video import VideoReader

CLIP = Path(movinet.__file__).parent / "demo" / "clip.mp4"


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    return [frame.image.copy() for frame in VideoReader(CLIP, frame_rate=RATE)]


def both(
    runtime: Any, frames: list[tuple[np.ndarray, int]], half_life: float, *, tolerant: bool = False
) -> tuple[list[bool], list[np.ndarray], list[np.ndarray]]:
    """Frames with the gaps before them: which were held, results with and without omissions."""
    one, other = (runtime.stream(half_life=half_life) for _ in range(2))
    rate = runtime.info.input.frame_rate
    steady = Steady(one, decay_from_half_life(half_life, rate), tolerant=tolerant)
    held, found, expected = [], [], []

    def step(stream: Any, image: np.ndarray, gap: int) -> np.ndarray:
        if gap:
            stream.fade(gap)
        return stream(image)

    for image, gap in frames:
        result, omitted = steady(image, gap, lambda image=image, gap=gap: step(one, image, gap))
        held.append(omitted)
        found.append(result)
        expected.append(step(other, image, gap))
    return held, found, expected


def test_what_is_omitted_would_change_no_bit(runtime: Any, images: list[np.ndarray]) -> None:
    """At rest, after a pixel has changed, and after missed frames."""
    other = images[4].copy()
    other[3, 5, 1] ^= 1
    frames = [(image, 0) for image in images[:5]] + [(images[4].copy(), 0)] * 400
    frames += [(other, 0)] + [(images[4], 0)] * 300 + [(images[4], 7)] + [(images[4], 0)] * 20
    frames += [(image, 0) for image in images[5:10]]
    held, found, expected = both(runtime, frames, 0.2)
    np.testing.assert_array_equal(found, expected)
    assert sum(held) > 300
    assert not any(held[:20])
    assert held[404]
    assert not held[405]  # another pixel
    assert not held[706]  # the missed frames made it forget
    assert not any(held[-5:])


def test_a_stream_that_remembers_all_frames_is_never_at_rest(
    runtime: Any, images: list[np.ndarray]
) -> None:
    held, found, expected = both(runtime, [(images[0], 0)] * 150, math.inf, tolerant=True)
    assert not any(held)
    np.testing.assert_array_equal(found, expected)


def test_who_asks_for_it_waits_for_the_last_digits_no_longer(
    runtime: Any, images: list[np.ndarray]
) -> None:
    frames = [(image, 0) for image in images[:8]] + [(images[8], 0)] * 400
    held, found, expected = both(runtime, frames, 1.0, tolerant=True)
    exact, _, _ = both(runtime, frames, 1.0)
    assert sum(held) > sum(exact) + 100
    assert np.abs(np.array(found) - expected).max() < 2 * REST_PROBABILITY


def packets_of(pictures: Any, container: str = "mpegts", **options: str) -> list[Any]:
    """Encoded pictures, as a demuxer gives them, with their decoder kept alive."""
    buffer = io.BytesIO()
    settings = {"preset": "ultrafast", "tune": "zerolatency", "g": "40", "crf": "20"} | options
    with av.open(buffer, "w", format=container) as output:
        codec = settings.pop("codec", "libx264")
        stream: Any = output.add_stream(codec, rate=RATE, options=settings)
        stream.pix_fmt = "yuv420p"
        for number, picture in enumerate(pictures):
            if not number:
                stream.height, stream.width = picture.shape[:2]
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode())
    buffer.seek(0)
    opened: Any = av.open(buffer, "r")
    opened.streams.video[0].thread_type = "SLICE"
    return [opened, *opened.demux(video=0)]


def through(packets: list[Any], sleeper: Idle | None, rate: int = RATE) -> list[Any]:
    """(time, picture shown, as RGB) for each packet."""
    shown: list[Any] = []
    for packet in packets[1:]:
        pictures: Any = packet.decode() if sleeper is None else sleeper.decode(packet)
        for picture in pictures:
            image = picture.to_ndarray(format="rgb24")
            shown.append((picture.pts, image))
            if sleeper is not None:
                sleeper.look(picture, image, len(shown) / rate)
    return shown


def scene(images: list[np.ndarray], seconds: float, then: int = 20) -> Iterator[np.ndarray]:
    """A still picture, and then motion."""
    still = np.kron(images[0][::4, ::4], np.ones((8, 8, 1), np.uint8))
    for _ in range(round(seconds * RATE)):
        yield still
    for image in images[1 : 1 + then]:
        moving = still.copy()
        moving[: image.shape[0], : image.shape[1]] = image
        yield moving


def sleeper_of(packets: list[Any]) -> Idle:
    context = packets[0].streams.video[0].codec_context
    return Idle(context, lambda picture: np.asarray(picture.to_ndarray(format="rgb24"), np.uint8))


@pytest.mark.parametrize("options", [{}, {"container": "flv"}, {"g": "1000"}])
def test_a_decoder_that_slept_sees_motion_as_if_it_had_not(
    options: dict[str, str], images: list[np.ndarray]
) -> None:
    film = list(scene(images, 16))
    expected = through(packets_of(film, **options), None)
    packets = packets_of(film, **options)
    sleeper = sleeper_of(packets)
    found = through(packets, sleeper)
    assert [time for time, _ in found] == [time for time, _ in expected]
    assert 0.5 * len(film) < sleeper.undecoded < len(film) - 20
    for (_, image), (_, other) in zip(found[-20:], expected[-20:], strict=True):
        np.testing.assert_array_equal(image, other)
    worst = max(
        np.abs(one.astype(int) - other).max()
        for (_, one), (_, other) in zip(found[:-20], expected[:-20], strict=True)
    )
    assert worst < 12  # what the encoder makes of a still picture


def test_what_changes_slowly_is_seen_at_the_next_keyframe(images: list[np.ndarray]) -> None:
    """A cloud: no packet is large."""
    still = next(scene(images, 1)) // 2
    film = [still] * (6 * RATE) + [still + np.uint8(n // 4) for n in range(12 * RATE)]
    packets = packets_of(film, crf="40")
    found = through(packets, sleeper_of(packets))
    for (_, image), wanted in zip(found[:: 2 * RATE], film[:: 2 * RATE], strict=True):
        assert abs(image[..., 1].mean() - wanted[..., 1].mean()) < 14
    assert found[-1][1][..., 1].mean() > still[..., 1].mean() + 40


@pytest.mark.parametrize("options", [{"tune": "stillimage", "bf": "2"}, {"intra-refresh": "1"}])
def test_what_cannot_be_put_off_is_decoded(
    options: dict[str, str], images: list[np.ndarray]
) -> None:
    """Pictures out of order, and keyframes that come in slices."""
    packets = packets_of(scene(images, 8), **options)
    sleeper = sleeper_of(packets)
    expected = through(packets_of(scene(images, 8), **options), None)
    for (_, image), (_, other) in zip(through(packets, sleeper), expected, strict=True):
        np.testing.assert_array_equal(image, other)
    assert not sleeper.undecoded


def test_damage_in_what_was_kept_ends_nothing(images: list[np.ndarray]) -> None:
    packets = packets_of(scene(images, 8), g="1000")
    sleeper = sleeper_of(packets)
    asleep = packets[7 * RATE]
    broken = av.Packet(b"\0\0\1\x41" + bytes(20))
    broken.pts, broken.stream = asleep.pts, asleep.stream
    packets[7 * RATE] = broken
    found = through(packets, sleeper)
    assert sleeper.undecoded > RATE
    assert len(found) >= len(packets) - 3


@pytest.mark.parametrize(("container", "opens"), [("mpegts", True), ("mp4", True), ("mp4", False)])
def test_keyframes_before_which_nothing_is_needed(
    container: str, opens: bool, images: list[np.ndarray]
) -> None:
    """As the encoder says: an open group of pictures begins with a keyframe that is none."""
    params = "open-gop=1:bframes=2:keyint=20:min-keyint=20:scenecut=0"
    options = {"tune": "stillimage", "x264-params": params} if opens else {}
    packets = packets_of(images[:60], container, **options)
    begins = [begins_anew(bytes(packet), "h264") for packet in packets[1:] if packet.is_keyframe]
    assert begins[0]
    assert all(begins[1:]) != opens
    assert len(begins) >= 2
    assert not any(begins_anew(bytes(p), "h264") for p in packets[1:] if not p.is_keyframe)


@pytest.mark.parametrize("data", [b"", b"\0", b"\0\0\1", b"\0\0\0\1", bytes(9), b"\xff" * 9])
def test_bytes_that_are_no_keyframe(data: bytes) -> None:
    assert not begins_anew(data, "h264")
    assert not begins_anew(data, "hevc")


def test_a_still_camera_is_watched_with_next_to_no_decoding(
    runtime: Any,
    images: list[np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """From the server to the result; and motion is seen at its time."""
    monkeypatch.setattr(idle, "QUIET", 0.5)
    film = transport_stream(scene(images, 3, 30))
    (tmp_path / "film.ts").write_bytes(b"".join(film))
    usual = {
        round(prediction.time * 8): prediction.probabilities
        for prediction in movinet.predict(tmp_path / "film.ts", runtime, half_life=0.2)
    }
    statuses: list[SourceStatus] = []

    def serve(send: Callable[[bytes], None], _: int, stopped: threading.Event) -> None:
        paced(film, send, stopped)
        stopped.wait(20)

    found: list[LiveResult] = []
    with http_server(serve) as url:
        watched = watch(
            url, runtime, idle=True, half_life=0.2, gap="skip", on_status=statuses.append
        )
        for result in watched:
            found.append(result)
            if result.number >= 32:
                break
        watched.close()
    assert statuses[0].undecoded > RATE
    held = [result for result in found if result.held]
    assert len(held) >= 2
    assert held[0].to_json()["held"]
    assert not found[-1].held
    for result in found:  # the encoder rounds a still picture anew at each keyframe
        assert np.abs(result.probabilities - usual[result.number]).max() < 0.05


def test_a_log_and_idling_do_not_go_together(tmp_path: Path) -> None:
    arguments = ["watch", "http://127.0.0.1:9/", "--idle", "--log", str(tmp_path / "log")]
    done = CliRunner().invoke(build_app(), arguments)
    assert done.exit_code == 2
    assert "a log repeats every frame: omit the log, or idle" in " ".join(done.stderr.split())
