"""Run the C programs of the native engine over the files of native_cases.py."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

#: Of the largest logit. In int8 and float16 files another order of additions may round a value to
#: the next integer or half.
TOLERANCE, HALF_TOLERANCE, INT8_TOLERANCE = 1e-5, 2e-3, 1e-3
#: Where one of two machines multiplies bytes and the other one integers of 16 bits.
BYTES_TOLERANCE = 0.02


def run(command: Sequence[str | Path], data: bytes = b"") -> bytes:
    """What a program writes; RuntimeError with its complaint if it fails."""
    done = subprocess.run(command, input=data, capture_output=True, check=False, timeout=600)
    if done.returncode:
        raise RuntimeError(f"{command}: {done.returncode}, {done.stderr.decode()}")
    return done.stdout


def example(
    build: Path, case: Path, runner: Sequence[str] = (), options: Sequence[str] = ()
) -> np.ndarray:
    """What the example prints for the frames of the first stream, (time, classes or channels)."""
    wanted = np.load(case.with_suffix(".npy"))
    frames = np.fromfile(case.with_suffix(".f32"), np.float32).reshape(*wanted.shape[:2], -1)
    command = [*runner, build / "movinet_stream", case, *options]
    said = run(command, frames[:, 0].tobytes())
    return np.array([line.split() for line in said.decode().splitlines()], np.float32)


def replay(build: Path, case: Path, runner: Sequence[str] = ()) -> np.ndarray:
    """The logits of all streams, (time, streams, classes); the program checks the rest."""
    wanted = np.load(case.with_suffix(".npy"))
    frames = case.with_suffix(".f32")
    said = run([*runner, build / "movinet_replay", case, frames, str(wanted.shape[1])])
    return np.frombuffer(said, np.float32).reshape(wanted.shape)


def check(found: np.ndarray, wanted: np.ndarray, what: str, same_machine: bool = True) -> float:
    """The largest error, of the largest logit."""
    assert found.shape == wanted.shape, f"{what}: {found.shape}, not {wanted.shape}"
    error = float(np.abs(found - wanted).max() / np.abs(wanted).max())
    tolerance = TOLERANCE
    if "half" in what:
        tolerance = HALF_TOLERANCE
    if "int8" in what:
        tolerance = INT8_TOLERANCE if same_machine else BYTES_TOLERANCE
    assert error <= tolerance, f"{what}: off by {error:.2g} of the largest logit"
    return error


def check_all(build: Path, cases: Path, runner: Sequence[str] = (), pattern: str = "*.mvn") -> None:
    """Run both programs over all cases.

    Args:
        build: Where the programs are.
        cases: Where the cases are.
        runner: Comes before each program: an emulator, for another machine's.
        pattern: Which cases.
    """
    paths = sorted(cases.glob(pattern))
    assert paths, f"no cases in {cases}"
    for case in paths:
        wanted = np.load(case.with_suffix(".npy"))
        errors = (
            check(example(build, case, runner), wanted[:, 0], f"{case.name}, example", not runner),
            check(replay(build, case, runner), wanted, f"{case.name}, replay", not runner),
        )
        print(f"{case.name}: within {max(errors):.1g} of the largest logit", flush=True)
