"""Logistic regression of whitened rows, for one strength of regularisation after another."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

Array = NDArray[np.float64]
#: How far the covariance within classes is drawn towards a multiple of the identity.
_SHRINKAGE = 3.0
#: Below the lowest bias: a class that no sample has is not predicted.
NEVER = 20.0
_MOST_ITERATIONS = 2000


class Layer(NamedTuple):
    """A linear layer.

    Attributes:
        weight: (channels, classes).
        bias: (classes,).
    """

    weight: Array
    bias: Array


def fit_path(
    rows: Array,
    targets: NDArray[np.bool_],
    weights: Array,
    strengths: Sequence[float],
    *,
    multi_label: bool,
) -> Iterator[Layer]:
    """Fit a layer for each strength.

    Rows are centred, whitened by their shrunk covariance within classes and views, and scaled to a
    mean square of 1 before they are regularised; the layers are for the rows as they are given.

    Args:
        rows: (samples, views, channels).
        targets: (samples, classes), which labels each sample has.
        weights: (samples, classes) factors of the losses, or (samples, 1) if labels exclude each
            other.
        strengths: Values of C, the inverse strength; increasing, so that each fit starts near.
        multi_label: Fit a sigmoid for each class, and not one softmax.
    """
    views, channels = rows.shape[1:]
    flat = rows.reshape(-1, channels)
    center = flat.mean(axis=0)
    whitening = _whitening(rows - center, targets)
    white = (flat - center) @ whitening
    size = np.sqrt((white**2).sum(axis=1).mean()) or 1.0
    regression = _Regression(
        white / size,
        np.repeat(targets, views, axis=0),
        np.repeat(weights, views, axis=0) / views,
    )
    for strength in strengths:
        layer = regression.sigmoids(strength) if multi_label else regression.softmax(strength)
        weight = whitening @ layer.weight / size
        yield Layer(weight, layer.bias - center @ weight)


def _whitening(centered: Array, targets: NDArray[np.bool_]) -> Array:
    """(channels, channels) inverse root of the shrunk covariance within classes and views."""
    channels = centered.shape[2]
    design = np.column_stack([np.ones(len(targets)), targets]).astype(np.float64)
    # All samples have as many views: the fit of their means is that of all rows.
    means = design @ np.linalg.lstsq(design, centered.mean(axis=1))[0]
    rest = (centered - means[:, None]).reshape(-1, channels)
    covariance = rest.T @ rest / len(rest)
    level = np.trace(covariance) / channels
    if level <= 0:  # one view of one sample for each class
        return np.eye(channels)
    values, vectors = np.linalg.eigh(covariance + _SHRINKAGE * level * np.eye(channels))
    return (vectors / np.sqrt(values)) @ vectors.T


class _Regression:
    """Logistic regression of (rows, channels) on (rows, classes), with increasing strengths."""

    def __init__(self, rows: Array, targets: NDArray[np.bool_], weights: Array) -> None:
        self._rows, self._targets, self._weights = rows, targets, weights
        self._models: dict[int, LogisticRegression] = {}

    def softmax(self, strength: float) -> Layer:
        """One label a row; those that no row has are not predicted."""
        layer = self._empty()
        classes = self._targets.argmax(axis=1)
        model = self._fit(0, strength, classes, self._weights[:, 0])
        there = model.classes_
        coefficients, intercepts = np.asarray(model.coef_), np.asarray(model.intercept_)
        if len(there) == 2:  # one sigmoid: the softmax of minus and plus its half
            coefficients = np.concatenate([-coefficients, coefficients]) / 2
            intercepts = np.concatenate([-intercepts, intercepts]) / 2
        layer.bias[:] = intercepts.min() - NEVER
        layer.weight[:, there], layer.bias[there] = coefficients.T, intercepts
        return layer

    def sigmoids(self, strength: float) -> Layer:
        """Any number of labels a row."""
        layer = self._empty()
        for label, right in enumerate(self._targets.T):
            if right.all() or not right.any():
                layer.bias[label] = NEVER if right.all() else -NEVER
                continue
            model = self._fit(label, strength, right, self._weights[:, label])
            layer.weight[:, label], layer.bias[label] = (
                np.ravel(model.coef_),
                np.ravel(model.intercept_)[0],
            )
        return layer

    def _empty(self) -> Layer:
        classes = self._targets.shape[1]
        return Layer(np.zeros((self._rows.shape[1], classes)), np.zeros(classes))

    def _fit(
        self, number: int, strength: float, targets: NDArray, weights: Array
    ) -> LogisticRegression:
        model = self._models.setdefault(
            number, LogisticRegression(warm_start=True, max_iter=_MOST_ITERATIONS)
        )
        with warnings.catch_warnings():
            # Of separable classes with hardly any regularisation: the loss hardly falls any more.
            warnings.simplefilter("ignore", ConvergenceWarning)
            return model.set_params(C=strength).fit(self._rows, targets, sample_weight=weights)
