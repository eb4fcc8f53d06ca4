"""Recipes and configuration files: found by name, merged, overridden by key, checked."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from movinet.errors import ConfigError
from movinet.presets import ENSEMBLES, list_models
from movinet.training.config import TrainConfig

_FOLDER = resources.files("movinet.training").joinpath("recipes")
#: A configuration is a page of text.
_MAX_BYTES = 1 << 18
#: In a recipe: the recipe that it changes.
_BASE = "base"
#: In a recipe: one line for people.
_ABOUT = "about"


def list_recipes() -> dict[str, str]:
    """Name of each recipe and what it is, in natural order."""
    names = sorted(f.name.removesuffix(".yaml") for f in _FOLDER.iterdir() if _is_recipe(f.name))
    return {name: str(_read_recipe(name).get(_ABOUT, "")) for name in names}


def load_config(recipe_or_path: str, overrides: Sequence[str] = ()) -> TrainConfig:
    """A run's configuration.

    Args:
        recipe_or_path: A name of `list_recipes`, or a YAML file; a file may name a recipe that it
            changes as ``base:``.
        overrides: ``key=value`` with dotted keys, e.g. ``optimizer.learning_rate=0.1``; values are
            YAML.

    Raises:
        ConfigError: If there is no such recipe or file, a key is unknown (says the nearest), or a
            value is not allowed.
    """
    values = _resolve(recipe_or_path)
    values.pop(_ABOUT, None)
    for override in overrides:
        _override(values, override)
    return check(values, recipe_or_path)


def check(values: Mapping[str, Any], where: str) -> TrainConfig:
    """Plain values as a configuration; `where` they are from goes into messages."""
    for path in _paths(values):
        _check_key(path, where)
    try:
        config = TrainConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{where}: {'; '.join(map(_problem, error.errors()))}") from None
    if config.model.preset not in list_models() or config.model.preset in ENSEMBLES:
        names = [name for name in list_models() if name not in ENSEMBLES]
        raise ConfigError(
            f"{where}: model.preset: no single model {config.model.preset!r}"
            f"{_nearest(config.model.preset, names)}; models: {', '.join(names)}"
        )
    return config


def to_yaml(config: TrainConfig) -> str:
    """A configuration as a file that `load_config` reads back to the same."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _is_recipe(name: str) -> bool:
    return name.endswith(".yaml") and not name.startswith("_")


def _resolve(recipe_or_path: str) -> dict[str, Any]:
    """The values of a recipe or file, with those of the recipe that it changes below them."""
    path = Path(recipe_or_path)
    if path.suffix.lower() in (".yaml", ".yml"):
        values = _parse(_read_file(path), str(path))
    else:
        values = _read_recipe(recipe_or_path)
    for _ in range(3):  # a recipe's base may have a base
        base = values.pop(_BASE, None)
        if base is None:
            return values
        below = _read_recipe(str(base))
        values = _merged(below, values)
    raise ConfigError(f"{recipe_or_path}: too many recipes that change each other")


def _read_recipe(name: str) -> dict[str, Any]:
    file = _FOLDER.joinpath(f"{name}.yaml")
    if not name or "/" in name or not file.is_file():
        names = sorted(
            f.name.removesuffix(".yaml") for f in _FOLDER.iterdir() if _is_recipe(f.name)
        )
        raise ConfigError(
            f"no recipe {name!r}{_nearest(name, names)}; recipes: {', '.join(names)}; "
            "or give a .yaml file"
        )
    return _parse(file.read_bytes(), f"recipe {name}")


def _read_file(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise ConfigError(f"{path}: no such file")
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    if len(data) > _MAX_BYTES:
        raise ConfigError(f"{path}: more than {_MAX_BYTES} bytes; a configuration is a short text")
    return data


def _parse(data: bytes, where: str) -> dict[str, Any]:
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(data)):
            raise ConfigError(f"{where}: YAML aliases (*name) are not allowed; write values out")
        values = yaml.safe_load(data)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "cannot be read"
        raise ConfigError(f"{where}{line}: not YAML: {problem}") from None
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ConfigError(f"{where}: a configuration is a mapping of keys to values")
    return values


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            value = _merged(old, value)
        result[key] = value
    return result


def _override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"{override!r}: settings are key=value, as in engine.batch_size=8")
    _check_key(tuple(key.split(".")), "override")
    try:
        value = yaml.safe_load(text) if text else None
    except yaml.YAMLError:
        value = text
    *parents, last = key.split(".")
    place = values
    for parent in parents:
        inner = place.get(parent)
        place[parent] = dict(inner) if isinstance(inner, dict) else {}
        place = place[parent]
    place[last] = value


def _paths(values: Mapping[str, Any], prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every key path down to values, or to fields that hold free mappings."""
    paths = []
    for key, value in values.items():
        path = (*prefix, str(key))
        inner = isinstance(value, Mapping) and path != ("model", "overrides")
        paths += _paths(value, path) if inner and value else [path]
    return paths


def _check_key(path: tuple[str, ...], where: str) -> None:
    """Raise ConfigError for a key that does not exist, with the nearest one that does."""
    section: type[BaseModel] | None = TrainConfig
    for i, key in enumerate(path):
        if section is None:
            if path[:2] == ("model", "overrides"):
                return
            raise ConfigError(f"{where}: {'.'.join(path[:i])} holds one value, no {key!r}")
        fields = section.model_fields
        if key not in fields:
            inside = f" in {'.'.join(path[:i])}" if i else ""
            elsewhere = _nearest(path[-1], _all_keys()) if not i else ""
            near = _nearest(key, list(fields)) or elsewhere
            raise ConfigError(
                f"{where}: no setting {'.'.join(path)!r}{near}; settings{inside}: "
                f"{', '.join(fields)}"
            )
        section = _section_of(fields[key].annotation)
    if section is not None:
        raise ConfigError(
            f"{where}: {'.'.join(path)} is a section; set one of "
            f"{', '.join(f'{path[-1]}.{name}' for name in section.model_fields)}"
        )


def _all_keys() -> list[str]:
    keys = []
    for name, field in TrainConfig.model_fields.items():
        section = _section_of(field.annotation)
        if section is not None:
            keys += [f"{name}.{key}" for key in section.model_fields]
    return keys


def _section_of(annotation: Any) -> type[BaseModel] | None:
    if get_origin(annotation) in (Union, UnionType):
        return next(filter(None, map(_section_of, get_args(annotation))), None)
    is_section = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return annotation if is_section else None


def _nearest(name: str, names: Sequence[str]) -> str:
    found = difflib.get_close_matches(name, names, n=1)
    if not found:
        found = [full for full in names if full.rpartition(".")[2] == name][:1]
    return f"; did you mean {found[0]}?" if found else ""


def _problem(error: Any) -> str:
    """One of pydantic's findings in a few words."""
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "missing":
        return f"{where} is missing"
    given = "" if isinstance(error["input"], dict) else f", not {error['input']!r}"
    message = error["msg"].removeprefix("Value error, ")
    return f"{where}: {message[:1].lower()}{message[1:]}{given}" if where else message
