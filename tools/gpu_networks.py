"""Networks and videos of gpu_check.py: random, the same on every machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from movinet.network.model import MoViNet
from movinet.network.presets import preset_config

CLASSES = 64


def make_model(name: str, **overrides: Any) -> MoViNet:
    """A preset in evaluation mode, all of whose branches and norms do something."""
    torch.manual_seed(0)
    model = MoViNet(preset_config(name, num_classes=CLASSES, **overrides)).eval()
    _randomise(model)
    return model


def peer_model(folder: Path, name: str) -> nn.Module:
    """A0 of MoViNet-pytorch as its published weights have it, from a checkout of it."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    from movinets.config import _C  # pyright: ignore[reportMissingImports]
    from movinets.models import MoViNet as Peer  # pyright: ignore[reportMissingImports]

    causal = name.endswith("stream")
    torch.manual_seed(0)
    model = Peer(
        _C.MODEL.MoViNetA0,
        causal=causal,
        conv_type="2plus1d" if causal else "3d",
        num_classes=CLASSES,
        tf_like=True,
    )
    _randomise(model)
    return model


def random_video(batch: int, frames: int, side: int) -> Tensor:
    """(batch, 3, frames, side, side) in [0, 1]."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(batch, 3, frames, side, side, generator=generator)


def _randomise(model: nn.Module) -> None:
    """Give what starts at 0 or 1 the values that training leaves there."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                assert module.running_mean is not None
                assert module.running_var is not None
                module.weight.uniform_(0.6, 1.4)
                module.bias.uniform_(-0.2, 0.2)
                module.running_mean.uniform_(-0.2, 0.2)
                module.running_var.uniform_(0.6, 1.4)
        for name, parameter in model.named_parameters():
            if name.rsplit(".", 1)[-1] in ("scale", "position_scale", "alpha"):
                parameter.fill_(0.5)
