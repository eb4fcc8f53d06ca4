"""How well the events of whole recordings fit annotations with a start and an end."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from movinet.data.samples import DataSet
from movinet.errors import ConfigError, VideoError
from movinet.events import Rules
from movinet.live.options import usual_half_life
from movinet.runtime.base import Runtime
from movinet.segments import find_segments
from movinet.video import Media

#: Start and end, seconds.
Span = tuple[float, float]
#: The least temporal IoU of an event that fits an annotation.
THRESHOLD = 0.5


@dataclass(frozen=True)
class ClassSegments:
    """Counts of one class.

    Attributes:
        label: The class.
        annotated: Annotations.
        found: Events.
        matched: Annotations with an event that fits.
    """

    label: str
    annotated: int
    found: int
    matched: int

    @property
    def f1(self) -> float | None:
        """F1; None where there is neither an annotation nor an event."""
        return _f1(self.annotated, self.found, self.matched)


@dataclass(frozen=True)
class SegmentScores:
    """Figures of events against annotations.

    Attributes:
        videos: Recordings that were seen.
        left_out: Recordings with an annotation without a start or an end, or that are no files or
            cannot be read.
        classes: Of the model, in its order.
        start_delay: Median of how much later than its annotation an event that fits begins,
            seconds; None if none fits.
        rules: Of events.
        half_life: Of the streams, seconds; None for the mean of all frames.
    """

    videos: int
    left_out: int
    classes: tuple[ClassSegments, ...]
    start_delay: float | None
    rules: Rules
    half_life: float | None

    @property
    def annotated(self) -> int:
        """All annotations."""
        return sum(one.annotated for one in self.classes)

    @property
    def found(self) -> int:
        """All events."""
        return sum(one.found for one in self.classes)

    @property
    def matched(self) -> int:
        """All annotations with an event that fits."""
        return sum(one.matched for one in self.classes)

    @property
    def f1(self) -> float | None:
        """F1 of all classes together."""
        return _f1(self.annotated, self.found, self.matched)

    def to_json(self) -> dict[str, Any]:
        """Plain values, shares from 0 to 1."""
        return {
            "videos": self.videos,
            "left_out": self.left_out,
            "iou": THRESHOLD,
            "f1": self.f1,
            "precision": self.matched / self.found if self.found else None,
            "recall": self.matched / self.annotated if self.annotated else None,
            "start_delay": self.start_delay,
            "half_life": self.half_life,
            "rules": self.rules.to_json(),
            "per_class": [{**vars(one), "f1": one.f1} for one in self.classes],
        }


def score_segments(
    runtime: Runtime,
    data: DataSet,
    rules: Rules | None = None,
    *,
    half_life: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SegmentScores:
    """Find the events of each recording, and compare them with its annotations.

    Args:
        runtime: A stream model.
        data: Samples with a start and an end; those of one video are its annotations.
        rules: When events begin and end.
        half_life: As in `movinet.segments.find_segments`.
        progress: Called with the number of recordings done and of all.

    Raises:
        ConfigError: If the model is no stream model, or no recording has annotations with a start
            and an end.
        VideoError: If not one recording can be read.
    """
    rules = Rules() if rules is None else rules
    half_life = usual_half_life(runtime) if half_life is None else half_life
    annotated, left_out = _annotated(data)
    counts = {label: [0, 0, 0] for label in data.labels}
    delays: list[float] = []
    seen, reason = 0, ""
    for number, (media, truths) in enumerate(annotated.items()):
        try:
            assert media.path is not None
            events = find_segments(
                media.path, runtime, rules, half_life=half_life, fps=media.given_rate
            ).events
        except VideoError as error:
            left_out, reason = left_out + 1, str(error)
            events = None
        if events is not None:
            seen += 1
            spans: defaultdict[str, list[Span]] = defaultdict(list)
            for event in events:
                spans[event.label].append((event.start, event.end))
            for label in {*truths, *spans}:
                pairs = matched(truths[label], spans[label])
                for place, count in enumerate((truths[label], spans[label], pairs)):
                    counts[label][place] += len(count)
                delays += [spans[label][j][0] - truths[label][i][0] for i, j in pairs]
        if progress is not None:
            progress(number + 1, len(annotated))
    if not seen:
        raise VideoError(f"{data.name}: not one recording can be read; {reason}")
    return SegmentScores(
        seen,
        left_out,
        tuple(ClassSegments(label, *counts[label]) for label in data.labels),
        statistics.median(delays) if delays else None,
        rules,
        None if math.isinf(half_life) else half_life,
    )


def matched(truths: Sequence[Span], found: Sequence[Span]) -> list[tuple[int, int]]:
    """Pairs of annotations and events of a class that fit, each in one pair at most.

    The pair with the highest temporal IoU is taken first, then the next of those that are left.

    Returns:
        Indices into `truths` and `found`.
    """
    pairs = sorted(
        (-overlap, i, j)
        for i, truth in enumerate(truths)
        for j, span in enumerate(found)
        if (overlap := iou(truth, span)) >= THRESHOLD
    )
    taken: tuple[set[int], set[int]] = (set(), set())
    chosen = []
    for _, i, j in pairs:
        if i not in taken[0] and j not in taken[1]:
            taken[0].add(i)
            taken[1].add(j)
            chosen.append((i, j))
    return chosen


def iou(one: Span, other: Span) -> float:
    """Temporal intersection over union."""
    common = min(one[1], other[1]) - max(one[0], other[0])
    union = max(one[1], other[1]) - min(one[0], other[0])
    return max(0.0, common) / union if union > 0 else 0.0


def _f1(annotated: int, found: int, fitting: int) -> float | None:
    return 2 * fitting / (annotated + found) if annotated + found else None


def _annotated(data: DataSet) -> tuple[dict[Media, defaultdict[str, list[Span]]], int]:
    """The annotations of each recording by class, and how many recordings have other ones."""
    found: dict[Media, defaultdict[str, list[Span]]] = {}
    others = set()
    for sample in data.samples:
        media = sample.media
        if sample.start is None or sample.end is None or media.path is None:
            others.add(media.name)
            continue
        truths = found.setdefault(media, defaultdict(list))
        for label in sample.labels:
            truths[data.labels[label]].append((sample.start, sample.end))
    kept = {media: truths for media, truths in found.items() if media.name not in others}
    if not kept:
        raise ConfigError(
            f"{data.name}: segments are compared with annotations in video files that have a start "
            "and an end, and no video has only such ones"
        )
    return kept, len(others)
