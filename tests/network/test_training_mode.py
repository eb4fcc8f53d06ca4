"""What differs in training: initialisation, batch norms, dropout, stochastic depth."""

import pytest
import torch

from movinet.network.layers import Block
from movinet.network.model import MoViNet
from movinet.network.presets import preset_config
from networks import make_model, make_video, tiny_base, tiny_stream


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
    monkeypatch.setattr("movinet.network.layers.CHUNK_BYTES", 20_000)
    model = make_model(tiny_base())
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.train()
    model(make_video())
    counts = {int(v) for k, v in model.state_dict().items() if k.endswith("num_batches_tracked")}
    assert counts == {1}
