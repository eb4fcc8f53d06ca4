"""Logistic regression on features of a frozen network, with its strength by cross-validation."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from sklearn.decomposition import PCA
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

from movinet.runtime.numbers import to_probabilities
from movinet.training.probing.logistic import NEVER, Array, Layer, fit_path

#: Candidates for C, from the strongest regularisation to the weakest.
STRENGTHS = tuple(float(f"{10**power:.3g}") for power in np.arange(-1, 3.1, 0.5))
#: C where nothing can be cross-validated.
DEFAULT_STRENGTH = 10.0
#: Principal components that are fitted on: 96 % of the variance of 500 videos' features.
_COMPONENTS = 256


@dataclass(frozen=True)
class Samples:
    """What a layer is fitted on.

    Attributes:
        features: (samples, views, channels).
        targets: (samples, classes), which labels each has; one where they exclude each other.
        groups: (samples,) numbers; those of a group stay together in cross-validation.
        multi_label: Whether a sample may have any number of labels.
        averaged: Whether evaluation averages the probabilities of all views, or sees the last one.
    """

    features: Array
    targets: NDArray[np.bool_]
    groups: NDArray[np.int64]
    multi_label: bool = False
    averaged: bool = False

    @property
    def evaluated(self) -> slice:
        """The views that evaluation sees."""
        return slice(None) if self.averaged else slice(-1, None)


class CrossValidation(NamedTuple):
    """How a layer predicts samples that it was not fitted on.

    Attributes:
        indices: (held out,) numbers of the samples, those whose classes the other folds have.
        fold: (held out,) the fold of each.
        probabilities: (held out, classes), with the chosen C.
        losses: (strengths, folds) mean losses, for `STRENGTHS`.
    """

    indices: NDArray[np.int64]
    fold: NDArray[np.int64]
    probabilities: Array
    losses: Array


class Fit(NamedTuple):
    """A fitted layer.

    Attributes:
        weight: (classes, channels) float32.
        bias: (classes,) float32.
        c: Inverse strength of its regularisation.
        validated: Its cross-validation; None where there are too few samples for one.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    c: float
    validated: CrossValidation | None


def fit_layer(
    samples: Samples,
    *,
    c: float | None = None,
    folds: int = 5,
    balance: bool = False,
    seed: int = 0,
) -> Fit:
    """Fit a linear layer: softmax or, with several labels a sample, a sigmoid for each.

    Features are centred, reduced to principal components, whitened by their covariance within
    classes and views (drawn strongly towards the identity, which keeps directions out that vary
    without meaning, such as those between cameras), and scaled to a mean square of 1. C is the
    smallest whose held-out loss is within one standard error of the lowest (the rule of Breiman,
    Friedman, Olshen and Stone), and the logits are scaled so that the held-out loss is least.

    Args:
        samples: At least two classes.
        c: Inverse strength of the regularisation; None chooses it.
        folds: Of the cross-validation, at most as many as there are groups.
        balance: Count classes equally, however many samples they have.
        seed: Seed of the folds.

    Returns:
        The layer for the features as they are given.
    """
    rows, views, channels = samples.features.shape
    flat = samples.features.reshape(-1, channels)
    components = min(_COMPONENTS, rows * views, channels)
    reduction = PCA(components, random_state=seed).fit(flat)
    reduced = reduction.transform(flat).reshape(rows, views, components)
    weights = _sample_weights(samples.targets, balance, samples.multi_label)
    parts = _folds(samples, folds, seed)
    strengths = STRENGTHS if c is None else (c,)
    held = _hold_out(samples, reduced, weights, parts, strengths) if parts else None
    scale, validated = 1.0, None
    chosen = strengths[0] if c is not None else DEFAULT_STRENGTH
    if held is not None:
        place = _within_one_error(held.losses)
        chosen, scale = strengths[place], _best_scale(held, place, samples, weights)
        probabilities = _probabilities(scale * held.logits[place], samples.multi_label)
        validated = CrossValidation(held.indices, held.fold, probabilities, held.losses)
    layer = _fit(samples, reduced, weights, chosen)
    weight = scale * (np.asarray(reduction.components_).T @ layer.weight)
    bias, there = scale * layer.bias, samples.targets.any(axis=0)
    bias[~there] = bias[there].min() - NEVER
    bias -= reduction.mean_ @ weight
    return Fit(weight.T.astype(np.float32), bias.astype(np.float32), chosen, validated)


def _fit(samples: Samples, reduced: Array, weights: Array, strength: float) -> Layer:
    """One layer on all samples."""
    return next(
        fit_path(reduced, samples.targets, weights, (strength,), multi_label=samples.multi_label)
    )


class _Held(NamedTuple):
    """Logits of held-out samples, (strengths, held out, views, classes), and their losses."""

    indices: NDArray[np.int64]
    fold: NDArray[np.int64]
    logits: Array
    losses: Array


def _sample_weights(targets: NDArray[np.bool_], balance: bool, multi_label: bool) -> Array:
    """(samples, classes) factors of the losses, or (samples, 1) if labels exclude each other."""
    counts = targets.sum(axis=0)
    if multi_label:
        positive = (len(targets) - counts) / np.maximum(counts, 1) if balance else counts * 0 + 1.0
        return np.where(targets, positive, 1.0)
    if not balance:
        return np.ones((len(targets), 1))
    each = len(targets) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    return each[targets.argmax(axis=1)][:, None]


def _folds(samples: Samples, folds: int, seed: int) -> list[tuple[NDArray, NDArray]]:
    """Training and held-out samples of each fold; none where there are too few."""
    targets, groups = samples.targets, samples.groups
    count = min(folds, len(np.unique(groups)), int(targets.sum(axis=0).max()))
    if count < 2:
        return []
    if samples.multi_label:
        splitter, classes = GroupKFold(count, shuffle=True, random_state=seed), None
    else:
        splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
        classes = targets.argmax(axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of classes with fewer samples than folds
        parts = list(splitter.split(targets, classes, groups))
    return [(a, b) for a, b in parts if len(b) and np.count_nonzero(targets[a].any(axis=0)) > 1]


def _hold_out(
    samples: Samples,
    reduced: Array,
    weights: Array,
    parts: Sequence[tuple[NDArray, NDArray]],
    strengths: Sequence[float],
) -> _Held | None:
    """Predict each fold with layers that were fitted on the others."""
    indices, fold, logits, losses = [], [], [], []
    for number, (train, test) in enumerate(parts):
        known = samples.targets[train].any(axis=0)
        test = test[~(samples.targets[test] & ~known).any(axis=1)]
        if not len(test):
            continue
        seen = reduced[test][:, samples.evaluated]
        path = fit_path(
            reduced[train],
            samples.targets[train],
            weights[train],
            strengths,
            multi_label=samples.multi_label,
        )
        of_fold = [seen @ layer.weight + layer.bias for layer in path]
        losses.append(
            [
                _loss(_probabilities(each, samples.multi_label), samples, weights, test)
                for each in of_fold
            ]
        )
        indices.append(test)
        fold.append(np.full(len(test), number))
        logits.append(np.stack(of_fold))
    if not indices:
        return None
    return _Held(
        np.concatenate(indices),
        np.concatenate(fold),
        np.concatenate(logits, axis=1),
        np.array(losses).T,
    )


def _probabilities(logits: Array, multi_label: bool) -> Array:
    """(samples, classes) of logits (samples, views, classes)."""
    return to_probabilities(logits, multi_label=multi_label).mean(axis=1)


def _loss(probabilities: Array, samples: Samples, weights: Array, which: NDArray) -> float:
    """Weighted mean loss of some samples."""
    right = samples.targets[which]
    if samples.multi_label:
        probabilities = np.where(right, probabilities, 1 - probabilities)
    else:
        probabilities = probabilities[right][:, None]
    losses = -np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))
    return float(np.average(losses, weights=weights[which]))


def _within_one_error(losses: Array) -> int:
    """The first strength whose mean loss is within one standard error of the lowest."""
    means = losses.mean(axis=1)
    best = int(means.argmin())
    folds = losses.shape[1]
    error = losses[best].std(ddof=1) / np.sqrt(folds) if folds > 1 else 0.0
    return int(np.flatnonzero(means <= means[best] + error)[0])


def _best_scale(held: _Held, place: int, samples: Samples, weights: Array) -> float:
    """The factor of the logits with the lowest held-out loss."""

    def loss(power: float) -> float:
        scaled = np.exp(power) * held.logits[place]
        probabilities = _probabilities(scaled, samples.multi_label)
        return _loss(probabilities, samples, weights, held.indices)

    found = minimize_scalar(loss, bounds=(-2.0, 2.0), method="bounded", options={"xatol": 1e-2})
    return float(np.exp(found.x))
