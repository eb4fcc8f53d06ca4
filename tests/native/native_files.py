"""Files of the native engine, made from small models, and the engines that run them."""

from pathlib import Path
from typing import Literal
from unittest.mock import patch

import numpy as np
import pytest
import torch

from movinet.exporting.graph.folding import fold
from movinet.exporting.graph.graph import GraphOptions, build_graph
from movinet.exporting.writers.native import write_native
from movinet.network.config import InputSpec
from movinet.network.model import MoViNet
from movinet.runtime.engines.native import NativeEngine
from movinet.runtime.manifest import Manifest
from movinet.runtime.tensors import TensorSpec

native = pytest.importorskip("movinet._native", reason="the native engine is not built")

#: The best ones first, plain ones last.
KERNELS: list[str] = native.available_kernels()


class Oblong(Manifest):
    """Exported models take square frames; the engine itself takes any."""

    def _check_shapes(self) -> None:
        pass


def open_engine(path: Path, kernels: str = "", num_threads: int = 1) -> NativeEngine:
    """An engine of a file whose frames need not be square."""
    with patch("movinet.runtime.engines.native.Manifest", Oblong):
        return NativeEngine(path, kernels, num_threads)


def make_manifest(
    model: MoViNet,
    size: tuple[int, int],
    quantization: Literal["none", "float16", "dynamic"] = "none",
) -> Manifest:
    options = GraphOptions(size, uint8=False)
    graph = build_graph(fold(model), options)
    values = graph.program.values
    kind = Manifest if size[0] == size[1] else Oblong
    return kind(
        kind="step",
        name="small",
        input=InputSpec(size[0], size[0], 5.0, 5),
        labels=tuple(f"class {i}" for i in range(model.config.num_classes)),
        inputs=tuple(TensorSpec(name, values[name].shape) for name in graph.program.inputs),
        outputs=tuple(
            TensorSpec(name, values[tensor].shape) for name, tensor in graph.program.outputs.items()
        ),
        output="logits",
        states=graph.states,
        quantization=quantization,
    )


def write_file(
    model: MoViNet,
    path: Path,
    size: tuple[int, int],
    quantization: Literal["none", "float16", "dynamic"] = "none",
) -> Path:
    write_native(fold(model), make_manifest(model, size, quantization), path)
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
