"""Options, precision, features, training-time behaviour and errors of the network."""

import dataclasses
import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch

from movinet.config import MoViNetConfig
from movinet.convolution import same_padding
from movinet.errors import ConfigError
from movinet.layers import Block, positional_encoding
from movinet.model import MoViNet, decay_from_half_life
from movinet.presets import input_spec, preset_config
from movinet.state import Clock
from movinet.weights.keys import make_divisible
from networks import PRESETS, STREAMS, make_model, make_video, randomize, tiny_base, tiny_stream


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
            patch.setattr("movinet.layers.CHUNK_BYTES", 20_000)
            parts = model(video)
            torch.testing.assert_close(parts, whole, rtol=0, atol=1e-12)
            again = torch.autograd.grad(parts.square().sum(), list(model.parameters()))
            if not training:
                with torch.no_grad():
                    torch.testing.assert_close(model(video), whole, rtol=0, atol=1e-12)
        for found, expected in zip(again, gradients, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_folding_the_batch_norm_equals_applying_it() -> None:
    """Evaluation mode against a training-mode pass whose batch statistics are the stored ones."""
    model = make_model(tiny_stream(drop_path=0.0, dropout=0.0), double=True)
    video = make_video(dtype=torch.float64)
    folded = model(video)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.training = True

            def use_stored(input: torch.Tensor, norm=module) -> torch.Tensor:  # noqa: A002
                mean, var = norm.running_mean, norm.running_var
                assert mean is not None
                assert var is not None
                return torch.nn.functional.batch_norm(
                    input, mean, var, norm.weight, norm.bias, False, 0.0, norm.eps
                )

            module.forward = use_stored
    torch.testing.assert_close(model(video), folded, rtol=0, atol=1e-11)


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


def test_multi_label_pooling_does_not_stream() -> None:
    model = make_model(tiny_stream(pooling="2d", multi_label_pooling=True))
    with pytest.raises(ConfigError, match="cannot stream"):
        model(make_video(), model.initial_state(2, (32, 32)))


def test_reset_classifier() -> None:
    model = make_model("a0_stream").double()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model.reset_classifier(3)
    assert model.config.num_classes == 3
    assert model(make_video(1, 2, dtype=torch.float64)).shape == (1, 3)
    changed = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {"classifier.weight", "classifier.bias"}


def test_stochastic_depth() -> None:
    """Block i of n drops a sample's branch with probability rate * i / n; the mean stays."""
    model = make_model(tiny_base(drop_path=0.5))
    rates = [block.drop_path for block in model.blocks.values()]
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    block = model.blocks["block2_layer1"]
    assert isinstance(block, Block)
    block.train()
    torch.manual_seed(0)
    branch = torch.ones(3, 4000, 1, 1, 1)  # 3 frames of 4,000 samples
    dropped = block._drop(branch)
    assert torch.equal(dropped[0], dropped[1])  # one draw for all frames of a sample
    assert sorted(dropped.unique().tolist()) == [0.0, 2.0]
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.05)
    block.eval()
    assert block._drop(branch) is branch


def test_dropout_only_in_training() -> None:
    model = make_model(tiny_base(dropout=0.5))
    video = make_video()
    assert torch.equal(model(video), model(video))
    model.dropout.train()
    assert not torch.equal(model(video), model(video))


def test_training_mode_updates_the_running_statistics_as_tensorflow_does() -> None:
    model = make_model(tiny_base())
    model.train()
    video = make_video()
    mean = model.stem.norm.running_mean
    assert mean is not None
    before = mean.clone()
    raw = torch.nn.functional.conv2d(
        torch.nn.functional.pad(video.transpose(1, 2).flatten(0, 1), (0, 1, 0, 1)),
        model.stem.weight[:, :, 0],
        stride=2,
    )
    model(video)
    expected = 0.99 * before + 0.01 * raw.mean((0, 2, 3))
    torch.testing.assert_close(mean, expected, rtol=1e-4, atol=1e-6)


def test_initialisation_is_keras_he_normal() -> None:
    torch.manual_seed(0)
    model = MoViNet(tiny_base())
    weight = MoViNet(preset_config("a0_base")).hidden.weight.flatten()
    deviation = (2 / 480) ** 0.5
    assert weight.std().item() == pytest.approx(deviation, rel=0.01)
    assert weight.abs().max().item() <= 2 * deviation / 0.8796 + 1e-6
    assert model.classifier.weight.std().item() == pytest.approx(0.01, rel=0.15)
    state = model.state_dict()
    assert all(state[f"blocks.{name}.scale"].item() == 0 for name in model.blocks)
    assert model.hidden.bias.abs().max().item() == model.classifier.bias.abs().max().item() == 0


@pytest.mark.parametrize("head_activation", ["swish", "hard_swish", "relu6"])
@pytest.mark.parametrize("activation", ["swish", "hard_swish", "relu6"])
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


def test_positional_encoding_formula() -> None:
    """All sines of the even j, then all cosines of the odd j."""
    encoding = positional_encoding(torch.tensor([0, 7]), 6)[1]
    rates = [7 * 10000 ** (-2 * (j // 2) / 6) for j in range(6)]
    angles = torch.tensor(rates, dtype=torch.float64)
    expected = torch.cat([angles[0::2].sin(), angles[1::2].cos()])
    torch.testing.assert_close(encoding, expected)


def test_decay_forgets_and_holds_the_position() -> None:
    """With a decay the prediction follows a scene that changed; without, it does not."""
    model = make_model(tiny_stream(trained_frames=4), double=True)
    first, second = make_video(1, 1, seed=1).double(), make_video(1, 1, seed=2).double()

    def after(frames: list[torch.Tensor], decay: float | None) -> torch.Tensor:
        state, logits = model.initial_state(1, (32, 32)), torch.empty(0)
        for frame in frames:
            logits, state = model(frame, state, decay)
        return logits

    for decay, followed in ((0.5, True), (None, False)):
        changed = after([first] * 40 + [second] * 30, decay)
        only_second = after([second] * 70, decay)
        assert (changed - only_second).abs().max().item() < 1e-6 or not followed
        assert followed or (changed - only_second).abs().max().item() > 1e-2
    assert torch.equal(after([first] * 9, 1.0), after([first] * 9, None))


def test_decay_from_half_life() -> None:
    assert decay_from_half_life(2, 5) ** 10 == pytest.approx(0.5)
    assert decay_from_half_life(float("inf"), 5) == 1
    with pytest.raises(ConfigError):
        decay_from_half_life(0, 5)


def test_state_where_resets_single_streams() -> None:
    model = make_model(tiny_stream())
    video = make_video(3, 4)
    fresh = model.initial_state(3, (32, 32))
    _, state = model(video, fresh)
    keep = torch.tensor([True, False, True])
    mixed = state.where(keep, fresh)
    assert mixed.frame_count.tolist() == [4, 0, 4]
    after, _ = model(video, mixed)
    _, alone_state = model(video[:1], model.initial_state(1, (32, 32)))
    torch.testing.assert_close(after[:1], model(video[:1], alone_state)[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(after[1:2], model(video[1:2]), rtol=1e-4, atol=1e-5)
    snapshot = state.map(torch.clone)
    model(video, state)
    assert torch.equal(snapshot.sums["head"], state.sums["head"])
    with pytest.raises(ConfigError, match="mask"):
        state.where(torch.ones(3), fresh)


def test_state_owns_little_memory() -> None:
    """A state is not a view that keeps a whole clip's activations alive."""
    model = make_model(tiny_stream(factorized=False))
    _, state = model(make_video(1, 12), model.initial_state(1, (32, 32)))
    tensors = {**state.buffers, **state.sums, "weight": state.pool_weight}
    for name, tensor in tensors.items():
        assert tensor.untyped_storage().nbytes() == tensor.numel() * 4, name
    assert state.num_bytes == model.initial_state(1, (32, 32)).num_bytes


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


def test_bad_states() -> None:
    base, stream = make_model(tiny_base()), make_model(tiny_stream())
    video, state = make_video(), stream.initial_state(2, (32, 32))
    with pytest.raises(ValueError, match="not causal"):
        base(video, state)
    with pytest.raises(ConfigError, match="keeps no state"):
        base.initial_state(1, (8, 8))
    with pytest.raises(ConfigError, match="1 streams, the video of 2"):
        stream(video, stream.initial_state(1, (32, 32)))
    with pytest.raises(ConfigError, match="buffer block1_layer0 is"):
        stream(video, stream.initial_state(2, (64, 32)))
    with pytest.raises(ConfigError, match=r"not \(80, 2, 4, 4\)"):
        make_model("a0_stream")(video, state)
    with pytest.raises(ConfigError, match="decay must be"):
        stream(video, state, 1.5)


def test_reference_rounding() -> None:
    assert [make_divisible(v) for v in (3, 10, 20, 36, 60)] == [8, 16, 24, 40, 64]
    assert same_padding(6, 3, 2) == (0, 1)
    assert same_padding(7, 3, 2) == (1, 1)
    assert same_padding(1, 5, 1) == (2, 2)


def test_every_config_field_is_checked() -> None:
    config = preset_config("a0_stream")
    bad = {
        "num_classes": (0, "5", True),
        "causal": (1, "yes"),
        "lowering": ("1d",),
        "se_type": ("2D", None),
        "activation": ("gelu",),
        "gating_activation": ("swish",),
        "pooling": ("1d",),
        "dropout": (1.0, -0.1, "x"),
        "drop_path": (1.0,),
        "norm_eps": (0.0,),
        "trained_frames": (0,),
        "multi_label_pooling": (True,),
        "architecture": ("a0",),
    }
    for name, values in itertools.chain(bad.items()):
        for value in values:
            with pytest.raises(ConfigError, match=name):
                config.replace(**{name: value})
    with pytest.raises(ConfigError, match="positional_encoding"):
        preset_config("a0_base", positional_encoding=True)
    with pytest.raises(ConfigError, match="no such config field: se_typ"):
        config.replace(se_typ="3d")
    assert MoViNetConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ConfigError, match="not a MoViNet configuration"):
        MoViNetConfig.from_dict({"architecture": {"stem": 3}})


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_what_was_published(name: str) -> None:
    config = preset_config(name)
    stream = name in STREAMS
    assert (config.causal, config.factorized) == (stream, stream)
    assert config.se_type == ("2plus3d" if stream else "3d")
    assert config.positional_encoding == (name in ("a3_stream", "a4_stream", "a5_stream"))
    hard = name in ("a1_stream", "a4_stream", "t0_stream")
    assert config.head_activation == ("hard_swish" if hard else "swish")
    low = name in ("a0_base", "a0_stream", "a1_stream", "t0_base", "t0_stream")
    assert (config.dropout, config.drop_path) == (0.2 if low else 0.5, 0.2)
    size = name.split("_")[0]
    expected = {  # size, short side in tests, frames a second, frames in tests and in training
        "a0": (172, 192, 5, 50, 50),
        "a1": (172, 192, 5, 50, 50),
        "a2": (224, 256, 5, 50, 50),
        "a3": (256, 288, 12, 120, 64),
        "a4": (290, 320, 8, 80, 32),
        "a5": (320, 368, 12, 115 if stream else 120, 32),
        "t0": (160, 176, 2.5, 25, 25),
    }[size]
    assert (*dataclasses.astuple(input_spec(name)), config.trained_frames) == expected


def test_randomize_is_deterministic() -> None:
    first, second = make_model(tiny_base()), make_model(tiny_base())
    randomize(second)
    video = make_video()
    assert torch.equal(first(video), second(video))


def test_positions_of_long_streams_are_exact() -> None:
    positions = torch.tensor([10**4, 10**6, 10**8])
    found = positional_encoding(positions, 480).numpy()
    index = np.arange(480)
    angles = positions.numpy()[:, None] * 10000.0 ** (-2 * (index // 2) / 480)
    expected = np.concatenate([np.sin(angles[:, 0::2]), np.cos(angles[:, 1::2])], 1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_position_is_held_at_the_last_trained_one() -> None:
    state = make_model(tiny_stream()).initial_state(2, (8, 8))
    decay = torch.tensor([[1.0], [0.5]])
    clock = Clock.start(state, 6, decay, trained_frames=4)
    assert clock.positions[:, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert clock.positions[:, 1].tolist() == [0, 1, 2, 3, 3, 3]


def test_states_of_other_models_are_refused() -> None:
    model = make_model(tiny_stream())
    video = make_video()
    state = model.initial_state(2, (32, 32))
    for other in (
        dataclasses.replace(state, sums={"head": state.sums["head"]}),
        make_model(tiny_stream(pooling="2d")).initial_state(2, (32, 32)),
        make_model(tiny_stream(se_type="2d")).initial_state(2, (32, 32)),
        dataclasses.replace(state, buffers={**state.buffers, "more": state.pool_weight}),
    ):
        with pytest.raises(ConfigError, match="the state is not of this model"):
            model(video, other)
        with pytest.raises(ConfigError, match="different models"):
            state.where(torch.ones(2, dtype=torch.bool), other)


@pytest.mark.parametrize(
    "decay",
    [0.0, -1, 1.5, float("nan"), True, "0.5", torch.tensor([2.0, 1.0]), torch.full((3,), 0.5)],
)
def test_bad_decays(decay: float) -> None:
    model = make_model(tiny_stream())
    with pytest.raises(ConfigError, match="decay must be"):
        model(make_video(), None, decay)
    with pytest.raises(ConfigError, match="without decay"):
        make_model(tiny_base())(make_video(), None, decay)


def test_a_video_of_another_precision_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"the video is torch.float64, the model torch.float32"):
        make_model(tiny_base())(make_video(dtype=torch.float64))


def test_hooks_see_what_a_layer_computed() -> None:
    """Nothing that a module returned is overwritten while gradients are on."""
    model = make_model(tiny_stream())
    block = model.blocks["block1_layer1"]
    assert isinstance(block, Block)
    seen = []
    block.project.register_forward_hook(lambda *arguments: seen.append(arguments[-1]))
    block.project.register_forward_hook(lambda *arguments: seen.append(arguments[-1].clone()))
    model(make_video())
    assert torch.equal(seen[0], seen[1])


def test_batch_statistics_alone_see_all_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recalibrating batch norms in an otherwise evaluating model: one update a forward pass."""
    monkeypatch.setattr("movinet.layers.CHUNK_BYTES", 20_000)
    model = make_model(tiny_base())
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.train()
    model(make_video())
    counts = {int(v) for k, v in model.state_dict().items() if k.endswith("num_batches_tracked")}
    assert counts == {1}


def test_inputs_and_states_are_left_alone() -> None:
    for config in (tiny_stream(), tiny_stream(factorized=False), tiny_base()):
        model = make_model(config)
        video = make_video()
        before = video.clone()
        with torch.no_grad():
            model(video)
            if config.causal:
                _, state = model(video, model.initial_state(2, (32, 32)))
                copy = state.map(torch.clone)
                model(video, state)
                for name, total in copy.sums.items():
                    assert torch.equal(state.sums[name], total)
                for name, buffer in copy.buffers.items():
                    assert torch.equal(state.buffers[name], buffer)
        assert torch.equal(video, before)


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

    monkeypatch.setattr("movinet.layers.CHUNK_BYTES", 50_000)
    model = make_model(tiny_stream(factorized=factorized))
    state = model.initial_state(2, (32, 32))
    monkeypatch.setattr(torch.nn.functional, "conv2d", watch)
    with torch.no_grad():
        for chunk in make_video(frames=9).split([6, 1, 2], dim=2):
            _, state = model(chunk, state)
    assert len(orders) > 30
    assert all(orders)
