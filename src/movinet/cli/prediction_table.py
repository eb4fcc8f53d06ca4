"""The predictions of one video as text for people."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from movinet.cli.common import out, printable
from movinet.cli.prediction_results import at_every
from movinet.drawing.predictions import THRESHOLD, percent
from movinet.text import shorten

if TYPE_CHECKING:
    from rich.console import Console

    from movinet.prediction import Prediction

_LEVELS = "▁▂▃▄▅▆▇█"
_PARTS = " ▏▎▍▌▋▊▉"  # eighths of a block, for the end of a bar
_ASCII_LEVELS = "_.,-=+*#"
_MOST_RUNS = 8
_ELSE = 3  # classes on each line of a timeline
_LABEL = 44  # the longest of Kinetics 700 has 49 characters, nearly all less than 40


def print_predictions(
    predictions: Sequence[Prediction], title: str, *, top: int, every: float | None
) -> None:
    """Print the last prediction with its history, and what was most probable when.

    Args:
        predictions: Predictions of one video, at least one.
        title: What follows the video's name on the first line.
        top: Number of classes.
        every: A line for each so many seconds instead of one for each change; 0: for all of them.
    """
    from rich.text import Text

    console = out()
    path = printable(str(predictions[0].path))
    console.print(Text.assemble((path, "bold"), (f"  {printable(title)}", "dim")))
    _print_last(console, predictions, top)
    if every is not None:
        _print_timeline(console, predictions, every)
    elif len(predictions) > 1 and predictions[0].multi_label:
        _print_present(console, predictions)
    elif len(predictions) > 1:
        _print_changes(console, predictions)
    console.print()


def _print_last(console: Console, predictions: Sequence[Prediction], top: int) -> None:
    from rich.cells import cell_len
    from rich.text import Text

    last = predictions[-1]
    order = np.argsort(-last.probabilities, kind="stable")[:top]
    names = [shorten(printable(last.labels[c]), _LABEL) for c in order]
    width = max(map(cell_len, names))
    room = max(8, min(48, console.width - width - 15))
    plain, chart = console.options.ascii_only, ""
    for rank, (name, c) in enumerate(zip(names, order, strict=True)):
        history = np.array([prediction.probabilities[c] for prediction in predictions])
        chart = (
            sparkline(history, room, plain) if len(history) > 1 else bar(history[0], room, plain)
        )
        leads = history[-1] >= THRESHOLD if last.multi_label else rank == 0
        line = Text(f"  {name}{' ' * (width - cell_len(name))}  ", style="bold" if leads else "")
        line.append(f"{percent(history[-1]):>6}")
        console.print(line + Text(f"  {chart}", style="not bold cyan"))
    if len(predictions) > 1:
        first, end = (f"{predictions[i].time:.1f} s" for i in (0, -1))
        axis = f"{first}{end:>{max(len(chart) - len(first), len(end) + 1)}}"
        console.print(Text(" " * (width + 12) + axis, style="dim"))


def _print_changes(console: Console, predictions: Sequence[Prediction]) -> None:
    """A line for each stretch of time with the same most probable class."""
    runs = [
        (c, list(run)) for c, run in groupby(predictions, lambda p: int(p.probabilities.argmax()))
    ]
    if len(runs) == 1:
        return
    console.print("  most probable over time", style="dim")
    digits = len(f"{predictions[-1].time:.1f}")
    for c, run in runs[:_MOST_RUNS]:
        label = shorten(printable(run[0].labels[c]), _LABEL)
        peak = max(float(prediction.probabilities[c]) for prediction in run)
        first, end = (f"{prediction.time:{digits}.1f}" for prediction in (run[0], run[-1]))
        span = f"{first} to {end} s" if len(run) > 1 else f"{first} s{' ' * (digits + 4)}"
        console.print(f"  {span}  {label}, up to {percent(peak)}")
    if (left := len(runs) - _MOST_RUNS) > 0:
        console.print(f"  and {left} more changes: --every 1 shows each second", style="dim")


def _print_present(console: Console, predictions: Sequence[Prediction]) -> None:
    """A line for each stretch of time with the same labels above the threshold."""
    runs = [(labels, list(run)) for labels, run in groupby(predictions, lambda p: p.present())]
    if len(runs) == 1 and not runs[0][0]:
        console.print(f"  no label reaches {percent(THRESHOLD)}", style="dim")
        return
    console.print(f"  labels at {percent(THRESHOLD)} or more over time", style="dim")
    digits = len(f"{predictions[-1].time:.1f}")
    for labels, run in runs[:_MOST_RUNS]:
        first, end = (f"{prediction.time:{digits}.1f}" for prediction in (run[0], run[-1]))
        span = f"{first} to {end} s" if len(run) > 1 else f"{first} s{' ' * (digits + 4)}"
        names = [shorten(printable(label), _LABEL) for label in labels[:_MOST_RUNS]]
        more = f" and {len(labels) - _MOST_RUNS} more" if len(labels) > _MOST_RUNS else ""
        console.print(f"  {span}  {', '.join(names) or '-'}{more}")
    if (left := len(runs) - _MOST_RUNS) > 0:
        console.print(f"  and {left} more changes: --every 1 shows each second", style="dim")


def _print_timeline(console: Console, predictions: Sequence[Prediction], every: float) -> None:
    """The leading classes at every so many seconds, and at the end."""
    digits = len(f"{predictions[-1].time:.1f}") + 1
    for prediction in at_every(predictions, every):
        leaders = [
            f"{shorten(printable(label), _LABEL)} {percent(p)}"
            for label, p in prediction.top(max(_ELSE, min(len(prediction.present()), _MOST_RUNS)))
        ]
        console.print(f"  {prediction.time:{digits}.2f} s  {', '.join(leaders)}")


def sparkline(values: np.ndarray, width: int, plain: bool = False) -> str:
    """Values in [0, 1] as at most `width` characters of that height; many values are averaged."""
    stretched = np.repeat(values, max(1, width // len(values)))
    cells = np.array_split(stretched, min(width, len(stretched)))
    levels = _ASCII_LEVELS if plain else _LEVELS
    return "".join(levels[min(int(cell.mean() * len(levels)), len(levels) - 1)] for cell in cells)


def bar(value: float, width: int, plain: bool = False) -> str:
    """A value in [0, 1] as a bar of up to `width` characters."""
    if plain:
        return "#" * round(value * width)
    eighths = round(float(value) * width * 8)
    return ("█" * (eighths // 8) + _PARTS[eighths % 8]).rstrip()
