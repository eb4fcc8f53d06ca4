"""Run .pte files with ExecuTorch.

ExecuTorch's Python package gives copies of its outputs, and a stream hands these on as they are: so
whatever a step renews of the state is copied once. The engine reads inputs where they lie.
"""

# ExecuTorch is no part of the extra that checks run with.
# pyright: reportMissingImports=false
from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet.errors import MissingExtraError
from movinet.runtime.engine import StateValues
from movinet.runtime.fitting import check_fit, initial_values, no_manifest, not_loaded
from movinet.runtime.manifest import Manifest

#: ExecuTorch's numbers of types.
_TYPES = {0: "uint8", 6: "float32"}
#: By state name.
ExecuTorchState = dict[str, Any]


class ExecuTorchEngine:
    """One .pte file behind the engine protocol.

    Attributes:
        manifest: What travels with it.
    """

    def __init__(self, program: Any, manifest: Manifest) -> None:
        import torch

        self.manifest = manifest
        self._torch, self._program = torch, program
        self._method = program.load_method("forward")
        self._inputs = [spec.name for spec in manifest.inputs]
        self._outputs = [spec.name for spec in manifest.outputs]

    @classmethod
    def open(cls, path: Path, *, num_threads: int = 1) -> ExecuTorchEngine:
        """Load a file.

        Args:
            path: The file.
            num_threads: Threads of one step; ExecuTorch has one number for the whole process.

        Raises:
            CheckpointError: If it is not a .pte file of movinet.
            MissingExtraError: If ExecuTorch is not installed.
        """
        with quiet():
            try:
                from executorch.extension.pybindings import portable_lib
                from executorch.runtime import Runtime
            except ModuleNotFoundError:
                raise MissingExtraError("running .pte files", "executorch") from None
            try:
                program: Any = Runtime.get().load_program(path)
                names = program.method_names
            except Exception as error:  # ExecuTorch's exceptions have no base class of their own
                raise not_loaded(path, "ExecuTorch", error) from None
            if not {"movinet", "forward"} <= names:
                raise no_manifest(path)
            try:
                (text,) = program.load_method("movinet").execute([])
                manifest = Manifest.parse(text, str(path))
                described = program.metadata("forward")
                check_fit(path, manifest, *_tensors(described, manifest))
                portable_lib._unsafe_reset_threadpool(num_threads)
                return cls(program, manifest)
            except RuntimeError as error:
                raise not_loaded(path, "ExecuTorch", error) from None

    def new_state(self, batch_size: int) -> ExecuTorchState:
        """See `Engine.new_state`."""
        values = initial_values(self.manifest, batch_size)
        return {name: self._torch.from_numpy(value) for name, value in values.items()}

    def step(
        self, frames: NDArray[Any], decay: NDArray[np.float32], state: ExecuTorchState
    ) -> NDArray[np.float32]:
        """See `Engine.step`."""
        outputs = self._run({"frames": frames, "decay": decay}, state)
        state.update(
            {
                spec.name: outputs[spec.next]
                if spec.next in outputs
                else state[spec.next.removeprefix("state:")]
                for spec in self.manifest.states
            }
        )
        return outputs[self.manifest.output].numpy()

    def read_state(self, state: ExecuTorchState) -> dict[str, NDArray[Any]]:
        """See `Engine.read_state`."""
        return {name: np.array(value.numpy(), order="C") for name, value in state.items()}

    def write_state(self, state: ExecuTorchState, values: StateValues) -> None:
        """See `Engine.write_state`."""
        for spec in self.manifest.states:
            value = np.array(values[spec.name], spec.dtype, order="C")
            state[spec.name] = self._torch.from_numpy(value)

    def clip(self, frames: NDArray[Any]) -> NDArray[np.float32]:
        """See `Engine.clip`."""
        return self._run({"frames": frames}, {})[self.manifest.output].numpy()

    def _run(self, arrays: dict[str, NDArray[Any]], state: ExecuTorchState) -> dict[str, Any]:
        """Outputs by name."""
        tensors = {name: self._torch.from_numpy(value) for name, value in arrays.items()}
        given = [tensors[name] if name in tensors else state[name] for name in self._inputs]
        return dict(zip(self._outputs, self._method.execute(given), strict=True))


def _tensors(described: Any, manifest: Manifest) -> Iterator[dict[str, tuple[Any, str]]]:
    """Inputs, then outputs, by the manifest's names, in the file's order."""
    for specs, count, meta in (
        (manifest.inputs, described.num_inputs(), described.input_tensor_meta),
        (manifest.outputs, described.num_outputs(), described.output_tensor_meta),
    ):
        tensors = {}
        for i in range(count):
            name = specs[i].name if i < len(specs) else f"number {i}"
            dtype = meta(i).dtype()
            tensors[name] = (tuple(meta(i).sizes()), _TYPES.get(dtype, str(dtype)))
        yield tensors


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what ExecuTorch and its packages warn and log of themselves."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield
