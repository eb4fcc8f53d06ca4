import copy
from typing import Any

import pytest
import torch
from tensorflow_numbers import numbers
from torch import Tensor, nn

from movinet.training.config import OptimizerSection
from movinet.training.optimizers import (
    add_decay,
    clip_each_,
    kernels,
    make_optimizer,
    set_learning_rate,
)
from networks import make_model, make_video, tiny_base, tiny_stream


def section(**values: Any) -> OptimizerSection:
    return OptimizerSection(**{"learning_rate": 0.1, **values})


def names_of(model: nn.Module, tensors: list[Tensor]) -> set[str]:
    places = {id(parameter): name for name, parameter in model.named_parameters()}
    return {places[id(tensor)] for tensor in tensors}


def test_only_kernels_decay_and_not_the_classifiers_last() -> None:
    model = make_model(tiny_base())
    decaying = names_of(model, kernels(model))
    assert {"stem.weight", "hidden.weight", "head.weight"} <= decaying
    for name, parameter in model.named_parameters():
        spared = "norm" in name or name.endswith(("bias", "scale")) or name == "classifier.weight"
        assert (name in decaying) != spared, (name, parameter.shape)
    model.stem.weight.requires_grad_(False)
    assert names_of(model, kernels(model)) == decaying - {"stem.weight"}


def test_decay_is_the_gradient_of_tensorflows_penalty() -> None:
    kernel = nn.Parameter(numbers("decay/kernel"))
    kernel.grad = torch.zeros_like(kernel)
    add_decay([kernel, nn.Parameter(torch.ones(2))], 3e-5)
    torch.testing.assert_close(kernel.grad, numbers("decay/gradient"), rtol=1e-6, atol=0)


def test_decay_in_gradients_equals_a_penalty_in_the_loss() -> None:
    """On a whole network, to 1e-12 of float64."""
    model = make_model(tiny_stream(), double=True).train()
    penalised = copy.deepcopy(model)
    video = make_video(dtype=torch.float64)
    for network in (model, penalised):
        torch.manual_seed(0)
        loss = network(video).square().sum()
        if network is penalised:
            loss = loss + 0.01 / 2 * sum(w.square().sum() for w in kernels(penalised))
        loss.backward()
    add_decay(kernels(model), 0.01)
    for (name, ours), theirs in zip(model.named_parameters(), penalised.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-12, atol=1e-12, msg=name)


def test_each_gradient_is_clipped_by_itself() -> None:
    small, large, none = (nn.Parameter(torch.zeros(2)) for _ in range(3))
    small.grad, large.grad = torch.tensor([0.3, 0.4]), torch.tensor([30.0, 40.0])
    clip_each_([small, large, none], 1.0)
    assert torch.equal(small.grad, torch.tensor([0.3, 0.4]))
    torch.testing.assert_close(large.grad, torch.tensor([0.6, 0.8]))
    assert none.grad is None


@pytest.mark.parametrize("name", ["rmsprop", "sgd", "adamw"])
def test_the_backbone_learns_at_its_share(name: str) -> None:
    model = make_model(tiny_stream())
    model.stem.weight.requires_grad_(False)
    optimizer = make_optimizer(model, section(name=name, backbone_factor=0.1))
    set_learning_rate(optimizer, 0.5)
    rates = {}
    for group in optimizer.param_groups:
        rates |= dict.fromkeys(names_of(model, group["params"]), group["lr"])
    assert rates.keys() == {n for n, p in model.named_parameters() if p.requires_grad}
    for parameter, rate in rates.items():
        expected = 0.5 if parameter.startswith(("hidden.", "classifier.")) else 0.05
        assert rate == pytest.approx(expected), parameter


def test_adamw_decays_kernels_alone() -> None:
    """With gradients of zero, only the decay moves: by the learning rate times it."""
    model = make_model(tiny_stream())
    before = copy.deepcopy(dict(model.named_parameters()))
    config = section(name="adamw", learning_rate=0.1, weight_decay=0.2, epsilon=1e-8)
    optimizer = make_optimizer(model, config)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    decaying = names_of(model, kernels(model))
    for name, parameter in model.named_parameters():
        expected = before[name] * (0.98 if name in decaying else 1)
        torch.testing.assert_close(parameter, expected)


@pytest.mark.parametrize("name", ["rmsprop", "sgd", "adamw"])
def test_settings_reach_the_optimiser(name: str) -> None:
    """Two steps of each from a weight of 1 and a gradient of 2, by hand."""
    model = nn.ParameterDict({"weight": torch.ones(1)})
    config = section(name=name, momentum=0.5, rho=0.8, epsilon=0.6, betas=(0.5, 0.25))
    optimizer = make_optimizer(model, config)
    weight = next(model.parameters())
    moves = []
    for _ in range(2):
        before = weight.item()
        weight.grad = torch.full((1,), 2.0)
        optimizer.step()
        moves.append(before - weight.item())
    expected = {
        # v = 0.8, then 1.44; the first step goes on with momentum 0.5.
        "rmsprop": (0.2 / 1.4**0.5, 0.1 / 1.4**0.5 + 0.2 / 2.04**0.5),
        "sgd": (0.2, 0.3),
        # Bias-corrected moments of a constant gradient are 2 and 4.
        "adamw": (0.2 / 2.6, 0.2 / 2.6),
    }
    assert moves == pytest.approx(expected[name], rel=1e-5)
