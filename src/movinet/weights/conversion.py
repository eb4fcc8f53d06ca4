"""One form of weights into another: what `movinet convert` does."""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from movinet.errors import ConfigError
from movinet.factory import LoadedModel, load_model
from movinet.model import MoViNet
from movinet.weights.checkpoint import write_tf_checkpoint
from movinet.weights.convert import torch_to_tf
from movinet.weights.files import ARCHIVE_SUFFIXES
from movinet.weights.keys import Layout
from movinet.weights.saving import replacing, save_weights

Form = Literal["safetensors", "torch", "tensorflow"]


def convert_weights(
    source: str,
    target: Path,
    *,
    model: str | None = None,
    layout: Layout | None = None,
    labels: Sequence[str] | None = None,
    **config_overrides: Any,
) -> LoadedModel:
    """Read weights of any form, and write them in the form that the target's name says.

    ``.safetensors``: ours, with config, labels and origin. ``.pt``: a plain state dict.
    ``.tar.gz``, ``.index`` or a name without any of these: a TensorFlow checkpoint.

    Args:
        source: A published name (with `model`) or a file of any form.
        target: What to write.
        model: The preset, where the tensors alone should not decide it.
        layout: How a TensorFlow checkpoint stores convolutions; by default the published way.
        labels: Names of the classes, to go with the weights.
        **config_overrides: Fields of `MoViNetConfig`, e.g. ``head_activation``.

    Returns:
        What was read.

    Raises:
        ConfigError: If an option does not go with the target.
        CheckpointError: If the source cannot be read or the target not written.
        DownloadError: If published weights cannot be had.
    """
    form = form_of(target)
    if layout is not None and form != "tensorflow":
        raise ConfigError(f"--layout is for TensorFlow checkpoints, not for {target.name}")
    loaded = load_model(model, source, labels=labels, **config_overrides)
    network = loaded.model
    if not isinstance(network, MoViNet):
        raise ConfigError(f"{model} is an ensemble: convert its members one by one")
    if form == "tensorflow":
        _write_tensorflow(target, network, layout)
    elif form == "torch":
        with replacing(target) as temporary:
            torch.save(network.state_dict(), temporary)
    else:
        info = loaded.info
        save_weights(
            target,
            network.state_dict(),
            config=network.config,
            input_spec=info.input,
            preset=loaded.preset,
            labels=info.labels,
            origin=info.origin,
        )
    return loaded


def form_of(target: Path) -> Form:
    """What a name asks for.

    Raises:
        ConfigError: If it has the suffix of something else.
    """
    if target.suffix == ".safetensors":
        return "safetensors"
    if target.suffix in (".pt", ".pth"):
        return "torch"
    if target.name.endswith(ARCHIVE_SUFFIXES) or target.suffix in ("", ".index", ".ckpt"):
        return "tensorflow"
    if target.suffix in (".tflite", ".onnx", ".pte", ".pt2", ".xml", ".h5", ".keras", ".pb"):
        raise ConfigError(
            f"{target.name}: convert writes weights (.safetensors, .pt, or a TensorFlow "
            f"checkpoint: .tar.gz, .index or a prefix), not {target.suffix}"
        )
    return "tensorflow"  # a prefix with a dot in it, such as ckpt-1.5


def _write_tensorflow(target: Path, network: MoViNet, layout: Layout | None) -> None:
    tensors = torch_to_tf(network.state_dict(), network.config, layout)
    if not target.name.endswith(ARCHIVE_SUFFIXES):
        prefix = target.with_suffix("") if target.suffix == ".index" else target
        write_tf_checkpoint(prefix, tensors)
        return
    mode: Literal["w", "w:gz"] = "w" if target.name.endswith(".tar") else "w:gz"
    with tempfile.TemporaryDirectory() as folder, replacing(target) as temporary:
        write_tf_checkpoint(Path(folder) / "ckpt-1", tensors)
        with tarfile.open(temporary, mode) as archive:
            for path in sorted(Path(folder).iterdir()):
                archive.add(path, path.name)
