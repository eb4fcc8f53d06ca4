"""LiteRT files: what is in them, and that nothing wrong is ever left behind."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import movinet
from movinet.errors import ConfigError, MovinetError
from movinet.exporting import export as exporting
from movinet.exporting.verify import Agreement
from movinet.network.config import InputSpec, MoViNetConfig
from movinet.video.preprocessing import preprocess
from networks import TINY, make_model

SPEC = InputSpec(image_size=48, short_side=54, frame_rate=5.0, num_frames=4)
STREAM = MoViNetConfig(TINY, causal=True, factorized=True, se_type="2plus3d")
BASE = MoViNetConfig(TINY)


def export(model: Any, path: Path, **options: Any) -> exporting.Exported:
    return movinet.export(model, path, input_spec=SPEC, **options)


def test_a_graph_that_resizes_does_what_preprocessing_does(tmp_path: Path) -> None:
    model = make_model(STREAM)
    export(model, tmp_path / "x.tflite", source_size=(120, 90))
    frame = np.random.default_rng(1).integers(0, 256, (120, 90, 3), np.uint8)
    found = movinet.load(tmp_path / "x.tflite").stream()(frame)
    video = torch.from_numpy(preprocess(frame, SPEC)).permute(2, 0, 1)[None, :, None]
    with torch.no_grad():
        wanted = model(video)[0].softmax(0).numpy()
    np.testing.assert_allclose(found, wanted, atol=2e-3)


def test_a_file_that_is_not_the_model_is_never_left_behind(tmp_path: Path, monkeypatch) -> None:
    def wrong(*_: Any) -> Agreement:
        return Agreement(steps=4, error=0.5, rms=0.5, tolerance=1e-4)

    monkeypatch.setattr(exporting, "compare", wrong)
    with pytest.raises(MovinetError, match=r"off by 0\.5 of the largest output"):
        export(make_model(STREAM), tmp_path / "x.tflite")
    assert not list(tmp_path.iterdir())


def test_an_older_file_survives_a_failed_export(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "x.tflite"
    path.write_bytes(b"older")
    monkeypatch.setattr(exporting, "compare", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export(make_model(STREAM), path)
    assert path.read_bytes() == b"older"
    assert [file.name for file in tmp_path.iterdir()] == ["x.tflite"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be an integer from 1"),
        ({"quantize": "int4"}, "quantize must be one of float16, dynamic, int8, mixed"),
        ({"quantize": "int8"}, "needs calibration"),
        ({"calibration": [np.zeros((2, 60, 60, 3), np.uint8)]}, "calibration is for"),
        ({"labels": ["one"]}, "1 labels for 7 classes"),
        ({"source_size": (0, 10)}, "source_size must be"),
    ],
)
def test_bad_options_are_refused(options, message, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        export(make_model(STREAM), tmp_path / "x.tflite", **options)
    assert not list(tmp_path.iterdir())


def test_bad_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ends in one of \.tflite"):
        export(make_model(STREAM), tmp_path / "x.bin")
    with pytest.raises(ConfigError, match="not that of a preset"):
        movinet.export(make_model(STREAM), tmp_path / "x.tflite")
