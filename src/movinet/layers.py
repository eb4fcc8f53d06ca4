"""The layers of a MoViNet.

Inside the network a video is (time, batch, channels, height, width) in channels-last memory:
"frames". A 2-D convolution sees them as one large batch, a temporal one sees time as the rows of
one image, a span of time is a slice, and none of them copies. Layers with memory take their state
as an argument and return the new one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from movinet.config import BlockSpec, MoViNetConfig
from movinet.state import Clock, running_sum
from movinet.weights.keys import se_width

#: Large expanded activations are computed a few frames at a time, so that they stay in the cache
#: and are never allocated whole (docs/performance.md).
CHUNK_BYTES = 8 * 2**20


def to_frames(video: Tensor) -> Tensor:
    """(batch, channels, time, height, width) to (time, batch, channels, height, width); a view."""
    return video.permute(2, 0, 1, 3, 4)


def to_video(frames: Tensor) -> Tensor:
    """The inverse of `to_frames`."""
    return frames.permute(1, 2, 0, 3, 4)


def activate(x: Tensor, name: str) -> Tensor:
    """Apply an activation by its name in `MoViNetConfig`, in place where autograd allows it."""
    inplace = not torch.is_grad_enabled()
    match name:
        case "swish":
            return F.silu(x, inplace=inplace)
        case "hard_swish":
            return F.hardswish(x, inplace=inplace)
        case "relu6":
            return F.relu6(x, inplace=inplace)
        case "sigmoid":
            return torch.sigmoid(x)
        case "hard_sigmoid":
            # The reference multiplies by 0.16667, not by 1/6, and its weights were trained so.
            return F.relu6(x + 3.0) * 0.16667
        case "none":
            return x
    raise AssertionError(name)


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's SAME padding (before, after); the odd one goes to the end."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class ConvNorm(nn.Module):
    """A convolution without bias, batch norm, and an activation.

    The kernel is 5-D, (out, in / groups, k_t, k, k), and the padding SAME. In evaluation the batch
    norm is folded into the kernel.

    Attributes:
        weight: The kernel.
        norm: The batch norm.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        config: MoViNetConfig,
        *,
        kernel: tuple[int, int] = (1, 1),
        stride: int = 1,
        depthwise: bool = False,
        activation: str,
    ) -> None:
        super().__init__()
        self.kernel, self.stride, self.activation = kernel, stride, activation
        self.groups = inputs if depthwise else 1
        self.lowering = config.lowering
        time, space = kernel
        self.weight = nn.Parameter(torch.empty(outputs, inputs // self.groups, time, space, space))
        self.norm = nn.BatchNorm2d(outputs, eps=config.norm_eps, momentum=config.norm_momentum)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """He-normal initialisation as Keras does it: truncated, of variance 2 / fan_in."""
        init_he_normal(self.weight)
        self.norm.reset_parameters()

    def forward(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
        """Convolve each frame (k_t is 1), and multiply by `scale` at the end."""
        if self.norm.training:
            x = self._normalize(self._convolve_space(x, self.weight, None))
            if scale is not None:
                x = x * scale
        else:
            x = self._convolve_space(x, *self._fold_norm(scale))
        return activate(x, self.activation)

    def over_time(
        self, parts: Iterable[Tensor], count: int, past: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Convolve a depthwise k_t x k x k kernel.

        Args:
            parts: Frames, as consecutive spans of time (each may be made when its turn comes).
            count: Length of all spans together.
            past: The last k_t - 1 frames before them, or None to pad SAME in time.

        Returns:
            All output frames, and the last k_t - 1 frames to go on from, if `past` was given.
        """
        training = self.norm.training
        weight, bias = (self.weight, None) if training else self._fold_norm(None)
        if self.lowering == "3d" or self.kernel[1] == 1:
            x = join([*parts])
            history = past
            if past is not None:
                history = last_frames(past, x)
                x = torch.cat([past.to(x.dtype), x])
            convolve = self._convolve_3d if self.lowering == "3d" else self._convolve_time
            y = convolve(x, weight, bias, 0 if past is not None else self.kernel[0] // 2)
        else:
            y, history = self._add_taps(parts, count, weight, bias, past)
        return activate(self._normalize(y) if training else y, self.activation), history

    def _normalize(self, x: Tensor) -> Tensor:
        return self.norm(x.flatten(0, 1)).unflatten(0, x.shape[:2])

    def _fold_norm(self, scale: Tensor | None) -> tuple[Tensor, Tensor]:
        norm = self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        factor = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        bias = norm.bias - norm.running_mean * factor
        if scale is not None:
            factor, bias = factor * scale, bias * scale
        return self.weight * factor.view(-1, 1, 1, 1, 1), bias

    def _convolve_space(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.lowering == "3d":
            return self._convolve_3d(x, weight, bias, 0)
        return self._convolve_2d(x, weight[:, :, 0], bias)

    def _convolve_2d(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        rows, columns = self._padding(x)
        # Where one more row or column is missing at the end, a leading zero in the kernel makes
        # the padding symmetric, which costs less than a padded copy of the frames.
        odd = (columns[1] - columns[0], rows[1] - rows[0])
        if any(odd):
            weight = F.pad(weight, (odd[0], 0, odd[1], 0))
        padding = (rows[1], columns[1])
        y = F.conv2d(x.flatten(0, 1), weight, bias, self.stride, padding, 1, self.groups)
        return y.unflatten(0, x.shape[:2])

    def _convolve_time(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, padding: int
    ) -> Tensor:
        """k_t x 1 x 1: time as the rows of one image, everything else as its columns."""
        time, batch, channels, height, width = x.shape
        image = x.permute(0, 1, 3, 4, 2).reshape(1, time, batch * height * width, channels)
        image = image.permute(0, 3, 1, 2)
        image = F.conv2d(image, weight[..., 0], bias, padding=(padding, 0), groups=self.groups)
        frames = image.permute(0, 2, 3, 1).reshape(-1, batch, height, width, channels)
        return frames.permute(0, 1, 4, 2, 3)

    def _convolve_3d(self, x: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
        rows, columns = self._padding(x)
        video = F.pad(to_video(x), (*columns, *rows, padding, padding))
        stride = (1, self.stride, self.stride)
        return to_frames(F.conv3d(video, weight, bias, stride, groups=self.groups))

    def _padding(self, x: Tensor) -> tuple[tuple[int, int], tuple[int, int]]:
        rows = same_padding(x.shape[3], self.kernel[1], self.stride)
        return rows, same_padding(x.shape[4], self.kernel[1], self.stride)

    def _add_taps(
        self,
        parts: Iterable[Tensor],
        count: int,
        weight: Tensor,
        bias: Tensor | None,
        past: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:
        """k_t x k x k as k_t 2-D convolutions of each span, added where they belong in time."""
        taps, history = self.kernel[0], past
        lead = taps - 1 if past is not None else taps // 2
        spans = itertools.chain([] if past is None else [past.to(weight.dtype)], parts)
        position, y = (0 if past is None else -lead), None
        for span in spans:
            if y is None:
                y = self._filled(span, count, bias)
            for i in range(taps):
                # Frame j of the span is under tap i of output frame position + j + lead - i.
                start = position + lead - i
                low, high = max(0, -start), min(span.shape[0], count - start)
                if low < high:
                    tap = self._convolve_2d(span[low:high], weight[:, :, i], None)
                    y[start + low : start + high] += tap
            if position >= 0 and history is not None:
                history = last_frames(history, span)
            position += span.shape[0]
        assert y is not None
        return y, history

    def _filled(self, like: Tensor, count: int, bias: Tensor | None) -> Tensor:
        """`count` output frames that hold the bias."""
        size = [-(-side // self.stride) for side in like.shape[3:]]
        y = like.new_zeros(count, like.shape[1], *size, self.weight.shape[0])
        return (y if bias is None else y + bias.to(y.dtype)).permute(0, 1, 4, 2, 3)


def join(parts: Sequence[Tensor]) -> Tensor:
    """Consecutive spans of frames as one."""
    return parts[0] if len(parts) == 1 else torch.cat(tuple(parts))


def last_frames(past: Tensor, frames: Tensor) -> Tensor:
    """The last frames of `past` and `frames`, as many as `past` has, in memory of their own."""
    count = frames.shape[0]
    if count >= past.shape[0]:
        return frames[count - past.shape[0] :].to(past.dtype, copy=True)
    return torch.cat([past[count:], frames.to(past.dtype)])


class ConvBias(nn.Module):
    """A 1x1x1 convolution with a bias: squeeze-excitation's and the classifier's.

    Works on vectors, (..., inputs) to (..., outputs); the kernel is kept 5-D like all others.
    """

    def __init__(self, inputs: int, outputs: int, std: float | None = None) -> None:
        super().__init__()
        self.std = std
        self.weight = nn.Parameter(torch.empty(outputs, inputs, 1, 1, 1))
        self.bias = nn.Parameter(torch.empty(outputs))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """He-normal, or normal(0, `std`); the bias is zero."""
        if self.std is None:
            init_he_normal(self.weight)
        else:
            nn.init.normal_(self.weight, 0.0, self.std)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) to (..., outputs)."""
        return F.linear(x, self.weight.flatten(1), self.bias)


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
        if clock is not None and total is not None:
            sums = running_sum(total, means, clock.decay)
            over_time, total = sums / clock.weight, sums[-1]
        elif self.se_type in ("3d", "2plus3d"):
            over_time = means.mean(0, keepdim=True)
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
        y += self._skip(x)
        return y, past, total

    def _expand_and_filter(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor | None]:
        parts = split_frames(x, self.spec.expand, self.training)
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

    Only in evaluation (batch statistics need all frames), and not in graphs: compilers fuse.
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
        (..., width) float64: a long stream's positions times small frequencies need it.
    """
    index = torch.arange(width, device=positions.device)
    rates = 10000.0 ** (-2 * (index // 2) / width).to(torch.float64)
    angles = positions.unsqueeze(-1) * rates
    return torch.cat([angles[..., 0::2].sin(), angles[..., 1::2].cos()], -1)


def init_he_normal(weight: Tensor) -> None:
    """Keras's he_normal: normal truncated at two deviations, rescaled to variance 2 / fan_in."""
    fan_in = weight[0].numel()
    # 0.87962566 is the deviation of a unit normal truncated at ±2.
    std = (2 / fan_in) ** 0.5 / 0.87962566103423978
    nn.init.trunc_normal_(weight, 0.0, std, -2 * std, 2 * std)
