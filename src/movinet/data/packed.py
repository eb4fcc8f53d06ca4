"""Files that many samples are packed in: which they are, and the names of classes beside them."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable
from pathlib import Path

from movinet.errors import ConfigError, MissingExtraError
from movinet.labels import load_labels
from movinet.video.finding import natural_order

#: Kinds by the names of their files; TFRecords are often called train.tfrecord-00001-of-00009.
_KINDS = {"shards": re.compile(r"\.tar$", re.I), "records": re.compile(r"\.tfrecords?(-|$)", re.I)}
_MAX_FILES = 100_000
#: How many files a message names.
_NAMED = 5


def find_packed(path: Path) -> tuple[str | None, list[Path]]:
    """The shards or records that a name, a pattern or a folder stands for, in natural order.

    Returns:
        "shards" or "records", and the files; None if it is something else.
    """
    if path.is_dir():
        files = [f for f in visible(path) if _kind(f) and f.is_file()]
    elif path.exists() or not re.search(r"[*?{]", str(path)):
        files = [path] if _kind(path) and path.is_file() else []
    else:
        files = _fitting(path)
    kinds = {_kind(file) for file in files}
    if not files:
        return None, []
    if len(kinds) > 1 or kinds == {None}:
        raise ConfigError(
            f"{path}: stands for {', '.join(f.name for f in files[:_NAMED])}; a data set is made "
            "of .tar or of .tfrecord files, not of both or others"
        )
    folders = [f.name for f in visible(path) if f.is_dir()] if path.is_dir() else []
    if folders:
        raise ConfigError(
            f"{path}: holds {files[0].name} and folders ({', '.join(folders[:_NAMED])}); if the "
            f"data set is in the folders, move the file away, else write {path}/*{files[0].suffix}"
        )
    return kinds.pop(), files


def _kind(file: Path) -> str | None:
    return next((kind for kind, name in _KINDS.items() if name.search(file.name)), None)


def _fitting(pattern: Path) -> list[Path]:
    """The files of a pattern with braces or wildcards; each of the braces must be there."""
    names = [str(pattern)]
    if "{" in names[0]:
        try:
            from braceexpand import braceexpand
        except ImportError:
            raise MissingExtraError("a pattern with braces", "train") from None
        try:
            names = list(itertools.islice(braceexpand(names[0]), _MAX_FILES + 1))
        except ValueError as error:
            raise ConfigError(f"{pattern}: not a pattern of files: {error}") from None
        if len(names) > _MAX_FILES:
            raise ConfigError(f"{pattern}: stands for more than {_MAX_FILES} files")
    found: list[Path] = []
    for path in map(Path, names):
        wild = re.search(r"[*?]", path.name)
        fitting = sorted(path.parent.glob(path.name), key=natural_order) if wild else [path]
        files = [file for file in fitting if file.is_file()]
        if not files:
            asked = "" if path == pattern else f", which {pattern} asks for"
            raise ConfigError(f"{path}: no such file{asked}")
        found += files
    return list(dict.fromkeys(found))


def visible(folder: Path) -> list[Path]:
    """What is in a folder and not hidden, in natural order."""
    try:
        entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be read ({error.strerror})") from None
    return sorted(entries, key=natural_order)


def with_keys(paths: Iterable[Path]) -> list[tuple[Path, str]]:
    """Files of a data set, each with a name of its own: the path from their common folder on."""
    paths = list(paths)
    common = os.path.commonpath([path.parent.absolute() for path in paths])
    return [(path, path.absolute().relative_to(common).as_posix()) for path in paths]


def names_beside(path: Path) -> tuple[str, ...]:
    """The classes in the labels.txt that lies beside a file, if there is one.

    Raises:
        ConfigError: If it is no list of classes.
    """
    file = path.parent / "labels.txt"
    return load_labels(file) if file.is_file() else ()


def by_name(where: str, label: str | int, names: tuple[str, ...]) -> str | int:
    """A label by its name, if there are `names` that its number counts.

    Raises:
        ConfigError: If there is no such number.
    """
    if isinstance(label, str) or not names:
        return label
    if not 0 <= label < len(names):
        raise ConfigError(f"{where}: class {label} of {len(names)} in the labels.txt beside it")
    return names[label]
