"""The native engine's step against its floors: what it computes, and what it reads.

``python benchmarks/native_engine.py [--models a0_stream] [--rounds 30] [--kernels avx2]``, after
``make .venv/native.stamp``, which builds the module that it needs beside the engine. The
floor is the network's multiply-adds over the rate of float32 multiply-adds in registers alone;
beside it stand the bytes of weights and past frames that a step touches once, over the rate at
which the core reads memory (a maximum of 64 MB). Both rates are measured in turn with the steps.
Times are of the thread's processor time, so that others on the machine disturb them less.
``--threads 2`` then compares steps in one thread and in so many, in turn and in wall time.
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

from movinet import _native_kernels
from movinet.catalog.complexity import count_multiply_adds
from movinet.exporting.graph.folding import Folded, fold
from movinet.exporting.graph.graph import GraphOptions, build_graph
from movinet.exporting.writers.native import write_native
from movinet.network.model import MoViNet
from movinet.network.presets import input_spec
from movinet.runtime.engines.native import NativeEngine
from movinet.runtime.manifest import Manifest
from movinet.runtime.tensors import TensorSpec
from movinet.weights.factory import create_model
from timing import report, take_turns

SPIN = 20_000_000
MEMORY = np.ones(16 << 20, np.float32)
Quantization = Literal["none", "float16", "dynamic"]
#: Streams that share the fetching of weights.
GROUP = 8
#: Bytes of a weight: of layers for many places, of squeeze-excitation, of the classifier.
WEIGHT_BYTES = {"none": (4, 4, 2.25), "float16": (4, 2.25, 2.25), "dynamic": (1, 1, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["a0_stream"])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--streams", type=int, nargs="+", default=[1])
    parser.add_argument("--kernels", default="")
    parser.add_argument("--quantization", choices=["none", "float16", "dynamic"], default="none")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    print(
        f"{'':26} {'M macs':>7} {'G/s':>5} {'floor ms':>8} {'MB':>6} {'GB/s':>5} "
        f"{'reading ms':>10} {'step ms':>8} {'25-75 %':>13} {'ratio':>5} {'to both':>7}"
    )
    for name in options.models:
        size = input_spec(name).image_size
        engine = load(name, size, options.kernels, options.quantization)
        for streams in options.streams:
            measure(name, engine, size, streams, options.rounds, options.quantization)
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
    quantization: Quantization,
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


def measure(
    name: str, engine: NativeEngine, size: int, streams: int, rounds: int, precision: Quantization
) -> None:
    generator = np.random.default_rng(0)
    frames = generator.random((streams, size, size, 3), np.float32)
    decay = np.ones((streams, 1), np.float32)
    state = engine.new_state(streams)
    spins, reads, times = [], [], []
    for _ in range(rounds):
        spins.append(seconds(lambda: _native_kernels.spin(engine.kernels, SPIN)) / SPIN)
        reads.append(seconds(MEMORY.max) / MEMORY.nbytes)
        times.append(seconds(lambda: engine.step(frames, decay, state)))
    model = create_model(name)
    assert isinstance(model, MoViNet)
    count = count_multiply_adds(model.config, 1, (size, size)) * streams
    moved = bytes_moved(fold(model), engine, streams, precision)
    spin, read = statistics.median(spins), statistics.median(reads)
    low, step, high = np.quantile(times, (0.25, 0.5, 0.75))
    label = f"{name} {engine.kernels} x{streams}"
    print(
        f"{label:26} {count / 1e6:7.1f} {1e-9 / spin:5.1f} {spin * count * 1e3:8.2f} "
        f"{moved / 1e6:6.1f} {1e-9 / read:5.1f} {read * moved * 1e3:10.2f} {step * 1e3:8.2f} "
        f"{low * 1e3:6.2f}-{high * 1e3:<6.2f} {step / (spin * count):5.2f} "
        f"{step / (spin * count + read * moved):7.2f}",
        flush=True,
    )


def bytes_moved(
    network: Folded, engine: NativeEngine, streams: int, precision: Quantization
) -> float:
    """Weights and past frames that a step of so many streams has to touch once."""
    wide, narrow, classifier = WEIGHT_BYTES[precision]
    weights = network.head.weight.size * wide
    weights += (network.hidden.weight.size + network.classifier.weight.size) * classifier
    for block in network.blocks:
        weights += (block.expand.weight.size + block.project.weight.size) * wide
        for layer in (block.reduce, block.gate):
            weights += 0 if layer is None else layer.weight.size * narrow
    past = 0
    for name, frame in engine.read_state(engine.new_state(1)).items():
        if name.startswith("buffer/"):  # all are read, and one of each block is replaced
            past += frame.size * (2 if name.endswith("/0") else 1)
    past *= 4 if precision == "none" else 2
    return weights * -(-streams // GROUP) + past * streams


def seconds(function: Callable[[], object]) -> float:
    start = time.thread_time()
    function()
    return time.thread_time() - start


if __name__ == "__main__":
    main()
