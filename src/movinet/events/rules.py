"""When an event of a class begins and ends: thresholds and times, from options or a TOML file."""

from __future__ import annotations

import dataclasses
import difflib
import os
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any

from movinet.errors import ConfigError
from movinet.text import one_line, same_form

#: The longest time in a rule, seconds; the longest TOML file, bytes.
MAX_SECONDS, _MAX_BYTES = 86_400.0, 1 << 20


@dataclass(frozen=True)
class Rule:
    """When an event of a class begins and ends.

    Attributes:
        on: An event begins when the smoothed probability reaches this, in (0, 1).
        off: It ends when the smoothed probability falls below this, at most `on`.
        smoothing: Time constant of the smoothing, seconds; 0 for none. Log-odds are smoothed, not
            probabilities, so that 0.99 and 0.999 differ as much as 0.9 and 0.99.
        shortest: Events that last less are dropped, seconds.
        merge: Events with a shorter gap between them are one, seconds.
        dead: After an event, none of the class begins for so long, seconds.
        break_after: An event ends at the last frame before a gap in the stream that is longer than
            this, seconds.
        update: While an event lasts, its state is reported at most this often, seconds.
    """

    on: float = 0.6
    off: float = 0.4
    smoothing: float = 0.0
    shortest: float = 1.0
    merge: float = 1.0
    dead: float = 0.0
    break_after: float = 10.0
    update: float = 5.0

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            number = isinstance(value, Real) and not isinstance(value, bool)
            # Not isfinite, which fails for integers that no float holds.
            if not number or not abs(value) <= sys.float_info.max:  # pyright: ignore[reportOperatorIssue]
                raise ConfigError(f"{item.name} must be a number, not {one_line(repr(value))}")
        if not 0 < self.off <= self.on < 1:
            raise ConfigError(
                f"on and off must be probabilities with 0 < off <= on < 1, not on={self.on:g}, "
                f"off={self.off:g}"
            )
        for name in ("smoothing", "shortest", "merge", "dead", "break_after", "update"):
            if not 0 <= getattr(self, name) <= MAX_SECONDS:
                raise ConfigError(
                    f"{name} must be 0 to {MAX_SECONDS:g} seconds, not {getattr(self, name):g}"
                )


@dataclass(frozen=True)
class Rules:
    """The rules of a model's classes.

    Attributes:
        default: Of every class without a rule of its own; None if only those have events.
        classes: Rules by label.
        exclusive: At most one class has an event at a time: the one whose smoothed probability is
            the highest.
    """

    default: Rule | None = field(default_factory=Rule)
    classes: Mapping[str, Rule] = field(default_factory=dict)
    exclusive: bool = False

    def for_labels(self, labels: Sequence[str]) -> dict[int, Rule]:
        """The rule of each class that can have events, by the class's number.

        Raises:
            ConfigError: If a rule names a class that the model does not have.
        """
        rules = {same_form(label): rule for label, rule in self.classes.items()}
        names = [same_form(label) for label in labels]
        for label in rules:
            if label not in names:
                near = difflib.get_close_matches(label, names, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ConfigError(f"the model has no class {one_line(repr(label))}{hint}")
        found = {i: rules.get(label, self.default) for i, label in enumerate(names)}
        return {i: rule for i, rule in found.items() if rule is not None}

    def to_json(self) -> dict[str, Any]:
        """As JSON values, equal for equal rules."""
        default = None if self.default is None else dataclasses.asdict(self.default)
        classes = {label: dataclasses.asdict(rule) for label, rule in sorted(self.classes.items())}
        return {"default": default, "classes": classes, "exclusive": self.exclusive}


def load_rules(path: str | os.PathLike[str]) -> Rules:
    """Read rules from a TOML file.

    The table ``default`` has the fields of `Rule` for every class, each table ``classes."label"``
    those that differ for one. ``only_listed = true`` leaves the other classes without events,
    ``exclusive = true`` allows one event at a time.

    Args:
        path: The file, at most 1 MiB.

    Raises:
        ConfigError: If it cannot be read, or a field or value is not allowed.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise ConfigError(f"{path}: rules take at most {_MAX_BYTES} bytes")
        values = tomllib.loads(data.decode())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, RecursionError) as error:  # TOML's errors are ValueErrors
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{path}: it is not TOML: {one_line(error)}") from None
    try:
        return parse_rules(values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def parse_rules(values: Mapping[str, Any]) -> Rules:
    """Rules as the tables of a TOML file, or the objects of JSON, say them.

    Args:
        values: As `load_rules` finds them in a file.

    Raises:
        ConfigError: If a field or value is not allowed.
    """
    _check_names("the file", values, ("default", "classes", "only_listed", "exclusive"))
    switches = {name: values.get(name, False) for name in ("only_listed", "exclusive")}
    for name, value in switches.items():
        if not isinstance(value, bool):
            raise ConfigError(f"{name} must be true or false, not {one_line(repr(value))}")
    default = _rule("default", values.get("default", {}), Rule())
    tables = values.get("classes", {})
    if not isinstance(tables, dict):
        raise ConfigError("classes must be a table of tables")
    classes = {
        label: _rule(f'classes."{one_line(label)}"', table, default)
        for label, table in tables.items()
    }
    if switches["only_listed"] and not classes:
        raise ConfigError("only_listed is true, but no class is listed under classes")
    return Rules(None if switches["only_listed"] else default, classes, switches["exclusive"])


def _rule(where: str, table: Any, base: Rule) -> Rule:
    if not isinstance(table, dict):
        raise ConfigError(f"{where} must be a table, not {one_line(repr(table))}")
    _check_names(where, table, [item.name for item in dataclasses.fields(Rule)])
    try:
        return dataclasses.replace(base, **table)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _check_names(where: str, table: Mapping[str, Any], known: Sequence[str]) -> None:
    for name in table:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}"
            raise ConfigError(f"{where} has no {one_line(repr(name))}{hint}")
