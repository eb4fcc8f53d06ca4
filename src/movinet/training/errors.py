"""What goes wrong in training beside bad input."""

from __future__ import annotations

from movinet.errors import MovinetError


class TrainingError(MovinetError):
    """Training cannot go on: it diverged, a process was lost, or there is nothing to work with."""
