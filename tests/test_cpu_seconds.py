"""A test that takes long and does not say so fails the gate."""

import subprocess
import sys
from pathlib import Path

TESTS = """
import time

import pytest


def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_quick():
    pass


def test_slow():
    burn(0.5)


@pytest.mark.heavy
def test_marked():
    burn(0.5)
"""


def test_a_slow_test_without_a_mark_fails(tmp_path: Path) -> None:
    conftest = Path(__file__).with_name("conftest.py").read_text(encoding="utf-8")
    assert "UNMARKED, HEAVY = 10.0, 30.0" in conftest
    smaller = conftest.replace("UNMARKED, HEAVY = 10.0", "UNMARKED, HEAVY = 0.3")
    (tmp_path / "conftest.py").write_text(smaller, encoding="utf-8")
    (tmp_path / "test_it.py").write_text(TESTS, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = heavy\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    assert "3 passed, 1 error" in done.stdout
    assert "ERROR test_it.py::test_slow - Failed: it took" in done.stdout
