"""The engine in WebAssembly, in Node.js, beside ONNX Runtime's and the native one.

``python benchmarks/wasm.py [--models a0_stream a2_stream] [--rounds 40]``, after ``make wasm`` and
``npm ci`` in examples/browser, which installs onnxruntime-web. Steps are taken in turn, one of each
contender, so that whatever else the machine does disturbs them alike. Times are of the clock:
engines of JavaScript compile in threads of their own while they run, so a hundred steps come
before those that count. The native engine's kernels are those for any x64 processor (SSE2), which
have vectors of four numbers too.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import movinet
from movinet.network.model import MoViNet
from movinet.runtime.engines.native import NativeEngine
from movinet.weights.factory import create_model

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "movinet" / "web" / "js" / "index.mjs"
ORT = ROOT / "examples/browser/node_modules/onnxruntime-web/dist/ort.wasm.bundle.min.mjs"
PRECISIONS = {"float32": None, "float16": "float16", "int8": "dynamic"}
WARM_UP = 100


class Node:
    """wasm_steps.mjs."""

    def __init__(self) -> None:
        command = ["node", Path(__file__).with_name("wasm_steps.mjs"), PACKAGE.as_uri()]
        command += [ORT.as_uri()] if ORT.is_file() else []
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)

    def ask(self, action: str, **rest: Any) -> Any:
        """Do something, and what came of it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"action": action, **rest}) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def end(self) -> None:
        """Let it go."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["a0_stream"])
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    if not ORT.is_file():
        print("without onnxruntime-web: npm ci in examples/browser installs it")
    for name in options.models:
        with tempfile.TemporaryDirectory() as folder:
            measure(name, Path(folder), options.rounds)


def measure(name: str, folder: Path, rounds: int) -> None:
    """Print a table for a preset."""
    node, times, native = Node(), {}, {}
    model = create_model(name)
    assert isinstance(model, MoViNet)
    for weight in model.parameters():
        if not weight.any():  # a new network's blocks change nothing; ones that do are what counts
            torch.nn.init.uniform_(weight, 0.1, 0.3)
    for precision, quantize in PRECISIONS.items():
        path = folder / f"{precision}.mvn"
        movinet.export(model, path, quantize=quantize)  # type: ignore[arg-type]
        native[f"native SSE2, {precision}"] = steps_natively(path)
        for kernels in ("simd128", "relaxed"):
            key = f"WebAssembly {kernels}, {precision}"
            memory = node.ask("load", name=key, path=str(path), kernels=kernels)["memory"]
            times[key] = []
            if (kernels, precision) == ("simd128", "float32"):
                print(f"{name}: {memory / 1e6:.1f} MB of memory in float32")
    if ORT.is_file():
        path = folder / "model.onnx"
        movinet.export(model, path)
        node.ask("load", name="onnxruntime-web, float32", path=str(path))
        times["onnxruntime-web, float32"] = []
    for key in list(times) * WARM_UP:
        node.ask("step", name=key)
    in_node = list(times)
    times |= {key: [] for key in native}
    for _ in range(rounds):
        for key in in_node:
            times[key].append(node.ask("step", name=key)["clock"])
        for key, step in native.items():
            began = time.perf_counter()
            step()
            times[key].append(1000 * (time.perf_counter() - began))
    node.end()
    report(times)


def steps_natively(path: Path) -> Any:
    """A step of the native engine, with what any x64 processor has."""
    engine = NativeEngine(path, kernels="baseline")
    side = engine.manifest.input.image_size
    frame = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), np.uint8)
    state, decay = engine.new_state(1), np.ones((1, 1), np.float32)
    return lambda: engine.step(frame, decay, state)


def report(times: dict[str, list[float]]) -> None:
    """Medians, spreads, and ratios to the native engine's and ONNX Runtime's float32."""
    medians = {key: statistics.median(values) for key, values in times.items()}
    native = medians["native SSE2, float32"]
    ort = medians.get("onnxruntime-web, float32")
    print(f"{'':30} {'ms':>7} {'25-75 %':>15} {'/ native':>9} {'/ ORT':>6}")
    for key, values in times.items():
        low, _, high = statistics.quantiles(values, n=4)
        to_ort = f"{medians[key] / ort:6.2f}" if ort else ""
        print(
            f"{key:30} {medians[key]:7.2f} {low:7.2f}-{high:<7.2f} {medians[key] / native:9.2f} "
            f"{to_ort}"
        )


if __name__ == "__main__":
    main()
