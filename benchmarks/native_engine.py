"""The native engine's step against its floor: counted multiply-adds over the core's rate.

``python benchmarks/native_engine.py [--models a0_stream] [--rounds 30] [--kernels avx2]``. The rate
is that of multiply-adds in registers alone, measured in turn with the steps. Times are of the
thread's processor time, so that others on the machine disturb them less. ``--threads 2`` then
compares steps in one thread and in so many, in turn and in wall time.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from movinet import _native
from movinet.complexity import count_multiply_adds
from movinet.exporting.folding import fold
from movinet.exporting.graph import GraphOptions, build_graph
from movinet.exporting.native import write_native
from movinet.factory import create_model
from movinet.model import MoViNet
from movinet.presets import input_spec
from movinet.runtime.manifest import Manifest, TensorSpec
from movinet.runtime.native import NativeEngine
from timing import report, take_turns

SPIN = 20_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["a0_stream"])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--streams", type=int, nargs="+", default=[1])
    parser.add_argument("--kernels", default="")
    parser.add_argument("--quantization", choices=["none", "float16", "dynamic"], default="none")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    print(f"{'':22} {'M multiply-adds':>15} {'floor ms':>9} {'step ms':>8} {'ratio':>6} {'G/s':>5}")
    for name in options.models:
        size = input_spec(name).image_size
        engine = load(name, size, options.kernels, options.quantization)
        for streams in options.streams:
            measure(name, engine, size, streams, options.rounds)
            if options.threads > 1:
                team = load(name, size, options.kernels, options.quantization, options.threads)
                engines = {"1 thread": engine, f"{options.threads} threads": team}
                report(take_turns(steps(engines, size, streams), options.rounds))


def steps(
    engines: dict[str, NativeEngine], size: int, streams: int
) -> dict[str, Callable[[], object]]:
    frames = np.random.default_rng(0).random((streams, size, size, 3), np.float32)
    decay = np.ones((streams, 1), np.float32)
    states = {label: engine.new_state(streams) for label, engine in engines.items()}
    return {
        label: lambda engine=engine, state=states[label]: engine.step(frames, decay, state)
        for label, engine in engines.items()
    }


def load(
    name: str,
    size: int,
    kernels: str,
    quantization: Literal["none", "float16", "dynamic"],
    threads: int = 1,
) -> NativeEngine:
    model = create_model(name)
    assert isinstance(model, MoViNet)
    for weight in model.parameters():
        if not weight.any():  # a new network's blocks change nothing; ones that do are what counts
            torch.nn.init.uniform_(weight, 0.1, 0.3)
    folded = fold(model)
    graph = build_graph(folded, GraphOptions((size, size), uint8=False))
    values = graph.program.values
    manifest = Manifest(
        kind="step",
        name=name,
        input=input_spec(name),
        labels=tuple(f"class {i}" for i in range(model.config.num_classes)),
        inputs=tuple(TensorSpec(n, values[n].shape, values[n].dtype) for n in graph.program.inputs),
        outputs=tuple(TensorSpec(n, values[t].shape) for n, t in graph.program.outputs.items()),
        output="logits",
        states=graph.states,
        quantization=quantization,
        config=model.config.to_dict(),
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.mvn"
        write_native(folded, manifest, path)
        return NativeEngine(path, kernels, threads)


def measure(name: str, engine: NativeEngine, size: int, streams: int, rounds: int) -> None:
    generator = np.random.default_rng(0)
    frames = generator.random((streams, size, size, 3), np.float32)
    decay = np.ones((streams, 1), np.float32)
    state = engine.new_state(streams)
    spins, times = [], []
    for _ in range(rounds):
        spins.append(seconds(lambda: _native.kernels.spin(engine.kernels, SPIN)) / SPIN)
        times.append(seconds(lambda: engine.step(frames, decay, state)))
    config = create_model(name).config
    count = count_multiply_adds(config, 1, (size, size)) * streams
    floor, step = statistics.median(spins) * count, statistics.median(times)
    label = f"{name} {engine.kernels} x{streams}"
    print(
        f"{label:22} {count / 1e6:15.1f} {floor * 1e3:9.2f} {step * 1e3:8.2f} {step / floor:6.2f} "
        f"{count / step / 1e9:5.1f}   (best: {min(spins) * count * 1e3:.2f} {min(times) * 1e3:.2f} "
        f"{min(times) / min(spins) / count:.2f})"
    )


def seconds(function: Callable[[], object]) -> float:
    start = time.thread_time()
    function()
    return time.thread_time() - start


if __name__ == "__main__":
    main()
