"""Networks from the .tflite files that `movinet.export` wrote."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import movinet
from movinet.errors import CheckpointError
from movinet.network.config import InputSpec, MoViNetConfig
from movinet.runtime.base import ModelInfo
from movinet.weights.factory import LoadedModel, load_model
from networks import TINY, make_model, make_video, tiny_base, tiny_stream

SPEC = InputSpec(image_size=32, short_side=36, frame_rate=7.5, num_frames=4)
LABELS = tuple("abcdefg")
CLIPS = [np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)]
NETWORKS = {
    "placed": tiny_stream(),
    "plain": tiny_stream(
        positional_encoding=False, se_type="none", activation="relu6", head_activation="relu6"
    ),
    "whole kernels": tiny_stream(factorized=False, gating_activation="sigmoid"),
    "base": tiny_base(),
    "factorized base": tiny_base(factorized=True, se_type="2plus3d", activation="hard_swish"),
}


def read_back(config: MoViNetConfig, path: Path, **options: Any) -> tuple[float, LoadedModel]:
    """Export a network and read it: how far the logits of a video are off, and what was read."""
    model = make_model(config)
    info = ModelInfo("mine", SPEC, LABELS, config.causal, "a run of mine")
    movinet.export(LoadedModel(model, info), path, **options)
    loaded = load_model(None, path)
    video = make_video(batch=1, frames=4)
    with torch.no_grad():
        expected, found = model(video), loaded.model(video)
    return float((found - expected).abs().max() / expected.abs().max()), loaded


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("uint8", [True, False])
def test_an_export_gives_its_network_back(name: str, uint8: bool, tmp_path: Path) -> None:
    path = tmp_path / "mine.tflite"
    error, loaded = read_back(NETWORKS[name], path, uint8=uint8)
    assert error < 2e-6
    assert loaded.model.config == NETWORKS[name]
    assert loaded.info.labels == LABELS
    assert loaded.info.input == SPEC
    assert loaded.info.origin == f"{path}, exported from a run of mine"
    assert loaded.info.notes == ()


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        ({"num_frames": 2}, 2e-6),
        ({"batch_size": 2}, 2e-6),
        ({"softmax": True, "source_size": (40, 48)}, 2e-6),
        ({"quantize": "float16"}, 3e-3),
        ({"quantize": "mixed"}, 0.02),
        ({"quantize": "dynamic"}, 0.04),
        ({"quantize": "int8", "calibration": CLIPS}, 0.04),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_however_it_was_exported(options: dict[str, Any], tolerance: float, tmp_path: Path) -> None:
    error, loaded = read_back(NETWORKS["placed"], tmp_path / "mine.tflite", **options)
    assert error < tolerance
    stored = options.get("quantize")
    how = f" ({stored} weights turned back to float32)" if stored else ""
    assert loaded.info.origin == f"{tmp_path / 'mine.tflite'}{how}, exported from a run of mine"


def test_whole_kernels_of_several_frames(tmp_path: Path) -> None:
    """Each frame of a step has the taps once more."""
    error, _ = read_back(NETWORKS["whole kernels"], tmp_path / "mine.tflite", num_frames=3)
    assert error < 2e-6


def rewritten(path: Path, change: dict[str, Any]) -> Path:
    """The file with another manifest."""
    data = path.read_bytes()
    values = {**json.loads(movinet.load(path).manifest.to_json()), **change}
    path.write_bytes(data[: data.index(b"PK\x03\x04")])
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("movinet.json", json.dumps(values))
    return path


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (tiny_stream(positional_encoding=False), "it has more layers"),
        (tiny_stream(se_type="3d"), r"blocks.block0_layer0.se.reduce has \[\[8, 32\], \[8\]\]"),
        (tiny_base(), r"blocks.block0_layer0.se.reduce has .*, not a kernel of \[8, 16\]"),
    ],
)
def test_a_manifest_of_another_network_is_refused(
    config: MoViNetConfig, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "mine.tflite"
    movinet.export(make_model(NETWORKS["placed"]), path, input_spec=SPEC)
    rewritten(path, {"config": config.to_dict()})
    with pytest.raises(CheckpointError, match=reason) as caught:
        load_model(None, path)
    assert str(caught.value).startswith(f"{path}: its graph is not the one of its manifest: ")


def test_a_manifest_without_a_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.tflite"
    movinet.export(make_model(NETWORKS["placed"]), path, input_spec=SPEC)
    rewritten(path, {"config": {"architecture": {"stem": TINY.stem}}})
    with pytest.raises(CheckpointError, match=r"mine.tflite: its manifest: not a MoViNet config"):
        load_model(None, path)
