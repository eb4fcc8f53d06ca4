"""The base install on a fresh machine: what `make demo` sets up, in an environment of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CLIP = ROOT / "src" / "movinet" / "demo" / "clip.mp4"
#: The most that the base install may take, bytes, without pip and what comes with an environment.
LIMIT = 280e6
_OF_THE_ENVIRONMENT = ("pip", "setuptools", "pkg_resources", "_distutils_hack")


def call(*command: object) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def bin_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that the Makefile set up for the demo."""
    folder = tmp_path_factory.mktemp("base") / "venv"
    call("make", f"VENV={folder}", f"PYTHON={sys.executable}", folder / "base.stamp")
    return folder / "bin"


@pytest.mark.heavy
@pytest.mark.timeout(1800)
def test_the_base_install_is_small_and_predicts(bin_folder: Path, tmp_path: Path) -> None:
    python, movinet = bin_folder / "python", bin_folder / "movinet"
    found = call(
        python, "-c", "import importlib.util as u; print(u.find_spec('torch'), u.find_spec('jax'))"
    )
    assert found.stdout == "None None\n"

    (packages,) = (bin_folder.parent / "lib").glob("python*/site-packages")
    size = sum(
        file.stat().st_size
        for file in packages.rglob("*")
        if file.is_file()
        and not file.relative_to(packages).parts[0].startswith(_OF_THE_ENVIRONMENT)
    )
    assert size <= LIMIT, f"{size / 1e6:.0f} MB"

    done = call(movinet, "predict", CLIP, "--weights", "motions", "--json")
    (result,) = json.loads(done.stdout)["results"]
    assert result["predictions"][-1]["top"][0]["label"] == "turning right"
    assert "warning" not in done.stderr

    loaded = (
        "import movinet, sys; print(*sorted({'numpy', 'av', 'ai_edge_litert'} & {*sys.modules}))"
    )
    assert call(python, "-c", loaded).stdout == "\n"

    (tmp_path / "turning right").mkdir()
    shutil.copy(CLIP, tmp_path / "turning right")
    evaluated = call(movinet, "eval", "--data", tmp_path, "--json")
    assert json.loads(evaluated.stdout)["top1"] == 1
