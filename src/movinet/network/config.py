"""What a MoViNet is: its architecture and the options that decide what it computes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args, get_type_hints

from movinet.errors import ConfigError

SeType = Literal["3d", "2d", "2plus3d", "none"]
Activation = Literal["swish", "hard_swish", "relu6"]
Gating = Literal["sigmoid", "hard_sigmoid"]
Lowering = Literal["2d", "3d"]
Pooling = Literal["3d", "2d", "none"]
#: Far beyond any MoViNet: a configuration may come from a file, and must not ask for all memory.
MAX_CHANNELS, MAX_KERNEL, MAX_BLOCKS = 65_536, 63, 1_000
MAX_IMAGE_SIZE, MAX_FRAMES, MAX_FRAME_RATE = 16_384, 1_000_000, 1_000


class Group(NamedTuple):
    """A run of blocks with the same number of output channels.

    Attributes:
        filters: Output channels of each block.
        stride: Spatial stride of the first block; the others have 1, as has every temporal axis.
        blocks: ``(expand, k_t, k)`` of each block: expanded channels and depthwise kernel
            k_t x k x k.
    """

    filters: int
    stride: int
    blocks: tuple[tuple[int, int, int], ...]


class BlockSpec(NamedTuple):
    """One block with everything resolved; made by `Architecture.blocks`."""

    name: str
    inputs: int
    expand: int
    outputs: int
    kernel_time: int
    kernel_space: int
    stride: int

    @property
    def has_skip_projection(self) -> bool:
        """Whether the skip is a (pooled) convolution instead of the identity."""
        return self.stride != 1 or self.inputs != self.outputs


@dataclass(frozen=True)
class Architecture:
    """The shape of a network: channels, kernels and strides, nothing else.

    Attributes:
        stem: Output channels of the stem, a 1x3x3 convolution of stride 2.
        groups: The groups of inverted-bottleneck blocks.
        head: Output channels of the head's 1x1x1 convolution.
        hidden: Width of the classifier's hidden layer.
    """

    stem: int
    groups: tuple[Group, ...]
    head: int
    hidden: int

    def __post_init__(self) -> None:
        _check_groups(self.groups)
        for name in ("stem", "head", "hidden"):
            _check_int(name, getattr(self, name), 1, MAX_CHANNELS)
        for block in self.blocks():
            _check_int(f"{block.name}: expanded channels", block.expand, 1, MAX_CHANNELS)
            _check_int(f"{block.name}: output channels", block.outputs, 1, MAX_CHANNELS)
            _check_int(f"{block.name}: stride", block.stride, 1, 2)
            for kernel in (block.kernel_time, block.kernel_space):
                _check_int(f"{block.name}: kernel", kernel, 1, MAX_KERNEL)
                if kernel % 2 == 0:
                    raise ConfigError(f"{block.name}: kernels must be odd, not {kernel}")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Architecture:
        """An architecture from plain values: groups are ``[filters, stride, [[expand, k_t, k]]]``.

        Raises:
            ConfigError: If anything is missing, left over or not allowed.
        """
        try:
            groups = tuple(
                Group(filters, stride, tuple((e, t, s) for e, t, s in blocks))
                for filters, stride, blocks in values["groups"]
            )
            return cls(**{**values, "groups": groups})
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(f"not a MoViNet configuration: architecture: {error}") from None

    def blocks(self) -> Iterator[BlockSpec]:
        """Every block in order, named ``block<group>_layer<i>`` from 0."""
        inputs = self.stem
        for g, group in enumerate(self.groups):
            for i, (expand, kernel_time, kernel_space) in enumerate(group.blocks):
                stride = group.stride if i == 0 else 1
                name = f"block{g}_layer{i}"
                yield BlockSpec(
                    name, inputs, expand, group.filters, kernel_time, kernel_space, stride
                )
                inputs = group.filters


@dataclass(frozen=True)
class MoViNetConfig:
    """Everything that decides what a network computes; checked when made.

    Attributes:
        architecture: Channels, kernels and strides.
        num_classes: Number of outputs.
        causal: Temporal kernels and poolings see past frames only, so the network can stream.
        factorized: A k_t x k x k depthwise kernel is a 1 x k x k one, batch norm, activation, and a
            k_t x 1 x 1 one with a batch norm and activation of its own ("(2+1)D"). Changes the
            parameters.
        lowering: Run convolutions as 2-D ones with frames folded into the batch ("2d", fast on
            CPUs) or as 3-D ones ("3d"). Changes nothing but speed.
        se_type: What squeeze-excitation pools over: "3d" space and time, "2d" space, "2plus3d"
            both, concatenated, or "none" for no squeeze-excitation.
        activation: After the stem, expand, depthwise and head convolutions.
        gating_activation: At the end of squeeze-excitation.
        head_activation: After the classifier's hidden layer. No checkpoint says which one it was
            trained with, and the published ones differ.
        positional_encoding: Add the frame's position to what squeeze-excitation pooled.
        trained_frames: Clip length in training; positions stop there once a stream's pooling
            decays.
        pooling: Average before the classifier over space and frames ("3d": one prediction), over
            space ("2d": one a frame), or not at all ("none": one a frame and place).
        multi_label_pooling: Weigh the predictions of the frames (`pooling` "2d") by their softmax
            over frames and sum them up.
        dropout: Probability that a hidden feature is zeroed in training.
        drop_path: Stochastic depth: probability that the last block is dropped in training; earlier
            ones proportionally less.
        norm_eps: Added to the variance in batch norms (TensorFlow: epsilon).
        norm_momentum: Weight of a new batch in the running statistics (TensorFlow: 1 - momentum).
    """

    architecture: Architecture
    num_classes: int = 600
    causal: bool = False
    factorized: bool = False
    lowering: Lowering = "2d"
    se_type: SeType = "3d"
    activation: Activation = "swish"
    gating_activation: Gating = "sigmoid"
    head_activation: Activation = "swish"
    positional_encoding: bool = False
    trained_frames: int = 50
    pooling: Pooling = "3d"
    multi_label_pooling: bool = False
    dropout: float = 0.2
    drop_path: float = 0.2
    norm_eps: float = 1e-3
    norm_momentum: float = 0.01

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(type(self)).items():
            _check_type(name, getattr(self, name), hint)
        _check_int("num_classes", self.num_classes, 1, MAX_CHANNELS)
        _check_int("trained_frames", self.trained_frames, 1, MAX_FRAMES)
        for name in ("dropout", "drop_path"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} must be in [0, 1), not {getattr(self, name)}")
        for name in ("norm_eps", "norm_momentum"):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigError(f"{name} must be in (0, 1], not {getattr(self, name)}")
        if self.positional_encoding and not (self.causal and self.se_type != "none"):
            raise ConfigError(
                "positional_encoding needs causal=True and squeeze-excitation: "
                "it encodes the number of frames that a stream has seen"
            )
        if self.multi_label_pooling and self.pooling != "2d":
            raise ConfigError(f"multi_label_pooling needs pooling='2d', not {self.pooling!r}")

    @property
    def streams(self) -> bool:
        """Whether the network can see a video frame by frame, with what it saw as its state."""
        return self.causal and not self.multi_label_pooling

    def replace(self, **overrides: Any) -> MoViNetConfig:
        """A copy with some fields changed.

        Raises:
            ConfigError: If a field does not exist or a value is not allowed.
        """
        known = {f.name for f in dataclasses.fields(self)}
        if unknown := sorted(set(overrides) - known):
            raise ConfigError(
                f"no such config field: {', '.join(unknown)}; fields: {', '.join(sorted(known))}"
            )
        return dataclasses.replace(self, **overrides)

    def to_dict(self) -> dict[str, Any]:
        """The config as plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> MoViNetConfig:
        """The inverse of `to_dict`, for values from outside.

        Raises:
            ConfigError: If anything is missing, left over or not allowed.
        """
        try:
            shape = Architecture.from_dict(values["architecture"])
            return cls(**{**values, "architecture": shape})
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(f"not a MoViNet configuration: {error}") from None


@dataclass(frozen=True)
class InputSpec:
    """How a model wants its video: what preprocessing needs to know.

    Attributes:
        image_size: Height and width of the square input, pixels.
        short_side: The shorter side is resized to this before the centre crop, pixels.
        frame_rate: Frames per second.
        num_frames: Length of the clip that the published accuracy was measured on.
    """

    image_size: int
    short_side: int
    frame_rate: float
    num_frames: int

    def __post_init__(self) -> None:
        _check_int("short_side", self.short_side, 1, MAX_IMAGE_SIZE)
        _check_int("image_size (at most short_side)", self.image_size, 1, self.short_side)
        _check_int("num_frames", self.num_frames, 1, MAX_FRAMES)
        _check_type("frame_rate", self.frame_rate, float)
        if not 0 < self.frame_rate <= MAX_FRAME_RATE:
            raise ConfigError(f"frame_rate must be in (0, {MAX_FRAME_RATE}], not {self.frame_rate}")


def _check_groups(groups: Any) -> None:
    """Raise ConfigError unless `groups` are tuples of the right form, and not too many."""
    if not isinstance(groups, tuple) or not all(isinstance(group, Group) for group in groups):
        raise ConfigError("an architecture's groups must be a tuple of Group")
    if not groups or not all(isinstance(g.blocks, tuple) and g.blocks for g in groups):
        raise ConfigError(
            "an architecture needs at least one group, and each group a tuple of at least one block"
        )
    if (count := sum(len(group.blocks) for group in groups)) > MAX_BLOCKS:
        raise ConfigError(f"an architecture has at most {MAX_BLOCKS} blocks, not {count}")
    for group in groups:
        if not all(isinstance(block, tuple) and len(block) == 3 for block in group.blocks):
            raise ConfigError("a block must be a tuple (expand, k_t, k)")


def _check_int(name: str, value: Any, low: int, high: int) -> None:
    """Raise ConfigError unless `value` is an integer from `low` to `high`."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ConfigError(f"{name} must be an integer from {low} to {high}, not {value!r}")


def _check_type(name: str, value: Any, hint: Any) -> None:
    """Raise ConfigError unless `value` is what the annotation `hint` of field `name` allows."""
    if allowed := get_args(hint):
        if value not in allowed:
            raise ConfigError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")
        return
    wanted = (int, float) if hint is float else hint
    if not isinstance(value, wanted) or (isinstance(value, bool) and hint is not bool):
        raise ConfigError(f"{name} must be {hint.__name__}, not {value!r}")
