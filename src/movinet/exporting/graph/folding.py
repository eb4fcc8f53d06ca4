"""A network as bare numbers: batch norms and `scale` folded away, channels last."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from movinet.network.config import BlockSpec, MoViNetConfig
from movinet.network.convolution import ConvBias, ConvNorm
from movinet.network.layers import Block
from movinet.network.model import MoViNet

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Affine:
    """A convolution's kernel and bias.

    Attributes:
        weight: Dense (inputs, outputs), the stem (k, k, 3, outputs), depthwise over space
            (k_t, k, k, channels), over time (k_t, channels).
        bias: (outputs,).
    """

    weight: Array
    bias: Array


@dataclass(frozen=True)
class FoldedBlock:
    """One block.

    Attributes:
        spec: Its channels, kernels and stride.
        expand: Pointwise, followed by the activation.
        depthwise: Over space, and over time too where the model is not factorised; followed by the
            activation.
        temporal: Over time, in a factorised model with k_t > 1; followed by the activation.
        reduce: First half of squeeze-excitation, from (pooled) to (hidden); None without.
        gate: Second half, from (hidden) to (expanded).
        position_scale: Factor of the positional encoding, or None.
        project: Pointwise, `scale` folded in.
        skip: Pointwise, after the pool where the block is strided; None for the identity.
    """

    spec: BlockSpec
    expand: Affine
    depthwise: Affine
    temporal: Affine | None
    reduce: Affine | None
    gate: Affine | None
    position_scale: float | None
    project: Affine
    skip: Affine | None


@dataclass(frozen=True)
class Folded:
    """A whole network.

    Attributes:
        config: What it computes.
        stem: 3x3, stride 2, followed by the activation.
        blocks: In order.
        head: Pointwise, followed by the activation.
        hidden: The classifier's hidden layer, followed by the head activation.
        classifier: The last layer.
    """

    config: MoViNetConfig
    stem: Affine
    blocks: tuple[FoldedBlock, ...]
    head: Affine
    hidden: Affine
    classifier: Affine


def fold(model: MoViNet) -> Folded:
    """Fold a model's batch norms (their running statistics) and `scale` into its kernels.

    Computed in float64, rounded once.
    """
    with torch.no_grad():
        return Folded(
            model.config,
            _normed(model.stem, lambda w: w[:, :, 0].permute(2, 3, 1, 0)),
            tuple(_block(block) for block in model.blocks.values() if isinstance(block, Block)),
            _normed(model.head, _dense),
            _biased(model.hidden),
            _biased(model.classifier),
        )


def fingerprint(network: Folded) -> str:
    """The SHA-256 of all weights, as hexadecimal digits."""
    layers: list[Affine | None] = [network.stem]
    digest = hashlib.sha256()
    for block in network.blocks:
        layers += [block.expand, block.depthwise, block.temporal, block.reduce, block.gate]
        layers += [block.project, block.skip]
        digest.update(struct.pack("<d", block.position_scale or 0.0))
    layers += [network.head, network.hidden, network.classifier]
    for layer in layers:
        if layer is not None:
            digest.update(layer.weight.astype("<f4").tobytes())
            digest.update(layer.bias.astype("<f4").tobytes())
    return digest.hexdigest()


def _block(block: Block) -> FoldedBlock:
    se, scale = block.se, block.scale.double()
    position = None if se is None else se.position_scale
    return FoldedBlock(
        block.spec,
        _normed(block.expand, _dense),
        _normed(block.depthwise, lambda w: w[:, 0].permute(1, 2, 3, 0)),
        None if block.temporal is None else _normed(block.temporal, lambda w: w[:, 0, :, 0, 0].T),
        None if se is None else _biased(se.reduce),
        None if se is None else _biased(se.expand),
        None if position is None else float(position),
        _normed(block.project, _dense, scale),
        None if block.skip is None else _normed(block.skip, _dense),
    )


def _normed(
    layer: ConvNorm,
    arrange: Callable[[torch.Tensor], torch.Tensor],
    scale: torch.Tensor | None = None,
) -> Affine:
    norm = layer.norm
    assert norm.running_mean is not None
    assert norm.running_var is not None
    factor = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    bias = norm.bias.double() - norm.running_mean.double() * factor
    if scale is not None:
        factor, bias = factor * scale, bias * scale
    weight = layer.weight.double() * factor.view(-1, 1, 1, 1, 1)
    return Affine(_array(arrange(weight)), _array(bias))


def _biased(layer: ConvBias) -> Affine:
    return Affine(_array(_dense(layer.weight)), _array(layer.bias))


def _dense(weight: torch.Tensor) -> torch.Tensor:
    return weight.flatten(1).T


def _array(values: torch.Tensor) -> Array:
    return np.ascontiguousarray(values.cpu().float().numpy())
