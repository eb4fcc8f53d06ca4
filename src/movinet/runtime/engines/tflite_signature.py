"""TF Lite files of other exporters: their signature says what a manifest would.

Streams of the reference's exporter have one signature: "image" (1, 1, height, width, 3) and every
state go in, the prediction and every state, under the same names, come out (TensorFlow Model
Garden, projects/movinet/tools/export_saved_model.py). Clips have no states. Size and classes are
read from the shapes; the preset, and with it the frame rate, from the names and channels of the
states. What is assumed is in the manifest's notes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet.errors import CheckpointError, ConfigError
from movinet.labels import assumed_labels
from movinet.network.architectures import ARCHITECTURES
from movinet.network.config import InputSpec
from movinet.network.presets import input_spec
from movinet.runtime.manifest import Manifest
from movinet.runtime.tensors import StateTensor, TensorSpec

#: What LiteRT says of the tensors of a signature, by their names there.
Details = Mapping[str, dict[str, Any]]
_BUFFER = re.compile(r"state_block(\d+)_layer(\d+)_(?:pool|stream)_buffer")
_HEAD = "state_head_pool_buffer"


def is_foreign(inputs: Details) -> bool:
    """Whether some inputs are those of another exporter: of ours one is called "frames"."""
    return bool(inputs) and "frames" not in inputs


def translated(inputs: Details, outputs: Details, prediction: str) -> tuple[Details, Details]:
    """The tensors of another exporter's signature under the names of a manifest.

    Args:
        inputs: The signature's inputs.
        outputs: Its outputs.
        prediction: What the manifest calls the prediction.

    Raises:
        ConfigError: If more than one input or output is no state.
    """
    image, result = (
        _only(what, sorted(own.keys() - other.keys()))
        for what, own, other in (("input", inputs, outputs), ("output", outputs, inputs))
    )
    return (
        {"frames" if name == image else name: details for name, details in inputs.items()},
        {prediction if name == result else name: details for name, details in outputs.items()},
    )


def signature_manifest(
    path: Path,
    inputs: Details,
    outputs: Details,
    first_prediction: Callable[[], NDArray[np.float32]],
) -> Manifest:
    """The manifest of a file of another exporter.

    Args:
        path: The file.
        inputs: Its signature's inputs.
        outputs: Its signature's outputs.
        first_prediction: Gives the prediction (rows, classes) for a grey frame.

    Raises:
        CheckpointError: If its signature is not that of a video classifier.
    """
    try:
        inputs, outputs = translated(inputs, outputs, "logits")
        for name, details in (*inputs.items(), *outputs.items()):
            if -1 in _free_shape(details):
                raise ConfigError(f"the shape of {name} is free: {_free_shape(details)}")
        manifest = _manifest(path, inputs, outputs)
        _check_borders(inputs, outputs)
        if not _are_probabilities(first_prediction()):
            return manifest
        renamed = tuple(
            dataclasses.replace(spec, name="probabilities") if spec.name == "logits" else spec
            for spec in manifest.outputs
        )
        return dataclasses.replace(manifest, outputs=renamed, output="probabilities")
    except ConfigError as error:
        raise CheckpointError(
            f"{path}: it has no movinet manifest, and its signature is not that of a video "
            f"classifier: {error}; a manifest can be given with --manifest FILE (in Python, "
            "manifest=)"
        ) from None


def flat_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A tensor's shape as a manifest has it: frames without an axis of their own for time."""
    if name == "frames" and len(shape) == 5:
        return (shape[0] * shape[1], *shape[2:])
    return shape


def _manifest(path: Path, inputs: Details, outputs: Details) -> Manifest:
    """What shapes and names say."""
    image = tuple(map(int, inputs["frames"]["shape"]))
    if len(image) != 5 or image[-1] != 3 or image[2] != image[3]:
        raise ConfigError(
            f"its frames are {image}, not (batch, frames, height, width, 3) with square frames"
        )
    batch, frames, side = image[:3]
    specs = [
        [TensorSpec(name, flat_shape(name, _shape(d)), _dtype(d)) for name, d in tensors.items()]
        for tensors in (inputs, outputs)
    ]
    states = tuple(
        StateTensor(name, _shape(d), name, float(d["quantization"][1]), _dtype(d))
        for name, d in inputs.items()
        if name != "frames"
    )
    if states and frames != 1:
        raise ConfigError(f"it takes {frames} frames at a time; streams take one")
    preset = _preset({name: _shape(d)[-1] for name, d in inputs.items()})
    spec = InputSpec(172, 192, 5.0, 50) if preset is None else input_spec(preset)
    short_side = round(side * spec.short_side / spec.image_size)
    labels, note = assumed_labels(_shape(outputs["logits"])[-1])
    rate = f"its frame rate is assumed to be {spec.frame_rate:g} a second"
    rate += f", that of {preset}" if preset else ": no preset has its state"
    return Manifest(
        kind="step" if states else "clip",
        name=preset or path.stem,
        input=dataclasses.replace(spec, image_size=side, short_side=short_side),
        labels=labels,
        inputs=tuple(specs[0]),
        outputs=tuple(specs[1]),
        output="logits",
        batch_size=batch,
        num_frames=frames,
        states=states,
        quantization="unknown",
        origin=str(path),
        notes=(rate, note),
        weights_sha256=_digest(path),
        project_version="",
    )


def _digest(path: Path) -> str:
    """SHA-256 of a file: its states mean nothing to another one."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_borders(inputs: Details, outputs: Details) -> None:
    """Raise ConfigError where numbers would need a conversion that nobody does."""
    frames, prediction = inputs["frames"], outputs["logits"]
    if _dtype(prediction) != "float32":
        raise ConfigError(f"its prediction is {_dtype(prediction)}, not float32")
    scale, zero = frames["quantization"]
    if _dtype(frames) == "uint8" and not (np.isclose(scale, 1 / 255, 1e-3) and zero == 0):
        raise ConfigError(f"a step of its uint8 frames is {scale:g} from {zero}, not 1/255 from 0")
    for name, details in inputs.items():
        if name != "frames" and details["quantization"] != outputs[name]["quantization"]:
            raise ConfigError(f"{name} comes out in other units than it goes in")


def _are_probabilities(rows: NDArray[np.float32]) -> bool:
    """Whether numbers are what a softmax gives."""
    return bool((rows >= 0).all() and np.allclose(rows.sum(axis=-1), 1, atol=1e-2))


def _preset(channels: Mapping[str, int]) -> str | None:
    """The stream preset whose blocks have these channels in their states."""
    found = {
        (int(match[1]), int(match[2])): count
        for name, count in channels.items()
        if (match := _BUFFER.fullmatch(name))
    }
    for size, shape in ARCHITECTURES.items():
        blocks = {
            (g, i): block
            for g, group in enumerate(shape.groups)
            for i, block in enumerate(group.blocks)
        }
        temporal = {place for place, block in blocks.items() if block[1] > 1}
        fits = all(place in blocks and blocks[place][0] == found[place] for place in found)
        if fits and temporal <= found.keys() and channels.get(_HEAD, shape.head) == shape.head:
            return f"{size}_stream"
    return None


def _only(what: str, names: list[str]) -> str:
    """The one name of some."""
    if len(names) != 1:
        some = ", ".join(names[:4]) or "none"
        raise ConfigError(f"one {what} must not be a state that goes in and comes out, not {some}")
    return names[0]


def _shape(details: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(map(int, details["shape"]))


def _free_shape(details: Mapping[str, Any]) -> tuple[int, ...]:
    """The shape of a tensor, with -1 where it is free."""
    free = details.get("shape_signature")
    return _shape(details) if free is None or not len(free) else tuple(map(int, free))


def _dtype(details: Mapping[str, Any]) -> str:
    return np.dtype(details["dtype"]).name
