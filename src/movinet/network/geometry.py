"""Sizes that follow from a configuration: padding and channels, without PyTorch."""

from __future__ import annotations

from movinet.network.config import MoViNetConfig


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's SAME padding (before, after); the odd one goes to the end."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def se_width(config: MoViNetConfig, expand: int) -> tuple[int, int]:
    """Widths of what squeeze-excitation pools and of its hidden layer."""
    pooled = expand * (2 if config.se_type == "2plus3d" else 1)
    return pooled, make_divisible(0.25 * pooled)


def make_divisible(value: float, divisor: int = 8) -> int:
    """`value` rounded to a multiple of `divisor` (ties up), at most 10 % below it."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded
