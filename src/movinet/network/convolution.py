"""Convolutions of a MoViNet, over space and over time.

Inside the network a video is (time, batch, channels, height, width) in channels-last memory:
"frames". A 2-D convolution sees them as one large batch, a temporal one sees time as the rows of
one image, a span of time is a slice, and none of them copies.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from movinet.network.config import MoViNetConfig
from movinet.network.geometry import same_padding
from movinet.network.tap_sum import TapGeometry, sum_taps


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


class ConvNorm(nn.Module):
    """A convolution without bias, batch norm, and an activation.

    The kernel is 5-D, (out, in / groups, k_t, k, k), and the padding SAME. In evaluation the batch
    norm is folded into the kernel. The kernel has no values before `reset_parameters` or loading.

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
        if self.lowering == "3d" or (self.kernel[1] == 1 and self.stride == 1):
            x = join([*parts])
            history = past
            if past is not None:
                history = last_frames(past, x)
                x = join([past.to(x.dtype), x])
            convolve = self._convolve_3d if self.lowering == "3d" else self._convolve_time
            y = convolve(x, weight, bias, 0 if past is not None else self.kernel[0] // 2)
        elif torch.is_grad_enabled() and not torch.compiler.is_compiling():
            y, history = self._sum_taps(join([*parts]), weight, bias, past)
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

    def _symmetric(self, x: Tensor, weight: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """The kernel with which padding is the same at both ends, and that padding.

        Where one more row or column is missing at the end, a leading zero in the kernel costs less
        than a padded copy of the frames.
        """
        rows, columns = self._padding(x)
        odd = (columns[1] - columns[0], rows[1] - rows[0])
        if any(odd):
            weight = F.pad(weight, (odd[0], 0, odd[1], 0))
        return weight, (rows[1], columns[1])

    def _convolve_2d(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        weight, padding = self._symmetric(x, weight)
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

    def _sum_taps(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, past: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """k_t x k x k over one span, with gradients."""
        history, count, offset = past, x.shape[0], self.kernel[0] // 2
        if past is not None:
            history, offset = last_frames(past, x), 0
            x = join([past.to(x.dtype), x])
        weight, padding = self._symmetric(x, weight)
        y = sum_taps(x, weight, TapGeometry(self.stride, padding, self.groups, offset, count))
        return (y if bias is None else y + bias.to(y.dtype).view(-1, 1, 1)), history

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
    """Consecutive spans of frames as one, in channels-last memory."""
    if len(parts) == 1:
        return parts[0]
    # torch.cat keeps the memory order of 4-D tensors alone.
    return torch.cat([part.permute(0, 1, 3, 4, 2) for part in parts]).permute(0, 1, 4, 2, 3)


def last_frames(past: Tensor, frames: Tensor) -> Tensor:
    """The last frames of `past` and `frames`, as many as `past` has, in memory of their own."""
    count = frames.shape[0]
    if count >= past.shape[0]:
        return frames[count - past.shape[0] :].to(past.dtype, copy=True)
    return join([past[count:], frames.to(past.dtype)])


class ConvBias(nn.Module):
    """A 1x1x1 convolution with a bias: squeeze-excitation's and the classifier's.

    Works on vectors, (..., inputs) to (..., outputs); the kernel is kept 5-D like all others, and
    has no values before `reset_parameters` or loading.
    """

    def __init__(self, inputs: int, outputs: int, std: float | None = None) -> None:
        super().__init__()
        self.std = std
        self.weight = nn.Parameter(torch.empty(outputs, inputs, 1, 1, 1))
        self.bias = nn.Parameter(torch.empty(outputs))

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


def init_he_normal(weight: Tensor) -> None:
    """Keras's he_normal: normal truncated at two deviations, rescaled to variance 2 / fan_in."""
    fan_in = weight[0].numel()
    # 0.87962566 is the deviation of a unit normal truncated at ±2.
    std = (2 / fan_in) ** 0.5 / 0.87962566103423978
    nn.init.trunc_normal_(weight, 0.0, std, -2 * std, 2 * std)
