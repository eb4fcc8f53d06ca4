"""Build the native engine in special ways, and run it over the files of native_cases.py:

    PYTHONPATH=tests python tests/native/native_checks.py {sanitize,aarch64,avx512}
    PYTHONPATH=tests python tests/native/native_checks.py fuzz [SECONDS [SEED]]
    PYTHONPATH=tests python tests/native/native_checks.py wheel PYTHON

The make targets native-sanitize, native-fuzz and native-aarch64 do this, and wheel does it with
the Python of an environment that a wheel is installed in; everything lies below build/native.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import native_cases
import native_emulator
import native_programs

from movinet import _native

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build" / "native"
AARCH64 = "aarch64-linux-gnu"
#: Programs that an emulator needs no libraries for.
STATIC = "-DCMAKE_EXE_LINKER_FLAGS=-static"


def find(tool: str) -> str:
    """A program of this environment, or of the system."""
    found = shutil.which(tool, path=sysconfig.get_path("scripts")) or shutil.which(tool)
    if found is None:
        raise SystemExit(f"{tool} is not installed")
    return found


def build(folder: Path, *options: str) -> None:
    """Build the library and the programs into a folder; what did not change stays."""
    configure = [find("cmake"), "-S", ROOT / "native", "-B", folder, "-G", "Ninja"]
    configure += [f"-DCMAKE_MAKE_PROGRAM={find('ninja')}", f"-DPython_EXECUTABLE={sys.executable}"]
    for command in (
        [*configure, "-DMOVINET_TESTS=ON", *options],
        [configure[0], "--build", folder],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{command}\n{done.stdout}\n{done.stderr}")


def make_cases(folder: Path, *, reference: Sequence[str] = native_cases.REFERENCE) -> None:
    """Write the cases."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in native_cases.SMALL:
        native_cases.write_small(name, folder)
    for name in reference:
        native_cases.write_reference(name, folder)


def build_sanitized(folder: Path) -> None:
    """Build the programs and the Python module with both sanitizers."""
    # RelWithDebInfo: a report then names lines.
    build(folder, "-DMOVINET_SANITIZE=ON", "-DCMAKE_BUILD_TYPE=RelWithDebInfo")


def sanitize(folder: Path, cases: Path) -> None:
    """Run all cases through the sanitized module and programs; CalledProcessError if one fails."""
    gcc = shutil.which(os.environ.get("CXX", "g++")) or "g++"
    libraries = [
        subprocess.check_output([gcc, f"-print-file-name={name}"], text=True).strip()
        for name in ("libasan.so", "libstdc++.so")
    ]
    # Python itself forgets memory at its end, so leaks are looked for in the programs alone.
    environment = os.environ | {
        "LD_PRELOAD": " ".join(libraries),
        "ASAN_OPTIONS": "detect_leaks=0",
        "PYTHONMALLOC": "malloc",
    }
    replay = [sys.executable, Path(__file__).with_name("native_replay.py"), folder, cases]
    subprocess.run(replay, env=environment, check=True)
    native_programs.check_all(folder, cases)


def fuzz(folder: Path, cases: Path, seconds: float, seed: int) -> None:
    """Load damaged files with the sanitized engine; CalledProcessError if that ends it."""
    small = sorted(cases.glob("small_*.mvn"))
    command = [folder / "movinet_fuzz", str(seconds), str(seed), folder, *small]
    subprocess.run(command, check=True)


def build_aarch64(folder: Path) -> None:
    """Build the programs for 64-bit Arm."""
    build(
        folder,
        "-DMOVINET_PYTHON=OFF",
        "-DCMAKE_SYSTEM_NAME=Linux",
        "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
        f"-DCMAKE_C_COMPILER={find(f'{AARCH64}-gcc')}",
        f"-DCMAKE_CXX_COMPILER={find(f'{AARCH64}-g++')}",
        STATIC,
    )


def check_installed(python: Path, cases: Path) -> None:
    """Run all cases with the engine that is installed in another environment.

    Args:
        python: The other environment's, which needs movinet alone.
        cases: Where the cases are.
    """
    # -I: neither this folder nor the sources may be found in the place of what is installed.
    tell = "from movinet import _native; print(_native.__file__, *_native.available_kernels())"
    said = subprocess.check_output([python, "-I", "-c", tell], text=True)
    path, *kernels = said.split()
    print(f"{path}: {', '.join(kernels)}", flush=True)
    if kernels != _native.available_kernels():
        raise SystemExit(f"the engine here has {', '.join(_native.available_kernels())}")
    replay = [python, "-I", Path(__file__).with_name("native_replay.py"), Path(path).parent, cases]
    subprocess.run(replay, check=True)


def main() -> None:
    what, *rest = sys.argv[1:]
    cases = FOLDER / "cases"
    make_cases(cases)
    if what == "wheel":
        check_installed(Path(rest[0]), cases)
        return
    if what == "aarch64":
        build_aarch64(FOLDER / "aarch64")
        qemu = find("qemu-aarch64")
        native_programs.check_all(FOLDER / "aarch64", cases, [qemu])
        # A processor that cannot multiply bytes.
        older, small = [qemu, "-cpu", "cortex-a53"], "small_*_int8.mvn"
        native_programs.check_all(FOLDER / "aarch64", cases, older, small)
        return
    if what == "avx512":
        build(FOLDER / "static", "-DMOVINET_PYTHON=OFF", STATIC)
        native_emulator.check_all(FOLDER / "static", cases, FOLDER / "emulator")
        return
    build_sanitized(FOLDER / "sanitize")
    if what == "sanitize":
        sanitize(FOLDER / "sanitize", cases)
    else:
        seconds, seed = [*rest, "60", "1"][:2] if len(rest) < 2 else rest
        fuzz(FOLDER / "sanitize", cases, float(seconds), int(seed))


if __name__ == "__main__":
    main()
