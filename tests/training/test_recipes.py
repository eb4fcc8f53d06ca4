from __future__ import annotations

from pathlib import Path

import pytest

from movinet.catalog.published import find_card
from movinet.errors import ConfigError
from movinet.network.config import InputSpec
from movinet.network.presets import input_spec, preset_config
from movinet.training.config import TrainConfig
from movinet.training.recipes import list_recipes, load_any_config, load_config, to_yaml

#: The published configurations: image size, frames and stride in training, frames in tests, frames
#: a second, short side, dropout, AutoAugment, random stride in frames.
PUBLISHED = {
    "t0_base": (160, 25, 10, 25, 2.5, 176, 0.2, False, 0),
    "a0_base": (172, 50, 5, 50, 5, 192, 0.2, True, 1),
    "a1_base": (172, 50, 5, 50, 5, 192, 0.5, True, 1),
    "a2_base": (224, 50, 5, 50, 5, 256, 0.5, True, 1),
    "a3_base": (256, 64, 2, 120, 12, 288, 0.5, True, 1),
    "a4_base": (290, 32, 3, 80, 8, 320, 0.5, True, 1),
    "a5_base": (320, 32, 2, 120, 12, 368, 0.5, True, 1),
    "t0_stream": (160, 25, 10, 25, 2.5, 176, 0.2, False, 0),
    "a0_stream": (172, 50, 5, 50, 5, 192, 0.2, False, 0),
    "a1_stream": (172, 50, 5, 50, 5, 192, 0.2, False, 0),
    "a2_stream": (224, 50, 5, 50, 5, 256, 0.5, False, 0),
    "a3_stream": (256, 64, 2, 120, 12, 288, 0.5, False, 0),
    "a4_stream": (290, 32, 3, 80, 8, 320, 0.5, True, 1),
    "a5_stream": (320, 32, 2, 115, 12, 368, 0.5, True, 1),
}


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def message(recipe: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(recipe, overrides)
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_recipe_has_its_figures(name: str) -> None:
    config = load_config(name)
    size, frames, stride, test_frames, rate, short, dropout, policy, random = PUBLISHED[name]
    view = config.input
    assert (view.image_size, view.train_frames, view.test_frames) == (size, frames, test_frames)
    assert (view.frame_rate, view.short_side) == (rate, short)
    assert config.augment.policy == ("autoaugment" if policy else "none")
    assert config.augment.random_stride == pytest.approx(random / stride, abs=1e-4)
    network = preset_config(config.model.preset, **config.model.overrides)
    assert (config.model.preset, network.dropout, network.drop_path) == (name, dropout, 0.2)
    assert input_spec(name) == InputSpec(size, short, rate, test_frames)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_recipes_share_optimiser_schedule_and_crops(name: str) -> None:
    config = load_config(name)
    optimizer, schedule = config.optimizer, config.schedule
    assert (optimizer.name, optimizer.learning_rate) == ("rmsprop", 1.8)
    assert (optimizer.rho, optimizer.momentum, optimizer.epsilon) == (0.9, 0.9, 1.0)
    assert (optimizer.weight_decay, optimizer.clip_norm) == (3e-5, 1.0)
    assert (schedule.steps, schedule.warmup_steps, schedule.kind) == (85_785, 2_145, "cosine")
    assert config.engine.batch_size == 1024
    assert (config.engine.precision, config.engine.sync_norm) == ("bfloat16", True)
    assert config.loss.label_smoothing == 0.1
    assert config.augment.crop_area == (0.08, 1.0)
    assert config.augment.crop_aspect == (0.5, 2.0)
    assert config.augment.flip == 0.5


@pytest.mark.parametrize("kind", ["base", "stream"])
def test_the_variants_for_a_gpu_and_a_cpu(kind: str) -> None:
    gpu, cpu = load_config(f"a0_{kind}_gpu"), load_config(f"a0_{kind}_cpu_test")
    assert (gpu.input.train_frames, gpu.input.test_frames, gpu.schedule.warmup_steps) == (
        32,
        32,
        300,
    )
    assert (gpu.augment.policy, gpu.optimizer.learning_rate) == ("none", 1.8)
    assert (cpu.input.train_frames, cpu.engine.batch_size, cpu.schedule.steps) == (4, 2, 10)
    assert (cpu.engine.precision, cpu.input.image_size) == ("float32", 172)


def test_every_recipe_loads_says_what_it_is_and_survives_being_written(tmp_path: Path) -> None:
    recipes = list_recipes()
    assert {*PUBLISHED, "finetune", "motions"} <= set(recipes)
    for name, about in recipes.items():
        assert about
        config = load_any_config(name)
        assert load_any_config(write(tmp_path / "config.yaml", to_yaml(config))) == config


@pytest.mark.parametrize(
    "preset", [f"a{size}_{kind}" for size in range(6) for kind in ("base", "stream")]
)
def test_every_preset_with_published_weights_is_fine_tuned_at_its_size(preset: str) -> None:
    name = "finetune" if preset == "a0_stream" else f"finetune_{preset}"
    config, spec = load_config(name), input_spec(preset)
    assert find_card(config.model.preset, str(config.model.weights)).preset == preset
    assert config.model.freeze_norm
    assert (config.input.image_size, config.input.short_side) == (spec.image_size, spec.short_side)
    assert (config.input.frame_rate, config.input.test_frames) == (spec.frame_rate, spec.num_frames)
    assert config.engine.batch_size % config.engine.accumulate == 0
    assert config.run.folder == f"runs/{name}"


def test_fine_tuning_trains_from_the_first_steps_on_few_videos() -> None:
    """Ten videos make one step an epoch: a warm-up as long as the run would never train."""
    config = load_config("finetune")
    assert config.schedule.epochs is not None
    assert 2 * config.schedule.warmup_steps <= config.schedule.epochs
    assert (config.model.load, config.model.weights) == ("backbone", "kinetics-600")
    assert config.optimizer.backbone_factor < 1


def test_a_file_lies_over_a_recipe_and_overrides_over_both(tmp_path: Path) -> None:
    file = write(
        tmp_path / "mine.yml",
        "base: finetune\nengine: {batch_size: 4}\nmodel: {overrides: {dropout: 0.4}}\nabout: x",
    )
    config = load_config(file, ["engine.seed=7", "model.overrides.drop_path=1e-1"])
    recipe = load_config("finetune")
    assert config.model.overrides == {"dropout": 0.4, "drop_path": 0.1}
    engine = recipe.engine.model_copy(update={"batch_size": 4, "seed": 7})
    assert config.engine == engine
    assert config.augment == recipe.augment


def test_the_length_of_a_layer_takes_the_place_of_the_other_kind_below(tmp_path: Path) -> None:
    assert load_config("a0_base", ["schedule.epochs=2.5"]).schedule.steps is None
    file = write(tmp_path / "mine.yaml", "base: finetune\nschedule: {steps: 30}\n")
    schedule = load_config(file).schedule
    assert (schedule.steps, schedule.epochs) == (30, None)
    assert load_config(file, ["engine.seed=1"]).schedule == schedule
    both = message("a0_base", "schedule.epochs=2", "schedule.steps=90000")
    assert both == "a0_base: schedule: give either epochs or steps, not both"
    assert "not neither" in message("a0_base", "schedule.steps=null")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("a0_strem", "no recipe 'a0_strem'; did you mean a0_stream?"),
        ("fintune", "no recipe 'fintune'; did you mean finetune?"),
        ("_published", "no recipe '_published'; recipes: a0_base, "),
        ("../recipes/a0_base", "no recipe '../recipes/a0_base'; recipes: a0_base"),
        ("data.train=videos", "no recipe 'data.train=videos'; the recipe comes first, settings"),
        ("", "no recipe ''; recipes: a0_base"),
        ("nowhere.yaml", "nowhere.yaml: there is no such file; movinet train --list names recipes"),
    ],
)
def test_what_is_no_recipe(name: str, hint: str) -> None:
    assert hint in message(name)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("- 1", ": must be sections of settings"),
        ("", ": must be sections of settings"),
        ("a: [\n", "line 2: not YAML"),
        (
            "a: &a [1]\nb: *a",
            "line 2: not YAML as settings need it: aliases (*name) are not allowed",
        ),
        (
            "base: finetune\nengine:\n  seed: 1\n  seed: 2",
            "line 4: not YAML as settings need it: 'seed'",
        ),
        ("a: !!python/object:os.system 1", "line 1: not YAML as settings need it: could not"),
        ("a: " + "9" * 6000, "line 1: not YAML as settings need it: it is not of the type int"),
        ("[" * 20_000, "not YAML as settings need it: too deep"),
        ("a: !!bool x", "line 1: not YAML as settings need it: it is not of the type bool: 'x'"),
        ("a: " + "9" * 300_000, "more than 262144 bytes"),
        ("\0", "special characters are not allowed"),
        ("base: fintune", "base: no recipe 'fintune'; did you mean finetune?"),
        ("base: [1, 2]", "base: no recipe '[1, 2]'"),
        ("base: finetune\ndata:\n", ": data is a section: set data.train, "),
        ("base: finetune\nengin: {seed: 1}", "no setting 'engin.seed'; did you mean engine.seed?"),
        ("base: finetune\nrun: {folder: 2024}", "run.folder: must be text, not 2024"),
        (
            "model: {preset: a0_base}",
            ": optimizer is missing; schedule is missing; engine is missing",
        ),
    ],
)
def test_a_file_that_is_no_configuration(tmp_path: Path, text: str, hint: str) -> None:
    found = message(write(tmp_path / "mine.yaml", text))
    assert str(tmp_path / "mine.yaml") in found
    assert hint in found


def test_a_date_in_a_file_is_text(tmp_path: Path) -> None:
    file = write(tmp_path / "mine.yaml", "base: finetune\nrun: {folder: 2024-01-31}\n")
    assert load_config(file).run.folder == "2024-01-31"


def test_a_folder_or_a_broken_name_is_no_file(tmp_path: Path) -> None:
    folder = tmp_path / "folder.yaml"
    folder.mkdir()
    assert "is not a file" in message(str(folder))
    assert "null byte" in message("a\0.yaml") or "no such file" in message("a\0.yaml")


def test_a_configuration_cannot_be_changed_in_place() -> None:
    config: TrainConfig = load_config("finetune")
    with pytest.raises(ValueError, match="frozen"):
        config.engine.seed = 3
