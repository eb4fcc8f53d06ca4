"""A k_t x k x k convolution as the sum of k_t 2-D ones, with gradients that copy no frames."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class TapGeometry(NamedTuple):
    """Where each tap of a kernel lies.

    Attributes:
        stride: In space.
        padding: (rows, columns), the same at both ends.
        groups: Of channels.
        offset: Output frame that the first input frame is under with tap 0.
        num_outputs: Number of output frames.
    """

    stride: int
    padding: tuple[int, int]
    groups: int
    offset: int
    num_outputs: int

    def overlap(self, tap: int, frames: int) -> tuple[slice, slice]:
        """Input and output frames that meet under a tap; empty slices if none do."""
        start = self.offset - tap
        low, high = max(0, -start), max(0, min(frames, self.num_outputs - start))
        return slice(low, high), slice(start + low, max(start + high, start + low))

    def order(self, taps: int, frames: int) -> list[int]:
        """All taps, one that reaches every output frame first: it writes, the others add."""

        def reach(tap: int) -> int:
            outputs = self.overlap(tap, frames)[1]
            return outputs.stop - outputs.start

        return sorted(range(taps), key=reach, reverse=True)


def sum_taps(x: Tensor, weight: Tensor, geometry: TapGeometry) -> Tensor:
    """Convolve frames for training.

    Slices that are added to in place would make autograd copy and clear whole videos for each tap.

    Args:
        x: Frames, (time, batch, inputs, height, width).
        weight: (outputs, inputs / groups, k_t, k, k).
        geometry: Where the taps lie; some tap must reach all output frames.

    Returns:
        (num_outputs, batch, outputs, height', width').
    """
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        x, weight = x.to(dtype), weight.to(dtype)
    y = _TapSum.apply(x, weight, geometry)
    assert isinstance(y, Tensor)
    return y


class _TapSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, geometry: TapGeometry) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = geometry
        y: Tensor | None = None
        with torch.autocast(x.device.type, enabled=False):
            for i in geometry.order(weight.shape[2], x.shape[0]):
                inputs, outputs = geometry.overlap(i, x.shape[0])
                span = x[inputs]
                if not span.shape[0]:
                    continue
                tap = F.conv2d(
                    span.flatten(0, 1),
                    weight[:, :, i],
                    None,
                    geometry.stride,
                    geometry.padding,
                    1,
                    geometry.groups,
                ).unflatten(0, span.shape[:2])
                if y is None:
                    assert tap.shape[0] == geometry.num_outputs
                    y = tap
                else:
                    y[outputs] += tap
        assert y is not None
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, Tensor, None]:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        geometry: TapGeometry = ctx.geometry
        wants_x = ctx.needs_input_grad[0]
        x_gradient: Tensor | None = None
        weight_gradient = torch.zeros_like(weight)
        for i in geometry.order(weight.shape[2], x.shape[0]):
            inputs, outputs = geometry.overlap(i, x.shape[0])
            span = x[inputs]
            if not span.shape[0]:
                continue
            of_span, of_tap, _ = torch.ops.aten.convolution_backward(
                gradient[outputs].flatten(0, 1),
                span.flatten(0, 1),
                weight[:, :, i],
                None,
                [geometry.stride] * 2,
                geometry.padding,
                [1, 1],
                False,
                [0, 0],
                geometry.groups,
                [wants_x, True, False],
            )
            weight_gradient[:, :, i] = of_tap
            if wants_x:
                of_span = of_span.unflatten(0, span.shape[:2])
                if x_gradient is None and of_span.shape == x.shape:
                    x_gradient = of_span
                    continue
                x_gradient = torch.zeros_like(x) if x_gradient is None else x_gradient
                x_gradient[inputs] += of_span
        return x_gradient, weight_gradient, None
