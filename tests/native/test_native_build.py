"""The package builds with its engine where it can, and without it everywhere."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from engine_build import build_hook, compile_for_tests, compiled, engine_folder

ROOT = Path(__file__).resolve().parents[2]
#: Calls what pip calls, in the folder of the project.
BACKEND = "import hatchling.build as b, sys; print(getattr(b, sys.argv[1])(*sys.argv[2:]))"


def backend(function: str, *arguments: str | Path, **environment: str) -> tuple[int, str]:
    """Exit code and everything said."""
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("CXX", "MOVINET"))}
    done = subprocess.run(
        [sys.executable, "-c", BACKEND, function, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        cwd=ROOT,
        env=variables | environment,
    )
    return done.returncode, done.stdout


@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler")
@pytest.mark.skipif(not (ROOT / ".venv" / "native.stamp").exists(), reason="not set up by make")
def test_the_engine_is_here_where_a_compiler_is() -> None:
    """Without it the tests of the engine would be left out in silence."""
    for name in ("_native", "_native_kernels"):
        found = importlib.util.find_spec(f"movinet.{name}")
        assert found is not None, f"no {name}: remove .venv/native.stamp, and make it again"


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"CXX": "/no/such/compiler"}, "CXX=/no/such/compiler is not there"),
        ({"PATH": "/no/such/folder"}, "there is no C++ compiler"),
        ({"MOVINET_NATIVE": "0"}, "MOVINET_NATIVE is 0"),
        # A program that is there, and fails.
        ({"CXX": "false"}, "configuring with CMake failed"),
    ],
    ids=["named", "none", "unwanted", "broken"],
)
def test_a_wheel_without_a_compiler(
    tmp_path: Path, environment: dict[str, str], reason: str
) -> None:
    code, said = backend("build_wheel", tmp_path, **environment)
    assert code == 0, said
    told = [line for line in said.splitlines() if "without its native engine" in line]
    assert len(told) == 1, said
    assert reason in told[0]
    (wheel,) = tmp_path.iterdir()
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "movinet/embedded/motions.tflite" in names
    assert not [name for name in names if "_native." in name]


def test_an_engine_that_must_be_there(tmp_path: Path) -> None:
    code, said = backend("build_wheel", tmp_path, CXX="false", MOVINET_NATIVE="1")
    assert code == 1
    assert said.splitlines()[-1] == (
        "movinet's native engine is not built: configuring with CMake failed"
    )
    code, said = backend("build_wheel", tmp_path, MOVINET_NATIVE="yes")
    assert code == 1
    assert said.startswith("MOVINET_NATIVE is 'yes': ")
    assert not list(tmp_path.iterdir())


def test_an_environment_without_it_leaves_the_others_theirs(tmp_path: Path) -> None:
    """Environments may share the sources, and with them the engine that lies there."""
    package = ROOT / "src" / "movinet"
    before = sorted(package.glob("_native.*.so"))
    # hatchling wants a package for the end of this; the hook has run by then.
    _, said = backend("build_editable", tmp_path, MOVINET_NATIVE="0")
    assert "MOVINET_NATIVE is 0" in said
    assert sorted(package.glob("_native.*.so")) == before


def test_tools_are_asked_for_only_where_they_are_used() -> None:
    assert backend("get_requires_for_build_wheel", CXX="/no/such/compiler") == (0, "[]\n")
    code, said = backend("get_requires_for_build_wheel", CXX=sys.executable)
    assert code == 0, said
    assert "nanobind" in said


def test_the_source_archive_has_the_engine(tmp_path: Path) -> None:
    code, said = backend("build_sdist", tmp_path)
    assert code == 0, said
    (path,) = tmp_path.iterdir()
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"CMakeLists.txt", "build_hook.py", "include/movinet.h", "src/network.cpp"}
    assert names >= {f"native/{name}" for name in wanted} | {"pyproject.toml"}
    assert not [name for name in names if name.endswith(".so")]


@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler")
def test_users_compile_the_engine_and_nothing_else(tmp_path: Path) -> None:
    """What is different from the build of `make`, without the minutes of compiling it."""
    cmake = build_hook().configure_engine(ROOT / "native", tmp_path, for_tests=False)
    # Fails if a source is missing, and prints what it would do.
    command = [cmake, "--build", tmp_path, "--verbose", "--", "-n"]
    plan = subprocess.run(command, capture_output=True, text=True, check=False)
    assert plan.returncode == 0, plan.stdout
    sources = set(re.findall(r"native/(\w+/\w+\.c(?:pp)?)\b", plan.stdout))
    assert sources == {f"src/{path.name}" for path in (ROOT / "native" / "src").glob("*.cpp")}


@pytest.mark.heavy
@pytest.mark.timeout(900)
@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler")
@pytest.mark.parametrize(
    "from_nothing", [False, pytest.param(True, marks=pytest.mark.nightly)], ids=["kept", "nothing"]
)
def test_a_wheel_with_the_engine(tmp_path: Path, from_nothing: bool) -> None:
    """Compiled from nothing or from what is there, unpacked elsewhere, and run."""
    if from_nothing:
        code, said = backend("build_wheel", tmp_path, MOVINET_NATIVE="1")
    else:
        with engine_folder() as folder:
            compile_for_tests(folder)
            before = compiled(folder)
            kept = {"MOVINET_NATIVE_BUILD": str(folder)}
            kept |= {"CXX": os.environ["CXX"]} if "CXX" in os.environ else {}
            code, said = backend("build_wheel", tmp_path, MOVINET_NATIVE="1", **kept)
            assert before
            assert compiled(folder) == before, "the gate compiles the engine once"
    assert code == 0, said
    (wheel,) = tmp_path.iterdir()
    assert f"-cp{sys.version_info[0]}{sys.version_info[1]}-" in wheel.name
    with zipfile.ZipFile(wheel) as archive:
        assert not [name for name in archive.namelist() if "_native_kernels" in name]
        archive.extractall(tmp_path / "unpacked")
    (module,) = (tmp_path / "unpacked" / "movinet").glob("_native.*.so")
    run = "from movinet import _native; print(_native.__file__, _native.available_kernels())"
    done = subprocess.run(
        [sys.executable, "-c", run],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "unpacked")},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(module))
    assert "baseline" in done.stdout
