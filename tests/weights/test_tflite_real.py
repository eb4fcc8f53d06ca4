"""The published full-integer A0 stream, where it is at hand: it becomes the float network."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

import movinet
from movinet.network.presets import input_spec
from movinet.video import VideoReader, preprocess
from real_material import pixels_as_stored, real_file, real_video

FOLDER = "kinetics600_a0_int8"
HUB = "movinet_a0_stream_k600_int8.tflite"
CLIPS = [
    ("carving_ice.mp4", "carving ice", 0.95),
    ("arm_wrestling.mp4", "arm wrestling", 0.98),
    ("flipping_a_pancake.mkv", "flipping pancake", 0.95),
]


def clip(name: str) -> Path:
    return real_file(FOLDER, "clips", name) if name.startswith("carving") else real_video(name)


def frames(path: Path) -> np.ndarray:
    """What the expected logits were computed of: at most 50 frames."""
    spec = input_spec("a0_stream")
    with VideoReader(path, frame_rate=spec.frame_rate) as reader:
        return np.stack([preprocess(image, spec) for _, image in islice(reader, 50)])


@pytest.mark.heavy
@pytest.mark.parametrize(("name", "label", "probability"), CLIPS)
def test_its_network_sees_what_the_clips_show(
    name: str, label: str, probability: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels_as_stored(monkeypatch)
    runtime = movinet.open_model(weights=real_file(FOLDER, HUB))
    logits, _ = runtime.running_logits(frames(clip(name)))
    with np.load(real_file(FOLDER, "expected.npz")) as stored:
        expected = stored[f"{name}/float"]
    assert np.abs(logits - expected).max() <= 1e-4 * np.abs(expected).max()
    last = np.exp(logits[-1] - logits[-1].max())
    assert runtime.info.labels[int(last.argmax())] == label
    assert last.max() / last.sum() >= probability
