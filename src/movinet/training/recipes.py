"""Recipes and files of settings: found by name, laid over each other, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from movinet.errors import ConfigError
from movinet.training.checks import check, nearest
from movinet.training.config import TrainConfig
from movinet.training.overrides import read_overrides, read_yaml

_FOLDER = resources.files("movinet.training").joinpath("recipes")
#: A configuration is a page of text.
_MAX_BYTES = 1 << 18
#: Files here that begin so are what recipes have in common, and none themselves.
_SHARED = "_"
#: In a recipe or file: the recipe that it changes.
_BASE = "base"
#: In a recipe or file: one line for people.
_ABOUT = "about"
#: File, recipe, what recipes have in common.
_MAX_LAYERS = 4


def list_recipes() -> dict[str, str]:
    """Name of each recipe and what it is, sorted by name."""
    names = [name for name in _stored() if not name.startswith(_SHARED)]
    return {name: str(_read_stored(name).get(_ABOUT, "")) for name in names}


def load_config(recipe_or_path: str, overrides: Sequence[str] = ()) -> TrainConfig:
    """A run's configuration.

    A file may lie over a recipe, ``base: finetune``, and then gives only what differs. Overrides
    lie over both. Where a layer sets one of ``schedule.epochs`` and ``schedule.steps``, it takes
    the place of the other one below it.

    Args:
        recipe_or_path: A name of `list_recipes`, or a file that ends in .yaml or .yml.
        overrides: ``key=value`` with dotted keys, e.g. ``optimizer.learning_rate=0.1``; values are
            YAML, lists as ``[0.3, 1]``.

    Raises:
        ConfigError: If there is no such recipe or file, a key does not exist (says the nearest),
            or values are not allowed or do not go together.
    """
    values = _over(_resolve(recipe_or_path), read_overrides(overrides))
    return check(values, recipe_or_path)


def to_yaml(config: TrainConfig) -> str:
    """A configuration as a file that `load_config` reads back to the same."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _resolve(recipe_or_path: str) -> dict[str, Any]:
    """The values of a recipe or file over those of the recipes that it names as its base."""
    path = Path(recipe_or_path)
    if path.suffix.lower() in (".yaml", ".yml"):
        values = _mapping(_read_file(path), recipe_or_path)
    elif recipe_or_path in list_recipes():
        values = _read_stored(recipe_or_path)
    else:
        raise ConfigError(f"{_unknown(recipe_or_path)}; or give a .yaml file")
    for _ in range(_MAX_LAYERS):
        values.pop(_ABOUT, None)
        base = values.pop(_BASE, None)
        if base is None:
            return values
        if base not in _stored():
            raise ConfigError(f"{recipe_or_path}: {_BASE}: {_unknown(str(base))}")
        values = _over(_read_stored(base), values)
    raise ConfigError(f"{recipe_or_path}: more than {_MAX_LAYERS} recipes that change each other")


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Values with others laid over them, setting by setting."""
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            if key == "schedule":
                old = _without_other_length(old, value)
            value = _over(old, value)
        result[key] = value
    return result


def _without_other_length(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """The schedule below without its length, if the one above has a length of the other kind."""
    given = [key for key in ("epochs", "steps") if above.get(key) is not None]
    replaced = {"epochs", "steps"} - set(above) if given else set()
    return {key: value for key, value in below.items() if key not in replaced}


def _stored() -> list[str]:
    """Files of the package, by name."""
    files = sorted(file.name for file in _FOLDER.iterdir())
    return [name.removesuffix(".yaml") for name in files if name.endswith(".yaml")]


def _unknown(name: str) -> str:
    """A message for a recipe that does not exist."""
    names = list(list_recipes())
    hint = nearest(name, names)
    if "=" in name:
        hint = "; the recipe comes first, settings (key=value) after it"
    return f"no recipe {name!r}{hint}; recipes: {', '.join(names)}"


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
