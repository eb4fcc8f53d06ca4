"""The streaming contract: what everything with memory must keep, as one reusable check.

1. A clip gives the same as chunks of 1, of 2 and of uneven sizes, and leaves the same state.
2. So do the gradients, for inputs and parameters.
3. The state keeps its names, shapes and dtypes.
4. Future frames never change past outputs.
5. Streams in one batch do not touch each other.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

#: (input (batch, channels, time, ...), state) -> (outputs that have time in dimension 2, new state)
Step = Callable[[Tensor, Any], tuple[Tensor, Any]]


def check_streaming_contract(
    step: Step,
    initial_state: Callable[[int], Any],
    inputs: Tensor,
    parameters: Sequence[Tensor] = (),
    *,
    tolerance: float = 1e-10,
) -> None:
    """Assert the contract.

    Args:
        step: What is checked.
        initial_state: Batch size -> state of streams that have seen nothing.
        inputs: (batch, channels, time, ...), at least 2 streams and 5 frames.
        parameters: Whose gradients are compared too.
        tolerance: Largest difference, relative to the largest value.
    """
    batch, frames = inputs.shape[0], inputs.shape[2]
    assert batch >= 2
    assert frames >= 5
    whole, last = step(inputs, initial_state(batch))
    sizes = [[1] * frames, [2] * (frames // 2) + [1] * (frames % 2), [3, 1, frames - 4]]
    for chunks in sizes:
        outputs, state = _in_chunks(step, initial_state(batch), inputs, chunks)
        _assert_close(outputs, whole, tolerance, f"outputs in chunks {chunks}")
        _assert_states_close(state, last, tolerance, f"state after chunks {chunks}")
    _check_gradients(step, initial_state, inputs, parameters, tolerance)
    _check_causality(step, initial_state, inputs, whole, tolerance)
    _check_independence(step, initial_state, inputs, whole, last, tolerance)


def _in_chunks(step: Step, state: Any, inputs: Tensor, chunks: list[int]) -> tuple[Tensor, Any]:
    before = _describe(state)
    outputs = []
    for chunk in inputs.split(chunks, dim=2):
        output, state = step(chunk, state)
        outputs.append(output)
        assert _describe(state) == before, "the state changed its names, shapes or dtypes"
    return torch.cat(outputs, 2), state


def _check_gradients(
    step: Step,
    initial_state: Callable[[int], Any],
    inputs: Tensor,
    parameters: Sequence[Tensor],
    tolerance: float,
) -> None:
    frames = inputs.shape[2]
    found = []
    for chunks in ([frames], [2, 1, frames - 3]):
        leaf = inputs.clone().requires_grad_()
        outputs, state = _in_chunks(step, initial_state(len(inputs)), leaf, chunks)
        weights = torch.linspace(-1, 1, outputs.numel(), dtype=outputs.dtype).view_as(outputs)
        loss = (outputs * weights).sum()
        for tensor in pytree.tree_leaves(state):
            if tensor.is_floating_point() and tensor.requires_grad:
                loss = loss + tensor.square().mean()
        found.append(torch.autograd.grad(loss, [leaf, *parameters], materialize_grads=True))
    for whole, chunked in zip(*found, strict=True):
        _assert_close(chunked, whole, tolerance, "gradients through chunks")
    assert found[0][0].abs().max() > 0, "no gradient reaches the input"


def _check_causality(
    step: Step,
    initial_state: Callable[[int], Any],
    inputs: Tensor,
    whole: Tensor,
    tolerance: float,
) -> None:
    cut = inputs.shape[2] // 2
    changed = inputs.clone()
    changed[:, :, cut:] = 1 - changed[:, :, cut:]
    outputs, _ = step(changed, initial_state(len(inputs)))
    _assert_close(outputs[:, :, :cut], whole[:, :, :cut], tolerance, "outputs before a change")
    assert not torch.allclose(outputs[:, :, cut:], whole[:, :, cut:]), "the input has no effect"


def _check_independence(
    step: Step,
    initial_state: Callable[[int], Any],
    inputs: Tensor,
    whole: Tensor,
    last: Any,
    tolerance: float,
) -> None:
    for i in range(len(inputs)):
        alone, state = step(inputs[i : i + 1], initial_state(1))
        _assert_close(alone, whole[i : i + 1], tolerance, f"stream {i} alone")
        mine = pytree.tree_map(lambda t, i=i: t[i : i + 1], last)
        _assert_states_close(state, mine, tolerance, f"state of stream {i} alone")
    # The first stream starts anew in the middle; the others must not notice, nor must it be told
    # from one that has just begun.
    cut = inputs.shape[2] // 2
    _, state = step(inputs[:, :, :cut], initial_state(len(inputs)))
    fresh = initial_state(len(inputs))

    def reset_first(old: Tensor, new: Tensor) -> Tensor:
        return torch.cat([new[:1], old[1:]])

    state = pytree.tree_map(reset_first, state, fresh)
    outputs, _ = step(inputs[:, :, cut:], state)
    _assert_close(outputs[1:], whole[1:, :, cut:], tolerance, "streams beside one that was reset")
    restarted, _ = step(inputs[:1, :, cut:], initial_state(1))
    _assert_close(outputs[:1], restarted, tolerance, "a stream that was reset")


def _describe(state: Any) -> list[tuple[str, tuple[int, ...], torch.dtype]]:
    leaves, _ = pytree.tree_flatten_with_path(state)
    return [(pytree.keystr(path), tuple(t.shape), t.dtype) for path, t in leaves]


def _assert_states_close(state: Any, expected: Any, tolerance: float, what: str) -> None:
    pairs = zip(pytree.tree_leaves(state), pytree.tree_leaves(expected), strict=True)
    for found, wanted in pairs:
        _assert_close(found, wanted, tolerance, what)


def _assert_close(found: Tensor, expected: Tensor, tolerance: float, what: str) -> None:
    assert found.shape == expected.shape, what
    if found.numel() == 0:
        return
    error = (found.detach() - expected.detach()).abs().max().item()
    largest = max(
        expected.detach().abs().max().item(), 1.0 if expected.dtype.is_floating_point else 0
    )
    assert error <= tolerance * largest, f"{what}: off by {error:.3g} of {largest:.3g}"
