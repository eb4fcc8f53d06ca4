"""Opening data sets of any kind through one door."""

from __future__ import annotations

import difflib
import os
import unicodedata
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from movinet.data.annotations import (
    READ_SUFFIXES,
    check_label,
    read_rows,
    resolve,
    row_rate,
    unique_keys,
)
from movinet.data.kinds import KINDS
from movinet.data.kinetics import is_kinetics, read_kinetics
from movinet.data.packed import find_packed, names_beside, visible
from movinet.data.samples import DataSet, Labelled, Sample
from movinet.data.shards import read_shards
from movinet.data.tfrecords import read_records
from movinet.errors import ConfigError, VideoError
from movinet.labels import as_labels
from movinet.text import printable, same_form
from movinet.video.finding import VIDEO_SUFFIXES, find_videos, local_path, natural_order
from movinet.video.frame_folder import FrameFolder, check_frame_rate
from movinet.video.media import Media, VideoFile

#: How many missing files a message names.
_NAMED = 5
#: Where samples have numbers for labels and nobody says the classes.
_MAX_CLASSES = 100_000
#: Names of parts of a data set, which are no classes.
_SPLITS = {"train", "training", "val", "valid", "validate", "validation", "test", "testing", "eval"}


def open_data(
    where: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    labels: Sequence[str] | str | os.PathLike[str] | None = None,
    multi_label: bool = False,
    skip_missing: bool = False,
    frame_rate: float | None = None,
) -> DataSet:
    """Open a data set.

    Args:
        where: A folder with a folder per class; a manifest (.csv, .tsv, .jsonl); a list with a path
            and a label on each line (.txt, .csv), the label a name or a number that counts the
            classes from 0; an annotation CSV of Kinetics; shards
            of WebDataset (one .tar, a folder of them, or a pattern such as
            ``train-{000..011}.tar``); or TFRecords of SequenceExample as the reference reads (a
            file, a folder of them or a pattern such as ``train-*.tfrecord``).
        root: Where the relative paths of a manifest or Kinetics CSV start, and which they may not
            leave; by default its folder.
        labels: The classes, in the order of a model's outputs: a list, or what
            `movinet.load_labels` takes, such as a text file with a label a line; by default those
            of a labels.txt beside shards or TFRecords, or else those that are found, in natural
            order. Where samples have numbers, these count the labels.txt, or else the classes,
            from 0.
        multi_label: Whether a sample may have any number of labels.
        skip_missing: Leave out the samples of a list whose files are missing, with a warning that
            counts them.
        frame_rate: Frames per second of folders of numbered JPEG or PNG frames, each of which is a
            video: in a folder with a folder per class, and in the rows of an annotation file that
            name a folder and have no ``frame_rate`` of their own. Video files have their own.

    Raises:
        ConfigError: If there is no such data set, or a sample has no or an unknown label; names
            the file, line and nearest label.
        VideoError: If files are missing.

    Warns:
        UserWarning: If videos are left out, or a frame rate is given and there is no folder of
            frames.
    """
    if frame_rate is not None:
        frame_rate = check_frame_rate(frame_rate)
    if labels is not None:
        labels = as_labels(labels)
    try:
        path = local_path(where)
        path.exists()
    except VideoError as error:
        raise ConfigError(f"{error}; a data set is {KINDS}") from None
    except OSError as error:
        raise ConfigError(f"{where}: cannot be read ({error.strerror})") from None
    kind, files = find_packed(path)
    beside = {names_beside(file) for file in files}
    if labels is None and len(beside) == 1:
        labels = beside.pop() or None
    if kind == "shards":
        found = read_shards(files)
    elif kind == "records":
        found = read_records(files)
    elif path.suffix.lower() in READ_SUFFIXES and path.is_file():
        files = _Files(None if root is None else Path(root), skip_missing, frame_rate)
        found = _table(path, files)
        if labels is not None:
            found = _as_numbers(found, labels)
    elif path.is_dir():
        found = _folder(path, frame_rate)
    else:
        problem = "is not a data set" if path.exists() else "no such file or folder"
        raise ConfigError(f"{path}: {problem}; a data set is {KINDS}")
    if frame_rate is not None and not any(item.media.given_rate for item in found):
        warnings.warn(
            f"{path}: has no folders of numbered pictures, for which frame_rate is; it is ignored",
            stacklevel=2,
        )
    return _assembled(str(path), found, labels, multi_label)


class _Files(NamedTuple):
    """How the files that a list names are found.

    Attributes:
        root: Where relative paths begin; None for the folder of the list.
        skip_missing: Omit those that are missing.
        frame_rate: Of folders of pictures.
    """

    root: Path | None
    skip_missing: bool
    frame_rate: float | None


def _folder(folder: Path, frame_rate: float | None) -> list[Labelled]:
    """The videos of a folder whose folders are classes."""
    entries = visible(folder)
    classes = [entry for entry in entries if entry.is_dir()]
    loose = [e for e in entries if e.suffix.lower() in VIDEO_SUFFIXES and e not in classes]
    if not classes:
        raise ConfigError(
            f"{folder}: there are no folders in it; a data set has a folder for each class"
        )
    if all(each.name.lower() in _SPLITS for each in classes):
        raise ConfigError(
            f"{folder}: its folders ({', '.join(each.name for each in classes)}) are parts of a "
            f"data set, not classes; give one of them, such as {classes[0]}"
        )
    found = []
    for each in classes:
        try:
            videos = find_videos([each], frame_folders=frame_rate is not None)
        except VideoError as error:
            raise ConfigError(
                f"{error}; a class needs some: add them or remove the folder"
            ) from None
        for video in videos:
            key = video.relative_to(folder).as_posix()
            label = same_form(each.name.strip())
            found.append(Labelled(key, _media(video, frame_rate), (label,), str(video)))
    if loose:
        found_loose = "1 video is" if len(loose) == 1 else f"{len(loose)} videos are"
        warnings.warn(
            printable(
                f"{folder}: {found_loose} in no folder of a class and left out, "
                f"{loose[0].name} the first"
            ),
            stacklevel=2,
        )
    return found


def _media(path: Path, frame_rate: float | None) -> Media:
    """A video that was found, as data sets read it."""
    if frame_rate is not None and path.is_dir():
        return FrameFolder(path, frame_rate)
    return VideoFile(path, "NONE")


def _table(path: Path, files: _Files) -> list[Labelled]:
    """The samples of a manifest or a Kinetics CSV."""
    root, skip_missing, frame_rate = files
    folder = path.parent if root is None else root
    if is_kinetics(path):
        return read_kinetics(path, folder)
    rows = read_rows(path)
    parts = Counter(path for path, _, _ in {(row.path, row.start, row.end) for row in rows})
    found, missing = [], []
    for row in rows:
        where = f"{path}, line {row.line}"
        video = _in_any_form(resolve(where, row.path, folder, confined=root is not None))
        if video is None:
            missing.append(f"{printable(row.path)} (line {row.line})")
            continue
        part = f"#{row.start or 0:g}-{'' if row.end is None else f'{row.end:g}'}"
        key = row.path + (part if parts[row.path] > 1 else "")
        rate = row_rate(where, row, frame_rate) if video.is_dir() else None
        media = _media(video, rate)
        found.append(Labelled(key, media, row.labels, where, row.start, row.end, row.group))
    if missing and found and skip_missing:
        warnings.warn(
            f"{path}: {len(missing)} of {len(rows)} files are missing below {folder} and left out, "
            f"{missing[0]} the first",
            stacklevel=2,
        )
    elif missing:
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise VideoError(
            f"{path}: {len(missing)} of {len(rows)} files are missing below {folder}: "
            f"{', '.join(missing[:_NAMED])}{more}; correct the paths, or give the folder that they "
            "start from (root)"
            + (
                ""
                if skip_missing
                else ", or skip them (skip_missing, --skip-missing, data.missing=skip)"
            )
        )
    keys = unique_keys([item.key for item in found])
    return [item._replace(key=key) for item, key in zip(found, keys, strict=True)]


def _as_numbers(found: list[Labelled], labels: Sequence[str]) -> list[Labelled]:
    """Samples of a list whose labels are numbers of classes, not names of them.

    Warns:
        UserWarning: If none is 0: numbers that count from 1 would name the next class.
    """
    named = {same_form(label) for label in labels}
    given = {str(label) for item in found for label in item.labels}
    if given <= named or not all(label.isdecimal() and len(label) < 10 for label in given):
        return found
    if len(given) > 1 and min(map(int, given)) > 0:
        where = found[0].where.rpartition(", line")[0]
        warnings.warn(
            f"{where}: no sample is of class 0, with which numbers "
            "begin: if they count from 1, each names the class behind its own",
            stacklevel=2,
        )
    return [item._replace(labels=tuple(map(int, item.labels))) for item in found]


def _in_any_form(path: Path) -> Path | None:
    """What a name names; one with accents in either form, as lists and disks may differ."""
    forms = [path, *(Path(unicodedata.normalize(form, str(path))) for form in ("NFC", "NFD"))]
    return next((form for form in forms if _is_there(form)), None)


def _is_there(path: Path) -> bool:
    try:
        return path.is_file() or path.is_dir()
    except OSError:  # a name too long, a folder that may not be read
        return False


def _assembled(
    name: str, found: Sequence[Labelled], labels: Sequence[str] | None, multi_label: bool
) -> DataSet:
    """Found samples with numbers for labels."""
    if not found:
        raise ConfigError(f"{name}: no samples")
    for item in found:
        _check_labels(item, multi_label)
    if labels is None:
        labels = _classes(name, found)
    names = [same_form(label) for label in labels]
    if len(set(names)) < len(names):
        raise ConfigError(f"the class {max(names, key=names.count)!r} stands twice in the labels")
    numbers = {label: i for i, label in enumerate(names)}
    unknown = {
        same_form(label): item.where
        for item in reversed(found)
        for label in item.labels
        if isinstance(label, str) and same_form(label) not in numbers
    }
    if unknown:
        raise ConfigError(_unknown(unknown, names))
    samples = []
    for item in found:
        classes = tuple(_number(item.where, label, numbers) for label in item.labels)
        samples.append(Sample(item.key, item.media, classes, item.start, item.end, item.group))
    return DataSet(name, tuple(samples), tuple(labels), multi_label)


def _check_labels(item: Labelled, multi_label: bool) -> None:
    for label in item.labels:
        check_label(item.where, label)
    named = ", ".join(map(str, item.labels))
    if len(set(item.labels)) < len(item.labels):
        raise ConfigError(f"{item.where}: a label stands twice in {named}")
    if not item.labels and not multi_label:
        raise ConfigError(f"{item.where}: has no label; each sample needs one")
    if len(item.labels) > 1 and not multi_label:
        raise ConfigError(
            f"{item.where}: has {len(item.labels)} labels ({named}); "
            "data with several labels needs data.multi_label=true (--multi-label)"
        )


def _classes(name: str, found: Sequence[Labelled]) -> list[str]:
    """The classes of samples: their names in natural order, or all numbers up to the largest."""
    labels = {
        same_form(label) if isinstance(label, str) else label
        for item in found
        for label in item.labels
    }
    names = {label for label in labels if isinstance(label, str)}
    numbers = {label for label in labels if isinstance(label, int)}
    if names and numbers:
        raise ConfigError(
            f"{name}: some samples have names for labels ({min(names)!r}), some numbers "
            f"({min(numbers)}); give the classes that the numbers count"
        )
    if max(numbers, default=0) >= _MAX_CLASSES:
        raise ConfigError(f"{name}: a label is class {max(numbers)}; at most {_MAX_CLASSES} can be")
    # With every number, so that another part of the data with other gaps has the same classes.
    return sorted(names, key=natural_order) or list(map(str, range(max(numbers, default=-1) + 1)))


def _number(where: str, label: str | int, numbers: Mapping[str, int]) -> int:
    """The place of a label among the classes."""
    if isinstance(label, int):
        if not 0 <= label < len(numbers):
            raise ConfigError(f"{where}: class {label}; there are {len(numbers)}, counted from 0")
        return label
    return numbers[same_form(label)]


def _unknown(labels: Mapping[str, str], names: Sequence[str]) -> str:
    """What is wrong with labels that are no classes, each with the place of its first sample."""
    *_, first = labels
    near = difflib.get_close_matches(first, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    others = [repr(label) for label in sorted(labels, key=natural_order) if label != first]
    more = ", ..." if len(others) > _NAMED else ""
    also = f"; nor {'is' if len(others) == 1 else 'are'} {', '.join(others[:_NAMED])}{more}"
    some = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return (
        f"{labels[first]}: {first!r} is not one of the {len(names)} classes ({some}){hint}"
        f"{also if others else ''}"
    )
