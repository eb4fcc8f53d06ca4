"""Recipes and files of settings: found by name, laid over each other, checked."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from movinet.errors import ConfigError
from movinet.training.checks import Config, check, check_probe, nearest, schema_of
from movinet.training.config import TrainConfig
from movinet.training.overrides import read_overrides, read_settings, read_yaml
from movinet.training.probing.settings import ProbeInput, ProbeModel
from movinet.training.resolve import overlay, resolve

_FOLDER = resources.files("movinet.training").joinpath("recipes")
#: A configuration is a page of text.
_MAX_BYTES = 1 << 18
#: Files here that begin so are what recipes have in common, and none themselves.
_SHARED = "_"
#: In a recipe or file: the recipe that it changes.
_BASE = "base"
#: In a recipe or file: one line for people.
_ABOUT = "about"


def list_recipes() -> dict[str, str]:
    """Name of each recipe and what it is, sorted by name."""
    return {name: str(_read_stored(name).get(_ABOUT, "")) for name in _names()}


def load_config(
    recipe_or_path: str | os.PathLike[str], overrides: Sequence[str] | Mapping[str, Any] = ()
) -> TrainConfig:
    """The configuration of a training by steps; see `load_any_config`.

    Raises:
        ConfigError: As `load_any_config`, or if it is one of a probe.
    """
    config = load_any_config(recipe_or_path, overrides)
    if isinstance(config, TrainConfig):
        return config
    raise ConfigError(f"{os.fspath(recipe_or_path)}: configures a probe, not a training by steps")


def load_any_config(
    recipe_or_path: str | os.PathLike[str], overrides: Sequence[str] | Mapping[str, Any] = ()
) -> Config:
    """A run's configuration.

    A file may lie over a recipe, ``base: finetune``, and then gives only what differs. Overrides
    lie over both. Where a layer sets one of ``schedule.epochs`` and ``schedule.steps``, it takes
    the place of the other one below it. Size, rate and length of the input, and what a file of
    weights computes, are taken from the file or the preset unless the overrides or the user's file
    set them (`movinet.training.resolve`).

    Args:
        recipe_or_path: A name of `list_recipes`, or a file that ends in .yaml or .yml.
        overrides: ``key=value`` with dotted keys, e.g. ``optimizer.learning_rate=0.1``; values are
            YAML, lists as ``[0.3, 1]``. Or a mapping, see `read_settings`.

    Returns:
        A `TrainConfig`, or the `ProbeConfig` of the recipe `probe` and files that are based on it.

    Raises:
        ConfigError: If there is no such recipe or file, a key does not exist (says the nearest),
            or values are not allowed or do not go together.
        CheckpointError: If the file of weights cannot be read.

    Warns:
        UserWarning: If a file of weights has another network than the recipe is for.
    """
    name = os.fspath(recipe_or_path)
    recipe, own = _layers(name)
    is_mapping = isinstance(overrides, Mapping)
    schema = schema_of({**recipe, **own})
    given = read_settings(overrides) if is_mapping else read_overrides(overrides, schema)
    return _checked(recipe, overlay(own, given), name)


def change_config(config: Config, settings: Mapping[str, Any]) -> Config:
    """A configuration with some settings replaced.

    Args:
        config: The configuration.
        settings: See `read_settings`.

    Raises:
        ConfigError: If a key does not exist, or values are not allowed or do not go together.
    """
    values = overlay(config.model_dump(mode="json"), read_settings(settings))
    return _checked({}, values, "settings")


def _checked(recipe: Mapping[str, Any], own: Mapping[str, Any], name: str) -> Config:
    """The configuration that a user's settings over a recipe's are."""
    values = resolve(recipe, own, name)
    if schema_of(values) is TrainConfig:
        return check(values, name)
    # What resolving fills in for training; what the user gives is kept, to be refused.
    for section, fields in (("model", ProbeModel), ("input", ProbeInput)):
        if isinstance(filled := values.get(section), dict):
            given = own.get(section)
            known = {*fields.model_fields, *(given if isinstance(given, Mapping) else ())}
            values[section] = {key: value for key, value in filled.items() if key in known}
    return check_probe(values, name)


def to_yaml(config: Config) -> str:
    """A configuration as a file that `load_any_config` reads back to the same."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _layers(recipe_or_path: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The values of a recipe with those that it is based on, and those of a user's file."""
    path = Path(recipe_or_path)
    if path.suffix.lower() in (".yaml", ".yml"):
        own = _mapping(_read_file(path), recipe_or_path)
        own.pop(_ABOUT, None)
        base = own.pop(_BASE, None)
        return ({} if base is None else _recipe(base, f"{recipe_or_path}: {_BASE}: ")), own
    if recipe_or_path not in _names():
        raise ConfigError(f"{_unknown(recipe_or_path)}; or give a .yaml file")
    return _recipe(recipe_or_path), {}


def _recipe(name: Any, where: str = "") -> dict[str, Any]:
    """The values of a stored recipe, over those that it is based on."""
    if name not in _stored():
        raise ConfigError(f"{where}{_unknown(str(name))}")
    stored = _read_stored(name)
    values, base = {k: v for k, v in stored.items() if k not in (_ABOUT, _BASE)}, stored.get(_BASE)
    return values if base is None else overlay(_recipe(base), values)


def _names() -> list[str]:
    """The recipes, without what they have in common."""
    return [name for name in _stored() if not name.startswith(_SHARED)]


@functools.cache
def _stored() -> list[str]:
    """Files of the package, by name."""
    files = sorted(file.name for file in _FOLDER.iterdir())
    return [name.removesuffix(".yaml") for name in files if name.endswith(".yaml")]


def _unknown(name: str) -> str:
    """A message for a recipe that does not exist."""
    names = _names()
    hint = nearest(name, names)
    if "=" in name:
        hint = "; the recipe comes first, settings (key=value) after it"
    return f"no recipe {name!r}{hint}; recipes: {', '.join(names)}"


@functools.cache
def _read_stored(name: str) -> dict[str, Any]:
    return _mapping(_FOLDER.joinpath(f"{name}.yaml").read_bytes(), f"recipe {name}")


def _mapping(data: bytes, where: str) -> dict[str, Any]:
    values = read_yaml(data, where)
    if not isinstance(values, dict):
        raise ConfigError(f"{where}: must be sections of settings; movinet train RECIPE --show")
    return values


def _read_file(path: Path) -> bytes:
    try:
        if not path.is_file():  # before opening: a pipe would block
            what = "is not a file" if path.exists() else "there is no such file"
            raise ConfigError(f"{path}: {what}; movinet train --list names recipes")
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{str(path)!r}: cannot be read ({error})") from None
    if len(data) > _MAX_BYTES:
        raise ConfigError(f"{path}: more than {_MAX_BYTES} bytes; a configuration is a short text")
    return data
