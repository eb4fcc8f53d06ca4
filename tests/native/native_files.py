"""Files of the native engine, made from small models, and the engines that run them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from movinet.config import InputSpec
from movinet.exporting.folding import fold
from movinet.exporting.graph import GraphOptions, build_graph
from movinet.exporting.native import write_native
from movinet.model import MoViNet
from movinet.runtime.manifest import Manifest, TensorSpec
from movinet.runtime.native import NativeEngine

native = pytest.importorskip("movinet._native", reason="the native engine is not built")

KERNELS = native.available_kernels()


def make_manifest(
    model: MoViNet, size: tuple[int, int], batch_size: int = 1, num_frames: int = 1
) -> Manifest:
    options = GraphOptions(size, batch_size, num_frames, uint8=False)
    graph = build_graph(fold(model), options)
    values = graph.program.values
    return Manifest(
        kind="step",
        name="small",
        input=InputSpec(size[0], size[0], 5.0, 5),
        labels=tuple(f"class {i}" for i in range(model.config.num_classes)),
        inputs=tuple(TensorSpec(name, values[name].shape) for name in graph.program.inputs),
        outputs=tuple(
            TensorSpec(name, values[tensor].shape) for name, tensor in graph.program.outputs.items()
        ),
        output="logits",
        batch_size=batch_size,
        num_frames=num_frames,
        states=graph.states,
    )


def write_file(
    model: MoViNet, path: Path, size: tuple[int, int], batch_size: int = 1, num_frames: int = 1
) -> Path:
    write_native(fold(model), make_manifest(model, size, batch_size, num_frames), path)
    return path


def run_engine(
    engine: NativeEngine, video: torch.Tensor, chunks: list[int], decay: float = 1.0
) -> np.ndarray:
    """Logits (batch, frames, classes) of (batch, 3, frames, height, width), in chunks."""
    batch = len(video)
    state = engine.new_state(batch)
    decays = np.full((batch, 1), decay, np.float32)
    outputs = []
    for part in video.split(chunks, 2):
        frames = part.permute(2, 0, 3, 4, 1).flatten(0, 1)  # time before batch
        outputs.append(engine.step(frames.contiguous().numpy(), decays, state))
    return np.concatenate(outputs).reshape(-1, batch, outputs[0].shape[-1]).swapaxes(0, 1)


def running_logits(model: MoViNet, video: torch.Tensor, decay: float | None = None) -> np.ndarray:
    """What the model says after each frame, (batch, frames, classes)."""
    with torch.inference_mode():
        state = model.initial_state(len(video), (video.shape[3], video.shape[4]))
        return model.running_logits(video, state, decay)[0].numpy()


def assert_near(found: np.ndarray, wanted: np.ndarray, tolerance: float = 1e-5) -> None:
    error = np.abs(found - wanted).max() / np.abs(wanted).max()
    assert error <= tolerance, f"off by {error:.2g} of the largest"
