"""Splitting a data set into training, validation and test parts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from movinet.data.samples import DataSet
from movinet.errors import ConfigError


class Split(NamedTuple):
    """A data set in parts.

    Attributes:
        parts: Name of each part and the indices of its samples, in the data set's order.
        notes: What could not be as asked, for people.
    """

    parts: dict[str, list[int]]
    notes: tuple[str, ...]


def split_data(
    data: DataSet, shares: Mapping[str, float], *, seed: int = 0, by_group: bool = True
) -> Split:
    """Split so that each class has its share in each part, and groups stay together.

    Args:
        data: The data set.
        shares: Of each part but the first, which gets the rest; below 1 together.
        seed: Decides which samples go where.
        by_group: Keep samples with the same `Sample.group` in one part.

    Raises:
        ConfigError: If shares are not allowed, or there are fewer groups than parts.
    """
    names, target = ["train", *shares], np.array([1 - sum(shares.values()), *shares.values()])
    if (target <= 0).any() or len(names) < 2:
        raise ConfigError(
            "shares must be above 0 and leave something for training, not "
            + ", ".join(f"{name} {share:g}" for name, share in shares.items())
        )
    groups = _groups(data, by_group)
    if len(groups) < len(names):
        raise ConfigError(
            f"{data.name}: {len(groups)} groups cannot be split into {len(names)} parts"
        )
    counts = np.zeros((len(names), len(data.labels)))
    wanted = target[:, None] * _classes(data, range(len(data)))
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(groups))
    # Large groups first: small ones can still even out what they left.
    order = sorted(order.tolist(), key=lambda number: -len(groups[number]))
    parts: dict[str, list[int]] = {name: [] for name in names}
    for number in order:
        adds = _classes(data, groups[number])
        part = _neediest(counts, wanted, adds, target)
        counts[part] += adds
        parts[names[part]] += groups[number]
    return Split(
        {name: sorted(indices) for name, indices in parts.items()},
        tuple(_notes(data, names, counts, wanted)),
    )


def _groups(data: DataSet, by_group: bool) -> list[list[int]]:
    groups: dict[object, list[int]] = defaultdict(list)
    for index, sample in enumerate(data.samples):
        together = by_group and sample.group is not None
        groups[sample.group if together else index].append(index)
    return list(groups.values())


def _classes(data: DataSet, indices: Sequence[int]) -> NDArray[np.float64]:
    counts = np.zeros(len(data.labels))
    for index in indices:
        counts[list(data.samples[index].labels)] += 1
    return counts


def _neediest(
    counts: NDArray[np.float64],
    wanted: NDArray[np.float64],
    adds: NDArray[np.float64],
    target: NDArray[np.float64],
) -> int:
    """The part that is farthest from what it should have of a group's classes."""
    missing = ((wanted - counts) * (adds > 0)).sum(axis=1) / np.maximum(wanted, 1e-9).sum(axis=1)
    # Equally far parts: the one that is emptiest for its size.
    filled = counts.sum(axis=1) / target
    return int(np.lexsort((filled, -missing))[0])


def _notes(
    data: DataSet,
    names: Sequence[str],
    counts: NDArray[np.float64],
    wanted: NDArray[np.float64],
) -> list[str]:
    notes = []
    for part, name in enumerate(names):
        empty = [
            label
            for label, has, all_of in zip(
                data.labels, counts[part], counts.sum(axis=0), strict=True
            )
            if all_of and not has
        ]
        if empty:
            more = ", ..." if len(empty) > 5 else ""
            notes.append(
                f"{name} has no sample of {len(empty)} classes ({', '.join(empty[:5])}{more}): "
                "they have too few samples or groups"
            )
        total, goal = counts[part].sum(), wanted[part].sum()
        if abs(total - goal) > max(1.0, 0.2 * goal):
            notes.append(f"{name} has {total:g} instead of about {goal:.0f} labels: large groups")
    return notes
