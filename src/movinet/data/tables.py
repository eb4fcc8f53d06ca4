"""Lists of samples as text: tables with a line of column names, and lines of a path and a label."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from movinet.errors import ConfigError
from movinet.video.finding import VIDEO_SUFFIXES

#: Lists without column names end in one of these, or begin with the path of a video.
LIST_SUFFIXES = (".txt", ".lst", ".list")
#: What stands for bytes that are no UTF-8.
SURROGATES = re.compile("[\ud800-\udfff]")
_MAX_BYTES = 1 << 30
#: Columns one of which is in every table beside the path.
_LABELS = {"label", "labels"}
#: A path (in quotes, or up to the last suffix of a video), what separates it, and labels.
_SUFFIX = "|".join(sorted(suffix[1:] for suffix in VIDEO_SUFFIXES))
_LINE = re.compile(
    rf'\s*(?:"(?P<quoted>[^"]+)"|(?P<path>.*\.(?:{_SUFFIX})))'
    r"(?P<separator>\s*[,;\t]\s*|\s+)(?P<rest>\S.*)",
    re.IGNORECASE,
)


def read_text(path: Path) -> str:
    """The text of a list: UTF-8, or UTF-16 with its mark.

    Bytes that are not UTF-8 are kept as Python keeps them in names of files (surrogateescape).

    Raises:
        ConfigError: If it cannot be read, is too large, or begins with other bytes.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError(f"{path}: larger than {_MAX_BYTES} bytes; a manifest is a list")
        data = path.read_bytes()
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # "Unicode text" of Excel
            return data.decode("utf-16")
        # Names of files are bytes; whatever else is no UTF-8 is refused where it is used.
        text = data.decode("utf-8-sig", errors="surrogateescape")
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-16 text, as its first bytes say") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    if SURROGATES.search(text.partition("\n")[0]) and not is_list(path, text):
        raise ConfigError(f"{path}: not UTF-8 text")
    return text


def read_table(
    path: Path, check: Callable[[str, list[str]], None]
) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a .csv or .tsv with a line of column names: line numbers and cells by column.

    Between cells stands what stands between the names: a comma, a semicolon or a tab. Empty cells
    are left out, and so are empty lines.

    Args:
        path: The file.
        check: Called with the place and the column names; raises ConfigError.

    Raises:
        ConfigError: If the file cannot be read, or a row has too many or few cells.
    """
    text = read_text(path)
    delimiter = _delimiter(path, text) or default_delimiter(path)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        names = [name.strip() for name in next(reader, [])]
        check(f"{path}, line 1", names)
        for cells in reader:
            if not any(cells):
                continue
            if len(cells) != len(names):
                raise ConfigError(
                    f"{path}, line {reader.line_num}: {len(cells)} cells for the {len(names)} "
                    f"columns {', '.join(names)}"
                )
            record = zip(names, cells, strict=True)
            yield reader.line_num, {name: cell for name, cell in record if cell}
    except csv.Error as error:
        raise ConfigError(f"{path}, line {reader.line_num}: {error}") from None


def default_delimiter(path: Path) -> str:
    """What stands between cells where nothing else is known."""
    return "\t" if path.suffix.lower() == ".tsv" else ","


def column_names(path: Path, text: str) -> list[str]:
    """The names in a first line that is one of names; empty if it is not."""
    delimiter = _delimiter(path, text)
    return [] if delimiter is None else _cells(text, delimiter)


def _delimiter(path: Path, text: str) -> str | None:
    """What stands between the names of columns; None if the first line is not one of names."""
    for delimiter in dict.fromkeys((default_delimiter(path), ",", ";", "\t")):
        names = set(_cells(text, delimiter))
        if "youtube_id" in names or ("path" in names and names & _LABELS):
            return delimiter
    return None


def _cells(text: str, delimiter: str) -> list[str]:
    first = text.partition("\n")[0]
    try:
        return [name.strip() for name in next(csv.reader([first[:10_000]], delimiter=delimiter))]
    except (csv.Error, StopIteration):
        return []


def is_list(path: Path, text: str) -> bool:
    """Whether a file has a path and a label on each line, without names of columns."""
    if _delimiter(path, text) is not None:
        return False
    first = text.partition("\n")[0].rstrip("\r")
    return path.suffix.lower() in LIST_SUFFIXES or _LINE.fullmatch(first) is not None


def list_records(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The lines of a list: a path, and its label or several numbers of labels.

    Spaces, a tab, a comma or a semicolon separate them. Paths may have spaces and commas: they end
    with the suffix of a video, or stand in quotes.

    Yields:
        Line numbers, and records with "path" and "label" or "labels".

    Raises:
        ConfigError: If a line has no label, or cells whose meaning nobody says.
    """
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.rstrip("\r")
        if not line.strip() or (number == 1 and line.split() == ["path", "label"]):
            continue
        where = f"{path}, line {number}"
        name, separator, rest = _split(where, line)
        cells = [cell.strip() for cell in rest.split(separator)]
        numbers = all(cell.isdecimal() for cell in cells)
        if len(cells) > 1 and numbers:
            yield number, {"path": name, "labels": cells}
            continue
        if len(cells) > 1 and separator != " " and not rest.startswith('"'):
            raise ConfigError(
                f"{where}: {len(cells)} cells after the path; a list without column names has a "
                "path and its label on each line: name the columns in a first line (path,label,"
                "start,end,group and any others)"
            )
        yield number, {"path": name, "label": rest.strip('"')}


def _split(where: str, line: str) -> tuple[str, str, str]:
    """The path, what separates cells, and what follows the path."""
    if found := _LINE.fullmatch(line):
        separator = found["separator"].strip(" ") or " "
        return found["quoted"] or found["path"].strip(), separator, found["rest"].strip()
    for separator in ("\t", ";", ",", " "):
        name, _, rest = line.strip().rpartition(separator)
        if name.strip() and rest.strip():
            return name.strip().strip('"'), separator, rest.strip()
    raise ConfigError(
        f"{where}: {line.strip()[:200]!r} has no label; a list has a path and its label on each "
        "line, such as clips/a.mp4 3"
    )
