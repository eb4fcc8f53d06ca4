"""What travels with an exported model, so that nobody has to guess: read without PyTorch."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from movinet.errors import CheckpointError, ConfigError
from movinet.network.config import MAX_CHANNELS, MAX_FRAMES, InputSpec
from movinet.runtime.tensors import (
    MAX_AXES,
    MAX_ELEMENTS,
    StateTensor,
    TensorSpec,
    elements,
)
from movinet.text import is_name, one_line
from movinet.version import __version__

#: A reader refuses files of a later version.
FORMAT_VERSION = 1
#: Far beyond any manifest: it may come from anybody.
MAX_BYTES, MAX_TENSORS = 16 * 2**20, 8192
_SHA256 = re.compile(r"([0-9a-f]{64})?")


@dataclass(frozen=True)
class Manifest:
    """Everything that a stream or a clip needs of a file beside its graph.

    Attributes:
        kind: "step", some frames of streams with their state, or "clip".
        name: Preset, or a name for people.
        input: Size and frame rate that the model wants.
        labels: Names of the classes, in the order of the outputs.
        inputs: Every input of the graph, in the file's order.
        outputs: Every output, in the file's order: the prediction, the pooled "embedding" if the
            file gives it, and the new state.
        output: Name of the prediction, "logits" or "probabilities". A step gives a row for each
            frame, (num_frames * batch, classes); a clip one for each clip. The embedding has the
            same rows.
        batch_size: Streams or clips at once; None for any number.
        num_frames: Frames in a step, or in a clip. Frames lie in the first axis of "frames", time
            before batch.
        states: A step's state.
        resizes: The graph itself resizes frames of the shape of its input and crops their middle.
        quantization: How its numbers are held: "none" (float32), as `movinet.export` calls it, or
            "unknown".
        origin: Where the weights come from, for people.
        notes: What a user should know of these weights, one line each.
        weights_sha256: Of the weights before they were quantised, hexadecimal; the same in every
            export of them. Empty in files that don't tell.
        config: The network, as `MoViNetConfig.to_dict` gives it.
        project_version: Version of movinet that wrote the file; empty if another program did.
        multi_label: Whether the probability of each label is the sigmoid of its logit, and not
            the softmax over exclusive classes. Files that don't tell have exclusive classes.
    """

    kind: Literal["step", "clip"]
    name: str
    input: InputSpec
    labels: tuple[str, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    output: str
    batch_size: int | None = 1
    num_frames: int = 1
    states: tuple[StateTensor, ...] = ()
    resizes: bool = False
    quantization: str = "none"
    origin: str = ""
    notes: tuple[str, ...] = ()
    weights_sha256: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    project_version: str = __version__
    multi_label: bool = False

    def __post_init__(self) -> None:
        if self.kind not in ("step", "clip"):
            raise ConfigError(f"kind must be step or clip, not {self.kind!r}")
        if not 1 <= len(self.labels) <= MAX_CHANNELS:
            raise ConfigError(f"there must be 1 to {MAX_CHANNELS} labels, not {len(self.labels)}")
        texts = (self.name, self.origin, self.quantization, self.project_version)
        for text in (*texts, *self.labels, *self.notes):
            if not isinstance(text, str):
                raise ConfigError(f"labels and other texts must be strings, not {text!r}")
            if not is_name(text):
                raise ConfigError(f"text with control characters: {text!r}")
        if not isinstance(self.weights_sha256, str) or not _SHA256.fullmatch(self.weights_sha256):
            raise ConfigError("weights_sha256 must be 64 hexadecimal digits, or empty")
        if not isinstance(self.resizes, bool) or not isinstance(self.config, Mapping):
            raise ConfigError("resizes must be true or false, and config an object")
        if not isinstance(self.multi_label, bool):
            raise ConfigError(f"multi_label must be true or false, not {self.multi_label!r}")
        for what, value, most in (
            ("batch_size", self.batch_size if self.batch_size is not None else 1, MAX_FRAMES),
            ("num_frames", self.num_frames, MAX_FRAMES),
        ):
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
                raise ConfigError(f"{what} must be an integer from 1 to {most}, not {value!r}")
        self._check_tensors()
        self._check_shapes()

    @property
    def frames(self) -> TensorSpec:
        """The input that takes the video."""
        return next(spec for spec in self.inputs if spec.name == "frames")

    @property
    def decays(self) -> bool:
        """Whether a step takes a decay, what the poolings keep: not in other exporters' streams."""
        return any(spec.name == "decay" for spec in self.inputs)

    @property
    def embedding(self) -> TensorSpec | None:
        """The output that is the pooled embedding, (rows, channels), if the file gives it."""
        return next((spec for spec in self.outputs if spec.name == "embedding"), None)

    @property
    def embedding_channels(self) -> int | None:
        """Channels of the embedding, in a stream's state or a clip's outputs; None without one."""
        if self.kind == "clip":
            return None if self.embedding is None else self.embedding.shape[-1]
        architecture = self.config.get("architecture")
        head = architecture.get("head") if isinstance(architecture, Mapping) else None
        if self.embedding is not None:
            head = self.embedding.shape[-1]
        shapes = {state.name: state.shape for state in self.states}
        *rest, width = shapes.get("sums", (0,))
        known = type(head) is int and 1 <= head <= (width or 0)
        layout = rest == [self.batch_size] and shapes.get("pool_weight") == (self.batch_size, 1)
        return head if known and layout else None

    def to_json(self) -> str:
        """As text for a file."""
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        for name in ("inputs", "outputs", "states"):
            values[name] = [dataclasses.asdict(item) for item in values[name]]
        values["input"] = dataclasses.asdict(self.input)
        values["config"] = dict(self.config)
        if not self.multi_label:  # readers of version 0.1.0 refuse fields that they don't know
            del values["multi_label"]
        preprocessing = (
            "RGB; the shorter side resized to input.short_side (bilinear, half-pixel centres, no "
            "antialiasing, cut to uint8), the middle input.image_size square cropped; float32 "
            "inputs are divided by 255, uint8 ones are not"
        )
        return json.dumps({"movinet": FORMAT_VERSION, "preprocessing": preprocessing, **values})

    @classmethod
    def parse(cls, text: str | bytes, where: str) -> Manifest:
        """The inverse of `to_json`, for text from outside.

        Args:
            text: The manifest.
            where: The file, for messages.

        Raises:
            CheckpointError: If it is not that, or was written by a later version.
        """
        try:
            if len(text) > MAX_BYTES:
                raise ConfigError(f"it is larger than {MAX_BYTES} bytes")
            values = _loaded(text)
            if "movinet" not in values:
                raise ConfigError("it has no 'movinet', the version of its format")
            version = values.pop("movinet")
            if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
                raise ConfigError(
                    f"version {version!r} is not one of 1 to {FORMAT_VERSION}; is it of a later "
                    "movinet?"
                )
            for told in ("preprocessing", "path", "bytes"):  # `movinet info --json` adds two
                values.pop(told, None)
            _check_fields("it", cls, values)
            _check_fields("input", InputSpec, values["input"])
            values["input"] = InputSpec(**values["input"])
            for name, kind in (
                ("inputs", TensorSpec),
                ("outputs", TensorSpec),
                ("states", StateTensor),
            ):
                values[name] = _tensors(name, kind, values.get(name, []))
            for name in ("labels", "notes"):
                values[name] = tuple(_list(name, values.get(name, [])))
            return cls(**values)
        except (KeyError, TypeError, ValueError, RecursionError, AttributeError) as error:
            reason = one_line(error if isinstance(error, ConfigError) else repr(error))
            raise CheckpointError(f"{where}: its movinet manifest is broken: {reason}") from None

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """`parse` a file, such as ``movinet info --json`` gives.

        Raises:
            CheckpointError: If there is no such file, or it is no manifest.
        """
        if not path.is_file():
            raise CheckpointError(f"{path}: there is no such manifest file")
        try:
            with path.open("rb") as file:
                text = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from None
        return cls.parse(text, str(path))

    def _check_tensors(self) -> None:
        inputs = {spec.name: spec for spec in self.inputs}
        outputs = {spec.name: spec for spec in self.outputs}
        if len(inputs) != len(self.inputs) or len(outputs) != len(self.outputs):
            raise ConfigError("two inputs or two outputs have the same name")
        if "frames" not in inputs or len(inputs["frames"].shape) != 4:
            raise ConfigError("there is no 4-D input called frames")
        if self.output not in outputs:
            raise ConfigError(f"there is no output {self.output!r}")
        if self.output not in ("logits", "probabilities"):
            raise ConfigError(f"output must be logits or probabilities, not {self.output!r}")
        states = {state.name: state for state in self.states}
        if len(states) != len(self.states):
            raise ConfigError("two states have the same name")
        expected = {"frames", *states} | (
            {"decay"} & inputs.keys() if self.kind == "step" else set()
        )
        if expected != set(inputs):
            raise ConfigError(f"inputs without a meaning: {sorted(expected ^ set(inputs))[:5]}")
        for state in self.states:
            source = (states if state.is_from_state else outputs).get(state.source)
            if source is None:
                raise ConfigError(f"state {state.name}: there is no {state.next!r}")
            for other in (source, inputs[state.name]):
                if (other.shape, other.dtype) != (state.shape, state.dtype):
                    raise ConfigError(f"state {state.name}: shapes or types differ")

    def _check_shapes(self) -> None:
        """Raise ConfigError unless the tensors are as the other fields say."""
        batch, frames = self.batch_size, self.frames
        rows = None if batch is None else batch * self.num_frames
        side = self.input.image_size
        size = frames.shape[1:3] if self.resizes else (side, side)
        output = next(spec for spec in self.outputs if spec.name == self.output)
        predictions = (rows if self.kind == "step" else batch, len(self.labels))
        wanted = [
            ("frames", frames, (rows, *size, 3)),
            (f"{self.output} of {len(self.labels)} labels", output, predictions),
        ]
        wanted += [("decay", spec, (batch, 1)) for spec in self.inputs if spec.name == "decay"]
        if self.embedding is not None:
            shape = (predictions[0], self.embedding.shape[-1])
            wanted.append(("embedding", self.embedding, shape))
        for what, spec, shape in wanted:
            if spec.shape != shape:
                raise ConfigError(f"{what} must have the shape {shape}, not {spec.shape}")
            if spec.dtype != "float32" and (what, spec.dtype) != ("frames", "uint8"):
                raise ConfigError(f"{what} must not be {spec.dtype}")
        for state in self.states:
            if state.shape[0] != batch:
                raise ConfigError(f"state {state.name}: {state.shape} is not of batch {batch}")
        total = sum(elements(spec.shape) for spec in (*self.inputs, *self.outputs))
        if total > MAX_ELEMENTS:
            raise ConfigError(f"its inputs and outputs have {total} elements, over {MAX_ELEMENTS}")


def _loaded(text: str | bytes) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except ValueError as error:  # UnicodeDecodeError is one too
        raise ConfigError(f"it is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"it is not a JSON object, but {one_line(repr(values))}")
    return values


def _check_fields(what: str, kind: type[Any], values: Any) -> None:
    """Raise ConfigError unless values have the fields of a dataclass."""
    if not isinstance(values, dict):
        raise ConfigError(f"{what} must be an object, not {one_line(repr(values))}")
    fields = dataclasses.fields(kind)
    missing = dataclasses.MISSING
    needed = {f.name for f in fields if f.default is missing and f.default_factory is missing}
    if lacking := sorted(needed - values.keys()):
        raise ConfigError(f"{what} has no {lacking[0]!r}")
    if unknown := sorted(values.keys() - {f.name for f in fields}):
        raise ConfigError(f"{what} has an unknown field {one_line(unknown[0])!r}")


def _tensors(name: str, kind: type[Any], values: Any) -> tuple[Any, ...]:
    listed = _list(name, values, MAX_TENSORS)
    for item in listed:
        _check_fields(f"one of {name}", kind, item)
    return tuple(
        kind(**{**item, "shape": tuple(_list("a shape", item["shape"], MAX_AXES))})
        for item in listed
    )


def _list(name: str, value: Any, most: int = MAX_CHANNELS) -> Sequence[Any]:
    if not isinstance(value, list) or len(value) > most:
        raise ConfigError(f"{name} must be a list of at most {most}")
    return value
