"""The stream state, decay and positions, and what is refused."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from movinet.errors import ConfigError
from movinet.network.layers import positional_encoding
from movinet.network.state import Clock
from movinet.runtime.numbers import decay_from_half_life
from networks import make_model, make_video, tiny_base, tiny_stream


def test_multi_label_pooling_does_not_stream() -> None:
    model = make_model(tiny_stream(pooling="2d", multi_label_pooling=True))
    with pytest.raises(ConfigError, match="cannot stream"):
        model(make_video(), model.initial_state(2, (32, 32)))


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
    of_numpy: Any = np.float32(2)
    assert decay_from_half_life(of_numpy, 5) == decay_from_half_life(2, 5)


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), "5", [5], True, None, "x" * 1000])
def test_half_lives_are_positive_numbers(wrong) -> None:
    for given in ((wrong, 5), (5, wrong)):
        with pytest.raises(ConfigError, match="must be a positive number, not") as caught:
            decay_from_half_life(*given)
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize("seconds", [10**400, 5e-324, 1e-320, 1e-3, 0.07])
def test_a_half_life_that_no_float_holds_is_refused(seconds) -> None:
    with pytest.raises(ConfigError, match="out of the range"):
        decay_from_half_life(seconds, 0.1)


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
