"""Opening data sets of any kind through one door."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from movinet.data.kinetics import is_kinetics, read_kinetics
from movinet.data.manifest import SUFFIXES, read_rows, resolve
from movinet.data.samples import DataSet, Labelled, Sample
from movinet.data.shards import expand, read_shards
from movinet.data.tfrecords import read_records
from movinet.errors import ConfigError, VideoError
from movinet.video.files import find_videos, natural_order
from movinet.video.media import VideoFile

#: How many missing files a message names.
_NAMED = 5
KINDS = (
    "a folder with a folder per class, a manifest (.csv, .tsv, .jsonl), a Kinetics CSV, WebDataset "
    "shards (.tar) or TFRecords (.tfrecord)"
)


def open_data(
    where: str | Path,
    *,
    root: str | Path | None = None,
    labels: Sequence[str] | None = None,
    multi_label: bool = False,
) -> DataSet:
    """Open a data set.

    Args:
        where: A folder with a folder per class; a manifest; an annotation CSV of Kinetics; shards
            of WebDataset (one .tar, a folder of them, or a pattern such as
            ``train-{000..011}.tar``); or TFRecords of SequenceExample as the reference reads (a
            file, a folder of them or a pattern such as ``train-*.tfrecord``).
        root: Where the relative paths of a manifest or Kinetics CSV start; by default its folder.
        labels: The classes, in the order of a model's outputs; by default those that are found, in
            natural order.
        multi_label: Whether a sample may have any number of labels.

    Raises:
        ConfigError: If there is no such data set, or a sample has no or an unknown label; names
            the file, line and nearest label.
        VideoError: If files are missing.
    """
    text = str(where)
    path = Path(text)
    files = expand(text)
    if files and files[0].suffix == ".tar":
        found = read_shards(files)
    elif files:
        found = read_records(files, labels)
    elif path.suffix in SUFFIXES and path.is_file():
        found = _table(path, path.parent if root is None else Path(root))
    elif path.is_dir():
        found = _folder(path)
    else:
        problem = "is no data set" if path.exists() else "no such file or folder"
        raise ConfigError(f"{text or repr('')}: {problem}; a data set is {KINDS}")
    return _assembled(text, found, labels, multi_label)


def _folder(folder: Path) -> list[Labelled]:
    """The videos of a folder whose folders are classes."""
    try:
        entries = [f for f in folder.iterdir() if f.is_dir() and not f.name.startswith(".")]
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be read ({error.strerror})") from None
    if not entries:
        raise ConfigError(
            f"{folder}: there are no folders in it; a data set has a folder for each class"
        )
    found = []
    for each in sorted(entries, key=natural_order):
        try:
            videos = find_videos([each])
        except VideoError:
            raise ConfigError(
                f"{each}: no video in the folder of this class; add some or remove the folder"
            ) from None
        for video in videos:
            key = video.relative_to(folder).as_posix()
            found.append(Labelled(key, VideoFile(video, "NONE"), (each.name,), str(video)))
    return found


def _table(path: Path, root: Path) -> list[Labelled]:
    """The samples of a manifest or a Kinetics CSV."""
    if is_kinetics(path):
        return read_kinetics(path, root)
    rows = read_rows(path)
    named = Counter(row.path for row in rows)
    found, missing = [], []
    for row in rows:
        video = resolve(root, row.path)
        where = f"{path}, line {row.line}"
        if not video.is_file():
            missing.append(f"{row.path} (line {row.line})")
            continue
        part = f"#{row.start or 0:g}-{'' if row.end is None else f'{row.end:g}'}"
        key = row.path + (part if named[row.path] > 1 else "")
        media = VideoFile(video, "NONE")
        found.append(Labelled(key, media, row.labels, where, row.start, row.end, row.group))
    if missing:
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise VideoError(
            f"{path}: {len(missing)} of {len(rows)} files are missing below {root}: "
            f"{', '.join(missing[:_NAMED])}{more}; correct the paths, or give the folder that they "
            "start from (root)"
        )
    return found


def _assembled(
    name: str, found: Sequence[Labelled], labels: Sequence[str] | None, multi_label: bool
) -> DataSet:
    """Found samples with numbers for labels."""
    if not found:
        raise ConfigError(f"{name}: no samples")
    for item in found:
        if not item.labels and not multi_label:
            raise ConfigError(f"{item.where}: has no label; each sample needs one")
        if len(item.labels) > 1 and not multi_label:
            raise ConfigError(
                f"{item.where}: has {len(item.labels)} labels ({', '.join(item.labels)}); "
                "data with several labels needs data.multi_label=true (--multi-label)"
            )
    if labels is None:
        names = {label for item in found for label in item.labels}
        labels = sorted(names, key=natural_order)
    number = {label: i for i, label in enumerate(labels)}
    samples = []
    for item in found:
        for label in item.labels:
            if label not in number:
                raise ConfigError(f"{item.where}: {_unknown(label, labels)}")
        classes = tuple(number[label] for label in item.labels)
        samples.append(Sample(item.key, item.media, classes, item.start, item.end, item.group))
    return DataSet(name, tuple(samples), tuple(labels), multi_label)


def _unknown(label: str, labels: Sequence[str]) -> str:
    near = difflib.get_close_matches(label, labels, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    some = ", ".join(labels[:8]) + (", ..." if len(labels) > 8 else "")
    return f"{label!r} is not one of the {len(labels)} classes ({some}){hint}"
