"""The figures of merit, worked out a second time by torchmetrics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchmetrics.functional.classification as reference
from torchmetrics.utilities.compute import auc

from movinet.evaluation.metrics import (
    calibration,
    class_scores,
    confusion,
    interval,
    label_scores,
    log_loss,
    mean_of_known,
    multi_label_loss,
    predicted,
    score_classes,
    score_labels,
    top_k,
)

CLASSES = 7


@pytest.fixture
def single() -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and classes of 300 samples; class 6 has none and class 5 is never predicted."""
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 6, 300)
    logits = 2 * rng.normal(size=(300, CLASSES)) + 2 * np.eye(CLASSES)[targets]
    logits[:, 5] = -10
    exponentials = np.exp(logits)
    return exponentials / exponentials.sum(axis=1, keepdims=True), targets


@pytest.fixture
def multi() -> tuple[np.ndarray, np.ndarray]:
    """Probabilities, many of them equal, and labels of 200 samples; label 4 has none."""
    rng = np.random.default_rng(1)
    targets = rng.random((200, 5)) < [0.5, 0.2, 0.05, 0.9, 0]
    return np.clip(rng.normal(0.35 + 0.3 * targets, 0.2), 0.01, 0.99).round(2), targets


def test_shares_and_loss(single: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, targets = map(torch.from_numpy, single)
    for k in (1, 5):
        expected = reference.multiclass_accuracy(
            probabilities, targets, CLASSES, average="micro", top_k=k
        )
        assert top_k(*single, k) == pytest.approx(float(expected), abs=1e-6)
    loss = torch.nn.functional.nll_loss(probabilities.log(), targets)
    assert log_loss(*single) == pytest.approx(float(loss))


def test_more_than_there_are_classes_is_all_of_them() -> None:
    assert top_k(np.array([[0.2, 0.5, 0.3]]), np.array([0]), 5) == 1


def test_what_training_and_eval_compare(
    single: tuple[np.ndarray, np.ndarray], multi: tuple[np.ndarray, np.ndarray]
) -> None:
    probabilities, targets = map(torch.from_numpy, single)
    score = score_classes(*single)
    accuracy = reference.multiclass_accuracy(probabilities, targets, CLASSES, average="micro")
    f1 = reference.multiclass_f1_score(probabilities, targets, CLASSES, average="macro")
    assert score.top1 == pytest.approx(float(accuracy), abs=1e-6)
    assert score.macro_f1 == pytest.approx(float(f1), abs=1e-6)  # class 6 counts in neither
    labels = score_labels(*multi)
    # The reference warns of labels without samples; label 4 is never predicted either.
    probabilities, targets = (torch.from_numpy(values[:, :4]) for values in multi)
    assert not (multi[0][:, 4] > 0.5).all()
    precision = reference.multilabel_average_precision(probabilities, targets.long(), 4)
    assert labels.map == pytest.approx(float(torch.as_tensor(precision)), abs=1e-6)
    chosen = multi[0] > 0.5
    known = [i for i in range(5) if chosen[:, i].any() or multi[1][:, i].any()]
    f1 = reference.multilabel_f1_score(
        torch.from_numpy(multi[0][:, known]),
        torch.from_numpy(multi[1][:, known]).long(),
        len(known),
        average="macro",
    )
    assert labels.macro_f1 == pytest.approx(float(f1), abs=1e-6)


def test_equal_probabilities_are_no_decision() -> None:
    """Whatever the place of the right class: it is neither first nor among the first five."""
    equal, targets = np.full((7, 7), 1 / 7), np.arange(7)
    for k in range(1, 7):
        assert top_k(equal, targets, k) == 0
    assert top_k(equal, targets, 7) == 1
    assert (predicted(equal, targets) != targets).all()
    pair = np.array([[0.4, 0.4, 0.2]])
    assert [top_k(pair, np.array([c]), 1) for c in range(3)] == [0, 0, 0]
    assert [top_k(pair, np.array([c]), 2) for c in range(3)] == [1, 1, 0]
    assert predicted(pair, np.array([0])) == [1]
    assert predicted(pair, np.array([2])) == [0]


def test_what_is_no_number_is_not_right() -> None:
    broken = np.full((3, 3), np.nan)
    assert score_classes(broken, np.arange(3))[0] == 0
    assert top_k(np.array([[0.2, np.nan, 0.1]]), np.array([0]), 1) == 0


def test_scores_of_classes(single: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, targets = map(torch.from_numpy, single)
    counts = confusion(single[0].argmax(axis=1), single[1], CLASSES)
    expected = reference.multiclass_confusion_matrix(probabilities, targets, CLASSES)
    assert (counts == expected.numpy()).all()
    scores = class_scores(counts)
    assert np.isnan(scores.precision[5])
    assert np.isnan(scores.recall[6])
    for name in ("precision", "recall", "f1_score"):
        function = getattr(reference, f"multiclass_{name}")
        expected = function(probabilities, targets, CLASSES, average="none")
        found = np.nan_to_num(getattr(scores, name.removesuffix("_score")))
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)


def test_calibration(single: tuple[np.ndarray, np.ndarray]) -> None:
    found = calibration(*single)
    expected = reference.multiclass_calibration_error(
        torch.from_numpy(single[0]), torch.from_numpy(single[1]), CLASSES, n_bins=15, norm="l1"
    )
    assert found.error == pytest.approx(float(expected), abs=1e-6)
    assert found.samples.sum() == 300
    low = np.arange(15) / 15
    there = found.samples > 0
    assert (found.confidence[there] > low[there]).all()
    assert (found.confidence[there] <= low[there] + 1 / 15).all()


def test_a_sure_and_right_model_is_calibrated() -> None:
    assert calibration(np.array([[1.0, 0.0]]), np.array([0])).error == 0


def test_scores_of_labels(multi: tuple[np.ndarray, np.ndarray]) -> None:
    scores = label_scores(*multi)
    # The reference warns of labels without samples.
    probabilities, targets = (torch.from_numpy(values[:, :4]) for values in multi)
    targets = targets.long()
    options = {"num_labels": 4, "average": "none"}
    for name, function in (
        ("average_precision", reference.multilabel_average_precision),
        ("roc_auc", reference.multilabel_auroc),
        ("precision", reference.multilabel_precision),
        ("recall", reference.multilabel_recall),
        ("f1", reference.multilabel_f1_score),
    ):
        expected = function(probabilities, targets, **options).numpy()
        np.testing.assert_allclose(getattr(scores, name)[:4], expected, atol=1e-6, err_msg=name)
        if name not in ("precision", "f1"):
            assert np.isnan(getattr(scores, name)[4]), name
    recall, _ = reference.multilabel_recall_at_fixed_precision(
        probabilities, targets, num_labels=4, min_precision=0.95
    )
    np.testing.assert_allclose(scores.recall_at_precision[:4], recall.numpy(), atol=1e-6)
    assert 0 < scores.recall_at_precision[0] < 1
    precisions, recalls, _ = reference.multilabel_precision_recall_curve(
        probabilities, targets, num_labels=4
    )
    for i in range(4):
        expected = auc(recalls[i], precisions[i], reorder=False)
        assert scores.pr_auc[i] == pytest.approx(float(expected), abs=1e-6)


def test_the_curve_of_precision_begins_at_one() -> None:
    # As sklearn and torchmetrics have it: from (0, 1) over (0, 0), the wrong one, to (1, 1/2).
    scores = label_scores(np.array([[0.9], [0.8]]), np.array([[False], [True]]))
    assert scores.pr_auc[0] == 0.25
    scores = label_scores(np.array([[0.9], [0.9]]), np.array([[False], [True]]))
    assert scores.pr_auc[0] == 0.75  # one threshold: from (0, 1) to (1, 1/2)


def test_loss_of_labels(multi: tuple[np.ndarray, np.ndarray]) -> None:
    expected = torch.nn.functional.binary_cross_entropy(
        torch.from_numpy(multi[0]), torch.from_numpy(multi[1]).double()
    )
    assert multi_label_loss(*multi) == pytest.approx(float(expected))


def test_interval_of_a_share() -> None:
    # Wilson's bounds of 8 in 10, as published tables have them.
    assert interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert interval(0, 5)[0] == 0
    assert interval(5, 5)[1] == 1


def test_what_is_not_known_does_not_count() -> None:
    assert mean_of_known(np.array([1.0, np.nan, 2.0])) == 1.5
    assert np.isnan(mean_of_known(np.array([np.nan])))
