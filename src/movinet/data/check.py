"""Finding files that would spoil a training: broken, short and duplicate ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial

from movinet.data.duplicates import Pairs, find_duplicates
from movinet.data.motion import alike
from movinet.data.probe import Probe, probe
from movinet.data.processes import in_processes
from movinet.data.quarantine import REPEATED, Finding
from movinet.data.samples import DataSet, Sample
from movinet.errors import VideoError

Progress = Callable[[int, int], None]
#: Of labels that differ, how many a message names.
_NAMED = 5


def check_data(
    data: DataSet,
    *,
    min_seconds: float = 0.0,
    min_frames: int = 2,
    deep: bool = False,
    workers: int = 1,
    progress: Progress | None = None,
    comparing: Progress | None = None,
) -> list[Finding]:
    """Everything that is wrong with a data set; each sample at most once.

    Of duplicates, and of samples that a list repeats, the first is kept, and of duplicates with
    different labels none: nobody knows which label is right.

    Args:
        data: The data set.
        min_seconds: Shorter samples are found.
        min_frames: Samples with fewer frames are found.
        deep: Decode every sample wholly; else as much as it takes to compare them.
        workers: Processes.
        progress: Called with the samples looked at and all samples.
        comparing: Called afterwards with the samples compared with the others, and all.

    Returns:
        In the order of the samples.
    """
    again = (REPEATED, "an earlier sample of the data set is the same")
    found: dict[int, tuple[str, str]] = dict.fromkeys(data.repeats(), again)
    probes: dict[int, Probe] = {}
    indices = [index for index in range(len(data)) if index not in found]
    samples = [data.samples[index] for index in indices]
    with closing(in_processes(partial(_look, deep=deep), samples, workers)) as results:
        for done, (index, result) in enumerate(zip(indices, results, strict=True), start=1):
            fault = _fault(result, min_seconds, min_frames)
            if fault is not None:
                found[index] = fault
            elif isinstance(result, Probe):
                probes[index] = result
            if progress is not None:
                progress(done, len(samples))
    look_closely = partial(alike, dict(enumerate(data.samples)), workers=workers)
    for index, fault in _duplicates(data, probes, look_closely, comparing):
        found.setdefault(index, fault)
    return [_finding(data.samples[index], *found[index]) for index in sorted(found)]


def _look(sample: Sample, *, deep: bool) -> Probe | str:
    try:
        return probe(sample, deep=deep)
    except VideoError as error:
        return str(error)


def _fault(
    found: Probe | str | None, min_seconds: float, min_frames: int
) -> tuple[str, str] | None:
    if found is None:
        return "unreadable", "its decoder crashed, or ran out of memory"
    if isinstance(found, str):
        return "unreadable", found
    if found.broken:
        return "damaged", found.broken
    if found.frames < min_frames:
        frames = "1 frame" if found.frames == 1 else f"{found.frames} frames"
        return "short", f"{frames}, fewer than {min_frames}"
    if found.seconds < min_seconds:
        return "short", f"{found.seconds:.2f} s, shorter than {min_seconds:g} s"
    return None


def _duplicates(
    data: DataSet,
    probes: dict[int, Probe],
    look_closely: Callable[[Pairs], Pairs],
    progress: Progress | None,
) -> Iterator[tuple[int, tuple[str, str]]]:
    labels_of: dict[str, set[tuple[int, ...]]] = defaultdict(set)
    for index, found in probes.items():
        labels_of[found.digest].add(data.samples[index].labels)
    for group, how in find_duplicates(probes, look_closely, progress):
        # Of all with the same bytes, one of which stands for the others where looks are compared.
        labels = set[tuple[int, ...]]().union(*(labels_of[probes[i].digest] for i in group))
        for position, index in enumerate(group):
            other = data.samples[group[0] if position else group[1]].media.name
            if len(labels) > 1:
                named = sorted({data.labels[c] for label in labels for c in label})
                more = ", ..." if len(named) > _NAMED else ""
                which = f"{', '.join(named[:_NAMED])}{more}"
                yield index, ("conflict", f"{how} {other}, but labels differ: {which}")
            elif position:
                yield index, ("duplicate", f"{how} {other}")


def _finding(sample: Sample, kind: str, reason: str) -> Finding:
    name = sample.media.name
    return Finding(name, kind, reason.removeprefix(f"{name}: "), sample.start, sample.end)
