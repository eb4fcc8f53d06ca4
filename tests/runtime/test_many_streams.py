"""Any streams of a model in one step, and steps of different streams at the same time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from small_stream import SPEC, STREAM

import movinet
from movinet.errors import ConfigError
from networks import make_model

DRAW = np.random.default_rng(0)
VIDEOS = DRAW.integers(0, 256, (5, 8, 40, 50, 3), np.uint8)


@pytest.fixture(scope="module", params=[".tflite", ".mvn"])
def runtime(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    if request.param == ".mvn":
        pytest.importorskip("movinet._native", reason="the native engine is not built")
    path = tmp_path_factory.mktemp("many") / f"x{request.param}"
    movinet.export(make_model(STREAM), path, input_spec=SPEC)
    return movinet.load(path)


def alone(runtime: Any, video: np.ndarray, half_life: float | None) -> np.ndarray:
    stream = runtime.stream(half_life=half_life)
    return np.stack([stream(frame) for frame in video])


def test_any_streams_step_together_as_alone(runtime: Any) -> None:
    half_lives = [None, 0.5, 2.0, None, 1.0]
    expected = [alone(runtime, *pair) for pair in zip(VIDEOS, half_lives, strict=True)]
    streams = [runtime.stream(half_life=half_life) for half_life in half_lives]
    seen = [0] * 5
    while min(seen) < 8:
        ready = [i for i in DRAW.permutation(5) if seen[i] < 8]
        chosen = ready[: DRAW.integers(1, len(ready) + 1)]
        found = runtime.step([streams[i] for i in chosen], [VIDEOS[i][seen[i]] for i in chosen])
        for i, row in zip(chosen, found, strict=True):
            np.testing.assert_allclose(row, expected[i][seen[i]], atol=1e-6)
            seen[i] += 1
    assert [int(stream.frame_counts[0]) for stream in streams] == [8] * 5


def test_streams_of_several_threads_do_not_mix(runtime: Any) -> None:
    expected = [alone(runtime, video, None) for video in VIDEOS]
    start = threading.Barrier(5)

    def run(number: int) -> np.ndarray:
        stream = runtime.stream()
        start.wait()
        return np.stack([stream(frame) for frame in VIDEOS[number]])

    with ThreadPoolExecutor(5) as pool:
        for found, wanted in zip(pool.map(run, range(5)), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_a_stream_of_several_threads_takes_turns(runtime: Any) -> None:
    stream, frame = runtime.stream(), VIDEOS[0, 0]
    with ThreadPoolExecutor(4) as pool:
        for _ in pool.map(lambda _: stream(frame), range(40)):
            pass
    assert stream.frame_counts.tolist() == [40]
    np.testing.assert_array_equal(
        stream.snapshot().values["pool_weight"], np.full((1, 1), 40, np.float32)
    )


def test_what_does_not_fit_moves_nothing(runtime: Any) -> None:
    stream, frame = runtime.stream(), VIDEOS[0, 0]
    for streams, frames, message in (
        ([], [], "a frame for each stream"),
        ([stream], [frame, frame], "a frame for each stream, got 2 frames and 1 streams"),
        ([stream, stream], [frame, frame], "one is there twice"),
        ([stream, None], [frame, frame], "streams of this runtime"),
        ([stream, runtime.stream()], [frame, frame[..., 0]], "image must be"),
    ):
        with pytest.raises(ConfigError, match=message):
            runtime.step(streams, frames)
    assert stream.frame_counts.tolist() == [0]
