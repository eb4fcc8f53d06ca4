"""Real weights and videos of others: used where they are, never part of the project.

They are looked for in the folder that MOVINET_REAL_DATA names, else in ``shared/real`` beside the
repository.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_BESIDE = Path(__file__).parent.parent.parent / "shared" / "real"


def real_file(*parts: str) -> Path:
    """A file or folder of the material; the test is skipped where it is missing."""
    path = Path(os.environ.get("MOVINET_REAL_DATA", _BESIDE)).joinpath(*parts)
    if not path.exists():
        pytest.skip("real material is not here")
    return path


def real_video(name: str) -> Path:
    """A video of the folder ``videos`` beside the material; as `real_file`."""
    path = real_file().parent / "videos" / name
    if not path.exists():
        pytest.skip("real material is not here")
    return path


def pixels_as_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read videos without making their pixels square, as the stored logits were computed.

    One of the clips has 340 by 256 pixels that are shown as 427 by 256.
    """
    monkeypatch.setattr("movinet.video.pixels.shown_size", lambda width, height, _: (width, height))
