"""Signs that the figures of a run deserve no trust, for one warning that says what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Evaluated samples below which figures are too rough to warn of.
_LEAST = 10
#: Share of samples predicted as one class that is nearly all, and by how much it has to exceed the
#: class's own share.
_NEARLY_ALL, _EXCESS = 0.9, 0.15
#: How far above chance, as a share of the way to 1, a mean recall still counts as chance.
_AT_CHANCE = 0.1
#: By how much accuracy in training exceeds that of evaluation where the two have parted.
_PARTED = 0.25


@dataclass(frozen=True)
class Doubt:
    """An evaluation that does not fit the training before it.

    Attributes:
        finding: The odd figures, one clause.
        trained: Share of training clips that were right while they were trained on.
        chance: Accuracy of guessing.
    """

    finding: str
    trained: float
    chance: float

    def message(self, as_evaluated: float) -> str:
        """One line for people: the finding, its likely cause, and what to do.

        Args:
            as_evaluated: Share of training clips that are right with the network in evaluation.
        """
        if self.trained - as_evaluated >= _PARTED:
            cause = (
                "evaluation sees another network than training does (in evaluation it is right "
                f"for {as_evaluated:.0%} of training clips, in training for {self.trained:.0%}): "
                "the batch norms' statistics lag behind; set model.freeze_norm=true or "
                "engine.norm_batches=16 in a new run.folder"
            )
        elif self.trained <= self.chance + _PARTED:
            cause = (
                "little has been learnt; train longer (schedule.epochs), balance rare classes "
                "(data.balance), or train the classifier only (model.freeze_backbone=true)"
            )
        else:
            cause = (
                "the videos of data.valid differ from those of data.train, or labels are wrong; "
                "compare the two with 'movinet data scan'"
            )
        return f"{self.finding}; {cause}"


def find_doubt(
    guesses: NDArray[np.int64], targets: NDArray[np.int64], labels: Sequence[str], trained: float
) -> Doubt | None:
    """Check the predictions of a single-label evaluation.

    Args:
        guesses: (samples,) predicted classes.
        targets: (samples,) classes.
        labels: Names of the classes.
        trained: Share of training clips that were right in the updates before.

    Returns:
        A doubt if nearly all samples are predicted as one class that few of them have, or if mean
        recall is at chance while training is right for much more; else None.
    """
    present = np.unique(targets)
    if len(targets) < _LEAST or len(present) < 2:
        return None
    chance = 1 / len(present)
    most = int(np.bincount(guesses).argmax())
    share, own = float((guesses == most).mean()), float((targets == most).mean())
    if share >= _NEARLY_ALL and share - own >= _EXCESS:
        finding = f"{share:.0%} of data.valid is predicted as {labels[most]!r}, which {own:.0%} is"
        return Doubt(finding, trained, chance)
    accuracy = float((guesses == targets).mean())
    recall = float(np.mean([(guesses[targets == c] == c).mean() for c in present]))
    if recall <= chance + _AT_CHANCE * (1 - chance) and trained - accuracy >= _PARTED:
        finding = f"evaluation is at chance ({recall:.0%} mean recall), training at {trained:.0%}"
        return Doubt(finding, trained, chance)
    return None
