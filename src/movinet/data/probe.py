"""What a stored video is: size, length, rate, whether it can be decoded, and what it looks like."""

from __future__ import annotations

import contextlib
import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

from movinet.data.samples import Sample
from movinet.data.sampling import span_of
from movinet.data.tfrecords import JpegFrames
from movinet.errors import VideoError
from movinet.video.container import Region, SkippedPacket, Source, open_source, reason_of
from movinet.video.decoding import decode
from movinet.video.media import Media, VideoFile
from movinet.video.pixels import upright_size
from movinet.video.timeline import Rewinder, Shown, shown_times

#: A look is made of so many moments, each the mean of so many frames, in so many cells a side:
#: means over time and space are hardly moved by other rates, sizes and codecs.
MOMENTS, _FRAMES, CELLS = 6, 4, 8
#: A file that ends this much before its header says is cut off: seconds, and share of its length.
_MISSING_SECONDS, _MISSING_SHARE = 0.25, 0.05
_BLOCK = 1 << 20


class Header(NamedTuple):
    """What a video says of itself.

    Attributes:
        seconds: Its length.
        width: Pixels.
        height: Pixels.
        rate: Frames per second.
    """

    seconds: float
    width: int
    height: int
    rate: float


@dataclass(frozen=True)
class Probe:
    """A sample as it was found.

    Attributes:
        seconds: Length of the sample.
        frames: Frames in it.
        digest: SHA-256 of the stored bytes and of which part of them the sample is.
        look: (MOMENTS, CELLS, CELLS) float16 grey from 0 to 255.
        broken: What is damaged; empty if nothing was found.
    """

    seconds: float
    frames: int
    digest: str
    look: NDArray[np.float16]
    broken: str


def read_header(media: Media) -> Header:
    """What a video says of itself, without reading it through where it tells its length.

    One picture is decoded; its size is that of what is shown.

    Raises:
        VideoError: If it cannot be opened.
    """
    if not isinstance(media, VideoFile):
        image = next(iter(media.frames([0.0], 0.0, [])))
        rate = media.frame_rate if isinstance(media, JpegFrames) else 0.0
        return Header(media.extent()[1], image.shape[1], image.shape[0], rate)
    source = open_source(media.source, media.thread_type)
    seconds, rate = _told_seconds(source), 1 / source.nominal
    codec = source.stream.codec_context
    size = codec.width, codec.height
    # Which way is up, and with some codecs the shape of a pixel, is known with the first picture.
    with contextlib.closing(decode(source, [])) as frames:
        if (first := next(frames, None)) is not None:
            size = upright_size(first.picture, first.aspect)
    if seconds is None:
        first, last = media.extent()
        seconds = last - first
    return Header(seconds, *size, rate)


def _told_seconds(source: Source) -> float | None:
    """The length that a header tells."""
    if not source.tells_length:
        return None
    if source.stream.duration:
        return source.stream.duration * source.tick
    return source.container.duration / av.time_base if source.container.duration else None


def probe(sample: Sample, *, deep: bool = False) -> Probe:
    """Look at a sample.

    Args:
        sample: The sample.
        deep: Decode all of it, and not only what its look needs.

    Raises:
        VideoError: If it cannot be read at all.
    """
    start, end = span_of(sample)
    frames, broken = _count_frames(sample.media, start, end)
    skipped: list[SkippedPacket] = []
    look = _look(sample.media, start, end, skipped)
    if deep and all(packet.note for packet in skipped):
        _decode_all(sample.media, start, end, skipped)
    lost = [packet for packet in skipped if not packet.note]
    if lost and not broken:
        places = "in 1 place" if len(lost) == 1 else f"in {len(lost)} places, the first"
        broken = f"damaged {places}: {lost[0].reason}"
    return Probe(end - start, frames, _digest(sample), look, broken)


def _count_frames(media: Media, start: float, end: float) -> tuple[int, str]:
    """Frames stored between two times, and what is wrong with the file as it is stored."""
    if not isinstance(media, VideoFile):
        return round((end - start) * media.frame_rate) if isinstance(media, JpegFrames) else 2, ""
    found: list[Shown] = []
    notes: list[SkippedPacket] = []
    last, fault = 0.0, ""
    source = open_source(media.source, media.thread_type)
    with source.container:
        told = (source.container.duration or 0) / av.time_base if source.tells_length else 0.0
        rewinder = Rewinder(source, lambda _jump: None)
        try:
            # All streams: a header tells the length of the longest, which may be the sound.
            for packet in source.container.demux():
                if not packet.size or packet.time_base is None:
                    continue
                if packet.stream is source.stream:
                    rewinder.place(packet)
                    if not packet.is_discard:
                        found.append(Shown.of(source, packet))
                stamp = packet.dts if packet.pts is None else packet.pts
                if stamp is not None:
                    last = max(last, float((stamp + (packet.duration or 0)) * packet.time_base))
        except FFmpegError as error:
            fault = f"cannot be read to its end ({reason_of(error)})"
        last -= (source.container.start_time or 0) / av.time_base
        times, _ = shown_times(source, found, notes.append)
    count = sum(start - 1e-6 <= time < end - 1e-6 for time in times)
    if not fault and told - last > max(_MISSING_SECONDS, _MISSING_SHARE * told):
        fault = f"cut off: it ends at {last:.2f} s of {told:.2f} s"
    if not fault and notes:
        fault = notes[0].reason
    return count, fault


def _look(
    media: Media, start: float, end: float, skipped: list[SkippedPacket]
) -> NDArray[np.float16]:
    number = MOMENTS * _FRAMES
    times = [start + (i + 0.5) / number * (end - start) for i in range(number)]
    cells, last = [], None
    for image in media.frames(times, 1e-3, skipped):
        cells.append(cells[-1] if image is last else cell_means(image, CELLS))
        last = image
    moments = np.stack(cells).reshape(MOMENTS, _FRAMES, CELLS, CELLS)
    return moments.mean(axis=1).astype(np.float16)


def cell_means(image: NDArray[np.uint8], cells: int) -> NDArray[np.float32]:
    """Mean grey of the cells of a grid.

    Args:
        image: (height, width, 3).
        cells: A side.

    Returns:
        (cells, cells) from 0 to 255.
    """
    rows, columns = (np.arange(cells + 1) * length // cells for length in image.shape[:2])
    sums = np.add.reduceat(image.sum(axis=2, dtype=np.float32), rows[:-1], axis=0)
    sums = np.add.reduceat(sums, columns[:-1], axis=1)
    # A picture of fewer pixels than cells has them in several cells.
    areas = np.maximum(np.diff(rows), 1)[:, None] * np.maximum(np.diff(columns), 1)
    return sums / (3 * areas)


def _decode_all(media: Media, start: float, end: float, skipped: list[SkippedPacket]) -> None:
    if not isinstance(media, VideoFile):
        step = 1 / media.frame_rate if isinstance(media, JpegFrames) else 0.1
        for _ in media.frames(np.arange(start, end, step).tolist(), 1e-3, skipped):
            pass
        return
    frames = decode(open_source(media.source, media.thread_type), skipped, start)
    try:
        for frame in frames:
            if frame.time >= end:
                break
            # Decoders paint over what they cannot read, and say so.
            if frame.picture.is_corrupt and frame.time >= start:
                skipped.append(SkippedPacket(frame.time, "a picture is not whole"))
    finally:
        frames.close()


def _digest(sample: Sample) -> str:
    """SHA-256 of what is stored, and of which part of it is meant."""
    content = hashlib.sha256(f"{sample.start} {sample.end} ".encode())
    media = sample.media
    source = media.source if isinstance(media, VideoFile | JpegFrames) else Path(media.name)
    if not isinstance(source, Region):
        source = Region(source, 0, sys.maxsize, "")
    left = source.size
    try:
        with source.path.open("rb") as file:
            file.seek(source.offset)
            while left > 0 and (block := file.read(min(_BLOCK, left))):
                content.update(block)
                left -= len(block)
    except OSError as error:
        raise VideoError(f"{media.name}: cannot be read ({error.strerror})") from None
    return content.hexdigest()
