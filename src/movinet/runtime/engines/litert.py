"""Run .tflite files with LiteRT.

LiteRT's interpreter owns the memory of its tensors. While one stream is stepped again and again,
its state stays there, and each step moves the past frames up by one: one copy of the state a step.
When another stream takes its turn, the state of the first is copied out and that of the other in.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet.errors import CheckpointError, ConfigError, MovinetError
from movinet.runtime.engine import StateValues
from movinet.runtime.engines.shared import (
    check_fit,
    first_bytes,
    initial_values,
    moves_in_place,
    no_manifest,
    not_loaded,
)
from movinet.runtime.engines.tflite_file import needs_litert, read_tflite
from movinet.runtime.engines.tflite_manifest import stored_manifest
from movinet.runtime.engines.tflite_shapes import check_sizes
from movinet.runtime.engines.tflite_signature import (
    Details,
    flat_shape,
    is_foreign,
    signature_manifest,
    translated,
)
from movinet.runtime.manifest import Manifest


@dataclass(eq=False)
class LiteRTState:
    """A stream's state.

    Attributes:
        values: Its arrays by name; out of date while it is in the interpreter.
    """

    values: dict[str, NDArray[Any]]


class LiteRTEngine:
    """One .tflite file behind the engine protocol.

    Attributes:
        manifest: What travels with it.
    """

    channels_first = False
    reentrant = False
    joins = False

    def __init__(self, path: Path, manifest: Manifest, num_threads: int) -> None:
        self.manifest = manifest
        self._path, self._num_threads = path, num_threads
        self._graphs: dict[int, _Graph] = {}
        self._graph(manifest.batch_size or 1)

    @classmethod
    def open(
        cls, path: Path, *, num_threads: int = 1, manifest: Manifest | None = None
    ) -> LiteRTEngine:
        """Load a file.

        Args:
            path: The file.
            num_threads: Threads of one step.
            manifest: Taken instead of the one inside. Of a file that has none, the signature of
                the reference's exporter will do.

        Raises:
            CheckpointError: If it is not a .tflite file of a video classifier.
            MovinetError: If LiteRT is not installed.
        """
        if first_bytes(path, 8)[4:] != b"TFL3":
            raise CheckpointError(f"{path}: it is not a .tflite file")
        check_sizes(read_tflite(path))
        manifest = manifest or stored_manifest(path) or _told_by_signature(path)
        return cls(path, manifest, num_threads)

    def new_state(self, batch_size: int) -> LiteRTState:
        """The state of streams that have seen nothing."""
        return LiteRTState(initial_values(self.manifest, batch_size))

    def step(
        self,
        frames: NDArray[Any],
        decay: NDArray[np.float32],
        state: LiteRTState,
        output: str | None = None,
    ) -> NDArray[np.float32]:
        """See `Engine.step`."""
        return self._graph(len(decay)).step(frames, decay, state, output)

    def read_state(
        self, state: LiteRTState, names: Collection[str] | None = None
    ) -> dict[str, NDArray[Any]]:
        """See `Engine.read_state`; a part of it leaves the rest in the interpreter."""
        if names is not None:
            for graph in self._graphs.values():
                if graph.holds(state):
                    return graph.peek(names)
            return {name: state.values[name].copy() for name in names}
        for graph in self._graphs.values():
            graph.release(state)
        return {name: values.copy() for name, values in state.values.items()}

    def write_state(self, state: LiteRTState, values: StateValues) -> None:
        """See `Engine.write_state`."""
        for graph in self._graphs.values():
            graph.release(state)
        state.values = {
            name: np.array(values[name], held.dtype) for name, held in state.values.items()
        }

    def clip(self, frames: NDArray[Any], output: str | None = None) -> NDArray[np.float32]:
        """See `Engine.clip`."""
        graph = self._graph(self.manifest.batch_size or 1)
        return graph.clip(frames, output)

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
        self._image_shape: list[int] | None = None
        if is_foreign(inputs):
            with contextlib.suppress(ConfigError):  # check_fit names what differs
                inputs, outputs = translated(inputs, outputs, manifest.output)
                self._image_shape = _signature(inputs["frames"])
        check_fit(path, manifest, _specs(inputs), _specs(outputs))
        self._inputs = {name: int(d["index"]) for name, d in inputs.items()}
        self._outputs = {name: int(d["index"]) for name, d in outputs.items()}
        for mine, of_graph in (
            (self._inputs, interpreter.get_input_details()),
            (self._outputs, interpreter.get_output_details()),
        ):
            if not {*mine.values()} <= {int(d["index"]) for d in of_graph}:
                raise CheckpointError(f"{path}: its signature names tensors inside its graph")
        if manifest.batch_size is None:
            for spec in manifest.inputs:
                rows = batch_size * (manifest.num_frames if spec.name == "frames" else 1)
                shape = [rows, *spec.shape[1:]]
                interpreter.resize_tensor_input(self._inputs[spec.name], shape)
        try:
            with _quiet():
                interpreter.allocate_tensors()
        except (RuntimeError, ValueError, MemoryError) as error:
            raise not_loaded(path, "LiteRT", error) from None
        self._interpreter, self._manifest = interpreter, manifest
        self._resident: LiteRTState | None = None
        self._steps = 0
        self._sources = {
            state.name: (state.source, state.is_from_state) for state in manifest.states
        }
        self._moves = [
            (self._inputs[target], (self._inputs if held else self._outputs)[source])
            for target, source, held in moves_in_place(manifest)
        ]

    def step(
        self,
        frames: NDArray[Any],
        decay: NDArray[np.float32],
        state: LiteRTState,
        output: str | None,
    ) -> NDArray[np.float32]:
        """See `Engine.step`."""
        if self._resident is state:
            self._move_up()
        else:
            self.release(self._resident)
            for name, values in state.values.items():
                self._interpreter.set_tensor(self._inputs[name], values)
            self._resident, self._steps = state, 0
        if "decay" in self._inputs:
            self._interpreter.set_tensor(self._inputs["decay"], decay)
        self._steps += 1
        return self.clip(frames, output)

    def clip(self, frames: NDArray[Any], output: str | None) -> NDArray[np.float32]:
        """An output for some frames, with the state as it is."""
        if self._image_shape is not None:
            frames = frames.reshape(self._image_shape)
        self._interpreter.set_tensor(self._inputs["frames"], frames)
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._outputs[output or self._manifest.output])

    def holds(self, state: LiteRTState) -> bool:
        """Whether a state is in the interpreter, and its own arrays are out of date."""
        return self._resident is state

    def peek(self, names: Collection[str]) -> dict[str, NDArray[Any]]:
        """Copies of some tensors of the state that is in the interpreter, which stays there."""
        values = {}
        for name in names:
            source, held = self._sources[name]
            index = (self._inputs if held else self._outputs)[source]
            values[name] = self._interpreter.get_tensor(index)
        return values

    def release(self, state: LiteRTState | None) -> None:
        """Bring a state's arrays up to date, if it is in the interpreter, and let it go."""
        if state is None or self._resident is not state:
            return
        get = self._interpreter.get_tensor
        if self._steps > 1:  # after one step the arrays are still what went in
            state.values = {name: get(self._inputs[name]) for name in state.values}
        before = state.values
        state.values = {
            name: before[source] if held else get(self._outputs[source])
            for name, (source, held) in self._sources.items()
        }
        self._resident = None

    def _move_up(self) -> None:
        """Let each state tensor take its next value, where it lies."""
        tensor = self._interpreter.tensor
        for target, source in self._moves:
            np.copyto(tensor(target)(), tensor(source)())


def _told_by_signature(path: Path) -> Manifest:
    """The manifest of a file of another exporter."""
    interpreter = _interpreter(path, 1)
    inputs, outputs = _tensors(interpreter)
    if not is_foreign(inputs):
        raise no_manifest(path)

    def first_prediction() -> NDArray[np.float32]:
        """For a grey frame, and states of zeros in whatever units they have."""
        with _quiet():
            interpreter.allocate_tensors()
        for name, details in inputs.items():
            grey = 0 if name in outputs else 127 if details["dtype"] == np.uint8 else 0.5
            zero = details["quantization"][1]
            values = np.full(details["shape"], grey or zero, details["dtype"])
            interpreter.set_tensor(details["index"], values)
        interpreter.invoke()
        (result,) = outputs.keys() - inputs.keys()
        return interpreter.get_tensor(outputs[result]["index"])

    try:
        return signature_manifest(path, inputs, outputs, first_prediction)
    except (RuntimeError, ValueError, MemoryError) as error:
        if isinstance(error, MovinetError):
            raise
        raise not_loaded(path, "LiteRT", error) from None


def _specs(tensors: Details) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shapes and types as `check_fit` takes them."""
    return {
        name: (flat_shape(name, tuple(_signature(details))), np.dtype(details["dtype"]).name)
        for name, details in tensors.items()
    }


def _tensors(interpreter: Any) -> tuple[Details, Details]:
    """Inputs and outputs by name; the runner that knows them must not stay alive."""
    if not interpreter.get_signature_list():
        return {}, {}
    runner = interpreter.get_signature_runner()
    return runner.get_input_details(), runner.get_output_details()


def _signature(details: dict[str, Any]) -> list[int]:
    """The shape of a tensor, with -1 where it is free."""
    free = details.get("shape_signature")
    return [int(side) for side in (details["shape"] if free is None or not len(free) else free)]


def _interpreter(path: Path, threads: int) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ModuleNotFoundError:
        raise needs_litert(str(path)) from None
    try:
        with _quiet():
            return Interpreter(str(path), num_threads=threads)
    except (RuntimeError, ValueError) as error:
        raise not_loaded(path, "LiteRT", error) from None


#: Two threads that silence at once would leave the terminal silent.
_SILENCE = threading.Lock()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep LiteRT's greeting off the terminal; it goes past Python's own streams."""
    with _SILENCE:
        if sys.stderr is not None:
            sys.stderr.flush()
        try:
            saved = os.dup(2)
        except OSError:  # a daemon may have closed it
            yield
            return
        try:
            with Path(os.devnull).open("wb") as nothing:
                os.dup2(nothing.fileno(), 2)
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
