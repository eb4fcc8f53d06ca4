"""One form of weights into another: what `movinet convert` does."""

from __future__ import annotations

import io
import os
import re
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from movinet.checkpoints.keys import Layout
from movinet.checkpoints.sources import ARCHIVE_SUFFIXES
from movinet.checkpoints.tensorflow import write_tf_checkpoint
from movinet.errors import CheckpointError, ConfigError
from movinet.network.model import MoViNet
from movinet.weights.factory import LoadedModel, load_model
from movinet.weights.layouts import torch_to_tf
from movinet.weights.saving import replacing, save_weights

Form = Literal["safetensors", "torch", "tensorflow"]


class Converted(NamedTuple):
    """What `convert_weights` did.

    Attributes:
        loaded: What was read.
        path: The file that was written, or the prefix of a TensorFlow checkpoint's files.
        left_behind: What was known of the weights and the target cannot hold.
    """

    loaded: LoadedModel
    path: Path
    left_behind: tuple[str, ...]


def convert_weights(
    source: str,
    target: Path,
    *,
    model: str | None = None,
    layout: Layout | None = None,
    labels: Sequence[str] | str | os.PathLike[str] | None = None,
    multi_label: bool | None = None,
    **config_overrides: Any,
) -> Converted:
    """Read weights of any form, and write them in the form that the target's name says.

    ``.safetensors``: ours, with config, labels and origin. ``.pt``: a plain state dict.
    ``.tar.gz``, ``.index`` or a name without a suffix: a TensorFlow checkpoint; in a folder that
    exists, ``ckpt-1``.

    Args:
        source: A published name (with `model`) or a file of any form.
        target: What to write.
        model: The preset, where the tensors alone should not decide it.
        layout: How a TensorFlow checkpoint stores convolutions; by default the published way.
        labels: Names of the classes, to go with the weights.
        multi_label: Whether a clip may have any number of the labels, where the weights do not say.
        **config_overrides: Fields of `MoViNetConfig`, e.g. ``head_activation``.

    Returns:
        What was read, and where it was written.

    Raises:
        ConfigError: If an option does not go with the target, or its suffix is not one of these.
        CheckpointError: If the source cannot be read or the target not written.
        DownloadError: If published weights cannot be had.
    """
    form, path = plan(target)
    if layout is not None and form != "tensorflow":
        raise ConfigError(f"--layout is for TensorFlow checkpoints, not for {target.name}")
    given = {
        "labels": labels is not None,
        "multi_label": multi_label is not None,
        **dict.fromkeys(config_overrides, True),
    }
    if form != "safetensors" and any(given.values()):
        names = ", ".join(
            f"--{name.replace('_', '-')}" for name, is_given in given.items() if is_given
        )
        raise ConfigError(
            f"{target.name} contains only tensors: {names} would be lost; write a .safetensors"
        )
    loaded = load_model(model, source, labels=labels, multi_label=multi_label, **config_overrides)
    network = loaded.model
    if not isinstance(network, MoViNet):
        raise ConfigError(f"{model} is an ensemble: convert its members one by one")
    if form == "tensorflow":
        _write_tensorflow(path, network, layout)
    elif form == "torch":
        _write_torch(path, network)
    else:
        _write_ours(path, network, loaded)
    known = [name for name in ("labels", "head_activation") if name not in loaded.assumed]
    if loaded.info.multi_label:
        known.append("multi_label")
    return Converted(loaded, path, () if form == "safetensors" else tuple(known))


def plan(target: Path) -> tuple[Form, Path]:
    """What a target's name asks for, and the file or prefix to write.

    Raises:
        ConfigError: If it is no name for files, or has the suffix of something else.
    """
    name, suffix = target.name, target.suffix.lower()
    if name in ("", ".."):
        raise ConfigError(f"{target} is no name for a file; give one such as {target}/ckpt-1")
    if suffix == ".safetensors":
        return "safetensors", target
    if suffix in (".pt", ".pth"):
        return "torch", target
    if target.is_dir():
        return "tensorflow", target / "ckpt-1"
    if suffix == ".index":
        return "tensorflow", target.with_suffix("")
    # A prefix may have a dot in it, such as ckpt-1.5. Of archives only the small letters are read.
    if name.endswith(ARCHIVE_SUFFIXES) or re.fullmatch(r"(\.\d+)?", suffix):
        return "tensorflow", target
    raise ConfigError(
        f"{name}: convert writes weights (.safetensors, .pt, or a TensorFlow "
        f"checkpoint: .tar.gz, .index or a prefix such as folder/ckpt-1), not {target.suffix}"
    )


def _write_ours(path: Path, network: MoViNet, loaded: LoadedModel) -> None:
    """Write our own file; what was only assumed stays so, and is no fact for the next reader."""
    info = loaded.info
    save_weights(
        path,
        network.state_dict(),
        config=network.config,
        input_spec=info.input,
        preset=loaded.preset,
        labels=None if "labels" in loaded.assumed else info.labels,
        origin=info.origin,
        assumed=[name for name in loaded.assumed if name != "labels"],
        run=loaded.run,
        multi_label=info.multi_label,
    )


def _write_torch(path: Path, network: MoViNet) -> None:
    data = io.BytesIO()  # torch raises RuntimeError where a file cannot be written
    torch.save(network.state_dict(), data)
    with replacing(path) as temporary:
        temporary.write_bytes(data.getbuffer())


def _write_tensorflow(path: Path, network: MoViNet, layout: Layout | None) -> None:
    tensors = torch_to_tf(network.state_dict(), network.config, layout)
    if not path.name.endswith(ARCHIVE_SUFFIXES):
        write_tf_checkpoint(path, tensors)
        return
    mode: Literal["w", "w:gz"] = "w" if path.name.endswith(".tar") else "w:gz"
    with (
        replacing(path) as temporary,
        tempfile.TemporaryDirectory(
            dir=path.parent, prefix=".", ignore_cleanup_errors=True
        ) as folder,
    ):
        prefix = Path(folder) / "ckpt-1"
        try:
            write_tf_checkpoint(prefix, tensors)
        except CheckpointError as error:
            reason = str(error).removeprefix(f"{prefix}: ")
            raise CheckpointError(f"{path}: {reason}") from None
        with tarfile.open(temporary, mode) as archive:
            for file in sorted(Path(folder).iterdir()):
                archive.add(file, file.name)
