"""Class names: the bundled ones of Kinetics, or a text file with one label a line.

The names and their order (that of the published models' outputs) come from the Kinetics data sets,
https://www.deepmind.com/open-source/kinetics.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path

from movinet.errors import ConfigError
from movinet.text import is_name, same_form

#: name of a bundled list -> its file here
_BUNDLED = {
    "kinetics-400": "kinetics_400.txt",
    "kinetics-600": "kinetics_600.txt",
    "kinetics-700": "kinetics_700.txt",
}
#: Kinetics 700 takes 11 kB; anything near this limit is not a list of class names.
_MAX_BYTES = 1 << 20


def load_labels(name_or_path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Class names in the order of a model's outputs.

    Args:
        name_or_path: "kinetics-400", "kinetics-600" or "kinetics-700", or the path of a UTF-8 text
            file with one label a line (at most 1 MiB). White space around labels and empty lines at
            the end are ignored; labels are given in Unicode's form NFC.

    Returns:
        The labels: not empty, each once.

    Raises:
        ConfigError: If there is no such list or file, or a line is empty, repeated or not text: a
            list with gaps would name the wrong classes.
    """
    if name_or_path in _BUNDLED:
        text = resources.files(__name__).joinpath(_BUNDLED[str(name_or_path)]).read_bytes()
        return _parse(text, str(name_or_path))
    path = Path(name_or_path)
    return _parse(_read(path), str(path))


def as_labels(labels: Sequence[str] | str | os.PathLike[str]) -> tuple[str, ...]:
    """Class names that a caller gives: a list of them, or what `load_labels` takes.

    Raises:
        ConfigError: If it is neither, or as `load_labels`.
    """
    if isinstance(labels, str | os.PathLike):
        return load_labels(labels)
    names = tuple(labels) if isinstance(labels, Iterable) else (labels,)
    if not all(isinstance(name, str) for name in names):
        odd = next(name for name in names if not isinstance(name, str))
        raise ConfigError(
            f"labels are a list of names, {', '.join(_BUNDLED)}, or the path of a text file with "
            f"one label a line, not {type(odd).__name__}"
        )
    return tuple(map(str, names))


def assumed_labels(classes: int) -> tuple[tuple[str, ...], str]:
    """Names for the classes of a model that brings none, and a note that says so."""
    if f"kinetics-{classes}" in _BUNDLED:
        note = f"labels assumed to be those of Kinetics {classes}"
        return load_labels(f"kinetics-{classes}"), note
    note = "the weights bring no labels: classes are numbered; --labels gives names"
    return tuple(f"class {i}" for i in range(classes)), note


def _read(path: Path) -> bytes:
    try:
        if not path.is_file():  # before opening: a pipe would block
            what = "is not a file" if path.exists() else "there is no such file"
            raise ConfigError(
                f"labels {str(path)!r}: {what}; give {', '.join(_BUNDLED)} "
                "or the path of a text file with one label a line"
            )
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"cannot read labels {str(path)!r}: {error}") from None
    if len(data) > _MAX_BYTES:
        raise ConfigError(
            f"labels {str(path)!r}: more than {_MAX_BYTES} bytes; "
            "a label file is a short text with one class name a line"
        )
    return data


def _parse(data: bytes, origin: str) -> tuple[str, ...]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"labels {origin!r}, line {line}: not UTF-8 text") from None
    first_line: dict[str, int] = {}
    for number, line in enumerate(text.rstrip().split("\n"), start=1):
        label = same_form(line.strip())
        if not label:
            raise ConfigError(
                f"labels {origin!r}, line {number}: empty, so all later labels would name the "
                "wrong class; remove the line or name the class"
            )
        if not is_name(label):
            raise ConfigError(f"labels {origin!r}, line {number}: control characters in {label!r}")
        if label in first_line:
            raise ConfigError(
                f"labels {origin!r}, line {number}: {label!r} is on line {first_line[label]} too; "
                "labels must differ"
            )
        first_line[label] = number
    return tuple(first_line)
