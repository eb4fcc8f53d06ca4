"""Videos that are drawn anew keep their sound as it is."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.error import InvalidDataError

import movinet
from movinet.drawing.video import render
from movinet.errors import VideoError
from movinet.video import VideoWriter
from movinet.video.sound import Sound

RATE = 8000


def with_sound(path: Path, codec: str = "aac", *, start: float = 0.0) -> Path:
    """Two seconds of grey and of a tone."""
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("libx264", rate=10)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio: Any = container.add_stream(codec, rate=RATE, layout="mono")
        for number in range(20):
            picture = np.full((48, 64, 3), 10 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number + round(10 * start), Fraction(1, 10)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        tone = np.sin(np.arange(2 * RATE) * 440 * 2 * np.pi / RATE)
        for begin in range(0, 2 * RATE, 1000):
            part = (20_000 * tone[begin : begin + 1000]).astype(np.int16)[None]
            sound = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
            sound.sample_rate, sound.pts = RATE, begin
            sound.time_base = Fraction(1, RATE)
            container.mux(audio.encode(sound))
        container.mux(audio.encode())
    return path


def heard(path: Path) -> list[tuple[float, bytes]]:
    """Time and bytes of every packet of sound."""
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return []
        packets: list[Any] = [p for p in container.demux(audio=0) if p.size]
        return [(round(float(p.pts * p.time_base), 3), bytes(p)) for p in packets if p.pts >= 0]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_rendered_video_is_heard_as_before(tmp_path: Path, suffix: str) -> None:
    video = with_sound(tmp_path / f"a{suffix}")
    render(video, list(movinet.predict(video, "motions")), tmp_path / "out.mp4")
    found, wanted = heard(tmp_path / "out.mp4"), heard(video)
    assert len(wanted) >= 15
    # One of them may begin before the pictures.
    assert [data for _, data in found] == [data for _, data in wanted][-len(found) :]
    assert len(wanted) - len(found) <= 1
    late = wanted[-len(found) :]
    assert max(abs(a - b) for (a, _), (b, _) in zip(found, late, strict=True)) <= 0.002


def test_sound_stays_with_pictures_that_begin_later(tmp_path: Path) -> None:
    video = with_sound(tmp_path / "a.mp4", start=0.5)
    with (
        Sound(video) as sound,
        VideoWriter(tmp_path / "out.mp4", 10, sound=sound, begin=0.5) as writer,
    ):
        for number in range(20):
            writer.write(np.full((48, 64, 3), 10 * number, np.uint8))
    found = {data: at for at, data in heard(tmp_path / "out.mp4")}
    wanted = heard(video)
    shared = [(at, found[data]) for at, data in wanted if data in found]
    assert len(shared) >= 10
    assert all(abs(at - 0.5 - now) <= 0.002 for at, now in shared)


def test_sound_that_an_mp4_cannot_hold_is_noted(tmp_path: Path) -> None:
    video = with_sound(tmp_path / "a.mkv", "pcm_s16le")
    with pytest.warns(UserWarning, match=r"out\.mp4 is not heard .*: its sound \(pcm_s16le\)"):
        render(video, list(movinet.predict(video, "motions")), tmp_path / "out.mp4")
    assert not heard(tmp_path / "out.mp4")


def test_silent_videos_and_gifs_stay_silent(tmp_path: Path) -> None:
    video = with_sound(tmp_path / "a.mp4")
    render(video, list(movinet.predict(video, "motions")), tmp_path / "out.gif")
    clip = Path(movinet.__file__).parent / "demo" / "clip.mp4"
    render(clip, list(movinet.predict(clip, "motions")), tmp_path / "out.mp4")
    assert not heard(tmp_path / "out.mp4")


def test_damaged_sound_ends_and_pictures_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = with_sound(tmp_path / "a.mp4")

    class Broken(Sound):
        def __init__(self, path: Path) -> None:
            super().__init__(path)
            self._packets = chain(islice(self._packets, 5), self._broken())

        @staticmethod
        def _broken() -> Iterator[Any]:
            raise InvalidDataError(1, "damaged")
            yield

    monkeypatch.setattr("movinet.video.sound.Sound", Broken)
    with pytest.warns(UserWarning, match=r"its sound is damaged from \d\.\d s on"):
        render(video, list(movinet.predict(video, "motions")), tmp_path / "out.mp4")
    assert len(heard(tmp_path / "out.mp4")) in (4, 5)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 20


def test_nothing_but_a_file_of_video_is_opened(tmp_path: Path) -> None:
    playlist = tmp_path / "a.m3u8"
    playlist.write_text("#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n")
    with pytest.raises(VideoError, match="not a video"):
        Sound(playlist)
