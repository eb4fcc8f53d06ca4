"""WebDataset shards: tar archives whose members with one key are one sample.

Shards are read through an index of where their members lie, so that any sample can be read at any
time: epochs are true permutations, and a run resumes where it was.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from movinet.data.annotations import parse_json, read_group, read_labels, read_span
from movinet.data.packed import by_name, names_beside, with_keys
from movinet.data.samples import Labelled
from movinet.errors import ConfigError, VideoError
from movinet.text import is_file_name
from movinet.video.container import Region
from movinet.video.finding import VIDEO_SUFFIXES
from movinet.video.media import VideoFile

#: What says a sample's label: an object with it, its name, or its number in labels.txt.
_LABELS = ("json", "txt", "cls")
_MAX_LABEL_BYTES = 1 << 20
#: Key and suffix of a member, and members that are about the shard, as WebDataset has them.
_NAME = re.compile(r"((?:.*/|)[^.]+)[.]([^/]*)", re.DOTALL)
_ABOUT_SHARD = re.compile(r"__[^/]*__($|/)")
_BLOCK = tarfile.BLOCKSIZE


class _Member(NamedTuple):
    """Where a member lies, and its content if it is a label."""

    region: Region
    content: bytes | None


#: The members of a sample by their suffix.
_Members = dict[str, _Member]


def read_shards(paths: Iterable[Path]) -> list[Labelled]:
    """The samples of shards.

    A sample is ``<key>.mp4`` (or another video) with ``<key>.json``, which has "label" or "labels"
    and if wanted "start", "end" and "group"; or with ``<key>.txt`` (the name of its class), or
    ``<key>.cls`` (its number). Numbers are lines of the labels.txt beside the shards, if there is
    one.

    Raises:
        ConfigError: If a sample is not complete, or its label not allowed.
        VideoError: If an archive is damaged or compressed.
    """
    found = []
    for path, prefix in with_keys(paths):
        names = names_beside(path)
        for key, members in _samples(path).items():
            item = _sample(f"{path}: sample {key!r}", key, members)
            labels = tuple(by_name(item.where, label, names) for label in item.labels)
            found.append(item._replace(key=f"{prefix}/{key}", labels=labels))
    return found


def _samples(path: Path) -> dict[str, _Members]:
    """The members of each sample, by its key."""
    samples: dict[str, _Members] = {}
    try:
        with tarfile.open(path, "r:") as tar:
            for member, key, suffix in _members(path, tar):
                members = samples.setdefault(key, {})
                if suffix in members:
                    raise VideoError(f"{path}: two members are called {member.name!r}")
                region = Region(path, member.offset_data, member.size, member.name)
                content = None
                if suffix in _LABELS:
                    content = _content(tar, member, region)
                members[suffix] = _Member(region, content)
            _check_end(path, tar.offset)
    except (tarfile.TarError, EOFError) as error:
        raise VideoError(
            f"{path}: not a readable .tar ({error}); shards are tar archives without compression"
        ) from None
    except OSError as error:
        raise VideoError(f"{path}: cannot be read ({error.strerror or error})") from None
    return samples


def _members(path: Path, tar: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, str, str]]:
    """The files in an archive that belong to samples, each with its key and suffix."""
    for member in tar:
        name = member.name
        split = _NAME.fullmatch(name)
        if not member.isfile() or split is None or _ABOUT_SHARD.match(name):
            continue
        if not is_file_name(name) or ".." in PurePosixPath(name).parts or name.startswith("/"):
            raise ConfigError(f"{path}: {name!r} is not allowed as the name of a member")
        if member.issparse():
            raise VideoError(f"{path}: {name!r} is stored with holes; pack it without --sparse")
        yield member, split[1], split[2].lower()


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo, region: Region) -> bytes:
    if member.size > _MAX_LABEL_BYTES:
        raise ConfigError(f"{region}: {member.size} bytes; a label has at most {_MAX_LABEL_BYTES}")
    file = tar.extractfile(member)
    return file.read() if file else b""


def _check_end(path: Path, offset: int) -> None:
    """Raise VideoError unless an archive ends, as it must, in a block of zeros.

    tarfile takes damage between two members, and a file that stops there, for the end.
    """
    with path.open("rb") as file:
        file.seek(offset)
        block = file.read(_BLOCK)
    if len(block) < _BLOCK:
        raise VideoError(f"{path}: cut off at byte {path.stat().st_size}; copy or pack it again")
    if any(block):
        raise VideoError(f"{path}: damaged at byte {offset}; copy or pack it again")


def _sample(where: str, key: str, members: _Members) -> Labelled:
    videos = [s for s in members if f".{s.rpartition('.')[2]}" in VIDEO_SUFFIXES]
    if len(videos) != 1:
        raise ConfigError(
            f"{where}: has {len(videos)} videos (members: {', '.join(members)}); it needs one"
        )
    media = VideoFile(members[videos[0]].region, "NONE")
    kind = next((suffix for suffix in _LABELS if suffix in members), None)
    if kind is None:
        raise ConfigError(f"{where}: has no label; it needs a .json, .txt or .cls with its key")
    content = members[kind].content or b""
    if kind == "json":
        where = f"{where}, .json"
        record = parse_json(where, content)
        labels = read_labels(where, record)
        return Labelled(
            key, media, labels, where, *read_span(where, record), read_group(where, record)
        )
    label = _text(where, content) if kind == "txt" else _number(where, content)
    return Labelled(key, media, (label,), where)


def _text(where: str, content: bytes) -> str:
    try:
        return content.decode().strip()
    except UnicodeDecodeError:
        raise ConfigError(f"{where}: its .txt is not UTF-8 text") from None


def _number(where: str, content: bytes) -> int:
    try:
        return int(content)
    except ValueError:
        raise ConfigError(f"{where}: its .cls is no number: {content[:20]!r}") from None
