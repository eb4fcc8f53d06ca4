"""What the tests of the examples share: an exported model, and packages from npm."""

from collections.abc import Callable
from pathlib import Path

import pytest

import movinet
import npm
from js_models import NO_WASM, WASM
from movinet.weights.factory import load_model

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="session")
def npm_install() -> Callable[[str], Path]:
    """Installs the packages of an example as its lock file says, once for all processes."""
    return lambda example: npm.install(EXAMPLES / example)


@pytest.fixture(scope="session")
def native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package's model as .mvn."""
    if not WASM:
        pytest.skip(NO_WASM)
    path = tmp_path_factory.mktemp("native") / "motions.mvn"
    movinet.export(load_model(None, "motions"), path)
    return path


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package's model as .onnx."""
    for package in ("onnx", "onnxruntime"):
        pytest.importorskip(package, reason=f"needs {package}, of the extra onnx")
    path = tmp_path_factory.mktemp("exported") / "motions.onnx"
    movinet.export(load_model(None, "motions"), path)
    return path
