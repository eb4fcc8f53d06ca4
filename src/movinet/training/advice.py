"""Settings that do not suit the data: noticed before hours are spent."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from movinet.data.balance import class_counts
from movinet.data.samples import DataSet
from movinet.text import printable
from movinet.training.config import TrainConfig
from movinet.training.schedule import warmup_steps

#: From here on classes are very unequal: samples of the largest for each of the smallest.
_UNBALANCED = 5
#: Up to so many samples a probe is the place to begin.
_FEW = 500
#: Words that a mirror swaps.
_MIRRORED = {"left": "right", "clockwise": "counterclockwise", "ltr": "rtl", "cw": "ccw"}
_MIRRORED |= {other: word for word, other in _MIRRORED.items()}
_WORDS = re.compile(r"counterclockwise|clockwise|left|right|\b(?:ltr|rtl|cw|ccw)\b")


def advise(config: TrainConfig, train: DataSet, total_steps: int) -> Iterator[tuple[str, str]]:
    """What a user should know of settings and classes before a run.

    Args:
        config: The run.
        train: The training data.
        total_steps: Updates of the whole run.

    Yields:
        "note" or "warning", and one line with what to do.
    """
    warmup = warmup_steps(total_steps, config.schedule)
    if warmup < config.schedule.warmup_steps:
        yield (
            "note",
            f"warm-up shortened to {warmup} steps, a fifth of the {total_steps} of this run "
            f"(schedule.warmup_steps={config.schedule.warmup_steps})",
        )
    section = config.model
    if section.weights is not None and not section.freeze_backbone and len(train) <= _FEW:
        yield (
            "note",
            f"with {len(train)} samples, 'movinet train probe' is often as right, in minutes",
        )
    if config.augment.flip and (pairs := mirrored_classes(train.labels)):
        (one, other), more = pairs[0], ""
        if len(pairs) > 1:
            more = f" (and {len(pairs) - 1} more pairs)" if len(pairs) > 2 else " (and 1 more pair)"
        yield (
            "warning",
            f"augment.flip={config.augment.flip:g} mirrors clips, which makes {printable(one)!r} "
            f"look like {printable(other)!r}{more}: set augment.flip=0",
        )
    counts = class_counts(train)
    there = counts[counts > 0]
    if config.data.balance == "none" and there.size and there.max() > _UNBALANCED * there.min():
        largest = train.labels[int(counts.argmax())]
        smallest = train.labels[counts.tolist().index(int(there.min()))]
        yield (
            "note",
            f"classes are unbalanced: {printable(largest)!r} has {there.max()} samples, "
            f"{printable(smallest)!r} {there.min()}; data.balance=sampling draws all classes "
            "equally often, data.balance=loss weighs their losses instead",
        )


def mirrored_classes(labels: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of classes whose names a mirror would swap, as "turn left" and "turn right"."""
    names = {_normalised(label): label for label in labels}
    pairs = []
    for name, label in names.items():
        other = _WORDS.sub(lambda word: _MIRRORED[word[0]], name)
        if name < other and other in names:
            pairs.append((label, names[other]))
    return pairs


def _normalised(label: str) -> str:
    """Lower-case words with single spaces, also of ``turnLeft`` and ``turn_left``."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label)
    words = re.sub(r"[\W_]+", " ", spaced.lower()).strip()
    return re.sub(r"\b(?:counter|anti) ?clockwise", "counterclockwise", words)
