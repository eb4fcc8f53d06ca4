"""Finding files that would spoil a training: broken, short and duplicate ones."""

from __future__ import annotations

import multiprocessing
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from movinet.data.probe import Probe, probe
from movinet.data.samples import DataSet, Sample
from movinet.errors import ConfigError, VideoError
from movinet.files import replacing

#: Hashes of re-encoded videos differ in a few of their bits; of different videos in many.
_MOST_DIFFERENT = 8
Progress = Callable[[int, int], None]


class Finding(NamedTuple):
    """Something wrong with a sample.

    Attributes:
        name: Of its video.
        kind: "unreadable", "damaged", "short", "duplicate" or "conflict" (a duplicate that has
            other labels).
        reason: In words.
    """

    name: str
    kind: str
    reason: str


def check_data(
    data: DataSet,
    *,
    min_seconds: float = 0.0,
    deep: bool = False,
    workers: int = 1,
    progress: Progress | None = None,
) -> list[Finding]:
    """Everything that is wrong with a data set; each sample at most once, the worst of it.

    Of duplicates the first is kept, and of duplicates with different labels none: nobody knows
    which label is right.

    Args:
        data: The data set.
        min_seconds: Shorter samples are found.
        deep: Decode every sample wholly.
        workers: Processes.
        progress: Called with the samples looked at and all samples.
    """
    found: dict[int, Finding] = {}
    probes: dict[int, Probe] = {}
    for index, result in enumerate(_probes(data, deep, workers)):
        name = data.samples[index].media.name
        if isinstance(result, str):
            found[index] = Finding(name, "unreadable", result)
        elif result.broken:
            found[index] = Finding(name, "damaged", result.broken)
        elif result.seconds < min_seconds:
            reason = f"{result.seconds:.2f} s, shorter than {min_seconds:g} s"
            found[index] = Finding(name, "short", reason)
        else:
            probes[index] = result
        if progress is not None:
            progress(index + 1, len(data))
    for finding in _duplicates(data, probes):
        found.setdefault(*finding)
    return [found[index] for index in sorted(found)]


def _probes(data: DataSet, deep: bool, workers: int) -> Iterator[Probe | str]:
    look = partial(_look, deep=deep)
    if workers < 2:
        yield from map(look, data.samples)
        return
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(look, data.samples, chunksize=4)


def _look(sample: Sample, *, deep: bool) -> Probe | str:
    try:
        return probe(sample, deep=deep)
    except VideoError as error:
        return str(error)


def _duplicates(data: DataSet, probes: dict[int, Probe]) -> Iterator[tuple[int, Finding]]:
    for group, how in _groups(probes):
        labels = {data.samples[index].labels for index in group}
        first = data.samples[group[0]].media.name
        if len(labels) > 1:
            names = ", ".join(sorted({data.labels[c] for label in labels for c in label}))
            for index in group:
                others = next(data.samples[i].media.name for i in group if i != index)
                reason = f"{how} {others}, and their labels differ: {names}"
                yield index, Finding(data.samples[index].media.name, "conflict", reason)
        else:
            for index in group[1:]:
                name = data.samples[index].media.name
                yield index, Finding(name, "duplicate", f"{how} {first}")


def _groups(probes: dict[int, Probe]) -> Iterator[tuple[list[int], str]]:
    """Samples that are the same, and how: by their bytes first, then by how they look."""
    same: dict[str, list[int]] = defaultdict(list)
    for index, found in probes.items():
        same[found.digest].append(index)
    for group in same.values():
        if len(group) > 1:
            yield group, "the same bytes as"
    singles = {group[0]: probes[group[0]] for group in same.values()}
    for group in _alike(singles):
        yield group, "looks like"


def _alike(probes: dict[int, Probe]) -> list[list[int]]:
    """Groups of samples whose hashes are near each other."""
    prints = {i: p.prints for i, p in probes.items() if p.prints is not None}
    leader = {index: index for index in prints}

    def find(index: int) -> int:
        while leader[index] != index:
            index = leader[index]
        return index

    # Hashes that differ in few bits are equal in one of one more parts.
    buckets: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    for index, bits in prints.items():
        for number, part in enumerate(np.array_split(bits, _MOST_DIFFERENT + 1)):
            buckets[number, part.tobytes()].append(index)
    for members in buckets.values():
        for position, index in enumerate(members[1:], start=1):
            for other in members[max(0, position - 50) : position]:
                if find(index) != find(other) and _near(prints[index], prints[other]):
                    leader[max(find(index), find(other))] = min(find(index), find(other))
    groups: dict[int, list[int]] = defaultdict(list)
    for index in prints:
        groups[find(index)].append(index)
    return [sorted(group) for group in groups.values() if len(group) > 1]


def _near(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> bool:
    return int((one != other).sum()) <= _MOST_DIFFERENT


def write_quarantine(path: Path, findings: list[Finding]) -> None:
    """Write a list of bad files: name, kind and reason, with tabs between them, a line each."""
    with replacing(path) as temporary:
        lines = ("\t".join(part.replace("\t", " ") for part in finding) for finding in findings)
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def read_quarantine(path: Path) -> set[str]:
    """The names in a list of bad files.

    Raises:
        ConfigError: If it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise ConfigError(f"{path}: cannot be read ({reason})") from None
    return {line.split("\t")[0] for line in text.splitlines() if line}
