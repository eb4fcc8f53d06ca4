"""Run .mvn files with movinet's own engine (native/; docs/native.md)."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet.errors import CheckpointError, ConfigError, MovinetError
from movinet.runtime.engine import StateValues
from movinet.runtime.engines.shared import no_manifest
from movinet.runtime.manifest import Manifest
from movinet.runtime.numbers import to_probabilities

#: A stream's state: one block of memory for each stream of the batch.
NativeState = list[Any]
#: quantization of the manifest -> precision in the file's header
PRECISIONS = {"none": 0, "dynamic": 1, "float16": 2}
_BUFFER = re.compile(r"buffer/(.+)/([0-9]+)")


class NativeEngine:
    """One .mvn file behind the engine protocol.

    Attributes:
        manifest: What travels with it.
        kernels: The instruction set in use: "avx512vnni", "avx512", "avxvnni", "avx2", "dotprod",
            "baseline" (what every x64 or 64-bit Arm processor has) or "plain" (what any has).
    """

    channels_first = False
    reentrant = True
    joins = True

    def __init__(
        self,
        path: Path,
        kernels: str = "",
        num_threads: int = 1,
        manifest: Manifest | None = None,
    ) -> None:
        native = _module()
        self._error: type[Exception] = native.Error
        try:
            self._engine = native.Engine(str(path), kernels, num_threads)
        except native.FileError as error:
            raise CheckpointError(str(error)) from None
        except native.Error as error:
            raise ConfigError(str(error)) from None
        except MemoryError:
            raise MovinetError(f"{path}: there is not enough memory to run it") from None
        if manifest is None:
            if not self._engine.manifest:
                raise no_manifest(path)
            manifest = Manifest.parse(self._engine.manifest, str(path))
        self.manifest = manifest
        self.kernels: str = self._engine.kernels
        self._check(path)

    @classmethod
    def open(
        cls, path: Path, *, num_threads: int = 1, manifest: Manifest | None = None
    ) -> NativeEngine:
        """Load a file.

        Args:
            path: The file.
            num_threads: Of a step, 1 to 64. Where several steps run at the same time, one of them
                has the helpers, and the others do without.
            manifest: Taken instead of the one inside.

        Raises:
            CheckpointError: If it is not a .mvn file of movinet.
            ConfigError: If the number of threads is not in that range.
            MovinetError: If this installation has no native engine.
        """
        return cls(path, num_threads=num_threads, manifest=manifest)

    def new_state(self, batch_size: int) -> NativeState:
        """The state of streams that have seen nothing."""
        try:
            return [self._engine.new_state() for _ in range(batch_size)]
        except MemoryError:
            raise MovinetError(
                f"there is not enough memory for the state of {batch_size} streams"
            ) from None

    def step(
        self,
        frames: NDArray[Any],
        decay: NDArray[np.float32],
        state: NativeState,
        output: str | None = None,
    ) -> NDArray[np.float32]:
        """See `Engine.step`."""
        frames, decay = np.ascontiguousarray(frames), np.ascontiguousarray(decay, np.float32)
        try:
            if output == "embedding":
                return self._engine.embed(state, frames, decay)
            logits = self._engine.step(state, frames, decay, True)
        except self._error as error:
            raise ConfigError(str(error)) from None
        if self.manifest.output == "logits":
            return logits
        probabilities = to_probabilities(logits, multi_label=self.manifest.multi_label)
        return probabilities.astype(np.float32)

    def read_state(
        self, state: NativeState, names: Collection[str] | None = None
    ) -> dict[str, NDArray[np.float32]]:
        """See `Engine.read_state`."""
        engine = self._engine
        clocks = np.array([engine.read_clock(one) for one in state], np.float32)
        values = {"frame_count": clocks[:, :1], "pool_weight": clocks[:, 1:]}
        sums = []
        with_buffers = names is None or any(_BUFFER.fullmatch(name) for name in names)
        for part, shape in enumerate(engine.state_shapes):
            if len(shape) > 1 and not with_buffers:
                continue
            held = np.stack([engine.read(one, part) for one in state])
            if len(shape) == 1:
                sums.append(held)
            else:
                block = self._buffers[part]
                values.update((f"buffer/{block}/{i}", held[:, i]) for i in range(shape[0]))
        values["sums"] = np.concatenate(sums, 1)
        if names is None:
            names = [spec.name for spec in self.manifest.states]
        return {name: values[name].copy() for name in names}

    def write_state(self, state: NativeState, values: StateValues) -> None:
        """See `Engine.write_state`."""
        engine = self._engine
        # Where the model does not ask for the position, any number of frames seen will do.
        counts = values.get("frame_count", np.zeros((len(state), 1), np.float32))
        for row, one in enumerate(state):
            engine.write_clock(one, int(counts[row, 0]), float(values["pool_weight"][row, 0]))
            end = 0
            for part, shape in enumerate(engine.state_shapes):
                if len(shape) == 1:
                    start, end = end, end + shape[0]
                    held = values["sums"][row, start:end]
                else:
                    names = [f"buffer/{self._buffers[part]}/{i}" for i in range(shape[0])]
                    held = np.stack([values[name][row] for name in names])
                engine.write(one, part, np.ascontiguousarray(held, np.float32))

    def clip(self, frames: NDArray[Any], output: str | None = None) -> NDArray[np.float32]:  # noqa: ARG002
        """Not possible: the engine runs streams."""
        raise ConfigError(f"{self.manifest.name} is a stream model: it takes no clips")

    def _check(self, path: Path) -> None:
        """Raise CheckpointError unless the manifest tells of the network that is in the file."""
        manifest, shapes = self.manifest, self._engine.state_shapes
        rings = [part for part, shape in enumerate(shapes) if len(shape) == 4]
        found = {spec.name: tuple(spec.shape[1:]) for spec in manifest.states}
        blocks = dict.fromkeys(m[1] for name in found if (m := _BUFFER.fullmatch(name)))
        self._buffers = dict(zip(rings, blocks, strict=False))
        expected: dict[str, tuple[int, ...]] = {"pool_weight": (1,)}
        if "frame_count" in found:
            expected["frame_count"] = (1,)
        expected["sums"] = (sum(shape[0] for shape in shapes if len(shape) == 1),)
        for part, block in self._buffers.items():
            names = (f"buffer/{block}/{i}" for i in range(shapes[part][0]))
            expected.update((name, tuple(shapes[part][1:])) for name in names)
        if (
            manifest.kind != "step"
            or manifest.resizes
            or len(blocks) != len(rings)
            or expected != found
            or PRECISIONS.get(manifest.quantization) != self._engine.precision
            or manifest.frames.shape[1:] != (*self._engine.size, 3)
            or len(manifest.labels) != self._engine.classes
            or manifest.embedding_channels not in (None, shapes[-1][0])
            or any(state.initial for state in manifest.states)  # the engine's streams start at 0
        ):
            raise CheckpointError(f"{path}: its network is not the one that its manifest describes")


def _module() -> Any:
    try:
        from movinet import _native
    except ImportError:
        raise MovinetError(
            "this installation has no native engine (it is built where a C++ compiler is): "
            "export the model as .tflite, or install movinet again with a compiler"
        ) from None
    return _native
