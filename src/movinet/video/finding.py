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

#: Kinds of pictures that may be the frames of a video, by suffix in lower case.
PICTURE_KINDS = {".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".png": "PNG"}


def local_path(name: str | os.PathLike[str]) -> Path:
    """A name as a path, if it can be one at all.

    Raises:
        VideoError: If it is empty, or an address on the network.
    """
    text = os.fspath(name)
    if not text:
        raise VideoError("an empty name is not a video")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) and not os.path.lexists(text):
        raise VideoError(f"{text}: no such file (only local files are read, no URLs)")
    return Path(text)


def find_videos(
    paths: Iterable[str | os.PathLike[str]], *, frame_folders: bool = False
) -> list[Path]:
    """Expand folders to the videos inside them.

    Args:
        paths: Files, taken whatever their names are, and folders, searched with their sub-folders
            for `VIDEO_SUFFIXES`. Hidden files and folders inside are left out, links to folders
            are not followed.
        frame_folders: Whether a folder with JPEG or PNG pictures and without videos is a video
            itself, whose frames they are.

    Returns:
        In the order given; inside a folder in natural order (2 before 10). No file twice.

    Raises:
        VideoError: If a path is empty or a URL, does not exist or cannot be looked at, or a folder
            cannot be read or holds no video.
    """
    found: dict[Path, None] = {}
    for path in map(local_path, paths):
        try:
            is_folder, exists = path.is_dir(), path.exists()
        except OSError as error:
            raise VideoError(f"{path}: cannot be read ({error.strerror})") from None
        if is_folder:
            found.update(dict.fromkeys(_in_folder(path, frame_folders=frame_folders)))
        elif exists:
            found[path] = None
        else:
            raise VideoError(f"{path}: no such file or folder")
    return list(found)


def _in_folder(folder: Path, *, frame_folders: bool) -> list[Path]:
    files: list[Path] = []
    pictures = 0
    for parent, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        suffixes = {n: Path(n).suffix.lower() for n in names if not n.startswith(".")}
        videos = [Path(parent, name) for name in suffixes if suffixes[name] in VIDEO_SUFFIXES]
        here = sum(suffix in PICTURE_KINDS for suffix in suffixes.values())
        if frame_folders and here and not videos:
            videos = [Path(parent)]
        files += videos
        pictures += here
    if not files:
        also = "" if frame_folders or not pictures else _pictures(pictures)
        looked = f"{_some_suffixes()}{' and for pictures' if frame_folders else ''}"
        raise VideoError(f"{folder}: no video in this folder (looked for {looked}){also}")
    return sorted(files, key=natural_order)


def _pictures(count: int) -> str:
    there = "there is 1 picture" if count == 1 else f"there are {count} pictures"
    return f"; {there}: if they are the frames of a video, give their frame rate (--frame-rate)"


def _some_suffixes() -> str:
    return ".mp4, .mov, .mkv, .webm, .avi, .gif and others"


def natural_order(path: Path | str) -> tuple[list[list[tuple[int, str]]], str]:
    """Sort key of paths in which digits count as numbers: 2 comes before 10.

    Names that differ in case or leading zeros alone have one order too.
    """
    return [_natural(part) for part in Path(path).parts], str(path)


def _natural(name: str) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", name.lower())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _refuse(error: OSError) -> None:
    raise VideoError(f"{error.filename}: cannot be read ({error.strerror})")
