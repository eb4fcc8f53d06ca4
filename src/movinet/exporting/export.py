"""Export a model: build its graph, write the file, run the file against the model."""

from __future__ import annotations

import collections
import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from movinet.errors import CheckpointError, ConfigError, MovinetError
from movinet.exporting.calibration import Calibration, read_clips
from movinet.exporting.graph.folding import fingerprint, fold
from movinet.exporting.graph.graph import Graph, GraphOptions, build_graph
from movinet.exporting.quantize import check_name, check_quantize, quantized
from movinet.exporting.verify import Agreement, compare
from movinet.files import file_path, model_path, replacing
from movinet.labels import as_labels
from movinet.network.architectures import ARCHITECTURES
from movinet.network.config import MAX_IMAGE_SIZE, InputSpec
from movinet.network.model import MoViNet
from movinet.network.presets import input_spec
from movinet.runtime.base import ModelInfo
from movinet.runtime.exported import MAX_STREAMS, ExportedRuntime
from movinet.runtime.formats import FORMATS
from movinet.runtime.loading import file_size, load
from movinet.runtime.manifest import Manifest
from movinet.runtime.tensors import TensorSpec
from movinet.text import one_line
from movinet.weights.factory import LoadedModel

#: Writes the content at a path, and says how many operations of each kind the file then has.
Write = Callable[[Any, Manifest, Path], Mapping[str, int]]


@dataclass(frozen=True)
class Exported:
    """A finished export.

    Attributes:
        path: The file.
        manifest: What travels with it.
        size: Of the file, and of those that belong to it, bytes.
        operations: How many of each kind the file has.
        agreement: How near the file's outputs are to the model's.
    """

    path: Path
    manifest: Manifest
    size: int
    operations: dict[str, int]
    agreement: Agreement


def export(
    model: MoViNet | LoadedModel,
    path: str | os.PathLike[str],
    *,
    image_size: int | None = None,
    batch_size: int | None = 1,
    num_frames: int | None = None,
    uint8: bool = True,
    softmax: bool = False,
    outputs: Sequence[str] = ("logits",),
    source_size: tuple[int, int] | None = None,
    quantize: Literal["float16", "dynamic", "int8", "mixed"] | None = None,
    calibration: Calibration | None = None,
    labels: Sequence[str] | str | os.PathLike[str] | None = None,
    input_spec: InputSpec | None = None,
    multi_label: bool | None = None,
) -> Exported:
    """Write a model as one file that runs without PyTorch.

    A stream model becomes a step: frames and the state in, predictions and the new state out. A
    base model becomes a clip of a fixed number of frames. The file is run against the model before
    it gets its name.

    Args:
        model: A model, or a loaded one, which knows its labels and input.
        path: The file; its suffix is the format: .tflite, .onnx, .pte, .pt2, .xml or .mvn.
        image_size: Height and width of the frames, pixels; by default the model's own.
        batch_size: Streams or clips at once; None for any number (streams only).
        num_frames: Frames in one step (default 1), or in a clip (default the model's own).
        uint8: Frames are uint8 in [0, 255]; without, float32 in [0, 1].
        softmax: Give probabilities instead of logits; of a multi-label model they are sigmoids.
        outputs: "logits", and "embedding" beside it for the network's pooled embedding, what the
            classifier's hidden layer sees: (rows, channels) float32, of a stream the running mean
            over all frames seen.
        source_size: (height, width) of the frames that will come, where the graph itself is to
            resize and crop them.
        quantize: "float16" kernels; "dynamic", int8 kernels; "mixed", int8 kernels in the
            classifier and float16 elsewhere; "int8", int8 frames and activations too.
        calibration: For "int8": a folder of videos like those to come, or clips of frames,
            (time, height, width, 3) uint8 each.
        labels: Names of the classes, where the model doesn't know: a list, or what
            `movinet.load_labels` takes.
        input_spec: How the model wants its video, where it doesn't know.
        multi_label: Whether a clip may have any number of the labels, where the model doesn't know;
            the file says so, and whoever loads it gets sigmoids.

    Returns:
        What was written.

    Raises:
        ConfigError: If an option is not allowed, or the format cannot hold the model.
        MissingExtraError: If the format's packages are not installed.
        MovinetError: If the file does not do what the model does; nothing is left behind.
        OSError: If the file cannot be written.
    """
    path = file_path(path)
    check_output(path)
    loaded = _loaded(model, labels, input_spec, image_size)
    if multi_label is not None:
        info = dataclasses.replace(loaded.info, multi_label=multi_label)
        loaded = dataclasses.replace(loaded, info=info)
    network, spec = loaded.model, loaded.info.input
    assert isinstance(network, MoViNet)
    if num_frames is None:
        num_frames = 1 if network.config.causal else spec.num_frames
    options = GraphOptions(
        (spec.image_size, spec.image_size),
        batch_size,
        num_frames,
        uint8,
        softmax,
        source_size,
        spec.short_side,
        _with_embedding(outputs),
        loaded.info.multi_label,
    )
    _check(options)
    row = FORMATS[path.suffix]
    check_name(quantize)
    row.check(
        base_model=not network.config.causal,
        any_batch=batch_size is None,
        resizes=source_size is not None,
        quantize=quantize,
    )
    check_quantize(quantize, calibration is not None)
    writer: Write = row.load_writer()
    clips = None if calibration is None else read_clips(calibration, spec)
    folded = fold(network)
    graph = build_graph(folded, options)
    if row.content == "graph":
        graph = quantized(graph, quantize, clips)
    manifest = _manifest(graph, loaded, options, quantize, fingerprint(folded))
    with replacing(path, row.beside) as temporary:
        content = graph.program if row.content == "graph" else folded
        counts = _write(writer, content, manifest, temporary)
        runtime = _reload(temporary, path)
        agreement = compare(network, runtime, options, quantize, clips)
        agreement.check(str(path))
    return Exported(path, runtime.manifest, file_size(path), counts, agreement)


def _write(writer: Write, content: Any, manifest: Manifest, path: Path) -> dict[str, int]:
    """Write a file; how many operations of each kind it has, the most frequent first."""
    try:
        return dict(collections.Counter(writer(content, manifest, path)).most_common())
    except RuntimeError as error:  # PyTorch and OpenVINO say so where a disk is full
        raise OSError(one_line(error)) from None


def _reload(temporary: Path, path: Path) -> ExportedRuntime:
    """The runtime of what was written for `path`, still under another name."""
    try:
        return load(temporary)
    except CheckpointError as error:
        reason = str(error).replace(str(temporary), "the engine refuses what was written")
        raise MovinetError(f"{path}: {reason}") from None


def check_output(path: Path) -> None:
    """See, before any work, that a file of this name can be made.

    Raises:
        ConfigError: If its suffix is that of no format.
        OSError: If there is no folder for it, or it is one.
    """
    if path.suffix not in FORMATS:
        raise ConfigError(f"{path}: an export ends in one of {', '.join(FORMATS)}")
    if not path.parent.is_dir():
        raise OSError(f"{path}: cannot be written (there is no folder {path.parent})")
    if path.is_dir():
        raise OSError(f"{path}: cannot be written (it is a folder)")
    model_path(path)


def _loaded(
    model: MoViNet | LoadedModel,
    labels: Sequence[str] | str | os.PathLike[str] | None,
    spec: InputSpec | None,
    image_size: int | None,
) -> LoadedModel:
    """The model with everything that the manifest tells."""
    if isinstance(model, LoadedModel):
        if not isinstance(model.model, MoViNet):
            raise ConfigError(f"{model.info.name} is an ensemble: export its members one by one")
        info = model.info
    elif isinstance(model, MoViNet):
        name = _preset(model)
        if spec is None and name is None:
            raise ConfigError(
                "the model's architecture is not that of a preset: give its input_spec"
            )
        info = ModelInfo(
            name or "model",
            spec or input_spec(name or ""),
            tuple(f"class {i}" for i in range(model.config.num_classes)),
            model.config.causal,
            "memory",
        )
    else:
        raise ConfigError(f"export takes a MoViNet or a LoadedModel, not {type(model).__name__}")
    network = model.model if isinstance(model, LoadedModel) else model
    assert isinstance(network, MoViNet)
    if labels is not None:
        labels = as_labels(labels)
        if len(labels) != network.config.num_classes:
            raise ConfigError(f"{len(labels)} labels for {network.config.num_classes} classes")
        info = dataclasses.replace(info, labels=tuple(labels))
    spec = spec or info.input
    if not isinstance(spec, InputSpec):
        raise ConfigError(f"input_spec must be an InputSpec, not {type(spec).__name__}")
    if image_size is not None:
        _check_integer("image_size", image_size, MAX_IMAGE_SIZE)
        short_side = max(image_size, round(spec.short_side * image_size / spec.image_size))
        spec = dataclasses.replace(spec, image_size=image_size, short_side=short_side)
    return LoadedModel(network.eval(), dataclasses.replace(info, input=spec))


def _preset(model: MoViNet) -> str | None:
    """The preset whose architecture a model has."""
    for size, architecture in ARCHITECTURES.items():
        if architecture == model.config.architecture:
            return f"{size}_{'stream' if model.config.causal else 'base'}"
    return None


def _check(options: GraphOptions) -> None:
    for what, value in (("batch_size", options.batch_size), ("num_frames", options.num_frames)):
        if value is not None:
            _check_integer(what, value, MAX_STREAMS)
    if options.source_size is not None:
        size = options.source_size
        if not isinstance(size, Sequence) or len(size) != 2 or not all(map(_is_side, size)):
            raise ConfigError(
                f"source_size must be (height, width), each from 1 to {MAX_IMAGE_SIZE}, not "
                f"{size!r}"
            )


def _with_embedding(outputs: Sequence[str]) -> bool:
    """Whether the file is to give the embedding.

    Raises:
        ConfigError: If the outputs are not the logits, with or without the embedding.
    """
    allowed = (["logits"], ["embedding", "logits"])
    listed = isinstance(outputs, Sequence) and not isinstance(outputs, str)
    if not listed or sorted(map(str, outputs)) not in allowed:
        raise ConfigError(
            f"outputs must be ('logits',) or ('logits', 'embedding'), not {outputs!r}"
        )
    return len(outputs) == 2


def _is_side(value: object) -> bool:
    return isinstance(value, int) and 1 <= value <= MAX_IMAGE_SIZE


def _check_integer(what: str, value: object, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise ConfigError(f"{what} must be an integer from 1 to {most}, not {value!r}")


def _manifest(
    graph: Graph,
    loaded: LoadedModel,
    options: GraphOptions,
    quantize: str | None,
    weights_sha256: str,
) -> Manifest:
    program, info = graph.program, loaded.info
    network = loaded.model
    assert isinstance(network, MoViNet)

    def spec(name: str, tensor: str) -> TensorSpec:
        value = program.values[tensor]
        shape: list[Any] = list(value.shape)
        if program.dynamic_batch and value.batch_axis is not None:
            shape[value.batch_axis] = None
        return TensorSpec(name, tuple(shape), value.dtype)

    return Manifest(
        kind="step" if network.config.causal else "clip",
        name=info.name,
        input=info.input,
        labels=info.labels,
        inputs=tuple(spec(name, name) for name in program.inputs),
        outputs=tuple(spec(name, tensor) for name, tensor in program.outputs.items()),
        output="probabilities" if options.softmax else "logits",
        batch_size=options.batch_size,
        num_frames=options.num_frames,
        states=graph.states,
        resizes=options.source_size is not None,
        quantization=quantize or "none",
        origin=info.origin,
        notes=info.notes,
        weights_sha256=weights_sha256,
        config=network.config.to_dict(),
        multi_label=info.multi_label,
    )
