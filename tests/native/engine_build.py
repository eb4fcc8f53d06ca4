"""The folder that `make` compiles the engine in; the tests go on from what is there."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

FOLDER = Path(__file__).resolve().parents[2] / "build" / "native" / "engine"


@contextlib.contextmanager
def engine_folder() -> Iterator[Path]:
    """The folder, for one process at a time; empty where nobody has compiled yet."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with FileLock(FOLDER.with_suffix(".lock")):
        yield FOLDER
