"""`movinet eval`: how good a model is on a data set, as a table, JSON or a report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from movinet.cli.common import say
from movinet.cli.models import (
    DATA_HELP,
    MODEL_HELP,
    DeviceOption,
    FrameRateOption,
    HalfLifeOption,
    ManifestOption,
    SpeedOption,
    say_model,
)
from movinet.errors import ConfigError

if TYPE_CHECKING:
    from movinet.data.samples import DataSet
    from movinet.evaluation import Evaluation, Trouble
    from movinet.evaluation.drops import Drops
    from movinet.events import Rules
    from movinet.runtime import Runtime

#: What is evaluated if no model is named.
DEFAULT_MODEL = "motions"
_NAMED = 10  # files with trouble that are told one by one


def command(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help=f"{MODEL_HELP} By default the bundled model.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        str,
        typer.Option(
            "--data",
            "-d",
            metavar="FOLDER_OR_FILE",
            help=DATA_HELP,
            show_default=False,
        ),
    ] = "",
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            "-w",
            metavar="NAME_OR_FILE",
            help="Published weights, such as kinetics-600, or a checkpoint.",
        ),
    ] = None,
    manifest: ManifestOption = None,
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels",
            "-l",
            metavar="NAME_OR_FILE",
            help="Names of the model's classes, if its weights do not state them: kinetics-600 and "
            "the like, or a text file with a label a line.",
        ),
    ] = None,
    root: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="Where the paths of a manifest start."),
    ] = None,
    exclude: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Omit the files on this list of 'data check'."),
    ] = None,
    multi_label: Annotated[
        bool, typer.Option("--multi-label", help="A sample may have any number of labels.")
    ] = False,
    skip_missing: Annotated[
        bool,
        typer.Option("--skip-missing", help="Skip, and count, listed files that are missing."),
    ] = False,
    frame_rate: FrameRateOption = None,
    views: Annotated[
        int, typer.Option(metavar="NUMBER", help="Base models: windows to average over.")
    ] = 1,
    crops: Annotated[
        int, typer.Option(metavar="1|3", help="Base models: crops of each window to average over.")
    ] = 1,
    control: Annotated[
        Literal["last-frame", "shuffled"] | None,
        typer.Option(
            help="Does motion matter? Show the last frame all the time, or the frames in random "
            "order.",
        ),
    ] = None,
    drop: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Stream models: skip this share of the frames at random, and compare what "
            "the policies of 'movinet watch --gap' make of it.",
        ),
    ] = None,
    drop_gap: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Mean length of the gaps of --drop. By default each frame falls by itself.",
        ),
    ] = None,
    segments: Annotated[
        bool,
        typer.Option(
            "--segments",
            help="Stream models: find the events of whole videos, too, and compare them with the "
            "samples that have a start and an end.",
        ),
    ] = False,
    events: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Rules of the events of --segments, TOML."),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            metavar="NUMBER", min=0, help="Seed of the random choice of --control and --drop."
        ),
    ] = 0,
    start: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0, help="Skip this much of each sample's beginning."),
    ] = None,
    end: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0, help="See no more than this much of each sample."),
    ] = None,
    half_life: HalfLifeOption = None,
    speed: SpeedOption = 1.0,
    device: DeviceOption = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE.html", help="Write a page with plots and the worst mistakes."),
    ] = None,
    workers: Annotated[
        int, typer.Option(metavar="NUMBER", min=1, max=256, help="Threads that decode.")
    ] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="All figures as JSON on stdout.")] = False,
) -> None:
    """Measure a model on labelled videos.

    Stream models see each sample frame by frame: the last prediction
    counts, and accuracy is a function of the seconds seen. Base
    models see windows, whose probabilities are averaged. Samples that
    cannot be read are skipped, counted and named.

    For example:

      movinet eval --data videos/

      movinet eval exported.tflite --data test.csv

      movinet eval a2_base -w kinetics-600 --data validate.csv --views 10 --crops 3

      movinet eval run/model.safetensors --data test.csv --report report.html

      movinet eval run/model.safetensors --data test.csv --control last-frame --json

      movinet eval exported.tflite --data test.csv --drop 0.3

      movinet eval exported.tflite --data annotations.csv --segments --events rules.toml

      movinet eval run/model.safetensors --data list.txt --skip-missing --end 5 --device cuda
    """
    if not data:
        raise ConfigError("give --data, as in: movinet eval --data videos/")
    from movinet.cli.data_common import open_samples, progress_bar
    from movinet.evaluation import evaluate
    from movinet.evaluation.report import check_report, write_report
    from movinet.evaluation.views import Look
    from movinet.opening import at_speed

    # What is wrong is told before anything is loaded.
    Look(views, crops, control, seed, start, end, half_life)
    drops = _drops(
        drop, drop_gap, seed, others=(views, crops, control, report) != (1, 1, None, None)
    )
    if report is not None:
        check_report(report)
    rules = _rules(events, segments=segments)
    runtime = at_speed(_load(model, weights, labels, manifest, device), speed)
    multi_label = multi_label or runtime.info.multi_label
    samples = open_samples(
        data,
        root,
        multi_label,
        exclude,
        runtime.info.labels,
        skip_missing=skip_missing,
        frame_rate=frame_rate,
    )
    if drops is not None:
        _evaluate_drops(runtime, samples, drops, half_life, start, end, as_json=as_json)
        return
    with progress_bar("evaluating") as step:
        evaluation = evaluate(
            runtime,
            samples,
            views=views,
            crops=crops,
            control=control,
            seed=seed,
            start=start,
            end=end,
            half_life=half_life,
            segments=segments,
            rules=rules,
            workers=workers,
            progress=step,
        )
    _show(evaluation, as_json)
    if report is not None:
        write_report(report, evaluation)
        say("note", f"wrote {report}")


def _rules(path: Path | None, *, segments: bool) -> Rules | None:
    """What --events says."""
    from movinet.events import load_rules

    if path is None:
        return None
    if not segments:
        raise ConfigError("--events is of --segments: give that, too")
    return load_rules(path)


def _drops(share: float | None, gap: float | None, seed: int, *, others: bool) -> Drops | None:
    """What --drop and --drop-gap say."""
    from movinet.evaluation.drops import Drops

    if share is None:
        if gap is not None:
            raise ConfigError("--drop-gap is of --drop: give that, too, as in --drop 0.3")
        return None
    if others:
        raise ConfigError(
            "--drop has its own table: omit --views, --crops, --control, --report, --segments"
        )
    return Drops(share, gap, seed)


def _evaluate_drops(
    runtime: Runtime,
    samples: DataSet,
    drops: Drops,
    half_life: float | None,
    start: float | None,
    end: float | None,
    *,
    as_json: bool,
) -> None:
    from movinet.cli.data_common import progress_bar
    from movinet.evaluation.drops import evaluate_drops

    with progress_bar("evaluating") as step:
        found = evaluate_drops(
            runtime, samples, drops, half_life=half_life, start=start, end=end, progress=step
        )
    _tell("skipped", "cannot be read", found.skipped)
    if as_json:
        print(json.dumps(found.to_json(), indent=2, allow_nan=False))
        return
    from movinet.cli.evaluation_table import print_drops

    print_drops(found)


def _load(
    model: str | None,
    weights: str | None,
    labels: str | None,
    manifest: Path | None,
    device: str | None,
) -> Runtime:
    """Load the model and say on stderr what it is."""
    from movinet import opening as choosing
    from movinet.labels import load_labels

    if model is None and weights is None:
        model = DEFAULT_MODEL
    names = None if labels is None else load_labels(labels)
    runtime = choosing.open_model(
        model, weights=weights, labels=names, manifest=manifest, device=device
    )
    say_model(runtime.info, "", "figures")
    return runtime


def _show(evaluation: Evaluation, as_json: bool) -> None:
    """Warn of what could not be measured as it should be, and print the figures."""
    _tell("skipped", "cannot be read", evaluation.skipped)
    _tell("damaged", "could be decoded in part only", evaluation.damaged)
    _tell("doubtful", "have colours or times in doubt", evaluation.doubtful)
    if as_json:
        print(json.dumps(evaluation.to_json(), indent=2, allow_nan=False))
        return
    from movinet.cli.evaluation_table import print_evaluation

    print_evaluation(evaluation)


def _tell(kind: str, what: str, troubles: tuple[Trouble, ...]) -> None:
    """Warn of samples with trouble; all of them are in the JSON and the report."""
    for trouble in troubles[:_NAMED]:
        say("warning", f"{kind}: {': '.join(trouble)}")
    if (left := len(troubles) - _NAMED) > 0:
        say("warning", f"{kind}: {left} more; {what} (--json and --report name them all)")
