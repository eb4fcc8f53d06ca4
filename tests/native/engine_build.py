"""The folder that `make` compiles the engine in; the tests go on from what is there."""

import contextlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build" / "native" / "engine"


@contextlib.contextmanager
def engine_folder() -> Iterator[Path]:
    """The folder, for one process at a time; empty where nobody has compiled yet."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with FileLock(FOLDER.with_suffix(".lock")):
        yield FOLDER


def build_hook() -> Any:
    """The module that compiles the engine for installations."""
    hook = ROOT / "native" / "build_hook.py"
    spec = importlib.util.spec_from_file_location("build_hook", hook)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def compile_for_tests(folder: Path) -> None:
    """Bring a folder up to date, in the way of `make`: any other would compile all again."""
    build_hook().compile_engine(ROOT / "native", folder, for_tests=True)


def compiled(folder: Path) -> dict[str, int]:
    """When each source of the engine was compiled."""
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*.cpp.o")}
