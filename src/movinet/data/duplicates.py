"""Videos that are there twice: by their bytes, or by how they look."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

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
#: Where less moves than this, the few cells of a look do not tell what; nor do they where one of
#: them differs by more than the second.
_LEAST_MOTION, _MOST_CHANGED = 0.1, 0.5
#: Patterns by which the many are sorted out before those that are left are compared by all.
_FIRST = 3
#: Between two reports of progress, looks.
_REPORT = 1000
#: Compared are at most so many of the nearest: of a fixed camera there may be thousands.
_NEAREST = 200


Pairs = list[tuple[int, int]]


def find_duplicates(
    probes: Mapping[int, Probe],
    look_closely: Callable[[Pairs], Pairs],
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[list[int], str]]:
    """Groups of samples that are the same, and how: by their bytes first, then by their looks.

    Args:
        probes: Samples by their number.
        look_closely: Those of some pairs of numbers that are the same; their looks hardly differ,
            as those of all videos of a fixed camera in which little moves.
        progress: Called with the looks compared and all looks.

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
    if not looks:
        return
    sure, doubtful = _pairs(np.stack(looks), progress)
    closely = look_closely([(told[one], told[other]) for one, other in doubtful])
    pairs = [*((told[one], told[other]) for one, other in sure), *closely]
    for group in _groups(told, pairs):
        yield group, "looks like"


def _pairs(
    looks: NDArray[np.float32], progress: Callable[[int, int], None] | None
) -> tuple[Pairs, Pairs]:
    """Looks that show the same video, and those that may."""
    sure: Pairs = []
    doubtful: Pairs = []
    for number, (one, others) in enumerate(_candidates(looks), start=1):
        if progress is not None and (number % _REPORT == 0 or number == len(looks)):
            progress(number, len(looks))
        same, maybe = _near(looks[one], looks[others])
        sure += [(one, other) for other in others[same].tolist()]
        doubtful += [(one, other) for other in others[maybe].tolist()]
    return sure, doubtful


def _groups(numbers: Sequence[int], pairs: Pairs) -> list[list[int]]:
    """Groups of numbers, each in a pair with another one of its group."""
    leader = {number: number for number in numbers}

    def find(index: int) -> int:
        while leader[index] != index:
            index = leader[index]
        return index

    for one, other in pairs:
        low, high = sorted((find(one), find(other)))
        leader[high] = low
    groups: dict[int, list[int]] = defaultdict(list)
    for number in numbers:
        groups[find(number)].append(number)
    return [group for group in groups.values() if len(group) > 1]


def _candidates(looks: NDArray[np.float32]) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Each look and those that may be near, each pair once.

    A mean of cells with any signs cannot differ by more than the mean difference of the cells.
    So looks are sorted by one such mean, and of those within reach the others are compared.
    """
    means = looks.reshape(len(looks), -1) @ _signs() / looks[0].size
    key = means[:, means.std(axis=0).argmax()]  # the one that tells most of them apart
    order = np.argsort(key, kind="stable")
    means, key = means[order], key[order]
    ends = np.searchsorted(key, key + _MOST_DIFFERENT, side="right")
    # The time goes into this loop: of n looks, n^2 pairs are told apart by few numbers each.
    first = np.ascontiguousarray(means[:, (-means.std(axis=0)).argsort()[1 : _FIRST + 1]].T)
    for position, end in enumerate(ends.tolist()):
        within = np.arange(position + 1, end)
        for column in first:
            within = within[np.abs(column[within] - column[position]) <= _MOST_DIFFERENT]
        gaps = np.abs(means[within] - means[position])
        near = (gaps <= _MOST_DIFFERENT).all(axis=1)
        within, gaps = within[near], gaps[near]
        if len(within) > _NEAREST:
            within = within[np.argpartition(gaps.sum(axis=1), _NEAREST)[:_NEAREST]]
        yield int(order[position]), order[within]


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


def _near(
    look: NDArray[np.float32], others: NDArray[np.float32]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which of the others show the same video, and which may."""
    gaps = np.abs(others - look)
    near = gaps.mean(axis=(1, 2, 3)) <= _MOST_DIFFERENT
    moved, moved_others = look - look.mean(axis=0), others - others.mean(axis=1, keepdims=True)
    motion = np.maximum(_rms(moved), _rms(moved_others))
    same_motion = _rms(moved_others - moved) <= _MOST_MOVED * motion
    little = motion < _LEAST_MOTION
    maybe = near & little & (gaps.max(axis=(1, 2, 3)) <= _MOST_CHANGED)
    return near & ~little & same_motion, maybe


def _rms(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.sqrt((values**2).mean(axis=(-3, -2, -1)))
