"""Engines that run a model on decoded frames, behind one small protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from movinet.runtime.base import ModelInfo, Runtime, Stream

__all__ = ["ModelInfo", "Runtime", "Stream"]


def __getattr__(name: str) -> Any:
    """Load them when they are asked for: the command line reads the table of formats at once."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from movinet.runtime import base

    return getattr(base, name)
