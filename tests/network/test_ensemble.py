"""Ensembles: the mean of logits, each member with its own view of the video."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

import movinet
from movinet.errors import ConfigError
from movinet.network.config import InputSpec
from movinet.network.ensemble import Ensemble, temporal_ensemble
from movinet.torch_runtime import wrap
from movinet.video import VideoReader, preprocess
from networks import make_model, make_video, tiny_base, tiny_stream
from video.synthetic import make_video as write_video

SPEC = InputSpec(image_size=32, short_side=36, frame_rate=4, num_frames=8)
LABELS = [f"label {i}" for i in range(7)]


def test_a6_is_a4_and_a5() -> None:
    model = movinet.create_model("a6_base", num_classes=3)
    assert isinstance(model, Ensemble)
    assert [m.config for m in model.networks] == [
        movinet.create_model(name, num_classes=3).config for name in ("a4_base", "a5_base")
    ]
    assert [(s.image_size, s.frame_rate, s.num_frames) for s in model.inputs] == [
        (290, 8, 80),
        (320, 12, 120),
    ]
    videos = [make_video(1, 2), make_video(1, 3, 40, 40)]
    with torch.no_grad():
        expected = sum(m(v) for m, v in zip(model.networks, videos, strict=True)) / 2
        torch.testing.assert_close(model(videos), expected)


def test_streams_in_an_ensemble() -> None:
    members = [make_model(tiny_stream()), make_model(tiny_stream(), se_type="3d")]
    model = Ensemble(members, [SPEC, dataclasses.replace(SPEC, image_size=24)])
    states = model.initial_state(2, [(32, 32), (24, 24)])
    outputs = []
    for i in range(3):
        frames = [make_video(2, 1, 32, 32, seed=i), make_video(2, 1, 24, 24, seed=i)]
        logits, states = model(frames, states)
        outputs.append(logits)
    clips = [
        torch.cat([make_video(2, 1, side, side, seed=i) for i in range(3)], 2) for side in (32, 24)
    ]
    torch.testing.assert_close(outputs[-1], model(clips), rtol=1e-4, atol=1e-5)


def test_decay_reaches_every_member() -> None:
    members = [make_model(tiny_stream()), make_model(tiny_stream(), se_type="3d")]
    model = Ensemble(members, [SPEC, SPEC])
    clips = [make_video(), make_video()]
    logits, _ = model(clips, model.initial_state(2, [(32, 32)] * 2), 0.5)
    expected = torch.stack([member(clips[0], None, 0.5) for member in members]).mean(0)
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(model(clips, None, 0.5), expected)
    assert not torch.allclose(model(clips), expected)


def test_members_that_do_not_go_together() -> None:
    base = make_model(tiny_base())
    with pytest.raises(ConfigError, match="differ in causal"):
        Ensemble([base, make_model(tiny_stream())], [SPEC, SPEC])
    with pytest.raises(ConfigError, match="differ in num_classes"):
        Ensemble([base, make_model(tiny_base(), num_classes=3)], [SPEC, SPEC])
    with pytest.raises(ConfigError, match="differ in pooling"):
        Ensemble([base, make_model(tiny_base(pooling="2d"))], [SPEC, SPEC])
    with pytest.raises(ConfigError, match="are MoViNets"):
        Ensemble([Ensemble([base], [SPEC])], [SPEC])  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigError, match="one architecture"):
        temporal_ensemble(base, make_model("t0_base"), SPEC)
    with pytest.raises(ConfigError, match="1 inputs"):
        Ensemble([base, base], [SPEC])
    with pytest.raises(ConfigError, match="2 members need as many videos: 1"):
        Ensemble([base, base], [SPEC, SPEC])([make_video()])


def test_temporal_ensemble_sees_every_frame_once(tmp_path: Path) -> None:
    """Two half-rate members, one frame apart: even frames go to one, odd ones to the other."""
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (40, 48, 3), np.uint8) for _ in range(8)]
    path = tmp_path / "video.mkv"
    write_video(path, images, times=[i / 4 for i in range(8)], codec="ffv1", pix_fmt="bgr0")
    first, second = make_model(tiny_base()), make_model(tiny_base(), activation="hard_swish")
    model = temporal_ensemble(first, second, SPEC)
    assert [spec.frame_rate for spec in model.inputs] == [2, 2]
    assert [spec.num_frames for spec in model.inputs] == [4, 4]
    (prediction,) = movinet.predict(path, wrap(model, LABELS))
    with VideoReader(path) as reader:
        frames = [preprocess(frame.image, SPEC) for frame in reader]
    clip = torch.from_numpy(np.stack(frames)).permute(3, 0, 1, 2)[None]
    with torch.no_grad():
        logits = (first(clip[:, :, 0::2]) + second(clip[:, :, 1::2])) / 2
    np.testing.assert_allclose(
        prediction.probabilities, logits[0].softmax(0).numpy(), rtol=1e-4, atol=1e-6
    )


def test_wrap_checks_what_it_is_given() -> None:
    base = make_model(tiny_base())
    with pytest.raises(ConfigError, match="needs an input spec"):
        wrap(base, LABELS)
    with pytest.raises(ConfigError, match="an ensemble has its own"):
        wrap(Ensemble([base], [SPEC]), LABELS, SPEC)
    with pytest.raises(ConfigError, match="1 labels for 7 classes"):
        wrap(base, ["one"], SPEC)
    with pytest.raises(ConfigError, match="base model"):
        wrap(base, LABELS, SPEC).stream()


def test_a_runtimes_streams_are_independent() -> None:
    """Snapshot, restore, reset; streams of one runtime share nothing but the weights."""
    runtime = wrap(make_model(tiny_stream()), LABELS, SPEC)
    rng = np.random.default_rng(1)
    frames = [rng.integers(0, 255, (50, 60, 3), np.uint8) for _ in range(6)]
    alone = runtime.stream()
    expected = [alone(frame) for frame in frames]
    one, other = runtime.stream(), runtime.stream()
    snapshots = []
    for i, frame in enumerate(frames):
        np.testing.assert_array_equal(one(frame), expected[i])
        snapshots.append(one.snapshot())
        other(frames[-1 - i])
    other.restore(snapshots[2])
    np.testing.assert_array_equal(other(frames[3]), expected[3])
    one.reset()
    np.testing.assert_array_equal(one(frames[0]), expected[0])
    model = make_model(tiny_stream())
    clip = torch.from_numpy(np.stack([preprocess(frame, SPEC) for frame in frames]))
    with torch.no_grad():
        logits = model(clip.permute(3, 0, 1, 2)[None])
    np.testing.assert_allclose(expected[-1], logits[0].softmax(0).numpy(), rtol=1e-4, atol=1e-6)


def test_a_runtimes_decay_is_the_models() -> None:
    model = make_model(tiny_stream())
    frame = np.random.default_rng(2).integers(0, 255, (36, 36, 3), np.uint8)
    other = 255 - frame
    outputs = []
    for decay in (None, 0.5):
        stream = wrap(model, LABELS, SPEC, decay=decay).stream()
        for image in (frame, frame, other):
            output = stream(image)
        outputs.append(output)
    assert np.abs(outputs[0] - outputs[1]).max() > 1e-4
