"""The annotation files of Kinetics, as published and as mirrors changed them."""

from __future__ import annotations

import csv
import math
import warnings
from pathlib import Path

from movinet.data.samples import Labelled
from movinet.errors import ConfigError, VideoError
from movinet.video.media import VideoFile

#: Columns of the published files (https://www.deepmind.com/open-source/kinetics).
_COLUMNS = {"label", "youtube_id", "time_start", "time_end", "split"}
_SUFFIXES = (".mp4", ".mkv", ".webm", ".avi")


def is_kinetics(path: Path) -> bool:
    """Whether a file's column names are those of Kinetics."""
    if path.suffix != ".csv":
        return False
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline(10_000)
    except (OSError, UnicodeDecodeError):
        return False
    names = {name.strip() for name in first.strip().split(",")}
    return {"label", "youtube_id"} <= names


def read_kinetics(path: Path, root: Path) -> list[Labelled]:
    """The clips of an annotation file that are there.

    Clips are looked for as ``<id>_<start>_<end>.mp4`` with six digits each (the usual form of cut
    clips) and as ``<id>.mp4``, the whole video, of which the annotated part is taken; below `root`
    itself or in a folder named like the label there.

    Args:
        path: The CSV.
        root: Folder of the videos.

    Raises:
        ConfigError: If a row is not allowed.
        VideoError: If there is not one of the videos.

    Warns:
        UserWarning: With the number of videos that are not there.
    """
    found, missing, total = [], [], 0
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        unknown = set(reader.fieldnames or ()) - _COLUMNS - {"is_cc"}
        if unknown:
            raise ConfigError(
                f"{path}, line 1: unknown column {sorted(unknown)[0]!r}; Kinetics has "
                f"{', '.join(sorted(_COLUMNS))}"
            )
        for record in reader:
            total += 1
            where = f"{path}, line {reader.line_num}"
            item = _clip(where, record, root)
            if item is None:
                missing.append(record["youtube_id"])
            else:
                found.append(item)
    if not found:
        raise VideoError(
            f"{path}: none of its {total} videos is below {root}; they are looked for as "
            "<id>_<start>_<end>.mp4 or <id>.mp4, there or in a folder per label"
        )
    if missing:
        warnings.warn(
            f"{path}: {len(missing)} of {total} videos are not below {root} and left out, "
            f"{missing[0]} the first",
            stacklevel=2,
        )
    return found


def _clip(where: str, record: dict[str, str], root: Path) -> Labelled | None:
    identity, label = record.get("youtube_id") or "", (record.get("label") or "").strip()
    if not identity or "/" in identity or "\\" in identity or identity.startswith("."):
        raise ConfigError(f"{where}: {identity!r} is no youtube_id")
    if not label:
        raise ConfigError(f"{where}: the label is empty")
    start, end = (_seconds(where, name, record.get(name)) for name in ("time_start", "time_end"))
    folders = [root, root / label, root / label.replace(" ", "_")]
    cut = whole = None
    if start is not None and end is not None:
        cut = _find(folders, f"{identity}_{int(start):06d}_{int(end):06d}")
    if cut is None:
        whole = _find(folders, identity)
    file = cut or whole
    if file is None:
        return None
    part = (start, end) if whole else (None, None)
    key = f"{identity}_{start or 0:g}_{end or 0:g}"
    return Labelled(key, VideoFile(file, "NONE"), (label,), where, *part, group=identity)


def _find(folders: list[Path], stem: str) -> Path | None:
    candidates = (folder / f"{stem}{suffix}" for folder in folders for suffix in _SUFFIXES)
    return next((path for path in candidates if path.is_file()), None)


def _seconds(where: str, name: str, text: str | None) -> float | None:
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ConfigError(f"{where}: {name} must be seconds from 0 on, not {text!r}")
    return seconds
