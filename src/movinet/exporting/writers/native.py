"""Write a network as a file of the native engine (native/src/file.h describes it)."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from movinet.errors import ConfigError
from movinet.exporting.graph.folding import Affine, Folded, FoldedBlock
from movinet.network.config import MAX_IMAGE_SIZE, MoViNetConfig
from movinet.runtime.engines.native import PRECISIONS
from movinet.runtime.formats import FORMATS
from movinet.runtime.manifest import Manifest

_MAGIC, _VERSION, _ALIGNMENT = b"MVN1", 1, 64
_POOLING = {"none": 0, "3d": 1, "2d": 2, "2plus3d": 3}
#: name -> number in the file's header, which the engine knows it by; 0 is none
ACTIVATIONS = {"relu6": 1, "hard_swish": 2, "swish": 3, "hard_sigmoid": 4, "sigmoid": 5}
_HEADER = struct.Struct("<4sIQ15I")
_BLOCK = struct.Struct("<8If")
#: Weights of an output up to this are as good as zero.
_NOTHING = 1e-30


def write_native(network: Folded, manifest: Manifest, path: Path) -> dict[str, int]:
    """Write a .mvn file.

    Args:
        network: A causal one.
        manifest: Travels with it; its input "frames" says the size of the frames.
        path: The file.

    Returns:
        How many layers of each kind it has.

    Raises:
        ConfigError: If the engine cannot run the network, or frames of that size.
    """
    image_size = manifest.frames.shape[1:3]
    check_native(network.config, manifest)
    text = manifest.to_json().encode()
    records = b"".join(_record(block) for block in network.blocks)
    precision = manifest.quantization
    tensors = [np.ascontiguousarray(tensor) for tensor in _tensors(network, precision)]
    size = _aligned(_HEADER.size) + _aligned(len(records)) + _aligned(len(text))
    size += sum(_aligned(tensor.nbytes) for tensor in tensors)
    with path.open("wb") as file:
        _put(file, _header(network.config, image_size, size, len(text), precision))
        _put(file, records)
        _put(file, text)
        for tensor in tensors:
            _put(file, tensor.tobytes())
    return _counts(network)


def _counts(network: Folded) -> dict[str, int]:
    """Layers with weights by kind, as the operations of a graph are called."""
    blocks = network.blocks
    space = [layer for block in blocks for layer in (block.expand, block.project, block.skip)]
    return {
        "conv": sum(layer is not None for layer in (network.stem, *space, network.head)),
        "depthwise": sum(1 + (block.temporal is not None) for block in blocks),
        "dense": 2 + sum(2 for block in blocks if block.reduce is not None),
    }


def check_native(config: MoViNetConfig, manifest: Manifest) -> None:
    """Raise ConfigError unless the engine can run a network as the manifest wants it."""
    FORMATS[".mvn"].check(
        base_model=not config.causal,
        resizes=manifest.resizes,
        quantize=None if manifest.quantization == "none" else manifest.quantization,
    )
    if config.pooling != "3d":
        raise ConfigError(f"the native engine needs pooling='3d', not {config.pooling!r}")
    temporal = any(block.kernel_time > 1 for block in config.architecture.blocks())
    if temporal and not config.factorized:
        raise ConfigError(
            "the native engine runs factorized models; export those with 3-D kernels as .tflite"
        )
    for name in (config.activation, config.gating_activation, config.head_activation):
        if name not in ACTIVATIONS:
            raise ConfigError(
                f"the native engine has no activation {name!r}, it has {', '.join(ACTIVATIONS)}: "
                "export the model as .tflite"
            )
    sides = manifest.frames.shape[1:3]
    if not all(1 <= (side or 0) <= MAX_IMAGE_SIZE for side in sides):
        raise ConfigError(f"image sizes are 1 to {MAX_IMAGE_SIZE} pixels, not {sides}")


def _header(
    config: MoViNetConfig,
    image_size: Sequence[int | None],
    file_size: int,
    manifest_size: int,
    quantization: str,
) -> bytes:
    arch = config.architecture
    return _HEADER.pack(
        _MAGIC,
        _VERSION,
        file_size,
        manifest_size,
        sum(1 for _ in arch.blocks()),
        *image_size,
        arch.stem,
        arch.head,
        arch.hidden,
        config.num_classes,
        config.trained_frames,
        _POOLING[config.se_type],
        ACTIVATIONS[config.activation],
        ACTIVATIONS[config.gating_activation],
        ACTIVATIONS[config.head_activation],
        int(config.positional_encoding),
        PRECISIONS[quantization],
    )


def _record(block: FoldedBlock) -> bytes:
    spec = block.spec
    return _BLOCK.pack(
        spec.inputs,
        spec.expand,
        spec.outputs,
        spec.kernel_time,
        spec.kernel_space,
        spec.stride,
        0 if block.reduce is None else block.reduce.bias.size,
        int(block.skip is not None),
        block.position_scale or 0.0,
    )


def _tensors(network: Folded, quantization: str) -> Iterator[NDArray[Any]]:
    """Every kernel, each followed by its bias, in the order in which the engine reads them.

    Where the file is to hold integers, a matrix is int8, followed by the scale of each output. What
    is small and fragile stays float32: the stem, the skips, and all depthwise kernels. In float16
    files all kernels are float16, and the biases float32.
    """
    dynamic = quantization == "dynamic"
    layers: list[tuple[Affine | None, bool]] = [(network.stem, False)]
    for block in network.blocks:
        layers += [(block.expand, dynamic), (block.depthwise, False), (block.temporal, False)]
        layers += [(block.reduce, dynamic), (block.gate, dynamic), (block.project, dynamic)]
        layers.append((block.skip, False))
    layers += [(layer, dynamic) for layer in (network.head, network.hidden, network.classifier)]
    for layer, as_integers in layers:
        if layer is None:
            continue
        if as_integers:
            largest = np.abs(layer.weight).max(0)
            if not np.isfinite(largest).all():
                raise ConfigError("a weight that is no finite number has no int8 form")
            # Zeros have no scale; a denormal one would cost the engine a hundred cycles a product.
            scale = np.where(largest > _NOTHING, largest, 127) / 127
            yield np.rint(layer.weight / scale).astype(np.int8)
            yield scale.astype("<f4")
        elif quantization == "float16":
            yield _halves(layer.weight)
        else:
            yield layer.weight.astype("<f4")
        yield layer.bias.astype("<f4")


def _halves(weight: NDArray[np.float32]) -> NDArray[np.float16]:
    most = np.abs(weight).max()
    if most > np.finfo(np.float16).max:
        raise ConfigError(f"float16 cannot represent a weight of {most:.3g}: omit quantize")
    return weight.astype("<f2")


def _put(file: BinaryIO, data: bytes) -> None:
    file.write(data.ljust(_aligned(len(data)), b"\0"))


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
