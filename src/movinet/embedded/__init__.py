"""Models that lie in the package: small, trained by the project's own commands."""

from __future__ import annotations

from pathlib import Path

#: Name for `weights=` -> its files here: weights for PyTorch, and the same exported, which run
#: without. Each has a card beside it, `<name>.md`.
EMBEDDED = {"motions": ("motions.safetensors", "motions.tflite")}


def embedded_path(name: str) -> Path:
    """The file of embedded weights, by their name."""
    return Path(__file__).parent / EMBEDDED[name][0]


def exported_path(name: str) -> Path:
    """The exported model with these weights."""
    return Path(__file__).parent / EMBEDDED[name][1]
