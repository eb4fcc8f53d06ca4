"""Our own file of weights: safetensors with everything that travels with a model."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import safetensors.torch
from torch import Tensor

from movinet.config import InputSpec, MoViNetConfig
from movinet.errors import CheckpointError

#: Under which the metadata lies in the header, as JSON.
METADATA_KEY = "movinet"


def save_weights(
    path: str | os.PathLike[str],
    state_dict: Mapping[str, Tensor],
    *,
    config: MoViNetConfig,
    input_spec: InputSpec,
    preset: str | None = None,
    labels: Sequence[str] | None = None,
    origin: str = "",
) -> None:
    """Write a .safetensors file that `create_model` and the command line load by itself.

    Args:
        path: The file; replaced whole or not at all.
        state_dict: Of a model with this config.
        config: The network.
        input_spec: Size and frame rate that it was trained for.
        preset: Name of the preset that the config came from, if any.
        labels: Names of the classes, in the order of the outputs.
        origin: Where the weights come from, for people.

    Raises:
        CheckpointError: If the file cannot be written, or the labels are not as many as the
            classes.
    """
    if labels is not None and len(labels) != config.num_classes:
        raise CheckpointError(f"{path}: {len(labels)} labels for {config.num_classes} classes")
    metadata = {
        "config": config.to_dict(),
        "input": dataclasses.asdict(input_spec),
        "preset": preset,
        "labels": None if labels is None else list(labels),
        "origin": origin,
    }
    # Memory of their own, rows last: safetensors refuses views.
    tensors = {name: value.detach().cpu().contiguous() for name, value in state_dict.items()}
    data = safetensors.torch.save(tensors, {METADATA_KEY: json.dumps(metadata)})
    with replacing(Path(path)) as temporary:
        temporary.write_bytes(data)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`, renamed to it at the end, or removed on an error.

    Raises:
        CheckpointError: If the operating system refuses to write.
    """
    temporary = path.with_name(f".{uuid.uuid4().hex}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        temporary.unlink(missing_ok=True)
