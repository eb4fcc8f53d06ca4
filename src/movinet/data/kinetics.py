"""The annotation files of Kinetics, as published and as mirrors changed them."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from movinet.data.annotations import check_label, note_unknown, read_span, unique_keys
from movinet.data.samples import Labelled
from movinet.data.tables import column_names, read_table, read_text
from movinet.errors import ConfigError, VideoError
from movinet.text import printable, same_form
from movinet.video.finding import find_videos
from movinet.video.media import VideoFile

#: Columns of the published files (https://www.deepmind.com/open-source/kinetics), and those that
#: no file can be without.
_NEEDED = ("label", "youtube_id")
_COLUMNS = (*_NEEDED, "time_start", "time_end", "split", "is_cc")
#: Videos by their names without suffix.
_Found = Mapping[str, list[Path]]


def is_kinetics(path: Path) -> bool:
    """Whether a file's column names are those of Kinetics."""
    if path.suffix.lower() not in (".csv", ".tsv"):
        return False
    names = column_names(path, read_text(path))
    return "youtube_id" in names and "path" not in names


def read_kinetics(path: Path, root: Path) -> list[Labelled]:
    """The clips of an annotation file that are there.

    Clips are looked for as ``<id>_<start>_<end>.mp4`` with six digits each (the usual form of cut
    clips) and as ``<id>.mp4``, the whole video, of which the annotated part is taken; in `root`
    and its folders.

    Args:
        path: The CSV.
        root: Folder of the videos.

    Raises:
        ConfigError: If a row is not allowed, or rows are of several splits.
        VideoError: If there is not one of the videos.

    Warns:
        UserWarning: With the number of videos that are not there; if there are other columns.
    """
    note_unknown(path, column_names(path, read_text(path)), _COLUMNS)
    records = [
        (line, {name: same_form(cell.strip()) for name, cell in record.items()})
        for line, record in read_table(path, _check_columns)
    ]
    if not records:
        raise ConfigError(f"{path}: no samples; there is no row below the column names")
    videos: dict[str, list[Path]] = defaultdict(list)
    for video in _videos(root):
        videos[video.stem].append(video)
    found, missing, lines, splits = [], [], {}, {}
    for line, record in records:
        where = f"{path}, line {line}"
        splits.setdefault(record.get("split"), line)
        item = _clip(where, record, videos)
        key = _key(record)
        first, label = lines.setdefault(key, (line, record["label"]))
        if label != record["label"]:
            raise ConfigError(
                f"{where}: {key} is on line {first} with another label ({label}, here "
                f"{record['label']}); correct one of them"
            )
        if item is None:
            missing.append(key)
        else:
            found.append(item)
    if len(splits) > 1:
        named = ", ".join(f"{split} on line {line}" for split, line in splits.items())
        raise ConfigError(f"{path}: rows of several splits ({named}); put each into a file")
    if not found:
        raise VideoError(
            f"{path}: none of its {len(records)} videos is in {root} or its folders, where they "
            "are looked for as <id>_<start>_<end>.mp4 with six digits each or <id>.mp4"
        )
    if missing:
        warnings.warn(
            printable(
                f"{path}: {len(missing)} of {len(records)} videos are not in {root} and left out, "
                f"{missing[0]} the first"
            ),
            stacklevel=2,
        )
    keys = unique_keys([item.key for item in found])
    return [item._replace(key=key) for item, key in zip(found, keys, strict=True)]


def _check_columns(where: str, names: list[str]) -> None:
    missing = [name for name in _NEEDED if name not in names]
    if missing or any(names.count(name) > 1 for name in _COLUMNS):
        problem = "a column stands twice"
        if missing:
            problem = f"the column {missing[0]!r} is missing"
        raise ConfigError(f"{where}: {problem}; Kinetics has {', '.join(_COLUMNS)}")


def _videos(root: Path) -> list[Path]:
    try:
        return find_videos([root])
    except VideoError as error:
        raise VideoError(f"{error}; give the folder of the videos (root)") from None


def _key(record: Mapping[str, str]) -> str:
    times = (record[name] for name in ("time_start", "time_end") if name in record)
    return "_".join((record["youtube_id"], *times))


def _clip(where: str, record: Mapping[str, str], videos: _Found) -> Labelled | None:
    for name in _NEEDED:
        if not record.get(name):
            raise ConfigError(f"{where}: {name} is empty")
    identity, label = record["youtube_id"], record["label"]
    check_label(where, label)
    start, end = read_span(where, record, ("time_start", "time_end"))
    cut = whole = None
    if start is not None and end is not None:
        cut = _choose(videos, f"{identity}_{int(start):06d}_{int(end):06d}", label)
    if cut is None:
        whole = _choose(videos, identity, label)
    file = cut or whole
    if file is None:
        return None
    part = (start, end) if whole else (None, None)
    media = VideoFile(file, "NONE")
    return Labelled(_key(record), media, (label,), where, *part, group=identity)


def _choose(videos: _Found, stem: str, label: str) -> Path | None:
    """The video with a name; of several, the one in a folder with the name of the label."""
    found = videos.get(stem, [])
    folders = (label, label.replace(" ", "_"))
    named = (video for video in found if same_form(video.parent.name) in folders)
    return next(named, next(iter(found), None))
