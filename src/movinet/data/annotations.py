"""Manifests: a table with a row for each sample, as CSV, TSV or JSON lines."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from movinet.checkpoints.wire import shown
from movinet.data.tables import (
    LIST_SUFFIXES,
    SURROGATES,
    column_names,
    default_delimiter,
    is_list,
    list_records,
    read_table,
    read_text,
)
from movinet.errors import ConfigError
from movinet.files import replacing
from movinet.text import is_name, printable, same_form
from movinet.video.frame_folder import check_frame_rate

SUFFIXES = (".csv", ".tsv", ".jsonl")
#: Files that are read as lists of samples.
READ_SUFFIXES = (*SUFFIXES, *LIST_SUFFIXES)
#: Columns of a manifest; `path` and one of `label` and `labels` must be there.
COLUMNS = ("path", "label", "labels", "start", "end", "group", "frame_rate")
#: Between several labels of a sample.
SEPARATOR = "|"
#: Longer texts are no names of classes.
_MAX_NAME = 500
_FORMULAS = ("=", "+", "-", "@")


class Row(NamedTuple):
    """A line of a manifest.

    Attributes:
        path: Of the video, as it is written there.
        labels: Names of its classes.
        start: Where the sample begins, seconds; None is the beginning of the video.
        end: Where it ends, seconds; None is the end of the video.
        group: What must not be split; None if nothing is said.
        line: Of the file, for messages.
        frame_rate: Frames per second, as it is written; read if the path is a folder of pictures.
    """

    path: str
    labels: tuple[str, ...]
    start: float | None = None
    end: float | None = None
    group: str | None = None
    line: int = 0
    frame_rate: float | str | None = None


def read_rows(path: Path) -> list[Row]:
    """The rows of a manifest.

    Args:
        path: A .csv or .tsv with a line of column names, or a .jsonl with an object a line;
            columns are `COLUMNS`, and others are ignored. Several labels stand in `labels`, with
            "|" between them or as a JSON list. Or a list without column names: a path and its
            label on each line.

    Raises:
        ConfigError: If the file cannot be read, lacks a column, a row is not allowed, or two rows
            give the same sample other labels or groups.

    Warns:
        UserWarning: Once, if there are other columns.
    """
    records: Iterator[tuple[int, dict[str, Any]]]
    if path.suffix.lower() == ".jsonl":
        records = _json_records(path)
    elif is_list(path, text := read_text(path)):
        records = list_records(path, text)
    else:
        note_unknown(path, column_names(path, text), COLUMNS)
        records = read_table(path, check_columns)
    rows: list[Row] = []
    seen: dict[tuple[Any, ...], Row] = {}
    for line, record in records:
        row = _row(f"{path}, line {line}", line, record)
        first = seen.setdefault((os.path.normpath(row.path), row.start, row.end), row)
        for what in ("labels", "group"):
            one, other = getattr(row, what), getattr(first, what)
            if one != other:
                raise ConfigError(
                    f"{path}, line {line}: {row.path!r} is on line {first.line} with another "
                    f"{what.removesuffix('s')} ({_shown(other)}, here {_shown(one)}); correct one "
                    "of them"
                )
        rows.append(row)
    if not rows:
        raise ConfigError(f"{path}: no samples; a manifest has a row for each")
    return rows


def _shown(value: tuple[str, ...] | str | None) -> str:
    return SEPARATOR.join(value) if isinstance(value, tuple) else str(value)


def unique_keys(keys: Sequence[str]) -> Iterator[str]:
    """The keys of samples, with a number after those of lines that repeat earlier ones.

    Yields:
        "a.mp4", "a.mp4#2", "a.mp4#3" for three equal ones; each once.
    """
    taken, counts = set(keys), Counter[str]()
    for key in keys:
        counts[key] += 1
        name = key
        if counts[key] > 1:
            while (name := f"{key}#{counts[key]}") in taken:
                counts[key] += 1
        taken.add(name)
        yield name


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write a manifest that `read_rows` reads back; the suffix decides the format.

    Raises:
        ConfigError: If the suffix is another one, or a label cannot be written so that it is read
            back.
        OSError: If it cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ConfigError(f"{path}: a manifest is one of {', '.join(SUFFIXES)}")
    rows = list(rows)
    several = any(len(row.labels) != 1 for row in rows)
    columns = ("start", "end", "group", "frame_rate")
    optional = [c for c in columns if any(getattr(row, c) is not None for row in rows)]
    names = ["path", "labels" if several else "label", *optional]
    text = io.StringIO()
    if suffix == ".jsonl":
        for row in rows:
            labels = list(row.labels) if several else row.labels[0]
            record = dict(zip(names, _cells(row, optional, labels), strict=True))
            is_text = row.path.isascii() or not SURROGATES.search(row.path)
            text.write(json.dumps(record, ensure_ascii=not is_text) + "\n")
    else:
        _warn_of_formulas(path, rows)
        writer = csv.writer(text, delimiter=default_delimiter(path), lineterminator="\n")
        writer.writerow(names)
        for row in rows:
            if several and any(SEPARATOR in label for label in row.labels):
                raise ConfigError(
                    f"{path}: {SEPARATOR!r} stands between labels and cannot be in one of "
                    f"{', '.join(row.labels)}; write a .jsonl"
                )
            writer.writerow(_cells(row, optional, SEPARATOR.join(row.labels)))
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8", errors="surrogateescape")


def _warn_of_formulas(path: Path, rows: Iterable[Row]) -> None:
    """Names are written as they are, to be read back; spreadsheets may take some for formulas."""
    texts = (text for row in rows for text in (*row.labels, row.path, row.group or ""))
    if found := next((text for text in texts if text.startswith(_FORMULAS)), None):
        warnings.warn(
            printable(
                f"{path}: {found!r} begins like a formula: where a spreadsheet opens the list, "
                "have it import the columns as text, or write a .jsonl"
            ),
            stacklevel=3,
        )


def _cells(row: Row, optional: list[str], labels: Any) -> list[Any]:
    return [row.path, labels, *(getattr(row, name) for name in optional)]


def check_columns(where: str, names: list[str]) -> None:
    """Raise ConfigError unless names of columns are those of a manifest, among others."""
    repeated = [name for name in COLUMNS if names.count(name) > 1]
    if repeated:
        raise ConfigError(
            f"{where}: repeated column {repeated[0]!r}; columns: {', '.join(COLUMNS)}"
        )
    if "path" not in names or ("label" in names) == ("labels" in names):
        raise ConfigError(
            f"{where}: a manifest needs the column path and one of label and labels, "
            f"not {', '.join(names) or 'nothing'}"
        )


def note_unknown(path: Path, names: Sequence[str], known: Sequence[str]) -> None:
    """Warn of columns that are ignored: one of them may be a known one, written otherwise."""
    if unknown := list(dict.fromkeys(name for name in names if name not in known)):
        columns = "column" if len(unknown) == 1 else "columns"
        warnings.warn(
            f"{path}: {columns} {', '.join(map(shown, unknown[:5]))}"
            f"{', ...' if len(unknown) > 5 else ''} ignored; known are {', '.join(known)}",
            stacklevel=2,
        )


def _json_records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    names: dict[str, None] = {}
    # Not splitlines: JSON texts may have other ends of line than this one in them.
    for line, content in enumerate(read_text(path).split("\n"), start=1):
        if not content.strip():
            continue
        where = f"{path}, line {line}"
        record = parse_json(where, content)
        check_columns(where, list(record))
        names |= dict.fromkeys(record)
        yield line, record
    note_unknown(path, list(names), COLUMNS)


def parse_json(where: str, text: str | bytes) -> dict[str, Any]:
    """A JSON object, without the members that are null.

    Raises:
        ConfigError: If it is none.
    """
    try:
        record = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{where}: not JSON: {error.msg} (column {error.colno})") from None
    except (ValueError, RecursionError):  # not UTF-8, numbers of thousands of digits, deep nesting
        raise ConfigError(f"{where}: not JSON that can be read") from None
    if not isinstance(record, dict):
        raise ConfigError(f"{where}: not a JSON object")
    return {name: value for name, value in record.items() if value is not None}


def _row(where: str, line: int, record: Mapping[str, Any]) -> Row:
    path = record.get("path")
    if not isinstance(path, str) or not path:
        raise ConfigError(f"{where}: path must be the name of a video, not {path!r}")
    start, end = read_span(where, record)
    # A class may be called 3, which JSON has as a number.
    labels = tuple(map(str, read_labels(where, record)))
    rate = record.get("frame_rate")
    return Row(path, labels, start, end, read_group(where, record), line, rate)


def read_labels(where: str, record: Mapping[str, Any]) -> tuple[str | int, ...]:
    """The `label` or `labels` of a record: names, or numbers where it has these.

    Raises:
        ConfigError: If they are no names or numbers.
    """
    if "label" in record:
        found: Any = [record["label"]]
    else:
        given = record.get("labels", [])
        found = given.split(SEPARATOR) if isinstance(given, str) and given else given or []
        if not isinstance(found, list):
            raise ConfigError(f"{where}: labels must be a list, not {given!r}")
    labels = tuple(same_form(label.strip()) if isinstance(label, str) else label for label in found)
    for label in labels:
        check_label(where, label)
    return labels


def check_label(where: str, label: object) -> None:
    """Raise ConfigError for what cannot be the name or number of a class."""
    if isinstance(label, str):
        allowed = is_name(label) and label == label.strip() and 0 < len(label) <= _MAX_NAME
    else:
        allowed = isinstance(label, int) and not isinstance(label, bool)
    if not allowed:
        is_bytes = isinstance(label, str) and SURROGATES.search(label)
        why = ": it is not UTF-8 text, in which lists are saved" if is_bytes else ""
        raise ConfigError(f"{where}: {shown(label)} is no name of a class{why}")


def read_span(
    where: str, record: Mapping[str, Any], names: tuple[str, str] = ("start", "end")
) -> tuple[float | None, float | None]:
    """Where a sample begins and ends, seconds; None where nothing is said.

    Args:
        where: For messages.
        record: Values by column.
        names: The two columns.

    Raises:
        ConfigError: If these are no times, or not in order.
    """
    start, end = (_time(where, name, record.get(name)) for name in names)
    if end is not None and end <= (start or 0.0):
        raise ConfigError(f"{where}: {names[1]} {end:g} must be after {names[0]} {start or 0:g}")
    return start, end


def _time(where: str, name: str, value: Any) -> float | None:
    if value is None:
        return None
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ConfigError(f"{where}: {name} must be seconds from 0 on, not {value!r}")
    return seconds


def read_group(where: str, record: Mapping[str, Any]) -> str | None:
    """The `group` of a record.

    Raises:
        ConfigError: If it is neither text nor a whole number.
    """
    group = record.get("group")
    if group is not None and (isinstance(group, bool) or not isinstance(group, str | int)):
        raise ConfigError(f"{where}: group must be a name, not {group!r}")
    return None if group is None else str(group)


def row_rate(where: str, row: Row, default: float | None) -> float:
    """Frames per second of a row whose path is a folder of pictures.

    Args:
        where: For messages.
        row: The row.
        default: For rows that have none.

    Raises:
        ConfigError: If it is not a frame rate, or there is none.
    """
    given = default if row.frame_rate is None else row.frame_rate
    if given is None:
        raise ConfigError(
            f"{where}: {row.path!r} is a folder; if the pictures in it are the frames of a video, "
            "give their frame rate in a column frame_rate, or for all (frame_rate, --frame-rate, "
            "data.frame_rate)"
        )
    if isinstance(given, str):
        with contextlib.suppress(ValueError):
            given = float(given)
    try:
        return check_frame_rate(given)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def resolve(where: str, name: str, folder: Path, *, confined: bool) -> Path:
    """A video's path: absolute as it is, else from `folder` on.

    Args:
        where: For messages.
        name: As it is written.
        folder: Where relative paths begin.
        confined: Whether a relative path may not leave the folder.

    Raises:
        ConfigError: If it leaves the folder.
    """
    if confined and Path(os.path.normpath(name)).parts[:1] == ("..",):
        raise ConfigError(
            f"{where}: {name!r} leads out of the root {folder}; write an absolute path, or give a "
            "root that holds all videos"
        )
    return Path(os.path.normpath(folder / name))
