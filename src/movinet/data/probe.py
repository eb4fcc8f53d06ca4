"""What a stored video is: size, length, rate, and whether it can be decoded."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from movinet.data.samples import Sample
from movinet.data.sampling import span_of
from movinet.data.tfrecords import JpegFrames
from movinet.errors import VideoError
from movinet.video.container import Region, SkippedPacket
from movinet.video.media import VideoFile

#: Where in a sample the frames of its fingerprint lie, as shares of its length.
_PLACES = (0.2, 0.5, 0.8)
#: Width and height of the differences that make a frame's hash: 64 bits.
_GRID = 8
#: A picture with less contrast than this has no fingerprint: flat ones are all alike.
_LEAST_CONTRAST = 4.0


@dataclass(frozen=True)
class Probe:
    """A sample as it was found.

    Attributes:
        seconds: Length of the sample.
        width: Pixels.
        height: Pixels.
        digest: SHA-256 of the stored bytes and of which part of them the sample is.
        prints: (frames * 64,) bits of a perceptual hash, or None where the pictures are too flat.
        broken: What could not be decoded on the way; empty if all was well.
    """

    seconds: float
    width: int
    height: int
    digest: str
    prints: NDArray[np.bool_] | None
    broken: str


def probe(sample: Sample, *, deep: bool = False) -> Probe:
    """Look at a sample.

    Args:
        sample: The sample.
        deep: Decode all of it instead of three frames.

    Raises:
        VideoError: If it cannot be read at all.
    """
    start, end = span_of(sample)
    places = _PLACES if not deep else tuple(np.linspace(0, 1, max(3, round((end - start) * 10))))
    times = [start + place * (end - start) for place in places]
    skipped: list[SkippedPacket] = []
    hashes, shape, last = [], (0, 0), None
    for image in sample.media.frames(times, 1e-3, skipped):
        shape = image.shape[:2]
        if image is not last and (len(hashes) < len(_PLACES) or not deep):
            hashes.append(_difference_hash(image))
        last = image
    known = [bits for bits in hashes if bits is not None]
    whole = len(known) == len(hashes) and len(known) == len(_PLACES)
    broken = f"{len(skipped)} broken packets: {skipped[0].reason}" if skipped else ""
    return Probe(
        end - start,
        shape[1],
        shape[0],
        _digest(sample),
        np.concatenate(known) if whole else None,
        broken,
    )


def _difference_hash(image: NDArray[np.uint8]) -> NDArray[np.bool_] | None:
    """Whether each cell of a small grey picture is brighter than its left neighbour."""
    grey = image.astype(np.float32).mean(axis=2)
    rows = np.array_split(grey, _GRID, axis=0)
    cells = [[c.mean() for c in np.array_split(row, _GRID + 1, axis=1)] for row in rows]
    small = np.array(cells)
    if not np.isfinite(small).all() or small.std() < _LEAST_CONTRAST:
        return None
    return (small[:, 1:] > small[:, :-1]).ravel()


def _digest(sample: Sample) -> str:
    """SHA-256 of what is stored."""
    media = sample.media
    content = hashlib.sha256(f"{sample.start} {sample.end} ".encode())
    if isinstance(media, VideoFile) and not isinstance(media.source, Region):
        try:
            with media.source.open("rb") as file:
                while block := file.read(1 << 20):
                    content.update(block)
        except OSError as error:
            raise VideoError(f"{media.name}: cannot be read ({error.strerror})") from None
    elif isinstance(media, VideoFile | JpegFrames) and isinstance(media.source, Region):
        content.update(media.source.read())
    else:
        content.update(media.name.encode())
    return content.hexdigest()
