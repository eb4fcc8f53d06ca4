"""The network gives the reference's outputs, state and endpoints (tests/data/README.md)."""

import gzip
import json
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from movinet.checkpoints.keys import entries
from movinet.network.architectures import ARCHITECTURES
from movinet.network.config import MoViNetConfig
from movinet.network.model import MoViNet
from movinet.network.state import StreamState
from movinet.weights.layouts import tf_to_torch, torch_to_tf
from reference_weights import video as reference_video
from reference_weights import weight

CASES = Path(__file__).parent.parent / "data" / "cases"
#: Of the largest reference value; the network reaches 3e-6.
TOLERANCE = 1e-5


@cache
def cases() -> dict[str, Any]:
    return json.loads(gzip.decompress((CASES / "cases.json.gz").read_bytes()))


NAMES = sorted(path.stem for path in CASES.glob("*.npz"))


def config_of(case: dict[str, Any], **overrides: Any) -> MoViNetConfig:
    return MoViNetConfig(
        ARCHITECTURES[case["model_id"]],
        num_classes=case["num_classes"],
        causal=case["causal"],
        factorized=case["conv_type"] != "3d",
        se_type=case["se_type"],
        activation=case["activation"],
        gating_activation=case["gating_activation"],
        head_activation=case["head_activation"],
        positional_encoding=case["use_positional_encoding"],
        **overrides,
    )


@lru_cache(maxsize=1)  # tests of one case follow each other
def tensors_of(name: str) -> dict[str, np.ndarray]:
    return {key: weight(key, tuple(shape)) for key, shape in cases()[name]["keys"].items()}


def load(name: str, lowering: str) -> tuple[MoViNet, torch.Tensor, dict[str, np.ndarray]]:
    case = cases()[name]
    config = config_of(case, lowering=lowering)
    model = MoViNet(config, initialize=False).eval()
    model.load_state_dict(tf_to_torch(tensors_of(name), config))
    video = torch.from_numpy(reference_video(tuple(case["shape"]))).permute(0, 4, 1, 2, 3)
    with np.load(CASES / f"{name}.npz") as data:
        return model, video, dict(data)


def assert_parity(found: np.ndarray, expected: np.ndarray, what: str) -> None:
    found = found.reshape(expected.shape)
    error = np.abs(found - expected).max() / np.abs(expected).max()
    assert error <= TOLERANCE, f"{what}: off by {error:.2g} of the largest value"


def summary(value: np.ndarray) -> np.ndarray:
    return np.array([value.mean(), value.std(), np.abs(value).max()])


def test_all_cases_are_here() -> None:
    assert sorted(cases()) == NAMES
    assert len(NAMES) == 23


@pytest.mark.parametrize("lowering", ["2d", "3d"])
@pytest.mark.parametrize("name", NAMES)
def test_clip(name: str, lowering: str) -> None:
    model, video, expected = load(name, lowering)
    with torch.no_grad():
        assert_parity(model(video).numpy(), expected["logits"], "logits")
        features = model.features(video)
    for key, value in expected.items():
        if key.startswith("endpoint/"):
            stage = key.removeprefix("endpoint/")
            stage = "embedding" if stage == "head" else stage  # the reference's is pooled
            assert_parity(summary(features[stage].numpy()), value, key)


@pytest.mark.parametrize("lowering", ["2d", "3d"])
@pytest.mark.parametrize("name", [name for name in NAMES if cases()[name]["causal"]])
def test_frame_by_frame(name: str, lowering: str) -> None:
    model, video, expected = load(name, lowering)
    state = model.initial_state(len(video), (video.shape[3], video.shape[4]))
    logits = []
    with torch.no_grad():
        for frame in video.split(1, dim=2):
            output, state = model(frame, state)
            logits.append(output)
    assert_parity(torch.stack(logits, 1).numpy(), expected["frame_logits"], "frame logits")
    checked = 0
    for key, value in expected.items():
        if key.startswith("state/"):
            assert_state(state, key.removeprefix("state/state_"), value, video.shape[2])
            checked += 1
    assert checked >= len(state.buffers) + len(state.sums)


def assert_state(state: StreamState, key: str, expected: np.ndarray, frames: int) -> None:
    if key.endswith("frame_count"):
        assert expected.tolist() == [frames]
        assert state.frame_count.tolist() == [frames] * len(state.frame_count)
        return
    if key.endswith("_stream_buffer"):
        found = state.buffers[key.removesuffix("_stream_buffer")].permute(0, 2, 3, 4, 1).numpy()
    else:
        found = state.sums[key.removesuffix("_pool_buffer").removesuffix("_buffer")].numpy()
        if key == "head_pool_buffer":
            found = state.sums["head"].numpy()
    is_summary = expected.shape == (3,) and found.size != 3
    assert_parity(summary(found) if is_summary else found, expected, key)


@pytest.mark.parametrize("name", NAMES)
def test_key_table(name: str) -> None:
    """Every key and shape of the reference's checkpoint, and back, bit for bit."""
    case = cases()[name]
    config = config_of(case)
    table = {e.tf_key: list(e.tf_shape) for e in entries(config, case["conv_type"])}
    assert table == case["keys"]
    assert sum(int(np.prod(shape)) for shape in case["keys"].values()) == case["parameters"]
    tensors = tensors_of(name)
    state = tf_to_torch(tensors, config)
    assert set(state) == set(MoViNet(config, initialize=False).state_dict())
    back = torch_to_tf(state, config, case["conv_type"])
    assert set(back) == set(tensors)
    for key, value in tensors.items():
        assert (back[key].dtype, back[key].shape) == (value.dtype, value.shape)
        assert back[key].tobytes() == value.tobytes(), key


def test_both_factorised_layouts_load_into_one_model() -> None:
    case = cases()["a0_stream"]
    config = config_of(case)
    state = tf_to_torch(tensors_of("a0_stream"), config)
    again = tf_to_torch(torch_to_tf(state, config, "3d_2plus1d"), config)
    assert all(torch.equal(state[name], again[name]) for name in state)
