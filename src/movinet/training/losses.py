"""Losses of single- and multi-label classification."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from movinet.training.config import LossSection


def classification_loss(
    logits: Tensor, targets: Tensor, config: LossSection, *, multi_label: bool
) -> Tensor:
    """Summed over samples: cross-entropy, or the mean over classes of binary cross-entropies.

    Args:
        logits: (batch, classes) float32.
        targets: (batch,) class indices, or (batch, classes) probabilities; multi-label (batch,
            classes) of 0 to 1.
        config: Label smoothing gives each class ``label_smoothing / classes`` of the probability.
        multi_label: Which of the two.

    Returns:
        A scalar.
    """
    if multi_label:
        losses = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        return losses.mean(1).sum()
    return F.cross_entropy(logits, targets, reduction="sum", label_smoothing=config.label_smoothing)
