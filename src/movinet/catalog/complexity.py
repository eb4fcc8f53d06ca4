"""What a network costs, counted from its configuration alone: no torch, nothing is built or run.

A multiply-add is one product of a weight and a value, added to a sum. Counted are all convolutions,
those of squeeze-excitation and the classifier included; not counted are batch norms (folded into
the kernels), activations, poolings, positional encodings, and the products with the gates and with
`scale`, which have no kernel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from movinet.checkpoints.keys import entries
from movinet.errors import ConfigError
from movinet.network.config import BlockSpec, MoViNetConfig

_FLOAT32, _INT64 = 4, 8  # bytes
_STATISTICS = (".running_mean", ".running_var")


@dataclass(frozen=True)
class Parameters:
    """How many numbers a network consists of.

    Attributes:
        trainable: What training changes by gradients.
        statistics: Running means and variances of batch norms.
    """

    trainable: int
    statistics: int

    @property
    def total(self) -> int:
        """Everything that a checkpoint holds."""
        return self.trainable + self.statistics


def count_parameters(config: MoViNetConfig) -> Parameters:
    """The number of parameters of a network."""
    trainable = statistics = 0
    for entry in entries(config):
        if entry.name.endswith(_STATISTICS):
            statistics += math.prod(entry.shape)
        else:
            trainable += math.prod(entry.shape)
    return Parameters(trainable, statistics)


def count_multiply_adds(config: MoViNetConfig, num_frames: int, image_size: tuple[int, int]) -> int:
    """The multiply-adds of one clip (what the literature on these networks calls FLOPs).

    A convolution costs its whole kernel at each place of its output, of which there are ceil(n/2)
    after a stride of 2, and as many frames as in the input: what falls on padding counts, as if the
    video were padded with zeros and then convolved. (The way a network is run may save some of
    that, or add zeros to kernels; that is no property of the network.)

    Squeeze-excitation's convolutions work on what was pooled, once a clip where that is the mean
    over the clip (`se_type` "3d" without `causal`: the base presets), once a frame where every
    frame has a mean of its own (all other types; causal "3d", which pools the frames so far). The
    classifier runs once a clip, or once for each frame with `pooling` "2d", or for each frame and
    place with "none".

    One step of a stream costs as much as a clip of one frame: a causal network's cost a frame does
    not depend on the clip, but with `pooling` "3d" a step includes the classifier, which a clip
    runs only once.

    Args:
        config: The network.
        num_frames: Frames of the clip.
        image_size: (height, width), pixels.

    Raises:
        ConfigError: If a number is not positive.
    """
    _check_input(num_frames, image_size)
    total, repeats = 0, _repeats(config, num_frames, image_size)
    for entry in entries(config):
        if entry.name.endswith(".weight") and entry.kind != "vector":
            total += math.prod(entry.shape) * repeats[entry.name.removesuffix(".weight")]
    return total


def count_state_bytes(config: MoViNetConfig, image_size: tuple[int, int]) -> int:
    """The memory that one stream keeps between frames, as float32: its `StreamState.num_bytes`.

    Args:
        config: A causal network.
        image_size: (height, width), pixels.

    Returns:
        Bytes: the stream buffers, the running sums of the poolings and their weight, and the
        number of frames seen (an int64).

    Raises:
        ConfigError: If the network is not causal, or a number is not positive.
    """
    if not config.causal:
        raise ConfigError("this model is not causal and keeps no state; use a *_stream model")
    _check_input(1, image_size)
    values = 1  # pool_weight
    for block, before, after in _sizes(config, image_size):
        # The buffer lies before a 3-D kernel, or between the halves of a factorised one.
        values += block.expand * (block.kernel_time - 1) * (after if config.factorized else before)
        if config.se_type in ("3d", "2plus3d"):
            values += block.expand
    if config.pooling == "3d":
        values += config.architecture.head
    return values * _FLOAT32 + _INT64


def receptive_field(config: MoViNetConfig) -> int:
    """The number of frames that the convolutions see to compute one frame of the head.

    In a causal network these are that frame and the ones right before it; otherwise it lies in
    their middle. Poolings are left out: they see the whole clip, or all frames so far.
    """
    return 1 + sum(block.kernel_time - 1 for block in config.architecture.blocks())


def _check_input(num_frames: int, image_size: tuple[int, int]) -> None:
    if num_frames < 1 or min(image_size) < 1:
        raise ConfigError(
            f"frames, height and width must be at least 1, not {num_frames}, {image_size[0]} and "
            f"{image_size[1]}"
        )


class _BlockSize(NamedTuple):
    """Places of one frame before and after a block's stride."""

    block: BlockSpec
    before: int
    after: int


def _sizes(config: MoViNetConfig, image_size: tuple[int, int]) -> Iterator[_BlockSize]:
    height, width = (_strided(side, 2) for side in image_size)  # the stem's
    for block in config.architecture.blocks():
        before = height * width
        height, width = _strided(height, block.stride), _strided(width, block.stride)
        yield _BlockSize(block, before, height * width)


def _strided(side: int, stride: int) -> int:
    """Length of a SAME convolution's output."""
    return -(-side // stride)


def _repeats(config: MoViNetConfig, num_frames: int, image_size: tuple[int, int]) -> dict[str, int]:
    """How often each convolution applies its kernel in a clip, by the name of the convolution."""
    gates = 1 if config.se_type == "3d" and not config.causal else num_frames
    repeats, after = {}, 0
    for block, before, after in _sizes(config, image_size):
        repeats.setdefault("stem", before * num_frames)
        prefix = f"blocks.{block.name}."
        repeats[f"{prefix}expand"] = before * num_frames
        for name in ("depthwise", "temporal", "project", "skip"):
            repeats[f"{prefix}{name}"] = after * num_frames
        for name in ("se.reduce", "se.expand"):
            repeats[f"{prefix}{name}"] = gates
    repeats["head"] = after * num_frames
    outputs = {"3d": 1, "2d": num_frames, "none": after * num_frames}[config.pooling]
    repeats["hidden"] = repeats["classifier"] = outputs
    return repeats
