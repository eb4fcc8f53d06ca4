"""Compile the engine to WebAssembly with zig's compiler, which is a package of PyPI (ziglang).

Makes two modules of the same functions: movinet-simd128.wasm for every engine with vectors, and
movinet-relaxed.wasm for those that have fused multiplications, too; whoever loads them chooses,
since an engine refuses a module whose instructions it does not know.

zig builds C++'s library for WebAssembly without exceptions. The engine throws them, so the few
files of the library that it needs are compiled here, from the sources that zig brings along.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

NATIVE = Path(__file__).parent
SETS = {"simd128": ["-msimd128"], "relaxed": ["-msimd128", "-mrelaxed-simd"]}
#: What movinet.h declares and a page or Node.js calls.
FUNCTIONS = (
    *("malloc", "free", "movinet_error", "movinet_load_memory", "movinet_get_info"),
    *("movinet_manifest", "movinet_stream_new", "movinet_stream_free", "movinet_reset"),
    *("movinet_step", "movinet_embedding", "movinet_snapshot_write", "movinet_snapshot_read"),
)
SOURCES = ("api", "blocks", "file", "json", "layers", "load", "network", "snapshot")
#: Of C++'s library and of its runtime.
LIBRARY = ("charconv", "stdexcept", "string")
RUNTIME = (
    *("abort_message", "cxa_aux_runtime", "cxa_default_handlers", "cxa_exception"),
    *("cxa_exception_storage", "cxa_handlers", "cxa_personality", "cxa_virtual"),
    *("fallback_malloc", "private_typeinfo", "stdlib_exception", "stdlib_new_delete"),
    *("stdlib_stdexcept", "stdlib_typeinfo"),
)
TARGET = ["-target", "wasm32-wasi", "-g0", "-DNDEBUG"]
#: zig's driver does not hand the first one on to the code generator.
EXCEPTIONS = ["-fwasm-exceptions", "-mexception-handling", "-mllvm", "-wasm-enable-eh"]
STACK_BYTES = 1 << 18


def zig(*arguments: str | Path) -> None:
    """Run zig; its messages are worth reading only where it fails."""
    command = [sys.executable, "-m", "ziglang", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"error: {' '.join(command)}\n{done.stdout}{done.stderr}")


def engine_jobs(objects: Path) -> list[list[str | Path]]:
    """Arguments for each object of the engine."""
    common = [*TARGET, *EXCEPTIONS, "-std=c++20", "-I", NATIVE / "include", "-I", NATIVE / "src"]
    compile_ = ["c++", *common, "-c", "-Wall", "-Wextra"]
    jobs: list[list[str | Path]] = [
        [*compile_, "-O2", "-msimd128", "-o", objects / f"{name}.o", NATIVE / "src" / f"{name}.cpp"]
        for name in SOURCES
    ]
    for name, flags in SETS.items():
        defines = [f"-DMOVINET_ISA={name}", '-DMOVINET_SIMD="simd/wasm.h"']
        fast = [*compile_, "-O3", "-ffp-contract=fast", *flags, *defines]
        jobs.append([*fast, "-o", objects / f"kernels-{name}.o", NATIVE / "src" / "kernels.cpp"])
        dispatch = objects / f"dispatch-{name}.o"
        jobs.append([*compile_, "-O2", *flags, "-o", dispatch, NATIVE / "src" / "dispatch.cpp"])
    return jobs


def library_jobs(objects: Path) -> list[list[str | Path]]:
    """Arguments for each object of C++'s library and runtime."""
    import ziglang

    zig_lib = Path(ziglang.__file__).parent / "lib"
    folders = ("libcxxabi/include", "libcxxabi/src", "libcxx/src", "libcxx/src/include")
    folders += ("libcxx/libc", "libunwind/include")
    names = ("_LIBCPP_BUILDING_LIBRARY", "_LIBCXXABI_BUILDING_LIBRARY", "_LIBCXXABI_HAS_NO_THREADS")
    names += ("LIBCXX_BUILDING_LIBCXXABI", "LIBCXXABI_SILENT_TERMINATE", "_LIBUNWIND_HIDE_SYMBOLS")
    names += ("_LIBUNWIND_DISABLE_VISIBILITY_ANNOTATIONS",)
    flags: list[str | Path] = [*TARGET, *EXCEPTIONS, "-O2", "-w", "-c"]
    flags += [f"-D{name}" for name in names]
    flags += [part for folder in folders for part in ("-I", zig_lib / folder)]
    files = [zig_lib / "libcxx" / "src" / f"{name}.cpp" for name in LIBRARY]
    files += [zig_lib / "libcxxabi" / "src" / f"{name}.cpp" for name in RUNTIME]
    jobs = [["c++", *flags, "-std=c++23", "-o", objects / f"{f.stem}.o", f] for f in files]
    unwind, tag = zig_lib / "libunwind/src/Unwind-wasm.c", NATIVE / "src/wasm/exception_tag.S"
    jobs.append(["cc", *flags, "-o", objects / "unwind.o", unwind])
    jobs.append(["cc", *TARGET, "-mexception-handling", "-c", "-o", objects / "tag.o", tag])
    return jobs


def link(name: str, objects: Path, target: Path) -> None:
    """One module, which appears whole or not at all."""
    stems = [*SOURCES, *LIBRARY, *RUNTIME, "unwind", "tag", f"kernels-{name}", f"dispatch-{name}"]
    exports = [f"-Wl,--export={function}" for function in FUNCTIONS]
    flags = ["-nostdlib++", "-mexec-model=reactor", "-s", "-Wl,--gc-sections"]
    flags.append(f"-Wl,-z,stack-size={STACK_BYTES}")
    made = objects / f"{name}.wasm"
    files = [objects / f"{stem}.o" for stem in stems]
    zig("c++", *TARGET, "-fwasm-exceptions", *flags, *exports, "-o", made, *files)
    made.chmod(0o644)
    made.replace(target)


def main() -> None:
    """Compile everything, then link one module for each set of kernels."""
    parser = argparse.ArgumentParser(description="Compile the engine to WebAssembly.")
    parser.add_argument("output", type=Path, help="folder for the modules")
    parser.add_argument("objects", type=Path, help="folder for everything else")
    options = parser.parse_args()
    for folder in (options.output, options.objects):
        folder.mkdir(parents=True, exist_ok=True)
    jobs = engine_jobs(options.objects) + library_jobs(options.objects)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda job: zig(*job), jobs))
    for name in SETS:
        target = options.output / f"movinet-{name}.wasm"
        link(name, options.objects, target)
        print(f"{target}: {target.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
