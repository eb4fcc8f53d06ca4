"""Files that are copies of each other under other names."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

from movinet.data.samples import DataSet
from movinet.video.container import Region
from movinet.video.media import VideoFile

#: Bytes that are read at a time, and that are compared before whole files are.
_BLOCK = 2**16
#: A stored video, and what identifies its bytes.
_Source = Path | Region
_Digest = Callable[[_Source], bytes]


def copies(data: DataSet, other: DataSet) -> list[int]:
    """Indices of the samples whose file is byte for byte one of another data set's.

    Only files of equal size are read, and only those whose first and last bytes agree are read
    whole. Files that are in both data sets are not opened: they are not copies but the same.

    Args:
        data: Whose samples are looked for; only videos that are files (or parts of one) are.
        other: Where they are looked for.
    """
    ours, theirs = _by_size(data), _by_size(other)
    found: set[_Source] = set()
    for size in ours.keys() & theirs.keys():
        left = ours[size] - theirs[size]
        for digest in (_ends, _whole):
            groups, others = _grouped(left, digest), _grouped(theirs[size], digest)
            left = {one for key in groups.keys() & others.keys() for one in groups[key]}
            if not left:
                break
        found |= left
    return [
        index
        for index, sample in enumerate(data.samples)
        if isinstance(sample.media, VideoFile) and sample.media.source in found
    ]


def _by_size(data: DataSet) -> dict[int, set[_Source]]:
    """The stored videos of a data set by their size; what is not there is left out."""
    found: dict[int, set[_Source]] = {}
    for source in {s.media.source for s in data.samples if isinstance(s.media, VideoFile)}:
        try:
            size = source.size if isinstance(source, Region) else source.stat().st_size
        except OSError:
            continue
        found.setdefault(size, set()).add(source)
    return found


def _grouped(sources: Iterable[_Source], digest: _Digest) -> dict[bytes, set[_Source]]:
    groups: dict[bytes, set[_Source]] = {}
    for source in sources:
        try:
            groups.setdefault(digest(source), set()).add(source)
        except OSError:  # told when it is read as a video
            continue
    return groups


def _ends(source: _Source) -> bytes:
    """The first and the last bytes."""
    path, offset, size = _place(source)
    with path.open("rb") as file:
        file.seek(offset)
        first = file.read(min(_BLOCK, size))
        file.seek(offset + max(0, size - _BLOCK))
        return hashlib.sha256(first + file.read(min(_BLOCK, size))).digest()


def _whole(source: _Source) -> bytes:
    path, offset, left = _place(source)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(offset)
        while left > 0 and (block := file.read(min(_BLOCK, left))):
            digest.update(block)
            left -= len(block)
    return digest.digest()


def _place(source: _Source) -> tuple[Path, int, int]:
    """The file, where in it the video begins, and its length."""
    if isinstance(source, Region):
        return source.path, source.offset, source.size
    return source, 0, source.stat().st_size
