"""Timing shared by the benchmarks: things take turns, so that a machine that drifts slows all."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping


def take_turns(
    functions: Mapping[str, Callable[[], object]], rounds: int
) -> dict[str, list[float]]:
    """Seconds of each call; every function once for warming up, then `rounds` times in turn."""
    for function in functions.values():
        function()
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - start)
    return times


def report(times: Mapping[str, list[float]], unit: str = "ms") -> None:
    """Minimum, quartiles, and how much faster the first one is than each (ratio of medians)."""
    scale = {"ms": 1e3, "s": 1.0}[unit]
    width = max(len(name) for name in times)
    first = statistics.median(next(iter(times.values())))
    print(f"{'':{width}}  {'min':>9} {'25 %':>9} {'median':>9} {'75 %':>9} {unit}   ratio to first")
    for name, values in times.items():
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        numbers = " ".join(f"{scale * v:9.2f}" for v in (min(values), low, median, high))
        print(f"{name:{width}}  {numbers}      {median / first:6.2f}")
