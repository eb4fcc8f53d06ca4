"""`movinet data`: look at data sets, find bad files, split, pack, and make some."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from movinet.cli.common import FAILED, err, guarded, out, printable, say
from movinet.errors import ConfigError, MissingExtraError
from movinet.text import shorten

if TYPE_CHECKING:
    from movinet.data.manifest import Row
    from movinet.data.samples import DataSet

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Look at data sets, find bad files, split, pack, and make some.\n\n"
    "For example:\n\n  movinet data check videos/",
)
_MOST_CLASSES = 30
_PROCESSORS = os.cpu_count() or 1
_MOST_FINDINGS = 20

Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="A folder with a folder per class, a manifest (.csv, .tsv, .jsonl), a Kinetics CSV, "
        "WebDataset shards or TFRecords.",
    ),
]
Root = Annotated[
    str | None, typer.Option(help="Folder that a manifest's relative paths start from.")
]
Exclude = Annotated[
    Path | None, typer.Option(help="Leave out the files of a list that 'check' wrote.")
]
Several = Annotated[
    bool, typer.Option("--multi-label", help="A sample may have any number of labels.")
]
Workers = Annotated[int, typer.Option(min=1, max=256, help="Processes.")]
AsJson = Annotated[bool, typer.Option("--json", help="The summary as JSON on stdout.")]


@app.command("scan", no_args_is_help=True)
@guarded
def scan(
    data: Data,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Manifest to write: .csv, .tsv or .jsonl."),
    ] = None,
    root: Root = None,
    exclude: Exclude = None,
    multi_label: Several = False,
    as_json: AsJson = False,
) -> None:
    """Say what a data set has, and write it as a manifest.

    For example:

      movinet data scan videos/ -o all.csv --exclude quarantine.txt
    """
    found = _open(data, root, exclude, multi_label)
    counts = Counter(label for sample in found.samples for label in sample.labels)
    if output is not None:
        _write(output, found, range(len(found)))
    if as_json:
        per_class = {label: counts[i] for i, label in enumerate(found.labels)}
        print(json.dumps({"samples": len(found), "classes": per_class}, indent=2))
        return
    console = out()
    console.print(printable(f"{data}: {len(found)} samples of {len(found.labels)} classes"))
    _print_counts(found.labels, {"samples": counts})
    if output is not None:
        say("note", f"wrote {output}")


@app.command("check", no_args_is_help=True)
@guarded
def check(
    data: Data,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="List of bad files to write.")
    ] = None,
    root: Root = None,
    min_seconds: Annotated[
        float, typer.Option(min=0, help="Shorter videos count as bad, seconds.")
    ] = 0.1,
    deep: Annotated[bool, typer.Option("--deep", help="Decode every video wholly.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if any is bad.")] = False,
    workers: Workers = _PROCESSORS,
    multi_label: Several = False,
    as_json: AsJson = False,
) -> None:
    """Find videos that are broken, short or there twice.

    For example:

      movinet data check videos/ -o quarantine.txt
    """
    from movinet.data.check import check_data, write_quarantine

    found = _open(data, root, None, multi_label)
    with _progress("checking") as progress:
        findings = check_data(
            found, min_seconds=min_seconds, deep=deep, workers=workers, progress=progress
        )
    if output is not None:
        write_quarantine(output, findings)
    kinds = Counter(finding.kind for finding in findings)
    if as_json:
        listed = [finding._asdict() for finding in findings]
        print(json.dumps({"samples": len(found), "kinds": kinds, "bad": listed}, indent=2))
    else:
        console = out()
        summary = ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "all good"
        console.print(printable(f"{data}: {len(found)} samples, {summary}"))
        for name, kind, reason in findings[:_MOST_FINDINGS]:
            told = reason.removeprefix(f"{name}: ")
            console.print(printable(f"  {kind:10}  {name}: {told}"))
        if len(findings) > _MOST_FINDINGS:
            console.print(f"  and {len(findings) - _MOST_FINDINGS} more: --output, --json")
        if output is not None:
            say("note", f"wrote {output}; 'scan' and 'split' leave its files out (--exclude)")
    if strict and findings:
        raise typer.Exit(FAILED)


@app.command("split", no_args_is_help=True)
@guarded
def split(
    data: Data,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Folder for train.csv, valid.csv and test.csv."),
    ],
    valid: Annotated[float, typer.Option(help="Share for validation.")] = 0.2,
    test: Annotated[float, typer.Option(help="Share for a final test.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Decides which samples go where.")] = 0,
    by: Annotated[
        str, typer.Option(help="'group' keeps groups of a manifest together; 'none' does not.")
    ] = "group",
    root: Root = None,
    exclude: Exclude = None,
    multi_label: Several = False,
    as_json: AsJson = False,
) -> None:
    """Split a data set into parts, each class by its share.

    For example:

      movinet data split videos/ -o splits --valid 0.2 --exclude quarantine.txt
    """
    from movinet.data.split import split_data

    if by not in ("group", "none"):
        raise ConfigError(f"--by must be group or none, not {by!r}")
    found = _open(data, root, exclude, multi_label)
    shares = {"valid": valid} | ({"test": test} if test else {})
    result = split_data(found, shares, seed=seed, by_group=by == "group")
    output.mkdir(parents=True, exist_ok=True)
    counts = {}
    for name, indices in result.parts.items():
        _write(output / f"{name}.csv", found, indices)
        counts[name] = Counter(c for i in indices for c in found.samples[i].labels)
    for note in result.notes:
        say("warning", note)
    if as_json:
        sizes = {name: len(indices) for name, indices in result.parts.items()}
        print(json.dumps({**sizes, "notes": list(result.notes)}, indent=2))
        return
    _print_counts(found.labels, counts)
    say("note", f"wrote {', '.join(f'{output / name}.csv' for name in result.parts)}")


@app.command("pack", no_args_is_help=True)
@guarded
def pack(
    data: Data,
    output: Annotated[Path, typer.Option("--output", "-o", help="A new folder for the shards.")],
    shard_size: Annotated[
        float, typer.Option(min=0.001, help="Size of a shard, megabytes.")
    ] = 256.0,
    size: Annotated[
        int | None, typer.Option(min=16, help="Encode anew with this shorter side, pixels.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(min=0.1, max=240, help="Encode anew at this frame rate.")
    ] = None,
    root: Root = None,
    exclude: Exclude = None,
    multi_label: Several = False,
    as_json: AsJson = False,
) -> None:
    """Pack a data set into shards of WebDataset.

    For example:

      movinet data pack train.csv -o shards/train --size 192
    """
    from movinet.data.pack import pack_data

    found = _open(data, root, exclude, multi_label)
    with _progress("packing") as progress:
        packed = pack_data(
            found,
            output,
            shard_bytes=round(shard_size * 1e6),
            short_side=size,
            frame_rate=rate,
            progress=progress,
        )
    for _, reason in packed.skipped:
        say("warning", f"left out {reason}")
    if as_json:
        print(json.dumps(packed._asdict(), indent=2))
        return
    out().print(printable(f"{output}: {packed.samples} samples in {packed.shards} shards"))


@app.command("synth", no_args_is_help=True)
@guarded
def synth(
    output: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder.")],
    seed: Annotated[int, typer.Option(min=0, help="Decides everything.")],
    clips_per_class: Annotated[int, typer.Option(min=1, help="Clips of each class.")],
    task: Annotated[
        str, typer.Option(help="motions (10 classes) or paths (8 others).")
    ] = "motions",
    workers: Workers = _PROCESSORS,
) -> None:
    """Make videos of a task that only motion can solve.

    For example:

      movinet data synth motions/train --seed 1 --clips-per-class 450
    """
    from movinet.data.synth import TASKS, Task, generate

    chosen: Task | None = next((name for name in TASKS if name == task), None)
    if chosen is None:
        raise ConfigError(f"--task must be one of {', '.join(TASKS)}, not {task!r}")
    with _progress("making clips") as progress:
        generate(
            output,
            seed=seed,
            clips_per_class=clips_per_class,
            task=chosen,
            workers=workers,
            progress=progress,
        )
    classes = len(TASKS[chosen])
    out().print(printable(f"{output}: {classes * clips_per_class} clips of {classes} classes"))


def _open(data: str, root: str | None, exclude: Path | None, multi_label: bool) -> DataSet:
    """The data set, without excluded files."""
    import dataclasses

    try:
        from movinet.data.sources import open_data
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("movinet"):
            raise
        raise MissingExtraError("data sets", "train") from None
    found = open_data(data, root=root, multi_label=multi_label)
    if exclude is None:
        return found
    from movinet.data.check import read_quarantine

    bad = read_quarantine(exclude)
    kept = tuple(sample for sample in found.samples if sample.media.name not in bad)
    if not kept:
        raise ConfigError(f"{exclude}: excludes every sample of {data}")
    say("note", f"{len(found) - len(kept)} of {len(found)} samples are excluded")
    return dataclasses.replace(found, samples=kept)


def _write(path: Path, data: DataSet, indices: Sequence[int]) -> None:
    """Write samples as a manifest, with paths that hold wherever it lies."""
    from movinet.data.manifest import write_rows

    write_rows(path, [_row(data, index) for index in indices])


def _row(data: DataSet, index: int) -> Row:
    from movinet.data.manifest import Row
    from movinet.video.media import VideoFile

    sample = data.samples[index]
    media = sample.media
    if not isinstance(media, VideoFile) or not isinstance(media.source, Path):
        raise ConfigError(
            f"{media.name}: a manifest names files, and this sample lies within one; train on the "
            "shards or records themselves"
        )
    labels = tuple(data.labels[c] for c in sample.labels)
    path = str(media.source.absolute())
    return Row(path, labels, sample.start, sample.end, sample.group)


def _print_counts(labels: Sequence[str], columns: dict[str, Counter[int]]) -> None:
    """Samples of each class in each part."""
    from rich.cells import cell_len

    console = out()
    names = [shorten(printable(label), 36) for label in labels[:_MOST_CLASSES]]
    width = max(map(cell_len, ["all", *names]))
    console.print(" " * (width + 2) + "".join(f"{name:>9}" for name in columns), style="dim")
    for i, name in enumerate(names):
        cells = "".join(f"{counts[i]:>9}" for counts in columns.values())
        console.print(f"  {name}{' ' * (width - cell_len(name))}{cells}")
    if len(labels) > _MOST_CLASSES:
        console.print(f"  and {len(labels) - _MOST_CLASSES} more classes", style="dim")
    totals = "".join(f"{counts.total():>9}" for counts in columns.values())
    console.print(f"  {'all':{width}}{totals}", style="bold")


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on stderr, if that is a terminal."""
    console = err()
    if not console.is_terminal:
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns: tuple[Any, ...] = (what, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
