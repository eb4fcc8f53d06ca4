"""Settings that nobody gave: from the weights that a run starts from, or else from its preset.

What the user set counts first, then what a file of weights says of itself, then the recipe, then
the preset. The result is complete, and resolves to itself.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from movinet.catalog.published import PUBLISHED
from movinet.checkpoints.metadata import Metadata, read_metadata
from movinet.embedded import EMBEDDED, embedded_path
from movinet.errors import CheckpointError, ConfigError
from movinet.network.config import Architecture, InputSpec, MoViNetConfig
from movinet.network.presets import ENSEMBLES, input_spec, list_models, preset_config
from movinet.training.config import InputSection, ModelSection

#: Fields of `MoViNetConfig` that change how a network is trained, but not what its weights compute:
#: a recipe may set them for any weights.
TRAINING_FIELDS = ("lowering", "dropout", "drop_path", "norm_momentum")
#: Not overrides: they are set elsewhere.
_ELSEWHERE = ("architecture", "num_classes")
#: Setting of the input -> field of `InputSpec`.
_INPUT = {
    "image_size": "image_size",
    "short_side": "short_side",
    "frame_rate": "frame_rate",
    "test_frames": "num_frames",
}


def resolve(recipe: Mapping[str, Any], own: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Lay a user's settings over a recipe, and fill in what neither gives.

    Values that are not allowed are left for `movinet.training.checks.check` to report.

    Args:
        recipe: Sections of settings of a recipe; empty if there is none.
        own: Those that the user gave.
        name: Of the recipe or file, for messages.

    Returns:
        Sections of settings with a whole ``input``, and a ``model`` that describes the network of
        the weights.

    Raises:
        CheckpointError: If a file of weights cannot be read, and `own` is not complete without it.
        ConfigError: If overrides do not go with the network of a file.

    Warns:
        UserWarning: If the file has another network than the one that the recipe is named after.
    """
    if _names_another_preset(recipe, own):
        recipe = _without_network(recipe)
    values = overlay(recipe, own)
    try:
        section = ModelSection.model_validate(values.get("model"))
        section.network(num_classes=1)
    except (ValidationError, ConfigError):
        return values
    own_model, own_input = _section(own, "model"), _section(own, "input")
    file = _read(section, own_model, own_input, values)
    if file is not None:
        section = _with_network_of(file, section, own_model, name)
        values["model"] = section.model_dump()
    size = values.get("input", {})
    if isinstance(size, dict):
        values["input"] = _filled(size, own_input, file, section)
    return values


def overlay(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Values with others laid over them, setting by setting.

    Where the ones above set one of ``schedule.epochs`` and ``schedule.steps``, it takes the place
    of the other one below.
    """
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            if key == "schedule":
                old = _without_other_length(old, value)
            value = overlay(old, value)
        result[key] = value
    return result


def _without_other_length(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """The schedule below without its length, if the one above has a length of the other kind."""
    given = [key for key in ("epochs", "steps") if above.get(key) is not None]
    replaced = {"epochs", "steps"} - set(above) if given else set()
    return {key: value for key, value in below.items() if key not in replaced}


def _section(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The settings of a section that are given; those that are null are not."""
    section = values.get(name)
    if not isinstance(section, Mapping):
        return {}
    return {key: value for key, value in section.items() if value is not None}


def _names_another_preset(recipe: Mapping[str, Any], own: Mapping[str, Any]) -> bool:
    preset = _section(own, "model").get("preset")
    return preset is not None and preset != _section(recipe, "model").get("preset")


def _without_network(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe without what belongs to its preset alone."""
    model = {**_section(recipe, "model")}
    model.pop("architecture", None)
    if overrides := model.get("overrides"):
        model["overrides"] = {k: v for k, v in overrides.items() if k in TRAINING_FIELDS}
    size = {k: v for k, v in _section(recipe, "input").items() if k not in _INPUT}
    return {**recipe, "model": model, "input": size}


def _read(
    section: ModelSection,
    own_model: Mapping[str, Any],
    own_input: Mapping[str, Any],
    values: Mapping[str, Any],
) -> Metadata | None:
    """What the file of weights says of itself; None if there is none, or all is known without."""
    if section.weights is None or section.weights in PUBLISHED:
        return None
    try:
        return _read_file(section.weights)
    except CheckpointError as error:
        # A run that resumes does not read the weights that it started from.
        if {"preset", "overrides"} <= set(own_model) and set(own_input) >= {
            *_INPUT,
            "train_frames",
        }:
            return None
        stored = Path(str(_section(values, "run").get("folder"))) / "config.yaml"
        if not stored.is_file():
            raise
        raise CheckpointError(
            f"{error}; to resume a run without the weights that it started from: "
            f"movinet train {stored}"
        ) from None


def _read_file(weights: str) -> Metadata:
    path = embedded_path(weights) if weights in EMBEDDED else Path(weights)
    if path.suffix.lower() == ".safetensors" and path.is_file():
        found = read_metadata(path)
        if found is not None:
            return found
    from movinet.weights.factory import describe_weights  # imports PyTorch

    return describe_weights(weights)


def _with_network_of(
    file: Metadata, section: ModelSection, own: Mapping[str, Any], name: str
) -> ModelSection:
    """The section, describing a file's network unless the user asked for another."""
    ours = section.network(file.config.num_classes)
    is_same_kind = ours.causal == file.config.causal
    is_same_size = ours.architecture == file.config.architecture
    if ("preset" in own or "architecture" in own) and not (is_same_kind and is_same_size):
        return section  # building the network reports what cannot be taken
    _warn(file, section, name, is_same_kind=is_same_kind, is_same_size=is_same_size)
    free = {*own.get("overrides", ()), *TRAINING_FIELDS, *file.assumed}
    overrides = {key: value for key, value in section.overrides.items() if key in free}
    try:
        network = file.config.replace(**overrides)
    except ConfigError as error:
        raise ConfigError(f"{name}: model.overrides: {error}, in {section.weights}") from None
    if network == ours:
        return section
    preset = _nearest_preset(network, section.preset)
    base = preset_config(preset)
    update: dict[str, Any] = {
        "preset": preset,
        "architecture": None,
        "overrides": {**_differences(network, base), **overrides},
    }
    if network.architecture != base.architecture:
        update["architecture"] = _plain(network.architecture)
    return section.model_copy(update=update)


def _warn(
    file: Metadata, section: ModelSection, name: str, *, is_same_kind: bool, is_same_size: bool
) -> None:
    """Warn where somebody may expect another network than the file's."""
    kinds = {False: "base", True: "stream"}
    preset = file.preset or _nearest_preset(file.config, section.preset)
    theirs, wanted = kinds[file.config.causal], kinds[not file.config.causal]
    if not is_same_kind:
        warnings.warn(
            f"model.weights: {section.weights} is a {theirs} model and is trained as one; for a "
            f"{wanted} model set model.preset={preset.replace(theirs, wanted)}",
            stacklevel=2,
        )
    elif not is_same_size and section.preset in name:
        warnings.warn(
            f"{name}: its batch size and clip length are for {section.preset}, but "
            f"{section.weights} is {file.preset or 'another network'}, which is what is trained",
            stacklevel=2,
        )


def _nearest_preset(config: MoViNetConfig, current: str) -> str:
    """The preset that needs the fewest overrides for a network.

    Args:
        config: The network.
        current: Preset to stay with if several are as near, or none has the architecture.
    """

    def distance(name: str) -> tuple[int, ...]:
        preset = preset_config(name)
        is_other_kind, is_current = preset.causal != config.causal, name == current
        if preset.architecture != config.architecture:
            return 1, is_other_kind, not is_current
        return 0, is_other_kind, len(_differences(config, preset)), not is_current

    return min((name for name in list_models() if name not in ENSEMBLES), key=distance)


def _differences(config: MoViNetConfig, base: MoViNetConfig) -> dict[str, Any]:
    """Overrides that make one configuration of another with the same architecture."""
    names = [f.name for f in dataclasses.fields(config) if f.name not in _ELSEWHERE]
    return {n: getattr(config, n) for n in names if getattr(config, n) != getattr(base, n)}


def _plain(architecture: Architecture) -> dict[str, Any]:
    """An architecture as `Architecture.from_dict` and YAML have it."""
    groups = [
        [g.filters, g.stride, [list(block) for block in g.blocks]] for g in architecture.groups
    ]
    return {
        "stem": architecture.stem,
        "groups": groups,
        "head": architecture.head,
        "hidden": architecture.hidden,
    }


def _filled(
    size: dict[str, Any], own: Mapping[str, Any], file: Metadata | None, section: ModelSection
) -> dict[str, Any]:
    """The input, whole: what the user set, then the file's, the recipe's and the preset's."""
    preset = input_spec(section.preset)
    recipe = {k: v for k, v in size.items() if v is not None and k not in own}
    values: dict[str, Any] = {
        "train_frames": section.network(num_classes=1).trained_frames,
        **_spec(preset),
        **recipe,
        **(_spec(file.input) if file else {}),
    }
    if "image_size" in own and "short_side" not in own:
        values["short_side"] = _scaled(
            values["short_side"], values["image_size"], own["image_size"]
        )
    values |= own
    order = [*InputSection.model_fields, *(key for key in values)]  # unknown keys: to be reported
    return {key: values[key] for key in dict.fromkeys(order)}


def _spec(spec: InputSpec) -> dict[str, Any]:
    return {key: getattr(spec, field) for key, field in _INPUT.items()}


def _scaled(short_side: Any, image_size: Any, to: Any) -> Any:
    """The short side of which another image size shows the same part."""
    numbers = (short_side, image_size, to)
    if not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in numbers):
        return short_side
    return round(short_side * to / image_size)
