"""Plots of an evaluation, as SVG text."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from movinet.drawing.predictions import PALETTE
from movinet.errors import MissingExtraError
from movinet.evaluation.metrics import BINS, Calibration
from movinet.evaluation.over_time import OverTime
from movinet.evaluation.summary import SingleLabel
from movinet.text import printable, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: More classes than this are not named at the edges of a confusion matrix, nor counts written.
_NAMED, _COUNTED = 40, 20
_GREY = "#808080"
#: Names that matplotlib gives to groups; several plots on one page would share them.
_GROUP_NAME = re.compile(r' id="[A-Za-z0-9]+(\.[a-z]+)?_\d+"')
_FIRST_ELEMENT = re.compile(r"(?s)^.*?<svg")


def plot_over_time(over_time: OverTime, measure: str, chance: float | None) -> str:
    """Accuracy, and what goes with it, over the seconds seen.

    Args:
        over_time: The curves.
        measure: What the accuracy is, for the legend.
        chance: Accuracy of guessing; None draws no line.
    """
    seconds, decided = over_time.seconds, over_time.time_to_correct
    marker = "o" if len(seconds) < 16 else None

    def draw(axes: Axes) -> None:
        axes.plot(
            seconds,
            100 * over_time.accuracy,
            color=PALETTE[0],
            lw=2.4,
            marker=marker,
            ms=4,
            label=measure,
        )
        if over_time.confidence is not None:
            axes.plot(
                seconds,
                100 * over_time.confidence,
                color=PALETTE[1],
                ls="--",
                lw=1.6,
                label="mean confidence",
            )
        still = 100 * over_time.running / over_time.running[0]
        label = "samples still running"
        axes.fill_between(seconds, 0, still, color=_GREY, alpha=0.13, lw=0, label=label)
        if chance is not None:
            axes.axhline(100 * chance, color=_GREY, ls=":", lw=1.2, label="chance")
        if decided is not None and np.isfinite(decided):
            label = f"median time to correct, {decided:.2g} s"
            axes.axvline(decided, color=PALETTE[2], lw=1.4, label=label)
        axes.set(xlabel="seconds seen", ylabel="%", ylim=(0, 103))
        axes.set_xlim(0, float(seconds[-1]))
        axes.grid(axis="y", color=_GREY, alpha=0.25, lw=0.8)
        axes.legend(loc="upper left", bbox_to_anchor=(-0.05, -0.17), ncols=2, frameon=False)

    about = f"{measure} over the seconds seen, ending at {100 * over_time.accuracy[-1]:.1f} %"
    return _svg(draw, (5.6, 4.2), about)


def plot_confusion(figures: SingleLabel, labels: tuple[str, ...]) -> str:
    """The confusion matrix, coloured by the share of the true class."""
    from matplotlib.colors import LinearSegmentedColormap

    counts = figures.confusion
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = float(np.clip(0.42 * len(labels) + 2, 4, 11))
    # From nothing to blue, so that the page's own background shows, be it light or dark.
    colours = LinearSegmentedColormap.from_list("", [(0, 0.447, 0.698, 0), (0, 0.447, 0.698, 1)])

    def draw(axes: Axes) -> None:
        axes.imshow(share, cmap=colours, vmin=0, vmax=1, interpolation="nearest")
        axes.set(xlabel="predicted class", ylabel="true class")
        if len(labels) <= _NAMED:
            names = [shorten(printable(label), 22) for label in labels]
            axes.set_xticks(
                range(len(names)), names, rotation=55, ha="right", rotation_mode="anchor"
            )
            axes.set_yticks(range(len(names)), names)
        if len(labels) <= _COUNTED:
            for i, j in zip(*np.nonzero(counts), strict=True):
                colour = "white" if share[i, j] > 0.5 else "black"
                axes.text(j, i, str(counts[i, j]), ha="center", va="center", color=colour)
        axes.spines[:].set(visible=True, color=_GREY)

    return _svg(draw, (side, side), f"confusion matrix of {len(labels)} classes")


def plot_calibration(found: Calibration) -> str:
    """Accuracy of predictions of each confidence, and how many there are."""
    centres = 100 * (np.arange(BINS) + 0.5) / BINS
    share = found.samples / max(1, int(found.samples.sum()))

    def draw(axes: Axes) -> None:
        label = "share of the samples"
        axes.bar(centres, 100 * share, 100 / BINS, color=_GREY, alpha=0.3, label=label)
        there = found.samples > 0
        confidence, accuracy = 100 * found.confidence[there], 100 * found.accuracy[there]
        axes.plot(confidence, accuracy, color=PALETTE[0], marker="o", lw=2, label="accuracy")
        axes.plot([0, 100], [0, 100], color=_GREY, ls=":", label="perfectly calibrated")
        axes.set(xlabel="confidence, %", ylabel="%", xlim=(0, 101), ylim=(0, 103))
        axes.legend(loc="best", frameon=False)

    return _svg(draw, (5.2, 4), f"calibration, expected error {100 * found.error:.1f} %")


def _svg(draw: Callable[[Axes], None], size: tuple[float, float], about: str) -> str:
    """A figure as an <svg> element; black becomes the colour of the page's text."""
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise MissingExtraError("a report", "plot") from None
    settings: Any = {
        "svg.fonttype": "none",
        # The same evaluation gives the same file, and plots of one page share no names.
        "svg.hashsalt": about,
        "font.size": 10,
        "text.parse_math": False,  # a dollar sign in a label is one
    }
    with rc_context(settings), warnings.catch_warnings():
        # Only for the layout: the browser has its own fonts.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes)
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = _GROUP_NAME.sub("", _FIRST_ELEMENT.sub("<svg", text.getvalue()))
    svg = re.sub(r"#000000\b", "currentColor", svg)
    svg = re.sub(r"(?s)<metadata>.*?</metadata>", "", svg)
    # Text without a colour is black.
    label = f'<svg role="img" aria-label="{escape(about)}" fill="currentColor"'
    return svg.replace("<svg", label, 1)
