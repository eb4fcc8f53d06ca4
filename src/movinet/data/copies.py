"""Files that are copies of each other under other names."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

from movinet.data.samples import DataSet
from movinet.errors import VideoError
from movinet.video.container import Region

#: Bytes that are read at a time, and that are compared before whole files are.
_BLOCK = 2**16
#: A stored video, and what identifies the bytes of a file of it.
_Files = tuple[Path | Region, ...]
_Digest = Callable[[Path | Region], bytes]


def copies(data: DataSet, other: DataSet) -> list[int]:
    """Indices of the samples whose file is byte for byte one of another data set's.

    Only files of equal size are read, and only those whose first and last bytes agree are read
    whole. Files that are in both data sets are not opened: they are not copies but the same.

    Args:
        data: Whose samples are looked for; videos in memory are not.
        other: Where they are looked for.
    """
    ours, theirs = _by_size(data), _by_size(other)
    found: set[_Files] = set()
    for size in ours.keys() & theirs.keys():
        left = ours[size] - theirs[size]
        for digest in (_ends, _whole):
            groups, others = _grouped(left, digest), _grouped(theirs[size], digest)
            left = {one for key in groups.keys() & others.keys() for one in groups[key]}
            if not left:
                break
        found |= left
    return [index for index, sample in enumerate(data.samples) if sample.media.files() in found]


def _by_size(data: DataSet) -> dict[tuple[int, ...], set[_Files]]:
    """The stored videos of a data set by the sizes of their files; missing ones are omitted."""
    found: dict[tuple[int, ...], set[_Files]] = {}
    for media in {sample.media for sample in data.samples}:
        try:
            files = media.files()
            sizes = tuple(_place(file)[2] for file in files)
        except (OSError, VideoError):  # reported when it is read as a video
            continue
        if files:
            found.setdefault(sizes, set()).add(files)
    return found


def _grouped(videos: Iterable[_Files], digest: _Digest) -> dict[bytes, set[_Files]]:
    groups: dict[bytes, set[_Files]] = {}
    for files in videos:
        try:
            key = b"".join(digest(file) for file in files)
        except OSError:  # reported when it is read as a video
            continue
        groups.setdefault(hashlib.sha256(key).digest(), set()).add(files)
    return groups


def _ends(file: Path | Region) -> bytes:
    """The first and the last bytes."""
    path, offset, size = _place(file)
    with path.open("rb") as opened:
        opened.seek(offset)
        first = opened.read(min(_BLOCK, size))
        opened.seek(offset + max(0, size - _BLOCK))
        return hashlib.sha256(first + opened.read(min(_BLOCK, size))).digest()


def _whole(file: Path | Region) -> bytes:
    path, offset, left = _place(file)
    digest = hashlib.sha256()
    with path.open("rb") as opened:
        opened.seek(offset)
        while left > 0 and (block := opened.read(min(_BLOCK, left))):
            digest.update(block)
            left -= len(block)
    return digest.digest()


def _place(source: Path | Region) -> tuple[Path, int, int]:
    """The file, where in it the video begins, and its length."""
    if isinstance(source, Region):
        return source.path, source.offset, source.size
    return source, 0, source.stat().st_size
