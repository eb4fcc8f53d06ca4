import pytest
import torch
from tensorflow_numbers import KEPT_STEPS, VARIABLES, numbers
from torch import Tensor, nn

from movinet.training.optimizers import clip_each_
from movinet.training.rmsprop import RMSprop

#: Of each update; float32 leaves little of a cosine near its end, so they are TensorFlow's as well.
RATES = numbers("rate/short").tolist()


def start() -> dict[str, nn.Parameter]:
    return {name: nn.Parameter(numbers(f"start/{name}")) for name in VARIABLES}


def update(variables: dict[str, nn.Parameter], optimizer: RMSprop, step: int) -> None:
    """Update number `step`, counted from 1, as a training run does it."""
    for name, variable in variables.items():
        variable.grad = numbers(f"gradients/{name}")[step - 1]
    clip_each_(variables.values(), 1.0)
    for group in optimizer.param_groups:
        group["lr"] = RATES[step - 1]
    optimizer.step()


def test_a_hundred_steps_are_tensorflows() -> None:
    """Clipped and unclipped gradients, with warm-up and cosine: to 1e-6 of the largest value."""
    variables = start()
    optimizer = RMSprop(variables.values(), 1.8)
    for step in range(1, 101):
        update(variables, optimizer, step)
        if step not in KEPT_STEPS:
            continue
        for name, variable in variables.items():
            found = {"variable": variable.detach(), **optimizer.state[variable]}
            for kind, value in found.items():
                expected = numbers(f"{kind}/{step}/{name}")
                tolerance = 1e-6 * float(expected.abs().max())
                torch.testing.assert_close(
                    value, expected, rtol=0, atol=tolerance, msg=lambda m, k=kind: f"{k}: {m}"
                )


def test_a_stored_optimiser_goes_on_bit_for_bit() -> None:
    unbroken, first = start(), start()
    optimizer = RMSprop(unbroken.values(), 1.8)
    for step in range(1, 21):
        update(unbroken, optimizer, step)
    stopped = RMSprop(first.values(), 1.8)
    for step in range(1, 11):
        update(first, stopped, step)
    second = {name: nn.Parameter(v.detach().clone()) for name, v in first.items()}
    resumed = RMSprop(second.values(), 0.1, momentum=0.5)
    resumed.load_state_dict(stopped.state_dict())
    for step in range(11, 21):
        update(second, resumed, step)
    assert all(torch.equal(unbroken[name], second[name]) for name in VARIABLES)


def test_parameters_without_a_gradient_stay() -> None:
    still, moving = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = RMSprop([still, moving], 0.1)
    moving.grad = torch.ones(2)
    optimizer.step()
    assert torch.equal(still, torch.ones(2))
    # v = 0.1, so the step is 0.1 / sqrt(1.1).
    assert moving[0].item() == pytest.approx(1 - 0.1 / 1.1**0.5)
    assert set(optimizer.state) == {moving}


def test_a_closure_is_evaluated_with_gradients() -> None:
    weight = nn.Parameter(torch.tensor([2.0]))
    optimizer = RMSprop([weight], 0.1)

    def closure() -> float:
        loss: Tensor = weight.square().sum()
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) == 4.0
    assert weight.item() == pytest.approx(2 - 0.1 * 4 / (1 + 1.6) ** 0.5)
