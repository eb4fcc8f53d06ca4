"""Weights that lie in the package: small, trained by the project's own commands."""

from __future__ import annotations

from pathlib import Path

#: Name for `weights=` -> file here. Each has a card beside it, `<name>.md`.
EMBEDDED = {"motions": "motions.safetensors"}


def embedded_path(name: str) -> Path:
    """The file of embedded weights, by their name."""
    return Path(__file__).parent / EMBEDDED[name]
