"""Mixing the clips of a batch: mixup and cutmix."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from movinet.training.config import AugmentSection


def mix(
    video: Tensor, targets: Tensor, config: AugmentSection, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Mix each clip of a batch with another one; one share for the whole batch.

    Args:
        video: (batch, 3, time, height, width) float.
        targets: (batch, classes) probabilities.
        config: With both kinds on, each batch draws one of them.
        generator: Draws; on the CPU.

    Returns:
        Video and targets. Mixup (arXiv 1710.09412) adds two clips, cutmix (arXiv 1905.04899) puts
        a box of one into the other, in all frames; targets are mixed in the same shares.
    """
    kinds = [kind for kind in ("mixup", "cutmix") if getattr(config, kind) > 0]
    if not kinds or len(video) < 2:
        return video, targets
    rng = np.random.default_rng(int(torch.randint(2**63 - 1, (), generator=generator)))
    kind = kinds[rng.integers(len(kinds))]
    alpha = getattr(config, kind)
    share = rng.beta(alpha, alpha)
    other = torch.from_numpy(rng.permutation(len(video))).to(video.device)
    if kind == "mixup":
        video = torch.lerp(video[other], video, share)
    else:
        rows, columns = _box(video.shape[3], video.shape[4], share, rng)
        video = video.clone()
        video[..., rows, columns] = video[..., rows, columns][other]
        cut = (rows.stop - rows.start) * (columns.stop - columns.start)
        share = 1 - cut / (video.shape[3] * video.shape[4])
    return video, torch.lerp(targets[other], targets, share)


def _box(height: int, width: int, share: float, rng: np.random.Generator) -> tuple[slice, slice]:
    """A box of ``1 - share`` of the area around a random place, cut at the edges."""
    sides = []
    for length in (height, width):
        centre = rng.uniform(0, length)
        half = length * (1 - share) ** 0.5 / 2
        low, high = max(0, round(centre - half)), min(length, round(centre + half))
        sides.append(slice(low, max(low, high)))
    return sides[0], sides[1]
