"""A model repository of Triton Inference Server, whose sequences are streams.

Triton keeps the state of each sequence itself ("implicit state") and gives it to the graph with the
next frame; it only hands on what a graph gives out. Three things of an .onnx export differ for it:

- States that take the value of another state become outputs too.
- Every output that is a state is called as the input with "new/" before it. Triton pairs the two by
  their places in alphabetical order, whatever its configuration says, so both orders have to be
  the same.
- Triton has no optional inputs where it makes batches: the decay is a constant of the graph.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet.errors import CheckpointError, ConfigError, MissingExtraError, MovinetError
from movinet.files import replacing_folder
from movinet.runtime.exported import ExportedRuntime
from movinet.runtime.loading import load
from movinet.runtime.manifest import Manifest
from movinet.runtime.numbers import decay_from_half_life
from movinet.runtime.tensors import StateTensor, TensorSpec
from movinet.text import printable

#: Streams in a step, and streams that are open at a time; further ones wait for one that ends.
MAX_BATCH, MAX_STREAMS = 8, 256
#: Seconds after which Triton ends a sequence that sends nothing. Its own default is one.
IDLE = 60
#: What Triton takes as a name of a model, and the names of this project's tensors.
_MODEL_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}")
_TENSOR_NAME = re.compile(r"[A-Za-z0-9_./-]+")
_TYPES = {"float32": "FP32", "uint8": "UINT8", "int8": "INT8", "int32": "INT32"}
_NEW, _LABELS, _INITIAL, _FILE = "new/", "labels.txt", "initial_state", "model.onnx"
#: Steps for which the graph is run beside the one that it was made of, and what they may differ.
_STEPS, _TOLERANCE = 3, 1e-4


def write_repository(
    path: Path, repository: Path, *, name: str | None = None, half_life: float = 5.0
) -> Path:
    """Add a stream model to a model repository of Triton.

    Args:
        path: The .onnx export of a stream model, for any number of streams, a frame a step.
        repository: The folder of models; made if it is missing.
        name: Of the model; by default what the export says.
        half_life: Seconds after which a frame counts half, in every stream; infinity for the mean
            of all frames.

    Returns:
        The folder of the model, which appears whole or not at all.

    Raises:
        ConfigError: If the export is of another kind, or there is a model of this name.
        MissingExtraError: If what reads and runs .onnx files is not installed.
        MovinetError: If the graph that was made does not do what the export does.
        OSError: If it cannot be written.
    """
    runtime = load(path)
    manifest = runtime.manifest
    name = manifest.name if name is None else name
    folder = check_repository(repository, name)
    _check(path, manifest)
    decay = decay_from_half_life(half_life, manifest.input.frame_rate) if manifest.decays else None
    model = _graph(path, manifest, decay)
    repository.mkdir(parents=True, exist_ok=True)
    with replacing_folder(folder) as work:
        _write(work, model, manifest, name)
        _compare(runtime, work / "1" / _FILE, decay)
    return folder


def check_repository(repository: Path, name: str) -> Path:
    """See that a model can be added to a repository; returns the folder that it will have.

    Raises:
        ConfigError: If the name is none, or taken.
        OSError: If the repository is no folder.
    """
    if not _MODEL_NAME.fullmatch(name):
        raise ConfigError(
            f"{printable(name)!r} is no name of a model for Triton: letters, digits, _, - and . "
            "will do; give another with --name"
        )
    if repository.exists() and not repository.is_dir():
        raise OSError(printable(f"{repository}: cannot be written (it is no folder)"))
    folder = repository / name
    if os.path.lexists(folder):
        raise ConfigError(
            printable(f"{folder} is there already: remove it, or give another --name")
        )
    return folder


def _check(path: Path, manifest: Manifest) -> None:
    """Raise ConfigError unless an export can be a model with sequences."""
    wrong = ""
    if path.suffix != ".onnx" or manifest.kind != "step":
        wrong = "Triton's sequences take stream models, as .onnx files"
    elif manifest.batch_size is not None:
        wrong = "Triton makes batches of streams: export it with --batch any"
    elif manifest.num_frames != 1:
        wrong = "Triton makes batches of single frames: export it without --frames"
    names = [item.name for item in (*manifest.inputs, *manifest.outputs)]
    if any(len(state.shape) < 2 for state in manifest.states):
        wrong = "a state is one number for each stream, which Triton's configuration does not take"
    if odd := [each for each in names if not _TENSOR_NAME.fullmatch(each)]:
        wrong = f"a tensor is called {odd[0]!r}, which Triton's configuration does not take"
    if wrong:
        raise ConfigError(printable(f"{path}: {wrong}"))


def _graph(path: Path, manifest: Manifest, decay: float | None) -> Any:
    """The graph as Triton runs it."""
    try:
        import onnx
        from onnx import helper, numpy_helper
    except ModuleNotFoundError:
        raise MissingExtraError("writing .onnx files", "onnx") from None
    model = onnx.load(path)
    graph = model.graph
    if decay is not None:
        kept = [item for item in graph.input if item.name != "decay"]
        del graph.input[:]
        graph.input.extend(kept)
        graph.initializer.append(
            numpy_helper.from_array(np.full((1, 1), decay, np.float32), "decay")
        )
    inputs = {item.name: item for item in graph.input}
    given = {item.name for item in graph.output}
    taken = given | set(inputs) | {name for node in graph.node for name in node.output}
    for state in manifest.states:
        output = _NEW + state.name
        if output in given and state.source == output:
            continue
        if output in taken:
            raise CheckpointError(printable(f"{path}: {output!r} is not what {state.name} becomes"))
        graph.node.append(helper.make_node("Identity", [state.source], [output], name=output))
        described = onnx.ValueInfoProto()
        described.CopyFrom(inputs[state.name])
        described.name = output
        graph.output.append(described)
    return model


def _write(work: Path, model: Any, manifest: Manifest, name: str) -> None:
    import onnx

    (work / "1").mkdir(parents=True)
    onnx.save(model, work / "1" / _FILE)
    (work / "config.pbtxt").write_text(configuration(manifest, name), encoding="utf-8")
    labels = "".join(f"{label}\n" for label in manifest.labels)
    (work / _LABELS).write_text(labels, encoding="utf-8")
    for state in manifest.states:
        if state.initial:
            (work / _INITIAL).mkdir(exist_ok=True)
            kind = np.dtype(state.dtype).newbyteorder("<")
            values = np.full(_sides(state.shape), state.initial, kind)
            (work / _INITIAL / _file_of(state)).write_bytes(values.tobytes())


def configuration(manifest: Manifest, name: str) -> str:
    """The config.pbtxt of a model, in protobuf's text format."""
    frames = manifest.frames
    given = [
        next(item for item in manifest.outputs if item.name == wanted)
        for wanted in (manifest.output, *(["embedding"] if manifest.embedding else []))
    ]
    blocks = [
        f'name: "{name}"\nbackend: "onnxruntime"\nmax_batch_size: {MAX_BATCH}',
        f"input [\n{_tensor(frames)}\n]",
        "output [\n"
        + ",\n".join(_tensor(item, labelled=item.name == manifest.output) for item in given)
        + "\n]",
        _sequences(manifest),
    ]
    return "\n".join(blocks) + "\n"


def _tensor(spec: TensorSpec, *, labelled: bool = False) -> str:
    lines = [f'    name: "{spec.name}"', f"    data_type: TYPE_{_TYPES[spec.dtype]}"]
    lines.append(f"    dims: {_dims(spec.shape)}")
    if labelled:
        lines.append(f'    label_filename: "{_LABELS}"')
    return "  {\n" + "\n".join(lines) + "\n  }"


def _sequences(manifest: Manifest) -> str:
    states = ",\n".join(_state(state) for state in manifest.states)
    return (
        "sequence_batching {\n"
        f"  max_sequence_idle_microseconds: {IDLE * 1_000_000}\n"
        f"  oldest {{\n    max_candidate_sequences: {MAX_STREAMS}\n  }}\n"
        f"  state [\n{states}\n  ]\n"
        "}"
    )


def _state(state: StateTensor) -> str:
    kind, dims = f"TYPE_{_TYPES[state.dtype]}", _dims(state.shape)
    value = f'data_file: "{_file_of(state)}"' if state.initial else "zero_data: true"
    return f"""    {{
      input_name: "{state.name}"
      output_name: "{_NEW}{state.name}"
      data_type: {kind}
      dims: {dims}
      initial_state {{
        name: "{state.name}"
        data_type: {kind}
        dims: {dims}
        {value}
      }}
    }}"""


def _file_of(state: StateTensor) -> str:
    return state.name.replace("/", "-")


def _dims(shape: tuple[int | None, ...]) -> str:
    """A shape as Triton has it, without the batch."""
    return "[ " + ", ".join(str(side) for side in _sides(shape)) + " ]"


def _sides(shape: tuple[int | None, ...]) -> tuple[int, ...]:
    return tuple(side or 1 for side in shape[1:])  # only the batch is free


def _compare(runtime: ExportedRuntime, path: Path, decay: float | None) -> None:
    """Run the graph beside the export that it was made of, for two streams.

    Raises:
        MovinetError: If they differ.
    """
    import onnxruntime

    manifest, engine = runtime.manifest, runtime.engine
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry(
        "session.disable_quant_qdq", "1"
    )  # as the export's engine does
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_outputs()]
    state: dict[str, NDArray[Any]] = engine.read_state(kept := engine.new_state(2))
    decays = np.full((2, 1), 1.0 if decay is None else decay, np.float32)
    generator = np.random.default_rng(0)
    for _ in range(_STEPS):
        frames = generator.integers(0, 256, (2, *_sides(manifest.frames.shape)), np.uint8)
        pixels = frames if manifest.frames.dtype == "uint8" else frames.astype(np.float32) / 255
        wanted = engine.step(pixels, decays, kept)
        outputs: Any = session.run(None, {"frames": pixels, **state})
        found = dict(zip(names, outputs, strict=True))
        state = {name: found[_NEW + name] for name in state}
        error = np.abs(found[manifest.output] - wanted).max() / max(np.abs(wanted).max(), 1e-9)
        if not error <= _TOLERANCE:
            raise MovinetError(f"the graph for Triton differs from the export by {error:.1g}")
