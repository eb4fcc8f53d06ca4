"""Batch norms in fine-tuning: folded ones get their statistics back, frozen ones keep theirs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from movinet.network.convolution import ConvNorm
from movinet.network.model import MoViNet
from movinet.training.distributed import Processes
from movinet.training.norm_statistics import (
    folded_norms,
    freeze_norms,
    norms_reestimated,
    trained_norms,
    unfold_norms,
)
from networks import make_model, make_video, tiny_base, tiny_stream

ALONE = Processes(0, 1, torch.device("cpu"))
CONFIGS = {"stream": tiny_stream, "base": tiny_base}


class _OneOfTwo(Processes):
    """A process whose partner has measured `other`."""

    other: Any = None

    def gather_objects(self, value: Any) -> list[Any]:
        return [value, self.other]


def fold(model: MoViNet) -> MoViNet:
    """Fold every norm into its kernel, as exporters do: weight 1, mean 0, variance 1 - epsilon."""
    with torch.no_grad():
        for layer in layers(model).values():
            norm = layer.norm
            assert norm.running_mean is not None
            assert norm.running_var is not None
            factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            layer.weight.mul_(factor.view(-1, 1, 1, 1, 1))
            norm.bias.sub_(norm.running_mean * factor)
            norm.weight.fill_(1)
            norm.running_mean.zero_()
            norm.running_var.fill_(1 - norm.eps)
    return model


def layers(model: MoViNet) -> dict[str, ConvNorm]:
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, ConvNorm)}


def norms(model: MoViNet) -> list[nn.BatchNorm2d]:
    return [layer.norm for layer in layers(model).values()]


def statistics(model: MoViNet) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in model.state_dict().items() if "running_" in k}


def clips(count: int = 3) -> list[Tensor]:
    return [make_video(batch=4, frames=5, seed=seed) for seed in range(count)]


def folded(kind: str) -> MoViNet:
    # Without what is random in training: the two modes are compared.
    return fold(make_model(CONFIGS[kind](dropout=0.0, drop_path=0.0)))


@pytest.mark.parametrize("kind", CONFIGS)
def test_unfolding_changes_nothing_in_evaluation_and_much_in_training(kind: str) -> None:
    model, video = folded(kind), torch.cat(clips())
    with torch.no_grad():
        before = model(video)
        damaged = model.train()(video)
    model = folded(kind)
    assert unfold_norms(model, clips(), ALONE) == len(layers(model))
    assert not model.training
    with torch.no_grad():
        after = model(video)
        trained = model.train()(video)
    size = before.abs().max()
    torch.testing.assert_close(after, before, rtol=0, atol=1e-5 * float(size))
    # The clips are those of the statistics: training sees the network that evaluation sees.
    torch.testing.assert_close(trained, before, rtol=0, atol=1e-4 * float(size))
    assert (damaged - before).abs().max() > 0.1 * size


def test_unfolded_statistics_are_those_of_the_convolution() -> None:
    model, video = folded("stream"), clips()
    unfold_norms(model, video, ALONE)
    images = torch.cat(video).transpose(1, 2).flatten(0, 1)
    # SAME padding of a 3 x 3 kernel of stride 2 on 32 x 32 pixels: one row and column at the end.
    outputs = F.conv2d(F.pad(images, (0, 1, 0, 1)), model.stem.weight[:, :, 0], stride=2)
    variance, mean = torch.var_mean(outputs, (0, 2, 3), correction=0)
    norm = model.stem.norm
    assert norm.running_mean is not None
    assert norm.running_var is not None
    torch.testing.assert_close(norm.running_mean, mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(norm.running_var, variance, rtol=1e-5, atol=1e-6)


def test_only_folded_norms_are_touched() -> None:
    model = make_model(tiny_stream())
    assert folded_norms(model) == []
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert unfold_norms(model, clips(), ALONE) == 0
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert folded_norms(MoViNet(tiny_stream())) == []  # a network that was never trained

    some = folded("stream")
    nn.init.constant_(some.stem.norm.weight, 0.7)
    stem = {name: value.clone() for name, value in some.stem.state_dict().items()}
    assert "stem.norm" not in folded_norms(some)
    assert unfold_norms(some, clips(), ALONE) == len(layers(some)) - 1
    assert all(torch.equal(value, stem[name]) for name, value in some.stem.state_dict().items())


def test_two_processes_measure_what_one_does() -> None:
    whole, halves = folded("stream"), folded("stream")
    video = make_video(batch=6, frames=5)
    unfold_norms(whole, [video], ALONE)
    seen: list[Any] = []

    class Listening(Processes):
        def gather_objects(self, value: Any) -> list[Any]:
            seen.append(value)
            return [value]

    unfold_norms(folded("stream"), [video[:2]], Listening(1, 2, ALONE.device))
    main = _OneOfTwo(0, 2, ALONE.device)
    object.__setattr__(main, "other", seen[0])
    unfold_norms(halves, [video[2:4], video[4:]], main)
    for name, value in statistics(whole).items():
        torch.testing.assert_close(statistics(halves)[name], value, rtol=1e-4, atol=1e-5)


def test_frozen_norms_keep_their_statistics_and_learn_their_weights() -> None:
    model = make_model(tiny_stream(drop_path=0.5)).train()
    freeze_norms(model)
    before, bias = statistics(model), model.stem.norm.bias.clone()
    torch.manual_seed(0)
    first, second = model(clips()[0]), model(clips()[0])
    assert not torch.equal(first, second)  # stochastic depth and dropout go on
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    first.square().sum().backward()
    optimizer.step()
    assert all(torch.equal(value, before[name]) for name, value in statistics(model).items())
    assert not torch.equal(model.stem.norm.bias, bias)


def test_norms_can_be_excepted_from_freezing() -> None:
    model = make_model(tiny_stream()).train()
    freeze_norms(model, except_for=["head.norm"])
    before = statistics(model)
    model(clips()[0])
    moved = {n for n, value in statistics(model).items() if not torch.equal(value, before[n])}
    assert moved == {"head.norm.running_mean", "head.norm.running_var"}


def test_reestimated_statistics_make_evaluation_what_training_is() -> None:
    model = make_model(tiny_stream(dropout=0.0, drop_path=0.0))
    own, video = statistics(model), clips(1)
    with torch.no_grad():
        before = model(video[0])
        trained = model.train()(video[0])
    model = make_model(tiny_stream(dropout=0.5, drop_path=0.5))
    names = trained_norms(model.train())
    assert names == [f"{name}.norm" for name in layers(model)]
    with norms_reestimated(model.eval(), names, video, ALONE), torch.no_grad():
        assert not any(module.training for module in model.modules())
        after = model(video[0])
    size = float(trained.abs().max())
    # Running variances are unbiased ones, of few values here.
    torch.testing.assert_close(after, trained, rtol=0, atol=3e-2 * size)
    assert (before - trained).abs().max() > 0.1 * size
    assert all(torch.equal(value, own[name]) for name, value in statistics(model).items())
    assert not any(norm.num_batches_tracked for norm in norms(model))
    assert all(norm.momentum == model.config.norm_momentum for norm in norms(model))


def test_frozen_norms_are_not_reestimated() -> None:
    model = make_model(tiny_stream()).train()
    freeze_norms(model, except_for=["head.norm"])
    names = trained_norms(model)
    before = statistics(model)
    with norms_reestimated(model.eval(), names, clips(1), ALONE):
        now = statistics(model)
    moved = {name for name, value in now.items() if not torch.equal(value, before[name])}
    assert moved == {"head.norm.running_mean", "head.norm.running_var"}
