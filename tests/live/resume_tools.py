"""Runs of `movinet.watch` that are saved, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import movinet
from movinet.events import Rule, Rules
from movinet.live import Resume, watch
from movinet.live.sinks import Sinks

CLIP = Path(movinet.__file__).parent / "demo" / "clip.mp4"
RULES = Rules(Rule(on=0.5, off=0.4, shortest=0.25, merge=0.25, update=0.5))
HALF_LIFE = 0.3


def made(path: Path, film: Path, runtime: Any, count: int = 6, targets: Any = ()) -> Resume:
    """A file of a run that was left after some results."""
    resume = Resume(path)
    with Sinks(targets, sources=["a"], resume=resume) as sinks:
        results = watch([f"a={film}"], runtime, half_life=HALF_LIFE, rules=RULES, resume=resume)
        for _ in range(count):
            sinks.send(next(results))
        results.close()
    return resume
