"""What the tests of the examples share: an exported model, and packages from npm."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

import movinet
from movinet.weights.factory import load_model

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="session")
def npm_install() -> Callable[[str], Path]:
    """Installs the packages of an example as its lock file says, once for all processes."""

    def install(example: str) -> Path:
        lock = EXAMPLES / example / "package-lock.json"
        installed = lock.parent / "node_modules"
        stamp = installed / "installed-lock.json"
        with FileLock(lock.with_name(".install.lock")):
            if not stamp.is_file() or stamp.read_bytes() != lock.read_bytes():
                command = ["npm", "ci", "--prefer-offline"]
                done = subprocess.run(
                    command, capture_output=True, text=True, check=False, cwd=lock.parent
                )
                assert done.returncode == 0, done.stderr
                shutil.copyfile(lock, stamp)
        return installed

    return install


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package's model as .onnx."""
    for package in ("onnx", "onnxruntime"):
        pytest.importorskip(package, reason="needs the extra onnx")
    path = tmp_path_factory.mktemp("exported") / "motions.onnx"
    movinet.export(load_model(None, "motions"), path)
    return path
