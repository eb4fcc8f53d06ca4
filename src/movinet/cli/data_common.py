"""What the commands of `movinet data` share: opening, progress, and tables."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from movinet.cli.common import err, out, say
from movinet.cli.tables import new_table, print_whole
from movinet.errors import ConfigError, MissingExtraError
from movinet.text import printable, shorten

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from movinet.data.quarantine import Finding
    from movinet.data.samples import DataSet
    from movinet.data.scan import Contents, Scan

#: Tells of progress: what is done, and all.
Step = Callable[[int, int], None]
#: What is told one by one: messages, findings, and classes of a table.
_MOST_TOLD, _MOST_FINDINGS, _MOST_CLASSES = 5, 20, 40
_LABEL_WIDTH = 30
_UNITS = {"": 10**6, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}


def open_samples(
    data: str,
    root: str | None,
    multi_label: bool,
    excluded: Path | None = None,
    labels: Sequence[str] | None = None,
    *,
    skip_missing: bool = False,
    frame_rate: float | None = None,
) -> DataSet:
    """A data set, without what a list has; how much that is, is told on stderr."""
    try:
        from movinet.data.quarantine import exclude
        from movinet.data.sources import open_data
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("movinet"):
            raise
        raise MissingExtraError("data sets", "train") from None
    found = open_data(
        data,
        root=root,
        labels=labels,
        multi_label=multi_label,
        skip_missing=skip_missing,
        frame_rate=frame_rate,
    )
    if excluded is None:
        return found
    kept, unused = exclude(found, excluded)
    also = f"; {unused} entries of {excluded} are not in {data}" if unused else ""
    say("note", f"{len(found) - len(kept)} of {len(found)} samples are excluded{also}")
    return kept


def note_what_is_outside(found: DataSet, data: str, root: str | None) -> None:
    """Say how many videos lie elsewhere, by absolute paths or links: a stranger's list may mean it.

    Args:
        found: The data set.
        data: As it was given: a folder or a list.
        root: Likewise.
    """
    named = Path(root or data)
    base = Path(os.path.realpath(named if named.is_dir() else named.parent))
    files = {path for each in found.samples if (path := each.media.path) is not None}
    outside = sorted(file for file in files if base not in Path(os.path.realpath(file)).parents)
    if outside:
        say(
            "note",
            f"{len(outside)} of {len(files)} videos are not in {base}, to which absolute paths or "
            f"symbolic links lead, {outside[0]} the first: are they meant?",
        )


def parse_bytes(option: str, text: str) -> int:
    """A number of bytes from text such as 256MB; a number alone is in megabytes.

    Raises:
        ConfigError: If it is none, or less than a kilobyte.
    """
    match = re.fullmatch(r"(\d+\.?\d*)\s*([kmgt]?b?)", text.strip().lower())
    unit = match[2] if match else ""
    value = float(match[1]) * _UNITS.get(unit, _UNITS.get(f"{unit}b", 0)) if match else 0
    if not 1000 <= value < 2**60:
        raise ConfigError(f"{option} must be a size such as 256MB or 1GB, not {text!r}")
    return round(value)


@contextmanager
def progress_bar(what: str) -> Iterator[Step | None]:
    """A bar on stderr, if that is a terminal: a function of what is done and all."""
    with progress_bars(what) as (step,):
        yield step


@contextmanager
def progress_bars(*names: str) -> Iterator[list[Step | None]]:
    """Bars for works one after another; each appears when its turn comes."""
    console = err()
    if not console.is_terminal:
        yield [None] * len(names)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns: tuple[Any, ...] = (
        "{task.description}",
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        tasks = [progress.add_task(name, total=None, visible=not i) for i, name in enumerate(names)]
        yield [partial(_advance, progress, task) for task in tasks]


def _advance(progress: Progress, task: TaskID, done: int, total: int) -> None:
    progress.update(task, completed=done, total=total, visible=True)


def say_some(kind: str, messages: Sequence[str]) -> None:
    """The first of some messages, and how many more there are."""
    for message in messages[:_MOST_TOLD]:
        say(kind, message)
    if len(messages) > _MOST_TOLD:
        say(kind, f"and {len(messages) - _MOST_TOLD} more")


def scan_json(scan: Scan) -> dict[str, object]:
    """A scan as plain values."""
    return {
        **_contents_json(scan.total),
        "classes": {label: _contents_json(contents) for label, contents in scan.classes.items()},
        "unreadable": [{"name": name, "reason": reason} for name, reason in scan.unreadable],
    }


def _contents_json(contents: Contents) -> dict[str, object]:
    return {
        "samples": contents.samples,
        "seconds": round(contents.seconds, 3),
        "sizes": {f"{w}x{h}": count for (w, h), count in contents.sizes.items()},
        "rates": {f"{rate:g}": count for rate, count in contents.rates.items()},
    }


def scan_table(scan: Scan) -> None:
    """Print what each class has."""
    rows = [(label, _contents_cells(contents)) for label, contents in scan.classes.items()]
    _table(("samples", "seconds", "size", "fps"), rows, _contents_cells(scan.total))


def _contents_cells(contents: Contents) -> tuple[str, ...]:
    sizes = sorted(contents.sizes, key=lambda size: (size[0] * size[1], size))
    rates = [f"{rate:g}" for rate in sorted(contents.rates)]
    return (
        f"{contents.samples:,}",
        f"{contents.seconds:,.1f}",
        _range([f"{width}x{height}" for width, height in sizes]),
        _range(rates),
    )


def _range(values: Sequence[str]) -> str:
    return " to ".join(dict.fromkeys((values[0], values[-1]))) if values else "-"


def split_table(
    labels: Iterable[str], counts: Mapping[str, Counter[str]], sizes: Mapping[str, int]
) -> None:
    """Print how many samples of each class each part has."""
    rows = [(label, tuple(f"{counts[part][label]:,}" for part in counts)) for label in labels]
    _table(tuple(counts), rows, tuple(f"{sizes[part]:,}" for part in counts))


def _table(
    headers: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]], total: Sequence[str]
) -> None:
    """Print a row a class, those behind the first ones left out, and one for all."""
    table = new_table(("class", *headers))
    for label, cells in rows[:_MOST_CLASSES]:
        table.add_row(shorten(printable(label), _LABEL_WIDTH), *cells)
    if len(rows) > _MOST_CLASSES:
        table.add_row(f"({len(rows) - _MOST_CLASSES} more: --json)", style="dim")
    table.add_row(f"all {len(rows)}", *total, style="bold")
    print_whole(out(), table)


def finding_lines(data: DataSet, findings: Sequence[Finding]) -> Iterator[str]:
    """A summary of a check, and the first findings."""
    counts = Counter(each.kind for each in findings)
    kinds = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    bad = f"{len(findings)} bad ({kinds})" if findings else "all good"
    yield printable(f"{data.name}: {len(data)} samples, {bad}")
    width = max((len(kind) for kind in counts), default=0)
    for each in findings[:_MOST_FINDINGS]:
        part = "" if each.start is None else f" (from {each.start:g} s)"
        yield printable(f"  {each.kind:{width}}  {each.name}{part}: {each.reason}")
    if len(findings) > _MOST_FINDINGS:
        yield f"  and {len(findings) - _MOST_FINDINGS} more; --output and --json have all"
