import copy

import pytest
import torch
from tensorflow_numbers import KEPT_STEPS, VARIABLES, numbers
from test_rmsprop import start, update
from torch import nn

from movinet.training.ema import EMA
from movinet.training.rmsprop import RMSprop
from networks import make_model, tiny_stream


def changed(model: nn.Module) -> None:
    """Other weights and statistics, as an update leaves them."""
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            tensor.add_(1)


def broken_off(ema: EMA, model: nn.Module) -> None:
    """An evaluation that changes weights and does not come to its end."""
    with ema.swapped(model):
        changed(model)
        raise KeyboardInterrupt


def test_the_average_is_tensorflows() -> None:
    """Of a hundred updates, to 1e-6 of the largest weight. The reference's starts from zeros."""
    variables = start()
    model = nn.ParameterDict(variables)
    ema = EMA(nn.ParameterDict({k: torch.zeros_like(v) for k, v in variables.items()}), 0.9)
    optimizer = RMSprop(variables.values(), 1.8)
    for step in range(1, 101):
        update(variables, optimizer, step)
        ema.update(model)
        if step in KEPT_STEPS:
            with ema.swapped(model):
                for name in VARIABLES:
                    expected = numbers(f"average/{step}/{name}")
                    tolerance = 1e-6 * float(expected.abs().max())
                    torch.testing.assert_close(
                        variables[name].detach(), expected, rtol=0, atol=tolerance
                    )


def test_the_average_starts_as_the_weights_and_has_the_statistics() -> None:
    model = make_model(tiny_stream())
    first = copy.deepcopy(model.state_dict())
    ema = EMA(model, 0.99)
    changed(model)
    with ema.swapped(model):
        for name, value in model.state_dict().items():
            expected = first[name] + (not value.is_floating_point())
            assert torch.equal(value, expected), name
    ema.update(model)
    with ema.swapped(model):
        moved = model.state_dict()["head.norm.running_var"]
        # The first decay is 2 / 11.
        torch.testing.assert_close(moved, first["head.norm.running_var"] + 9 / 11)


def test_a_swap_gives_the_weights_back_bit_for_bit() -> None:
    model = make_model(tiny_stream())
    ema = EMA(model, 0.9)
    changed(model)
    ema.update(model)
    own = copy.deepcopy(model.state_dict())
    places = {name: tensor.data_ptr() for name, tensor in model.state_dict().items()}
    average = copy.deepcopy(ema.state_dict()["average"])
    with pytest.raises(KeyboardInterrupt):
        broken_off(ema, model)
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            assert torch.equal(value, own[name]), name
        assert value.data_ptr() == places[name]
    kept = ema.state_dict()["average"]
    assert isinstance(average, dict)
    assert isinstance(kept, dict)
    assert all(torch.equal(kept[name], value) for name, value in average.items())


def test_a_stored_average_goes_on_bit_for_bit() -> None:
    model = make_model(tiny_stream())
    unbroken = EMA(model, 0.9)
    for _ in range(3):
        changed(model)
        unbroken.update(model)
    stored = copy.deepcopy(unbroken.state_dict())
    resumed = EMA(make_model(tiny_stream()), 0.9)
    resumed.load_state_dict(stored)
    changed(model)
    for ema in (unbroken, resumed):
        ema.update(model)
    first, second = unbroken.state_dict()["average"], resumed.state_dict()["average"]
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
