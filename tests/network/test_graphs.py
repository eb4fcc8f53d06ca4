"""`torch.export`, `torch.compile` and gradients work on every preset."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from gate import only
from movinet.network.config import MoViNetConfig
from movinet.network.state import StreamState
from networks import STREAMS, make_model, make_video, tiny_base, tiny_stream

SIZE = 32
#: Every kind of layer, in seconds.
TINY = [pytest.param(tiny_stream(), id="tiny_stream"), pytest.param(tiny_base(), id="tiny_base")]


@pytest.mark.heavy
@pytest.mark.parametrize("config", [*TINY, *only("a0_stream")])
def test_export(config: MoViNetConfig | str) -> None:
    """The exported program gives the model's numbers, with the state as plain inputs."""
    model = make_model(config)
    video = make_video(1, 3, SIZE, SIZE)
    if not model.config.causal:
        program = torch.export.export(model, (video,)).module()
        torch.testing.assert_close(program(video), model(video), rtol=1e-4, atol=1e-5)
        return
    state = model.initial_state(1, (SIZE, SIZE))
    frame = video[:, :, :1]
    decay = torch.ones(1)
    program = torch.export.export(model, (frame, state, decay)).module()
    expected_state = state
    for frame in video.split(1, dim=2):
        logits, state = program(frame, state, decay)
        expected, expected_state = model(frame, expected_state)
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    assert isinstance(state, StreamState)
    assert state.frame_count.tolist() == [3]


@pytest.mark.heavy
@pytest.mark.parametrize("config", [*TINY, *only(of=["a0_stream", "a0_base"])])
def test_export_with_a_dynamic_batch(config: MoViNetConfig | str) -> None:
    model = make_model(config)
    batch = torch.export.Dim("batch", min=1, max=64)
    video = make_video(3, 2, SIZE, SIZE)
    if not model.config.causal:
        program = torch.export.export(model, (video,), dynamic_shapes=({0: batch},))
        for size in (1, 5):
            video = make_video(size, 2, SIZE, SIZE)
            found = program.module()(video)
            torch.testing.assert_close(found, model(video), rtol=1e-4, atol=1e-5)
        return
    state = model.initial_state(3, (SIZE, SIZE))
    shapes = torch.export.ShapesCollection()
    for leaf in tree_leaves(state):
        shapes[leaf] = {0: batch}
    shapes[video] = {0: batch}
    program = torch.export.export(
        model, (video, state), dynamic_shapes=shapes.dynamic_shapes(model, (video, state))
    )
    for size in (1, 5):
        video, state = make_video(size, 2, SIZE, SIZE), model.initial_state(size, (SIZE, SIZE))
        logits, _ = program.module()(video, state)
        torch.testing.assert_close(logits, model(video), rtol=1e-4, atol=1e-5)


@pytest.mark.heavy
@pytest.mark.parametrize("config", [*TINY, *only()])
def test_compile(config: MoViNetConfig | str) -> None:
    """One graph for each preset, without code generation; the backward one of the small ones."""
    small = not isinstance(config, str) or config.startswith(("a0", "t0"))
    check_compiled(config, "aot_eager", gradients=small)


@pytest.mark.heavy
@pytest.mark.nightly  # `test_compile` traces the same graphs; here a compiler is tested with them
@pytest.mark.timeout(900)  # it runs a C++ compiler many times
@pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated:DeprecationWarning")  # within PyTorch
@pytest.mark.parametrize("config", [*TINY, *only(of=["a0_base", "a0_stream"])])
def test_compile_with_code_generation(config: MoViNetConfig | str) -> None:
    check_compiled(config, "inductor", gradients=False)


def check_compiled(config: MoViNetConfig | str, backend: str, *, gradients: bool) -> None:
    torch.compiler.reset()
    model = make_model(config)
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    video = make_video(1, 2, SIZE, SIZE)
    state = model.initial_state(1, (SIZE, SIZE)) if model.config.causal else None

    def run(function: Callable[..., Any]) -> list[Tensor]:
        leaf = video.clone().requires_grad_(gradients)
        output = function(leaf) if state is None else function(leaf, state)
        if not gradients:
            return tree_leaves(output)
        logits = output if state is None else output[0]
        (gradient,) = torch.autograd.grad(logits.square().sum(), leaf)
        return [*tree_leaves(output), gradient]

    with torch.set_grad_enabled(gradients):
        results, wanted = run(compiled), run(model)
    for found, expected in zip(results, wanted, strict=True):
        tolerance = 1e-4 * max(1.0, expected.abs().max().item())
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=tolerance)


@pytest.mark.parametrize("name", STREAMS)
def test_gradients_reach_the_first_chunk(name: str) -> None:
    model = make_model(name)
    video = make_video(1, 3, SIZE, SIZE).requires_grad_()
    state = model.initial_state(1, (SIZE, SIZE))
    outputs = []
    for chunk in video.split(1, dim=2):
        logits, state = model(chunk, state)
        outputs.append(logits)
    outputs[-1].sum().backward()
    assert video.grad is not None
    assert (video.grad.abs().sum((0, 1, 3, 4)) > 0).all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
