"""The state of a stream: a value that goes into a step and comes out of it, never hidden."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from movinet.errors import ConfigError


@dataclass(frozen=True, eq=False)
class StreamState:
    """Everything that a causal model remembers of the frames it has seen.

    Every tensor has the batch as its first dimension, so that streams which start, stop, reset and
    rewind at different times live in one batch (see `where`). It is registered as a pytree: `map`,
    ``torch.utils._pytree`` and every exporter see plain tensors.

    Attributes:
        frame_count: (batch,) int64, frames seen by each stream: the position of the next one.
        pool_weight: (batch,) float, weight of the running sums; equals `frame_count` while nothing
            decays.
        buffers: block name -> (batch, channels, k_t - 1, height, width), the last inputs of its
            temporal kernel.
        sums: block name or "head" -> (batch, channels), running (decayed) sum of the spatial means
            of what it pools.
    """

    frame_count: Tensor
    pool_weight: Tensor
    buffers: dict[str, Tensor]
    sums: dict[str, Tensor]

    def map(self, function: Callable[[Tensor], Tensor]) -> StreamState:
        """The state with `function` applied to each tensor, e.g. ``state.map(Tensor.clone)``."""
        return StreamState(
            function(self.frame_count),
            function(self.pool_weight),
            {name: function(value) for name, value in self.buffers.items()},
            {name: function(value) for name, value in self.sums.items()},
        )

    def where(self, mask: Tensor, other: StreamState) -> StreamState:
        """For each stream, this state where `mask` is true and `other` where it is not.

        ``state.where(keep, model.initial_state(batch, size))`` resets the streams not kept.

        Args:
            mask: (batch,) bool.
            other: A state of the same model, batch and size.
        """
        if mask.shape != self.frame_count.shape or mask.dtype != torch.bool:
            raise ConfigError(
                f"mask must be bool of shape {tuple(self.frame_count.shape)}, "
                f"not {mask.dtype} of {tuple(mask.shape)}"
            )
        for mine, theirs in ((self.buffers, other.buffers), (self.sums, other.sums)):
            if mine.keys() != theirs.keys():
                raise ConfigError("the states are of different models")

        def choose(mine: Tensor, theirs: Tensor) -> Tensor:
            return torch.where(mask.view(-1, *[1] * (mine.ndim - 1)), mine, theirs)

        return StreamState(
            choose(self.frame_count, other.frame_count),
            choose(self.pool_weight, other.pool_weight),
            {name: choose(value, other.buffers[name]) for name, value in self.buffers.items()},
            {name: choose(value, other.sums[name]) for name, value in self.sums.items()},
        )

    @property
    def num_bytes(self) -> int:
        """Memory of all tensors, bytes."""
        tensors = [self.frame_count, self.pool_weight, *self.buffers.values(), *self.sums.values()]
        return sum(t.numel() * t.element_size() for t in tensors)


torch.export.register_dataclass(StreamState, serialized_type_name="movinet.StreamState")


@dataclass(frozen=True)
class Clock:
    """Where each stream of a batch is in time during one chunk; made once per forward pass.

    Attributes:
        num_frames: Frames in the chunk.
        decay: (batch, 1) factor that running sums keep a frame, or None for 1.
        weight: (time, batch, 1) weight of the running sums after each frame.
        positions: (time, batch) position of each frame.
        frame_count: (batch,) frames seen after the chunk.
        pool_weight: (batch,) weight of the running sums after the chunk.
    """

    num_frames: int
    decay: Tensor | None
    weight: Tensor
    positions: Tensor
    frame_count: Tensor
    pool_weight: Tensor

    @classmethod
    def start(
        cls, state: StreamState, num_frames: int, decay: Tensor | None, trained_frames: int
    ) -> Clock:
        """The clock of the chunk of `num_frames` that follows `state`."""
        weight = state.pool_weight.unsqueeze(-1)
        ones = torch.ones_like(weight).expand(num_frames, *weight.shape)
        weights = running_sum(weight, ones, decay)
        steps = torch.arange(num_frames, device=weight.device)
        positions = state.frame_count + steps.unsqueeze(-1)
        if decay is not None:
            # What a decayed sum has forgotten no longer tells the position: hold it where the
            # model was trained to be at most.
            held = positions.clamp(max=trained_frames - 1)
            positions = torch.where(decay.squeeze(-1) < 1, held, positions)
        return cls(
            num_frames,
            decay,
            weights,
            positions,
            state.frame_count + num_frames,
            weights[-1, :, 0].clone(),
        )


def running_sum(start: Tensor, values: Tensor, decay: Tensor | None) -> Tensor:
    """Decayed running sums: ``sum[i] = decay * sum[i - 1] + values[i]``, ``sum[-1] = start``.

    Args:
        start: (batch, channels).
        values: (time, batch, channels).
        decay: (batch, 1), or None for 1.

    Returns:
        (time, batch, channels), the sum after each frame.
    """
    sums = torch.cat([start.unsqueeze(0), values])
    if decay is None:
        return sums.cumsum(0)[1:]
    # Sums over the last 2, 4, 8, ... frames: log2(time) steps, exact in every decay.
    shift, factor = 1, decay
    while shift < sums.shape[0]:
        sums = torch.cat([sums[:shift], sums[shift:] + factor * sums[:-shift]])
        shift, factor = 2 * shift, factor * factor
    return sums[1:]
