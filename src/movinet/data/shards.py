"""WebDataset shards: tar archives whose members with one key are one sample.

Shards are read through an index of where their members lie, so that any sample can be read at any
time: epochs are true permutations, and a run resumes where it was.
"""

from __future__ import annotations

import itertools
import json
import re
import tarfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import braceexpand

from movinet.data.manifest import read_time
from movinet.data.samples import Labelled
from movinet.errors import ConfigError, VideoError
from movinet.video.container import Region
from movinet.video.files import VIDEO_SUFFIXES, natural_order
from movinet.video.media import VideoFile

#: Suffixes of whole data sets; the first that fits a folder's files decides.
SUFFIXES = (".tar", ".tfrecord", ".tfrecords")
_MAX_PATTERNS = 100_000
#: What says a sample's label: its name, its number in labels.txt, or an object with either.
_LABELS = ("txt", "cls", "json")
_MAX_LABEL_BYTES = 1 << 20


def expand(text: str) -> list[Path]:
    """The shards or records that a name, a pattern or a folder stands for, in natural order.

    Returns:
        Nothing if it is none of these.

    Raises:
        ConfigError: If a pattern fits no file.
    """
    path = Path(text)
    if path.is_dir():
        files = [f for f in path.iterdir() if f.is_file() and not f.name.startswith(".")]
        for suffix in SUFFIXES:
            found = [f for f in files if _is(f, suffix)]
            if found:
                return sorted(found, key=natural_order)
        return []
    if path.is_file():
        return [path] if any(_is(path, suffix) for suffix in SUFFIXES) else []
    if not re.search(r"[*?{]", text):
        return []
    try:
        names = list(itertools.islice(braceexpand.braceexpand(text), _MAX_PATTERNS))
    except ValueError as error:
        raise ConfigError(f"{text}: not a pattern of files: {error}") from None
    paths = []
    for name in names:
        pattern = Path(name)
        is_glob = re.search(r"[*?]", pattern.name)
        fitting = sorted(pattern.parent.glob(pattern.name), key=natural_order)
        paths += fitting if is_glob else [pattern]
    missing = [p for p in paths if not p.is_file()]
    if missing or not paths:
        raise ConfigError(f"{missing[0] if missing else text}: no such file")
    return paths


def _is(path: Path, suffix: str) -> bool:
    """Whether a file is of a kind; TFRecords are often named train.tfrecord-00001-of-00009."""
    return path.suffix == suffix or (suffix != ".tar" and f"{suffix}-" in path.name)


Members = dict[str, tuple[Region, bytes | None]]


def read_shards(paths: Iterable[Path]) -> list[Labelled]:
    """The samples of shards.

    A sample is ``<key>.mp4`` (or another video) with ``<key>.txt`` (the name of its class), or
    ``<key>.cls`` (its number, a line of the labels.txt beside the shards), or ``<key>.json`` with
    "label" or "labels", and if wanted "start", "end" and "group".

    Raises:
        ConfigError: If a sample is not complete, or labels are unknown.
        VideoError: If an archive is damaged or compressed.
    """
    found: list[Labelled] = []
    seen: dict[str, Path] = {}
    for path in paths:
        names = _names_beside(path)
        for key, members in _samples(path):
            if key in seen:
                raise ConfigError(f"{path}: sample {key!r} is in {seen[key]} too")
            seen[key] = path
            found.append(_sample(path, key, members, names))
    return found


def _samples(path: Path) -> list[tuple[str, Members]]:
    """Key of each sample, and its members by suffix; small ones with what is in them."""
    samples: dict[str, Members] = {}
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if not member.isfile():
                    continue
                name = PurePosixPath(member.name)
                stem, _, suffix = name.name.partition(".")
                key = str(name.with_name(stem))
                region = Region(path, member.offset_data, member.size, member.name)
                content = None
                if suffix.lower() in _LABELS and member.size <= _MAX_LABEL_BYTES:
                    file = tar.extractfile(member)
                    content = file.read() if file else b""
                samples.setdefault(key, {})[suffix.lower()] = (region, content)
            size = path.stat().st_size
    except (tarfile.TarError, EOFError) as error:
        raise VideoError(
            f"{path}: not a readable .tar ({error}); shards are tar archives without compression"
        ) from None
    except OSError as error:
        raise VideoError(f"{path}: cannot be read ({error.strerror or error})") from None
    for key, members in samples.items():
        if any(region.offset + region.size > size for region, _ in members.values()):
            raise VideoError(f"{path}: cut off in sample {key!r}; copy it again")
    return list(samples.items())


def _sample(path: Path, key: str, members: Members, names: tuple[str, ...]) -> Labelled:
    where = f"{path}: sample {key!r}"
    videos = [s for s in members if f".{s.rpartition('.')[2]}" in VIDEO_SUFFIXES]
    if len(videos) != 1:
        raise ConfigError(
            f"{where}: has {len(videos)} videos (members: {', '.join(members)}); it needs one"
        )
    media = VideoFile(members[videos[0]][0], "NONE")
    contents = {s: content for s, (_, content) in members.items() if content is not None}
    if "json" in contents:
        return _described(where, key, media, contents["json"])
    if "txt" in contents:
        return Labelled(key, media, (_text(where, contents["txt"]),), where)
    if "cls" in contents:
        return Labelled(key, media, (_numbered(where, contents["cls"], names),), where)
    raise ConfigError(f"{where}: has no label; it needs {key}.txt, .cls or .json")


def _described(where: str, key: str, media: VideoFile, content: bytes) -> Labelled:
    try:
        record = json.loads(content)
        labels = record["labels"] if "labels" in record else [record["label"]]
        start, end = (read_time(where, name, record.get(name)) for name in ("start", "end"))
        group = record.get("group")
    except ConfigError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ConfigError(
            f'{where}: its .json must be an object with "label" or "labels"'
        ) from None
    group = None if group is None else str(group)
    return Labelled(key, media, tuple(map(str, labels)), where, start, end, group)


def _text(where: str, content: bytes) -> str:
    try:
        label = content.decode().strip()
    except UnicodeDecodeError:
        label = ""
    if not label or not label.isprintable():
        raise ConfigError(f"{where}: its .txt is no name of a class")
    return label


def _numbered(where: str, content: bytes, names: tuple[str, ...]) -> str:
    try:
        number = int(content)
    except ValueError:
        raise ConfigError(f"{where}: its .cls is no number: {content[:20]!r}") from None
    if names and not 0 <= number < len(names):
        raise ConfigError(f"{where}: class {number} of {len(names)} in labels.txt")
    return names[number] if names else str(number)


def _names_beside(path: Path) -> tuple[str, ...]:
    """The labels.txt that lies beside shards, if there is one."""
    from movinet.labels import load_labels

    file = path.parent / "labels.txt"
    return load_labels(file) if file.is_file() else ()
