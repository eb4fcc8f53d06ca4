"""Batch norm over the batch of all processes, on any device."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class SyncBatchNorm(nn.BatchNorm2d):
    """A batch norm whose statistics are those of all processes together, on a CPU as well.

    Shares of different size count by their size. It normalises with the biased variance and keeps
    the unbiased one, as PyTorch's and TensorFlow's do; under autocast the statistics are float32.
    With one process it is `BatchNorm2d`. It talks once in each direction: PyTorch's
    `torch.nn.SyncBatchNorm`, which does the same, refuses anything but a GPU.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - PyTorch's name
        """Normalise (batch, channels, height, width)."""
        alone = not dist.is_initialized() or dist.get_world_size() == 1
        if alone or not self.training:
            return super().forward(input)
        y, mean, variance, count = _Normalize.apply(input, self.weight, self.bias, self.eps)
        with torch.no_grad():
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.momentum is not None
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1).clamp(min=1)), self.momentum)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
        return y


class _Normalize(torch.autograd.Function):
    """Normalise with the mean and variance of every process's values; differentiable."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        channels = wide.shape[1]
        size = wide.numel() // channels
        variance, mean = torch.var_mean(wide, (0, 2, 3), correction=0)
        shares = torch.cat([mean, variance, mean.new_tensor([size])])
        gathered = [torch.empty_like(shares) for _ in range(dist.get_world_size())]
        dist.all_gather(gathered, shares)
        sizes = torch.stack([share[-1:] for share in gathered])
        means = torch.stack([share[:channels] for share in gathered])
        variances = torch.stack([share[channels:-1] for share in gathered])
        count = sizes.sum()
        total = (sizes * means).sum(0) / count
        # Deviations of the shares' means, where sums of squares would cancel.
        var = (sizes * (variances + (means - total).square())).sum(0) / count
        scale = torch.rsqrt(var + eps)
        ctx.save_for_backward(x, weight, total, scale, count)
        factor = scale * weight
        y = torch.addcmul((bias - total * factor).view(-1, 1, 1), wide, factor.view(-1, 1, 1)).to(
            x.dtype
        )
        ctx.mark_non_differentiable(total, var, count)
        return y, total, var, count

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, mean, scale, count = ctx.saved_tensors
        gradient = gradients[0].to(mean.dtype)
        deviation = (x.to(mean.dtype) - mean.view(-1, 1, 1)).mul_(scale.view(-1, 1, 1))
        of_bias = gradient.sum((0, 2, 3))
        of_weight = (gradient * deviation).sum((0, 2, 3))
        sums = torch.cat([of_bias, of_weight])
        dist.all_reduce(sums)
        shift, slope = (sums / count).chunk(2)
        of_x = gradient - shift.view(-1, 1, 1)
        of_x.addcmul_(deviation, slope.view(-1, 1, 1), value=-1)
        of_x.mul_((weight * scale).view(-1, 1, 1))
        return of_x.to(x.dtype), of_weight, of_bias, None


def convert_sync_batchnorm(model: nn.Module) -> nn.Module:
    """Make every batch norm of a network one over all processes; names of tensors stay.

    Args:
        model: Already on its device: on a GPU they become PyTorch's own, whose kernels are faster.

    Returns:
        The same module, changed.
    """
    if any(parameter.is_cuda for parameter in model.parameters()):
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for module in model.modules():
        for name, child in module.named_children():
            if type(child) is nn.BatchNorm2d:
                synced = SyncBatchNorm(child.num_features, child.eps, child.momentum)
                synced.weight, synced.bias = child.weight, child.bias
                synced.running_mean, synced.running_var = child.running_mean, child.running_var
                synced.num_batches_tracked = child.num_batches_tracked
                synced.train(child.training)
                setattr(module, name, synced)
    return model
