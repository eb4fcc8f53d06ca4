"""Tensors between the reference's checkpoints and our state dicts, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from movinet.config import MoViNetConfig
from movinet.errors import CheckpointError
from movinet.weights.keys import LAYOUTS, Entry, Layout, entries, to_tf_layout, to_torch_layout


def tf_to_torch(tensors: Mapping[str, np.ndarray], config: MoViNetConfig) -> dict[str, Tensor]:
    """The state dict of a model from the tensors of one of the reference's checkpoints.

    Factorised models load both of its layouts, ``2plus1d`` and ``3d_2plus1d``.

    Args:
        tensors: key -> array, as `read_tf_checkpoint` returns it.
        config: The model to load them into.

    Raises:
        CheckpointError: If a key is missing or left over, or a shape differs; lists them.
    """
    layouts = [name for name in LAYOUTS if (name == "3d") != config.factorized]
    table = min(
        (list(entries(config, layout)) for layout in layouts),
        key=lambda rows: sum(row.tf_key not in tensors for row in rows),
    )
    if problems := list_mismatches(tensors, table):
        raise CheckpointError("the checkpoint does not fit the model: " + problems)
    state = {}
    for entry in table:
        value = to_torch_layout(np.asarray(tensors[entry.tf_key]), entry)
        state[entry.name] = torch.from_numpy(np.array(value, order="C"))
        if entry.name.endswith("norm.running_var"):
            # PyTorch counts batches; the reference does not. Fixed momentum: never used.
            counter = entry.name.replace("running_var", "num_batches_tracked")
            state[counter] = torch.tensor(0, dtype=torch.int64)
    return state


def torch_to_tf(
    state_dict: Mapping[str, Tensor], config: MoViNetConfig, layout: Layout | None = None
) -> dict[str, np.ndarray]:
    """The inverse of `tf_to_torch`, bit for bit.

    Args:
        state_dict: Of a model with this config.
        config: The model's.
        layout: How the reference stores convolutions: "3d", "2plus1d" or "3d_2plus1d"; by default
            as the published checkpoint of this kind of model does.

    Raises:
        CheckpointError: If a key is missing or left over, or a shape differs; lists them.
        ConfigError: If the layout cannot hold this model.
    """
    table = list(entries(config, layout))
    ours = {k: v for k, v in state_dict.items() if not k.endswith("num_batches_tracked")}
    expected = {entry.name: entry.shape for entry in table}
    if problems := describe_mismatch({k: tuple(v.shape) for k, v in ours.items()}, expected):
        raise CheckpointError("the state dict does not fit the config: " + problems)
    return {
        entry.tf_key: np.ascontiguousarray(to_tf_layout(ours[entry.name].cpu().numpy(), entry))
        for entry in table
    }


def list_mismatches(tensors: Mapping[str, np.ndarray], table: list[Entry]) -> str:
    """What is missing, left over or of another shape, or an empty string."""
    found = {key: tuple(np.shape(value)) for key, value in tensors.items()}
    return describe_mismatch(found, {entry.tf_key: entry.tf_shape for entry in table})


def describe_mismatch(
    found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]
) -> str:
    """What is missing, left over or of another shape, or an empty string."""
    missing = [key for key in expected if key not in found]
    left_over = [key for key in found if key not in expected]
    shapes = [
        f"{key} is {list(found[key])}, not {list(shape)}"
        for key, shape in expected.items()
        if key in found and found[key] != shape
    ]
    parts = [
        f"{len(rows)} {title}: {', '.join(rows[:5])}{', ...' if len(rows) > 5 else ''}"
        for title, rows in (("missing", missing), ("left over", left_over), ("wrong shape", shapes))
        if rows
    ]
    return "; ".join(parts)
