"""Run .tflite files on LiteRT's GPU accelerator, whole, beside its CPU; a program of its own.

The accelerator looks for Vulkan when it is loaded, so where Vulkan lies must be in the environment
before. Prints one JSON object: path -> largest error of an output, relative to the largest output,
over some steps with carried state; or why the accelerator did not take the file.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.compiled_model import CompiledModel
from ai_edge_litert.gpu_options import GpuOptions
from ai_edge_litert.hardware_accelerator import HardwareAccelerator
from ai_edge_litert.options import Options

import movinet
from movinet.runtime.manifest import Manifest
from movinet.runtime.tensors import TensorSpec

STEPS = 4


class Gpu:
    """A file on the accelerator alone: what it refuses is an error, and not left to the CPU."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        gpu = GpuOptions(enforce_f32=True)
        options = Options(hardware_accelerators=HardwareAccelerator.GPU, gpu_options=gpu)
        self.model = CompiledModel.from_file(str(path), options=options)
        if not self.model.is_fully_accelerated():
            raise RuntimeError("it is not fully accelerated")
        (self.key,) = self.model.get_signature_list()
        self.manifest = manifest
        self.inputs = {
            spec.name: self.model.create_input_buffer_by_name(self.key, spec.name)
            for spec in manifest.inputs
        }
        self.outputs = {
            spec.name: self.model.create_output_buffer_by_name(self.key, spec.name)
            for spec in manifest.outputs
        }

    def run(self, values: dict[str, Any]) -> dict[str, Any]:
        for name, buffer in self.inputs.items():
            buffer.write(np.ascontiguousarray(values[name]))
        self.model.run_by_name(self.key, self.inputs, self.outputs)
        results = {}
        for spec in self.manifest.outputs:
            shape = sides(spec)
            values = self.outputs[spec.name].read(int(np.prod(shape)), np.float32)
            results[spec.name] = np.array(values).reshape(shape)
        return results


def sides(spec: Any) -> list[int]:
    return [side or 1 for side in spec.shape]


def noise(spec: TensorSpec, generator: np.random.Generator) -> Any:
    frames = generator.integers(0, 256, sides(spec), np.uint8)
    return frames if spec.dtype == "uint8" else frames.astype(np.float32) / np.float32(255)


def largest_error(path: Path) -> float:
    runtime = movinet.load(path)
    manifest = runtime.manifest
    gpu, generator = Gpu(path, manifest), np.random.default_rng(0)
    if manifest.kind == "clip":
        frames = noise(manifest.frames, generator)
        wanted = runtime.engine.clip(frames)
        found = gpu.run({"frames": frames})[manifest.output]
        return float(np.abs(found - wanted).max() / np.abs(wanted).max())
    stream, worst = runtime.stream(resize=False), 0.0
    state = {s.name: np.full(sides(s), s.initial, np.float32) for s in manifest.states}
    decay = np.ones((stream.batch_size, 1), np.float32)
    for _ in range(STEPS):
        frames = noise(manifest.frames, generator)
        wanted = stream.advance(frames)
        new = gpu.run({"frames": frames, "decay": decay, **state})
        old = {f"state:{name}": value for name, value in state.items()}
        state = {s.name: (new | old)[s.next] for s in manifest.states}
        error = np.abs(new[manifest.output] - wanted).max() / np.abs(wanted).max()
        worst = max(worst, float(error))
    return worst


def main() -> None:
    results: dict[str, float | str] = {}
    for path in sys.argv[1:]:
        try:
            results[path] = largest_error(Path(path))
        except (RuntimeError, ValueError) as error:
            results[path] = " ".join(str(error).split()) or type(error).__name__
    print(json.dumps(results))


if __name__ == "__main__":
    main()
