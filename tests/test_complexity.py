from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from movinet.catalog.complexity import (
    count_multiply_adds,
    count_parameters,
    count_state_bytes,
    receptive_field,
)
from movinet.errors import ConfigError
from movinet.network.config import MoViNetConfig
from movinet.network.model import MoViNet
from movinet.network.presets import input_spec, preset_config
from networks import PRESETS, STREAMS, make_model, make_video, tiny_base, tiny_stream

#: Every option that changes what is computed how often.
VARIANTS = {
    "base": tiny_base(),
    "stream": tiny_stream(),
    "causal 3d kernels": tiny_base(causal=True),
    "factorized base": tiny_base(factorized=True),
    "factorized base, gates a frame": tiny_base(factorized=True, se_type="2plus3d"),
    "base, se 2d": tiny_base(se_type="2d"),
    "base, no se": tiny_base(se_type="none"),
    "stream, se 3d": tiny_stream(se_type="3d"),
    "stream, se 2d": tiny_stream(se_type="2d", positional_encoding=False),
    "stream, no se": tiny_stream(se_type="none", positional_encoding=False),
    "base, a prediction a frame": tiny_base(pooling="2d"),
    "base, a prediction a place": tiny_base(pooling="none"),
    "stream, a prediction a frame": tiny_stream(pooling="2d"),
    "stream, frames weighed": tiny_stream(pooling="2d", multi_label_pooling=True),
    "stream, a prediction a place": tiny_stream(pooling="none"),
}
CAUSAL = [name for name, config in VARIANTS.items() if config.causal]
SIZES = [(1, 32, 32), (7, 33, 47), (4, 1, 2)]


def on_meta(config: MoViNetConfig) -> MoViNet:
    """The network without memory or arithmetic, only shapes; padded, then convolved plainly."""
    with torch.device("meta"):
        return MoViNet(config.replace(lowering="3d")).eval()


def counted_by_torch(config: MoViNetConfig, frames: int, height: int, width: int) -> int:
    """Multiply-adds of the convolutions and matrix products that torch is asked for."""
    model = on_meta(config)
    video = torch.empty(1, 3, frames, height, width, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(video)
    flops = counter.get_total_flops()
    assert flops % 2 == 0
    return flops // 2


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", VARIANTS)
def test_multiply_adds_are_exactly_those_that_torch_counts(
    name: str, size: tuple[int, int, int]
) -> None:
    frames, *image_size = size
    ours = count_multiply_adds(VARIANTS[name], frames, (image_size[0], image_size[1]))
    assert ours == counted_by_torch(VARIANTS[name], *size)


@pytest.mark.parametrize("name", ["a0_stream", "a2_base", "a3_stream", "t0_base"])
def test_presets_cost_what_torch_counts(name: str) -> None:
    config = preset_config(name)
    assert count_multiply_adds(config, 2, (50, 67)) == counted_by_torch(config, 2, 50, 67)


@pytest.mark.parametrize(
    ("name", "billions"),
    [("a0", 2.63), ("a1", 5.87), ("a2", 11.56), ("a3", 55.6), ("a4", 103), ("a5", 276)],
)
def test_base_presets_cost_what_was_counted_on_the_reference(name: str, billions: float) -> None:
    spec = input_spec(f"{name}_base")
    counted = count_multiply_adds(
        preset_config(f"{name}_base"), spec.num_frames, (spec.image_size, spec.image_size)
    )
    assert float(f"{counted / 1e9:.{len(str(billions).replace('.', ''))}g}") == billions


@pytest.mark.parametrize(
    ("name", "millions"),
    [("a0", 3.77), ("a1", 6.48), ("a2", 7.37), ("a3", 11.04), ("a4", 18.23), ("a5", 31.64)],
)
def test_streams_have_the_parameters_counted_on_the_reference(name: str, millions: float) -> None:
    counted = count_parameters(preset_config(f"{name}_stream"))
    assert round(counted.total / 1e6, 2) == millions


@pytest.mark.parametrize("name", [*VARIANTS, *PRESETS])
def test_parameters_are_those_of_the_model(name: str) -> None:
    config = VARIANTS.get(name) or preset_config(name, num_classes=11)
    model = on_meta(config)
    counted = count_parameters(config)
    assert counted.trainable == sum(p.numel() for p in model.parameters())
    buffers = {k: b for k, b in model.named_buffers() if not k.endswith("num_batches_tracked")}
    assert counted.statistics == sum(b.numel() for b in buffers.values())
    assert counted.total == counted.trainable + counted.statistics


@pytest.mark.parametrize("name", CAUSAL)
def test_a_step_costs_a_clip_of_one_frame(name: str) -> None:
    config = VARIANTS[name].replace(multi_label_pooling=False)
    model = on_meta(config)
    state = model.initial_state(1, (33, 47))
    frame = torch.empty(1, 3, 1, 33, 47, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        for _ in range(3):
            _, state = model(frame, state)
    assert counter.get_total_flops() == 3 * 2 * count_multiply_adds(config, 1, (33, 47))


@pytest.mark.parametrize("image_size", [(32, 32), (33, 47), (1, 2)], ids=str)
@pytest.mark.parametrize("name", CAUSAL)
def test_state_has_the_bytes_of_the_models(name: str, image_size: tuple[int, int]) -> None:
    expected = on_meta(VARIANTS[name]).initial_state(1, image_size).num_bytes
    assert count_state_bytes(VARIANTS[name], image_size) == expected


@pytest.mark.parametrize("name", STREAMS)
def test_presets_have_the_state_of_the_models(name: str) -> None:
    config, size = preset_config(name), input_spec(name).image_size
    expected = on_meta(config).initial_state(3, (size, size)).num_bytes
    assert 3 * count_state_bytes(config, (size, size)) == expected


@pytest.mark.parametrize("config", [tiny_base(), tiny_stream(positional_encoding=False)])
def test_the_receptive_field_is_what_moves_one_frame_of_the_head(config: MoViNetConfig) -> None:
    model = make_model(config, double=True, se_type="none")
    frames, field = 15, receptive_field(config)
    assert field == 1 + 2 + 2 + 4
    video = make_video(batch=1, frames=frames, dtype=torch.float64).requires_grad_()
    at = frames - 1 if config.causal else frames // 2
    model.features(video)["head"][:, :, at].square().sum().backward()
    assert video.grad is not None
    moved = video.grad.abs().amax((0, 1, 3, 4)).nonzero().flatten().tolist()
    first = at - field + 1 if config.causal else at - field // 2
    assert moved == list(range(first, first + field))


def test_a_base_model_has_no_state() -> None:
    with pytest.raises(ConfigError, match=r"not causal.*stream"):
        count_state_bytes(tiny_base(), (32, 32))


@pytest.mark.parametrize(("frames", "image_size"), [(0, (32, 32)), (1, (0, 32)), (1, (32, -1))])
def test_an_empty_input_is_refused(frames: int, image_size: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        count_multiply_adds(tiny_stream(), frames, image_size)
    if frames:
        with pytest.raises(ConfigError, match="at least 1"):
            count_state_bytes(tiny_stream(), image_size)


def test_counting_needs_no_torch() -> None:
    code = "import sys, movinet.catalog.complexity; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
