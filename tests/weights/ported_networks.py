"""State dicts as MoViNet-pytorch has them, made from ours by rules of their own."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from movinet.network.config import BlockSpec, MoViNetConfig
from movinet.network.model import MoViNet
from movinet.network.presets import preset_config
from networks import randomize

Shape = tuple[int, ...]
SIZES = ("a0", "a1", "a2", "a3", "a4", "a5")


def ported_config(size: str, *, causal: bool, factorized: bool, classes: int = 5) -> MoViNetConfig:
    """What its constructor makes of ``causal`` and ``conv_type``, in our fields."""
    kind = "stream" if causal else "base"
    return preset_config(
        f"{size}_{kind}",
        num_classes=classes,
        causal=causal,
        factorized=factorized,
        se_type="2plus3d" if causal else "3d",
        activation="hard_swish" if factorized else "swish",
        gating_activation="hard_sigmoid" if factorized else "sigmoid",
        head_activation="swish",
        positional_encoding=False,
    )


def ported_shapes(config: MoViNetConfig) -> dict[str, Shape]:
    """Names and shapes there, layer by layer as its modules nest."""
    arch = config.architecture
    found: dict[str, Shape] = {}

    def convolution(path: str, out: int, per_group: int, time: int, space: int, norm: bool) -> None:
        kernels = [("conv_1", (time, space, space))]
        if config.factorized:
            kernels = [("conv_1", (space, space)), ("conv_2", (time, 1))][: 1 if time == 1 else 2]
        for name, size in kernels:
            kind = "conv2d" if config.factorized else "conv3d"
            found[f"{path}.{name}.{kind}.weight"] = (out, per_group, *size)
            if not norm:
                found[f"{path}.{name}.{kind}.bias"] = (out,)
                continue
            for leaf in ("weight", "bias", "running_mean", "running_var"):
                found[f"{path}.{name}.norm.{leaf}"] = (out,)
            found[f"{path}.{name}.norm.num_batches_tracked"] = ()

    convolution("conv1", arch.stem, 3, 1, 3, True)
    number = iter(
        f"blocks.b{g}_l{i}" for g, group in enumerate(arch.groups) for i in range(len(group.blocks))
    )
    for block in arch.blocks():
        path = next(number)
        found[f"{path}.alpha"] = ()
        convolution(f"{path}.expand", block.expand, block.inputs, 1, 1, True)
        convolution(f"{path}.deep", block.expand, 1, block.kernel_time, block.kernel_space, True)
        pooled = block.expand * (2 if config.causal else 1)
        hidden = _multiple_of_eight(pooled / 4)
        convolution(f"{path}.se.fc1", hidden, pooled, 1, 1, False)
        convolution(f"{path}.se.fc2", block.expand, hidden, 1, 1, False)
        convolution(f"{path}.project", block.outputs, block.expand, 1, 1, True)
        if block.stride > 1 or block.inputs != block.outputs:
            index = 1 if block.stride > 1 else 0  # behind the average pooling
            convolution(f"{path}.res.{index}", block.outputs, block.inputs, 1, 1, True)
    convolution("conv7", arch.head, arch.groups[-1].filters, 1, 1, True)
    convolution("classifier.0", arch.hidden, arch.head, 1, 1, False)
    convolution("classifier.3", config.num_classes, arch.hidden, 1, 1, False)
    return found


def ported_state(shapes: dict[str, Shape], seed: int = 0) -> dict[str, Tensor]:
    """Random tensors of these names and shapes, of the size that training leaves."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
        elif len(shape) > 1:
            fan_in = torch.Size(shape[1:]).numel()
            state[name] = torch.randn(shape, generator=generator) * (1.5 / fan_in) ** 0.5
        elif name.endswith(("norm.weight", "running_var", "alpha")):
            state[name] = 0.5 + 0.8 * torch.rand(shape, generator=generator)
        else:
            state[name] = 0.4 * torch.rand(shape, generator=generator) - 0.2
    return state


def expected_model(state: dict[str, Tensor], config: MoViNetConfig) -> MoViNet:
    """Our network with these tensors, each put where it belongs by hand."""
    model = MoViNet(config).eval()
    randomize(model, seed=99)
    ours = model.state_dict()
    for layer, path in _pairs(config):
        inner = f"{path}.conv_{2 if layer.endswith('temporal') else 1}"
        kind = "conv2d" if config.factorized else "conv3d"
        weight = state[f"{inner}.{kind}.weight"]
        ours[f"{layer}.weight"].copy_(weight.reshape(ours[f"{layer}.weight"].shape))
        if f"{layer}.bias" in ours:
            ours[f"{layer}.bias"].copy_(state[f"{inner}.{kind}.bias"])
        else:
            for leaf in ("weight", "bias", "running_mean", "running_var"):
                ours[f"{layer}.norm.{leaf}"].copy_(state[f"{inner}.norm.{leaf}"])
    for block in config.architecture.blocks():
        ours[f"blocks.{block.name}.scale"].copy_(state[f"{_path(block)}.alpha"])
    return model


def _pairs(config: MoViNetConfig) -> Iterator[tuple[str, str]]:
    yield from (("stem", "conv1"), ("head", "conv7"))
    yield from (("hidden", "classifier.0"), ("classifier", "classifier.3"))
    for block in config.architecture.blocks():
        ours, theirs = f"blocks.{block.name}", _path(block)
        yield from ((f"{ours}.expand", f"{theirs}.expand"), (f"{ours}.depthwise", f"{theirs}.deep"))
        if config.factorized and block.kernel_time > 1:
            yield f"{ours}.temporal", f"{theirs}.deep"
        yield f"{ours}.project", f"{theirs}.project"
        yield f"{ours}.se.reduce", f"{theirs}.se.fc1"
        yield f"{ours}.se.expand", f"{theirs}.se.fc2"
        if block.has_skip_projection:
            yield f"{ours}.skip", f"{theirs}.res.{1 if block.stride > 1 else 0}"


def _path(block: BlockSpec) -> str:
    group, layer = block.name.removeprefix("block").split("_layer")
    return f"blocks.b{group}_l{layer}"


def _multiple_of_eight(value: float) -> int:
    """The nearest multiple, ties up, of at least 8 and at least nine tenths of the value."""
    rounded = max(8, int(value + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * value else rounded + 8
