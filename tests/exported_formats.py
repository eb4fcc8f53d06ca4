"""What every exported format and its engine must keep, as reusable checks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import movinet
from movinet.errors import CheckpointError, MissingExtraError
from movinet.exporting.export import Exported
from movinet.network.config import InputSpec, MoViNetConfig
from movinet.runtime.formats import FORMATS
from networks import TINY, make_model

SPEC = InputSpec(image_size=32, short_side=36, frame_rate=5.0, num_frames=4)
#: Every kind of layer: positions, pools over time and over each frame.
STREAM = MoViNetConfig(
    TINY, causal=True, factorized=True, se_type="2plus3d", positional_encoding=True, num_classes=7
)
BASE = MoViNetConfig(TINY, num_classes=7)

#: The formats, those marked heavy whose writers take seconds for the smallest network.
SUFFIXES = [
    pytest.param(suffix, marks=pytest.mark.heavy if suffix in (".pt2", ".pte") else ())
    for suffix in FORMATS
]


def needs(suffix: str) -> None:
    """Skip a test whose format is not installed."""
    row = FORMATS[suffix]
    if not row.installed:
        pytest.skip(f"{suffix} files need {row.package}, which is not installed")
    try:
        row.load_writer()
    except MissingExtraError as error:
        pytest.skip(str(error))


def export(config: Any, path: Path, **options: Any) -> Exported:
    """Export a small random model; `movinet.export` runs the file against the model."""
    return movinet.export(make_model(config), path, input_spec=SPEC, **options)


def export_preset(name: str, path: Path) -> Exported:
    """Export a preset for small frames."""
    model = make_model(name)
    frames = None if model.config.causal else 3
    return movinet.export(model, path, image_size=48, num_frames=frames)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def check_engine(path: Path) -> None:
    """Assert that streams of a file keep to themselves, and that states are values.

    Args:
        path: A step of one uint8 frame, for a batch of one.
    """
    engine = movinet.load(path).engine
    decay = np.ones((1, 1), np.float32)
    frames = [noise(1, 32, 32, 3, seed=i) for i in range(6)]

    def run(state: Any, seen: list[np.ndarray]) -> list[np.ndarray]:
        return [engine.step(frame, decay, state) for frame in seen]

    alone = run(engine.new_state(1), frames)
    first, second = engine.new_state(1), engine.new_state(1)
    buffer = np.empty_like(frames[0])
    for frame, wanted in zip(frames[:3], alone, strict=False):
        buffer[:] = frame  # the caller's memory is used again, for something else
        found = engine.step(buffer, decay, first)
        buffer[:] = 0
        engine.step(frames[-1], decay, second)
        np.testing.assert_array_equal(found, wanted)
    saved = engine.read_state(first)
    specs = {spec.name: spec.shape for spec in engine.manifest.states}
    assert {name: value.shape for name, value in saved.items()} == specs
    kept = {name: value.copy() for name, value in saved.items()}
    run(first, frames[3:])
    for name, value in saved.items():
        np.testing.assert_array_equal(value, kept[name], name)
    engine.write_state(second, saved)
    for value in saved.values():
        value[...] = 0
    np.testing.assert_array_equal(run(second, frames[3:]), alone[3:])


def check_any_batch(path: Path) -> None:
    """Assert that a file for any batch does in each row what it does of one stream.

    Args:
        path: A step of one uint8 frame, for any number of streams.
    """
    engine = movinet.load(path).engine
    videos = noise(4, 3, 32, 32, 3)
    together, alone = engine.new_state(3), [engine.new_state(1) for _ in range(3)]
    for frames in videos:
        rows = engine.step(frames, np.ones((3, 1), np.float32), together)
        assert rows.shape == (3, 7)
        for i, state in enumerate(alone):
            row = engine.step(frames[i : i + 1], np.ones((1, 1), np.float32), state)
            np.testing.assert_allclose(rows[i : i + 1], row, rtol=1e-4, atol=1e-5)


def refused(path: Path, message: str) -> None:
    """Assert that a file is refused in one line that names it."""
    with pytest.raises(CheckpointError, match=message) as caught:
        movinet.load(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
