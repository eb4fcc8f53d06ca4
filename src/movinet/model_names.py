"""What a user may name as a model, resolved in one place for every command and function."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from movinet.catalog.published import PUBLISHED
from movinet.embedded import EMBEDDED
from movinet.errors import CheckpointError, ConfigError
from movinet.network.presets import ENSEMBLES, list_models, unknown_model_message
from movinet.runtime.formats import FORMATS
from movinet.text import one_line

#: In the folder of a training run: the network at the end, and that of the best evaluation.
RUN_MODELS = ("model.safetensors", "best.safetensors")
Kind = Literal["preset", "ensemble", "bundled", "exported", "weights"]


@dataclass(frozen=True)
class ModelName:
    """A model that a user named.

    Attributes:
        kind: "preset" or "ensemble" (of presets): a network, with weights or without; "bundled": it
            ships with movinet; "exported": a file that runs without PyTorch; "weights": a file of
            weights, which determines its preset and classes.
        name: As the user gave it, for messages.
        preset: The preset or ensemble; None where the weights determine it.
        weights: The weights: of a preset as they were given, or the name of a bundled model, or the
            file; None for random ones and for exported files.
    """

    kind: Kind
    name: str
    preset: str | None = None
    weights: str | None = None

    @property
    def is_file(self) -> bool:
        """Whether it names a file of its own, rather than a preset."""
        return self.kind in ("exported", "weights")


def is_exported(name: str) -> bool:
    """Whether a name is that of an exported file, by its suffix."""
    return Path(name).suffix in FORMATS


def is_readable(name: str) -> bool:
    """Whether a name is that of an exported file whose network can be read: weights as well."""
    return Path(name).suffix == ".tflite"


def resolve(
    model: str | os.PathLike[str] | None, weights: str | os.PathLike[str] | None = None
) -> ModelName:
    """Find out what a user named.

    Args:
        model: A preset or ensemble, a bundled model, an exported file or a file of weights; None
            where `weights` alone determine the model.
        weights: Of a preset: a published name, a bundled model or a file of weights.

    Raises:
        ConfigError: If it is none of these, or weights are given for a model that has its own.
        CheckpointError: If a file of weights is named that does not exist.
    """
    name, source = _text("model", model), _text("weights", weights)
    if name is None:
        return _told_by_weights(source)
    if name in list_models():
        return ModelName("ensemble" if name in ENSEMBLES else "preset", name, name, source)
    kind = _kind(name)
    if source is not None:
        raise ConfigError(
            f"{name} has its own weights, so --weights {source} cannot be used with it: omit one"
        )
    return ModelName(kind, name, weights=None if kind == "exported" else name)


def resolve_network(
    model: str | os.PathLike[str] | None, weights: str | os.PathLike[str] | None = None
) -> ModelName:
    """As `resolve`, where a network is due: exported files whose network can be read are weights.

    Raises:
        ConfigError, CheckpointError: As `resolve`; also for exported files that cannot be read.
    """
    named = resolve(model, weights)
    if named.kind == "exported" and is_readable(named.name):
        return resolve(None, named.name)
    if named.kind == "exported":
        raise ConfigError(
            f"{named.name} is an exported model, whose network cannot be read: use the weights it "
            "was made from"
        )
    return named


def _text(what: str, value: object) -> str | None:
    """A name or path as text."""
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    if text is None or isinstance(text, str):
        return text
    raise ConfigError(f"{what} must be a name or a path, not {value!r}")


def _told_by_weights(source: str | None) -> ModelName:
    """The model that weights alone determine."""
    if source is None:
        raise ConfigError(f"name a model ({_what_models_are()})")
    if source in EMBEDDED:
        return ModelName("bundled", source, weights=source)
    if is_exported(source) and not is_readable(source):
        raise ConfigError(f"{source} is an exported model, not weights: give it as the model")
    return ModelName("weights", source, weights=source)


def _kind(name: str) -> Kind:
    """What a name means that is not a preset's."""
    if name in EMBEDDED:
        return "bundled"
    if is_exported(name):
        return "exported"
    if name in PUBLISHED:
        raise ConfigError(
            f"{name} names weights that are published for several models: give the model too, as "
            f"in --model a0_stream --weights {name}"
        )
    if _exists(name):
        _refuse_run(Path(name))
        return "weights"
    if Path(name).suffix or os.sep in name:
        raise CheckpointError(f"{one_line(name)}: no such file; a model is {_what_models_are()}")
    raise ConfigError(
        f"{unknown_model_message(name)}; nor is it {' or '.join(EMBEDDED)}, the bundled model, or "
        "a file"
    )


def _exists(name: str) -> bool:
    """Whether a name means a file or a folder of weights, or the prefix of a TensorFlow one."""
    path = Path(name)
    try:
        return bool(name) and (path.exists() or path.with_name(path.name + ".index").exists())
    except (OSError, ValueError):  # no file can have such a name
        return False


def _refuse_run(folder: Path) -> None:
    """Raise ConfigError for the folder of a training run: it holds more than one model."""
    if models := [name for name in RUN_MODELS if (folder / name).is_file()]:
        raise ConfigError(
            f"{folder} is the folder of a training run: name its {' or '.join(models)}"
        )


def _what_models_are() -> str:
    return (
        f"one of {', '.join(list_models())}; {', '.join(EMBEDDED)}, which is bundled; an exported "
        f"file ({', '.join(FORMATS)}); or a file of weights"
    )
