"""Videos that are there twice: by their bytes, or by how they look."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from movinet.data.probe import CELLS, MOMENTS, Probe

#: Looks are compared as deviations from their mean, in units of their own deviation: other
#: brightness and contrast do not matter. One with less than this, grey levels, is too flat to tell.
_LEAST_DEVIATION = 4.0
#: Measured with videos encoded anew at worse quality, half the size and half the rate. Looks of
#: these differ by so much in the mean; those of different videos of one place may, too.
_MOST_DIFFERENT = 0.2
#: So what moves is compared: by how much it may differ, as a share of it. Other videos of the same
#: place, taken with a fixed camera, differ by 0.6 and more.
_MOST_MOVED = 0.4
#: Where nothing moves, the largest difference of a cell.
_LEAST_MOTION, _MOST_CHANGED = 0.05, 0.3
#: Compared are at most so many of the nearest: of a fixed camera there may be thousands.
_NEAREST = 200


def find_duplicates(probes: Mapping[int, Probe]) -> Iterator[tuple[list[int], str]]:
    """Groups of samples that are the same, and how: by their bytes first, then by their looks.

    Args:
        probes: Samples by their number.

    Yields:
        Numbers in increasing order, and how they are the same. The first of those with the same
        bytes stands for all of them where looks are compared.
    """
    same: dict[str, list[int]] = defaultdict(list)
    for index, found in sorted(probes.items()):
        same[found.digest].append(index)
    for group in same.values():
        if len(group) > 1:
            yield group, "the same bytes as"
    indices = sorted(group[0] for group in same.values())
    looks, told = [], []
    for index in indices:
        look = probes[index].look.astype(np.float32)
        if look.std() >= _LEAST_DEVIATION:
            looks.append((look - look.mean()) / look.std())
            told.append(index)
    if looks:
        for group in _alike(np.stack(looks)):
            yield [told[i] for i in group], "looks like"


def _alike(looks: NDArray[np.float32]) -> list[list[int]]:
    """Groups of looks, each near another one of its group."""
    leader = list(range(len(looks)))

    def find(index: int) -> int:
        while leader[index] != index:
            index = leader[index]
        return index

    for one, others in _candidates(looks):
        for other in others[_near(looks[one], looks[others])].tolist():
            low, high = sorted((find(one), find(other)))
            leader[high] = low
    groups: dict[int, list[int]] = defaultdict(list)
    for index in range(len(looks)):
        groups[find(index)].append(index)
    return [group for group in groups.values() if len(group) > 1]


def _candidates(looks: NDArray[np.float32]) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """For each look those that may be near, each pair once.

    A mean of cells with any signs cannot differ by more than the mean difference of the cells.
    So looks are sorted by one such mean, and of those within reach the others are compared.
    """
    means = looks.reshape(len(looks), -1) @ _signs() / looks[0].size
    key = means[:, means.std(axis=0).argmax()]  # the one that tells most of them apart
    order = np.argsort(key, kind="stable")
    means, key = means[order], key[order]
    ends = np.searchsorted(key, key + _MOST_DIFFERENT, side="right")
    for position, end in enumerate(ends.tolist()):
        gaps = np.abs(means[position + 1 : end] - means[position])
        within = np.flatnonzero((gaps <= _MOST_DIFFERENT).all(axis=1))
        if len(within) > _NEAREST:
            within = within[np.argpartition(gaps[within].sum(axis=1), _NEAREST)[:_NEAREST]]
        if len(within):
            yield int(order[position]), order[position + 1 + within]


def _signs() -> NDArray[np.float32]:
    """(cells, patterns) halves, quarters and stripes in space, alone and changing over time."""
    half = np.where(np.arange(CELLS) < CELLS // 2, 1.0, -1.0)
    inner = np.where(abs(np.arange(CELLS) - (CELLS - 1) / 2) < CELLS / 4, 1.0, -1.0)
    even = np.ones(CELLS)
    later = np.where(np.arange(MOMENTS) < MOMENTS // 2, 1.0, -1.0)
    pairs = [(half, even), (even, half), (half, half), (inner, even), (even, inner), (inner, inner)]
    space = [np.outer(rows, columns) for rows, columns in pairs]
    patterns = [np.multiply.outer(t, s) for t in (np.ones(MOMENTS), later) for s in space]
    return np.stack([pattern.ravel() for pattern in patterns], axis=1).astype(np.float32)


def _near(look: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which of the others show the same video."""
    gaps = np.abs(others - look)
    moved, moved_others = look - look.mean(axis=0), others - others.mean(axis=1, keepdims=True)
    motion = np.maximum(_rms(moved), _rms(moved_others))
    same_motion = _rms(moved_others - moved) <= _MOST_MOVED * motion
    unchanged = gaps.max(axis=(1, 2, 3)) <= _MOST_CHANGED
    alike = np.where(motion < _LEAST_MOTION, unchanged, same_motion)
    return (gaps.mean(axis=(1, 2, 3)) <= _MOST_DIFFERENT) & alike


def _rms(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.sqrt((values**2).mean(axis=(-3, -2, -1)))
