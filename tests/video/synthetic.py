"""Videos made on the spot whose pictures tell which frame they are."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from movinet.video import VideoReader

Image = NDArray[np.uint8]
_BITS = (2, 5)  # rows and columns of black or white fields: ten bits


def numbered(index: int, width: int = 80, height: int = 64) -> Image:
    """A picture that shows `index` (below 1024) as black and white fields."""
    rows, columns = _BITS
    bits = np.array([index >> i & 1 for i in range(rows * columns)], np.uint8).reshape(_BITS)
    y, x = np.arange(height) * rows // height, np.arange(width) * columns // width
    return np.repeat(bits[y][:, x, None] * np.uint8(220) + np.uint8(16), 3, axis=2)


def number_of(image: NDArray) -> int:
    """The inverse of `numbered`, for a decoded picture of any size."""
    rows, columns = _BITS
    height, width = image.shape[:2]
    y = (np.arange(rows) * 2 + 1) * height // (2 * rows)
    x = (np.arange(columns) * 2 + 1) * width // (2 * columns)
    bits = image[y][:, x].mean(axis=2).ravel() > 126
    return int((bits << np.arange(rows * columns)).sum())


def quadrants(width: int = 96, height: int = 64) -> Image:
    """Red, green (top row), blue and yellow (bottom row) quarters: shows any turn or mirror."""
    image = np.empty((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = 230, 20, 20
    image[: height // 2, width // 2 :] = 20, 200, 20
    image[height // 2 :, : width // 2] = 20, 20, 230
    image[height // 2 :, width // 2 :] = 220, 220, 20
    return image


def corners(image: Image) -> str:
    """Names of the colours of `quadrants` as found: top left, top right, bottom left and right."""
    names = {(1, 0, 0): "R", (0, 1, 0): "G", (0, 0, 1): "B", (1, 1, 0): "Y", (0, 0, 0): "K"}
    height, width = image.shape[:2]
    places = [(y, x) for y in (height // 4, height * 3 // 4) for x in (width // 4, width * 3 // 4)]
    return "".join(names.get(tuple((image[p] > 128).astype(int).tolist()), "?") for p in places)


def make_video(
    path: Path,
    images: Iterable[Image],
    *,
    times: Sequence[float] | None = None,
    rate: int | Fraction = 25,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    rotation: float = 0,
    matrix: Sequence[int] | None = None,
    sound: float = 0,
    start: float = 0,
    aspect: Fraction | None = None,
) -> Path:
    """Write a video with PyAV; the suffix decides the container.

    Args:
        path: Where to.
        images: (height, width, 3) RGB or (height, width, 4) RGBA, uint8.
        times: Presentation times in seconds; by default k / `rate`.
        rate: Frames per second.
        codec: ffmpeg's name of the encoder.
        pix_fmt: Pixel format to store.
        options: Of the encoder.
        rotation: Degrees counterclockwise, written as the display matrix.
        matrix: A display matrix itself.
        sound: Seconds of silence beside the video.
        aspect: Width of a pixel, in heights.
        start: Of the first frame, seconds, where there are no `times`.

    Returns:
        `path`.
    """
    time_base = 1 / Fraction(rate) if times is None else Fraction(1, 90000)
    if codec == "gif":
        time_base = Fraction(1, 100)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        assert isinstance(stream, VideoStream)
        stream.pix_fmt = pix_fmt
        stream.options = dict[str, object](options or {})
        stream.codec_context.time_base = stream.time_base = time_base
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if rotation:
            stream.set_display_rotation(rotation)
        if matrix is not None:
            stream.set_display_matrix(matrix)
        noise = container.add_stream("aac", rate=16000) if sound else None
        for i, image in enumerate(images):
            if not i:
                stream.height, stream.width = image.shape[:2]
            layout = "rgba" if image.shape[2] == 4 else "rgb24"
            frame = VideoFrame.from_ndarray(np.ascontiguousarray(image), format=layout)
            frame = frame.reformat(format=pix_fmt)
            seconds = start + Fraction(i) / rate if times is None else times[i]
            frame.pts, frame.time_base = round(seconds / time_base), time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if noise is not None:
            _silence(container, noise, sound)
    return path


def make_sound(path: Path, seconds: float = 0.5) -> Path:
    """Write a file with sound alone."""
    with av.open(str(path), "w") as container:
        codec = {".m4a": "aac", ".mp4": "aac", ".wav": "pcm_s16le", ".mp3": "libmp3lame"}
        stream = container.add_stream(codec[path.suffix], rate=16000)
        _silence(container, stream, seconds)
    return path


def _silence(container: OutputContainer, stream, seconds: float) -> None:
    for i in range(int(seconds * 16000) // 1024):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), "s16", "mono")
        frame.sample_rate, frame.pts, frame.time_base = 16000, i * 1024, Fraction(1, 16000)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def damage(path: Path, index: int) -> None:
    """Overwrite the packet `index` (in decoding order) so that no decoder accepts it."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packet = next(itertools.islice(container.demux(stream), index, None))
        assert packet.pos is not None
        payload = bytes(packet)
    data = bytearray(path.read_bytes())
    # Some containers count the position from a header before the payload, and a transport stream
    # cuts the payload into pieces.
    found = data.find(payload, packet.pos)
    start = packet.pos + 20 if found < 0 else found
    data[start : start + len(payload)] = b"\xff" * len(payload)
    path.write_bytes(data)


def read(path: Path, **options) -> list[tuple[float, int]]:
    """Time and number of every frame."""
    return [(round(time, 4), number_of(image)) for time, image in VideoReader(path, **options)]


def at(rate: float, count: int) -> list[tuple[float, int]]:
    """What `read` gives of an undamaged video."""
    return [(round(i / rate, 4), i) for i in range(count)]
