"""Run the engine's Python module over the files of native_cases.py, and over broken ones:

    python tests/native/native_replay.py BUILD CASES

BUILD holds the module, usually one built with MOVINET_SANITIZE, which ends this process at the
first wrong access. PyTorch stays out: it would make many times as much to watch.
"""

import importlib.util
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

#: Of the largest logit; with small weights, where other instructions may round other ways.
TOLERANCE, HALF_TOLERANCE, INT8_TOLERANCE = 1e-5, 2e-3, 1e-3
#: Between instruction sets that multiply bytes and such that multiply integers of 16 bits.
BYTES_TOLERANCE = 0.02


def load_module(build: Path) -> Any:
    """The module from a build folder, in the place of the installed one."""
    (path,) = build.glob("_native.*.so")
    spec = importlib.util.spec_from_file_location("movinet._native", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def exact(values: np.ndarray) -> np.ndarray:
    """A copy in memory of its own, with nothing to read behind it."""
    return np.frombuffer(bytearray(values.tobytes()), values.dtype).reshape(values.shape)


def replay(native: Any, path: Path, kernels: str) -> float:
    """Run a case in several ways; returns the largest error, of the largest logit."""
    engine = native.Engine(str(path), kernels)
    wanted = np.load(path.with_suffix(".npy"))
    count, streams = wanted.shape[:2]
    frames = np.fromfile(path.with_suffix(".f32"), np.float32)
    frames = frames.reshape(count, streams, *engine.size, 3)
    decays = np.ones(streams, np.float32)
    largest = 0.0
    for chunk in (1, 3, count):
        states = [engine.new_state() for _ in range(streams)]
        outputs = []
        for start in range(0, count, chunk):
            part = exact(frames[start : start + chunk].reshape(-1, *engine.size, 3))
            outputs.append(engine.step(states, part, decays, True))
            # What one snapshot takes, another stream goes on from.
            states = [engine.from_bytes(engine.to_bytes(engine.copy(state))) for state in states]
        found = np.concatenate(outputs).reshape(wanted.shape)
        assert np.isfinite(found).all(), f"{path.name}, {kernels}: not finite"  # max() skips NaN
        largest = max(largest, float(np.abs(found - wanted).max() / np.abs(wanted).max()))
    embedded = [engine.new_state() for _ in range(streams)]
    embeddings = engine.embed(embedded, exact(frames.reshape(-1, *engine.size, 3)), decays)
    last = np.stack([engine.read(state, len(engine.state_shapes) - 1) for state in embedded])
    np.testing.assert_allclose(embeddings[-streams:], last / count, rtol=1e-6)
    for part in range(len(engine.state_shapes)):
        values = engine.read(states[0], part)
        engine.write(states[0], part, exact(values))
        np.testing.assert_array_equal(engine.read(states[0], part), values)
    tolerance = HALF_TOLERANCE if "half" in path.name else TOLERANCE
    if "int8" in path.name:
        best = native.Engine(str(path))  # whose kernels made what is wanted
        same = best.multiplies_bytes == engine.multiplies_bytes
        tolerance = INT8_TOLERANCE if same else BYTES_TOLERANCE
    assert largest <= tolerance, f"{path.name}, {kernels}: off by {largest:.2g} of the largest"
    return largest


def broken(whole: bytes) -> Iterator[bytes]:
    """A file cut at every 64 bytes of its first part, and at every so many of the rest."""
    for end in {*range(0, min(len(whole), 8192), 64), *range(0, len(whole), len(whole) // 200 + 1)}:
        yield whole[:end]
        yield whole[:8] + end.to_bytes(8, "little") + whole[16:end]
    for field in range(0, 512, 4):
        for value in (0, 1, 17, 65536, 2**31 - 1, 2**32 - 1):
            yield whole[:field] + value.to_bytes(4, "little") + whole[field + 4 :]


def complaint(native: Any, path: Path) -> str:
    """Why a file is refused; nothing if it is not."""
    try:
        native.Engine(str(path), "")
    except native.FileError as error:
        return str(error)
    return ""


def refuse(native: Any, path: Path, scratch: Path) -> int:
    """Load broken files; returns how many were refused, each in one line."""
    refused = 0
    whole = path.read_bytes()
    for data in broken(whole):
        scratch.write_bytes(data)
        reason = complaint(native, scratch)
        assert "\n" not in reason
        refused += bool(reason)
    scratch.unlink()
    assert refused > 500
    return refused


def main() -> None:
    build, cases = map(Path, sys.argv[1:])
    native = load_module(build)
    paths = sorted(cases.glob("*.mvn"))
    assert paths, f"no cases in {cases}"
    start = time.monotonic()
    for path in paths:
        # The large ones once, in the way of this machine.
        names = native.available_kernels() if path.name.startswith("small") else [""]
        error = max(replay(native, path, kernels) for kernels in names)
        print(f"{path.name}: within {error:.1g}, {', '.join(names)}", flush=True)
    count = refuse(native, cases / "small_odd.mvn", cases / "broken")
    print(f"{count} broken files refused; {time.monotonic() - start:.0f} s in all")


if __name__ == "__main__":
    main()
