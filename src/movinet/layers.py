"""The layers of a MoViNet.

Inside the network a video is *folded*: (time x batch, channels, height, width) in channels-last
memory, all frames of time 0 first. Then a 2-D convolution sees frames as a batch, a temporal one
sees time as the rows of one image, a span of frames is a slice, and none of them copies. Layers
with memory take their state as an argument and return the new one.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from movinet.config import BlockSpec, MoViNetConfig
from movinet.state import Clock, running_sum
from movinet.weights.keys import se_width

#: Large expanded activations are computed a few frames at a time, so that they stay in the cache
#: and are never allocated whole (docs/performance.md).
CHUNK_BYTES = 4 * 2**20


def fold(video: Tensor) -> Tensor:
    """(batch, channels, time, height, width) to (time x batch, channels, height, width)."""
    return video.permute(2, 0, 1, 3, 4).flatten(0, 1)


def unfold(frames: Tensor, batch: int) -> Tensor:
    """The inverse of `fold`; a view."""
    return frames.unflatten(0, (-1, batch)).permute(1, 2, 0, 3, 4)


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

    The kernel is 5-D, (out, in / groups, k_t, k, k). In evaluation the batch norm is folded into
    it. Convolutions over time are *valid*: the caller puts past (and future) frames before (and
    after) the frames that it wants; spatial padding is SAME.

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

    def forward(self, x: Tensor, batch: int = 1) -> Tensor:
        """Convolve folded frames; `batch` is needed where the kernel reaches over time."""
        if self.norm.training:
            x = self.norm(self._convolve(x, self.weight, None, batch))
        else:
            x = self._convolve(x, *self._fold_norm(), batch)
        return activate(x, self.activation)

    def _fold_norm(self) -> tuple[Tensor, Tensor]:
        norm = self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        factor = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        bias = norm.bias - norm.running_mean * factor
        return self.weight * factor.view(-1, 1, 1, 1, 1), bias

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None, batch: int) -> Tensor:
        if self.lowering == "3d":
            return self._convolve_3d(x, weight, bias, batch)
        time, space = self.kernel
        if time == 1:
            return self._convolve_2d(x, weight[:, :, 0], bias)
        if space == 1:
            return self._convolve_time(x, weight[..., 0], bias, batch)
        # k_t x k x k: the sum of k_t 2-D convolutions on shifted frames.
        frames = x.shape[0] - (time - 1) * batch
        total = self._convolve_2d(x[:frames], weight[:, :, 0], bias)
        for i in range(1, time):
            shifted = x[i * batch : i * batch + frames]
            total = total + self._convolve_2d(shifted, weight[:, :, i], None)
        return total

    def _convolve_2d(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        rows = same_padding(x.shape[2], self.kernel[1], self.stride)
        columns = same_padding(x.shape[3], self.kernel[1], self.stride)
        # Where one more row or column is missing at the end, a leading zero in the kernel makes
        # the padding symmetric, which costs less than a padded copy of the frames.
        odd = (columns[1] - columns[0], rows[1] - rows[0])
        if any(odd):
            weight = F.pad(weight, (odd[0], 0, odd[1], 0))
        return F.conv2d(x, weight, bias, self.stride, (rows[1], columns[1]), 1, self.groups)

    def _convolve_time(self, x: Tensor, weight: Tensor, bias: Tensor | None, batch: int) -> Tensor:
        """k_t x 1 x 1, depthwise: time as the rows of one image, everything else as its columns."""
        _, channels, height, width = x.shape
        image = x.permute(0, 2, 3, 1).reshape(1, -1, batch * height * width, channels)
        image = F.conv2d(image.permute(0, 3, 1, 2), weight, bias, groups=self.groups)
        frames = image.permute(0, 2, 3, 1).reshape(-1, height, width, channels)
        return frames.permute(0, 3, 1, 2)

    def _convolve_3d(self, x: Tensor, weight: Tensor, bias: Tensor | None, batch: int) -> Tensor:
        rows = same_padding(x.shape[2], self.kernel[1], self.stride)
        columns = same_padding(x.shape[3], self.kernel[1], self.stride)
        video = F.pad(unfold(x, batch), (*columns, *rows))
        stride = (1, self.stride, self.stride)
        return fold(F.conv3d(video, weight, bias, stride, groups=self.groups))


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
        self.se_type, self.causal = config.se_type, config.causal
        self.activation, self.gating = config.activation, config.gating_activation
        pooled, hidden = se_width(config, channels)
        self.reduce = ConvBias(pooled, hidden)
        self.expand = ConvBias(hidden, channels)
        if config.positional_encoding:
            self.position_scale = nn.Parameter(torch.zeros(()))
        else:
            self.register_parameter("position_scale", None)

    def forward(
        self, x: Tensor, batch: int, clock: Clock | None, total: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Gate folded frames.

        Args:
            x: Folded frames.
            batch: Number of videos.
            clock: Where the streams are; None where the model is not causal.
            total: (batch, channels) running sum of the spatial means; None where nothing is pooled
                over past frames.

        Returns:
            The gated frames, and the new running sum.
        """
        means = spatial_means(x, batch)
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
        frames = x.unflatten(0, (-1, batch)) * gate[..., None, None]
        return frames.flatten(0, 1), total


class Block(nn.Module):
    """Inverted bottleneck: expand, depthwise over space and time, gate, project, add the skip.

    Only its last depthwise convolution touches time: `temporal` in a factorised model, else
    `depthwise`.

    Attributes:
        scale: Learned factor of the residual branch, initially 0.
    """

    def __init__(self, spec: BlockSpec, config: MoViNetConfig, drop_path: float) -> None:
        super().__init__()
        self.spec, self.causal, self.drop_path = spec, config.causal, drop_path
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
        batch: int,
        clock: Clock | None = None,
        past: Tensor | None = None,
        total: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """One block on folded frames.

        Args:
            x: Folded frames, (time x batch, inputs, height, width).
            batch: Number of videos.
            clock: Where the streams are; None where the model is not causal.
            past: Folded stream buffer, the last k_t - 1 inputs of the temporal kernel; None where
                the model is not causal or k_t is 1.
            total: (batch, expand) running sum of squeeze-excitation's pooling.

        Returns:
            The folded output, the new buffer and the new sum.
        """
        y, past = self._expand_and_filter(x, batch, past)
        if self.se is not None:
            y, total = self.se(y, batch, clock, total)
        y = self._drop(self.scale * self.project(y), batch)
        return y + self._skip(x), past, total

    def _expand_and_filter(
        self, x: Tensor, batch: int, past: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        if self.temporal is None:
            return self._over_time(x, batch, past, self.expand, self.depthwise)
        outputs = [self.depthwise(self.expand(part)) for part in self._parts(x, batch)]
        y = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
        return self._over_time(y, batch, past, None, self.temporal)

    def _over_time(
        self,
        x: Tensor,
        batch: int,
        past: Tensor | None,
        before: ConvNorm | None,
        convolve: ConvNorm,
    ) -> tuple[Tensor, Tensor | None]:
        """Run `before` on each frame, then `convolve` over time, with the frames around it."""
        reach = (convolve.kernel[0] - 1) * batch
        if reach == 0:
            outputs = [convolve(before(part) if before else part) for part in self._parts(x, batch)]
            return (outputs[0] if len(outputs) == 1 else torch.cat(outputs)), past
        ahead = 0 if self.causal else reach // 2
        outputs, history = [], past
        parts = self._parts(x, batch) if before else (x,)
        for i, part in enumerate(parts):
            y = before(part) if before else part
            if history is None:
                history = y.new_zeros(reach - ahead, *y.shape[1:])
            pieces = [history.to(y.dtype), y]
            if i == len(parts) - 1 and ahead:
                pieces.append(y.new_zeros(ahead, *y.shape[1:]))
            span = torch.cat(pieces)
            history = span[-reach:]
            if span.shape[0] > reach:
                outputs.append(convolve(span, batch))
        y = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
        return y, (None if past is None or history is None else history.to(past.dtype))

    def _parts(self, x: Tensor, batch: int) -> tuple[Tensor, ...]:
        """`x` in spans of whole frames whose expanded activations are small enough."""
        return split_frames(x, batch, self.spec.expand, self.training)

    def _skip(self, x: Tensor) -> Tensor:
        if self.spec.stride != 1:
            # SAME padding that is left out of the mean: at an even size the window at the end is
            # cut (ceil_mode), at an odd one both ends are padded.
            padding = (x.shape[2] % 2, x.shape[3] % 2)
            stride = self.spec.stride
            x = F.avg_pool2d(x, 3, stride, padding, ceil_mode=True, count_include_pad=False)
        return x if self.skip is None else self.skip(x)

    def _drop(self, x: Tensor, batch: int) -> Tensor:
        """Stochastic depth: zero the whole branch of a sample, divide the kept by their share."""
        if not self.training or self.drop_path == 0:
            return x
        keep = 1 - self.drop_path
        mask = torch.empty(batch, 1, 1, 1, dtype=x.dtype, device=x.device).bernoulli_(keep) / keep
        return (x.unflatten(0, (-1, batch)) * mask).flatten(0, 1)


def split_frames(x: Tensor, batch: int, channels: int, training: bool) -> tuple[Tensor, ...]:
    """Folded frames in spans of whole time steps, at most `CHUNK_BYTES` with `channels` channels.

    Only in evaluation (batch statistics need all frames), and not in graphs: compilers fuse.
    """
    step = batch * channels * x.shape[2] * x.shape[3] * x.element_size()
    if training or torch.compiler.is_compiling() or step * (x.shape[0] // batch) <= CHUNK_BYTES:
        return (x,)
    return x.split(max(1, CHUNK_BYTES // step) * batch)


def spatial_means(x: Tensor, batch: int) -> Tensor:
    """(time, batch, channels) means of folded frames over space, in float32 or better."""
    means = x.mean((2, 3), dtype=torch.promote_types(x.dtype, torch.float32))
    return means.unflatten(0, (-1, batch))


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
