"""Options, precision, features and errors of the network."""

from collections.abc import Callable
from typing import get_args

import pytest
import torch

from movinet.errors import ConfigError
from movinet.network.config import Activation
from movinet.network.geometry import make_divisible, same_padding
from movinet.network.model import MoViNet
from networks import make_model, make_video, randomize, tiny_base, tiny_stream


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("factorized", [True, False])
@pytest.mark.parametrize("se_type", ["3d", "2d", "2plus3d", "none"])
def test_lowerings_agree(causal: bool, factorized: bool, se_type: str) -> None:
    """Two ways of computing every kind of network, at an odd size."""
    video = make_video(frames=5, height=29, width=46, dtype=torch.float64)
    options = {"causal": causal, "factorized": factorized, "se_type": se_type}
    flat = make_model(tiny_base(**options), double=True, lowering="2d")
    deep = make_model(tiny_base(**options), double=True, lowering="3d")
    torch.testing.assert_close(flat(video), deep(video), rtol=0, atol=1e-12)


@pytest.mark.parametrize("frames", [1, 2, 3, 9])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 64), (33, 40)])
def test_any_size_and_length(size: tuple[int, int], frames: int) -> None:
    video = make_video(1, frames, *size, dtype=torch.float64)
    for config in (tiny_base(), tiny_stream()):
        flat = make_model(config, double=True)
        deep = make_model(config, double=True, lowering="3d")
        torch.testing.assert_close(flat(video), deep(video), rtol=0, atol=1e-12)


@pytest.mark.parametrize("training", [True, False])
def test_frames_in_small_portions(training: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Splitting large activations changes nothing, with gradients and without."""
    video = make_video(2, 6, dtype=torch.float64)
    for config in (tiny_base(), tiny_stream(), tiny_stream(factorized=False)):
        model = make_model(config, double=True, dropout=0.0, drop_path=0.0).train(training)
        whole = model(video)
        gradients = torch.autograd.grad(whole.square().sum(), list(model.parameters()))
        model.load_state_dict(make_model(config, double=True).state_dict())
        with monkeypatch.context() as patch:
            patch.setattr("movinet.network.layers.CHUNK_BYTES", 20_000)
            parts = model(video)
            torch.testing.assert_close(parts, whole, rtol=0, atol=1e-12)
            again = torch.autograd.grad(parts.square().sum(), list(model.parameters()))
            if not training:
                with torch.no_grad():
                    torch.testing.assert_close(model(video), whole, rtol=0, atol=1e-12)
        for found, expected in zip(again, gradients, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["a0_base", "a0_stream", "a3_stream"])
def test_autocast_bfloat16(name: str) -> None:
    model = make_model(name)
    video = make_video(1, 3, 64, 64)
    exact = model(video)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = model(video)
        if model.config.causal:
            state = model.initial_state(1, (64, 64))
            _, after = model(video[:, :, :1], state)
            assert {k: v.dtype for k, v in after.buffers.items()} == {
                k: v.dtype for k, v in state.buffers.items()
            }
            assert all(total.dtype == torch.float32 for total in after.sums.values())
    error = (rough.float() - exact).abs().max() / exact.abs().max()
    assert 1e-5 < error < 0.1


def test_bfloat16_weights_keep_float32_sums() -> None:
    model = make_model("a0_stream").to(torch.bfloat16)
    state = model.initial_state(1, (32, 32))
    logits, state = model(make_video(1, 2).to(torch.bfloat16), state)
    assert logits.dtype == torch.bfloat16
    assert {b.dtype for b in state.buffers.values()} == {torch.bfloat16}
    assert {s.dtype for s in state.sums.values()} == {torch.float32}


def test_features() -> None:
    model = make_model("a0_stream")
    video = make_video(2, 3, 50, 66)
    features = model.features(video)
    assert list(features) == ["stem", *model.blocks, "head", "embedding"]
    assert features["stem"].shape == (2, 8, 3, 25, 33)
    assert features["block0_layer0"].shape == (2, 8, 3, 13, 17)
    assert features["block4_layer3"].shape == (2, 104, 3, 2, 3)
    assert features["head"].shape == (2, 480, 3, 2, 3)
    mean = features["head"].mean((2, 3, 4))
    torch.testing.assert_close(features["embedding"], mean)
    hidden = torch.nn.functional.silu(model.hidden(features["embedding"]))
    torch.testing.assert_close(model.classifier(hidden), model(video))


@pytest.mark.parametrize("causal", [True, False])
def test_poolings(causal: bool) -> None:
    """Each pooling computed again from the head's features."""
    config = tiny_stream() if causal else tiny_base()
    video = make_video(2, 4, dtype=torch.float64)

    def classify(model: MoViNet, x: torch.Tensor) -> torch.Tensor:
        return model.classifier(torch.nn.functional.silu(model.hidden(x)))

    frames = make_model(config, double=True, pooling="2d")
    head = frames.features(video)["head"]
    expected = classify(frames, head.mean((3, 4)).transpose(1, 2))
    torch.testing.assert_close(frames(video), expected)
    places = make_model(config, double=True, pooling="none")
    torch.testing.assert_close(places(video), classify(places, head.permute(0, 2, 3, 4, 1)))
    many = make_model(config, double=True, pooling="2d", multi_label_pooling=True)
    weights = torch.softmax(expected / 4**0.5, 1)
    torch.testing.assert_close(many(video), (weights * expected).sum(1))


def test_reset_classifier() -> None:
    model = make_model("a0_stream").double()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model.reset_classifier(3)
    assert model.config.num_classes == 3
    assert model(make_video(1, 2, dtype=torch.float64)).shape == (1, 3)
    changed = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {"classifier.weight", "classifier.bias"}


@pytest.mark.parametrize("head_activation", get_args(Activation))
@pytest.mark.parametrize("activation", get_args(Activation))
def test_activations(activation: str, head_activation: str) -> None:
    formulas = {
        "swish": lambda x: x * torch.sigmoid(x),
        "hard_swish": lambda x: x * (x + 3).clamp(0, 6) / 6,
        "relu6": lambda x: x.clamp(0, 6),
    }
    options = {"activation": activation, "head_activation": head_activation}
    model = make_model(tiny_base(**options), double=True)
    video = make_video(1, 2, 16, 16, dtype=torch.float64)
    features = model.features(video)
    for stage in (features["stem"], features["head"]):
        assert stage.min() >= {"swish": -0.28, "hard_swish": -0.376, "relu6": 0.0}[activation]
    hidden = formulas[head_activation](model.hidden(features["embedding"]))
    torch.testing.assert_close(model.classifier(hidden), model(video))


@pytest.mark.parametrize(
    ("video", "message"),
    [
        (torch.zeros(1, 1, 2, 8, 8), r"\(batch, 3, time, height, width\)"),
        (torch.zeros(3, 2, 8, 8), "float"),
        (torch.zeros(1, 3, 2, 8, 8, dtype=torch.uint8), "not uint8"),
        (torch.zeros(1, 3, 0, 8, 8), "empty"),
    ],
)
def test_bad_videos(video: torch.Tensor, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_model(tiny_base())(video)


def test_reference_rounding() -> None:
    assert [make_divisible(v) for v in (3, 10, 20, 36, 60)] == [8, 16, 24, 40, 64]
    assert same_padding(6, 3, 2) == (0, 1)
    assert same_padding(7, 3, 2) == (1, 1)
    assert same_padding(1, 5, 1) == (2, 2)


def test_randomize_is_deterministic() -> None:
    first, second = make_model(tiny_base()), make_model(tiny_base())
    randomize(second)
    video = make_video()
    assert torch.equal(first(video), second(video))


def test_a_video_of_another_precision_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"the video is torch.float64, the model torch.float32"):
        make_model(tiny_base())(make_video(dtype=torch.float64))


@pytest.mark.parametrize("factorized", [True, False])
def test_frames_stay_in_channels_last_memory(
    factorized: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every convolution gets frames in the memory order that makes it fast, without a copy."""
    orders = []
    convolve: Callable[..., torch.Tensor] = torch.nn.functional.conv2d

    def watch(x: torch.Tensor, *arguments: object, **options: object) -> torch.Tensor:
        orders.append(x.is_contiguous(memory_format=torch.channels_last))
        return convolve(x, *arguments, **options)

    monkeypatch.setattr("movinet.network.layers.CHUNK_BYTES", 50_000)
    model = make_model(tiny_stream(factorized=factorized))
    state = model.initial_state(2, (32, 32))
    monkeypatch.setattr(torch.nn.functional, "conv2d", watch)
    with torch.no_grad():
        for chunk in make_video(frames=9).split([6, 1, 2], dim=2):
            _, state = model(chunk, state)
    assert len(orders) > 30
    assert all(orders)
