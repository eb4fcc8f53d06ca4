"""Which network some tensors belong to, told from their names and shapes alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from movinet.checkpoints.keys import LAYOUTS, SUFFIX, Layout, entries
from movinet.errors import CheckpointError, ConfigError
from movinet.network.architectures import ARCHITECTURES
from movinet.network.config import MAX_CHANNELS, MoViNetConfig
from movinet.network.presets import ENSEMBLES, list_models, preset_config
from movinet.text import one_line

Shapes = Mapping[str, tuple[int, ...]]
#: How PyTorch's batch norms end the name of a number that this network never uses: theirs are read
#: from no file, and nobody needs to have them.
COUNTER = "num_batches_tracked"


def is_tf(shapes: Shapes) -> bool:
    """Whether the names are the reference's keys and not ours."""
    return any(key.endswith(SUFFIX) for key in shapes)


def identify(shapes: Shapes, where: str) -> tuple[MoViNetConfig, str | None]:
    """The network that fits, and the name of its preset.

    Shapes do not tell whether a network is causal, which activations it has, nor "3d" from "2d"
    squeeze-excitation: a preset that fits is taken first, and then what published networks of the
    kind use.

    Args:
        shapes: Name -> shape, ours or the reference's keys.
        where: The file, for the message.

    Returns:
        The config, with the number of classes of the tensors, and the preset's name or None.

    Raises:
        CheckpointError: If no known architecture fits; says which is nearest and what differs.
    """
    num_classes = count_classes(shapes, where)
    presets = [name for name in list_models() if name not in ENSEMBLES]
    candidates = [(preset_config(name, num_classes=num_classes), name) for name in presets]
    problems = []
    for config, name in candidates:
        found = mismatches(shapes, config)
        if not found:
            return config, name
        problems.append((sum(len(rows) for rows in found.values()), name, found))
    for config in _variants(shapes, num_classes):
        if not mismatches(shapes, config):
            return config, None
    _, nearest, found = min(problems, key=lambda row: row[0])
    raise CheckpointError(
        f"{where}: its tensors fit no known network; nearest is {nearest}: {describe(found)}"
    )


def check_fit(shapes: Shapes, config: MoViNetConfig, where: str, wanted: str = "the model") -> None:
    """Make sure that tensors are those of a network, all of them and no others.

    Args:
        shapes: Name -> shape, ours or the reference's keys.
        config: The network that they are for.
        where: The file, for the message.
        wanted: What was asked for, for the message.

    Raises:
        CheckpointError: If they are not; lists what differs and names the preset that would fit.
    """
    found = mismatches(shapes, config)
    if not found:
        return
    hint = ""
    try:
        fitting, preset = identify(shapes, where)
    except CheckpointError:
        pass
    else:
        kind = preset or f"none of the presets but {describe_variant(fitting)},"
        hint = f"; they fit {kind} with {fitting.num_classes} classes"
    raise CheckpointError(f"{where}: the tensors do not fit {wanted}: {describe(found)}{hint}")


def mismatches(shapes: Shapes, config: MoViNetConfig) -> dict[str, list[str]]:
    """What is missing, left over or of another shape; empty if the tensors fit."""
    ours = {k: v for k, v in shapes.items() if not k.endswith(COUNTER)}
    if not is_tf(shapes):
        return compare(ours, {e.name: e.shape for e in entries(config)})
    layouts: list[Layout] = [name for name in LAYOUTS if (name == "3d") != config.factorized]
    tables = [{e.tf_key: e.tf_shape for e in entries(config, layout)} for layout in layouts]
    nearest = max(tables, key=lambda table: len(table.keys() & ours.keys()))
    return compare(ours, nearest)


def compare(found: Shapes, expected: Shapes) -> dict[str, list[str]]:
    """What of `expected` is missing, what is left over, and what has another shape."""
    problems = {
        "missing": [key for key in expected if key not in found],
        "left over": [key for key in found if key not in expected],
        "wrong shape": [
            f"{key} is {list(found[key])}, not {list(shape)}"
            for key, shape in expected.items()
            if key in found and tuple(found[key]) != shape
        ],
    }
    return {title: rows for title, rows in problems.items() if rows}


def describe(found: Mapping[str, list[str]]) -> str:
    """`mismatches` as one line, five of each kind."""
    parts = []
    for title, rows in found.items():
        first = [one_line(row.replace(SUFFIX, "")) for row in rows[:5]]
        parts.append(f"{len(rows)} {title}: {', '.join(first)}{', ...' if len(rows) > 5 else ''}")
    return "; ".join(parts)


def describe_variant(config: MoViNetConfig) -> str:
    """A network that is no preset as the nearest preset and the overrides that make it this one."""
    nearest: tuple[str, list[str]] | None = None
    for name in list_models():
        if name in ENSEMBLES:
            continue
        preset = preset_config(name, num_classes=config.num_classes)
        if preset.architecture != config.architecture:
            continue
        overrides = [
            f"{field.name}={getattr(config, field.name)!r}"
            for field in dataclasses.fields(config)
            if getattr(config, field.name) != getattr(preset, field.name)
        ]
        if nearest is None or len(overrides) < len(nearest[1]):
            nearest = name, overrides
    if nearest is None:
        return "a network of its own"
    return f"{nearest[0]} with {', '.join(nearest[1])}" if nearest[1] else nearest[0]


def count_classes(shapes: Shapes, where: str) -> int:
    """Number of outputs of the classifier; 1 where it cannot be told.

    Raises:
        CheckpointError: If they are more than any classifier has.
    """
    endings = ("_classifier/_conv/bias" + SUFFIX, "_classifier/_conv/_conv/bias" + SUFFIX)
    for key, shape in shapes.items():
        if key == "classifier.bias" or key.endswith(endings):
            classes = max(1, *shape) if shape else 1
            if classes > MAX_CHANNELS:
                raise CheckpointError(
                    f"{where}: {classes} classes are more than the {MAX_CHANNELS} allowed"
                )
            return classes
    return 1


def _variants(shapes: Shapes, num_classes: int) -> list[MoViNetConfig]:
    """Every architecture with the options that the names speak of."""
    factorized = any("_conv_temporal" in key or ".temporal." in key for key in shapes)
    positional = any("_pos_encoding" in key or "position_scale" in key for key in shapes)
    has_se = any("_se_reduce" in key or ".se.reduce." in key for key in shapes)
    configs = []
    for size in ARCHITECTURES:
        kind = "stream" if factorized or positional else "base"
        for se_type in ("2plus3d", "3d") if has_se else ("none",):
            try:
                config = preset_config(
                    f"{size}_{kind}",
                    num_classes=num_classes,
                    factorized=factorized,
                    positional_encoding=positional,
                    se_type=se_type,
                )
            except ConfigError:
                continue
            configs.append(config)
    return configs
