"""Damaged files of every kind: each is read or refused in one line, in bounded time and memory.

A crash of an engine would end the tests, so every kind is read in a process of its own. Its output
ends with the seed and the case of what went wrong; `trial.py` takes both.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from strangers.kinds import KINDS
from strangers.once import ONCE

#: Seconds of damage for each kind, at night, and what they may take on a machine with other work.
SECONDS, MOST = 20, 240
TESTS = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from Linux's /proc")


def run(kind: str, folder: Path, *options: object) -> str:
    """The output of `trial.py`, which must end well."""
    if (needs := KINDS[kind].needs) and importlib.util.find_spec(needs) is None:
        pytest.skip(f"needs {needs}, which is not here")
    paths = [str(TESTS), os.environ.get("PYTHONPATH")]
    done = subprocess.run(
        [sys.executable, str(TESTS / "strangers" / "trial.py"), kind, folder, *map(str, options)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=MOST,
        check=False,
    )
    told = f"{kind} {options}: {done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert done.returncode == 0, told
    return done.stdout


@pytest.mark.parametrize("kind", ONCE)
def test_what_once_went_wrong(kind: str, tmp_path: Path) -> None:
    assert "done:" in run(kind, tmp_path, "--once")


@pytest.mark.nightly
@pytest.mark.parametrize("kind", KINDS)
def test_new_damage(kind: str, tmp_path: Path) -> None:
    """Other damage every night; the seed is in the message of a failure."""
    seed = int.from_bytes(os.urandom(4))
    assert "done:" in run(kind, tmp_path, "--seed", seed, "--seconds", SECONDS)
