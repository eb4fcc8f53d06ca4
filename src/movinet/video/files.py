"""Finding the videos in folders."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from movinet.errors import VideoError

#: Suffixes, in lower case, by which a file in a folder is taken for a video.
VIDEO_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("3g2", "3gp", "asf", "avi", "divx", "dv", "f4v", "flv", "gif", "h264", "h265", "hevc"),
        *("ivf", "m1v", "m2ts", "m2v", "m4v", "mjpeg", "mjpg", "mkv", "mov", "mp4", "mpe", "mpeg"),
        *("mpg", "mts", "mxf", "nut", "ogm", "ogv", "qt", "rm", "rmvb", "ts", "vob", "webm", "wmv"),
        *("wtv", "y4m"),
    )
)


def find_videos(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Expand folders to the videos inside them.

    Args:
        paths: Files, taken whatever their names are, and folders, searched with their sub-folders
            for `VIDEO_SUFFIXES`. Hidden files and folders inside are left out, links to folders
            are not followed.

    Returns:
        In the order given; inside a folder in natural order (2 before 10). No file twice.

    Raises:
        VideoError: If a path does not exist, or a folder cannot be read or holds no video.
    """
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        if path.is_dir():
            found.update(dict.fromkeys(_in_folder(path)))
        elif path.exists():
            found[path] = None
        else:
            raise VideoError(f"{path}: no such file or folder")
    return list(found)


def _in_folder(folder: Path) -> list[Path]:
    files: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [
            Path(parent, name)
            for name in names
            if not name.startswith(".") and Path(name).suffix.lower() in VIDEO_SUFFIXES
        ]
    if not files:
        raise VideoError(f"{folder}: no video in this folder (looked for {_some_suffixes()})")
    return sorted(files, key=lambda file: [_natural(part) for part in file.parts])


def _some_suffixes() -> str:
    return ".mp4, .mov, .mkv, .webm, .avi, .gif and others"


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key in which digits count as numbers."""
    parts = re.split(r"(\d+)", name.lower())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _refuse(error: OSError) -> None:
    raise VideoError(f"{error.filename}: cannot be read ({error.strerror})")
