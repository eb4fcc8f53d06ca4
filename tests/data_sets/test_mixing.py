"""Mixup and cutmix of batches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from movinet.training.batches.mixing import mix
from movinet.training.config import AugmentSection


def mixed(batch: int = 4, seed: int = 0, **config: Any) -> tuple[Tensor, Tensor]:
    """Clip i has the value i everywhere and is of class i."""
    video = torch.arange(batch).float().view(-1, 1, 1, 1, 1).expand(-1, 3, 2, 12, 16)
    generator = torch.Generator().manual_seed(seed)
    return mix(video, torch.eye(batch), AugmentSection(**config), generator)


@pytest.mark.parametrize("config", [{"mixup": 0.8}, {"cutmix": 1.0}, {"mixup": 0.2, "cutmix": 0.5}])
def test_targets_are_shares_of_what_a_clip_shows(config: dict[str, Any]) -> None:
    values = torch.arange(4).float()
    for seed in range(50):
        video, targets = mixed(seed=seed, **config)
        assert video.shape == (4, 3, 2, 12, 16)
        assert torch.allclose(targets.sum(1), torch.ones(4))
        assert torch.allclose(video.mean((1, 2, 3, 4)), targets @ values, atol=1e-5)


def test_mixup_adds_whole_clips() -> None:
    shares = []
    for seed in range(200):
        video, targets = mixed(seed=seed, mixup=1.0)
        assert (video.amax((1, 2, 3, 4)) - video.amin((1, 2, 3, 4))).max() < 1e-6
        shares.append(targets.diagonal().min().item())
    assert min(shares) < 0.05
    assert max(shares) > 0.95


def test_cutmix_puts_one_box_into_all_frames() -> None:
    boxes = set()
    for seed in range(100):
        video, _ = mixed(seed=seed, cutmix=1.0)
        assert (video == video[:, :1, :1]).all()
        assert (video % 1 == 0).all()
        changed = (video[:, 0, 0] != torch.arange(4.0).view(-1, 1, 1)).any(0)
        if changed.any():
            rows, columns = changed.any(1).nonzero().flatten(), changed.any(0).nonzero().flatten()
            box = changed[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            assert box.all()
            boxes.add((*rows.tolist(), -1, *columns.tolist()))
    assert len(boxes) > 50


def test_alpha_says_how_much_is_mixed() -> None:
    def evenness(alpha: float) -> float:
        shares = [mixed(2, seed, mixup=alpha)[1].flatten().min().item() for seed in range(200)]
        return sum(shares) / len(shares)

    assert evenness(0.1) < 0.1 < 0.15 < evenness(8.0)


def test_the_generator_decides() -> None:
    first, second = (mixed(seed=3, mixup=0.8, cutmix=1) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    videos = [mixed(seed=seed, mixup=1, cutmix=1)[0] for seed in range(30)]
    assert {bool((video % 1 == 0).all()) for video in videos} == {True, False}  # both kinds come


def test_what_is_off_changes_nothing() -> None:
    video, targets = torch.rand(3, 3, 2, 4, 4), torch.eye(3)
    generator = torch.Generator().manual_seed(0)
    out = mix(video, targets, AugmentSection(), generator)
    assert out[0] is video
    assert out[1] is targets
    single = mix(video[:1], targets[:1], AugmentSection(mixup=1), generator)
    assert torch.equal(single[0], video[:1])
