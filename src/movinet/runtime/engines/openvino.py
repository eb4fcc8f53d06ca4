"""Run OpenVINO's .xml files.

A stream's state is a set of tensors, and a spare one for each that a step gives out. The engine
writes into the spare ones, and each tensor takes its next place: nothing of the state is copied
here (the engine itself may bring it into another order of memory). The frames are read where they
lie; the prediction is copied once, out of the engine.
"""

from __future__ import annotations

import functools
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet.errors import CheckpointError, MissingExtraError
from movinet.runtime.engine import StateValues
from movinet.runtime.engines.shared import (
    check_fit,
    first_bytes,
    initial_values,
    no_manifest,
    not_loaded,
)
from movinet.runtime.manifest import Manifest
from movinet.runtime.tensors import carried

_TYPES = {"f32": "float32", "u8": "uint8", "i8": "int8"}


@dataclass
class OpenVinoState:
    """Tensors of one batch of streams.

    Attributes:
        batch_size: Streams.
        tensors: By state name.
        spare: By output name.
    """

    batch_size: int
    tensors: dict[str, Any]
    spare: dict[str, Any]


@functools.cache
def _core() -> Any:
    """One for the process, which stays.

    OpenVINO's plugin for CPUs gives the thread that loads it a stack of its own for signals. Where
    several plugins are let go in another order than they came, or from another thread, it leaves
    the thread with a stack that is no more: the next signal that Python handles, Ctrl-C or a child
    that ends, kills the process. So there is one plugin, which is never let go.
    """
    from openvino import Core

    return Core()


class OpenVinoEngine:
    """One .xml file, and the .bin file beside it, behind the engine protocol.

    Attributes:
        manifest: What travels with it.
    """

    channels_first = True
    reentrant = False
    joins = False

    def __init__(self, path: Path, model: Any, manifest: Manifest, num_threads: int) -> None:
        from openvino import Tensor

        self.manifest = manifest
        self._path, self._model, self._core, self._tensor = path, model, _core(), Tensor
        self._config = {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": num_threads,
            "NUM_STREAMS": 1,
            # Pinned threads of several processes would all sit on the first core.
            "ENABLE_CPU_PINNING": False,
        }
        self._requests: dict[int, Any] = {}
        self._request(manifest.batch_size or 1)
        self._inputs = {_name(port): i for i, port in enumerate(model.inputs)}
        self._outputs = {_name(port): i for i, port in enumerate(model.outputs)}
        self._freed = _freed(manifest)

    @classmethod
    def open(
        cls, path: Path, *, num_threads: int = 1, manifest: Manifest | None = None
    ) -> OpenVinoEngine:
        """Load a file.

        Args:
            path: The .xml file; the .bin file lies beside it.
            num_threads: Threads of one step.
            manifest: Taken instead of the one inside.

        Raises:
            CheckpointError: If it is not an OpenVINO file of movinet.
            MissingExtraError: If OpenVINO is not installed.
        """
        try:
            import openvino  # noqa: F401 - whether it is there
        except ModuleNotFoundError:
            raise MissingExtraError("running OpenVINO's .xml files", "openvino") from None
        # OpenVINO would try all its readers on it, with a log of each.
        if b"<net " not in first_bytes(path, 200):
            raise CheckpointError(f"{path}: it is not an OpenVINO .xml file")
        try:
            model = _core().read_model(path)
        except Exception as error:  # OpenVINO's exceptions have no base class of their own
            raise not_loaded(path, "OpenVINO", error) from None
        if manifest is None:
            if not model.has_rt_info(["movinet"]):
                raise no_manifest(path)
            manifest = Manifest.parse(model.get_rt_info(["movinet"]).astype(str), str(path))
        check_fit(path, manifest, _tensors(model.inputs), _tensors(model.outputs))
        return cls(path, model, manifest, num_threads)

    def new_state(self, batch_size: int) -> OpenVinoState:
        """See `Engine.new_state`."""
        tensors = {
            name: self._tensor(values)
            for name, values in initial_values(self.manifest, batch_size).items()
        }
        spare = {
            output: self._tensor(tensors[name].element_type, tensors[name].shape)
            for output, name in self._freed.items()
        }
        return OpenVinoState(batch_size, tensors, spare)

    def step(
        self,
        frames: NDArray[Any],
        decay: NDArray[np.float32],
        state: OpenVinoState,
        output: str | None = None,
    ) -> NDArray[np.float32]:
        """See `Engine.step`."""
        request, tensors, spare = self._request(state.batch_size), state.tensors, state.spare
        for name, tensor in tensors.items():
            request.set_input_tensor(self._inputs[name], tensor)
        for name, tensor in spare.items():
            request.set_output_tensor(self._outputs[name], tensor)
        request.set_input_tensor(self._inputs["decay"], self._shared(decay))
        given = self._run(request, frames, output)
        state.tensors = carried(self.manifest.states, spare, tensors)
        state.spare = {output: tensors[name] for output, name in self._freed.items()}
        return given

    def read_state(
        self, state: OpenVinoState, names: Collection[str] | None = None
    ) -> dict[str, NDArray[Any]]:
        """See `Engine.read_state`."""
        tensors = state.tensors
        return {name: tensors[name].data.copy() for name in (tensors if names is None else names)}

    def write_state(self, state: OpenVinoState, values: StateValues) -> None:
        """See `Engine.write_state`."""
        for name, tensor in state.tensors.items():
            tensor.data[:] = values[name]

    def clip(self, frames: NDArray[Any], output: str | None = None) -> NDArray[np.float32]:
        """See `Engine.clip`."""
        return self._run(self._request(self.manifest.batch_size or 1), frames, output)

    def _run(self, request: Any, frames: NDArray[Any], output: str | None) -> NDArray[np.float32]:
        request.set_input_tensor(self._inputs["frames"], self._shared(frames))
        request.infer()
        return request.get_output_tensor(self._outputs[output or self.manifest.output]).data.copy()

    def _shared(self, values: NDArray[Any]) -> Any:
        return self._tensor(np.ascontiguousarray(values), shared_memory=True)

    def _request(self, batch_size: int) -> Any:
        """The graph compiled for a batch; there is one for each size in use."""
        if batch_size not in self._requests:
            model = self._model
            if self.manifest.batch_size is None:
                model = model.clone()
                model.reshape({port: _sized(port, batch_size) for port in model.inputs})
            try:
                compiled = self._core.compile_model(model, "CPU", self._config)
            except Exception as error:  # as above
                raise not_loaded(self._path, "OpenVINO", error) from None
            self._requests[batch_size] = compiled.create_infer_request()
        return self._requests[batch_size]


def _freed(manifest: Manifest) -> dict[str, str]:
    """Output -> the state whose tensor nobody needs any more after a step."""
    takers = {state.source: state.name for state in manifest.states if state.is_from_state}
    freed = {}
    for state in manifest.states:
        if not state.is_from_state:
            name = state.name
            while name in takers:
                name = takers[name]
            freed[state.source] = name
    return freed


def _name(port: Any) -> str:
    return port.get_any_name()


def _sized(port: Any, batch_size: int) -> list[int]:
    shape = port.get_partial_shape()
    return [side.get_length() if side.is_static else batch_size for side in shape]


def _tensors(ports: Any) -> dict[str, tuple[list[int | None], str]]:
    tensors = {}
    for port in ports:
        shape = [side.get_length() if side.is_static else None for side in port.partial_shape]
        dtype = port.element_type.to_string()
        tensors[_name(port)] = (shape, _TYPES.get(dtype, dtype))
    return tensors
