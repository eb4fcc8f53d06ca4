"""Splitting a data set into training, validation and test parts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from movinet.data.samples import DataSet
from movinet.errors import ConfigError

#: What it costs, in squared samples, if a class is missing in training, or in another part.
_MISSING = (1e9, 1e6)
#: Weight of the sizes of parts beside those of classes: evening out a class has to pay.
_SIZE = 0.5
#: How often every group may move on to a part where it fits better.
_ROUNDS = 20
#: How far from its share something may be in silence: a sample, or this part of the share.
_FAR = 0.25
#: Of classes, how many a message names.
_NAMED = 5


class Split(NamedTuple):
    """A data set in parts.

    Attributes:
        parts: Name of each part and the indices of its samples, in the data set's order.
        notes: What could not be as asked, for people.
    """

    parts: dict[str, list[int]]
    notes: tuple[str, ...]


class _Group(NamedTuple):
    """Samples that stay together.

    Attributes:
        samples: Their indices.
        classes: The classes that they have.
        counts: How many have each of these.
    """

    samples: list[int]
    classes: NDArray[np.intp]
    counts: NDArray[np.float64]


def split_data(
    data: DataSet, shares: Mapping[str, float], *, seed: int = 0, by_group: bool = True
) -> Split:
    """Split so that each class has its share in each part, and groups stay together.

    Every class is in the first part, and in the others if it has a group for each.

    Args:
        data: The data set.
        shares: Of each part but the first, "train", which gets the rest; below 1 together.
        seed: Decides which samples go where.
        by_group: Keep samples with the same `Sample.group` in one part, and those without a group
            that are parts of the same video. Samples that are repeated stay together in any case.

    Raises:
        ConfigError: If shares are not allowed, or there are fewer groups than parts.
    """
    names, target = ["train", *shares], np.array([1 - sum(shares.values()), *shares.values()])
    if len(names) < 2 or not (target > 1e-9).all():
        given = ", ".join(f"{name} {share:g}" for name, share in shares.items())
        raise ConfigError(f"shares must be above 0 and leave something for training, not {given}")
    groups = _groups(data, by_group)
    if len(groups) < len(names):
        what = "groups of samples" if len(groups) < len(data) else "samples"
        raise ConfigError(
            f"{data.name}: has {len(groups)} {what}, which cannot be split into {len(names)} parts"
        )
    rng = np.random.default_rng(seed)
    # Large groups first: small ones can still even out what they left.
    order = sorted(rng.permutation(len(groups)).tolist(), key=lambda n: -len(groups[n].samples))
    parts = _Parts(groups, target, len(data.labels))
    for number in order:
        parts.move(number)
    for _ in range(_ROUNDS):
        if not sum(parts.move(number) for number in order):
            break
    chosen = {
        name: sorted(i for n, at in enumerate(parts.where) if at == part for i in groups[n].samples)
        for part, name in enumerate(names)
    }
    return Split(chosen, tuple(_notes(data, names, parts)))


def _groups(data: DataSet, by_group: bool) -> list[_Group]:
    together: dict[object, list[int]] = defaultdict(list)
    for index, sample in enumerate(data.samples):
        group = (sample.group, None if sample.group is not None else sample.media)
        together[group if by_group else sample.part].append(index)
    groups = []
    for samples in together.values():
        counts = Counter(c for index in samples for c in data.samples[index].labels)
        classes = np.array(sorted(counts), np.intp)
        groups.append(_Group(samples, classes, np.array([counts[c] for c in classes], float)))
    return groups


class _Parts:
    """Groups in parts, and how far these are from what they should be.

    That is the sum of squares of samples too many or too few, of each class in each part and, at
    less weight, of each part, so that what classes are rounded by does not add up.
    """

    def __init__(self, groups: Sequence[_Group], target: NDArray[np.float64], classes: int) -> None:
        self.groups = groups
        self.where = [-1] * len(groups)
        self.holders = np.zeros(classes, np.intp)  # groups that have a class
        totals = np.zeros(classes)
        for group in groups:
            self.holders[group.classes] += 1
            totals[group.classes] += group.counts
        self.wanted = target[:, None] * totals
        self.counts = np.zeros_like(self.wanted)
        self.wanted_sizes = target * sum(len(group.samples) for group in groups)
        self.sizes = np.zeros(len(target))
        self.missing = np.full(len(target), _MISSING[1])
        self.missing[0] = _MISSING[0]

    def move(self, number: int) -> bool:
        """Put a group where it fits best; whether that is another part than before."""
        group, before = self.groups[number], self.where[number]
        if before >= 0:
            self._add(before, group, -1)
        counts = self.counts[:, group.classes]
        over = counts - self.wanted[:, group.classes]
        # What the squares grow by.
        cost = (group.counts * (2 * over + group.counts)).sum(axis=1)
        size = len(group.samples)
        cost += _SIZE * size * (2 * (self.sizes - self.wanted_sizes) + size)
        # A class that cannot be everywhere is not looked for outside training.
        spread = self.holders[group.classes] >= len(self.sizes)
        lacking = (counts == 0) & (spread | (np.arange(len(self.sizes)) == 0)[:, None])
        cost -= self.missing * lacking.sum(axis=1)
        best = int(cost.argmin())
        if before >= 0 and cost[before] <= cost[best] + 1e-6:
            best = before
        self._add(best, group, 1)
        self.where[number] = best
        return best != before

    def _add(self, part: int, group: _Group, sign: int) -> None:
        self.counts[part, group.classes] += sign * group.counts
        self.sizes[part] += sign * len(group.samples)


def _notes(data: DataSet, names: Sequence[str], parts: _Parts) -> Iterator[str]:
    """What is not as asked."""
    totals = parts.counts.sum(axis=0)
    never = [data.labels[c] for c in np.flatnonzero(totals == 0)]
    if never:
        yield f"no sample at all of {_named(never)}"
    is_grouped = any(len(group.samples) > 1 for group in parts.groups)
    why = "groups stay together" if is_grouped else "every class goes into every part"
    for part, name in enumerate(names):
        counts, wanted = parts.counts[part], parts.wanted[part]
        absent = [data.labels[c] for c in np.flatnonzero((totals > 0) & (counts == 0))]
        if absent:
            yield (
                f"{name}.csv has no sample of {_named(absent)}: too few samples, or too few "
                f"groups, for {len(names)} parts"
            )
        size, goal = parts.sizes[part], parts.wanted_sizes[part]
        if abs(size - goal) > max(1.0, _FAR * goal):
            yield f"{name}.csv has {size:g} samples instead of {goal:.1f}, since {why}"
        far = (abs(counts - wanted) > np.maximum(1.0, _FAR * wanted)) & (counts > 0)
        if far.any():
            worst = int(np.argmax(abs(counts - wanted) * far))
            unbalanced = [data.labels[c] for c in np.flatnonzero(far)]
            yield (
                f"{name}.csv is not balanced in {_named(unbalanced)}, since {why}: of "
                f"{data.labels[worst]} it has {counts[worst]:g} instead of {wanted[worst]:.1f}"
            )


def _named(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - _NAMED} more" if len(labels) > _NAMED else ""
    return f"{', '.join(labels[:_NAMED])}{more}"
