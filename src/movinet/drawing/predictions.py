"""Plots of predictions over time."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from movinet.errors import ConfigError, MissingExtraError
from movinet.files import file_path, replacing
from movinet.text import printable, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from movinet.prediction import Prediction

#: The suffixes that `plot_predictions` writes.
PLOT_SUFFIXES = (".png", ".svg", ".pdf")
#: Colours that people with any colour vision tell apart, by Okabe and Ito
#: (https://jfly.uni-koeln.de/color/); their yellow is left out: it vanishes on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#4D4D4D")
#: Styles of the lines, each for as many classes as there are colours, and how labels tell them.
_DASHES = (("solid", ""), ("dashed", "- - "), ("dotted", "\u00b7 \u00b7 "))
#: Fonts that people have for what matplotlib's own lacks; those that are there are used.
_FALLBACK_FONTS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK KR", "Noto Sans SC", "Noto Sans JP"),
    *("Source Han Sans SC", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "PingFang SC"),
    *("Hiragino Sans", "Apple SD Gothic Neo", "Microsoft YaHei", "Yu Gothic", "Malgun Gothic"),
    *("Noto Sans Arabic", "Noto Sans Devanagari", "Noto Sans Thai", "Arial Unicode MS"),
    *("Noto Emoji", "Segoe UI Emoji", "Segoe UI Symbol", "Symbola"),
)
_GREY = "#6B6B6B"
_LINE_POINTS = 12.5  # height of one label, points
#: From this probability on a multi-label model is taken to say that a label is there.
THRESHOLD = 0.5
MAX_PLOTTED = 20  # more labels than this do not fit beside the lines


def leading_classes(predictions: Sequence[Prediction], top: int) -> list[int]:
    """The classes to show of a whole video, the strongest at the end first.

    Classes count by the sum of their average and their peak: one that rules for a short while is
    shown too.

    Args:
        predictions: Predictions of one video, at least one.
        top: Number of classes; fewer if the model has fewer.

    Returns:
        Class numbers, by descending probability in the last prediction.
    """
    total = np.zeros(len(predictions[0].labels))
    peak = np.zeros(len(predictions[0].labels))
    for prediction in predictions:
        total += prediction.probabilities
        np.maximum(peak, prediction.probabilities, out=peak)
    relevance = total / len(predictions) + peak
    chosen = np.argsort(-relevance, kind="stable")[:top]
    last = predictions[-1].probabilities[chosen]
    return [int(chosen[i]) for i in np.argsort(-last, kind="stable")]


def check_output(path: str | os.PathLike[str], suffixes: Sequence[str]) -> Path:
    """The path of a picture or video to write, if it can be written at all.

    Raises:
        ConfigError: If the suffix is none of `suffixes`, `path` is a folder, or the folder for it
            does not exist or is not writable, or the system does not allow the name.
    """
    path = file_path(path)
    if path.suffix.lower() not in suffixes:
        raise ConfigError(f"cannot write {str(path)!r}: the name must end in {', '.join(suffixes)}")
    if not path.parent.is_dir():
        raise ConfigError(f"cannot write {str(path)!r}: there is no folder {str(path.parent)!r}")
    try:
        if path.is_dir():
            raise ConfigError(f"cannot write {str(path)!r}: it is a folder")
    except OSError as error:
        raise ConfigError(f"cannot write {str(path)!r}: {error.strerror}") from None
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise ConfigError(
            f"cannot write {str(path)!r}: no permission to write in {str(path.parent)!r}"
        )
    return path


def require_matplotlib(feature: str) -> None:
    """Raise MissingExtraError, before any work is done, if `feature` cannot be had."""
    try:
        import matplotlib  # noqa: F401 - only whether it is there
    except ImportError:
        raise MissingExtraError(feature, "plot") from None


def plot_predictions(
    predictions: Sequence[Prediction],
    path: str | os.PathLike[str],
    *,
    top: int = 5,
    title: str | None = None,
) -> None:
    """Draw the probabilities of one video's leading classes over time.

    One prediction alone becomes a bar chart. A warning tells when no font at hand has some
    character of the title or the labels.

    Args:
        predictions: Predictions of one video in order of time, as from `movinet.predict`.
        path: A .png, .svg or .pdf file; it appears only when it is complete.
        top: Number of classes, 1 to 20.
        title: Title; by default the name of the video.

    Raises:
        ConfigError: If there are no predictions, or `path` or `top` is not allowed.
        MissingExtraError: If matplotlib is not installed.
        OSError: If the file cannot be written.
    """
    path = check_output(path, PLOT_SUFFIXES)
    if not predictions:
        raise ConfigError(f"cannot draw {str(path)!r}: there are no predictions")
    if not 1 <= top <= MAX_PLOTTED:
        raise ConfigError(f"top must be from 1 to {MAX_PLOTTED} in a plot, not {top}")
    require_matplotlib("plotting")
    heading = printable(predictions[0].path.name if title is None else title)
    with replacing(path) as temporary, _fonts(path):
        figure = _draw(predictions, top, heading)
        figure.savefig(temporary, format=path.suffix[1:].lower(), dpi=150)


@contextmanager
def _fonts(path: Path) -> Iterator[None]:
    """Draw with all fonts that may help; what they lack is one warning instead of many."""
    import matplotlib
    from matplotlib.font_manager import fontManager

    known = set(fontManager.get_font_names())  # an unknown one would be logged at every text
    families = [*matplotlib.rcParams["font.family"], *(f for f in _FALLBACK_FONTS if f in known)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with matplotlib.rc_context({"font.family": families}):
            yield
    missing = [warning for warning in caught if "missing from font" in str(warning.message)]
    for warning in caught:
        if warning not in missing:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
    if missing:
        warnings.warn(
            f"{path}: no installed font has all characters of the labels; those missing are boxes "
            "(a Noto font of the script would help)",
            stacklevel=4,
        )


def _draw(predictions: Sequence[Prediction], top: int, heading: str) -> Figure:
    figure = _figure(min(top, len(predictions[0].labels)))
    axes = figure.add_subplot()
    title = axes.set_title(heading, loc="left", fontsize=13, fontweight="bold", pad=12)
    title.set_parse_math(False)  # a dollar sign in a name is a dollar sign
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    classes = leading_classes(predictions, top)
    if len(predictions) > 1:
        _draw_lines(axes, predictions, classes)
    else:
        _draw_bars(axes, predictions[0], classes)
    return figure


def _figure(rows: int) -> Figure:
    """A figure of its own: no pyplot, so no state is shared with the caller's plots."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    height = max(4.4, 1.6 + rows * _LINE_POINTS / 72 * 1.15)
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1)
    figure = Figure(figsize=(9, height), layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _draw_lines(axes: Axes, predictions: Sequence[Prediction], classes: Sequence[int]) -> None:
    times = np.array([prediction.time for prediction in predictions])
    curves = np.array([prediction.probabilities[classes] for prediction in predictions]) * 100
    for rank, curve in enumerate(curves.T):
        axes.plot(
            times,
            curve,
            color=PALETTE[rank % len(PALETTE)],
            linestyle=_DASHES[rank // len(PALETTE)][0],
            linewidth=2.2,
            solid_capstyle="round",
            marker="o" if len(times) <= 15 else None,  # few windows: show where they are
            markersize=4,
            clip_on=False,
            zorder=3 - rank / len(classes),
        )
    axes.set_xlim(times[0], times[-1] if times[-1] > times[0] else times[0] + 1)
    axes.set_ylim(0, ceiling(curves.max()))
    axes.set_xlabel("time (s)")
    axes.set_ylabel("probability")
    axes.yaxis.set_major_formatter("{x:g} %")
    axes.grid(axis="y", color="#E4E4E4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(color="#B0B0B0")
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#B0B0B0")
    multi_label = predictions[0].multi_label
    if multi_label and axes.get_ylim()[1] > 100 * THRESHOLD:
        axes.axhline(100 * THRESHOLD, color=_GREY, linewidth=0.8, linestyle="dotted", zorder=1)
    labels = [predictions[0].labels[c] for c in classes]
    _label_ends(axes, curves[-1], labels, multi_label=multi_label)


def _label_ends(axes: Axes, ends: np.ndarray, labels: Sequence[str], *, multi_label: bool) -> None:
    """Write each label beside the end of its line, moved apart where the ends are close."""
    figure = cast("Figure", axes.get_figure(root=True))
    figure.draw_without_rendering()  # only now is the height of the axes known
    axis_points = axes.get_window_extent().height / figure.dpi * 72
    top = axes.get_ylim()[1]
    spread = spread_out(ends / top * axis_points, _LINE_POINTS, axis_points)
    for rank, (end, place, label) in enumerate(zip(ends, spread, labels, strict=True)):
        colour = PALETTE[rank % len(PALETTE)]
        leads = end >= 100 * THRESHOLD if multi_label else rank == 0
        axes.annotate(
            f"{_DASHES[rank // len(PALETTE)][1]}{_shown(label)}  {percent(end / 100)}",
            xy=(1, end / top),
            xycoords="axes fraction",
            xytext=(1.035, place / axis_points),
            textcoords="axes fraction",
            color=colour,
            fontsize=10,
            fontweight="bold" if leads else "normal",
            va="center",
            parse_math=False,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "linewidth": 0.8,
                "shrinkA": 0,
                "shrinkB": 4,
                "relpos": (0, 0.5),
            },
        )


def _draw_bars(axes: Axes, prediction: Prediction, classes: Sequence[int]) -> None:
    values = prediction.probabilities[classes] * 100
    places = np.arange(len(classes))
    axes.barh(places, values, height=0.62, color=PALETTE[0])
    axes.invert_yaxis()
    axes.set_yticks(places, [_shown(prediction.labels[c]) for c in classes], fontsize=11)
    for tick in axes.get_yticklabels():
        tick.set_parse_math(False)
    axes.set_xlim(0, ceiling(values.max()))
    axes.xaxis.set_major_formatter("{x:g} %")
    axes.set_xlabel("probability")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    for place, value in zip(places, values, strict=True):
        axes.annotate(
            percent(value / 100),
            (value, place),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            color=_GREY,
            annotation_clip=False,
        )


def _shown(label: str) -> str:
    return shorten(printable(label))


def ceiling(highest: float) -> float:
    """The top of an axis for values up to `highest` percent.

    Round, and not 100 where all curves would lie on the floor.
    """
    return next((limit for limit in (1, 2, 5, 10, 20, 50) if highest <= limit), 100)


def percent(probability: float) -> str:
    """A probability for people: "97 %", "3.1 %", "<0.1 %"."""
    value = probability * 100
    if value >= 9.95:
        return f"{value:.0f} %"
    return f"{value:.1f} %" if value >= 0.05 else "<0.1 %"


def spread_out(places: np.ndarray, gap: float, limit: float) -> np.ndarray:
    """Places as near to the given ones as possible, at least `gap` apart, and within 0 to `limit`.

    Neighbours that are too close become a block around their mean; blocks that touch merge.

    Args:
        places: Wanted places, in any order.
        gap: Smallest distance; made smaller where that many do not fit.
        limit: Largest place.

    Returns:
        Places in the order given; equal ones keep their order from the top down.
    """
    order = np.lexsort((-np.arange(len(places)), places))
    gap = min(gap, limit / max(1, len(places) - 1))
    blocks: list[tuple[float, int]] = []  # (centre, size)
    for place in places[order]:
        centre, size = float(place), 1
        while True:
            half = gap * (size - 1) / 2
            centre = min(max(centre, half), limit - half)
            if not blocks or blocks[-1][0] + gap * (blocks[-1][1] + size) / 2 <= centre + 1e-9:
                break
            before, count = blocks.pop()
            centre, size = (centre * size + before * count) / (size + count), size + count
        blocks.append((centre, size))
    result = np.empty(len(places))
    result[order] = [
        centre + gap * (i - (size - 1) / 2) for centre, size in blocks for i in range(size)
    ]
    return result
