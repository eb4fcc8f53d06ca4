"""RMSprop as TensorFlow computes it, which the published recipes were tuned for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class RMSprop(torch.optim.Optimizer):
    """TensorFlow's RMSprop (tf.keras.optimizers.legacy.RMSprop, not centred).

    For each parameter w with gradient g::

        v = rho * v + (1 - rho) * g^2
        m = momentum * m + lr * g / sqrt(v + epsilon)
        w = w - m

    PyTorch's own adds epsilon outside of the root and lets the learning rate act on m: with the
    recipes' epsilon of 1 and a learning rate that changes, both are other algorithms.

    Args:
        params: Parameters or groups of them.
        lr: Learning rate.
        rho: Decay of the mean square.
        momentum: Decay of the accumulated steps.
        epsilon: Added under the root.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        rho: float = 0.9,
        momentum: float = 0.9,
        epsilon: float = 1.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "rho": rho, "momentum": momentum, "epsilon": epsilon})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Update all parameters that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                self._update(params, group)
        return loss

    def _update(self, params: list[Tensor], group: dict[str, Any]) -> None:
        for p in params:
            if not self.state[p]:
                self.state[p] = {"square": torch.zeros_like(p), "momentum": torch.zeros_like(p)}
        gradients = [p.grad for p in params if p.grad is not None]
        squares = [self.state[p]["square"] for p in params]
        momenta = [self.state[p]["momentum"] for p in params]
        torch._foreach_mul_(squares, group["rho"])
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - group["rho"])
        factors = torch._foreach_add(squares, group["epsilon"])
        torch._foreach_rsqrt_(factors)
        torch._foreach_mul_(momenta, group["momentum"])
        torch._foreach_addcmul_(momenta, gradients, factors, group["lr"])
        torch._foreach_sub_(params, momenta)
