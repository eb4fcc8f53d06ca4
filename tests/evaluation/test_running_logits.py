"""The chunked forward of PyTorch streams gives what they give frame by frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from colour_data import BLUE, RED, make_data

from fakes import COLOURS
from movinet import torch_runtime as torch_engine
from movinet.errors import ConfigError
from movinet.evaluation import SingleLabel, evaluate
from movinet.network.config import InputSpec
from movinet.video import VideoReader
from networks import make_model, tiny_base, tiny_stream

SPEC = InputSpec(32, 32, 5.0, 4)


def softmax(logits: np.ndarray) -> np.ndarray:
    return torch.from_numpy(logits).softmax(-1).numpy()


@pytest.mark.parametrize("decay", [None, 0.9])
def test_chunks_equal_frame_by_frame(decay: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_engine, "_CHUNK", 4)
    labels = [str(i) for i in range(7)]
    runtime = torch_engine.wrap(make_model(tiny_stream()), labels, SPEC, decay=decay)
    images = np.random.default_rng(0).integers(0, 256, (11, 32, 32, 3), np.uint8)
    images[::3] //= 8
    stream = runtime.stream()
    expected = np.array([stream(image) for image in images])
    frames = images.astype(np.float32) / 255
    logits, _ = runtime.running_logits(frames)
    np.testing.assert_array_equal(runtime.running_logits(images)[0], logits)
    np.testing.assert_allclose(softmax(logits), expected, atol=1e-5)
    first, state = runtime.running_logits(frames[:6])
    second, _ = runtime.running_logits(frames[6:], state)
    np.testing.assert_allclose(softmax(np.concatenate([first, second])), expected, atol=1e-5)
    assert np.ptp(expected, axis=0).max() > 1e-3  # the frames do matter


def test_base_models_do_not_run_along() -> None:
    runtime = torch_engine.wrap(make_model(tiny_base()), [str(i) for i in range(7)], SPEC)
    with pytest.raises(ConfigError, match="model is a base model: it sees whole clips"):
        runtime.running_logits(np.zeros((2, 32, 32, 3), np.float32))


def test_a_network_is_evaluated(tmp_path: Path) -> None:
    model = make_model(tiny_stream(), num_classes=3)
    runtime = torch_engine.wrap(model, COLOURS, SPEC)
    data = make_data(tmp_path, {"turning": ((2,), [RED] * 8 + [BLUE] * 9), "red": ((0,), [RED])})
    figures = evaluate(runtime, data).figures
    assert isinstance(figures, SingleLabel)
    loss = 0.0
    for sample in data.samples:
        stream, probabilities = runtime.stream(), np.zeros(3)
        with VideoReader(sample.media.name, frame_rate=5) as reader:
            for frame in reader:
                probabilities = stream(frame.image)
        loss -= np.log(probabilities[sample.labels[0]]) / 2
    assert figures.loss == pytest.approx(loss, abs=1e-4)
