"""Models in Node.js, for the tests of the JavaScript package: `run` is a fixture to import."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import movinet

PACKAGE = Path(movinet.__file__).parent / "web" / "js"
WASM = sorted((PACKAGE / "wasm").glob("*.wasm"))
NO_WASM = "the engine in WebAssembly is not built: make wasm"
needs_wasm = pytest.mark.skipif(not WASM, reason=NO_WASM)
Run = Callable[..., list[Any]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs steps of run_model.mjs on a model, frames (time, height, width, 3) at hand."""
    if shutil.which("node") is None:
        pytest.skip("needs Node.js")
    if not WASM:
        pytest.skip(NO_WASM)

    def run_steps(
        *steps: list[Any],
        frames: np.ndarray | None = None,
        kernels: str | None = None,
        half_life: float | None = None,
    ) -> list[Any]:
        job: dict[str, Any] = {
            "package": (PACKAGE / "index.mjs").as_uri(),
            "kernels": kernels,
            "halfLife": half_life,
            "steps": [[str(p) if isinstance(p, Path) else p for p in step] for step in steps],
        }
        if frames is not None:
            raw = tmp_path / "frames.rgb"
            raw.write_bytes(np.ascontiguousarray(frames, np.uint8).tobytes())
            job |= {"frames": str(raw), "height": frames.shape[1], "width": frames.shape[2]}
        path = tmp_path / "job.json"
        path.write_text(json.dumps(job))
        script = Path(__file__).parent / "web" / "run_model.mjs"
        done = subprocess.run(
            ["node", "--expose-gc", script, path],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run_steps
