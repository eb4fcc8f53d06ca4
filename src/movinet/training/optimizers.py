"""Optimisers for a network: which parameters decay, clip, and how fast each learns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from movinet.training.config import OptimizerSection
from movinet.training.rmsprop import RMSprop

#: The last layer, whose kernel the recipes leave out of the decay.
_LAST = "classifier."
_CLASSIFIER = (_LAST, "hidden.")


def make_optimizer(model: nn.Module, config: OptimizerSection) -> torch.optim.Optimizer:
    """The optimiser of a run, for the parameters that are trained.

    Args:
        model: A `MoViNet`.
        config: Its settings; weight decay of RMSprop and SGD is `add_decay`'s work.

    Returns:
        An optimiser whose groups have a "factor" of the learning rate.
    """
    groups: dict[tuple[float, bool], list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            factor = 1.0 if name.startswith(_CLASSIFIER) else config.backbone_factor
            decays = config.name == "adamw" and is_kernel(name, parameter)
            groups.setdefault((factor, decays), []).append(parameter)
    parameters: list[dict[str, Any]] = []
    for (factor, decays), members in groups.items():
        group: dict[str, Any] = {"params": members, "factor": factor}
        if config.name == "adamw":
            group["weight_decay"] = config.weight_decay if decays else 0.0
        parameters.append(group)
    rate = config.learning_rate
    match config.name:
        case "rmsprop":
            return RMSprop(parameters, rate, config.rho, config.momentum, config.epsilon)
        case "sgd":
            return torch.optim.SGD(parameters, rate, config.momentum, fused=True)
        case "adamw":
            return torch.optim.AdamW(parameters, rate, config.betas, config.epsilon, fused=True)


def is_kernel(name: str, parameter: Tensor) -> bool:
    """Whether weight decay is for a parameter: kernels, but not the last layer's."""
    return parameter.ndim > 1 and not name.startswith(_LAST)


def kernels(model: nn.Module) -> list[Tensor]:
    """The trained parameters that decay."""
    return [
        parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and is_kernel(name, parameter)
    ]


@torch.no_grad()
def add_decay(parameters: Iterable[Tensor], weight_decay: float) -> None:
    """Add the gradient of ``weight_decay / 2 * sum(w^2)``, TensorFlow's L2 loss, to the gradients.

    The same gradients as with the penalty in the loss, without its passes over the weights; the
    loss that is reported goes without it. Comes before clipping.
    """
    decaying = [p for p in parameters if p.grad is not None]
    if decaying:
        gradients = [p.grad for p in decaying if p.grad is not None]
        torch._foreach_add_(gradients, decaying, alpha=weight_decay)


@torch.no_grad()
def clip_each_(parameters: Iterable[Tensor], max_norm: float) -> None:
    """Scale each gradient down to a norm of at most `max_norm`: TensorFlow's clipnorm."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if gradients:
        norms = torch.stack(torch._foreach_norm(gradients))
        factors = max_norm / norms.clamp(min=max_norm)
        torch._foreach_mul_(gradients, list(factors.unbind()))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give each group its share of a learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]
