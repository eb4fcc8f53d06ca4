"""`movinet data`: look at data sets, find bad files, split, pack, and make some."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

import typer

from movinet.cli.common import FAILED, guarded, out, printable, say
from movinet.cli.data_common import (
    finding_lines,
    note_what_is_outside,
    open_samples,
    parse_bytes,
    progress_bar,
    progress_bars,
    say_some,
    scan_json,
    scan_table,
    split_table,
)
from movinet.cli.models import DATA_HELP, FrameRateOption
from movinet.errors import ConfigError

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Look at data sets, find bad files, split, pack, and make some.\n\n"
    "For example:\n\n  movinet data check videos/ -o quarantine.txt",
)
_PROCESSORS = os.cpu_count() or 1

Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help=DATA_HELP,
        show_default=False,
    ),
]
Root = Annotated[
    str | None,
    typer.Option(metavar="FOLDER", help="Where the relative paths of a manifest start."),
]
Exclude = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Omit the files on this list, which 'check' wrote."),
]
Several = Annotated[
    bool, typer.Option("--multi-label", help="A sample may have any number of labels.")
]
SkipMissing = Annotated[
    bool,
    typer.Option("--skip-missing", help="Skip, and count, listed files that are missing."),
]
Workers = Annotated[int, typer.Option(metavar="NUMBER", min=1, max=256, help="Processes.")]
Seed = Annotated[int, typer.Option(metavar="NUMBER", min=0, help="Decides which samples go where.")]
AsJson = Annotated[bool, typer.Option("--json", help="The summary as JSON on stdout.")]


@app.command("scan", no_args_is_help=True)
@guarded
def scan(
    data: Data,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Manifest to write: .csv, .tsv or .jsonl."
        ),
    ] = None,
    exclude: Exclude = None,
    root: Root = None,
    multi_label: Several = False,
    skip_missing: SkipMissing = False,
    frame_rate: FrameRateOption = None,
    workers: Annotated[
        int, typer.Option(metavar="NUMBER", min=1, max=256, help="Threads that read.")
    ] = _PROCESSORS,
    as_json: AsJson = False,
) -> None:
    """Say what each class has, and write all samples as a manifest.

    Lengths, sizes and frame rates are those in the files' headers.

    For example:

      movinet data scan videos/

      movinet data scan videos/ -o all.csv --exclude quarantine.txt
    """
    from movinet.data.scan import scan_data, write_samples

    found = open_samples(
        data, root, multi_label, exclude, skip_missing=skip_missing, frame_rate=frame_rate
    )
    if output is not None:
        write_samples(output, found, range(len(found)))
    with progress_bar("scanning") as progress:
        result = scan_data(found, workers=workers, progress=progress)
    say_some("warning", [f"{name}: {reason}" for name, reason in result.unreadable])
    if result.unreadable:
        say("note", "'movinet data check' finds all bad files, and makes a list to --exclude")
    if as_json:
        print(json.dumps(scan_json(result), indent=2, ensure_ascii=False))
    else:
        scan_table(result)
    if output is not None:
        say("note", f"wrote {output}")


@app.command("check", no_args_is_help=True)
@guarded
def check(
    data: Data,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="List of bad files to write."),
    ] = None,
    min_seconds: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="Shorter videos are bad.")
    ] = 0.1,
    min_frames: Annotated[
        int, typer.Option(metavar="NUMBER", min=1, help="Videos with fewer frames are bad.")
    ] = 2,
    deep: Annotated[
        bool,
        typer.Option("--deep", help="Decode every frame, and not only what comparing needs."),
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if any is bad.")] = False,
    root: Root = None,
    multi_label: Several = False,
    skip_missing: SkipMissing = False,
    frame_rate: FrameRateOption = None,
    workers: Workers = _PROCESSORS,
    as_json: AsJson = False,
) -> None:
    """Find videos that are broken, short, or there twice.

    Duplicates are found by their bytes, and by how they look when they
    were encoded again. The first of them is kept, as is that of samples
    that a list repeats; if labels of duplicates differ, none is. Files
    are left where they are: give the list to --exclude of scan, split
    and pack.

    For example:

      movinet data check videos/ -o quarantine.txt

      movinet data check train.csv --min-seconds 1 --deep --strict
    """
    from movinet.data.check import check_data
    from movinet.data.quarantine import write_quarantine

    found = open_samples(data, root, multi_label, skip_missing=skip_missing, frame_rate=frame_rate)
    note_what_is_outside(found, data, root)
    with progress_bars("checking", "comparing") as (progress, comparing):
        findings = check_data(
            found,
            min_seconds=min_seconds,
            min_frames=min_frames,
            deep=deep,
            workers=workers,
            progress=progress,
            comparing=comparing,
        )
    if output is not None:
        write_quarantine(output, findings)
    if as_json:
        summary = {
            "samples": len(found),
            "good": len(found) - len(findings),
            "kinds": Counter(each.kind for each in findings),
            "findings": [each._asdict() for each in findings],
        }
        print(json.dumps(summary, indent=2))
    else:
        for line in finding_lines(found, findings):
            out().print(line)
    if output is not None:
        use = "; omit its files with --exclude" if findings else ", which is empty"
        say("note", f"wrote {output}{use}")
    if strict and findings:
        raise typer.Exit(FAILED)


@app.command("split", no_args_is_help=True)
@guarded
def split(
    data: Data,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Where to write train.csv, valid.csv and test.csv.",
        ),
    ],
    valid: Annotated[float, typer.Option(metavar="SHARE", help="For validation.")] = 0.2,
    test: Annotated[float, typer.Option(metavar="SHARE", help="For a final test.")] = 0.0,
    seed: Seed = 0,
    by: Annotated[
        Literal["group", "none"],
        typer.Option(help="Keep samples of a group, or parts of a video, together; or do not."),
    ] = "group",
    exclude: Exclude = None,
    root: Root = None,
    multi_label: Several = False,
    skip_missing: SkipMissing = False,
    frame_rate: FrameRateOption = None,
    as_json: AsJson = False,
) -> None:
    """Split a data set into parts, each class by its share.

    A manifest's column 'group' states what must stay together, such as
    the clips of one person.

    For example:

      movinet data split videos/ -o splits --exclude quarantine.txt

      movinet data split all.csv -o splits --valid 0.1 --test 0.1 --seed 1
    """
    from movinet.data.scan import write_samples
    from movinet.data.split import split_data

    found = open_samples(
        data, root, multi_label, exclude, skip_missing=skip_missing, frame_rate=frame_rate
    )
    shares = {"valid": valid} | ({"test": test} if test else {})
    result = split_data(found, shares, seed=seed, by_group=by == "group")
    for name, indices in result.parts.items():
        write_samples(output / f"{name}.csv", found, indices)
    counts = {
        name: Counter(found.labels[c] for i in indices for c in found.samples[i].labels)
        for name, indices in result.parts.items()
    }
    sizes = {name: len(indices) for name, indices in result.parts.items()}
    if as_json:
        classes = {label: {name: counts[name][label] for name in counts} for label in found.labels}
        summary = {"samples": sizes, "classes": classes, "notes": result.notes}
        print(json.dumps(summary, indent=2, ensure_ascii=False))
    else:
        split_table(found.labels, counts, sizes)
    for each in result.notes:
        say("warning", each)
    if not test and (output / "test.csv").exists():
        say("warning", f"{output / 'test.csv'} is of another split; remove it")
    say("note", f"wrote {', '.join(str(output / f'{name}.csv') for name in sizes)}")


@app.command("pack", no_args_is_help=True)
@guarded
def pack(
    data: Data,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FOLDER", help="A new folder for the shards."),
    ],
    shard_size: Annotated[
        str, typer.Option(metavar="SIZE", help="When a shard is full: 256MB, 1GB.")
    ] = "256MB",
    size: Annotated[
        int | None,
        typer.Option(
            metavar="PIXELS", min=16, max=8192, help="Encode again, the shorter side at most this."
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(metavar="FPS", min=0.1, max=240, help="Encode again at this frame rate."),
    ] = None,
    exclude: Exclude = None,
    root: Root = None,
    multi_label: Several = False,
    skip_missing: SkipMissing = False,
    frame_rate: FrameRateOption = None,
    workers: Annotated[
        int, typer.Option(metavar="NUMBER", min=1, max=256, help="Processes that encode.")
    ] = _PROCESSORS,
    as_json: AsJson = False,
) -> None:
    """Pack a data set into shards of WebDataset.

    Files go in as they are, unless --size or --rate has them encoded again;
    then only the part that is a sample is kept.

    For example:

      movinet data pack splits/train.csv -o shards/train

      movinet data pack splits/train.csv -o shards/train --size 192 --shard-size 1GB
    """
    from movinet.data.pack import Encoding, pack_data

    shard_bytes = parse_bytes("--shard-size", shard_size)
    found = open_samples(
        data, root, multi_label, exclude, skip_missing=skip_missing, frame_rate=frame_rate
    )
    note_what_is_outside(found, data, root)
    is_new = size is not None or rate is not None
    with progress_bar("packing") as progress:
        packed = pack_data(
            found,
            output,
            shard_bytes=shard_bytes,
            encoding=Encoding(size, rate) if is_new else None,
            workers=workers if is_new else 1,
            progress=progress,
        )
    say_some("warning", [f"left out {name}: {reason}" for name, reason in packed.skipped])
    if packed.repeated:
        say(
            "note",
            f"{packed.repeated} videos are in it several times, whole, as several samples are "
            "parts of them; with --size or --rate only the parts are packed",
        )
    if as_json:
        print(json.dumps(packed._asdict(), indent=2))
        return
    shards = f"{packed.shards} shard{'s' if packed.shards > 1 else ''}"
    told = f"{output}: {packed.samples} samples in {shards}, {packed.bytes / 1e6:.1f} MB"
    out().print(printable(told + (f"; {len(packed.skipped)} left out" if packed.skipped else "")))


@app.command("synth", no_args_is_help=True)
@guarded
def synth(
    output: Annotated[Path, typer.Argument(metavar="OUT", help="A folder for the clips.")],
    seed: Annotated[
        int, typer.Option(metavar="NUMBER", min=0, help="Decides everything.", show_default=False)
    ],
    clips_per_class: Annotated[
        int, typer.Option(metavar="NUMBER", min=1, help="Clips of each class.", show_default=False)
    ],
    task: Annotated[
        str, typer.Option(metavar="motions|paths", help="10 classes of motion, or 8 others.")
    ] = "motions",
    workers: Workers = _PROCESSORS,
) -> None:
    """Make videos of a task that only motion can solve.

    A call that was interrupted can be repeated, and continues.

    For example:

      movinet data synth motions/train --seed 1 --clips-per-class 450
    """
    from movinet.data.synth import TASKS, Task, generate

    chosen: Task | None = next((name for name in TASKS if name == task), None)
    if chosen is None:
        raise ConfigError(f"--task must be one of {', '.join(TASKS)}, not {task!r}")
    with progress_bar("making clips") as progress:
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
