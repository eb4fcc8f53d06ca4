"""Weights from any kind of file: what is in it, and which network it fits."""

from __future__ import annotations

import dataclasses
import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from movinet.config import InputSpec, MoViNetConfig
from movinet.errors import CheckpointError, ConfigError
from movinet.weights.cache import cached_weights
from movinet.weights.cards import Card, find_card
from movinet.weights.checkpoint import read_tf_checkpoint
from movinet.weights.convert import tf_to_torch
from movinet.weights.identify import Shapes, check_fit, is_tf
from movinet.weights.saving import METADATA_KEY, save_weights

#: Names that `weights=` takes besides files.
PUBLISHED = ("kinetics-600", "kinetics-400")
#: Raised when `_convert_published` changes what it writes.
_CONVERTER_VERSION = 1
_TORCH_SUFFIXES = (".pt", ".pth", ".ckpt", ".bin")


@dataclass(frozen=True)
class Metadata:
    """What our own files say of their weights.

    Attributes:
        config: The network.
        input: Size and frame rate that it was trained for.
        preset: Name of the preset that the config came from, if any.
        labels: Names of the classes, if known.
        origin: Where the weights come from, for people.
    """

    config: MoViNetConfig
    input: InputSpec
    preset: str | None = None
    labels: tuple[str, ...] | None = None
    origin: str = ""

    @classmethod
    def parse(cls, text: str, where: str) -> Metadata:
        """Read what `movinet.weights.saving.save_weights` wrote.

        Raises:
            CheckpointError: If it is not that.
        """
        try:
            values = json.loads(text)
            config = MoViNetConfig.from_dict(values["config"])
            labels = values.get("labels")
            if labels is not None:
                labels = tuple(str(label) for label in labels)
                if len(labels) != config.num_classes:
                    raise ConfigError(f"{len(labels)} labels for {config.num_classes} classes")
            preset = values.get("preset")
            return cls(
                config,
                InputSpec(**values["input"]),
                None if preset is None else str(preset),
                labels,
                str(values.get("origin", "")),
            )
        except (KeyError, TypeError, ValueError, RecursionError, AttributeError) as error:
            raise CheckpointError(
                f"{where}: its movinet metadata is broken: {type(error).__name__}: {error}"
            ) from None


@dataclass(frozen=True)
class RawWeights:
    """The tensors of a file, as they are named there.

    Attributes:
        where: The file or published name, for messages.
        tensors: Our names -> torch tensors, or the reference's keys -> arrays.
        metadata: What one of our own files says; None for others.
    """

    where: str
    tensors: Mapping[str, Any]
    metadata: Metadata | None = None

    @property
    def shapes(self) -> Shapes:
        """Name -> shape."""
        return {name: tuple(value.shape) for name, value in self.tensors.items()}

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
            name: value.to(torch.float32, copy=True) if value.is_floating_point() else value
            for name, value in tensors.items()
        }
        for name in self.tensors:
            if name.endswith("norm.running_var"):
                counter = name.replace("running_var", "num_batches_tracked")
                state.setdefault(counter, torch.tensor(0))
        return state


def read_weights(source: str | Path, preset: str | None = None) -> RawWeights:
    """The weights that a published name or a file holds.

    Args:
        source: "kinetics-600" or "kinetics-400" (of `preset`; fetched on first use); or a file: our
            .safetensors, a .pt of tensors, or a TensorFlow checkpoint in any form that
            `read_tf_checkpoint` takes.
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
    path = Path(source)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in _TORCH_SUFFIXES and path.is_file():
        return _read_torch(path)
    if not path.exists() and not path.with_name(path.name + ".index").exists():
        raise CheckpointError(
            f"{source}: no such file; weights are {', '.join(PUBLISHED)}, or a .safetensors, .pt "
            "or TensorFlow checkpoint (folder, prefix, .index, .tar.gz)"
        )
    return RawWeights(str(path), read_tf_checkpoint(path))


def _read_safetensors(path: Path) -> RawWeights:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(METADATA_KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, safetensors.SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(f"{path}: not a readable .safetensors file: {reason}") from None
    metadata = None if text is None else Metadata.parse(text, str(path))
    return RawWeights(str(path), tensors, metadata)


def _read_torch(path: Path) -> RawWeights:
    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError) as error:
        first_line = (str(error).splitlines() or [""])[0][:120]
        raise CheckpointError(
            f"{path}: cannot be loaded as tensors alone (weights_only): {first_line}"
        ) from None
    for key in ("state_dict", "model"):
        if isinstance(value, dict) and isinstance(value.get(key), dict):
            value = value[key]
    if not isinstance(value, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in value.items()
    ):
        raise CheckpointError(f"{path}: holds no dictionary of tensors")
    return RawWeights(str(path), value)


def _converter(card: Card) -> Any:
    def convert(source: Path, target: Path) -> None:
        from movinet.presets import preset_config

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
