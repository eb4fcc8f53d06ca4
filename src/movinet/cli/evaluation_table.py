"""The figures of an evaluation as text for people."""

from __future__ import annotations

import contextlib
import os
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from movinet.cli.common import out, printable
from movinet.cli.prediction_table import sparkline
from movinet.cli.tables import new_table
from movinet.evaluation import Evaluation, MultiLabel, OverTime, SingleLabel
from movinet.evaluation.report import describe_look, headline, most_confused
from movinet.text import shorten

if TYPE_CHECKING:
    from rich.console import Console

    from movinet.evaluation.drops import DropEvaluation

#: Of more classes than this, the worst are shown.
_CLASSES = 30
_CONFUSED, _MISTAKES, _LABEL = 5, 5, 40
_COURSE = 60  # characters of the curve over time


def print_evaluation(evaluation: Evaluation) -> None:
    """Print what was evaluated, the figures, the classes and the worst mistakes."""
    from rich.text import Text

    console, figures, info = out(), evaluation.figures, evaluation.model
    console.print(
        Text.assemble(
            (printable(info.name), "bold"),
            (printable(f"  on {evaluation.count} samples of {evaluation.data}"), "dim"),
        )
    )
    for line in textwrap.wrap(describe_look(evaluation), max(20, console.width - 2)):
        console.print(Text(f"  {line}", style="dim"))
    table = new_table(("", ""), indented=True)
    table.show_header = False
    for name, value in headline(figures, evaluation.segments):
        table.add_row(name, value)
    console.print(table)
    if figures.over_time is not None:
        _print_course(console, figures.over_time)
    _print_classes(console, figures, info.labels)
    if isinstance(figures, SingleLabel):
        _print_mistakes(console, figures, info.labels)


def print_drops(evaluation: DropEvaluation) -> None:
    """Print what each policy of gaps comes to."""
    from rich.text import Text

    console, share = out(), evaluation.dropped / evaluation.frames
    what = f"  on {evaluation.count} samples of {evaluation.data}"
    name = printable(evaluation.model.name)
    console.print(Text.assemble((name, "bold"), (printable(what), "dim")))
    half_life = evaluation.half_life
    course = "mean of all frames" if half_life is None else f"half-life {half_life:g} s"
    dropped = f"{evaluation.dropped} of {evaluation.frames} frames dropped ({share:.0%})"
    console.print(Text(f"  {dropped}, {course}", style="dim"))
    measure = "mAP, %" if evaluation.multi_label else "top-1, %"
    table = new_table(("policy", measure, "right all along, %", "change, %"), indented=True)
    for score in evaluation.scores:
        policy = score.policy or "nothing dropped"
        shown = (f"{100 * v:.1f}" for v in (score.accuracy, score.running, score.change))
        table.add_row(policy, *shown)
    console.print(table)


def _print_course(console: Console, course: OverTime) -> None:
    """A curve, and the accuracy after some seconds."""
    from rich.text import Text

    room = max(10, min(_COURSE, console.width - 14))
    curve = sparkline(np.nan_to_num(course.accuracy), room, console.options.ascii_only)
    console.print("\n  over the seconds seen", style="dim")
    console.print(Text(f"  {curve}", style="cyan"))
    places = np.unique(np.linspace(0, len(course.seconds) - 1, 6).round().astype(int))
    table = new_table(
        ("seconds", *(f"{course.seconds[place]:.2g}" for place in places)), indented=True
    )
    table.add_row("accuracy, %", *(f"{100 * course.accuracy[place]:.1f}" for place in places))
    table.add_row("still running", *(str(course.running[place]) for place in places))
    console.print(table)


def _print_classes(
    console: Console, figures: SingleLabel | MultiLabel, labels: Sequence[str]
) -> None:
    if isinstance(figures, SingleLabel):
        scores, rank = figures.classes, figures.classes.recall
        columns = ("precision", "recall", "f1")
    else:
        scores, rank = figures.classes, figures.classes.average_precision
        columns = ("average_precision", "roc_auc", "precision", "recall", "f1")
    chosen = np.arange(len(labels))
    if len(labels) > _CLASSES:
        order = np.argsort(np.nan_to_num(rank, nan=np.inf), kind="stable")
        chosen = order[:_CLASSES]
        console.print(f"\n  the worst {_CLASSES} of {len(labels)} classes, %", style="dim")
    else:
        console.print("\n  classes, %", style="dim")
    table = new_table(
        ("class", "samples", *(column.replace("_", " ") for column in columns)), indented=True
    )
    for i in chosen.tolist():
        values = (getattr(scores, column)[i] for column in columns)
        shown = (f"{100 * value:.1f}" if np.isfinite(value) else "-" for value in values)
        table.add_row(_name(labels[i]), str(scores.support[i]), *shown)
    console.print(table)


def _print_mistakes(console: Console, figures: SingleLabel, labels: Sequence[str]) -> None:
    if not figures.mistakes:
        return
    console.print("\n  most often confused", style="dim")
    table = new_table(("true class", "predicted", "samples"), texts=(0, 1), indented=True)
    for true, guess, count, _ in most_confused(figures, labels)[:_CONFUSED]:
        table.add_row(_name(true), _name(guess), str(count))
    console.print(table)
    console.print("\n  worst mistakes", style="dim")
    for mistake in figures.mistakes[:_MISTAKES]:
        guess, target = _name(labels[mistake.guess]), _name(labels[mistake.target])
        console.print(f"  {100 * mistake.confidence:5.1f} %  predicted: {guess}; true: {target}")
        console.print(f"           {_path(mistake.sample.media.name)}", style="dim")


def _path(name: str) -> str:
    """A file's name, from the current folder if that is shorter."""
    with contextlib.suppress(ValueError):  # another drive
        name = min(name, os.path.relpath(name), key=len)
    return printable(name)


def _name(label: str) -> str:
    return shorten(printable(label), _LABEL)
