"""What the engines on PyTorch's tensors share: a state that is handed on without copies."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet.runtime.engine import StateValues
from movinet.runtime.engines.shared import initial_values
from movinet.runtime.manifest import Manifest
from movinet.runtime.tensors import carried

#: By state name.
TensorState = dict[str, Any]


class TensorEngine:
    """A graph that takes and gives tensors, behind the engine protocol.

    Attributes:
        manifest: What travels with it.
    """

    def __init__(self, manifest: Manifest, run: Callable[[Sequence[Any]], Sequence[Any]]) -> None:
        """Wrap `run`, from the inputs to the outputs, both in the manifest's order."""
        import torch

        self.manifest = manifest
        self._torch, self._graph = torch, run
        self._inputs = [spec.name for spec in manifest.inputs]
        self._outputs = [spec.name for spec in manifest.outputs]

    def new_state(self, batch_size: int) -> TensorState:
        """See `Engine.new_state`."""
        values = initial_values(self.manifest, batch_size)
        return {name: self._torch.from_numpy(value) for name, value in values.items()}

    def step(
        self,
        frames: NDArray[Any],
        decay: NDArray[np.float32],
        state: TensorState,
        output: str | None = None,
    ) -> NDArray[np.float32]:
        """See `Engine.step`."""
        outputs = self._run({"frames": frames, "decay": decay}, state)
        state.update(carried(self.manifest.states, outputs, state))
        return outputs[output or self.manifest.output].numpy().copy()

    def read_state(
        self, state: TensorState, names: Collection[str] | None = None
    ) -> dict[str, NDArray[Any]]:
        """See `Engine.read_state`."""
        chosen = state if names is None else names
        return {name: np.array(state[name].numpy(), order="C") for name in chosen}

    def write_state(self, state: TensorState, values: StateValues) -> None:
        """See `Engine.write_state`."""
        for spec in self.manifest.states:
            value = np.array(values[spec.name], spec.dtype, order="C")
            state[spec.name] = self._torch.from_numpy(value)

    def clip(self, frames: NDArray[Any], output: str | None = None) -> NDArray[np.float32]:
        """See `Engine.clip`."""
        return self._run({"frames": frames}, {})[output or self.manifest.output].numpy().copy()

    def _run(self, arrays: dict[str, NDArray[Any]], state: TensorState) -> dict[str, Any]:
        """Outputs by name."""
        tensors = {name: self._torch.from_numpy(value) for name, value in arrays.items()}
        given = [tensors[name] if name in tensors else state[name] for name in self._inputs]
        with self._torch.inference_mode():
            return dict(zip(self._outputs, self._graph(given), strict=True))
