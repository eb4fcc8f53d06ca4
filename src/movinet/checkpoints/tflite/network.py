"""Find the MoViNet in a TensorFlow Lite graph: its layers, its options and its weights.

The graph is followed from the frames to the prediction, and has to be a MoViNet at every step:
what is only similar would load without an error and predict nonsense.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from movinet.checkpoints.tflite.dataflow import CONVOLUTIONS, Dataflow, Layer
from movinet.runtime.engines.tflite_file import Operation, TfliteGraph

#: Operations with weights that the walk has no name for: a network with one is another one.
_FOREIGN = ("CONV_3D", "CONV_3D_TRANSPOSE", "TRANSPOSE_CONV", "BATCH_MATMUL", "CUSTOM")
_ADD, _MUL = ("ADD",), ("MUL",)
_ACTIVATIONS, _GATES = ("swish", "hard_swish", "relu6"), ("sigmoid", "hard_sigmoid")


@dataclass
class Block:
    """The layers of a block as they are met.

    Attributes:
        expand: Pointwise, as are `reduce`, `gate`, `project` and `skip`.
        depthwise: Over space.
        temporal: Over time, or None.
        reduce: First half of squeeze-excitation, or None.
        gate: Second half.
        gate_offset: What was added to the gate's bias for a hard sigmoid.
        position_scale: Factor of the positional encoding, or None.
        project: Back to few channels.
        scale: What multiplies the projection: one number, or one for each channel.
        skip: On the way around the block, or None.
    """

    expand: Layer
    depthwise: Layer
    temporal: Layer | None = None
    reduce: Layer | None = None
    gate: Layer | None = None
    gate_offset: float = 0.0
    position_scale: float | None = None
    project: Layer | None = None
    scale: NDArray[np.float32] = field(default_factory=lambda: np.ones(1, np.float32))
    skip: Layer | None = None


@dataclass(frozen=True)
class Layers:
    """The layers of a network.

    Attributes:
        image_size: (height, width) of its frames, pixels.
        stem: The first convolution.
        blocks: In order.
        head: The last convolution over frames.
        hidden: The classifier's hidden layer.
        classifier: Its last layer.
        options: What all parts agree on: "activation", "head_activation", and with
            squeeze-excitation "se_type" and "gating_activation".
    """

    image_size: tuple[int, int]
    stem: Layer
    blocks: tuple[Block, ...]
    head: Layer
    hidden: Layer
    classifier: Layer
    options: dict[str, str]


def find_layers(graph: TfliteGraph) -> Layers:
    """Follow a stream network, one frame a step, through its graph.

    Raises:
        CheckpointError: If it is no MoViNet; says where it differs.
    """
    return _Walk(Dataflow(graph)).layers()


class _Walk:
    """One walk through a graph."""

    def __init__(self, flow: Dataflow) -> None:
        self._flow = flow
        self._met: set[int] = set()  # identities of operations
        #: What was found, and where first.
        self._options: dict[str, tuple[str, str]] = {}

    def layers(self) -> Layers:
        """See `find_layers`."""
        flow = self._flow
        stem, image_size = self._stem()
        x = self._activated("the stem", stem)
        blocks: list[Block] = []
        while len(flow.users(x)) > 1:
            block, x = self._block(f"block {len(blocks) + 1}", x)
            blocks.append(block)
        head = self._dense("the head", flow.only_user(x, "the last block", CONVOLUTIONS))
        x = self._spatial_mean("the head", self._activated("the head", head))
        x = self._running_mean("the head", x)
        hidden = self._dense("the classifier", flow.only_user(x, "the head", CONVOLUTIONS))
        activation, x = flow.activated(hidden)
        self._option("head_activation", activation, "the classifier's hidden layer")
        user = flow.only_user(x, "the classifier's hidden layer", CONVOLUTIONS)
        classifier = self._dense("the classifier", user)
        self._check_end(classifier)
        options = {name: value for name, (value, _) in self._options.items()}
        return Layers(image_size, stem, tuple(blocks), head, hidden, classifier, options)

    def _stem(self) -> tuple[Layer, tuple[int, int]]:
        """The first convolution, and the size of the frames that it sees."""
        flow, tensors = self._flow, self._flow.graph.tensors
        found = [
            (number, user)
            for number in flow.graph.inputs
            for user in flow.users(number)
            if user.kind in CONVOLUTIONS and flow.channels(number) == 3
        ]
        if len(found) != 1:
            flow.refuse("no convolution sees RGB frames (as the graph's input, unchanged) first")
        number, user = found[0]
        shape = tensors[number].shape
        if len(shape) not in (4, 5) or np.prod(shape[:-3]) != 1:
            flow.refuse(f"its frames are {list(shape)}, not one frame of a stream")
        layer = self._layer("the stem", user)
        if layer.kind != "dense" or layer.size != (3, 3) or layer.stride != 2:
            flow.refuse(f"the stem is {_describe(layer)}, not a 3 x 3 convolution of stride 2")
        return layer, (shape[-3], shape[-2])

    def _block(self, where: str, x: int) -> tuple[Block, int]:
        """The block that a tensor goes into, and the tensor that comes out."""
        flow, users = self._flow, self._flow.users(x)
        ahead = [user for user in users if user.kind in CONVOLUTIONS and self._expands(user)]
        if len(users) != 2 or len(ahead) != 1:
            kinds = ", ".join(user.kind for user in users[:4])
            flow.refuse(
                f"{where} begins with {kinds}, not with an expanding convolution and a skip"
            )
        around = next(user for user in users if user is not ahead[0])
        expand = self._dense(where, ahead[0])
        y = self._activated(where, expand)
        depthwise = self._layer(where, flow.only_user(y, f"{where}'s expansion", CONVOLUTIONS))
        if depthwise.kind != "depthwise" or depthwise.size[0] != depthwise.size[1]:
            flow.refuse(f"{where} has {_describe(depthwise)}, not a square depthwise kernel")
        block = Block(expand, depthwise)
        y = self._temporal(where, block, self._activated(where, depthwise))
        y = self._squeeze_excitation(where, block, y)
        block.project = self._dense(where, flow.only_user(y, f"{where}'s filters", CONVOLUTIONS))
        y = self._scaled(where, block)
        total = flow.only_user(y, f"{where}'s projection", _ADD)
        if flow.other(total, y) != self._skip(where, block, x, around, total):
            flow.refuse(f"{where} adds something else than its input")
        return block, flow.plain_result(total)

    def _expands(self, user: Operation) -> bool:
        """Whether a depthwise convolution follows a convolution and its activation."""
        layer = self._flow.layer(user)
        _, y = self._flow.activated(layer)
        users = self._flow.users(y)
        if len(users) != 1 or users[0].kind not in CONVOLUTIONS:
            return False
        return self._flow.layer(users[0]).kind == "depthwise"

    def _temporal(self, where: str, block: Block, y: int) -> int:
        """The temporal convolution over past frames and this one, if there is one."""
        flow = self._flow
        joins = [user for user in flow.users(y) if user.kind == "CONCATENATION"]
        if not joins or len(flow.users(y)) != 1:
            return y
        past, *newest = flow.inputs(joins[0])
        if past not in flow.entries or newest != [y]:
            flow.refuse(f"{where} does not put past frames, from a state, before the newest one")
        window = flow.result(joins[0])
        users = [user for user in flow.users(window) if user.kind in CONVOLUTIONS]
        if len(users) != 1:
            flow.refuse(f"{where} has {len(users)} convolutions over time, not one")
        layer = self._layer(where, users[0])
        rows = flow.graph.tensors[layer.operation.outputs[0]].shape[1:2]
        if layer.kind != "depthwise" or layer.size[1] != 1 or layer.stride != 1 or rows != (1,):
            flow.refuse(f"{where} has {_describe(layer)} over time, not one depthwise kernel")
        block.temporal = layer
        return self._activated(where, layer)

    def _squeeze_excitation(self, where: str, block: Block, y: int) -> int:
        """The gates that multiply the filtered frames, if there are any."""
        flow, users = self._flow, self._flow.users(y)
        products = [user for user in users if user.kind == "MUL"]
        if len(users) != 2 or len(products) != 1:
            self._option("se_type", "none", where)
            return y
        x = self._spatial_mean(where, y)
        kind, x = self._pooled(where, block, x)
        self._option("se_type", kind, where)
        what = f"{where}'s squeeze-excitation"
        block.reduce = self._dense(what, flow.only_user(x, what, CONVOLUTIONS))
        x = self._activated(what, block.reduce)
        block.gate = self._dense(what, flow.only_user(x, what, CONVOLUTIONS))
        if flow.other(products[0], y) != self._gate(what, block, block.gate):
            flow.refuse(f"{where}'s frames are multiplied by something else than its gates")
        return flow.plain_result(products[0])

    def _pooled(self, where: str, block: Block, mean: int) -> tuple[str, int]:
        """What squeeze-excitation pools over, and what it pooled."""
        flow = self._flow
        if not any(user.kind == "ADD" for user in flow.users(mean)):
            return "2d", self._placed(where, block, mean)
        running = self._running_mean(where, mean)
        joins = [user for user in flow.users(running) if user.kind == "CONCATENATION"]
        if not joins:
            return "3d", self._placed(where, block, running)
        if flow.inputs(joins[0]) != [running, mean]:
            flow.refuse(f"{where} pools something else than frames so far, then this frame")
        return "2plus3d", self._placed(where, block, flow.result(joins[0]))

    def _placed(self, where: str, block: Block, pooled: int) -> int:
        """Past the positional encoding, if there is one: sines, then cosines, times a factor."""
        flow, users = self._flow, self._flow.users(pooled)
        if [user.kind for user in users] != ["ADD"]:
            return pooled
        product = flow.maker(flow.other(users[0], pooled))
        if product is None or product.kind != "MUL":
            flow.refuse(f"{where} adds something else than a positional encoding")
        factors = [(number, flow.constant(number)) for number in flow.inputs(product)]
        encodings = [number for number, values in factors if values is None]
        factor = [values for _, values in factors if values is not None and values.size == 1]
        if len(encodings) != 1 or len(factor) != 1 or not self._is_encoding(encodings[0]):
            flow.refuse(f"{where} adds something else than a positional encoding")
        block.position_scale = factor[0].item()
        return flow.plain_result(users[0])

    def _is_encoding(self, number: int) -> bool:
        """Whether a tensor is all sines, then all cosines, of a place times the known rates."""
        flow = self._flow
        join = flow.maker(number)
        if join is None or join.kind != "CONCATENATION":
            return False
        makers = [flow.maker(part) for part in flow.inputs(join)]
        if [maker and maker.kind for maker in makers] != ["SIN", "COS"]:
            return False
        width = flow.channels(number)
        rates = 10000.0 ** (-2 * (np.arange(width) // 2) / width)
        starts = []
        for maker in makers:
            assert maker is not None
            part = flow.maker(flow.inputs(maker)[0])  # every other one of the angles
            if part is None or part.kind != "STRIDED_SLICE":
                return False
            starts.append(int(flow.graph.numbers(part.inputs[1])[-1]))
            angles = flow.maker(flow.inputs(part)[0])
            if angles is None or angles.kind != "MUL":
                return False
            constants = [flow.constant(each) for each in flow.inputs(angles)]
            if not any(
                c is not None and c.size == width and np.allclose(c.ravel(), rates, rtol=1e-3)
                for c in constants
            ):
                return False
        return starts == [0, 1]

    def _gate(self, what: str, block: Block, layer: Layer) -> int:
        """The gates, and the activation that makes them."""
        flow = self._flow
        users = flow.users(layer.result)
        if layer.activation == "none" and [user.kind for user in users] == ["LOGISTIC"]:
            self._option("gating_activation", "sigmoid", what)
            return flow.result(users[0])
        activation, x = flow.activated(layer)
        product = flow.only_user(x, what, _MUL)
        # The reference's hard sigmoid: relu6(x + 3) * 0.16667, the 3 within the bias.
        if activation != "relu6" or not flow.is_number(flow.other(product, x), 1 / 6):
            flow.refuse(f"{what} ends in {activation}, not in a sigmoid or hard sigmoid")
        self._option("gating_activation", "hard_sigmoid", what)
        block.gate_offset = 3.0
        return flow.plain_result(product)

    def _scaled(self, where: str, block: Block) -> int:
        """What comes out of the projection and the learned scalar, if that is separate."""
        flow, layer = self._flow, block.project
        assert layer is not None
        if layer.activation != "none":
            flow.refuse(f"{where}'s projection has an activation: {layer.activation}")
        users = flow.users(layer.result)
        if [user.kind for user in users] != ["MUL"]:
            return layer.result
        factors = flow.constant(flow.other(users[0], layer.result))
        if factors is None or factors.size % layer.outputs not in (0, factors.size):
            flow.refuse(f"{where}'s projection is multiplied by something that is no constant")
        rows = factors.reshape(-1, layer.outputs if factors.size > 1 else 1)
        if not (rows == rows[0]).all():
            flow.refuse(f"{where}'s projection is multiplied by another number at each place")
        block.scale = rows[0]
        return flow.plain_result(users[0])

    def _skip(self, where: str, block: Block, x: int, user: Operation, total: Operation) -> int:
        """What goes around a block: its input, pooled where strided, through a convolution."""
        flow = self._flow
        if user is total:
            return x
        if user.kind == "AVERAGE_POOL_2D":
            flow.check_pool(user)
            x = flow.plain_result(user)
            user = flow.only_user(x, f"{where}'s pool", CONVOLUTIONS)
        block.skip = self._dense(where, user)
        if block.skip.activation != "none":
            flow.refuse(f"{where}'s skip has an activation: {block.skip.activation}")
        return block.skip.result

    def _spatial_mean(self, where: str, x: int) -> int:
        """The mean over the places of a frame."""
        flow = self._flow
        sums = [user for user in flow.users(x) if user.kind in ("MEAN", "SUM")]
        if len(sums) != 1:
            flow.refuse(f"{where} does not average over the places of a frame")
        places, result = flow.places(sums[0]), flow.result(sums[0])
        if sums[0].kind == "MEAN":
            return result
        product = flow.only_user(result, f"{where}'s sum over places", _MUL)
        if not flow.is_number(flow.other(product, result), 1 / places):
            flow.refuse(f"{where}'s sum over places is not divided by their number")
        return flow.plain_result(product)

    def _running_mean(self, where: str, mean: int) -> int:
        """The mean over all frames so far: a sum from the state, divided by a count from there."""
        flow = self._flow
        sums = [user for user in flow.users(mean) if user.kind == "ADD"]
        if len(sums) != 1 or flow.other(sums[0], mean) not in flow.entries:
            flow.refuse(f"{where} does not add up its frames in a state")
        total = flow.plain_result(sums[0])
        ratios = [user for user in flow.users(total) if user.kind == "DIV"]
        if len(ratios) != 1 or not self._is_count(flow.other(ratios[0], total)):
            flow.refuse(f"{where} does not divide its sum by a count of frames")
        return flow.plain_result(ratios[0])

    def _is_count(self, number: int) -> bool:
        """Whether a tensor is a state and 1."""
        flow = self._flow
        maker = flow.maker(number)
        if maker is None or maker.kind != "ADD":
            return False
        values = [(each, flow.constant(each)) for each in flow.inputs(maker)]
        states = [each for each, constant in values if constant is None and each in flow.entries]
        ones = [each for each, constant in values if constant is not None and (constant == 1).all()]
        return len(states) == len(ones) == 1

    def _layer(self, where: str, operation: Operation) -> Layer:
        if operation.kind not in CONVOLUTIONS:
            self._flow.refuse(f"{where} goes on with {operation.kind}")
        self._met.add(id(operation))
        return self._flow.layer(operation)

    def _dense(self, where: str, operation: Operation) -> Layer:
        layer = self._layer(where, operation)
        if layer.kind != "dense" or layer.size != (1, 1) or layer.stride != 1:
            self._flow.refuse(f"{where} has {_describe(layer)}, not a 1 x 1 convolution")
        return layer

    def _activated(self, where: str, layer: Layer) -> int:
        """What comes out of a layer and the network's activation."""
        activation, x = self._flow.activated(layer)
        self._option("activation", activation, where)
        return x

    def _option(self, name: str, value: str, where: str) -> None:
        """Take note of an option, which is the same everywhere in a network."""
        if name.endswith("activation") and value not in (*_ACTIVATIONS, *_GATES):
            self._flow.refuse(f"{where} has the activation {value}")
        known, first = self._options.setdefault(name, (value, where))
        if known != value:
            self._flow.refuse(f"{name} is {known} in {first}, but {value} in {where}")

    def _check_end(self, classifier: Layer) -> None:
        """Refuse what comes after the classifier, but for a softmax, and what was not met."""
        flow, x = self._flow, classifier.result
        if classifier.activation != "none":
            flow.refuse(f"the classifier has an activation: {classifier.activation}")
        users = flow.users(x)
        if users:
            x = flow.result(flow.only_user(x, "the classifier", ("SOFTMAX", "LOGISTIC")))
        if x not in flow.exits:
            flow.refuse("the classifier's outputs are not those of the graph")
        for operation in flow.graph.operations:
            if operation.kind in (*CONVOLUTIONS, *_FOREIGN) and id(operation) not in self._met:
                flow.refuse(f"{operation.kind} beside the layers of a MoViNet")


def _describe(layer: Layer) -> str:
    height, width = layer.size
    return f"a {height} x {width} {layer.kind} convolution of stride {layer.stride}"
