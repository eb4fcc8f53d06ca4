"""One self-contained HTML page about an evaluation."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from datetime import date
from html import escape
from importlib import resources
from pathlib import Path
from string import Template

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

#: Suffixes that a report may have.
SUFFIXES = (".html", ".htm")
#: How many mistakes are shown, frames of each, and their height in pixels.
_MISTAKES, _THUMBNAILS, _HEIGHT = 24, 5, 96
#: The part of a long sample that is shown, seconds before its end.
_SHOWN_SECONDS = 20.0
_MOST_TROUBLES, _MOST_CONFUSED = 200, 10
_ENDED = (
    "The model sees a video frame by frame and predicts all the time. A sample that has ended "
    "keeps its last prediction, so every point is of all samples; the grey area shows how many "
    "are still running."
)


def check_report(path: Path) -> None:
    """Raise, before any work is done, if a report cannot be written.

    Raises:
        ConfigError: If the path is not allowed.
        MissingExtraError: If matplotlib or Pillow is not installed.
    """
    check_output(path, SUFFIXES)
    require_matplotlib("a report")
    try:
        import PIL  # noqa: F401 - only whether it is there
    except ImportError:
        raise MissingExtraError("a report", "plot") from None


def write_report(path: Path, evaluation: Evaluation) -> None:
    """Write the page: summary, plots, classes, and the worst mistakes with pictures.

    Args:
        path: An .html file; appears whole or not at all.
        evaluation: What came out. Videos of mistakes are read once more.

    Raises:
        ConfigError: If the path is not allowed.
        MissingExtraError: If matplotlib or Pillow is not installed.
        OSError: If it cannot be written.
    """
    check_report(path)
    template = Template(
        resources.files("movinet.evaluation").joinpath("report.html").read_text("utf-8")
    )
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
    page = template.substitute(
        title=_text(f"{evaluation.model.name}: evaluation"),
        about="".join(
            f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in _about(evaluation)
        ),
        tiles="".join(_tile(name, value) for name, value in headline(figures, evaluation.segments)),
        sections="".join(sections),
    )
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


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
        ("top-5", _percent(figures.top5)),
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


def _single(figures: SingleLabel, labels: Sequence[str]) -> list[str]:
    sections = []
    if figures.over_time is not None:
        plot = plot_over_time(figures.over_time, "top-1 accuracy", 1 / len(labels))
        sections.append(_section("Accuracy over the seconds seen", _figure(plot, _ENDED)))
    note = (
        "Rows are the true classes, columns the predicted ones; the numbers are samples, and the "
        "colour is their share of the row. Everything off the diagonal is a mistake."
    )
    confused = most_confused(figures, labels)
    content = _figure(plot_confusion(figures, tuple(labels)), note)
    if confused:
        rows = [(true, guess, count, _percent(share)) for true, guess, count, share in confused]
        header = ("true class", "predicted", "samples", "of the class")
        content += f"<h3>Most often confused</h3>{_table(header, rows, texts=2)}"
    sections.append(_section("Confusion", content))
    scores = figures.classes
    rows = [
        (labels[i], scores.support[i], *(_percent(column[i]) for column in scores[1:]))
        for i in range(len(labels))
    ]
    header = ("class", "samples", "precision", "recall (accuracy)", "F1")
    sections.append(_section("Classes", _table(header, rows, sortable=True)))
    note = "On the dotted line, predictions are right as often as their confidence says."
    plot = plot_calibration(figures.calibration)
    sections.append(_section("Calibration", _figure(plot, note)))
    return [*sections, _mistakes(figures.mistakes[:_MISTAKES], labels)]


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


def _multi(figures: MultiLabel, labels: Sequence[str]) -> list[str]:
    sections = []
    if figures.over_time is not None:
        plot = plot_over_time(figures.over_time, "mean average precision", None)
        sections.append(_section("Precision over the seconds seen", _figure(plot, _ENDED)))
    scores = figures.classes
    rows = [
        (label, scores.support[i], *(_percent(column[i]) for column in scores[1:]))
        for i, label in enumerate(labels)
    ]
    header = (
        *("class", "samples", "average precision", "ROC-AUC", "PR-AUC"),
        *("recall at 95 % precision", "precision at ½", "recall at ½", "F1 at ½"),
    )
    return [*sections, _section("Classes", _table(header, rows, sortable=True))]


def _mistakes(mistakes: Sequence[Mistake], labels: Sequence[str]) -> str:
    if not mistakes:
        return _section("Worst mistakes", "<p>There are none.</p>")
    note = "<p>Wrong predictions, the most confident first.</p>"
    content = "".join(_mistake(mistake, labels) for mistake in mistakes)
    return _section("Worst mistakes", f'{note}<div class="mistakes">{content}</div>')


def _mistake(mistake: Mistake, labels: Sequence[str]) -> str:
    sample = mistake.sample
    images = "".join(
        f'<img alt="" src="data:image/jpeg;base64,{data}">' for data in _thumbnails(mistake)
    )
    part = ""
    if sample.start is not None or sample.end is not None:
        end = "its end" if sample.end is None else f"{sample.end:g} s"
        part = f", {sample.start or 0:g} s to {end}"
    return (
        f'<figure class="mistake"><div class="strip">{images or "no picture can be read"}</div>'
        f"<figcaption>predicted: <b>{_text(labels[mistake.guess])}</b> "
        f"{_percent(mistake.confidence)}; "
        f"true: <b>{_text(labels[mistake.target])}</b> {_percent(mistake.true_confidence)}"
        f"<small>{_text(sample.media.name + part)}</small></figcaption></figure>"
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


def _troubles(title: str, troubles: Sequence[Trouble]) -> list[str]:
    if not troubles:
        return []
    table = _table(("file", "why"), troubles[:_MOST_TROUBLES], texts=2)
    left = len(troubles) - _MOST_TROUBLES
    more = f"<p>and {left} more</p>" if left > 0 else ""
    return [_section(f"{title} ({len(troubles)})", table + more)]


def _section(title: str, content: str) -> str:
    return f"<section><h2>{_text(title)}</h2>{content}</section>"


def _figure(svg: str, note: str) -> str:
    return f'<figure class="plot">{svg}<figcaption>{_text(note)}</figcaption></figure>'


def _tile(name: str, value: str) -> str:
    return f'<div class="tile"><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>'


def _table(
    header: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    texts: int = 1,
    sortable: bool = False,
) -> str:
    """A table whose first `texts` columns are text and the others numbers."""
    titles = "".join(
        f'<th scope="col"{_kind(i, texts)}>'
        + (f'<button type="button">{_text(cell)}</button>' if sortable else _text(cell))
        + "</th>"
        for i, cell in enumerate(header)
    )
    lines = "".join(
        "<tr>"
        + "".join(f"<td{_kind(i, texts)}>{_text(str(cell))}</td>" for i, cell in enumerate(row))
        + "</tr>"
        for row in rows
    )
    kind = ' class="sortable"' if sortable else ""
    table = f"<table{kind}><thead><tr>{titles}</tr></thead><tbody>{lines}</tbody></table>"
    return f'<div class="wide" tabindex="0" role="region" aria-label="table">{table}</div>'


def _kind(column: int, texts: int) -> str:
    return "" if column < texts else ' class="number"'


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %" if np.isfinite(value) else "-"


def _text(text: str) -> str:
    return escape(printable(text))
