"""A moving average of the weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn


class EMA:
    """Exponential moving average of parameters and batch-norm statistics.

    Update t, counted from 1, decays by ``min(decay, (1 + t) / (10 + t))``, as TensorFlow's does, so
    that the first weights are soon forgotten.

    Args:
        model: Whose weights; the average starts as a copy of them.
        decay: In (0, 1).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self._average = {name: t.detach().clone() for name, t in _averaged(model).items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move towards the model's weights."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        current = _averaged(model)
        torch._foreach_lerp_(
            list(self._average.values()), [current[name] for name in self._average], 1 - decay
        )

    def state_dict(self) -> dict[str, object]:
        """For a checkpoint."""
        return {"updates": self.updates, "average": self._average}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """The inverse of `state_dict`."""
        updates, average = state["updates"], state["average"]
        assert isinstance(updates, int)
        assert isinstance(average, dict)
        self.updates = updates
        for name, value in self._average.items():
            value.copy_(average[name])

    @contextlib.contextmanager
    def swapped(self, model: nn.Module) -> Iterator[None]:
        """The model with the averaged weights; afterwards it has its own again, bit for bit."""
        current = _averaged(model)
        own = {name: value.detach().clone() for name, value in current.items()}
        _copy(self._average, current)
        try:
            yield
        finally:
            _copy(own, current)


def _averaged(model: nn.Module) -> dict[str, Tensor]:
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return {name: value for name, value in tensors if value.is_floating_point()}


@torch.no_grad()
def _copy(source: dict[str, Tensor], target: dict[str, Tensor]) -> None:
    for name, value in target.items():
        value.copy_(source[name])
