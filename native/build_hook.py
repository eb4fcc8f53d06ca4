"""Compile the native engine while movinet is built from source (a build hook of hatchling).

What keeps the engine from being built never keeps movinet from being installed: the wheel is then
pure, and exported models run with LiteRT. scikit-build-core can fall back too, but only from a
compilation that fails, not from a missing tool, and its editable installations find modules by an
import hook where hatchling's need a line in a .pth file.

The environment variable MOVINET_NATIVE=0 leaves the engine out, MOVINET_NATIVE=1 makes its absence
an error; CXX names the compiler. MOVINET_NATIVE_BUILD names a folder to compile in, which stays:
the next build with the same compiler compiles only what has changed. It also gets what the tests
run, in the same build: programs in C and, for an editable installation, the module _native_kernels.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_CHOICES = {"": "try", "0": "off", "1": "required"}


class _NotBuiltError(Exception):
    """Why there is no engine, in a few words."""


class NativeBuildHook(BuildHookInterface):
    """Adds movinet/_native, the engine as a Python module, to a wheel."""

    def dependencies(self) -> list[str]:
        """What building needs beyond a compiler; nothing where the engine will not be built."""
        try:
            _check_wanted()
        except _NotBuiltError:
            return []
        found = ["nanobind>=2.4"]
        # A wheel of CMake is for the common platforms only; the system's does as well.
        if _find("cmake") is None:
            found.append("cmake>=3.18")
        if _find("ninja") is None and _find("make") is None:
            found.append("ninja>=1.11")
        return found

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the engine, and put it into the wheel; for an editable one into the sources."""
        package = Path(self.root) / "src" / "movinet"
        try:
            _check_wanted()
            if version == "editable":
                # One of an older source would be worse than none. Where none is wanted it stays:
                # it may be that of another environment over the same sources.
                for name in ("_native", "_native_kernels"):
                    for path in package.glob(f"{name}.*.so"):
                        path.unlink()
            modules = compile_engine(Path(self.root) / "native", *self._build_folder())
        except (_NotBuiltError, OSError) as reason:
            if _CHOICES[_choice()] == "required":
                sys.exit(f"movinet's native engine is not built: {reason}")
            self.app.display_warning(
                f"movinet is built without its native engine, which runs .mvn files: {reason}. "
                "Everything else works; LiteRT runs .tflite files."
            )
            return
        module = modules[0]
        if version == "editable":
            for built in modules:
                shutil.copyfile(built, package / built.name)
        else:
            build_data["force_include"][str(module)] = f"movinet/{module.name}"
            build_data["pure_python"] = False
            build_data["infer_tag"] = True

    def _build_folder(self) -> tuple[Path, bool]:
        """Where to compile, and whether that stays."""
        kept = os.environ.get("MOVINET_NATIVE_BUILD")
        if kept:
            return Path(self.root) / kept, True
        self._temporary = tempfile.TemporaryDirectory(prefix="movinet-native-")
        return Path(self._temporary.name), False

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Remove what was compiled, which is in the wheel now."""
        if hasattr(self, "_temporary"):
            self._temporary.cleanup()


def _choice() -> str:
    choice = os.environ.get("MOVINET_NATIVE", "")
    if choice not in _CHOICES:
        sys.exit(
            f"MOVINET_NATIVE is {choice!r}: 0 leaves the native engine out, 1 makes it an error "
            "if it cannot be built, nothing tries"
        )
    return choice


def _check_wanted() -> None:
    """Raise _NotBuiltError where trying makes no sense."""
    if _CHOICES[_choice()] == "off":
        raise _NotBuiltError("MOVINET_NATIVE is 0")
    if os.name != "posix":
        raise _NotBuiltError("it needs Linux or macOS")
    _compiler()


def _compiler() -> str:
    """The C++ compiler: $CXX, or the usual names."""
    named = os.environ.get("CXX")
    candidates = shlex.split(named)[:1] if named else ["c++", "g++", "clang++"]
    found = next(filter(None, map(shutil.which, candidates)), None)
    if found is None:
        raise _NotBuiltError(f"CXX={named} is not there" if named else "there is no C++ compiler")
    return found


def _find(tool: str) -> str | None:
    """A program that runs, from the environment that builds or from the system.

    In an isolated build, scripts of the environment around it are there but cannot import. Which
    one is found must not hang on PATH: another version of ninja compiles everything again.
    """
    for path in (sysconfig.get_path("scripts"), None):
        found = shutil.which(tool, path=path)
        if found and not subprocess.run([found, "--version"], capture_output=True).returncode:
            return found
    return None


def compile_engine(source: Path, build: Path, for_tests: bool) -> list[Path]:
    """Build the module and, for tests, theirs; raise _NotBuiltError with the step that failed."""
    cmake = configure_engine(source, build, for_tests)
    names = ["_native", "_native_kernels"] if for_tests else ["_native"]
    for name in names:
        for path in build.glob(f"{name}.*.so"):  # in a kept folder: perhaps another Python's
            path.unlink()
    _run("compiling", [cmake, "--build", build, "--parallel", str(os.cpu_count() or 1)])
    modules = [path for name in names for path in build.glob(f"{name}.*.so")]
    if len(modules) != len(names):
        raise _NotBuiltError(f"compiling made {len(modules)} modules, not {len(names)}")
    return modules


def configure_engine(source: Path, build: Path, for_tests: bool) -> str:
    """Prepare a folder for building; returns the program that builds there, CMake."""
    cmake, generator = _find("cmake"), _find("ninja")
    if cmake is None:
        raise _NotBuiltError("there is no cmake")
    configure = [cmake, "-S", source, "-B", build, "-DMOVINET_PYTHON=ON"]
    wanted = "ON" if for_tests else "OFF"
    configure += [f"-DMOVINET_EXAMPLE={wanted}", f"-DMOVINET_TESTS={wanted}"]
    configure.append(f"-DPython_EXECUTABLE={sys.executable}")
    if not os.environ.get("CXX"):
        configure.append(f"-DCMAKE_CXX_COMPILER={_compiler()}")
    if generator is not None:
        configure += ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={generator}"]
    _run("configuring with CMake", configure)
    return cmake


def _run(what: str, command: list[Any]) -> None:
    """Run a step; its output is the build's, which pip shows with -v."""
    done = subprocess.run(list(map(str, command)), check=False)
    if done.returncode:
        raise _NotBuiltError(f"{what} failed")
