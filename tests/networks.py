"""Small networks with weights that exercise everything: no zero scale, no unit batch norm."""

import torch
from torch import nn

from movinet.network.config import Architecture, Group, MoViNetConfig
from movinet.network.model import MoViNet
from movinet.network.presets import list_models, preset_config

PRESETS = [name for name in list_models() if not name.startswith("a6")]
STREAMS = [name for name in PRESETS if name.endswith("stream")]

#: Every kind of block: strided or not, k_t of 1, 3 and 5, an unstrided change of channels.
TINY = Architecture(
    stem=8,
    groups=(
        Group(8, 2, ((16, 1, 5),)),
        Group(16, 2, ((24, 3, 3), (24, 3, 3))),
        Group(24, 1, ((32, 5, 3), (32, 1, 5))),
    ),
    head=32,
    hidden=48,
)


def randomize(module: nn.Module, seed: int = 0) -> None:
    """Weights of the size that training leaves, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(tensor: torch.Tensor, low: float, high: float) -> None:
        values = torch.rand(tensor.shape, generator=generator, dtype=torch.float64)
        tensor.copy_(low + (high - low) * values)

    with torch.no_grad():
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            match name.rsplit(".", 1)[-1]:
                case "weight" if tensor.ndim > 1:
                    deviation = (1.5 / tensor[0].numel()) ** 0.5
                    values = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
                    tensor.copy_(deviation * values)
                case "weight" | "running_var":
                    uniform(tensor, 0.6, 1.4)
                case "scale" | "position_scale":
                    uniform(tensor, 0.3, 0.7)
                case "num_batches_tracked":
                    pass
                case _:
                    uniform(tensor, -0.2, 0.2)


def make_model(
    config: MoViNetConfig | str, *, double: bool = False, **overrides: object
) -> MoViNet:
    """A model in evaluation mode with random weights; 7 classes unless overridden."""
    overrides.setdefault("num_classes", 7)
    if isinstance(config, str):
        config = preset_config(config, **overrides)
    else:
        config = config.replace(**overrides)
    model = MoViNet(config, initialize=False).eval()
    randomize(model)
    return model.double() if double else model


def tiny_stream(**overrides: object) -> MoViNetConfig:
    """The options of a stream preset on the tiny architecture."""
    config = preset_config("a3_stream", num_classes=7, trained_frames=4)
    return config.replace(architecture=TINY, **overrides)


def tiny_base(**overrides: object) -> MoViNetConfig:
    """The options of a base preset on the tiny architecture."""
    return MoViNetConfig(TINY, num_classes=7).replace(**overrides)


def make_video(
    batch: int = 2,
    frames: int = 7,
    height: int = 32,
    width: int = 32,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> torch.Tensor:
    """(batch, 3, frames, height, width) random video in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, 3, frames, height, width)
    return torch.rand(shape, generator=generator, dtype=torch.float64).to(dtype)
