"""What the tests of downloads fetch, and what they look at afterwards."""

from __future__ import annotations

import hashlib

import pytest

from movinet.catalog.published import find_card
from movinet.errors import DownloadError
from movinet.weights.download import fetch
from movinet.weights.http import Patience
from movinet.weights.store import cache_dir

CARD = find_card("a0_base", "kinetics-600")
QUICK = Patience(timeout=10, attempts=3, backoff=0.001)
ONCE = Patience(timeout=10, attempts=1)
#: what another process does; the line on stderr appears if it waits
FETCH = f"""
from movinet.catalog.published import find_card
from movinet.weights.download import fetch
print(fetch(find_card({CARD.preset!r}, {CARD.dataset!r}), progress=True))
"""


def left_files() -> set[str]:
    """What lies in the cache beside locks."""
    folder = cache_dir() / "downloads"
    names = {path.name for path in folder.iterdir()} if folder.exists() else set()
    return {name for name in names if not name.endswith(".lock")}


def failure(patience: Patience = QUICK) -> str:
    """The message of a failed fetch: one line."""
    with pytest.raises(DownloadError) as caught:
        fetch(CARD, patience=patience)
    message = str(caught.value)
    assert "\n" not in message
    return message


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
