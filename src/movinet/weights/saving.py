"""Our own file of weights: safetensors with everything that travels with a model."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import safetensors.torch
from torch import Tensor

from movinet import files
from movinet.checkpoints.metadata import METADATA_KEY, Metadata
from movinet.errors import CheckpointError, ConfigError
from movinet.labels import as_labels
from movinet.network.config import InputSpec, MoViNetConfig
from movinet.text import one_line


def save_weights(
    path: str | os.PathLike[str],
    state_dict: Mapping[str, Tensor],
    *,
    config: MoViNetConfig,
    input_spec: InputSpec,
    preset: str | None = None,
    labels: Sequence[str] | str | os.PathLike[str] | None = None,
    origin: str = "",
    assumed: Sequence[str] = (),
    run: str | None = None,
    multi_label: bool = False,
) -> None:
    """Write a .safetensors file that `create_model` and the command line load by itself.

    Args:
        path: The file; replaced whole or not at all.
        state_dict: Of a model with this config.
        config: The network.
        input_spec: Size and frame rate that it was trained for.
        preset: Name of the preset that the config came from, if any.
        labels: Names of the classes, in the order of the outputs: a list, or what
            `movinet.load_labels` takes.
        origin: Where the weights come from, for people; one printable line, cut where long.
        assumed: What of this nobody said: "preset", "head_activation", "classifier"; a note
            wherever the file is loaded.
        run: Name of the training run that made them, to be called by; one printable line.
        multi_label: Whether a clip may have any number of the labels: the probability of each is
            then the sigmoid of its logit, wherever the file is loaded.

    Raises:
        CheckpointError: If the file cannot be written, the labels are not as many as the classes
            or not printable, or the preset has another architecture.
        ConfigError: If no file can be called `path`.
    """
    names = None if labels is None else as_labels(labels)
    try:
        metadata = Metadata(
            config,
            input_spec,
            preset,
            names,
            one_line(origin),
            tuple(assumed),
            None if run is None else one_line(run),
            multi_label,
        )
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from None
    # Memory of their own, rows last: safetensors refuses views.
    tensors = {name: value.detach().cpu().contiguous() for name, value in state_dict.items()}
    data = safetensors.torch.save(tensors, {METADATA_KEY: metadata.to_json()})
    with replacing(files.file_path(path)) as temporary:
        temporary.write_bytes(data)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """`movinet.files.replacing` for files of weights, in a folder that is made where missing.

    Raises:
        CheckpointError: If the operating system refuses to write.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(path) as temporary:
            yield temporary
    except OSError as error:
        reason = f"{path}: cannot be written ({error.strerror})" if error.strerror else str(error)
        raise CheckpointError(reason) from None
