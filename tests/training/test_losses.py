import pytest
import torch
import torch.nn.functional as F
from tensorflow_numbers import numbers

from movinet.training.config import LossSection
from movinet.training.losses import classification_loss

SMOOTHED = LossSection(label_smoothing=0.1)


@pytest.mark.parametrize("kind", ["classes", "mixed", "several"])
def test_losses_and_gradients_are_tensorflows(kind: str) -> None:
    logits = numbers("loss/logits").requires_grad_()
    targets = numbers(f"loss/{kind}/targets")
    loss = classification_loss(logits, targets, SMOOTHED, multi_label=kind == "several")
    loss.backward()
    expected = numbers(f"loss/{kind}")
    torch.testing.assert_close(loss.detach(), expected.sum(), rtol=1e-6, atol=0)
    gradient = numbers(f"loss/{kind}/gradient")
    torch.testing.assert_close(logits.grad, gradient, rtol=0, atol=1e-6)


def test_classes_may_be_given_as_probabilities() -> None:
    logits, classes = numbers("loss/logits"), numbers("loss/classes/targets")
    one_hot = F.one_hot(classes, 7).float()
    given = classification_loss(logits, classes, SMOOTHED, multi_label=False)
    torch.testing.assert_close(
        classification_loss(logits, one_hot, SMOOTHED, multi_label=False), given
    )
    plain = classification_loss(logits, classes, LossSection(label_smoothing=0), multi_label=False)
    torch.testing.assert_close(plain, F.cross_entropy(logits, classes, reduction="sum"))


def test_weights_count_each_sample_by_its_class() -> None:
    """As if the samples of a class were there as often as its weight says."""
    logits, classes = numbers("loss/logits"), numbers("loss/classes/targets")
    weights = torch.arange(7.0)
    found = classification_loss(logits, classes, SMOOTHED, multi_label=False, weights=weights)
    rows = torch.repeat_interleave(torch.arange(len(classes)), classes)
    repeated = classification_loss(logits[rows], classes[rows], SMOOTHED, multi_label=False)
    torch.testing.assert_close(found, repeated)
    mixed = F.one_hot(classes, 7).float()
    torch.testing.assert_close(
        classification_loss(logits, mixed, SMOOTHED, multi_label=False, weights=weights), found
    )


def test_weights_of_several_labels_count_where_a_class_is_there() -> None:
    logits, targets = numbers("loss/logits"), numbers("loss/several/targets").round()
    plain = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    found = classification_loss(
        logits, targets, SMOOTHED, multi_label=True, weights=torch.full((7,), 3.0)
    )
    torch.testing.assert_close(found, (plain * (1 + 2 * targets)).mean(1).sum())
