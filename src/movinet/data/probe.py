"""What a stored video is: size, length, rate, whether it can be decoded, and what it looks like."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from movinet.data.samples import Sample
from movinet.data.sampling import span_of
from movinet.errors import VideoError
from movinet.video.container import Region, SkippedPacket
from movinet.video.media import Media

#: A look is made of so many moments, each the mean of so many frames, in so many cells a side:
#: means over time and space are hardly moved by other rates, sizes and codecs.
MOMENTS, _FRAMES, CELLS = 6, 4, 8
_BLOCK = 1 << 20


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


def probe(sample: Sample, *, deep: bool = False) -> Probe:
    """Look at a sample.

    Args:
        sample: The sample.
        deep: Decode all of it, and not only what its look needs.

    Raises:
        VideoError: If it cannot be read at all.
    """
    start, end = span_of(sample)
    frames, broken = sample.media.check(start, end)
    skipped: list[SkippedPacket] = []
    look = _look(sample.media, start, end, skipped)
    if deep and all(packet.note for packet in skipped):
        sample.media.decode_all(start, end, skipped)
    lost = [packet for packet in skipped if not packet.note]
    if lost and not broken:
        places = "in 1 place" if len(lost) == 1 else f"in {len(lost)} places, the first"
        broken = f"damaged {places}: {lost[0].reason}"
    return Probe(end - start, frames, _digest(sample), look, broken)


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


def _digest(sample: Sample) -> str:
    """SHA-256 of what is stored, and of which part of it is meant."""
    content = hashlib.sha256(f"{sample.start} {sample.end} ".encode())
    media = sample.media
    for file in media.files():
        source = file if isinstance(file, Region) else Region(file, 0, sys.maxsize, "")
        left = source.size
        try:
            with source.path.open("rb") as opened:
                opened.seek(source.offset)
                while left > 0 and (block := opened.read(min(_BLOCK, left))):
                    content.update(block)
                    left -= len(block)
        except OSError as error:
            raise VideoError(f"{media.name}: cannot be read ({error.strerror})") from None
    return content.hexdigest()
