from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from movinet.errors import CheckpointError, ConfigError
from movinet.network.config import MoViNetConfig
from movinet.network.convolution import ConvNorm
from movinet.network.layers import Block
from movinet.network.model import MoViNet
from movinet.network.presets import input_spec
from movinet.training.build import (
    FUNCTION_FIELDS,
    OTHER_FIELDS,
    Built,
    build_model,
    set_training,
)
from movinet.training.config import ModelSection
from movinet.weights.saving import save_weights
from networks import make_model, make_video

LABELS = ("run", "sit", "stand")


def saved(
    path: Path, preset: str = "t0_stream", labels: Sequence[str] = LABELS, **overrides: Any
) -> tuple[str, MoViNet]:
    """A file of weights, and the model that they are of."""
    model = make_model(preset, num_classes=len(labels), **overrides)
    spec = input_spec(preset)
    file = path / "weights.safetensors"
    save_weights(
        file, model.state_dict(), config=model.config, input_spec=spec, preset=preset, labels=labels
    )
    return str(file), model


def build_whole(labels: Sequence[str] = LABELS, **section: Any) -> Built:
    torch.manual_seed(0)
    return build_model(ModelSection(**{"preset": "t0_stream", **section}), labels)


def build(labels: Sequence[str] = LABELS, **section: Any) -> tuple[MoViNet, tuple[str, ...]]:
    built = build_whole(labels, **section)
    return built.model, built.notes


def refused(error: type[Exception], labels: Sequence[str] = LABELS, **section: Any) -> str:
    with pytest.raises(error) as caught:
        build(labels, **section)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def statistics(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.named_buffers() if "running" in name}


def test_from_scratch_the_network_is_the_presets_with_a_class_for_each_label() -> None:
    model, notes = build(overrides={"dropout": 0.4, "lowering": "3d"})
    assert (model.config.num_classes, model.config.dropout, model.config.lowering) == (3, 0.4, "3d")
    assert notes == ()
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_whole_weights_give_the_same_function(tmp_path: Path) -> None:
    file, source = saved(tmp_path)
    model, notes = build(weights=file)
    video = make_video()
    torch.testing.assert_close(model.eval()(video), source(video), rtol=0, atol=0)
    assert notes == (f"weights taken: {file} (t0_stream), whole",)


def test_weights_may_lie_in_a_plain_file_of_tensors(tmp_path: Path) -> None:
    source = make_model("t0_stream", num_classes=3)
    torch.save({"model": source.state_dict()}, tmp_path / "last.pt")
    model, _ = build(weights=str(tmp_path / "last.pt"))
    video = make_video()
    torch.testing.assert_close(model.eval()(video), source(video), rtol=0, atol=0)
    # Such a file does not say its activation: nothing can be said to differ.
    overrides = {"head_activation": "swish"}
    assert len(build(weights=str(tmp_path / "last.pt"), overrides=overrides)[1]) == 1


def test_a_backbone_is_taken_for_any_classes_and_the_last_layer_starts_anew(tmp_path: Path) -> None:
    file, source = saved(tmp_path)
    model, notes = build(["cat", "dog"], weights=file, load="backbone")
    theirs = source.state_dict()
    for name, value in model.state_dict().items():
        if not name.startswith("classifier."):
            assert torch.equal(value, theirs[name]), name
    assert model.classifier.weight.shape[0] == 2
    assert model.classifier.weight.std() < 0.02
    assert notes == (f"weights taken: {file} (t0_stream); re-initialised: the last layer",)


def test_a_backbone_of_the_same_classes_gets_a_new_last_layer_too(tmp_path: Path) -> None:
    file, source = saved(tmp_path)
    model, _ = build(weights=file, load="backbone")
    assert not torch.equal(model.classifier.weight, source.classifier.weight)


def test_other_classes_are_refused_for_whole_weights(tmp_path: Path) -> None:
    file, _ = saved(tmp_path)
    few = refused(ConfigError, ["cat", "dog"], weights=file)
    assert f"model.weights: {file} has 3 classes, the data 2; model.load=backbone" in few
    order = refused(ConfigError, ["run", "stand", "sit"], weights=file)
    assert (
        "has 'sit' as class 1, the data 'stand' (its 'stand' is class 2); give data.labels" in order
    )


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    file, _ = saved(tmp_path)
    found = refused(CheckpointError, preset="a0_stream", weights=file)
    assert f"{file} is t0_stream, another architecture than the model's; omit model.preset" in found


def test_missing_and_broken_weights(tmp_path: Path) -> None:
    assert "no such file" in refused(CheckpointError, weights=str(tmp_path / "no.safetensors"))
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"nothing")
    assert str(broken) in refused(CheckpointError, weights=str(broken))


def test_every_field_of_a_network_has_a_verdict() -> None:
    """One that is renamed may not silently lose its own, and a new one is announced."""
    names = {field.name for field in dataclasses.fields(MoViNetConfig)}
    assert names >= OTHER_FIELDS
    assert {"causal", "activation", "pooling", "norm_eps"} <= set(FUNCTION_FIELDS)


def test_settings_that_the_weights_were_not_made_for_are_told(tmp_path: Path) -> None:
    file, _ = saved(tmp_path, head_activation="swish")
    _, notes = build(weights=file, overrides={"dropout": 0.0})
    assert "other settings: head_activation=hard_swish (theirs swish)" in notes[1]
    assert len(build(weights=file, overrides={"head_activation": "swish"})[1]) == 1


def test_a_frozen_backbone_stays_the_same_function_while_the_classifier_learns(
    tmp_path: Path,
) -> None:
    file, _ = saved(tmp_path)
    model, _ = build(["cat", "dog"], weights=file, load="backbone", freeze_backbone=True)
    trained = {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {"hidden", "classifier"}
    for _ in range(2):
        before, weights = statistics(model), model.stem.weight.clone()
        features = [model.blocks["block4_layer0"].training, model.head.norm.training]
        assert features == [False, False]  # no branch is dropped, statistics are kept
        assert model.training
        assert model.dropout.training
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
        model(make_video()).square().sum().backward()
        optimizer.step()
        assert all(torch.equal(value, before[name]) for name, value in statistics(model).items())
        assert torch.equal(model.stem.weight, weights)
        assert model.classifier.weight.grad is not None
        model.eval()
        set_training(model)  # as after an evaluation


def test_a_whole_network_in_training_moves_its_statistics() -> None:
    model, _ = build()
    set_training(model.eval())
    before = statistics(model)
    model(make_video())
    assert not any(torch.equal(value, before[name]) for name, value in statistics(model).items())


@pytest.fixture
def from_base(tmp_path: Path) -> tuple[MoViNet, MoViNet, tuple[str, ...]]:
    file, source = saved(tmp_path, "t0_base")
    model, notes = build(weights=file)
    return model, source, notes


def test_a_stream_starts_from_base_weights(
    from_base: tuple[MoViNet, MoViNet, tuple[str, ...]],
) -> None:
    model, source, notes = from_base
    ours, theirs = model.state_dict(), source.state_dict()
    for name in ("stem.weight", "head.norm.running_var", "hidden.weight", "classifier.bias"):
        assert torch.equal(ours[name], theirs[name])
    for name, value in ours.items():
        if name.endswith((".scale", "expand.norm.bias", "project.weight")) and ".se." not in name:
            assert torch.equal(value, theirs[name]), name
    assert "re-initialised: temporal kernels, squeeze-excitation" in notes[0]
    assert "needs training before it predicts" in notes[1]
    assert "causal=True (theirs False)" in notes[2]
    logits = model(make_video())
    assert torch.isfinite(logits).all()


def test_a_backbone_with_random_parts_is_not_frozen(tmp_path: Path) -> None:
    file, _ = saved(tmp_path, "t0_base")
    found = refused(ConfigError, weights=file, load="backbone", freeze_backbone=True)
    assert f"of {file} the model cannot take temporal kernels, squeeze-excitation, which" in found


def test_the_spatial_half_filters_a_still_video_as_the_whole_kernel_did(
    from_base: tuple[MoViNet, MoViNet, tuple[str, ...]],
) -> None:
    model, source, _ = from_base
    split = 0
    for name, block in model.blocks.items():
        whole = source.blocks[name]
        assert isinstance(block, Block)
        assert isinstance(whole, Block)
        channels, time = block.spec.expand, block.spec.kernel_time
        still = torch.rand(1, channels, 1, 9, 9)
        repeated = still.expand(-1, -1, time, -1, -1)
        expected = nn.functional.conv3d(repeated, whole.depthwise.weight, groups=channels)
        y = nn.functional.conv3d(still, block.depthwise.weight, groups=channels)
        torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)
        assert torch.equal(block.depthwise.norm.weight, whole.depthwise.norm.weight)
        if block.temporal is not None:
            split += 1
            assert torch.equal(block.temporal.norm.weight, torch.ones(channels))
            assert block.temporal.weight.std() > 0
    assert split >= 3


def test_base_from_stream_weights_starts_anew_where_kernels_cannot_be_joined(
    tmp_path: Path,
) -> None:
    file, source = saved(tmp_path)
    model, notes = build(preset="t0_base", weights=file)
    assert "re-initialised: depthwise kernels, squeeze-excitation" in notes[0]
    fresh = [
        layer.depthwise
        for layer in model.blocks.values()
        if isinstance(layer, Block) and layer.spec.kernel_time > 1
    ]
    assert fresh
    for layer in fresh:  # statistics of another kernel would be wrong
        assert isinstance(layer, ConvNorm)
        assert torch.equal(layer.norm.weight, torch.ones_like(layer.norm.weight))
    assert torch.equal(model.stem.weight, source.stem.weight)


def test_of_a_backbone_alone_no_classifier_is_taken(tmp_path: Path) -> None:
    model = make_model("t0_stream", num_classes=3)
    file = tmp_path / "backbone.safetensors"
    save_weights(
        file,
        model.state_dict(),
        config=model.config,
        input_spec=input_spec("t0_stream"),
        preset="t0_stream",
        labels=LABELS,
        assumed=["classifier"],
    )
    built = build_whole(weights=str(file), load="backbone")
    assert torch.equal(built.model.head.weight, model.head.weight)
    assert not torch.equal(built.model.hidden.weight, model.hidden.weight)
    assert built.notes[0].endswith("re-initialised: the classifier's hidden layer, the last layer")
    assert "has no classifier; model.load=backbone" in refused(
        ConfigError, weights=str(file), load="all"
    )
