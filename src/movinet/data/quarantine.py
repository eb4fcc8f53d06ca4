"""The list of files that a check found, and data sets without them."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from movinet.data.samples import DataSet, Sample
from movinet.errors import ConfigError
from movinet.files import replacing

#: Path, what kind of fault, in words, and of parts of a video where they begin and end, seconds.
_COLUMNS = 5
_MAX_BYTES = 1 << 28
#: Kind of a finding that leaves the first of its samples good.
REPEATED = "repeated"
#: What a list names: a file, or a member of an archive, and which part of it.
_Part = tuple[str, str, str]


class Finding(NamedTuple):
    """Something wrong with a sample.

    Attributes:
        name: Of its video.
        kind: "unreadable", "damaged", "short", "repeated" (an earlier sample is the same part of
            the same video), "duplicate" or "conflict" (a duplicate that has other labels).
        reason: In words.
        start: Where the sample begins in the video, seconds; None is its beginning.
        end: Where it ends; None is its end.
    """

    name: str
    kind: str
    reason: str
    start: float | None = None
    end: float | None = None


def write_quarantine(path: Path, findings: Iterable[Finding]) -> None:
    """Write a list of bad files: absolute path, kind and reason, with tabs between them.

    Of samples that are a part of a video, start and end follow.

    Raises:
        OSError: If it cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    for found in findings:
        part = (found.start, found.end)
        times = () if part == (None, None) else part
        writer.writerow([_absolute(found.name), found.kind, found.reason, *times])
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        # Names of files may be any bytes.
        temporary.write_text(text.getvalue(), encoding="utf-8", errors="surrogateescape")


def exclude(data: DataSet, path: Path) -> tuple[DataSet, int]:
    """A data set without the samples that a list names.

    A list made by hand may have a path a line and nothing else, which then stands for all samples
    of that file. Of samples that are listed as repeated alone, the first stays.

    Returns:
        The data set, with the same classes, and how many entries of the list it does not have.

    Raises:
        ConfigError: If the list cannot be read, or names every sample.
    """
    listed, repeated = _read(path)
    used: set[_Part] = set()
    kept = []
    for sample in data.samples:
        part = _part(sample)
        found = {part, (part[0], "", "")} & listed
        is_first = part not in used
        used |= found | ({part} & repeated)
        if not found and (is_first or part not in repeated):
            kept.append(sample)
    if not kept:
        raise ConfigError(f"{path}: names every sample of {data.name}; nothing is left")
    return dataclasses.replace(data, samples=tuple(kept)), len((listed | repeated) - used)


def _part(sample: Sample) -> _Part:
    start, end = ("" if t is None else str(t) for t in (sample.start, sample.end))
    return _absolute(sample.media.name), start, end


def _absolute(name: str) -> str:
    return os.path.normpath(Path(name).absolute())


def _read(path: Path) -> tuple[set[_Part], set[_Part]]:
    """What a list names, and what it calls repeated."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError(f"{path}: larger than {_MAX_BYTES} bytes; a list of bad files is not")
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    listed, repeated = set[_Part](), set[_Part]()
    reader = csv.reader(io.StringIO(text, newline=""), delimiter="\t")
    try:
        for cells in reader:
            if len(cells) > _COLUMNS or (cells and not cells[0]):
                raise ConfigError(
                    f"{path}, line {reader.line_num}: not a line of a list of bad files, which "
                    "'movinet data check -o' writes"
                )
            if cells:
                start, end = [*cells[3:], "", ""][:2]
                among = repeated if cells[1:2] == [REPEATED] else listed
                among.add((_absolute(cells[0]), start, end))
    except csv.Error as error:
        raise ConfigError(f"{path}, line {reader.line_num}: {error}") from None
    return listed, repeated
