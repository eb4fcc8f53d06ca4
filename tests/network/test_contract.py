"""Every preset and every layer with memory keeps the streaming contract."""

import pytest
import torch
from torch import Tensor

from contract import check_streaming_contract
from gate import only
from movinet.network.config import MoViNetConfig
from movinet.network.convolution import ConvNorm, to_frames, to_video
from movinet.network.layers import Block, SqueezeExcitation
from movinet.network.model import MoViNet
from movinet.network.state import Clock, StreamState, running_sum
from networks import STREAMS, TINY, make_model, make_video, randomize, tiny_base, tiny_stream

DECAYS = [None, 0.9]


def model_step(model: MoViNet, decay: float | None = None):
    """Outputs of every frame (the head's features, pooled) and, at the last one, the logits."""

    def step(video: Tensor, state: StreamState) -> tuple[Tensor, StreamState]:
        features, after = model.features(video, state, decay)
        _, same = model(video, state, decay)
        assert torch.equal(same.pool_weight, after.pool_weight)
        return features["head"].mean((3, 4)), after

    return step


@pytest.mark.heavy
@pytest.mark.parametrize("preset", only("a0_stream", "t0_stream", of=STREAMS))
def test_presets(preset: str) -> None:
    model = make_model(preset, double=True)
    check_streaming_contract(
        model_step(model),
        lambda batch: model.initial_state(batch, (32, 32)),
        make_video(frames=6, dtype=torch.float64),
        [p for name, p in model.named_parameters() if name.startswith(("blocks", "stem", "head"))],
    )


@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("lowering", ["2d", "3d"])
@pytest.mark.parametrize("se_type", ["3d", "2d", "2plus3d", "none"])
@pytest.mark.parametrize("factorized", [True, False])
def test_options(factorized: bool, se_type: str, lowering: str, decay: float | None) -> None:
    config = tiny_stream(
        factorized=factorized,
        se_type=se_type,
        lowering=lowering,
        positional_encoding=se_type != "none",
    )
    model = make_model(config, double=True)
    check_streaming_contract(
        model_step(model, decay),
        lambda batch: model.initial_state(batch, (27, 34)),
        make_video(height=27, width=34, dtype=torch.float64),
    )


@pytest.mark.parametrize("decay", [None, 0.5, torch.tensor([1.0, 0.8])])
@pytest.mark.parametrize("pooling", ["3d", "2d", "none"])
def test_logits_of_chunks(pooling: str, decay: float | Tensor | None) -> None:
    model = make_model(tiny_stream(pooling=pooling), double=True)
    video = make_video(dtype=torch.float64)
    whole, last = model(video, model.initial_state(2, (32, 32)), decay)
    state = model.initial_state(2, (32, 32))
    outputs = []
    for chunk in video.split([1, 3, 2, 1], dim=2):
        logits, state = model(chunk, state, decay)
        outputs.append(logits)
    logits = outputs[-1] if pooling == "3d" else torch.cat(outputs, 1)
    torch.testing.assert_close(logits, whole, rtol=0, atol=1e-10)
    for name, total in last.sums.items():
        torch.testing.assert_close(state.sums[name], total, rtol=0, atol=1e-10)


def test_clip_is_a_stream_from_the_initial_state() -> None:
    model = make_model(tiny_stream(), double=True)
    video = make_video(dtype=torch.float64)
    logits, _ = model(video, model.initial_state(2, (32, 32)))
    assert torch.equal(model(video), logits)


def test_block() -> None:
    config = tiny_stream()
    for spec in TINY.blocks():
        block = Block(spec, config, 0.0).eval().double()
        randomize(block)

        def initial(batch: int, spec=spec) -> tuple:
            side = 12 // spec.stride
            shape = (batch, spec.expand, spec.kernel_time - 1, side, side)
            buffer = torch.zeros(shape, dtype=torch.float64)
            count = torch.zeros(batch, dtype=torch.int64)
            weight = torch.zeros(batch, dtype=torch.float64)
            return buffer, torch.zeros(batch, spec.expand, dtype=torch.float64), count, weight

        def step(x: Tensor, state: tuple, block=block) -> tuple[Tensor, tuple]:
            buffer, total, count, weight = state
            clock = Clock.start(StreamState(count, weight, {}, {}), x.shape[2], None, 50)
            past = to_frames(buffer) if block.spec.kernel_time > 1 else None
            y, past, total = block(to_frames(x), clock, past, total)
            buffer = buffer if past is None else to_video(past)
            return to_video(y), (buffer, total, clock.frame_count, clock.pool_weight)

        inputs = torch.rand(3, spec.inputs, 6, 12, 12, dtype=torch.float64)
        check_streaming_contract(step, initial, inputs, list(block.parameters()))


@pytest.mark.parametrize("kernel", [(3, 1), (5, 1), (3, 3), (5, 3)])
@pytest.mark.parametrize("lowering", ["2d", "3d"])
def test_temporal_convolution(kernel: tuple[int, int], lowering: str) -> None:
    config = tiny_base(causal=True, lowering=lowering)
    layer = ConvNorm(8, 8, config, kernel=kernel, depthwise=True, activation="swish")
    layer = layer.eval().double()
    randomize(layer)

    def step(x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        frames = to_frames(x)
        y, after = layer.over_time([frames], len(frames), to_frames(past))
        assert after is not None
        return to_video(y), to_video(after)

    check_streaming_contract(
        step,
        lambda batch: torch.zeros(batch, 8, kernel[0] - 1, 9, 6, dtype=torch.float64),
        torch.rand(2, 8, 7, 9, 6, dtype=torch.float64),
        list(layer.parameters()),
    )


@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("se_type", ["3d", "2plus3d"])
def test_squeeze_excitation(se_type: str, decay: float | None) -> None:
    config: MoViNetConfig = tiny_stream(se_type=se_type)
    layer = SqueezeExcitation(8, config).eval().double()
    randomize(layer)

    def step(x: Tensor, state: tuple) -> tuple[Tensor, tuple]:
        total, count, weight = state
        factor = None if decay is None else torch.full((len(x), 1), decay, dtype=torch.float64)
        clock = Clock.start(StreamState(count, weight, {}, {}), x.shape[2], factor, 50)
        y, total = layer(to_frames(x).clone(), clock, total)
        return to_video(y), (total, clock.frame_count, clock.pool_weight)

    def initial(batch: int) -> tuple:
        return (
            torch.zeros(batch, 8, dtype=torch.float64),
            torch.zeros(batch, dtype=torch.int64),
            torch.zeros(batch, dtype=torch.float64),
        )

    inputs = torch.rand(2, 8, 6, 4, 4, dtype=torch.float64)
    check_streaming_contract(step, initial, inputs, list(layer.parameters()))


@pytest.mark.parametrize("decay", DECAYS)
def test_running_sum(decay: float | None) -> None:
    def step(x: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        factor = None if decay is None else torch.full((len(x), 1), decay, dtype=torch.float64)
        sums = running_sum(start, x.permute(2, 0, 1), factor)
        return sums.permute(1, 2, 0), sums[-1]

    inputs = torch.rand(2, 3, 9, dtype=torch.float64)
    check_streaming_contract(step, lambda b: torch.zeros(b, 3, dtype=torch.float64), inputs)
    if decay is not None:
        total = torch.zeros(2, 3, dtype=torch.float64)
        for i in range(9):
            total = decay * total + inputs[:, :, i]
        found, _ = step(inputs, torch.zeros(2, 3, dtype=torch.float64))
        torch.testing.assert_close(found[:, :, -1], total, rtol=0, atol=1e-14)
