"""What moves in a video, finely enough to tell videos of one fixed camera apart."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial

import numpy as np
from numpy.typing import NDArray

from movinet.data.probe import cell_means
from movinet.data.processes import in_processes
from movinet.data.samples import Sample
from movinet.data.sampling import span_of
from movinet.errors import VideoError

#: Pictures of a sample that are compared, in so many cells a side.
_PICTURES, _CELLS = 12, 24
#: Blocks of cells a side that are looked at by themselves.
_BLOCKS = 8
#: Of the same motion, encoded anew at another rate, less than this share differs; of other motion
#: at least all of the weaker one does (as root mean squares).
_MOST_DIFFERENT, _MOST_DIFFERENT_IN_BLOCK = 0.7, 0.9
#: Blocks with less motion than this share of the block that has most are not looked at.
_LEAST_IN_BLOCK = 0.3
#: Less motion than this, grey levels of a cell, is what encoders leave of noise.
_LEAST = 0.05

Motion = NDArray[np.float16]


def alike(
    samples: Mapping[int, Sample], pairs: Sequence[tuple[int, int]], workers: int
) -> list[tuple[int, int]]:
    """The pairs in which the same things move.

    Where nothing moves, nothing tells whether two videos of a fixed camera are the same: such
    pairs are left out.

    Args:
        samples: By their number.
        pairs: Numbers of samples whose pictures hardly differ.
        workers: Processes that decode.
    """
    numbers = sorted({number for pair in pairs for number in pair})
    if not numbers:
        return []
    place = {number: i for i, number in enumerate(numbers)}
    shape = (len(numbers), _PICTURES, _CELLS, _CELLS)
    with tempfile.TemporaryFile() as file:  # of a fixed camera there may be many thousands
        found = np.memmap(file, np.float16, "w+", shape=shape)
        wanted = [samples[number] for number in numbers]
        with closing(in_processes(partial(_motion_or_none), wanted, workers)) as motions:
            for i, motion in enumerate(motions):
                if motion is not None:
                    found[i] = motion
        return [
            (one, other)
            for one, other in pairs
            if moves_alike(found[place[one]], found[place[other]])
        ]


def _motion_or_none(sample: Sample) -> Motion | None:
    try:
        return motion_of(sample)
    except VideoError:
        return None  # damaged: told elsewhere


def motion_of(sample: Sample) -> Motion:
    """How the cells of a sample differ from their mean over time, and pictures from theirs.

    Changes of all of a picture, as by the camera's exposure, are taken out.

    Returns:
        (pictures, cells, cells) grey levels.

    Raises:
        VideoError: If it cannot be read.
    """
    start, end = span_of(sample)
    times = [start + (i + 0.5) / _PICTURES * (end - start) for i in range(_PICTURES)]
    cells, last = [], None
    for image in sample.media.frames(times, 1e-3, []):
        cells.append(cells[-1] if image is last else cell_means(image, _CELLS))
        last = image
    motion = np.stack(cells)
    motion -= motion.mean(axis=0)
    motion -= motion.mean(axis=(1, 2), keepdims=True)
    return motion.astype(np.float16)


def moves_alike(one: Motion, other: Motion) -> bool:
    """Whether the same things move, all over the picture."""
    moves = np.maximum(_power(one), _power(other))
    differs = _power(one.astype(np.float32) - other)
    if moves.sum() <= _LEAST**2 * moves.size:
        return False
    if differs.sum() > _MOST_DIFFERENT**2 * moves.sum():
        return False
    blocks = moves > _LEAST_IN_BLOCK**2 * moves.max()
    return bool((differs[blocks] <= _MOST_DIFFERENT_IN_BLOCK**2 * moves[blocks]).all())


def _power(motion: Motion | NDArray[np.float32]) -> NDArray[np.float32]:
    """(blocks, blocks) mean squares."""
    side = _CELLS // _BLOCKS
    blocks = (motion.astype(np.float32) ** 2).reshape(-1, _BLOCKS, side, _BLOCKS, side)
    return blocks.mean(axis=(0, 2, 4))
