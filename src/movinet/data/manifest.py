"""Manifests: a table with a row for each sample, as CSV, TSV or JSON lines."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from movinet.errors import ConfigError
from movinet.files import replacing

SUFFIXES = (".csv", ".tsv", ".jsonl")
#: Columns of a manifest; `path` and one of `label` and `labels` must be there.
COLUMNS = ("path", "label", "labels", "start", "end", "group")
#: Between several labels of a sample.
SEPARATOR = "|"
_MAX_BYTES = 1 << 30
_MAX_ROWS = 20_000_000


class Row(NamedTuple):
    """A line of a manifest.

    Attributes:
        path: Of the video, as it is written there.
        labels: Names of its classes.
        start: Where the sample begins, seconds; None is the beginning of the video.
        end: Where it ends, seconds; None is the end of the video.
        group: What must not be split; None if nothing is said.
        line: Of the file, for messages.
    """

    path: str
    labels: tuple[str, ...]
    start: float | None = None
    end: float | None = None
    group: str | None = None
    line: int = 0


def read_rows(path: Path) -> list[Row]:
    """The rows of a manifest.

    Args:
        path: A .csv or .tsv with a line of column names, or a .jsonl with an object a line;
            columns are `COLUMNS`. Several labels stand in `labels`, with "|" between them or as a
            JSON list.

    Raises:
        ConfigError: If the file cannot be read, has unknown columns, a row is not allowed, or two
            rows are the same.
    """
    text = _text(path)
    records = _json_records(path, text) if path.suffix == ".jsonl" else _records(path, text)
    rows: list[Row] = []
    seen: dict[tuple[Any, ...], int] = {}
    for line, record in records:
        row = _row(f"{path}, line {line}", line, record)
        key = (row.path, row.start, row.end)
        if key in seen:
            raise ConfigError(
                f"{path}, line {line}: {row.path!r} is on line {seen[key]} too; remove one of them"
            )
        seen[key] = line
        rows.append(row)
        if len(rows) > _MAX_ROWS:
            raise ConfigError(f"{path}: more than {_MAX_ROWS} rows")
    if not rows:
        raise ConfigError(f"{path}: no samples; a manifest has a row for each")
    return rows


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write a manifest that `read_rows` reads back; the suffix decides the format.

    Raises:
        ConfigError: If the suffix is another one.
        OSError: If it cannot be written.
    """
    if path.suffix not in SUFFIXES:
        raise ConfigError(f"{path}: a manifest is one of {', '.join(SUFFIXES)}")
    rows = list(rows)
    several = any(len(row.labels) != 1 for row in rows)
    label = "labels" if several else "label"
    columns = ("start", "end", "group")
    optional = [c for c in columns if any(getattr(row, c) is not None for row in rows)]
    names = ["path", label, *optional]
    text = io.StringIO()
    if path.suffix == ".jsonl":
        for row in rows:
            record = dict(zip(names, _cells(row, optional, list(row.labels)), strict=True))
            if not several:
                record[label] = row.labels[0]
            text.write(json.dumps(record, ensure_ascii=False) + "\n")
    else:
        delimiter = "\t" if path.suffix == ".tsv" else ","
        writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(_cells(row, optional, SEPARATOR.join(row.labels)) for row in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")


def _cells(row: Row, optional: list[str], labels: Any) -> list[Any]:
    return [row.path, labels, *(getattr(row, name) for name in optional)]


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError(f"{path}: larger than {_MAX_BYTES} bytes; a manifest is a list")
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8 text") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None


def _records(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.reader(io.StringIO(text), delimiter="\t" if path.suffix == ".tsv" else ",")
    try:
        names = [name.strip() for name in next(reader, [])]
        check_columns(f"{path}, line 1", names)
        for cells in reader:
            if not any(cells):
                continue
            if len(cells) != len(names):
                raise ConfigError(
                    f"{path}, line {reader.line_num}: {len(cells)} cells for the {len(names)} "
                    f"columns {', '.join(names)}"
                )
            record = dict(zip(names, cells, strict=True))
            yield reader.line_num, {k: v for k, v in record.items() if v != ""}
    except csv.Error as error:
        raise ConfigError(f"{path}, line {reader.line_num}: {error}") from None


def check_columns(where: str, names: list[str]) -> None:
    """Raise ConfigError unless the names of columns are those of a manifest."""
    unknown = [name for name in names if name not in COLUMNS]
    if unknown or len(set(names)) < len(names):
        odd = unknown[0] if unknown else max(names, key=names.count)
        what = "unknown" if unknown else "repeated"
        raise ConfigError(f"{where}: {what} column {odd!r}; columns: {', '.join(COLUMNS)}")
    if "path" not in names or ("label" in names) == ("labels" in names):
        raise ConfigError(
            f"{where}: a manifest needs the column path and one of label and labels, "
            f"not {', '.join(names) or 'nothing'}"
        )


def _json_records(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, content in enumerate(text.splitlines(), start=1):
        if not content.strip():
            continue
        try:
            record = json.loads(content)
        except (ValueError, RecursionError) as error:
            problem = getattr(error, "msg", "nested too deeply")
            raise ConfigError(f"{path}, line {line}: not JSON: {problem}") from None
        if not isinstance(record, dict):
            raise ConfigError(f"{path}, line {line}: not a JSON object")
        check_columns(f"{path}, line {line}", list(record))
        yield line, {k: v for k, v in record.items() if v is not None}


def _row(where: str, line: int, record: dict[str, Any]) -> Row:
    path = record.get("path")
    if not isinstance(path, str) or not path:
        raise ConfigError(f"{where}: path must be the name of a video, not {path!r}")
    start, end = (read_time(where, name, record.get(name)) for name in ("start", "end"))
    if end is not None and end <= (start or 0.0):
        raise ConfigError(f"{where}: end {end:g} must be after start {start or 0:g}")
    group = record.get("group")
    group = None if group is None else str(group)
    return Row(path, _labels(where, record), start, end, group, line)


def _labels(where: str, record: dict[str, Any]) -> tuple[str, ...]:
    found: Any
    if "label" in record:
        found = [record["label"]]
    else:
        given = record.get("labels", [])
        found = given.split(SEPARATOR) if isinstance(given, str) else given
        if not isinstance(found, list):
            raise ConfigError(f"{where}: labels must be a list, not {given!r}")
    labels = tuple(str(label).strip() for label in found if found != [""])
    for label in labels:
        if not label or not label.isprintable():
            raise ConfigError(f"{where}: {label!r} is no name of a class")
    if len(set(labels)) < len(labels):
        raise ConfigError(f"{where}: a label stands twice in {SEPARATOR.join(labels)}")
    return labels


def read_time(where: str, name: str, value: Any) -> float | None:
    """Seconds that somebody wrote down.

    Raises:
        ConfigError: If it is no time.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ConfigError(f"{where}: {name} must be seconds from 0 on, not {value!r}")
    return seconds


def resolve(root: Path, name: str) -> Path:
    """A video's path: absolute as it is, else below `root`."""
    return Path(os.path.normpath(root / name))
