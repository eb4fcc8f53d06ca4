"""The example in C, and the rest of movinet.h, give what Python gives."""

import shutil
from pathlib import Path

import native_cases
import numpy as np
import pytest
from engine_build import compile_for_tests, engine_folder
from native_programs import check, example, replay

native = pytest.importorskip("movinet._native", reason="the native engine is not built")

# It compiles the engine where nobody has, and where its sources have changed since.
pytestmark = [pytest.mark.heavy, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs, of the library that `make` has compiled, or compiles here once."""
    programs = tmp_path_factory.mktemp("programs")
    with engine_folder() as folder:
        compile_for_tests(folder)
        for name in ("movinet_stream", "movinet_replay"):
            shutil.copy(folder / name, programs)
    return programs


def python_embeddings(case: Path) -> np.ndarray:
    """Those of the first stream after each frame, (time, channels)."""
    engine = native.Engine(str(case))
    streams = np.load(case.with_suffix(".npy")).shape[1]
    frames = np.fromfile(case.with_suffix(".f32"), np.float32).reshape(-1, *engine.size, 3)
    one = np.ones(1, np.float32)
    return engine.embed([engine.new_state()], frames[::streams].copy(), one)


def test_c_gives_what_python_gives(build: Path, tmp_path: Path) -> None:
    for name in ("odd", "swish", "one_row"):
        native_cases.write_small(name, tmp_path)
    native_cases.write_reference("a0_stream", tmp_path)
    cases = sorted(tmp_path.glob("*.mvn"))
    assert len(cases) == 8, "small ones are there with int8 weights too, and one with float16"
    for case in cases:
        wanted = np.load(case.with_suffix(".npy"))
        assert len(wanted) >= 4
        check(example(build, case), wanted[:, 0], f"{case.name}, example")
        # This one resets, takes snapshots and goes on from them too.
        check(replay(build, case), wanted, f"{case.name}, replay")
        found = example(build, case, options=["embedding"])
        check(found, python_embeddings(case), f"{case.name}, embedding")

    # A model that cannot be loaded is one line.
    case = tmp_path / "small_odd.mvn"
    case.write_bytes(case.read_bytes()[:-64])
    with pytest.raises(RuntimeError, match=r"1, [^\n]*small_odd\.mvn: not a usable [^\n]*\n$"):
        example(build, case)
