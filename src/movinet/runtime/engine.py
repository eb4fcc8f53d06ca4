"""What an inference engine has to do for a stream: small, so that another one is one small file."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from movinet.runtime.manifest import Manifest

#: A stream's state by name, each with the batch as its first axis.
StateValues = Mapping[str, NDArray[Any]]


class Engine(Protocol):
    """One loaded file.

    States belong to the engine that made them; their form is its own business. Calls come one at a
    time, or one at a time for each state if the engine is `reentrant` (the runtime sees to that).

    Attributes:
        manifest: What travels with the file.
        channels_first: The 4-D tensors of a state are (batch, channels, height, width).
        reentrant: Steps of different states may run at the same time.
        joins: `step` takes the states of several streams as one list, any of them together.
    """

    manifest: Manifest
    channels_first: bool
    reentrant: bool
    joins: bool

    def new_state(self, batch_size: int) -> Any:
        """The state of streams that have seen nothing."""
        ...

    def step(
        self,
        frames: NDArray[Any],
        decay: NDArray[np.float32],
        state: Any,
        output: str | None = None,
    ) -> NDArray[np.float32]:
        """See the next frames; `state` moves on.

        Args:
            frames: As the manifest's input "frames", (num_frames * batch, height, width, 3).
            decay: (batch, 1), what the poolings keep a frame, in (0, 1].
            state: Changed in place.
            output: Name of the output to return; None for the manifest's prediction.

        Returns:
            That output, (num_frames * batch, classes or channels), which later calls do not change.
        """
        ...

    def read_state(
        self, state: Any, names: Collection[str] | None = None
    ) -> dict[str, NDArray[Any]]:
        """A copy of a state, by the names of the manifest's states; None for all of them."""
        ...

    def write_state(self, state: Any, values: StateValues) -> None:
        """The inverse of `read_state`."""
        ...

    def clip(self, frames: NDArray[Any], output: str | None = None) -> NDArray[np.float32]:
        """An output of a clip graph, (batch, classes or channels); as in `step`."""
        ...
