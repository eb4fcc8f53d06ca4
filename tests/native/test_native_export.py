"""`movinet.export` to .mvn files."""

from pathlib import Path

import native_files  # noqa: F401  (skips all of this where there is no native engine)
import numpy as np
import pytest

import movinet
from movinet.errors import CheckpointError, ConfigError
from movinet.network.config import InputSpec
from networks import make_model, tiny_stream

SPEC = InputSpec(40, 40, 5.0, 8)


@pytest.mark.parametrize(
    ("quantize", "share", "error"),
    [("float16", 0.75, 1e-3), ("dynamic", 0.65, 0.05)],
)
def test_small_files_say_nearly_the_same(tmp_path: Path, quantize, share, error) -> None:
    model = make_model(tiny_stream())
    plain = movinet.export(model, tmp_path / "plain.mvn", input_spec=SPEC)
    small = movinet.export(model, tmp_path / "small.mvn", input_spec=SPEC, quantize=quantize)
    assert small.size < share * plain.size
    assert small.manifest.quantization == quantize
    frames = np.random.default_rng(0).integers(0, 256, (6, 1, 40, 40, 3), np.uint8)
    streams = [movinet.load(file.path).stream(resize=False) for file in (plain, small)]
    wanted, found = (np.stack([stream.advance(frame) for frame in frames]) for stream in streams)
    rms = np.sqrt(((found - wanted) ** 2).mean() / (wanted**2).mean())
    assert 1e-6 < rms < error


def test_a_snapshot_goes_from_one_precision_to_another(tmp_path: Path) -> None:
    """The past is the same, whether the file keeps it in 32 bits or in 16."""
    model = make_model(tiny_stream())
    frames = np.random.default_rng(0).integers(0, 256, (6, 1, 40, 40, 3), np.uint8)
    files = [tmp_path / "plain.mvn", tmp_path / "small.mvn"]
    for file, quantize in zip(files, (None, "float16"), strict=True):
        movinet.export(model, file, input_spec=SPEC, quantize=quantize)
    plain, small = (movinet.load(file).stream(resize=False) for file in files)
    for frame in frames[:4]:
        small.advance(frame)
        plain.advance(frame)
    snapshot = small.snapshot()
    wanted = plain.advance(frames[4])
    plain.restore(snapshot)
    found = plain.advance(frames[4])
    assert 0 < np.abs(found - wanted).max() < 2e-3 * np.abs(wanted).max()


@pytest.mark.parametrize("quantize", ["mixed", "int8"])
def test_other_precisions_are_refused(tmp_path: Path, quantize) -> None:
    with pytest.raises(ConfigError, match=rf"'{quantize}': omit .* 'float16' or 'dynamic'"):
        movinet.export(
            make_model(tiny_stream()), tmp_path / "x.mvn", input_spec=SPEC, quantize=quantize
        )
    assert not list(tmp_path.iterdir())


def test_a_manifest_has_to_be_of_the_same_precision(tmp_path: Path) -> None:
    model = make_model(tiny_stream())
    movinet.export(model, tmp_path / "small.mvn", input_spec=SPEC, quantize="float16")
    plain = movinet.export(model, tmp_path / "plain.mvn", input_spec=SPEC)
    (tmp_path / "plain.json").write_text(plain.manifest.to_json(), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"small\.mvn: its network is not the one that"):
        movinet.load(tmp_path / "small.mvn", manifest=tmp_path / "plain.json")
