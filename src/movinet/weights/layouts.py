"""Tensors between other projects' weights and our state dicts; the reference's bit for bit."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from movinet.checkpoints.identify import check_fit
from movinet.checkpoints.keys import LAYOUTS, Layout, entries, to_tf_layout, to_torch_layout
from movinet.checkpoints.movinet_pytorch import GATE_INPUT, GATE_OUTPUT, PortedNetwork
from movinet.network.config import MoViNetConfig


def tf_to_torch(tensors: Mapping[str, np.ndarray], config: MoViNetConfig) -> dict[str, Tensor]:
    """The state dict of a model from the tensors of one of the reference's checkpoints.

    Factorised models load both of its layouts, ``2plus1d`` and ``3d_2plus1d``.

    Args:
        tensors: key -> array, as `read_tf_checkpoint` returns it.
        config: The model to load them into.

    Raises:
        CheckpointError: If a key is missing or left over, or a shape differs; lists them.
    """
    check_fit({key: np.shape(value) for key, value in tensors.items()}, config, "checkpoint")
    layouts: list[Layout] = [name for name in LAYOUTS if (name == "3d") != config.factorized]
    tables = [list(entries(config, layout)) for layout in layouts]
    table = next(rows for rows in tables if rows[0].tf_key in tensors)
    state = {}
    for entry in table:
        value = to_torch_layout(np.asarray(tensors[entry.tf_key]), entry)
        state[entry.name] = torch.from_numpy(np.array(value, order="C"))
        if entry.name.endswith("norm.running_var"):
            # PyTorch counts batches; the reference does not. Fixed momentum: never used.
            counter = entry.name.replace("running_var", "num_batches_tracked")
            state[counter] = torch.tensor(0, dtype=torch.int64)
    return state


def port_to_torch(tensors: Mapping[str, Tensor], network: PortedNetwork) -> dict[str, Tensor]:
    """The state dict of a model from a state dict of MoViNet-pytorch, in float32.

    Args:
        tensors: Name there -> tensor, dense and on the CPU.
        network: What `recognise` found in them.

    Returns:
        All of the model's tensors but those of the layers that are missing; the same function, not
        the same numbers where its hard sigmoid is another (`GATE_INPUT`).
    """
    rescaled = network.config.gating_activation == "hard_sigmoid"
    state = {}
    for name, entry in network.names.items():
        value = tensors[name].to(torch.float32, copy=True).reshape(entry.shape)
        if rescaled and ".se.expand." in entry.name:
            value *= GATE_INPUT
        elif rescaled and entry.name.endswith(".project.weight"):
            value *= GATE_OUTPUT
        state[entry.name] = value
    return state


def torch_to_tf(
    state_dict: Mapping[str, Tensor], config: MoViNetConfig, layout: Layout | None = None
) -> dict[str, np.ndarray]:
    """The inverse of `tf_to_torch`: float32 bit for bit, as the reference's variables are.

    Other types become float32: exactly from float16 and bfloat16, rounded from float64.

    Args:
        state_dict: Of a model with this config; on any device, with or without gradients.
        config: The model's.
        layout: How the reference stores convolutions: "3d", "2plus1d" or "3d_2plus1d"; by default
            as the published checkpoint of this kind of model does.

    Raises:
        CheckpointError: If a key is missing or left over, or a shape differs; lists them.
        ConfigError: If the layout cannot hold this model.
    """
    table = list(entries(config, layout))
    check_fit({key: tuple(value.shape) for key, value in state_dict.items()}, config, "state dict")
    arrays = {}
    for entry in table:
        value = state_dict[entry.name].detach().to("cpu", torch.float32).numpy()
        arrays[entry.tf_key] = np.array(to_tf_layout(value, entry), order="C")
    return arrays
