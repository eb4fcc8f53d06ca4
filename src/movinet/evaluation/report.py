"""One self-contained HTML page about an evaluation."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from datetime import date
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from movinet.data.sampling import span_of
from movinet.drawing.predictions import check_output, require_matplotlib
from movinet.errors import MissingExtraError, VideoError
from movinet.evaluation.figures import plot_calibration, plot_confusion, plot_over_time
from movinet.evaluation.run import Trouble
from movinet.evaluation.segments import SegmentScores
from movinet.evaluation.summary import Evaluation, Mistake, MultiLabel, SingleLabel
from movinet.evaluation.views import Look
from movinet.files import replacing
from movinet.text import printable

if TYPE_CHECKING:
    from jinja2 import Template

#: Suffixes that a report may have.
SUFFIXES = (".html", ".htm")
#: How many mistakes are shown, frames of each, and their height in pixels.
_MISTAKES, _THUMBNAILS, _HEIGHT = 24, 5, 96
#: The classes among which top-5 looks.
_TOP = 5
#: The part of a long sample that is shown, seconds before its end.
_SHOWN_SECONDS = 20.0
_MOST_TROUBLES, _MOST_CONFUSED = 200, 10
_ENDED = (
    "The model sees a video frame by frame and predicts all the time. A sample that has ended "
    "keeps its last prediction, so every point is of all samples; the grey area shows how many "
    "are still running."
)


class _Plot(NamedTuple):
    """A plot as SVG, and what is said of it."""

    svg: str
    note: str
    kind: str = "plot"


class _Table(NamedTuple):
    """Cells, of which the first `texts` of a row are text, the others numbers; `left` not shown."""

    header: Sequence[str]
    rows: Sequence[Sequence[object]]
    texts: int = 1
    sortable: bool = False
    title: str = ""
    left: int = 0
    kind: str = "table"


class _Shown(NamedTuple):
    """A wrong prediction: its texts, and pictures as base64 of JPEG files."""

    guess: str
    confidence: str
    target: str
    true_confidence: str
    sample: str
    pictures: Sequence[str]


class _Mistakes(NamedTuple):
    """The worst mistakes."""

    shown: Sequence[_Shown]
    kind: str = "mistakes"


class _Section(NamedTuple):
    """A part of the page with a title."""

    title: str
    parts: Sequence[_Plot | _Table | _Mistakes]


def check_report(path: Path) -> None:
    """Raise, before any work is done, if a report cannot be written.

    Raises:
        ConfigError: If the path is not allowed.
        MissingExtraError: If matplotlib, Pillow or Jinja2 is not installed.
    """
    check_output(path, SUFFIXES)
    require_matplotlib("a report")
    try:
        import jinja2  # noqa: F401 - only whether they are there
        import PIL  # noqa: F401
    except ImportError:
        raise MissingExtraError("a report", "plot") from None


def write_report(path: Path, evaluation: Evaluation) -> None:
    """Write the page: summary, plots, classes, and the worst mistakes with pictures.

    Args:
        path: An .html file; appears whole or not at all.
        evaluation: What came out. Videos of mistakes are read once more.

    Raises:
        ConfigError: If the path is not allowed.
        MissingExtraError: If matplotlib, Pillow or Jinja2 is not installed.
        OSError: If it cannot be written.
    """
    check_report(path)
    figures = evaluation.figures
    if isinstance(figures, SingleLabel):
        sections = _single(figures, evaluation.model.labels)
    else:
        sections = _multi(figures, evaluation.model.labels)
    sections += _troubles("Left out: files that could not be read", evaluation.skipped)
    sections += _troubles("Damaged: evaluated, but not all could be decoded", evaluation.damaged)
    sections += _troubles(
        "Doubtful: evaluated, with colours or times in doubt", evaluation.doubtful
    )
    page = _template().render(
        title=f"{evaluation.model.name}: evaluation",
        about=_about(evaluation),
        tiles=headline(figures, evaluation.segments),
        sections=sections,
    )
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _template() -> Template:
    """The page, which escapes whatever it is given but plots."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    def shown(value: Any) -> Any:
        return value if isinstance(value, Markup) else printable(str(value))

    environment = Environment(autoescape=True, undefined=StrictUndefined, finalize=shown)
    text = resources.files("movinet.evaluation").joinpath("report.html").read_text("utf-8")
    return environment.from_string(text)


def headline(
    figures: SingleLabel | MultiLabel, segments: SegmentScores | None = None
) -> list[tuple[str, str]]:
    """The most important figures: their names, and values for people."""
    rows = _headline(figures)
    if segments is not None:
        delay, f1 = segments.start_delay, segments.f1
        counts = f"{segments.found} for {segments.annotated}"
        rows += [
            ("segments, F1 at IoU 0.5", "-" if f1 is None else _percent(f1)),
            ("segments found for annotations", counts),
            ("segments, median start delay", "-" if delay is None else f"{delay:.2f} s"),
        ]
    return rows


def _headline(figures: SingleLabel | MultiLabel) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]]
    if isinstance(figures, MultiLabel):
        rows = [
            ("mean average precision", _percent(figures.map)),
            ("macro F1", _percent(figures.macro_f1)),
            ("ROC-AUC", _percent(figures.roc_auc)),
            ("PR-AUC", _percent(figures.pr_auc)),
            ("recall at 95 % precision", _percent(figures.recall_at_precision)),
        ]
        return [*rows, ("loss", f"{figures.loss:.3f}")]
    low, high = (100 * bound for bound in figures.top1_interval)
    rows = [
        ("top-1", _percent(figures.top1)),
        ("top-1, 95 % interval", f"{low:.1f}-{high:.1f} %"),
        # Of five classes or fewer it is 100 % whatever the model says.
        *([("top-5", _percent(figures.top5))] if len(figures.classes.recall) > _TOP else []),
        ("macro F1", _percent(figures.macro_f1)),
        ("mean over classes", _percent(figures.mean_class_accuracy)),
        ("loss", f"{figures.loss:.3f}"),
        ("calibration error", _percent(figures.calibration.error)),
    ]
    if (course := figures.over_time) is not None and course.time_to_correct is not None:
        seconds = course.time_to_correct
        value = f"{seconds:.2g} s" if np.isfinite(seconds) else "-"
        rows.append(("median time to correct", value))
    return rows


def describe_look(evaluation: Evaluation) -> str:
    """How the samples were looked at, in a few words."""
    info, look = evaluation.model, evaluation.look
    size, rate = info.input.image_size, info.input.frame_rate
    text = f"{size}x{size} pixels, {rate:g} frames per second, "
    if info.streaming:
        text += f"frame by frame {_part(look)}"
        if look.half_life is not None:
            text += f", half-life {look.half_life:g} s"
    else:
        crops = f"{look.crops} crop{'s' if look.crops > 1 else ''}"
        text += f"{look.views} window{'s' if look.views > 1 else ''} of {info.input.num_frames} "
        text += f"frames, {crops}"
        if look.start is not None or look.end is not None:
            text += f", {_part(look)}"
    match look.control:
        case None:
            return text
        case "last-frame":
            return f"{text}; control: the last frame all the time"
        case "shuffled":
            return f"{text}; control: frames in random order, seed {look.seed}"


def _part(look: Look) -> str:
    """Which part of each sample was looked at."""
    begin = "the beginning" if look.start is None else f"{look.start:g} s"
    return f"from {begin} to {'the end' if look.end is None else f'{look.end:g} s'}"


def _about(evaluation: Evaluation) -> list[tuple[str, str]]:
    from movinet.version import __version__

    count, skipped = evaluation.count, len(evaluation.skipped)
    return [
        ("model", f"{evaluation.model.name}, {len(evaluation.model.labels)} classes"),
        ("weights", evaluation.model.origin),
        ("data", evaluation.data),
        ("samples", f"{count}" + (f", and {skipped} that could not be read" if skipped else "")),
        ("seen as", describe_look(evaluation)),
        ("made", f"{date.today().isoformat()} with movinet {__version__}"),
    ]


def _single(figures: SingleLabel, labels: Sequence[str]) -> list[_Section]:
    sections = []
    if figures.over_time is not None:
        plot = plot_over_time(figures.over_time, "top-1 accuracy", 1 / len(labels))
        sections.append(_Section("Accuracy over the seconds seen", [_Plot(plot, _ENDED)]))
    note = (
        "Rows are the true classes, columns the predicted ones; the numbers are samples, and the "
        "colour is their share of the row. Everything off the diagonal is a mistake."
    )
    confused = most_confused(figures, labels)
    parts: list[_Plot | _Table] = [_Plot(plot_confusion(figures, tuple(labels)), note)]
    if confused:
        rows = [(true, guess, count, _percent(share)) for true, guess, count, share in confused]
        header = ("true class", "predicted", "samples", "of the class")
        parts.append(_Table(header, rows, texts=2, title="Most often confused"))
    sections.append(_Section("Confusion", parts))
    scores = figures.classes
    rows = [
        (labels[i], scores.support[i], *(_percent(column[i]) for column in scores[1:]))
        for i in range(len(labels))
    ]
    header = ("class", "samples", "precision", "recall (accuracy)", "F1")
    sections.append(_Section("Classes", [_Table(header, rows, sortable=True)]))
    note = "On the dotted line, predictions are right as often as their confidence says."
    plot = plot_calibration(figures.calibration)
    sections.append(_Section("Calibration", [_Plot(plot, note)]))
    shown = [_shown(mistake, labels) for mistake in figures.mistakes[:_MISTAKES]]
    return [*sections, _Section("Worst mistakes", [_Mistakes(shown)])]


def most_confused(figures: SingleLabel, labels: Sequence[str]) -> list[tuple[str, str, int, float]]:
    """The pairs of classes that are confused most often: true, predicted, samples, share."""
    wrong = figures.confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MOST_CONFUSED]
    pairs = [divmod(int(place), len(labels)) for place in order]
    support = figures.classes.support
    return [
        (labels[i], labels[j], int(wrong[i, j]), float(wrong[i, j] / support[i]))
        for i, j in pairs
        if wrong[i, j]
    ]


def _multi(figures: MultiLabel, labels: Sequence[str]) -> list[_Section]:
    sections = []
    if figures.over_time is not None:
        plot = plot_over_time(figures.over_time, "mean average precision", None)
        sections.append(_Section("Precision over the seconds seen", [_Plot(plot, _ENDED)]))
    scores = figures.classes
    rows = [
        (label, scores.support[i], *(_percent(column[i]) for column in scores[1:]))
        for i, label in enumerate(labels)
    ]
    header = (
        *("class", "samples", "average precision", "ROC-AUC", "PR-AUC"),
        *("recall at 95 % precision", "precision at ½", "recall at ½", "F1 at ½"),
    )
    return [*sections, _Section("Classes", [_Table(header, rows, sortable=True)])]


def _shown(mistake: Mistake, labels: Sequence[str]) -> _Shown:
    sample = mistake.sample
    part = ""
    if sample.start is not None or sample.end is not None:
        end = "its end" if sample.end is None else f"{sample.end:g} s"
        part = f", {sample.start or 0:g} s to {end}"
    return _Shown(
        labels[mistake.guess],
        _percent(mistake.confidence),
        labels[mistake.target],
        _percent(mistake.true_confidence),
        sample.media.name + part,
        _thumbnails(mistake),
    )


def _thumbnails(mistake: Mistake) -> list[str]:
    """A few frames of a sample as base64 of JPEG files."""
    from PIL import Image

    try:
        start, end = span_of(mistake.sample)
        start = max(start, end - _SHOWN_SECONDS)
        times = np.linspace(start, end, _THUMBNAILS, endpoint=False).tolist()
        images = list(mistake.sample.media.frames(times, 1e-3, []))
    except (VideoError, OSError):
        return []
    strips = []
    for image in images:
        picture = Image.fromarray(np.ascontiguousarray(image))
        picture.thumbnail((4 * _HEIGHT, _HEIGHT))
        data = io.BytesIO()
        picture.save(data, "JPEG", quality=80)
        strips.append(base64.b64encode(data.getvalue()).decode())
    return strips


def _troubles(title: str, troubles: Sequence[Trouble]) -> list[_Section]:
    if not troubles:
        return []
    left = max(0, len(troubles) - _MOST_TROUBLES)
    table = _Table(("file", "why"), troubles[:_MOST_TROUBLES], texts=2, left=left)
    return [_Section(f"{title} ({len(troubles)})", [table])]


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %" if np.isfinite(value) else "-"
