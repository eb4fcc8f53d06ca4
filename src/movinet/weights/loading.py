"""Weights from any kind of file: what is in it, and which network it fits."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from movinet.catalog.published import PUBLISHED, Card, find_card
from movinet.checkpoints.identify import COUNTER, Shapes, check_fit, is_tf
from movinet.checkpoints.metadata import METADATA_KEY, Metadata, read_metadata
from movinet.checkpoints.movinet_pytorch import is_ported, network_names, recognise
from movinet.checkpoints.tensorflow import read_tf_checkpoint
from movinet.embedded import EMBEDDED, embedded_path
from movinet.errors import CheckpointError, ConfigError
from movinet.network.config import MoViNetConfig
from movinet.network.convolution import ConvBias
from movinet.network.presets import input_spec
from movinet.text import is_name, one_line
from movinet.weights.cache import cached_weights
from movinet.weights.layouts import port_to_torch, tf_to_torch
from movinet.weights.saving import save_weights
from movinet.weights.torch_files import is_torch_file, read_state_dict

#: Raised when `_converter` changes what it writes.
_CONVERTER_VERSION = 1
_TORCH_SUFFIXES = (".pt", ".pth", ".ckpt", ".bin")
#: What wrappers put before every name: data parallelism, torch.compile, and training frameworks.
_WRAPPERS = ("module.", "_orig_mod.", "model.")
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True)
class RawWeights:
    """The tensors of a file, as they are named there.

    Attributes:
        where: The file or published name, for messages.
        tensors: Our names -> torch tensors, or the reference's keys -> arrays.
        metadata: What one of our own files says, or the names of another project's; None for
            files that say nothing of themselves.
        notes: What to know about the weights, for people.
        lacks_classifier: Whether the tensors are of a backbone alone, without "hidden" and
            "classifier"; see `with_classifier`.

    Raises:
        CheckpointError: If a tensor is not of real floating numbers in ordinary memory.
    """

    where: str
    tensors: Mapping[str, Any]
    metadata: Metadata | None = None
    notes: tuple[str, ...] = ()
    lacks_classifier: bool = False

    def __post_init__(self) -> None:
        for name, value in self.tensors.items():
            if not name.endswith(COUNTER) and (kind := _unusual(value)):
                raise CheckpointError(
                    f"{self.where}: {one_line(name)} is {kind}; weights must be dense tensors of "
                    "float16, bfloat16, float32 or float64"
                )

    @property
    def shapes(self) -> Shapes:
        """Name -> shape."""
        return {name: tuple(value.shape) for name, value in self.tensors.items()}

    def with_classifier(self, num_classes: int) -> RawWeights:
        """A backbone with a random classifier, for weights that lack one."""
        assert self.metadata is not None
        config = self.metadata.config.replace(num_classes=num_classes)
        arch = config.architecture
        layers = {
            "hidden": ConvBias(arch.head, arch.hidden),
            "classifier": ConvBias(arch.hidden, num_classes, std=0.01),
        }
        tensors = dict(self.tensors)
        for name, layer in layers.items():
            layer.reset_parameters()
            tensors |= {f"{name}.{key}": value for key, value in layer.state_dict().items()}
        assumed = (*self.metadata.assumed, "classifier")
        return dataclasses.replace(
            self,
            tensors=tensors,
            metadata=dataclasses.replace(self.metadata, config=config, assumed=assumed),
            lacks_classifier=False,
        )

    def state_dict(self, config: MoViNetConfig, wanted: str) -> dict[str, Tensor]:
        """The tensors for a network.

        Args:
            config: The network.
            wanted: What was asked for, for the message.

        Raises:
            CheckpointError: If they don't fit.
        """
        check_fit(self.shapes, config, self.where, wanted)
        is_foreign = is_tf(self.shapes)
        tensors = tf_to_torch(self.tensors, config) if is_foreign else self.tensors
        # Files may hold half precision; the network is float32. Its memory is its own, aligned,
        # and not the file's.
        state = {
            name: value.to(torch.float32, copy=True)
            for name, value in tensors.items()
            if not name.endswith(COUNTER)
        }
        norms = [name for name in state if name.endswith("norm.running_var")]
        for name in norms:
            state[name.removesuffix("running_var") + COUNTER] = torch.tensor(0)
        return state


def read_weights(source: str | Path, preset: str | None = None) -> RawWeights:
    """The weights that a published name or a file holds.

    Args:
        source: "kinetics-600" or "kinetics-400" (of `preset`; fetched on first use); "motions"
            (embedded in the package); or a file: our .safetensors, a state dict of ours or of
            MoViNet-pytorch (.pt, .pth, .safetensors), a .tflite model, or a TensorFlow checkpoint
            in any form that `read_tf_checkpoint` takes.
        preset: Whose published weights.

    Raises:
        CheckpointError: If the file is broken or holds something else.
        ConfigError: If a published name is given without a preset, or there are no such weights.
        DownloadError: If the published weights cannot be had.
    """
    if str(source) in PUBLISHED:
        if preset is None:
            raise ConfigError(
                f"weights {source!r} are published for several models: name one (--model)"
            )
        card = find_card(preset, str(source))
        path = cached_weights(card, _converter(card), converter_version=_CONVERTER_VERSION)
        raw = _read_safetensors(path)
        return dataclasses.replace(raw, where=f"{card.preset} {card.dataset}")
    if str(source) in EMBEDDED:
        return dataclasses.replace(_read_safetensors(embedded_path(str(source))), where=str(source))
    path = _existing(source)
    suffix = path.suffix.lower()
    if suffix == ".safetensors" and path.is_file():
        return _read_safetensors(path)
    if suffix == ".tflite" and path.is_file():
        return _read_tflite(path)
    if path.is_file() and (suffix in _TORCH_SUFFIXES or _looks_like_torch(path)):
        return _read_torch(path)
    return RawWeights(str(path), read_tf_checkpoint(path))


def _existing(source: str | Path) -> Path:
    """The path of a file, a folder or a TensorFlow prefix.

    Raises:
        CheckpointError: If there is none, or it is a device or a pipe, which could block for ever.
    """
    forms = (
        f"weights are {', '.join((*PUBLISHED, *EMBEDDED))}, or a .safetensors, .pt, .tflite "
        "or TensorFlow checkpoint (folder, prefix, .index, .tar.gz)"
    )
    path = Path(source)
    try:
        if path.is_file() or (path.is_dir() and str(source)):
            return path
        if path.name and path.with_name(path.name + ".index").is_file():
            return path
        problem = "is neither a file nor a folder" if path.exists() else "no such file"
    except OSError as error:  # a name that is too long, a folder that may not be read
        problem = f"cannot be read: {error.strerror}"
    if not str(source):
        problem = "an empty name"
    raise CheckpointError(f"{one_line(source) or repr('')}: {problem}; {forms}")


def _looks_like_torch(path: Path) -> bool:
    """Whether a file of another name is one of `torch.save`."""
    try:
        return is_torch_file(path)
    except OSError:
        return False


def _unusual(value: Any) -> str:
    """What keeps a tensor or array from being copied into a network; empty if nothing does."""
    if not isinstance(value, Tensor):
        array = np.asarray(value)
        return "" if array.dtype in (np.float16, np.float32, np.float64) else str(array.dtype)
    if value.is_nested or value.layout != torch.strided:
        return "nested" if value.is_nested else str(value.layout).removeprefix("torch.")
    if value.is_quantized or value.dtype not in _FLOATS:
        return str(value.dtype).removeprefix("torch.")
    return "" if value.device.type == "cpu" else f"on the device {value.device}"


def _unwrapped(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The tensors without what wrappers put before every name."""
    while tensors:
        first = next(iter(tensors))
        prefix = next((p for p in _WRAPPERS if first.startswith(p)), None)
        if prefix is None or not all(name.startswith(prefix) for name in tensors):
            break
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def _read_safetensors(path: Path) -> RawWeights:
    try:
        if not is_name(str(path)):  # safetensors opens no name that is not UTF-8
            metadata = read_metadata(path)
            tensors = safetensors.torch.load(path.read_bytes())
            return _of_safetensors(path, tensors, metadata)
        with safetensors.safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(METADATA_KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, safetensors.SafetensorError) as error:
        reason = getattr(error, "strerror", None) or (
            f"damaged, cut off, or another kind of file ({one_line(error)})"
        )
        raise CheckpointError(f"{path}: not a readable .safetensors file: {reason}") from None
    return _of_safetensors(path, tensors, None if text is None else Metadata.parse(text, str(path)))


def _of_safetensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Metadata | None
) -> RawWeights:
    if metadata is None:
        return _foreign(path, tensors)
    return RawWeights(str(path), tensors, metadata)


def _read_torch(path: Path) -> RawWeights:
    tensors, notes = read_state_dict(path)
    return _foreign(path, tensors, notes)


def _foreign(path: Path, tensors: Mapping[str, Tensor], notes: Sequence[str] = ()) -> RawWeights:
    """Tensors of a file that says nothing of itself, in our names or the reference's."""
    if not is_ported(tensors):
        raw = RawWeights(str(path), _unwrapped(tensors), notes=tuple(notes))
        _check_storage(raw)
        return raw
    names, others = network_names(tensors, str(path))
    raw = RawWeights(str(path), {name: tensors[full] for name, full in names.items()})
    _check_storage(raw)
    network = recognise(raw.shapes, raw.where)
    notes = [*notes, *network.notes]
    if others:
        listed = ", ".join(one_line(name) for name in others[:3])
        more = ", ..." if len(others) > 3 else ""
        notes.append(f"{len(others)} tensors beside the network were ignored: {listed}{more}")
    return RawWeights(
        raw.where,
        port_to_torch(raw.tensors, network),
        Metadata(
            network.config,
            input_spec(network.preset),
            network.preset,
            origin=one_line(f"{path}, a state dict of MoViNet-pytorch with tf_like=True"),
            assumed=("preset",),
        ),
        tuple(notes),
        network.lacks_classifier,
    )


def _check_storage(raw: RawWeights) -> None:
    """Raise CheckpointError for bytes that would fill all memory when copied: strides of 0."""
    for name, tensor in raw.tensors.items():
        if name.endswith(COUNTER):
            continue
        needed, stored = tensor.numel() * tensor.itemsize, tensor.untyped_storage().nbytes()
        if needed > stored:
            raise CheckpointError(
                f"{raw.where}: {one_line(name)} has {list(tensor.shape)} values in {stored} bytes"
            )


def _read_tflite(path: Path) -> RawWeights:
    from movinet.checkpoints.tflite.weights import read_tflite_weights

    metadata, arrays = read_tflite_weights(path)
    tensors = {name: torch.from_numpy(value) for name, value in arrays.items()}
    return RawWeights(str(path), tensors, metadata)


def _converter(card: Card) -> Any:
    def convert(source: Path, target: Path) -> None:
        from movinet.network.presets import preset_config

        tensors: Mapping[str, np.ndarray] = read_tf_checkpoint(source)
        config = preset_config(card.preset, num_classes=card.num_classes)
        raw = RawWeights(card.url, tensors)
        state = raw.state_dict(
            config,
            f"{card.preset} with the {card.num_classes} classes of "
            f"{card.dataset} that its card promises",
        )
        from movinet.labels import load_labels

        save_weights(
            target,
            state,
            config=config,
            input_spec=card.input,
            preset=card.preset,
            labels=load_labels(card.labels),
            origin=f"published {card.dataset} weights, {card.url}",
        )

    return convert
