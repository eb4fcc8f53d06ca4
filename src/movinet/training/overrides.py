"""Settings as people write them: YAML, `key=value` on a command line, mappings in Python."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError

from movinet.errors import ConfigError
from movinet.text import one_line
from movinet.training.checks import check_key
from movinet.training.config import Section, TrainConfig

_FLOAT, _DATE = "tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp"


class _Loader(yaml.SafeLoader):
    """Safe YAML without aliases (they multiply), repeated keys and dates; 1e-3 is a number."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            problem = "aliases (*name) are not allowed: write the value out"
            raise ComposerError(problem=problem, problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """What a node is; constructors of types that the text names itself raise anything."""
        try:
            return super().construct_object(node, deep)
        except (yaml.YAMLError, RecursionError):
            raise
        except Exception:
            kind = node.tag.rpartition(":")[2]
            problem = f"it is not of the type {kind}: {node.value!r}"
            raise ConstructorError(problem=problem, problem_mark=node.start_mark) from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                problem, mark = f"{key.value!r} is there twice", key.start_mark
                raise ConstructorError(problem=problem, problem_mark=mark)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else None)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _DATE]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
# YAML 1.1 wants a point in a number with an exponent; nobody writes learning rates so.
_Loader.add_implicit_resolver(
    _FLOAT, re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def read_yaml(data: bytes | str, where: str) -> Any:
    """What a YAML text says; `where` it is from goes into messages.

    Raises:
        ConfigError: If it is not YAML, or has aliases, repeated keys or objects.
    """
    try:
        return yaml.load(data, _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "unreadable"
        raise ConfigError(
            f"{where}{line}: not YAML as settings need it: {one_line(problem)}"
        ) from None
    except RecursionError:  # 10,000 brackets
        raise ConfigError(f"{where}: not YAML as settings need it: too deep") from None
    except Exception:  # a type that the text names, and that is put together after its parts
        raise ConfigError(
            f"{where}: not YAML as settings need it: something is not of the type that is given "
            "with !!"
        ) from None


def read_overrides(overrides: Sequence[str], schema: type[Section] = TrainConfig) -> dict[str, Any]:
    """Settings like ``engine.batch_size=8`` as nested values; of two for a key the later counts.

    Values are YAML, but where a setting is text they are taken as they stand; ``null`` or nothing
    is None.

    Args:
        overrides: The settings.
        schema: Whose they are, `TrainConfig` or `ProbeConfig`.

    Raises:
        ConfigError: If one is no ``key=value``, or there is no such setting.
    """
    values: dict[str, Any] = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise ConfigError(f"{override!r}: settings are key=value, as in engine.batch_size=8")
        *parents, last = key.split(".")
        annotation = check_key((*parents, last), override, schema)
        is_text = annotation is str or annotation == (str | None)
        place = values
        for parent in parents:
            inner = place.get(parent)
            place[parent] = inner if isinstance(inner, dict) else {}
            place = place[parent]
        if is_text and text not in ("", "null", "~"):
            place[last] = text
        else:
            place[last] = read_yaml(text, one_line(override))
    return values


def read_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings given in Python as nested values.

    Args:
        settings: Dotted keys, nested mappings or both:
            ``{"engine.batch_size": 8, "data": {"train": "train.csv"}}``. Paths become text, tuples
            lists.

    Raises:
        ConfigError: If a key is not text, or a setting is given twice.
    """
    values: dict[str, Any] = {}
    for key, value in settings.items():
        if not isinstance(key, str) or not key:
            raise ConfigError(f"{key!r}: keys of settings are text, as in 'engine.batch_size'")
        *parents, last = key.split(".")
        value = read_settings(value) if isinstance(value, Mapping) else _plain(value)
        for inner in (last, *reversed(parents)):
            value = {inner: value}
        _merge(values, value, ())
    return values


def _merge(into: dict[str, Any], values: dict[str, Any], parents: tuple[str, ...]) -> None:
    """Add settings to others; none may be given twice."""
    for key, value in values.items():
        if key not in into:
            into[key] = value
        elif isinstance(into[key], dict) and isinstance(value, dict):
            _merge(into[key], value, (*parents, key))
        else:
            raise ConfigError(f"{'.'.join((*parents, key))} is given twice")


def _plain(value: Any) -> Any:
    """A setting's value without Python's own types."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
