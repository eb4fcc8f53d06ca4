"""Kernels over space and time in training: outputs and gradients are those of 3-D convolution."""

import pytest
import torch
from torch import Tensor

from movinet.network.config import MoViNetConfig
from movinet.network.convolution import ConvNorm, to_frames
from movinet.network.tap_sum import TapGeometry
from networks import TINY, make_model, make_video, randomize, tiny_base, tiny_stream


def gradients(
    lowering: str, sizes: tuple[int, int, int], kernel: tuple[int, int], stride: int, causal: bool
) -> list[Tensor]:
    """Output, history, and the gradients of the frames, the past and the kernel."""
    config = MoViNetConfig(TINY).replace(lowering=lowering)
    layer = ConvNorm(6, 6, config, kernel=kernel, stride=stride, depthwise=True, activation="swish")
    layer.double().train()
    randomize(layer)
    frames, height, width = sizes
    video = make_video(2, frames, height, width, torch.float64)
    x = to_frames(torch.cat([video, video.flip(2)], 1)).requires_grad_()
    past = None
    if causal:
        past = make_video(2, kernel[0] - 1, height, width, torch.float64, seed=1)
        past = to_frames(torch.cat([past, past], 1)).requires_grad_()
    y, history = layer.over_time([x], frames, past)
    wanted = [x, layer.weight] if past is None else [x, layer.weight, past]
    loss = (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape)).sum()
    found = torch.autograd.grad(loss, wanted)
    return [y.detach(), *found, *([] if history is None else [history.detach()])]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [(3, 3), (5, 3), (5, 5)])
@pytest.mark.parametrize("sizes", [(7, 8, 9), (1, 9, 8), (2, 7, 7), (4, 8, 8)])
def test_gradients_are_those_of_a_3d_convolution(
    sizes: tuple[int, int, int], kernel: tuple[int, int], stride: int, causal: bool
) -> None:
    ours = gradients("2d", sizes, kernel, stride, causal)
    theirs = gradients("3d", sizes, kernel, stride, causal)
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("config", [tiny_base(), tiny_stream(factorized=False)])
def test_bfloat16_gradients_are_near_those_of_float32(config: MoViNetConfig) -> None:
    model = make_model(config).train()
    video, results = make_video(2, 4), []
    for enabled in (False, True):
        torch.manual_seed(0)
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            model(video).float().square().mean().backward()
        results.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    exact, rough = results
    assert len(exact) == len(rough) == len(list(model.parameters()))
    for mine, other in zip(exact, rough, strict=True):
        assert mine.dtype == other.dtype == torch.float32
    total = sum(float((m - o).square().sum()) for m, o in zip(exact, rough, strict=True))
    assert total < 0.01 * sum(float(m.square().sum()) for m in exact)


def test_every_output_frame_is_reached_by_the_tap_that_writes() -> None:
    for taps in (3, 5, 7):
        for frames in (1, 2, 3, 10):
            for offset, inputs in ((taps // 2, frames), (0, frames + taps - 1)):
                geometry = TapGeometry(1, (1, 1), 1, offset, frames)
                first = geometry.order(taps, inputs)[0]
                assert geometry.overlap(first, inputs)[1] == slice(0, frames)
