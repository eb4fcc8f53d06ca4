"""Is this a configuration? Keys that exist, values that are allowed and go together."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator, Mapping, Sequence
from reprlib import Repr
from typing import Any, TypeVar, get_args

from pydantic import ValidationError

from movinet.errors import ConfigError
from movinet.network.config import MoViNetConfig
from movinet.network.presets import ENSEMBLES, list_models
from movinet.training.config import (
    InputSection,
    ModelSection,
    OptimizerSection,
    Section,
    TrainConfig,
)
from movinet.training.probing.settings import ProbeConfig, ProbeInput

S = TypeVar("S", bound=Section)
_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = 80
#: Type of pydantic's error -> what a value must be; the numbers are in the error's context.
_MUST_BE = {
    **dict.fromkeys(
        ("int_type", "int_parsing", "int_from_float", "int_parsing_size"), "an integer"
    ),
    **dict.fromkeys(("float_type", "float_parsing"), "a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    "finite_number": "a finite number",
    "string_type": "text",
    "dict_type": "a mapping of keys to values",
    "tuple_type": "a list",
    "literal_error": "{expected}",
    "greater_than": "greater than {gt}",
    "greater_than_equal": "greater than or equal to {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "less than or equal to {le}",
}
#: From here on AdamW takes steps that are far too short; it is RMSprop's epsilon.
_ADAMW_EPSILON = 0.1
#: Fields of `MoViNetConfig` that are no override: what makes them is set elsewhere.
_NOT_OVERRIDDEN = {"architecture": "model.architecture says it", "num_classes": "the labels say it"}


Config = TrainConfig | ProbeConfig


def schema_of(values: Mapping[str, Any]) -> type[TrainConfig] | type[ProbeConfig]:
    """The kind of configuration that sections of settings are: those of a probe have `probe`."""
    return ProbeConfig if "probe" in values else TrainConfig


def check(values: Mapping[str, Any], where: str) -> TrainConfig:
    """Plain values as a configuration for training.

    Args:
        values: Sections of settings.
        where: What they are from, for messages.

    Raises:
        ConfigError: If a key does not exist (says the nearest that does), a value is missing or
            not allowed, or values do not go together; all that is wrong in one line.
    """
    config = _validated(values, where, TrainConfig)
    problems = [*_network_problems(config.model), *_problems(config)]
    if problems:
        raise ConfigError(f"{where}: {'; '.join(problems)}")
    return config


def check_probe(values: Mapping[str, Any], where: str) -> ProbeConfig:
    """Plain values as a configuration for a linear probe; see `check`."""
    config = _validated(values, where, ProbeConfig)
    problems = [*_network_problems(config.model.section()), *_input_problems(config.input)]
    if problems:
        raise ConfigError(f"{where}: {'; '.join(problems)}")
    return config


def _validated(values: Mapping[str, Any], where: str, schema: type[S]) -> S:
    """Values with the keys and types of a schema."""
    for path, value in _leaves(values):
        allowed = check_key(path, where, schema)
        if isinstance(value, bool) and not {bool, Any} & {allowed, *get_args(allowed)}:
            raise ConfigError(f"{where}: {'.'.join(path)}: must not be {str(value).lower()}")
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{where}: {'; '.join(_type_problems(values, error))}") from None


def check_key(path: Sequence[str], where: str, schema: type[Section] = TrainConfig) -> Any:
    """The type of a setting.

    Args:
        path: Its key, in parts.
        where: What it is from, for messages.
        schema: `TrainConfig` or `ProbeConfig`.

    Raises:
        ConfigError: If there is no such setting (says the nearest), or it is a section.
    """
    dotted, section = ".".join(path), schema
    for i, key in enumerate(path):
        if key not in section.model_fields:
            if schema is ProbeConfig and _is_for_training(path):
                raise ConfigError(
                    f"{where}: {dotted} is a setting of training by steps, and a probe fits one "
                    "layer on frozen features; movinet train probe --show prints its settings"
                )
            kind = f"settings in {'.'.join(path[:i])}" if i else "sections"
            raise ConfigError(
                f"{where}: no setting {dotted!r}{_nearest_key(path, schema)}; {kind}: "
                f"{', '.join(section.model_fields)}"
            )
        annotation = section.model_fields[key].annotation
        if isinstance(annotation, type) and issubclass(annotation, Section):
            section = annotation
        elif i + 2 == len(path) and tuple(path[:2]) == ("model", "overrides"):
            return Any
        elif i + 1 == len(path):
            return annotation
        else:
            raise ConfigError(
                f"{where}: {'.'.join(path[: i + 1])} has no {'.'.join(path[i + 1 :])}"
            )
    inside = ", ".join(f"{dotted}.{name}" for name in section.model_fields)
    raise ConfigError(f"{where}: {dotted} is a section: set {inside}")


def _is_for_training(path: Sequence[str]) -> bool:
    """Whether training by steps has a setting."""
    try:
        check_key(path, "")
    except ConfigError:
        return False
    return True


def nearest(name: str, names: Sequence[str]) -> str:
    """``; did you mean ...?``, or nothing where nothing is near."""
    found = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {found[0]}?" if found else ""


def _nearest_key(path: Sequence[str], schema: type[Section]) -> str:
    """The setting that was meant: the same name elsewhere, or a similar one."""
    settings: dict[str, str] = {}
    for section, field in schema.model_fields.items():
        assert isinstance(field.annotation, type)
        assert issubclass(field.annotation, Section)
        settings |= {f"{section}.{key}": key for key in field.annotation.model_fields}
    if same := [key for key, name in settings.items() if name == path[-1]]:
        return f"; did you mean {same[0]}?"
    known = path[0] in schema.model_fields and len(path) > 1
    among = {key: name for key, name in settings.items() if not known or key.startswith(path[0])}
    if similar := difflib.get_close_matches(path[-1], among.values(), n=1):
        return f"; did you mean {next(key for key, name in among.items() if name in similar)}?"
    return "" if known else nearest(path[0], list(schema.model_fields))


def _leaves(
    values: Mapping[str, Any], prefix: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every setting with its key; the overrides of the network are one each."""
    for key, value in values.items():
        path = (*prefix, str(key))
        if isinstance(value, Mapping) and len(path) <= 2 and path != ("model", "architecture"):
            yield from _leaves(value, path)
        else:
            yield path, value


def _type_problems(values: Mapping[str, Any], error: ValidationError) -> list[str]:
    """Pydantic's findings; if it is the model that is wrong, its input is not missing."""
    found = error.errors()
    is_model_wrong, problems = any(each["loc"][0] == "model" for each in found), []
    if not is_model_wrong:
        problems = [*_network_problems(ModelSection.model_validate(values["model"]))]
    if is_model_wrong or problems:
        found = [e for e in found if e["loc"][0] != "input" or e["type"] != "missing"]
    return [*problems, *map(_problem, found)]


def _problem(error: Any) -> str:
    """One of pydantic's findings in a few words."""
    location, given = error["loc"], error["input"]
    where = ".".join(str(part) for part in location)
    if error["type"] == "too_long" or isinstance(location[-1], int):
        setting = ".".join(str(part) for part in location if isinstance(part, str))
        return f"{setting}: must be a list of two numbers, not {_SHORT.repr(given)}"
    if error["type"] == "missing":
        return f"{where} is missing"
    limits = {name: _plain(value) for name, value in error.get("ctx", {}).items()}
    must_be = _MUST_BE.get(error["type"])
    if must_be is None:  # a test sees that no setting comes here
        return f"{where}: {error['msg']}"
    return f"{where}: must be {must_be.format_map(limits)}, not {_SHORT.repr(given)}"


def _plain(value: Any) -> Any:
    """A limit as people write it: 1, not 1.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _network_problems(model: ModelSection) -> Iterator[str]:
    """What is wrong with the network that is asked for."""
    names = [name for name in list_models() if name not in ENSEMBLES]
    if model.preset not in names:
        kind = "an ensemble, train its members" if model.preset in ENSEMBLES else "no model"
        hint = "" if model.preset in ENSEMBLES else nearest(model.preset, names)
        shown = _SHORT.repr(model.preset)
        yield f"model.preset: {shown} is {kind}{hint}; models: {', '.join(names)}"
        return
    fields = [f.name for f in dataclasses.fields(MoViNetConfig) if f.name not in _NOT_OVERRIDDEN]
    for key in model.overrides:
        if key in _NOT_OVERRIDDEN:
            yield f"model.overrides.{key} is not to be set: {_NOT_OVERRIDDEN[key]}"
            return
        if key not in fields:
            hint = nearest(key, fields)
            yield f"no setting model.overrides.{key}{hint}; fields: {', '.join(fields)}"
            return
    try:
        config = model.network(num_classes=1)
    except ConfigError as error:
        yield f"model.{'overrides' if model.architecture is None else 'architecture'}: {error}"
        return
    if config.pooling != "3d" and not config.multi_label_pooling:
        yield (
            f"model.overrides.pooling: {config.pooling!r} gives a prediction for every frame, and "
            'training needs one for a clip: "3d", or "2d" with multi_label_pooling'
        )
    if model.freeze_backbone and model.weights is None:
        yield "model.freeze_backbone needs model.weights: a random backbone would never learn"


def _problems(config: TrainConfig) -> Iterator[str]:
    """Values that do not go together."""
    augment, shape, schedule = config.augment, config.input, config.schedule
    least, most = augment.crop_area
    if not 0 < least <= most <= 1:
        yield f"augment.crop_area: must be [least, most] in (0, 1], not [{least:g}, {most:g}]"
    least, most = augment.crop_aspect
    if not 0 < least <= most:
        yield f"augment.crop_aspect: must be [least, most] above 0, not [{least:g}, {most:g}]"
    yield from _input_problems(shape)
    yield from _optimizer_problems(config.optimizer)
    if (schedule.epochs is None) == (schedule.steps is None):
        yield (
            "schedule: give either epochs or steps, not "
            f"{'neither' if schedule.steps is None else 'both'}"
        )
    if schedule.patience is not None and config.run.mode == "train":
        yield (
            "schedule.patience: run.mode=train evaluates nothing, so nothing can be found to "
            "improve no more; set run.mode=train_and_eval"
        )
    if config.engine.batch_size % config.engine.accumulate:
        yield (
            f"engine.accumulate: must divide engine.batch_size ({config.engine.batch_size}), "
            f"not {config.engine.accumulate}"
        )


def _input_problems(shape: InputSection | ProbeInput) -> Iterator[str]:
    if shape.short_side < shape.image_size:
        yield (
            f"input.short_side: must be at least input.image_size ({shape.image_size}), "
            f"not {shape.short_side}"
        )


def _optimizer_problems(optimizer: OptimizerSection) -> Iterator[str]:
    if optimizer.name != "adamw":
        return
    if not all(0 <= beta < 1 for beta in optimizer.betas):
        yield f"optimizer.betas: must be two numbers in [0, 1), not {list(optimizer.betas)}"
    if optimizer.epsilon >= _ADAMW_EPSILON:
        yield (
            f"optimizer.epsilon: {optimizer.epsilon:g} is meant for rmsprop and all but stops "
            "adamw; with optimizer.name=adamw set optimizer.epsilon=1e-8, and a learning rate of "
            "about 0.001"
        )
