"""A plot of how fast models run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from movinet.drawing.predictions import PALETTE, PLOT_SUFFIXES, check_output, require_matplotlib
from movinet.files import replacing
from movinet.text import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from movinet.benchmarking import Figures

_LABEL = 36


def plot_benchmark(figures: Sequence[Figures], path: Path, processor: str) -> None:
    """Draw the latency and the throughput of models.

    Args:
        figures: What was measured, at least one.
        path: A .png, .svg or .pdf file; it appears only when it is complete.
        processor: What the figures are of, for the title.

    Raises:
        ConfigError: If `path` is not allowed.
        MissingExtraError: If matplotlib is not installed.
        OSError: If the file cannot be written.
    """
    check_output(path, PLOT_SUFFIXES)
    require_matplotlib("plotting")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(11, 1.9 + 0.55 * len(figures)), layout="constrained")
    FigureCanvasAgg(canvas)
    latency, throughput = canvas.subplots(1, 2, sharey=True)
    _draw_latency(latency, figures)
    _draw_throughput(throughput, figures)
    names = [f"{shorten(one.name, _LABEL)}\n{one.engine}" for one in figures]
    latency.set_yticks(range(len(figures)), names, fontsize=9)
    latency.invert_yaxis()
    for text in latency.get_yticklabels():
        text.set_parse_math(False)  # a dollar sign in a name is a dollar sign
    for axes in (latency, throughput):
        axes.grid(axis="x", color="#E4E4E4", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
    canvas.suptitle(processor, fontsize=10, x=0.01, ha="left", color="#606060")
    with replacing(path) as temporary:
        canvas.savefig(temporary, format=path.suffix[1:].lower(), dpi=150)


def _draw_latency(axes: Axes, figures: Sequence[Figures]) -> None:
    """The median as a dot, a thick line to 90 % of the steps and a thin one to 99 %."""
    for row, one in enumerate(figures):
        median, p90, p99 = (1e3 * one.percentile(share) for share in (50, 90, 99))
        color = PALETTE[row % len(PALETTE)]
        axes.plot((median, p99), (row, row), color=color, linewidth=1.2)
        axes.plot((median, p90), (row, row), color=color, linewidth=4, solid_capstyle="butt")
        axes.plot(median, row, "o", color=color, markersize=8)
        axes.annotate(
            f"{median:.3g}", (median, row), (0, 8), textcoords="offset points", ha="center"
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("latency of a step (ms): median, 90 % and 99 % of the steps")
    axes.margins(y=0.25)


def _draw_throughput(axes: Axes, figures: Sequence[Figures]) -> None:
    """A bar for one stream, and a fainter one for several."""
    for row, one in enumerate(figures):
        color = PALETTE[row % len(PALETTE)]
        alone = one.unit * len(one.latency) / sum(one.latency)
        axes.barh(row - 0.18, alone, 0.32, color=color)
        if one.streams > 1:
            axes.barh(row + 0.18, one.throughput, 0.32, color=color, alpha=0.45)
    several = max(one.streams for one in figures)
    faint = f"; faint: {several} streams" if several > 1 else ""
    axes.set_xlabel(f"frames a second, one stream{faint}")
