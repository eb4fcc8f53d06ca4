"""Settings that nobody gave: whose they are."""

from __future__ import annotations

import dataclasses
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from movinet.embedded import embedded_path
from movinet.errors import CheckpointError, ConfigError
from movinet.network.config import InputSpec, MoViNetConfig
from movinet.network.presets import input_spec, preset_config
from movinet.training.build import build_model
from movinet.training.config import TrainConfig
from movinet.training.recipes import load_config, to_yaml
from movinet.training.resolve import TRAINING_FIELDS
from movinet.weights.factory import load_model
from movinet.weights.saving import save_weights
from networks import make_model

#: What Google's quantised files are: no squeeze-excitation, relu6.
LITE = {"activation": "relu6", "head_activation": "relu6", "se_type": "none"}
#: No preset has it.
INPUT = InputSpec(image_size=96, short_side=112, frame_rate=10.0, num_frames=24)


def saved(path: Path, preset: str = "t0_stream", **overrides: Any) -> str:
    """A file with an input of its own."""
    model = make_model(preset, num_classes=3, **overrides)
    file = path / f"{preset}.safetensors"
    save_weights(
        file,
        model.state_dict(),
        config=model.config,
        input_spec=INPUT,
        preset=preset,
        labels=list("abc"),
    )
    return str(file)


def size_of(config: TrainConfig) -> tuple[int, int, float, int]:
    size = config.input
    return size.image_size, size.short_side, size.frame_rate, size.test_frames


def network_of(config: TrainConfig) -> MoViNetConfig:
    return config.model.network(num_classes=3)


def load(recipe: str, *settings: str) -> TrainConfig:
    """A configuration that gives no warning, and that is the same when it is read back."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return load_config(recipe, settings)


def assert_stable(config: TrainConfig, folder: Path) -> None:
    stored = folder / "stored.yaml"
    stored.write_text(to_yaml(config))
    assert load(str(stored)) == config


@pytest.mark.parametrize("preset", ["a2_stream", "a3_base", "a5_stream", "t0_base"])
def test_a_preset_brings_its_size_and_rate(preset: str) -> None:
    spec = input_spec(preset)
    expected = (spec.image_size, spec.short_side, spec.frame_rate, spec.num_frames)
    for recipe in ("finetune", "a0_stream"):
        config = load(recipe, f"model.preset={preset}")
        assert size_of(config) == expected
    assert config.input.train_frames == preset_config(preset).trained_frames
    assert load("finetune", f"model.preset={preset}").input.train_frames == 16  # the recipe's


def test_what_is_set_is_kept_and_the_short_side_follows_the_image() -> None:
    settings = ["model.preset=a2_stream", "input.frame_rate=8", "input.test_frames=30"]
    assert size_of(load("finetune", *settings)) == (224, 256, 8, 30)
    smaller = load("finetune", "input.image_size=86")
    assert size_of(smaller) == (86, 96, 5, 50)  # half of 172 and 192
    both = load("finetune", "input.image_size=86", "input.short_side=86")
    assert size_of(both) == (86, 86, 5, 50)
    assert size_of(load("finetune", "input.image_size=null")) == (172, 192, 5, 50)


def test_another_preset_brings_its_size_instead_of_that_of_the_recipe(tmp_path: Path) -> None:
    """`motions` has a size and an architecture, which are those of its network."""
    config = load("motions", "model.preset=a2_stream")
    assert size_of(config) == (224, 256, 5, 50)
    assert config.model.architecture is None
    assert config.model.overrides == {"dropout": 0.1, "drop_path": 0.05, "norm_momentum": 0.05}
    file = tmp_path / "mine.yaml"
    file.write_text("base: motions\ninput: {image_size: 80}\n")
    assert size_of(load(str(file), "model.preset=a2_stream")) == (80, 91, 5, 50)


def test_a_run_from_a_file_trains_the_network_of_the_file(tmp_path: Path) -> None:
    file = saved(tmp_path, **LITE, dropout=0.3)
    config = load("finetune", f"model.weights={file}")
    network = network_of(config)
    assert network == preset_config("t0_stream", num_classes=3, **LITE, dropout=0.3)
    assert size_of(config) == (96, 112, 10, 24)
    assert config.input.train_frames == 16
    assert_stable(config, tmp_path)
    model, notes, _ = build_model(config.model, ["x", "y"])
    assert len(notes) == 1
    assert "t0_stream with se_type=none, activation=relu6" in notes[0]
    theirs = load_model(None, file).model.state_dict()
    taken = [k for k, v in model.state_dict().items() if k in theirs and torch.equal(v, theirs[k])]
    assert {*theirs} - {*taken} == {"classifier.weight", "classifier.bias"}


def test_the_embedded_model_is_itself(tmp_path: Path) -> None:
    config = load("finetune", "model.weights=motions")
    theirs = load_model(None, "motions").model.config
    assert isinstance(theirs, MoViNetConfig)
    assert config.model.network(theirs.num_classes) == theirs
    assert size_of(config) == (64, 64, 8, 16)
    assert_stable(config, tmp_path)
    shutil.copy(embedded_path("motions"), tmp_path / "mine.safetensors")
    copied = load("finetune", f"model.weights={tmp_path / 'mine.safetensors'}")
    assert copied.model.network(7) == config.model.network(7)
    assert copied.input == config.input


def test_a_plain_file_of_tensors_is_identified(tmp_path: Path) -> None:
    torch.save(make_model("a1_base", num_classes=3, se_type="none").state_dict(), tmp_path / "x.pt")
    config = load("a1_base", f"model.weights={tmp_path / 'x.pt'}")
    assert network_of(config) == preset_config("a1_base", num_classes=3, se_type="none")
    assert size_of(config) == (172, 192, 5, 50)
    # Nothing in such a file says the activation of the hidden layer: a recipe may.
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("base: a1_base\nmodel: {overrides: {head_activation: relu6}}\n")
    assert network_of(load(str(recipe), f"model.weights={tmp_path / 'x.pt'}")).head_activation == (
        "relu6"
    )


def test_what_the_user_sets_counts_before_the_file(tmp_path: Path) -> None:
    file = saved(tmp_path, **LITE)
    settings = ["model.overrides.activation=hard_swish", "input.frame_rate=4"]
    config = load("finetune", f"model.weights={file}", *settings)
    changed = {**LITE, "activation": "hard_swish"}  # as in the preset
    assert network_of(config) == preset_config("t0_stream", num_classes=3, **changed)
    assert size_of(config) == (96, 112, 4, 24)
    assert_stable(config, tmp_path)
    notes = build_model(config.model, ["x", "y"]).notes
    assert "other settings: activation=hard_swish (theirs relu6)" in notes[1]
    # The preset of the file does not contradict it.
    same = load("finetune", f"model.weights={file}", "model.preset=t0_stream")
    assert network_of(same) == preset_config("t0_stream", num_classes=3, **LITE)


def test_a_recipe_sets_how_any_weights_are_trained(tmp_path: Path) -> None:
    """Batch norms' momentum, say; but not what the network computes."""
    file = saved(tmp_path, norm_momentum=0.01, dropout=0.3)
    config = load("finetune_small", f"model.weights={file}")  # over `motions`
    network = network_of(config)
    assert (network.norm_momentum, network.dropout, network.drop_path) == (0.05, 0.1, 0.05)
    assert network.trained_frames == preset_config("t0_stream").trained_frames
    assert config.model.architecture is None
    assert_stable(config, tmp_path)


def test_a_named_preset_of_the_other_kind_makes_a_stream_of_a_base_model(tmp_path: Path) -> None:
    file = saved(tmp_path, "t0_base")
    config = load("finetune", f"model.weights={file}", "model.preset=t0_stream")
    assert network_of(config) == preset_config("t0_stream", num_classes=3)
    assert size_of(config) == (96, 112, 10, 24)  # it saw this size
    assert_stable(config, tmp_path)


def test_a_base_model_is_trained_as_one_with_a_warning(tmp_path: Path) -> None:
    file = saved(tmp_path, "t0_base")
    with pytest.warns(
        UserWarning, match="is a base model and is trained as one; for a stream "
    ) as w:
        config = load_config("finetune", [f"model.weights={file}"])
    assert str(w[0].message).endswith("set model.preset=t0_stream")
    assert network_of(config) == preset_config("t0_base", num_classes=3)


def test_a_recipe_for_one_size_with_weights_of_another_warns(tmp_path: Path) -> None:
    file = saved(tmp_path)
    with pytest.warns(UserWarning, match=r"a0_stream: its batch size .* is t0_stream, which is"):
        load_config("a0_stream", [f"model.weights={file}"])


def test_weights_that_a_named_preset_cannot_take_are_refused(tmp_path: Path) -> None:
    file = saved(tmp_path)
    config = load("finetune", f"model.weights={file}", "model.preset=a1_stream")
    with pytest.raises(
        CheckpointError, match="is t0_stream, another architecture than the model's"
    ):
        build_model(config.model, ["x", "y"])


def refused(error: type[Exception], recipe: str, settings: Sequence[str]) -> str:
    with pytest.raises(error) as caught:
        load_config(recipe, settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_overrides_that_the_network_of_a_file_cannot_have(tmp_path: Path) -> None:
    settings = [
        f"model.weights={saved(tmp_path, **LITE)}",
        "model.overrides.positional_encoding=true",
    ]
    found = refused(ConfigError, "finetune", settings)
    assert found.startswith("finetune: model.overrides: positional_encoding needs causal=True and")


def test_a_whole_configuration_needs_its_weights_no_more(tmp_path: Path) -> None:
    """A run that resumes has them in its checkpoint."""
    file = Path(saved(tmp_path, **LITE))
    settings = [f"model.weights={file}", f"run.folder={tmp_path}"]
    config = load("finetune", *settings)
    file.unlink()
    assert_stable(config, tmp_path)
    assert "no such file" in (found := refused(CheckpointError, "finetune", settings))
    assert "movinet train" not in found
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    advice = f"movinet train {tmp_path / 'config.yaml'}"
    assert refused(CheckpointError, "finetune", settings).endswith(advice)


def test_broken_weights_are_reported_at_once(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    file.write_bytes(b"nothing")
    found = refused(CheckpointError, "finetune", [f"model.weights={file}"])
    assert f"{file}: not a readable .safetensors file" in found


def test_every_field_of_a_network_is_either_the_weights_or_for_training() -> None:
    """A new field needs a decision: may a recipe change it under any weights?"""
    names = {field.name for field in dataclasses.fields(MoViNetConfig)}
    computed = {
        *("architecture", "num_classes", "causal", "factorized", "se_type", "activation"),
        *("gating_activation", "head_activation", "positional_encoding", "trained_frames"),
        *("pooling", "multi_label_pooling", "norm_eps"),
    }
    assert names == computed | {*TRAINING_FIELDS}
    assert not computed & {*TRAINING_FIELDS}
