from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from movinet.errors import ConfigError
from movinet.training.checks import check, check_probe
from movinet.training.config import Section, TrainConfig
from movinet.training.overrides import read_overrides
from movinet.training.probing.settings import ProbeConfig
from movinet.training.recipes import load_config


def message(*overrides: str, recipe: str = "finetune") -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(recipe, overrides)
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("optimizer.learning_rate=1e-3", 1e-3),
        ("optimizer.learning_rate=.5e-3", 5e-4),
        ("optimizer.clip_norm=null", None),
        ("engine.compile=true", True),
        ("engine.batch_size=16", 16),
        ("augment.crop_area=[0.3, 1]", [0.3, 1]),
        ("data.train=2024-01-01", "2024-01-01"),
        ("data.train=[day]/{000..012}.tar", "[day]/{000..012}.tar"),
        ("data.train=a=b: c", "a=b: c"),
        ("run.folder=2024", "2024"),
        ("model.weights=null", None),
        ("data.valid=", None),
        ("model.overrides={dropout: 1e-1}", {"dropout": 0.1}),
    ],
)
def test_values_are_yaml_and_text_is_taken_as_it_stands(override: str, value: Any) -> None:
    section, name = override.split("=")[0].split(".")
    found = read_overrides([override])
    assert found == {section: {name: value}}
    assert type(found[section][name]) is type(value)


def test_of_two_overrides_the_later_counts_and_parts_come_together() -> None:
    found = read_overrides(
        [
            *("engine.seed=1", "engine.seed=2", "model.overrides=null"),
            *("model.overrides.dropout=0", "model.overrides.drop_path=0.1"),
        ]
    )
    assert found == {
        "engine": {"seed": 2},
        "model": {"overrides": {"dropout": 0, "drop_path": 0.1}},
    }


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        (
            "optimizer.learning_rat=1",
            "did you mean optimizer.learning_rate?; settings in optimizer:",
        ),
        ("learning_rate=1", "did you mean optimizer.learning_rate?; sections: model, input"),
        ("learning_rat=1", "did you mean optimizer.learning_rate?; sections: model, input"),
        ("optimiser.learning_rate=1", "did you mean optimizer.learning_rate?"),
        ("engine.learning_rate=1", "did you mean optimizer.learning_rate?"),
        ("engine.xyzzy=1", "no setting 'engine.xyzzy'; settings in engine: batch_size"),
        ("model..x=1", "no setting 'model..x'"),
        ("optimizer=3", "optimizer is a section: set optimizer.name, "),
        ("data.train.x=1", "data.train has no x"),
        ("model.overrides.a.b=1", "model.overrides has no a.b"),
        ("engine.batch_size", "settings are key=value, as in engine.batch_size=8"),
        ("=3", "settings are key=value"),
        ("engine.seed=[1", "not YAML as settings need it"),
        ("engine.seed=" + "9" * 5000, "it is not of the type int: '999"),
        ("engine.seed=" + "[" * 5000, "too deep"),
        ("engine.seed=!!bool x", "it is not of the type bool: 'x'"),
        ("engine.seed=!!int ''", "it is not of the type int: ''"),
        ("engine.seed=!!float ''", "it is not of the type float: ''"),
        ("engine.seed=!!timestamp x", "it is not of the type timestamp: 'x'"),
        (
            "model.overrides={a: !!timestamp 2001-99-99}",
            "it is not of the type timestamp: '2001-99-99'",
        ),
        ("engine.seed=!!binary é", "not YAML as settings need it: failed to convert base64 data"),
        ("engine.seed=!!map x", "something is not of the type that is given with !!"),
        ("engine.seed=!!omap [a]", "not YAML as settings need it: expected a mapping"),
        ("engine.seed=!!python/object/apply:os.system [x]", "could not determine a constructor"),
    ],
)
def test_a_key_that_does_not_exist(override: str, hint: str) -> None:
    found = message(override)
    assert override.partition("=")[0] in found
    assert hint in found


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("engine.batch_size=0", "engine.batch_size: must be greater than 0, not 0"),
        ("engine.batch_size=many", "engine.batch_size: must be an integer, not 'many'"),
        ("engine.batch_size=7.5", "engine.batch_size: must be an integer, not 7.5"),
        ("engine.batch_size=true", "engine.batch_size: must not be true"),
        (
            "optimizer.learning_rate=.nan",
            "optimizer.learning_rate: must be a finite number, not nan",
        ),
        ("engine.compile=maybe", "engine.compile: must be true or false, not 'maybe'"),
        ("optimizer.name=adam", "optimizer.name: must be 'rmsprop', 'sgd' or 'adamw', not 'adam'"),
        ("augment.crop_area=[1]", "augment.crop_area: must be a list of two numbers, not [1]"),
        ("augment.crop_area=[0,1,1]", "augment.crop_area: must be a list of two numbers"),
        ("augment.crop_area=1", "augment.crop_area: must be a list, not 1"),
        (
            "augment.crop_area=[1, 0.1]",
            "augment.crop_area: must be [least, most] in (0, 1], not [1",
        ),
        ("augment.crop_aspect=[0, 1]", "augment.crop_aspect: must be [least, most] above 0"),
        ("input.short_side=100", "input.short_side: must be at least input.image_size (172), not"),
        ("engine.accumulate=3", "engine.accumulate: must divide engine.batch_size (8), not 3"),
        (
            "optimizer.betas=[0.9, 1]",
            "optimizer.betas: must be two numbers in [0, 1), not [0.9, 1.0]",
        ),
        ("optimizer.epsilon=1", "optimizer.epsilon: 1 is meant for rmsprop"),
        ("schedule.patience=0", "schedule.patience: must be greater than 0, not 0"),
        ("model.preset=a6_base", "model.preset: 'a6_base' is an ensemble, train its members"),
        ("model.preset=a0_strem", "model.preset: 'a0_strem' is no model; did you mean a0_stream?"),
        (
            "model.overrides.dropot=0",
            "model.overrides.dropot; did you mean dropout?; fields: causal",
        ),
        ("model.overrides.dropout=2", "model.overrides: dropout must be in [0, 1), not 2"),
        (
            "model.overrides.num_classes=2",
            "model.overrides.num_classes is not to be set: the labels say it",
        ),
        ("model.overrides.pooling=none", "model.overrides.pooling: 'none' gives a prediction"),
        ("model.overrides=3", "model.overrides: must be a mapping of keys to values, not 3"),
    ],
)
def test_a_value_that_is_not_allowed(override: str, expected: str) -> None:
    assert f"finetune: {expected}" in message(override).replace("no setting ", "")


@pytest.mark.parametrize("schema", [TrainConfig, ProbeConfig])
def test_every_setting_has_words_for_what_it_must_be(schema: type[Section]) -> None:
    """Whatever is given to whichever setting: it is taken, or there is a line of our own."""
    wrong = ["{a: 1}", "[x]", "x", "-1e30", "1e30", f"{10**400}", ".nan", "2.5", "2024-01-01"]
    refused: set[str] = set()
    for section, field in schema.model_fields.items():
        assert isinstance(field.annotation, type)
        assert issubclass(field.annotation, Section)
        for key in field.annotation.model_fields:
            for value in wrong:
                values = {"probe": {}} if schema is ProbeConfig else {}
                values[section] = {key: yaml.safe_load(value)}
                try:
                    (check_probe if schema is ProbeConfig else check)(values, "here")
                except ConfigError as error:
                    line = str(error)
                    assert "Input should" not in line
                    assert "\n" not in line
                    refused |= {f"{section}.{key}" for _ in re.findall(rf"{key}: must", line)}
    assert len(refused) > 10


def test_everything_that_is_wrong_is_said_at_once() -> None:
    found = message("engine.batch_size=0", "engine.seed=-1")
    assert "engine.batch_size: must be greater than 0, not 0; engine.seed: must be" in found
    assert len(message("engine.precision=" + "x" * 5000)) < 300


def test_a_frozen_backbone_needs_weights() -> None:
    assert load_config("finetune", ["model.freeze_backbone=true"]).model.freeze_backbone
    frozen = message("model.freeze_backbone=true", "model.weights=null")
    assert "model.freeze_backbone needs model.weights" in frozen
