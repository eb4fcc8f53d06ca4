"""Losses of single- and multi-label classification."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from movinet.training.config import LossSection


def classification_loss(
    logits: Tensor,
    targets: Tensor,
    config: LossSection,
    *,
    multi_label: bool,
    weights: Tensor | None = None,
) -> Tensor:
    """Summed over samples: cross-entropy, or the mean over classes of binary cross-entropies.

    Args:
        logits: (batch, classes) float32.
        targets: (batch,) class indices, or (batch, classes) probabilities; multi-label (batch,
            classes) of 0 to 1.
        config: Label smoothing gives each class ``label_smoothing / classes`` of the probability.
        multi_label: Which of the two.
        weights: (classes,) factors (`movinet.data.balance.loss_weights`): of a sample's loss by its
            class, or multi-label of the loss where a class is there.

    Returns:
        A scalar.
    """
    if multi_label:
        losses = F.binary_cross_entropy_with_logits(
            logits, targets, reduction="none", pos_weight=weights
        )
        return losses.mean(1).sum()
    smoothing = config.label_smoothing
    losses = F.cross_entropy(logits, targets, reduction="none", label_smoothing=smoothing)
    if weights is not None:
        losses = losses * (weights[targets] if targets.ndim == 1 else targets @ weights)
    return losses.sum()
