"""The layers of a MoViNet that are more than a convolution: squeeze-excitation and the block.

They work on frames, (time, batch, channels, height, width) in channels-last memory. Layers with
memory take their state as an argument and return the new one.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from movinet.network.config import BlockSpec, MoViNetConfig
from movinet.network.convolution import ConvBias, ConvNorm, activate, join
from movinet.network.geometry import se_width
from movinet.network.state import Clock, running_sum

#: Large expanded activations are computed a few frames at a time, so that they stay in the cache
#: and are never allocated whole (docs/performance.md).
CHUNK_BYTES = 8 * 2**20


class SqueezeExcitation(nn.Module):
    """Gates each channel by what was pooled over space, and over time where `se_type` says so.

    Attributes:
        position_scale: Learned factor of the positional encoding, where the model has one.
    """

    def __init__(self, channels: int, config: MoViNetConfig) -> None:
        super().__init__()
        self.se_type = config.se_type
        self.activation, self.gating = config.activation, config.gating_activation
        pooled, hidden = se_width(config, channels)
        self.reduce = ConvBias(pooled, hidden)
        self.expand = ConvBias(hidden, channels)
        if config.positional_encoding:
            self.position_scale = nn.Parameter(torch.zeros(()))
        else:
            self.register_parameter("position_scale", None)

    def forward(
        self, x: Tensor, clock: Clock | None, total: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Gate frames.

        Args:
            x: Frames.
            clock: Where the streams are; None where the model is not causal.
            total: (batch, channels) running sum of the spatial means; None where nothing is pooled
                over past frames.

        Returns:
            The gated frames, and the new running sum.
        """
        means = spatial_means(x)
        over_time = means
        if self.se_type in ("3d", "2plus3d"):
            if clock is None:
                over_time = means.mean(0, keepdim=True)
            else:
                assert total is not None
                sums = running_sum(total, means, clock.decay)
                over_time, total = sums / clock.weight, sums[-1].clone()
        if self.se_type == "2plus3d":
            over_time = torch.cat([over_time.expand_as(means), means], -1)
        if self.position_scale is not None and clock is not None:
            encoding = positional_encoding(clock.positions, over_time.shape[-1])
            over_time = over_time + self.position_scale * encoding.to(over_time.dtype)
        gate = activate(self.reduce(over_time.to(self.reduce.weight.dtype)), self.activation)
        gate = activate(self.expand(gate), self.gating).to(x.dtype)
        gate = gate[..., None, None]
        return (x * gate if torch.is_grad_enabled() else x.mul_(gate)), total


class Block(nn.Module):
    """Inverted bottleneck: expand, depthwise over space and time, gate, project, add the skip.

    Only its last depthwise convolution touches time: `temporal` in a factorised model, else
    `depthwise`.

    Attributes:
        scale: Learned factor of the residual branch, initially 0.
    """

    def __init__(self, spec: BlockSpec, config: MoViNetConfig, drop_path: float) -> None:
        super().__init__()
        self.spec, self.drop_path = spec, drop_path
        time, space = spec.kernel_time, spec.kernel_space
        factorized = config.factorized and time > 1
        act = config.activation
        self.expand = ConvNorm(spec.inputs, spec.expand, config, activation=act)
        self.depthwise = ConvNorm(
            spec.expand,
            spec.expand,
            config,
            kernel=(1 if factorized else time, space),
            stride=spec.stride,
            depthwise=True,
            activation=act,
        )
        self.temporal = None
        if factorized:
            self.temporal = ConvNorm(
                spec.expand, spec.expand, config, kernel=(time, 1), depthwise=True, activation=act
            )
        self.se = None if config.se_type == "none" else SqueezeExcitation(spec.expand, config)
        self.project = ConvNorm(spec.expand, spec.outputs, config, activation="none")
        self.skip = None
        if spec.has_skip_projection:
            self.skip = ConvNorm(spec.inputs, spec.outputs, config, activation="none")
        self.scale = nn.Parameter(torch.zeros(()))

    def forward(
        self,
        x: Tensor,
        clock: Clock | None = None,
        past: Tensor | None = None,
        total: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """One block.

        Args:
            x: Frames, (time, batch, inputs, height, width).
            clock: Where the streams are; None where the model is not causal.
            past: Stream buffer, the last k_t - 1 inputs of the temporal kernel as frames; None
                where the model is not causal or k_t is 1.
            total: (batch, expand) running sum of squeeze-excitation's pooling.

        Returns:
            The output, the new buffer and the new sum.
        """
        y, past = self._expand_and_filter(x, past)
        if self.se is not None:
            y, total = self.se(y, clock, total)
        y = self._drop(self.project(y, self.scale))
        return y + self._skip(x), past, total

    def _expand_and_filter(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor | None]:
        parts = split_frames(x, self.spec.expand, self.expand.norm.training)
        if self.depthwise.kernel[0] > 1:
            expanded = (self.expand(part) for part in parts)
            return self.depthwise.over_time(expanded, x.shape[0], past)
        y = join([self.depthwise(self.expand(part)) for part in parts])
        if self.temporal is None:
            return y, None
        return self.temporal.over_time([y], x.shape[0], past)

    def _skip(self, x: Tensor) -> Tensor:
        if self.spec.stride != 1:
            # SAME padding that is left out of the mean: at an even size the window at the end is
            # cut (ceil_mode), at an odd one both ends are padded.
            y = F.avg_pool2d(
                x.flatten(0, 1),
                3,
                self.spec.stride,
                (x.shape[3] % 2, x.shape[4] % 2),
                ceil_mode=True,
                count_include_pad=False,
            )
            x = y.unflatten(0, x.shape[:2])
        return x if self.skip is None else self.skip(x)

    def _drop(self, x: Tensor) -> Tensor:
        """Stochastic depth: zero the whole branch of a sample, divide the kept by their share."""
        if not self.training or self.drop_path == 0:
            return x
        keep = 1 - self.drop_path
        mask = torch.empty(x.shape[1], 1, 1, 1, dtype=x.dtype, device=x.device)
        return x * (mask.bernoulli_(keep) / keep)


def split_frames(x: Tensor, channels: int, training: bool) -> tuple[Tensor, ...]:
    """Frames in spans of time, each at most `CHUNK_BYTES` with `channels` channels.

    Not where batch norms are `training` (their statistics need all frames), and not in graphs:
    compilers fuse.
    """
    step = x.shape[1] * channels * x.shape[3] * x.shape[4] * x.element_size()
    if training or torch.compiler.is_compiling() or step * x.shape[0] <= CHUNK_BYTES:
        return (x,)
    return x.split(max(1, CHUNK_BYTES // step))


def spatial_means(x: Tensor) -> Tensor:
    """(time, batch, channels) means of frames over space, in float32 or better."""
    return x.mean((3, 4), dtype=torch.promote_types(x.dtype, torch.float32))


def positional_encoding(positions: Tensor, width: int) -> Tensor:
    """Sines of the even frequencies, then cosines of the odd ones (concatenated).

    Args:
        positions: (...) frame numbers from 0.
        width: Number of channels.

    Returns:
        (..., width), in float64 where the device has it (a long stream's positions times small
        frequencies need it), else in float32.
    """
    index = torch.arange(width, dtype=torch.float64)
    rates = 10000.0 ** (-2 * (index // 2) / width)
    dtype = torch.float32 if positions.device.type == "mps" else torch.float64
    angles = positions.unsqueeze(-1).to(dtype) * rates.to(positions.device, dtype)
    return torch.cat([angles[..., 0::2].sin(), angles[..., 1::2].cos()], -1)
