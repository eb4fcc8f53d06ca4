"""Results of watching, for tests."""

from __future__ import annotations

import time
from collections.abc import Generator

from movinet.live import LiveResult


def seen(results: Generator[LiveResult], count: int, seconds: float = 20) -> list[LiveResult]:
    """Some results, and the end of watching."""
    found, end = [], time.monotonic() + seconds
    try:
        for result in results:
            found.append(result)
            if len(found) == count or time.monotonic() > end:
                break
    finally:
        results.close()
    return found
