"""Classes of unequal size: drawn equally often, or counted by how rare they are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from movinet.data.samples import DataSet


def class_counts(data: DataSet) -> NDArray[np.int64]:
    """(classes,) how many samples have each class."""
    found = [label for sample in data.samples for label in sample.labels]
    return np.bincount(np.array(found, np.int64), minlength=len(data.labels)).astype(np.int64)


def loss_weights(data: DataSet) -> NDArray[np.float32]:
    """(classes,) weights with which every class counts as much as the others.

    With one label a sample, the factor of its loss: samples / (classes * samples of the class), 1
    in the mean over the samples. With several labels, the factor of the loss where a class is
    there: samples without it / samples with it. 1 for classes that no sample has.
    """
    counts = class_counts(data)
    there = np.maximum(counts, 1)
    if data.multi_label:
        weights = (len(data) - counts) / there
    else:
        weights = len(data) / (np.count_nonzero(counts) * there)
    return np.where(counts > 0, weights, 1).astype(np.float32)


class ShuffledOrder:
    """Epochs in which every sample is drawn once.

    Args:
        data: The data set.
        seed: Of the order.
    """

    def __init__(self, data: DataSet, seed: int) -> None:
        self._count, self._seed = len(data), seed

    def epoch(self, number: int) -> NDArray[np.int64]:
        """(samples,) indices of samples in the order of an epoch, counted from 0."""
        return np.random.default_rng((self._seed, number)).permutation(self._count)


class BalancedOrder:
    """Epochs in which every class is drawn equally often, and each of its samples in turn.

    A sample with several labels is drawn for each of them; those without any are a class of their
    own. An epoch is as long as one in which every sample is drawn once. The turns of a class go on
    from epoch to epoch, so that over time all its samples are drawn equally often.

    Args:
        data: The data set.
        seed: Of the order.
    """

    def __init__(self, data: DataSet, seed: int) -> None:
        classes: list[list[int]] = [[] for _ in range(len(data.labels) + 1)]
        for index, sample in enumerate(data.samples):
            for label in sample.labels or (len(data.labels),):
                classes[label].append(index)
        self._classes = [np.array(members, np.int64) for members in classes if members]
        self._count, self._seed = len(data), seed

    def epoch(self, number: int) -> NDArray[np.int64]:
        """(samples,) indices of samples in the order of an epoch, counted from 0."""
        draws = np.arange(number * self._count, (number + 1) * self._count)
        turns, classes = np.divmod(draws, len(self._classes))
        order = np.empty(self._count, np.int64)
        for label, members in enumerate(self._classes):
            places = np.flatnonzero(classes == label)
            rounds, within = np.divmod(turns[places], len(members))
            for each in np.unique(rounds).tolist():
                rng = np.random.default_rng((self._seed, label, each, 1))
                order[places[rounds == each]] = rng.permutation(members)[within[rounds == each]]
        return np.random.default_rng((self._seed, number)).permutation(order)
