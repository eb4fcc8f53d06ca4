"""The curves of a run, from its log."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from movinet.drawing.predictions import PALETTE
from movinet.files import replacing
from movinet.text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GREY = "#6B6B6B"
#: Training's own curve is drawn thin where it has more points than this, with its mean over it.
_SMOOTH_FROM = 30
#: Points of training's curve are marked if there are fewer than this.
_DOTS_UP_TO = 16


def plot_curves(log: Path, path: Path, title: str = "") -> None:
    """Draw loss, accuracy and learning rate over the updates.

    Args:
        log: The run's log.jsonl.
        path: A .png file.
        title: Name of the run.

    Raises:
        OSError: If a file cannot be read or written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    records = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    train = [r for r in records if r["kind"] == "train"]
    evals = [r for r in records if r["kind"] == "eval"]
    if not train and not evals:
        return
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1)
    figure = Figure(figsize=(13, 4.2), layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(
            printable(title), x=0.01, ha="left", fontsize=11, color=_GREY, parse_math=False
        )
    loss, accuracy, rate = figure.subplots(1, 3)
    _draw(loss, "loss", train, "loss", evals, {"eval_loss": "evaluation"}, 1)
    names = {"top1": "evaluation, top-1", "top5": "evaluation, top-5", "map": "evaluation, mAP"}
    if all(r.get("top5", 1) == 1 for r in evals):  # few classes: it says nothing
        del names["top5"]
    _draw(accuracy, "accuracy, %", train, "accuracy", evals, names, 100)
    _draw(rate, "learning rate", train, "lr", [], {}, 1)
    for axes in (loss, accuracy, rate):
        # From the start of the run to its last step, whole steps: a run may have six.
        axes.set_xlim(0, max(r["step"] for r in records) * 1.02)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    loss.set_ylim(0, 1.08 * max(loss.dataLim.y1, 1e-9))
    accuracy.set_ylim(0, 102)
    rate.set_ylim(0, 1.08 * max(rate.dataLim.y1, 1e-9))
    rate.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.2g}"))
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)


def _draw(
    axes: Axes,
    title: str,
    train: Sequence[dict[str, Any]],
    key: str,
    evals: Sequence[dict[str, Any]],
    names: dict[str, str],
    factor: float,
) -> None:
    """One panel: training's curve, and each evaluated figure that there is."""
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold")
    axes.set_xlabel("steps")
    axes.grid(axis="y", color="#E6E6E6")
    axes.set_axisbelow(True)
    axes.tick_params(colors=_GREY)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    steps = np.array([r["step"] for r in train if r[key] is not None])
    values = np.array([r[key] for r in train if r[key] is not None], float) * factor
    noisy = len(values) > _SMOOTH_FROM and bool(names)
    if len(values):
        axes.plot(steps, values, color=PALETTE[0], linewidth=0.8 if noisy else 2, **_faint(noisy))
        label = "training" if names else None
        smooth = _smoothed(values) if noisy else values
        axes.plot(steps, smooth, color=PALETTE[0], linewidth=2, label=label, **_dots(len(values)))
    for i, (name, label) in enumerate(names.items(), start=1):
        points = [(r["step"], r[name] * factor) for r in evals if r.get(name) is not None]
        if points:
            style: dict[str, Any] = {"color": PALETTE[i], "marker": "o", "markersize": 4}
            axes.plot(*np.array(points).T, linewidth=2, label=label, **style)
    if names and axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=9)


def _dots(count: int) -> dict[str, Any]:
    """Few points are drawn as such: a line needs two."""
    return {"marker": "o", "markersize": 4} if count < _DOTS_UP_TO else {}


def _faint(noisy: bool) -> dict[str, Any]:
    return {"alpha": 0.35} if noisy else {}


def _smoothed(values: np.ndarray) -> np.ndarray:
    """The mean over a fortieth of the run around each point."""
    width = max(3, len(values) // 40) | 1
    padded = np.pad(values, width // 2, mode="edge")
    return np.convolve(padded, np.full(width, 1 / width), mode="valid")
