"""What our own files of weights say of them: written by us, read as text from anybody."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from movinet.errors import CheckpointError, ConfigError
from movinet.network.config import InputSpec, MoViNetConfig
from movinet.network.presets import ENSEMBLES, list_models, preset_config
from movinet.text import is_name, one_line

#: Key of the metadata, as JSON, in the header of a .safetensors file.
METADATA_KEY = "movinet"
#: Longest header that is read; safetensors' own limit.
_MAX_HEADER = 100_000_000
#: What a file may call assumed.
ASSUMABLE = ("preset", "head_activation", "frame_rate", "classifier")


@dataclass(frozen=True)
class Metadata:
    """What our own files say of their weights.

    Attributes:
        config: The network.
        input: Size and frame rate that it was trained for.
        preset: Name of the preset that the config came from, if any.
        labels: Names of the classes, if known.
        origin: Where the weights come from, for people.
        assumed: What nobody said when the file was made: "preset" (told from the tensors),
            "head_activation", "frame_rate", or "classifier" (the weights had none: it is random).
        run: Name of the training run that made them, if one did.
        multi_label: Whether a clip may have any number of the labels: sigmoids instead of a
            softmax. Files that don't tell have exclusive classes.
    """

    config: MoViNetConfig
    input: InputSpec
    preset: str | None = None
    labels: tuple[str, ...] | None = None
    origin: str = ""
    assumed: tuple[str, ...] = ()
    run: str | None = None
    multi_label: bool = False

    def __post_init__(self) -> None:
        if self.labels is not None:
            if len(self.labels) != self.config.num_classes:
                raise ConfigError(
                    f"{len(self.labels)} labels for {self.config.num_classes} classes"
                )
            for label in self.labels:
                _check_text("a label", label)
        _check_text("origin", self.origin)
        if self.run is not None:
            _check_text("run", self.run)
        if not isinstance(self.multi_label, bool):
            raise ConfigError(f"multi_label must be true or false, not {self.multi_label!r}")
        if self.preset is not None:
            if self.preset not in list_models() or self.preset in ENSEMBLES:
                raise ConfigError(f"no preset {self.preset!r}")
            if preset_config(self.preset).architecture != self.config.architecture:
                raise ConfigError(f"the architecture is not that of {self.preset}")
        if unknown := [name for name in self.assumed if name not in ASSUMABLE]:
            raise ConfigError(f"assumed must be of {', '.join(ASSUMABLE)}, not {unknown[0]!r}")

    def to_json(self) -> str:
        """As text for a file."""
        return json.dumps(
            {
                "config": self.config.to_dict(),
                "input": dataclasses.asdict(self.input),
                "preset": self.preset,
                "labels": self.labels,
                "origin": self.origin,
                "assumed": self.assumed,
                "run": self.run,
                "multi_label": self.multi_label,
            }
        )

    @classmethod
    def parse(cls, text: str, where: str) -> Metadata:
        """The inverse of `to_json`, for text from outside.

        Raises:
            CheckpointError: If it is not that.
        """
        try:
            values = json.loads(text)
            labels = values.get("labels")
            return cls(
                MoViNetConfig.from_dict(values["config"]),
                InputSpec(**values["input"]),
                values.get("preset"),
                None if labels is None else _tuple("labels", labels),
                values.get("origin", ""),
                _tuple("assumed", values.get("assumed", [])),
                values.get("run"),
                values.get("multi_label", False),
            )
        except (KeyError, TypeError, ValueError, RecursionError, AttributeError) as error:
            raise CheckpointError(
                f"{where}: its movinet metadata is broken: "
                f"{one_line(f'{type(error).__name__}: {error}')}"
            ) from None


def read_metadata(path: Path) -> Metadata | None:
    """What a .safetensors file says of its weights, without its tensors and without PyTorch.

    Returns:
        The metadata; None if the file has none of movinet's.

    Raises:
        CheckpointError: If the file cannot be read or is not a .safetensors file.
    """
    try:
        with path.open("rb") as file:
            length, size = int.from_bytes(file.read(8), "little"), path.stat().st_size
            if length > min(_MAX_HEADER, size - 8):
                raise ValueError(
                    "damaged, cut off, or another kind of file (its header would be longer than "
                    f"{'the file' if length > size - 8 else 'any'})"
                )
            header = json.loads(file.read(length))
            text = header.get("__metadata__", {}).get(METADATA_KEY)
    except (OSError, ValueError, RecursionError, AttributeError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise CheckpointError(f"{path}: not a readable .safetensors file: {reason}") from None
    return None if text is None else Metadata.parse(text, str(path))


def _tuple(name: str, value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise ConfigError(f"{name} must be a list")
    return tuple(value)


def _check_text(name: str, value: Any) -> None:
    """Raise ConfigError unless `value` is text that does nothing to a terminal."""
    if not isinstance(value, str) or not is_name(value):
        raise ConfigError(f"{name} must be text without control characters, not {value!r}")
