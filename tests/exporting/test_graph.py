"""The graph computes what the model does, from plain inputs, in at most four dimensions."""

from typing import Any

import pytest
import torch
from torch import Tensor

from movinet.errors import ConfigError
from movinet.exporting.graph.folding import fold
from movinet.exporting.graph.graph import Graph, GraphOptions, build_graph
from movinet.exporting.graph.interpreter import ProgramModule
from movinet.network.config import MoViNetConfig
from movinet.network.model import MoViNet
from networks import PRESETS, TINY, make_model

#: Odd and different sides: every kind of padding.
SIZE = (50, 66)
STREAM = MoViNetConfig(TINY, causal=True, factorized=True, se_type="2plus3d")
BASE = MoViNetConfig(TINY)


def run_stream(graph: Graph, video: Tensor, decay: float, chunk: int) -> Tensor:
    """Logits (batch, time, classes) of (batch, 3, time, h, w), chunk by chunk."""
    module, program = ProgramModule(graph.program), graph.program
    batch = video.shape[0]
    values: dict[str, Tensor] = {
        state.name: torch.full(program.values[state.name].shape, state.initial)
        for state in graph.states
    }
    rows = []
    for start in range(0, video.shape[2], chunk):
        frames = video[:, :, start : start + chunk].permute(2, 0, 3, 4, 1).flatten(0, 1)
        values |= {"frames": frames, "decay": torch.full((batch, 1), decay)}
        results = module(*(values[name] for name in program.inputs))
        outputs = dict(zip(program.outputs, results, strict=True))
        rows.append(outputs["logits"].unflatten(0, (chunk, batch)))
        values = {
            state.name: values[state.next.removeprefix("state:")]
            if state.next.startswith("state:")
            else outputs[state.next]
            for state in graph.states
        }
    return torch.cat(rows).transpose(0, 1)


def close(found: Tensor, wanted: Tensor) -> None:
    error = (found - wanted).abs().max() / wanted.abs().max()
    assert error < 1e-5, error


def of(model: MoViNet, **options: Any) -> Graph:
    return build_graph(fold(model), GraphOptions(SIZE, uint8=False, **options))


@pytest.mark.parametrize("decay", [1.0, 0.8])
@pytest.mark.parametrize(("batch", "chunk"), [(1, 1), (2, 1), (1, 3), (2, 2), (1, 6)])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"factorized": False},
        {"se_type": "none"},
        {"se_type": "2d", "activation": "swish", "positional_encoding": True},
        {"se_type": "3d", "activation": "relu6", "gating_activation": "hard_sigmoid"},
        {"activation": "hard_swish", "gating_activation": "hard_sigmoid"},
        {"positional_encoding": True, "trained_frames": 3, "head_activation": "relu6"},
    ],
)
@torch.no_grad()
def test_stream_graph_is_the_model(changes, batch, chunk, decay) -> None:
    model = make_model(STREAM, **changes)
    video = torch.rand(batch, 3, 6, *SIZE, generator=torch.Generator().manual_seed(0))
    wanted, _ = model.running_logits(video, model.initial_state(batch, SIZE), decay)
    graph = of(model, batch_size=batch, num_frames=chunk)
    close(run_stream(graph, video, decay, chunk), wanted)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize(
    "changes",
    [{}, {"factorized": True}, {"se_type": "2d"}, {"se_type": "2plus3d"}, {"se_type": "none"}],
)
@torch.no_grad()
def test_clip_graph_is_the_model(changes, batch) -> None:
    model = make_model(BASE, **changes)
    video = torch.rand(batch, 3, 5, *SIZE, generator=torch.Generator().manual_seed(0))
    graph = of(model, batch_size=batch, num_frames=5)
    (found,) = ProgramModule(graph.program)(video.permute(2, 0, 3, 4, 1).flatten(0, 1))
    close(found, model(video))


@pytest.mark.heavy
@pytest.mark.parametrize("name", PRESETS)
@torch.no_grad()
def test_every_preset_has_a_graph(name: str) -> None:
    model = make_model(name)
    size = (64, 48)
    video = torch.rand(1, 3, 3, *size, generator=torch.Generator().manual_seed(0))
    frames = 1 if model.config.causal else 3
    graph = build_graph(fold(model), GraphOptions(size, num_frames=frames, uint8=False))
    assert max(len(value.shape) for value in graph.program.values.values()) == 4
    if model.config.causal:
        wanted, _ = model.running_logits(video, model.initial_state(1, size))
        close(run_stream(graph, video, 1.0, 1), wanted)
    else:
        (found,) = ProgramModule(graph.program)(video.permute(2, 0, 3, 4, 1).flatten(0, 1))
        close(found, model(video))


def test_past_frames_are_handed_on_whole() -> None:
    """Each past frame takes the place of the next older one; only new ones are computed."""
    states = {state.name: state.next for state in of(make_model(STREAM)).states}
    assert states["buffer/block2_layer0/0"] == "state:buffer/block2_layer0/1"
    assert states["buffer/block2_layer0/3"] == "new/buffer/block2_layer0/3"


def test_what_no_graph_can_do_is_refused() -> None:
    with pytest.raises(ConfigError, match="pooling='3d'"):
        of(make_model(STREAM, pooling="2d"))
    with pytest.raises(ConfigError, match="fixed batch_size"):
        of(make_model(BASE), batch_size=None, num_frames=4)
    with pytest.raises(ConfigError, match="fixed batch_size"):
        of(make_model(STREAM), batch_size=None, num_frames=2)
