"""Run .tflite files with LiteRT.

A step copies the state into the interpreter, and the new frames and sums out of it, once each: its
interface asks for that. Past frames only change their places among the stream's own arrays.
"""

from __future__ import annotations

import contextlib
import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet.errors import CheckpointError, MissingExtraError
from movinet.runtime.engine import StateValues
from movinet.runtime.fitting import check_fit, initial_values, no_manifest, not_loaded
from movinet.runtime.manifest import MAX_BYTES, Manifest

#: A stream's state: its arrays by name.
LiteRTState = dict[str, NDArray[Any]]


class LiteRTEngine:
    """One .tflite file behind the engine protocol.

    Attributes:
        manifest: What travels with it.
    """

    def __init__(self, path: Path, manifest: Manifest, num_threads: int) -> None:
        self.manifest = manifest
        self._path, self._num_threads = path, num_threads
        self._graphs: dict[int, _Graph] = {}
        self._graph(manifest.batch_size or 1)
        states = manifest.states
        self._moves = [
            (state.name, state.next.removeprefix("state:"))
            for state in states
            if state.next.startswith("state:")
        ]
        self._fresh = [
            (state.name, state.next) for state in states if not state.next.startswith("state:")
        ]

    @classmethod
    def open(cls, path: Path, *, num_threads: int = 1) -> LiteRTEngine:
        """Load a file.

        Args:
            path: The file.
            num_threads: Threads of one step.

        Raises:
            CheckpointError: If it is not a .tflite file of movinet.
            MissingExtraError: If LiteRT is not installed.
        """
        return cls(path, read_manifest(path), num_threads)

    def new_state(self, batch_size: int) -> LiteRTState:
        """The state of streams that have seen nothing."""
        return initial_values(self.manifest, batch_size)

    def step(
        self, frames: NDArray[Any], decay: NDArray[np.float32], state: LiteRTState
    ) -> NDArray[np.float32]:
        """See `Engine.step`."""
        graph = self._graph(len(decay))
        outputs = graph.run({"frames": frames, "decay": decay, **state})
        moved = {name: state[source] for name, source in self._moves}
        state.update(moved)
        state.update((name, outputs[source]) for name, source in self._fresh)
        return outputs[self.manifest.output]

    def read_state(self, state: LiteRTState) -> dict[str, NDArray[Any]]:
        """See `Engine.read_state`."""
        return {name: values.copy() for name, values in state.items()}

    def write_state(self, state: LiteRTState, values: StateValues) -> None:
        """See `Engine.write_state`."""
        state.update((name, np.array(values[name], held.dtype)) for name, held in state.items())

    def clip(self, frames: NDArray[Any]) -> NDArray[np.float32]:
        """See `Engine.clip`."""
        graph = self._graph(self.manifest.batch_size or 1)
        return graph.run({"frames": frames})[self.manifest.output]

    def _graph(self, batch_size: int) -> _Graph:
        """The graph for a batch; there is one for each size in use."""
        if batch_size not in self._graphs:
            self._graphs[batch_size] = _Graph(
                self._path, self.manifest, batch_size, self._num_threads
            )
        return self._graphs[batch_size]


class _Graph:
    """A file made ready for one batch size."""

    def __init__(self, path: Path, manifest: Manifest, batch_size: int, threads: int) -> None:
        interpreter = _interpreter(path, threads)
        inputs, outputs = _tensors(interpreter)
        check_fit(
            path,
            manifest,
            {name: (_signature(d), np.dtype(d["dtype"]).name) for name, d in inputs.items()},
            {name: (_signature(d), np.dtype(d["dtype"]).name) for name, d in outputs.items()},
        )
        self._inputs = {name: int(d["index"]) for name, d in inputs.items()}
        self._outputs = {name: int(d["index"]) for name, d in outputs.items()}
        if manifest.batch_size is None:
            for spec in manifest.inputs:
                rows = batch_size * (manifest.num_frames if spec.name == "frames" else 1)
                shape = [rows, *spec.shape[1:]]
                interpreter.resize_tensor_input(self._inputs[spec.name], shape)
        with _quiet():
            interpreter.allocate_tensors()
        self._interpreter = interpreter

    def run(self, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Copies of all outputs."""
        interpreter = self._interpreter
        for name, index in self._inputs.items():
            interpreter.set_tensor(index, inputs[name])
        interpreter.invoke()
        return {name: interpreter.get_tensor(index) for name, index in self._outputs.items()}


def _tensors(interpreter: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Inputs and outputs by name; the runner that knows them must not stay alive."""
    if not interpreter.get_signature_list():
        return {}, {}
    runner = interpreter.get_signature_runner()
    return runner.get_input_details(), runner.get_output_details()


def _signature(details: dict[str, Any]) -> list[int]:
    """The shape of a tensor, with -1 where it is free."""
    free = details.get("shape_signature")
    return [int(side) for side in (details["shape"] if free is None or not len(free) else free)]


def read_manifest(path: Path) -> Manifest:
    """What a .tflite file says of itself.

    Raises:
        CheckpointError: If it says nothing, or it is not such a file.
    """
    try:
        with path.open("rb") as file:
            header = file.read(8)
        if header[4:] != b"TFL3":
            raise CheckpointError(f"{path}: it is not a .tflite file")
        with zipfile.ZipFile(path) as archive:
            info = archive.getinfo("movinet.json")
            if info.file_size > MAX_BYTES:
                raise CheckpointError(f"{path}: its manifest is larger than {MAX_BYTES} bytes")
            text = archive.read(info)
    except (zipfile.BadZipFile, KeyError, NotImplementedError, EOFError, ValueError):
        raise no_manifest(path) from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from None
    return Manifest.parse(text, str(path))


def _interpreter(path: Path, threads: int) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ModuleNotFoundError:
        raise MissingExtraError("running .tflite files", "litert") from None
    try:
        with _quiet():
            return Interpreter(str(path), num_threads=threads)
    except (RuntimeError, ValueError) as error:
        raise not_loaded(path, "LiteRT", error) from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep LiteRT's greeting off the terminal; it goes past Python's own streams."""
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
