"""Statistics of batch norms: frozen, measured on clips, and given back to folded networks.

The running statistics of a batch norm move by its momentum, 0.01, with every update. A fine-tuning
of 30 to 300 updates ends long before they are those of the changed network, and the network that
is evaluated is then not the one that was trained. Three ways out are here: keep the statistics as
they are and train with them (`freeze_norms`), measure them again before each evaluation
(`norms_reestimated`), and, for weights whose norms were folded into their kernels, measure what
folding has thrown away (`unfold_norms`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from movinet.network.convolution import ConvNorm
from movinet.network.model import MoViNet
from movinet.training.distributed import Processes

#: How far the variance of a folded norm may be from 1: exporters write 1, 1 - epsilon or nothing.
_UNIT = 0.01


class _Moments(NamedTuple):
    """Of the values of each channel in one batch, float64 on the CPU.

    Attributes:
        values: How many of each channel.
        mean: (channels,).
        variance: (channels,), biased.
    """

    values: int
    mean: Tensor
    variance: Tensor


def freeze_norms(model: nn.Module, except_for: Iterable[str] = ()) -> None:
    """Put the batch norms of a network in evaluation mode; their weights and biases still train.

    Args:
        model: Is changed; `train()` undoes it.
        except_for: Names of norms that keep training, because their statistics are of no weights.
    """
    kept = set(except_for)
    for name, norm in _norms(model).items():
        if name not in kept:
            norm.eval()


def folded_norms(model: nn.Module) -> list[str]:
    """Names of the batch norms that do nothing but add a bias.

    Exporters fold a norm into the kernel before it, and a network read back from such a file has
    norms of weight 1, mean 0 and variance 1. In evaluation that is the same function; in training,
    where statistics of the batch take over, it is another one.
    """
    return [name for name, norm in _norms(model).items() if _is_folded(norm)]


@torch.no_grad()
def unfold_norms(model: MoViNet, clips: Iterable[Tensor], processes: Processes) -> int:
    """Give folded batch norms the statistics of their inputs, without changing the network.

    The weight becomes the standard deviation and the bias takes up the mean, so that the network
    in evaluation gives what it gave, and in training about the same.

    Args:
        model: Is changed; its mode stays.
        clips: This process's batches of training clips, (batch, 3, time, height, width) float in
            [0, 1]; a few dozen clips in all are enough.
        processes: Who takes part; all end with the same statistics.

    Returns:
        How many norms were folded.
    """
    names = folded_norms(model)
    if not names:
        return 0
    modes = _modes(model)
    model.eval()
    norms = {name: norm for name, norm in _norms(model).items() if name in names}
    with contextlib.ExitStack() as stack:
        for norm in norms.values():
            stack.enter_context(_normalizing_with_running_statistics(norm))
        measured = _measure(model, norms, clips)
    _restore_modes(model, modes)
    for name, moments in _pooled(measured, processes).items():
        norm = norms[name]
        assert norm.running_mean is not None
        assert norm.running_var is not None
        old_factor = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        old_bias = norm.bias - norm.running_mean * old_factor
        mean, variance = (x.to(norm.weight) for x in (moments.mean, moments.variance))
        norm.weight.copy_(old_factor * torch.sqrt(variance + norm.eps))
        norm.bias.copy_(old_bias + mean * old_factor)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
    return len(names)


def trained_norms(model: nn.Module) -> list[str]:
    """Names of the batch norms that are in training mode."""
    return [name for name, norm in _norms(model).items() if norm.training]


@contextlib.contextmanager
def norms_reestimated(
    model: MoViNet, names: Sequence[str], clips: Iterable[Tensor], processes: Processes
) -> Iterator[MoViNet]:
    """Inside, the running statistics are those of clips under the weights as they are.

    Each of the norms sees what the ones before it make of the same batch, as in training; nothing
    is dropped. Afterwards the model has its own statistics again, bit for bit.

    Args:
        model: In evaluation mode, inside and afterwards.
        names: Its norms whose statistics are measured.
        clips: As in `unfold_norms`; none leaves the statistics alone.
        processes: As in `unfold_norms`.
    """
    norms = {name: norm for name, norm in _norms(model).items() if name in set(names)}
    own = {buffer: buffer.clone() for norm in norms.values() for buffer in norm.buffers()}
    momenta = {norm: norm.momentum for norm in norms.values()}
    for norm in norms.values():
        norm.training, norm.momentum = True, 0.0  # the measured statistics are set at once
    try:
        with torch.no_grad():
            measured = _measure(model, norms, clips)
    finally:
        for norm, momentum in momenta.items():
            norm.training, norm.momentum = False, momentum
    for name, moments in _pooled(measured, processes).items():
        mean, variance = norms[name].running_mean, norms[name].running_var
        assert mean is not None
        assert variance is not None
        mean.copy_(moments.mean)
        variance.copy_(moments.variance * (moments.values / max(1, moments.values - 1)))
    try:
        yield model
    finally:
        for buffer, value in own.items():
            buffer.copy_(value)


def _norms(model: nn.Module) -> dict[str, nn.BatchNorm2d]:
    """The batch norms of a network by name."""
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, ConvNorm)}
    return {f"{name}.norm": layer.norm for name, layer in layers.items()}


def _is_folded(norm: nn.BatchNorm2d) -> bool:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return bool(
        (norm.weight == 1).all()
        and (norm.running_mean == 0).all()
        and ((norm.running_var - 1).abs() <= _UNIT).all()
        and (norm.bias != 0).any()  # a norm that was never trained has a bias of 0
    )


def _modes(model: nn.Module) -> dict[nn.Module, bool]:
    return {module: module.training for module in model.modules()}


def _restore_modes(model: nn.Module, modes: dict[nn.Module, bool]) -> None:
    for module in model.modules():
        module.training = modes[module]


@contextlib.contextmanager
def _normalizing_with_running_statistics(norm: nn.BatchNorm2d) -> Iterator[None]:
    """Let a norm compute in training mode, in which a `ConvNorm` calls it, as in evaluation."""

    def forward(input: Tensor) -> Tensor:  # noqa: A002 - PyTorch's name
        mean, variance = norm.running_mean, norm.running_var
        return F.batch_norm(input, mean, variance, norm.weight, norm.bias, False, 0.0, norm.eps)

    norm.forward = forward
    norm.training = True
    try:
        yield
    finally:
        del norm.forward


def _measure(
    model: MoViNet, norms: dict[str, nn.BatchNorm2d], clips: Iterable[Tensor]
) -> dict[str, list[_Moments]]:
    """Moments of the inputs of each norm, batch by batch."""
    measured: dict[str, list[_Moments]] = {name: [] for name in norms}

    def recorder(into: list[_Moments]) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def record(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            del module
            x = inputs[0].detach().float()
            variance, mean = torch.var_mean(x, (0, 2, 3), correction=0)
            into.append(
                _Moments(x.numel() // x.shape[1], mean.double().cpu(), variance.double().cpu())
            )

        return record

    with contextlib.ExitStack() as stack:
        for name, norm in norms.items():
            handle = norm.register_forward_pre_hook(recorder(measured[name]))
            stack.callback(handle.remove)
        for video in clips:
            model.forward(video)  # not a compiled one, which would not call the hooks
    return measured


def _pooled(measured: dict[str, list[_Moments]], processes: Processes) -> dict[str, _Moments]:
    """Moments of all batches of all processes together."""
    everyone: Sequence[dict[str, list[_Moments]]] = processes.gather_objects(measured)
    pooled = {}
    for name in (name for name, parts in measured.items() if parts):
        parts = [moments for one in everyone for moments in one[name]]
        counts = torch.tensor([part.values for part in parts], dtype=torch.float64)[:, None]
        means = torch.stack([part.mean for part in parts])
        variances = torch.stack([part.variance for part in parts])
        total = counts.sum()
        mean = (counts * means).sum(0) / total
        variance = (counts * (variances + (means - mean).square())).sum(0) / total
        pooled[name] = _Moments(int(total), mean, variance)
    return pooled
