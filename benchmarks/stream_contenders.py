"""What benchmarks/streaming.py compares: each takes uint8 frames one by one and keeps its state.

Frames are square, of the short side that the model wants resized frames to have: nobody resizes,
everybody crops the middle.

`invoke` is the engine alone, the same for the reference's files and ours. `ReferenceLoop` is what
the reference documents; ours is a stream as users call it, and `our_step` what that calls its
engine for.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import movinet

Step = Callable[[np.ndarray], object]


def interpreter(file: Path) -> Any:
    """LiteRT's interpreter on one thread, ready to run."""
    from ai_edge_litert.interpreter import Interpreter

    made = Interpreter(model_path=str(file), num_threads=1)
    made.allocate_tensors()
    return made


def invoke(file: Path, size: int) -> Step:
    """The engine alone: one frame's arithmetic, inputs already in place."""
    made = interpreter(file)
    for detail in made.get_input_details():
        made.set_tensor(detail["index"], fill(detail, size))
    return lambda frame: made.invoke()  # noqa: ARG005


def fill(detail: Mapping[str, Any], size: int) -> np.ndarray:
    """Something for an input: noise for frames, ones for states: no zeros, no denormal numbers."""
    shape, dtype = tuple(detail["shape"]), np.dtype(detail["dtype"])
    if shape[-3:] != (size, size, 3):
        return np.ones(shape, dtype)
    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return noise if dtype == np.uint8 else (noise / 255).astype(dtype)


def to_image(frame: np.ndarray, size: int) -> np.ndarray:
    """The middle of a uint8 frame as float32 in [0, 1], (size, size, 3)."""
    start = (len(frame) - size) // 2
    return frame[start : start + size, start : start + size].astype(np.float32) / 255


class ReferenceLoop:
    """The documented loop: a signature runner that is given its own output states."""

    def __init__(self, file: Path) -> None:
        self._runner = interpreter(file).get_signature_runner()
        self._states = {
            name: np.zeros(detail["shape"], detail["dtype"])
            for name, detail in self._runner.get_input_details().items()
            if name != "image"
        }
        self._size = self._runner.get_input_details()["image"]["shape"][-2]

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """Probabilities (classes,) after one more frame, (height, width, 3) uint8."""
        image = to_image(frame, self._size)[None, None]
        outputs = self._runner(**self._states, image=image)
        logits = outputs.pop("logits")[0]
        self._states = outputs
        shares = np.exp(logits - logits.max())
        return shares / shares.sum()


class ReferenceStep:
    """The same graph by hand: the least copying of states that the interpreter's interface allows.

    Nobody documents it; it tells what of the loop's time is the runner's.
    """

    def __init__(self, file: Path) -> None:
        self._interpreter = interpreter(file)
        runner = self._interpreter.get_signature_runner()
        inputs, outputs = runner.get_input_details(), runner.get_output_details()
        self._image, self._logits = inputs["image"]["index"], outputs["logits"]["index"]
        self._size = inputs["image"]["shape"][-2]
        self._states = [
            (detail["index"], outputs[name]["index"])
            for name, detail in inputs.items()
            if name != "image"
        ]
        for detail in inputs.values():
            self._interpreter.set_tensor(
                detail["index"], np.zeros(detail["shape"], detail["dtype"])
            )

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """Logits (classes,) after one more frame, (height, width, 3) uint8."""
        made = self._interpreter
        made.set_tensor(self._image, to_image(frame, self._size)[None, None])
        made.invoke()
        for before, after in self._states:
            made.set_tensor(before, made.tensor(after)())
        return made.get_tensor(self._logits)[0]


def our_step(file: Path, size: int) -> Step:
    """What our stream calls its engine for: a frame goes in, logits come out, states move on."""
    engine = movinet.load(file).engine
    dtype = engine.manifest.frames.dtype
    frames = fill({"shape": (1, size, size, 3), "dtype": dtype}, size)
    state, decay = engine.new_state(1), np.ones((1, 1), np.float32)
    return lambda frame: engine.step(frames, decay, state)  # noqa: ARG005


class OurStreams:
    """Several streams in one call, each given the same frames.

    Attributes:
        streams: How many.
    """

    def __init__(self, file: Path, streams: int) -> None:
        self.streams = streams
        self._stream = movinet.load(file).stream(batch_size=streams)

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """Probabilities (streams, classes) after one more frame, (height, width, 3) uint8."""
        return self._stream([frame] * self.streams)


def peer(folder: Path, name: str, size: int) -> Step:
    """Atze00's port, frame by frame in PyTorch."""
    import torch

    sys.path.insert(0, str(folder))
    from movinets import MoViNet as Peer  # pyright: ignore[reportMissingImports]
    from movinets.config import _C  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(1)
    config = getattr(_C.MODEL, f"MoViNet{name[:2].upper()}")
    model = Peer(config, causal=True, conv_type="2plus1d", tf_like=True).eval()

    @torch.inference_mode()
    def step(frame: np.ndarray) -> np.ndarray:
        video = torch.from_numpy(to_image(frame, size)).permute(2, 0, 1)[None, :, None]
        return model(video)[0].softmax(0).numpy()

    return step
