"""What every engine asks of a file: that its graph is the one its manifest describes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet.errors import CheckpointError
from movinet.runtime.manifest import Manifest
from movinet.runtime.tensors import TensorSpec
from movinet.text import one_line

#: (shape, with anything but an integer where the file leaves it free; numpy's name of the type)
Tensors = Mapping[str, tuple[Sequence[Any], str]]


def check_fit(path: Path, manifest: Manifest, inputs: Tensors, outputs: Tensors) -> None:
    """Compare a graph's inputs and outputs with the manifest.

    Raises:
        CheckpointError: Naming the first tensor that differs.
    """
    for what, wanted, found in (
        ("input", manifest.inputs, inputs),
        ("output", manifest.outputs, outputs),
    ):
        names = [spec.name for spec in wanted]
        if set(names) != set(found):
            extra = sorted(set(names) ^ set(found))[0]
            _refuse(path, f"{what} {extra!r} is only in one of them")
        for spec in wanted:
            _check_tensor(path, what, spec, found[spec.name])


def _check_tensor(
    path: Path, what: str, spec: TensorSpec, found: tuple[Sequence[Any], str]
) -> None:
    shape = tuple(side if isinstance(side, int) and side > 0 else None for side in found[0])
    if (shape, found[1]) != (spec.shape, spec.dtype):
        there = f"{spec.shape} {spec.dtype} in the manifest, {shape} {found[1]} in the graph"
        _refuse(path, f"{what} {spec.name!r} is {there}")


def _refuse(path: Path, reason: str) -> None:
    raise CheckpointError(f"{path}: its graph is not the one of its manifest: {reason}")


def first_bytes(path: Path, count: int) -> bytes:
    """How a file starts.

    Raises:
        CheckpointError: If it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from None


def no_manifest(path: Path) -> CheckpointError:
    """The error for a file that is some other model, or has lost its manifest."""
    return CheckpointError(
        f"{path}: it has no movinet manifest, which states its labels, input and state: give one "
        "with --manifest FILE (in Python, manifest=), or export the model with 'movinet export'"
    )


def not_loaded(path: Path, engine: str, error: Exception) -> CheckpointError:
    """The error for a file that an engine refuses, for whatever reason it gives."""
    return CheckpointError(f"{path}: {engine} cannot load it ({one_line(error)})")


def initial_values(manifest: Manifest, batch_size: int) -> dict[str, NDArray[Any]]:
    """State tensors of streams that have seen nothing, in memory of their own."""
    return {
        state.name: np.full(
            [batch_size if side is None else side for side in state.shape],
            state.initial,
            np.dtype(state.dtype),
        )
        for state in manifest.states
    }


def moves_in_place(manifest: Manifest) -> list[tuple[str, str, bool]]:
    """How to hand a state on within its own memory: nothing is overwritten before it has moved.

    Returns:
        (state, where its next value is, whether that is another state and not an output).

    Raises:
        CheckpointError: If two states would have to change places.
    """
    waiting = {state.name: (state.source, state.is_from_state) for state in manifest.states}
    moves = []
    while waiting:
        needed = {source for name, (source, held) in waiting.items() if held and source != name}
        free = [name for name in waiting if name not in needed]
        if not free:
            raise CheckpointError(
                f"{manifest.name}: the states of its manifest change places: {sorted(waiting)[:3]}"
            )
        moves += [(name, *waiting.pop(name)) for name in free]
    return moves


def channels_first(manifest: Manifest) -> Manifest:
    """The manifest of a file whose 4-D states are (batch, channels, height, width)."""

    def turned(item: Any) -> Any:
        if item.name == "frames" or len(item.shape) != 4:
            return item
        batch, height, width, channels = item.shape
        return dataclasses.replace(item, shape=(batch, channels, height, width))

    return dataclasses.replace(
        manifest,
        inputs=tuple(turned(item) for item in manifest.inputs),
        outputs=tuple(turned(item) for item in manifest.outputs),
        states=tuple(turned(item) for item in manifest.states),
    )
