"""Run .onnx files with ONNX Runtime.

A stream's state is a set of ONNX Runtime's own values: what a step gives out is what the next one
takes in, and nothing of it is copied. The frames are read where they lie; the prediction is copied
once, out of the engine.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet.errors import MissingExtraError
from movinet.runtime.engine import StateValues
from movinet.runtime.engines.shared import check_fit, initial_values, no_manifest, not_loaded
from movinet.runtime.manifest import Manifest
from movinet.runtime.tensors import carried

_TYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8", "tensor(int8)": "int8"}
#: By state name.
OnnxState = dict[str, Any]


class OnnxEngine:
    """One .onnx file behind the engine protocol.

    Attributes:
        manifest: What travels with it.
    """

    channels_first = True
    reentrant = False
    joins = False

    def __init__(self, session: Any, manifest: Manifest) -> None:
        from onnxruntime import OrtValue

        self.manifest = manifest
        self._session, self._value = session, OrtValue.ortvalue_from_numpy
        self._outputs = [spec.name for spec in manifest.outputs]

    @classmethod
    def open(
        cls, path: Path, *, num_threads: int = 1, manifest: Manifest | None = None
    ) -> OnnxEngine:
        """Load a file.

        Args:
            path: The file.
            num_threads: Threads of one step.
            manifest: Taken instead of the one inside.

        Raises:
            CheckpointError: If it is not an .onnx file of movinet.
            MissingExtraError: If ONNX Runtime is not installed.
        """
        session = _session(path, num_threads)
        manifest = manifest or _read_manifest(path, session)
        check_fit(path, manifest, _tensors(session.get_inputs()), _tensors(session.get_outputs()))
        return cls(session, manifest)

    def new_state(self, batch_size: int) -> OnnxState:
        """See `Engine.new_state`."""
        values = initial_values(self.manifest, batch_size)
        return {name: self._value(value) for name, value in values.items()}

    def step(
        self,
        frames: NDArray[Any],
        decay: NDArray[np.float32],
        state: OnnxState,
        output: str | None = None,
    ) -> NDArray[np.float32]:
        """See `Engine.step`."""
        given = {
            "frames": self._value(np.ascontiguousarray(frames)),
            "decay": self._value(decay),
            **state,
        }
        results = self._session.run_with_ort_values(self._outputs, given)
        fresh = dict(zip(self._outputs, results, strict=True))
        # All are taken from the old state before any is replaced.
        state.update(carried(self.manifest.states, fresh, state))
        return fresh[output or self.manifest.output].numpy()

    def read_state(
        self, state: OnnxState, names: Collection[str] | None = None
    ) -> dict[str, NDArray[Any]]:
        """See `Engine.read_state`."""
        return {name: np.array(state[name].numpy()) for name in (state if names is None else names)}

    def write_state(self, state: OnnxState, values: StateValues) -> None:
        """See `Engine.write_state`."""
        for spec in self.manifest.states:
            value = np.array(values[spec.name], spec.dtype, order="C")
            state[spec.name] = self._value(value)

    def clip(self, frames: NDArray[Any], output: str | None = None) -> NDArray[np.float32]:
        """See `Engine.clip`."""
        given = {"frames": np.ascontiguousarray(frames)}
        return self._session.run([output or self.manifest.output], given)[0]


def _session(path: Path, num_threads: int) -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise MissingExtraError("running .onnx files", "onnx") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    # Kernels in int8 become floats once, here; left to themselves they do so at every step, and the
    # convolutions in integers take longer than those of floats.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    options.log_severity_level = 3  # errors; they are raised anyway
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions have no base class of their own
        raise not_loaded(path, "ONNX Runtime", error) from None


def _read_manifest(path: Path, session: Any) -> Manifest:
    try:
        text = session.get_modelmeta().custom_metadata_map.get("movinet")
    except UnicodeDecodeError as error:
        raise not_loaded(path, "ONNX Runtime", error) from None
    if text is None:
        raise no_manifest(path)
    return Manifest.parse(text, str(path))


def _tensors(items: list[Any]) -> dict[str, tuple[Any, str]]:
    return {item.name: (item.shape, _TYPES.get(item.type) or item.type) for item in items}
