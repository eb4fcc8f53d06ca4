"""Mixing the clips of a batch: mixup and cutmix."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from movinet.training.config import AugmentSection


def mix(
    video: Tensor, targets: Tensor, config: AugmentSection, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Mix each clip of a batch with another one; one share for the whole batch.

    Args:
        video: (batch, 3, time, height, width).
        targets: (batch, classes) probabilities.
        config: With both kinds on, each batch draws one of them.
        generator: Draws; on the CPU.

    Returns:
        Video and targets. Mixup (arXiv 1710.09412) adds two clips, cutmix (arXiv 1905.04899) puts
        a box of one into the other, in all frames; targets are mixed in the same shares.
    """
    kinds = [kind for kind in ("mixup", "cutmix") if getattr(config, kind) > 0]
    if not kinds or video.shape[0] < 2:
        return video, targets
    kind = kinds[int(torch.randint(len(kinds), (), generator=generator))]
    share = _beta(getattr(config, kind), generator)
    other = torch.randperm(video.shape[0], generator=generator).to(video.device)
    if kind == "mixup":
        video = video * share + video[other] * (1 - share)
    else:
        rows, columns = _box(video.shape[3], video.shape[4], share, generator)
        video = video.clone()
        video[..., rows, columns] = video[other][..., rows, columns]
        cut = (rows.stop - rows.start) * (columns.stop - columns.start)
        share = 1 - cut / (video.shape[3] * video.shape[4])
    return video, targets * share + targets[other] * (1 - share)


def _beta(alpha: float, generator: Generator) -> float:
    """A draw from beta(alpha, alpha)."""
    draws = torch._standard_gamma(torch.full((2,), alpha, dtype=torch.float64), generator)
    return float(draws[0] / draws.sum().clamp(min=1e-300))


def _box(height: int, width: int, share: float, generator: Generator) -> tuple[slice, slice]:
    """A box of ``1 - share`` of the area around a random centre, cut at the edges."""
    sides = []
    for length in (height, width):
        centre = int(torch.randint(length, (), generator=generator))
        half = length * (1 - share) ** 0.5 / 2
        low, high = max(0, round(centre - half)), min(length, round(centre + half))
        sides.append(slice(low, max(low, high)))
    return sides[0], sides[1]
