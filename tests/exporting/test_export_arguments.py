"""Arguments of an export that cannot be: one clear line, before any work, and nothing left."""

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import movinet
from movinet.errors import CheckpointError, ConfigError, MovinetError
from movinet.exporting import export as exporting
from movinet.network.config import InputSpec, MoViNetConfig
from networks import TINY, make_model

SPEC = InputSpec(image_size=32, short_side=36, frame_rate=5.0, num_frames=4)
MODEL = make_model(MoViNetConfig(TINY, causal=True, factorized=True, se_type="2plus3d"))
CLIP = np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3), np.uint8)


def export(path: Path, model: Any = MODEL, **options: Any) -> exporting.Exported:
    return movinet.export(model, path, **{"input_spec": SPEC, **options})


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"image_size": "64"}, "image_size must be an integer from 1 to 16384, not '64'"),
        ({"image_size": 10**6}, "image_size must be an integer from 1 to 16384"),
        ({"batch_size": True}, "batch_size must be an integer from 1 to 4096, not True"),
        ({"num_frames": 2.0}, "num_frames must be an integer from 1 to 4096, not 2.0"),
        ({"source_size": 5}, "source_size must be (height, width), each from 1 to 16384, not 5"),
        ({"source_size": (10,)}, "each from 1 to 16384, not (10,)"),
        ({"source_size": (40.0, 50)}, "each from 1 to 16384, not (40.0, 50)"),
        (
            {"outputs": ("embedding",)},
            "outputs must be ('logits',) or ('logits', 'embedding'), not",
        ),
        ({"outputs": "logits"}, "outputs must be ('logits',) or ('logits', 'embedding'), not"),
        (
            {"outputs": 2 * ["logits"]},
            "outputs must be ('logits',) or ('logits', 'embedding'), not",
        ),
        ({"labels": 7}, "labels are a list of names"),
        ({"labels": "kinetics-600"}, "600 labels for 7 classes"),
        ({"labels": list(range(7))}, "labels are a list of names"),
        ({"input_spec": 5}, "input_spec must be an InputSpec, not int"),
        ({"quantize": "int8", "calibration": 5}, "calibration takes a folder, or clips"),
        ({"quantize": "int8", "calibration": []}, "there are none"),
        ({"quantize": "int8", "calibration": [[]]}, "number 0 is (0,) float64"),
        ({"quantize": "int8", "calibration": CLIP}, "number 0 is (40, 40, 3) uint8"),
    ],
)
def test_arguments_that_cannot_be(options, reason, tmp_path: Path) -> None:
    if options.get("labels") == list(range(7)):
        options = {"labels": list(range(MODEL.config.num_classes))}
    with pytest.raises(ConfigError) as caught:
        export(tmp_path / "x.tflite", **options)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_places_where_no_file_can_be_are_told_before_the_work(tmp_path: Path, monkeypatch) -> None:
    def work(_: Any) -> None:
        raise AssertionError("it began to work")

    monkeypatch.setattr(exporting, "fold", work)
    (tmp_path / "folder.tflite").mkdir()
    with pytest.raises(OSError, match=r"cannot be written \(it is a folder\)"):
        export(tmp_path / "folder.tflite")
    with pytest.raises(OSError, match=r"there is no folder .*none"):
        export(tmp_path / "none" / "x.tflite")


def test_quantize_is_checked_before_videos_are_read(tmp_path: Path) -> None:
    """Not after: reading them takes minutes, and here there are none."""
    with pytest.raises(ConfigError, match="quantize must be one of"):
        export(tmp_path / "x.tflite", quantize="int4", calibration=tmp_path / "none")  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_models_in_half_precision_export(dtype, tmp_path: Path) -> None:
    """The file computes in float32, so it is compared with the same weights in float32."""
    assert export(tmp_path / "x.tflite", copy.deepcopy(MODEL).to(dtype)).agreement.error < 1e-5


def test_a_model_that_says_nothing_yet_exports(tmp_path: Path) -> None:
    """A classifier of zeros, where training starts."""
    model = copy.deepcopy(MODEL)
    with torch.no_grad():
        for parameter in model.classifier.parameters():
            parameter.zero_()
    done = export(tmp_path / "x.tflite", model)
    assert (done.agreement.error, done.agreement.rms) == (0, 0)


def test_black_calibration_still_gives_a_file(tmp_path: Path) -> None:
    done = export(tmp_path / "x.tflite", quantize="int8", calibration=[np.zeros_like(CLIP)])
    assert math.isfinite(done.agreement.error)


def test_what_an_engine_refuses_is_told_by_the_files_own_name(tmp_path: Path, monkeypatch) -> None:
    def refuse(path: Path) -> None:
        raise CheckpointError(f"{path}: LiteRT cannot load it")

    monkeypatch.setattr(exporting, "load", refuse)
    with pytest.raises(MovinetError, match=r"x\.tflite: the engine refuses .*LiteRT") as caught:
        export(tmp_path / "x.tflite")
    assert "/." not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_line_whoever_writes(tmp_path: Path, monkeypatch) -> None:
    """PyTorch and OpenVINO raise RuntimeError, with their own stack in it."""

    def full(_program: Any, _manifest: Any, path: Path) -> None:
        path.write_bytes(b"half")
        raise RuntimeError("[enforce fail at inline_container.cc:815]\nframe #0: ...")

    monkeypatch.setattr("movinet.exporting.writers.litert.write_litert", full)
    with pytest.raises(OSError, match=r"x\.tflite: cannot be written \(\[enforce") as caught:
        export(tmp_path / "x.tflite")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
