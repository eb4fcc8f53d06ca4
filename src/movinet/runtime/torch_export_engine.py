"""Run .pt2 files, torch.export's archives, with PyTorch.

A stream's state is a set of tensors: what a step gives out is what the next one takes in, and
nothing of it is copied. The frames are read where they lie; the prediction is copied once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet.errors import MissingExtraError
from movinet.runtime.engine import StateValues
from movinet.runtime.fitting import check_fit, initial_values, not_loaded
from movinet.runtime.manifest import Manifest
from movinet.runtime.torch_archive import read_archive

#: By state name.
TorchState = dict[str, Any]


class TorchExportEngine:
    """One .pt2 file behind the engine protocol.

    Attributes:
        manifest: What travels with it.
    """

    def __init__(self, graph: Any, manifest: Manifest) -> None:
        import torch

        self.manifest = manifest
        self._torch, self._graph = torch, graph
        self._inputs = [spec.name for spec in manifest.inputs]
        self._outputs = [spec.name for spec in manifest.outputs]

    @classmethod
    def open(cls, path: Path, *, num_threads: int = 1) -> TorchExportEngine:
        """Load a file.

        Args:
            path: The file.
            num_threads: Threads of one step; PyTorch has one number for the whole process.

        Raises:
            CheckpointError: If it is not a .pt2 file of movinet.
            MissingExtraError: If PyTorch is not installed.
        """
        try:
            import torch
        except ModuleNotFoundError:
            raise MissingExtraError("running .pt2 files", "torch") from None
        manifest = read_archive(path)
        try:
            program = torch.export.load(path)
            graph = program.module()
        except Exception as error:  # whatever its reader stumbles upon
            raise not_loaded(path, "PyTorch", error) from None
        inputs, outputs = _tensors(program)
        check_fit(
            path,
            manifest,
            dict(zip((spec.name for spec in manifest.inputs), inputs, strict=False)),
            dict(zip((spec.name for spec in manifest.outputs), outputs, strict=False)),
        )
        torch.set_num_threads(num_threads)
        return cls(graph, manifest)

    def new_state(self, batch_size: int) -> TorchState:
        """See `Engine.new_state`."""
        values = initial_values(self.manifest, batch_size)
        return {name: self._torch.from_numpy(value) for name, value in values.items()}

    def step(
        self, frames: NDArray[Any], decay: NDArray[np.float32], state: TorchState
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
        return outputs[self.manifest.output].numpy().copy()

    def read_state(self, state: TorchState) -> dict[str, NDArray[Any]]:
        """See `Engine.read_state`."""
        return {name: np.array(value.numpy(), order="C") for name, value in state.items()}

    def write_state(self, state: TorchState, values: StateValues) -> None:
        """See `Engine.write_state`."""
        for spec in self.manifest.states:
            value = np.array(values[spec.name], spec.dtype, order="C")
            state[spec.name] = self._torch.from_numpy(value)

    def clip(self, frames: NDArray[Any]) -> NDArray[np.float32]:
        """See `Engine.clip`."""
        return self._run({"frames": frames}, {})[self.manifest.output].numpy().copy()

    def _run(self, arrays: dict[str, NDArray[Any]], state: TorchState) -> dict[str, Any]:
        """Outputs by name."""
        tensors = {name: self._torch.from_numpy(value) for name, value in arrays.items()}
        given = [tensors[name] if name in tensors else state[name] for name in self._inputs]
        with self._torch.inference_mode():
            return dict(zip(self._outputs, self._graph(*given), strict=True))


def _tensors(program: Any) -> tuple[list[Any], list[Any]]:
    """Shapes and types of a program's inputs and outputs, in its order."""
    signature = program.graph_signature
    nodes = {node.name: node.meta["val"] for node in program.graph.nodes if "val" in node.meta}

    def described(name: str) -> tuple[list[Any], str]:
        value = nodes[name]
        return list(value.shape), str(value.dtype).removeprefix("torch.")

    return (
        [described(name) for name in signature.user_inputs],
        [described(name) for name in signature.user_outputs],
    )
