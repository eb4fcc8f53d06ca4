"""How a graph looks over time: a stream's state, or the other frames of a clip."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from movinet.exporting.graph.folding import Affine, Folded, FoldedBlock
from movinet.exporting.graph.program import Program, Value
from movinet.runtime.tensors import StateTensor

#: Sums of squares beyond it mean nothing; positions are below it (float32 holds integers to 2**24).
_FAR = 2.0**25


class StreamTime:
    """One step of a stream: past frames and running sums are inputs, new ones outputs.

    Every past frame of a temporal kernel is a tensor of its own. After a step it takes the value of
    the next one, and the newest that of an output; so the runtime only renames them.
    """

    def __init__(self, program: Program, network: Folded, num_frames: int) -> None:
        self._program, self._network, self._num_frames = program, network, num_frames
        self._states: list[StateTensor] = []
        self._shares: list[Value] = []
        self._positions: list[Value] = []
        self._decay = program.input("decay", (program.batch_size, 1))
        self._weigh_frames()
        # The sums of all poolings lie in one tensor: one product with the decay, and two tensors
        # to hand over instead of two for each block.
        pooled = [("head", len(network.head.bias))]
        if network.config.se_type in ("3d", "2plus3d"):
            pooled = [(b.spec.name, b.spec.expand) for b in network.blocks] + pooled
        ends = np.cumsum([width for _, width in pooled])
        self._spans = {
            name: (int(end) - width, width) for (name, width), end in zip(pooled, ends, strict=True)
        }
        sums = self._state("sums", (program.batch_size, int(ends[-1])))
        self._kept = program.binary("mul", "sums/kept", sums, self._decay)
        self._totals: list[Value] = []
        if network.config.positional_encoding:
            self._count_frames()

    def states(self) -> tuple[StateTensor, ...]:
        """Every state tensor that was made."""
        return tuple(self._states)

    def filter(self, block: FoldedBlock, x: Value, stride: int) -> Value:
        """The depthwise and temporal kernels of a block, activations included."""
        program, name = self._program, block.spec.name
        activation = self._network.config.activation
        if block.temporal is None and block.depthwise.weight.shape[0] > 1:
            return self._filter_over_time(block, x, stride)
        layer = block.depthwise
        x = program.depthwise(f"{name}/depthwise", x, layer.weight[0], layer.bias, stride=stride)
        x = program.activate(f"{name}/depthwise/activated", x, activation)
        if block.temporal is None:
            return x
        window = self._window(name, x, block.spec.kernel_time - 1)
        return self._temporal(name, window, block.temporal)

    def pooled(self, block: FoldedBlock, x: Value) -> Value:
        """What squeeze-excitation sees, (frames, channels)."""
        program, name, config = self._program, block.spec.name, self._network.config
        means = program.mean(f"{name}/means", x, (1, 2))
        over_time = means
        if config.se_type in ("3d", "2plus3d"):
            over_time = self._running_means(name, means)
        if config.se_type == "2plus3d":
            over_time = program.concat(f"{name}/pooled", (over_time, means), 1)
        if block.position_scale is None:
            return over_time
        encoding = self._encoding(name, over_time.shape[1], block.position_scale)
        return program.binary("add", f"{name}/placed", over_time, encoding)

    def head(self, x: Value) -> Value:
        """What the classifier sees after each frame, (frames, channels)."""
        embedding = self._running_means("head", self._program.mean("head/means", x, (1, 2)))
        self._program.output("new/sums", self._program.concat("sums/new", self._totals, 1))
        return embedding

    def _weigh_frames(self) -> None:
        """The weight of the sums, and one over it after each frame."""
        program = self._program
        weight = self._state("pool_weight", (program.batch_size, 1))
        one = program.constant("one", np.ones((1, 1), np.float32))
        for i in range(self._num_frames):
            kept = program.binary("mul", f"pool_weight/kept{i}", weight, self._decay)
            weight = program.binary("add", f"pool_weight/{i}", kept, 1.0)
            self._shares.append(program.binary("div", f"pool_weight/{i}/share", one, weight))
        program.output("new/pool_weight", weight)

    def _state(self, name: str, shape: Sequence[int], next_value: str | None = None) -> Value:
        free = None if self._program.dynamic_batch else shape[0]
        self._states.append(StateTensor(name, (free, *shape[1:]), next_value or f"new/{name}"))
        return self._program.input(name, shape)

    def _frame(self, name: str, x: Value, i: int) -> Value:
        """Frame `i` of the step's frames."""
        batch = self._program.batch_size
        return self._program.slice(f"{name}/frame{i}", x, 0, i * batch, batch)

    def _running_means(self, name: str, means: Value) -> Value:
        """Means over all frames until each, (frames, channels), from those of each."""
        program, rows = self._program, []
        total = program.slice(f"{name}/kept0", self._kept, 1, *self._spans[name])
        for i, share in enumerate(self._shares):
            if i > 0:
                total = program.binary("mul", f"{name}/kept{i}", total, self._decay)
            frame = self._frame(f"{name}/means", means, i)
            total = program.binary("add", f"{name}/total{i}", total, frame)
            rows.append(program.binary("mul", f"{name}/mean{i}", total, share))
        self._totals.append(total)
        return program.concat(f"{name}/running", rows, 0)

    def _window(self, name: str, x: Value, past: int) -> list[Value]:
        """The last `past` frames of the stream and those of the step, each (batch, h, w, c)."""
        shape = (self._program.batch_size, *x.shape[1:])
        frames = [self._frame(f"{name}/filtered", x, i) for i in range(self._num_frames)]
        names = [f"buffer/{name}/{i}" for i in range(past)]
        window: list[Value] = []
        for i, own in enumerate(names):
            successor = i + self._num_frames
            if successor < past:
                window.append(self._state(own, shape, f"state:{names[successor]}"))
            else:
                self._program.output(f"new/{own}", frames[successor - past])
                window.append(self._state(own, shape))
        return [*window, *frames]

    def _temporal(self, name: str, window: Sequence[Value], layer: Affine) -> Value:
        """k_t x 1 x 1: frames below one another, and a kernel whose rows lie a frame apart."""
        program, height = self._program, window[0].shape[1]
        stacked = program.concat(f"{name}/window", window, 1)
        x = program.depthwise(
            f"{name}/temporal",
            stacked,
            layer.weight[:, None],
            layer.bias,
            padding="VALID",
            dilation=height,
        )
        x = program.activate(f"{name}/temporal/activated", x, self._network.config.activation)
        parts = [
            program.slice(f"{name}/temporal/frame{i}", x, 1, i * height, height)
            for i in range(self._num_frames)
        ]
        return program.concat(f"{name}/temporal/frames", parts, 0)

    def _filter_over_time(self, block: FoldedBlock, x: Value, stride: int) -> Value:
        """k_t x k x k: the sum of a 2-D kernel for each tap."""
        program, name, layer = self._program, block.spec.name, block.depthwise
        taps = len(layer.weight)
        window, rows = self._window(name, x, taps - 1), []
        for i in range(self._num_frames):
            frames = window[i : i + taps]
            rows.append(add_taps(program, f"{name}/depthwise/{i}", frames, layer, stride))
        y = program.concat(f"{name}/depthwise", rows, 0)
        activation = self._network.config.activation
        return program.activate(f"{name}/depthwise/activated", y, activation)

    def _count_frames(self) -> None:
        """Positions of the step's frames: held at the trained length where sums decay."""
        program = self._program
        count = self._state("frame_count", (program.batch_size, 1))
        # 1 where the decay is 1, else at most 0: the next smaller float32 is 2**-24 below 1.
        lost = program.binary("sub", "decay/lost", self._decay, 1.0)
        endless = program.binary("mul", "decay/scaled", lost, _FAR * 2.0**24)
        limit = program.binary("add", "position/free", endless, _FAR)
        held = program.constant(
            "position/held", np.full((1, 1), self._network.config.trained_frames - 1, np.float32)
        )
        limit = program.binary("maximum", "position/limit", limit, held)
        for i in range(self._num_frames):
            position = program.binary("add", f"position/{i}/count", count, float(i))
            self._positions.append(program.binary("minimum", f"position/{i}", position, limit))
        program.output(
            "new/frame_count", program.binary("add", "count", count, float(self._num_frames))
        )

    def _encoding(self, name: str, width: int, scale: float) -> Value:
        """The scaled positional encoding of each frame, (frames, width)."""
        program = self._program
        index = np.arange(width, dtype=np.float64)
        rates = (10000.0 ** (-2 * (index // 2) / width)).astype(np.float32)[None]
        position = program.concat(f"{name}/position", self._positions, 0)
        parts = []
        for kind, which in (("sin", rates[:, 0::2]), ("cos", rates[:, 1::2])):
            rate = program.constant(f"{name}/rates/{kind}", which)
            angle = program.binary("mul", f"{name}/angle/{kind}", position, rate)
            parts.append(program.unary(kind, f"{name}/{kind}", angle))
        encoding = program.concat(f"{name}/encoding", parts, 1)
        return program.binary("mul", f"{name}/encoding/scaled", encoding, scale)


class ClipTime:
    """A whole clip: every frame sees those before and after it."""

    def __init__(self, program: Program, network: Folded, num_frames: int) -> None:
        self._program, self._network, self._num_frames = program, network, num_frames

    def states(self) -> tuple[StateTensor, ...]:
        """A clip has none."""
        return ()

    def filter(self, block: FoldedBlock, x: Value, stride: int) -> Value:
        """The depthwise and temporal kernels of a block, activations included."""
        program, name, layer = self._program, block.spec.name, block.depthwise
        activation = self._network.config.activation
        frames = self._shifted(name, x, len(layer.weight))
        y = add_taps(program, f"{name}/depthwise", frames, layer, stride)
        y = program.activate(f"{name}/depthwise/activated", y, activation)
        if block.temporal is None:
            return y
        # Time as the rows of one image, everything else as its columns.
        batch, (_, height, width, channels) = program.batch_size, y.shape
        shape = (1, self._num_frames, batch * height * width, channels)
        image = program.reshape(f"{name}/image", y, shape, 2)
        weight = block.temporal.weight[:, None]
        image = program.depthwise(f"{name}/temporal", image, weight, block.temporal.bias)
        image = program.activate(f"{name}/temporal/activated", image, activation)
        return program.reshape(f"{name}/temporal/frames", image, y.shape)

    def pooled(self, block: FoldedBlock, x: Value) -> Value:
        """What squeeze-excitation sees: (batch, channels), or (frames, channels)."""
        program, name, kind = self._program, block.spec.name, self._network.config.se_type
        means = program.mean(f"{name}/means", x, (1, 2))
        if kind == "2d":
            return means
        clip = self._mean_of_frames(name, means)
        if kind == "3d":
            return clip
        repeated = program.concat(f"{name}/repeated", [clip] * self._num_frames, 0)
        return program.concat(f"{name}/pooled", (repeated, means), 1)

    def head(self, x: Value) -> Value:
        """What the classifier sees, (batch, channels)."""
        return self._mean_of_frames("head", self._program.mean("head/means", x, (1, 2)))

    def _mean_of_frames(self, name: str, means: Value) -> Value:
        batch, channels = self._program.batch_size, means.shape[1]
        frames = self._program.reshape(
            f"{name}/means/clips", means, (self._num_frames, batch, channels), 1
        )
        return self._program.mean(f"{name}/mean", frames, (0,))

    def _shifted(self, name: str, x: Value, taps: int) -> list[Value]:
        """The frames that each tap sees: shifted in time, with zeros beyond the ends."""
        if taps == 1:
            return [x]
        program, batch = self._program, self._program.batch_size
        zeros = program.constant(
            f"{name}/zeros", np.zeros((taps // 2 * batch, *x.shape[1:]), np.float32)
        )
        padded = program.concat(f"{name}/padded", (zeros, x, zeros), 0)
        return [
            program.slice(f"{name}/tap{i}", padded, 0, i * batch, x.shape[0]) for i in range(taps)
        ]


def add_taps(
    program: Program, name: str, frames: Sequence[Value], layer: Affine, stride: int
) -> Value:
    """The sum of a depthwise 2-D kernel for each tap of a k_t x k x k one."""
    total: Value | None = None
    for i, (x, weight) in enumerate(zip(frames, layer.weight, strict=True)):
        bias = layer.bias if i == 0 else np.zeros_like(layer.bias)
        tap = program.depthwise(f"{name}/tap{i}", x, weight, bias, stride=stride)
        total = tap if total is None else program.binary("add", f"{name}/sum{i}", total, tap)
    assert total is not None
    return total
