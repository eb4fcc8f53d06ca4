"""The graph of a network: one step of a stream, or a whole clip.

Everything that a general runtime would do in many passes over memory is arranged for it here:
batch norms and `scale` are folded, hard_sigmoid's factor sits in the projection's kernel and its
offset in a bias, 1/255 sits in the stem's kernel. What depends on time is in
`movinet.exporting.graph.over_time`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from movinet.errors import ConfigError
from movinet.exporting.graph.folding import Affine, Folded, FoldedBlock
from movinet.exporting.graph.program import Program, Value
from movinet.runtime.tensors import StateTensor

#: The reference's hard_sigmoid multiplies by this, not by 1/6.
HARD_SIGMOID_FACTOR = 0.16667


@dataclass(frozen=True)
class GraphOptions:
    """What the graph takes and gives.

    Attributes:
        image_size: (height, width) that the network sees, pixels.
        batch_size: Streams or clips at once; None for any number (streams only).
        num_frames: Frames in one step, or in a clip.
        uint8: Frames are uint8 in [0, 255] instead of float32 in [0, 1].
        softmax: Probabilities instead of logits.
        multi_label: Probabilities are sigmoids, one for each label, and not a softmax.
        embedding: Give the pooled embedding too.
        source_size: (height, width) of the frames that come in, where the graph is to resize the
            shorter side to `short_side` and crop the middle; None where they come as `image_size`.
        short_side: See `source_size`, pixels.
    """

    image_size: tuple[int, int]
    batch_size: int | None = 1
    num_frames: int = 1
    uint8: bool = True
    softmax: bool = False
    source_size: tuple[int, int] | None = None
    short_side: int = 0
    embedding: bool = False
    multi_label: bool = False


@dataclass(frozen=True)
class Graph:
    """A program and what it carries from step to step.

    Attributes:
        program: What to compute.
        states: Of a stream; empty for a clip.
    """

    program: Program
    states: tuple[StateTensor, ...]


class Time(Protocol):
    """How a graph looks at the frames before and beside one."""

    def filter(self, block: FoldedBlock, x: Value, stride: int) -> Value:
        """The depthwise and temporal kernels of a block, activations included."""
        ...

    def pooled(self, block: FoldedBlock, x: Value) -> Value:
        """What squeeze-excitation sees: (frames, channels), or (batch, channels) for all frames."""
        ...

    def head(self, x: Value) -> Value:
        """What the classifier sees, (rows, channels)."""
        ...

    def states(self) -> tuple[StateTensor, ...]:
        """Every state tensor that was made."""
        ...


def build_graph(network: Folded, options: GraphOptions) -> Graph:
    """The step of a causal network, or the clip of another.

    Raises:
        ConfigError: If no graph can do what the network or the options want.
    """
    from movinet.exporting.graph.over_time import ClipTime, StreamTime

    config = network.config
    if config.pooling != "3d":
        raise ConfigError(f"only pooling='3d' can be exported, not {config.pooling!r}")
    if not config.causal and options.batch_size is None:
        raise ConfigError("a base model is exported with a fixed batch_size, not with a free one")
    if options.num_frames > 1 and config.causal and options.batch_size is None:
        raise ConfigError("several frames at a time need a fixed batch_size, not a free one")
    program = Program(options.batch_size or 1, options.batch_size is None)
    frames = _frames(program, options)
    kind = StreamTime if config.causal else ClipTime
    time = kind(program, network, options.num_frames)
    embedding = _embedding(program, network, frames, time, 255.0 if options.uint8 else 1.0)
    logits = _classify(program, network, embedding)
    if options.softmax:
        kind = "sigmoid" if options.multi_label else "softmax"
        program.output("probabilities", program.unary(kind, "probabilities", logits))
    else:
        program.output("logits", logits)
    if options.embedding:
        program.output("embedding", embedding)
    return Graph(program, time.states())


def _frames(program: Program, options: GraphOptions) -> Value:
    """The input as the stem wants it: the right size, float32."""
    size = options.source_size or options.image_size
    shape = (options.num_frames * program.batch_size, *size, 3)
    x = program.input("frames", shape, "uint8" if options.uint8 else "float32")
    if options.uint8:
        x = program.cast("frames/float", x)
    if options.source_size is None:
        return x
    (height, width), short = options.source_size, options.short_side
    shape = max(short, height * short // width), max(short, width * short // height)
    x = program.resize("frames/resized", x, shape)
    if options.uint8:  # as the reference does, cut and not rounded
        x = program.unary("floor", "frames/cut", x)
    for axis, side, wanted in zip((1, 2), shape, options.image_size, strict=True):
        x = program.slice(f"frames/crop{axis}", x, axis, (side - wanted) // 2, wanted)
    return x


def _embedding(program: Program, network: Folded, x: Value, time: Time, scale: float) -> Value:
    """The pooled embedding, (rows, channels); the frames come multiplied by `scale`."""
    config = network.config
    stem = Affine((network.stem.weight / scale).astype(np.float32), network.stem.bias)
    x = convolve(program, "stem", x, stem, config.activation, stride=2)
    for block in network.blocks:
        x = _block(program, network, block, x, time)
    x = convolve(program, "head", x, network.head, config.activation)
    return time.head(x)


def _classify(program: Program, network: Folded, x: Value) -> Value:
    """Logits of embeddings, (rows, classes)."""
    config = network.config
    relu6 = config.head_activation == "relu6"
    x = program.dense("hidden", x, network.hidden.weight, network.hidden.bias, relu6=relu6)
    if not relu6:
        x = program.activate("hidden/activated", x, config.head_activation)
    return program.dense("logits", x, network.classifier.weight, network.classifier.bias)


def _block(program: Program, network: Folded, block: FoldedBlock, x: Value, time: Time) -> Value:
    config, name = network.config, block.spec.name
    y = convolve(program, f"{name}/expand", x, block.expand, config.activation)
    y = time.filter(block, y, block.spec.stride)
    project = block.project
    if block.reduce is not None and block.gate is not None:
        pooled = time.pooled(block, y)
        gate, factor = _gate(program, network, block, pooled)
        y = gated(program, name, y, gate)
        project = Affine((project.weight * np.float32(factor)), project.bias)
    y = convolve(program, f"{name}/project", y, project, "none")
    if block.spec.stride != 1:
        x = program.pool(f"{name}/pool", x)
    if block.skip is not None:
        x = convolve(program, f"{name}/skip", x, block.skip, "none")
    return program.binary("add", name, y, x)


def _gate(
    program: Program, network: Folded, block: FoldedBlock, pooled: Value
) -> tuple[Value, float]:
    """The gate of each channel, up to a factor."""
    config, name, reduce, gate = network.config, block.spec.name, block.reduce, block.gate
    assert reduce is not None
    assert gate is not None
    relu6 = config.activation == "relu6"
    x = program.dense(f"{name}/reduce", pooled, reduce.weight, reduce.bias, relu6=relu6)
    if not relu6:
        x = program.activate(f"{name}/reduce/activated", x, config.activation)
    if config.gating_activation == "hard_sigmoid":
        bias = (gate.bias + np.float32(3)).astype(np.float32)
        return program.dense(f"{name}/gate", x, gate.weight, bias, relu6=True), HARD_SIGMOID_FACTOR
    x = program.dense(f"{name}/gate", x, gate.weight, gate.bias)
    return program.activate(f"{name}/gate/sigmoid", x, config.gating_activation), 1.0


def gated(program: Program, name: str, x: Value, gate: Value) -> Value:
    """Multiply frames by gates of each frame, or of each clip."""
    frames, height, width, channels = x.shape
    rows = gate.shape[0]
    if rows in (1, frames):
        gate = program.reshape(f"{name}/gate/frames", gate, (rows, 1, 1, channels))
        return program.binary("mul", f"{name}/gated", x, gate)
    # Time before batch: each clip's gate serves every frame of it.
    gate = program.reshape(f"{name}/gate/clips", gate, (1, rows, 1, channels), 1)
    shape = (frames // rows, rows, height * width, channels)
    x = program.binary("mul", f"{name}/gated", program.reshape(f"{name}/clips", x, shape, 1), gate)
    return program.reshape(f"{name}/gated/frames", x, (frames, height, width, channels))


def convolve(
    program: Program, name: str, x: Value, layer: Affine, activation: str, *, stride: int = 1
) -> Value:
    """A dense convolution and its activation."""
    weight = layer.weight if layer.weight.ndim == 4 else layer.weight[None, None]
    relu6 = activation == "relu6"
    x = program.conv(name, x, weight, layer.bias, stride=stride, relu6=relu6)
    if activation in ("none", "relu6"):
        return x
    return program.activate(f"{name}/activated", x, activation)
