"""One streamed frame on one thread: exported models beside the reference's own TF Lite files.

``python benchmarks/streaming.py [--models a0_stream] [--formats tflite] [--rounds 30]``. All take
turns, `--frames` frames each. ``--reference FOLDER`` has the files that
`tools/build_reference_tflite.py` makes; ours are then exported from the same weights, and the
outputs compared first. ``--peer FOLDER`` is a checkout of github.com/Atze00/MoViNet-pytorch (pip
install einops fvcore). ``--exported FOLDER`` keeps our files, or has them: MODEL.tflite, MODEL.onnx
and so on. ``--endless 20000`` then streams that many frames and tells whether latency and memory
stay flat. ``--json`` prints everything as data, ``--plot FILE`` draws it.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import movinet
from movinet.presets import input_spec
from stream_contenders import (
    ReferenceLoop,
    ReferenceStep,
    Step,
    compiled,
    invoke,
    our_step,
    peer,
)

#: Frames of every turn that are not timed: they find the caches full of the one before.
_COLD = 2
_WINDOW = 1000
#: What each kind of measurement adds Python to.
_BELOW = {"stream": "step", "step": "compiled"}


def main() -> None:
    options = parse_options()
    report: dict[str, Any] = {"machine": machine(), "models": {}, "endless": {}}
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.exported or Path(temporary)
        for name in options.models:
            files = our_files(name, folder, options)
            frames = random_frames(name)
            result: dict[str, Any] = {}
            if options.reference:
                result["largest difference"] = compare(reference_file(name, options), files, frames)
            times = measure(contenders(name, files, options), frames, options)
            result["ms"] = {label: quartiles(1e3 * values) for label, values in times.items()}
            result["ratios"] = ratios(times)
            report["models"][name] = result
            show(name, result, options)
            if options.endless:
                kept = endless(files[0], frames, options.endless)
                report["endless"][name] = kept
                show_endless(kept, options)
    if not options.reference:
        print("no --reference: only ours was measured", file=sys.stderr)
    if options.json:
        print(json.dumps(report, indent=1))
    if options.plot:
        plot(report, options.plot)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["a0_stream"])
    parser.add_argument("--formats", nargs="+", default=["tflite"], help="suffixes; one an engine")
    parser.add_argument("--frames", type=int, default=20, help="timed frames of a turn")
    parser.add_argument("--rounds", type=int, default=30, help="turns of each")
    parser.add_argument("--reference", type=Path, help="what build_reference_tflite.py made")
    parser.add_argument("--peer", type=Path, help="a checkout of Atze00/MoViNet-pytorch")
    parser.add_argument("--exported", type=Path, help="where our files are kept")
    parser.add_argument("--endless", type=int, default=0, metavar="FRAMES")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plot", type=Path)
    return parser.parse_args()


def machine() -> dict[str, str]:
    return {"python": platform.python_version(), "system": platform.platform()}


def random_frames(name: str) -> np.ndarray:
    size = input_spec(name).short_side
    return np.random.default_rng(0).integers(0, 256, (32, size, size, 3), np.uint8)


def reference_file(name: str, options: argparse.Namespace) -> Path:
    return options.reference / f"{name.removesuffix('_stream')}.tflite"


def our_files(name: str, folder: Path, options: argparse.Namespace) -> list[Path]:
    """Our files of a model, exported unless they are there."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{name}.{suffix}" for suffix in options.formats]
    missing = [file for file in files if not file.exists()]
    if missing:
        weights = str(options.reference / name[:2]) if options.reference else None
        model = movinet.create_model(name, weights=weights)
        for file in missing:
            movinet.export(model, file, image_size=input_spec(name).image_size)
    return files


def contenders(name: str, files: list[Path], options: argparse.Namespace) -> dict[str, Step]:
    """What takes turns, by label: the kind of measurement, a colon, whose."""
    size = input_spec(name).image_size
    steps: dict[str, Step] = {}
    if options.reference:
        theirs = reference_file(name, options)
        steps["invoke: reference"] = invoke(theirs, size)
        steps["compiled: reference"] = compiled(theirs, size)
        dynamic = theirs.with_name(f"{theirs.stem}_dynamic.tflite")
        if dynamic.exists():
            steps["invoke: reference, int8 weights"] = invoke(dynamic, size)
        steps["step: reference"] = ReferenceStep(theirs)
        steps["stream: reference"] = ReferenceLoop(theirs)
    for file in files:
        suffix = file.suffix[1:]
        if suffix == "tflite":
            steps["invoke: ours, tflite"] = invoke(file, size)
            steps["compiled: ours, tflite"] = compiled(file, size)
        steps[f"step: ours, {suffix}"] = our_step(file)
        steps[f"stream: ours, {suffix}"] = movinet.load(file).stream()
    if options.peer:
        steps["stream: Atze00, PyTorch"] = peer(options.peer, name, size)
    return steps


def compare(theirs: Path, files: list[Path], frames: np.ndarray) -> dict[str, float]:
    """Largest difference of any probability in ten frames, for each of our files."""
    loop = ReferenceLoop(theirs)
    expected = np.stack([loop(frame) for frame in frames[:10]])
    differences = {}
    for file in files:
        stream = movinet.load(file).stream()
        got = np.stack([stream(frame) for frame in frames[:10]])
        differences[file.suffix[1:]] = float(np.abs(got - expected).max())
    return differences


def measure(
    steps: Mapping[str, Step], frames: np.ndarray, options: argparse.Namespace
) -> dict[str, np.ndarray]:
    """Seconds (rounds, frames) of each; all take turns, and another one begins every round."""
    times = {label: np.zeros((options.rounds, options.frames)) for label in steps}
    labels = list(steps)
    for turn in range(options.rounds):
        for label in labels[turn % len(labels) :] + labels[: turn % len(labels)]:
            step = steps[label]
            for number in range(-_COLD, options.frames):
                frame = frames[number % len(frames)]
                start = time.perf_counter()
                step(frame)
                if number >= 0:
                    times[label][turn, number] = time.perf_counter() - start
    return times


def quartiles(values: np.ndarray) -> dict[str, float]:
    low, median, high = np.quantile(values, (0.25, 0.5, 0.75))
    return {"25 %": float(low), "median": float(median), "75 %": float(high)}


def ratios(times: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Ratios within rounds, which a machine that drifts does not change: their quartiles."""
    medians = {label: np.median(values, axis=1) for label, values in times.items()}
    found = {}
    for label, values in medians.items():
        kind, _, whose = label.partition(": ")
        bases = [f"{kind}: reference"] if whose != "reference" else []
        if below := _BELOW.get(kind):
            bases.append(f"{below}: {whose}")
        for base in bases:
            if base in medians:
                found[f"{label} / {base}"] = quartiles(values / medians[base])
    return found


def show(name: str, result: Mapping[str, Any], options: argparse.Namespace) -> None:
    if options.json:
        return
    print(f"{name}: {options.rounds} turns of {options.frames} frames, one thread")
    for suffix, difference in result.get("largest difference", {}).items():
        print(f"  {suffix}: probabilities differ from the reference's by at most {difference:.1e}")
    for title, table in (("ms", result["ms"]), ("ratio in a round", result["ratios"])):
        width = max((len(label) for label in table), default=0)
        print(f"  {title:{width}}     25 %   median     75 %")
        for label, row in table.items():
            print(f"  {label:{width}} {' '.join(f'{value:8.3f}' for value in row.values())}")


def endless(file: Path, frames: np.ndarray, count: int) -> list[dict[str, float]]:
    """One stream for `count` frames: median milliseconds and memory of every thousand frames."""
    stream = movinet.load(file).stream()
    windows = []
    for first in range(0, count, _WINDOW):
        times = []
        for number in range(first, min(first + _WINDOW, count)):
            start = time.perf_counter()
            stream(frames[number % len(frames)])
            times.append(time.perf_counter() - start)
        windows.append(
            {"frame": first + len(times), "ms": 1e3 * float(np.median(times)), "MB": memory()}
        )
    return windows


def memory() -> float:
    """Resident memory of this process in MB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


def show_endless(windows: list[dict[str, float]], options: argparse.Namespace) -> None:
    if options.json:
        return
    print("  one stream:  frame       ms       MB")
    for window in (windows[0], windows[len(windows) // 2], windows[-1]):
        print(f"             {window['frame']:7.0f} {window['ms']:8.3f} {window['MB']:8.1f}")


def plot(report: Mapping[str, Any], file: Path) -> None:
    """Medians with quartiles for each model, and below them the endless streams."""
    from matplotlib.figure import Figure

    rows = list(report["models"].items())
    endless_rows = list(report["endless"].items())
    figure = Figure(figsize=(8, 2.5 * (len(rows) + len(endless_rows))), layout="constrained")
    axes = figure.subplots(len(rows) + len(endless_rows), squeeze=False)[:, 0]
    for axis, (name, result) in zip(axes, rows, strict=False):
        table = result["ms"]
        middle = [row["median"] for row in table.values()]
        spread = [
            [row["median"] - row["25 %"] for row in table.values()],
            [row["75 %"] - row["median"] for row in table.values()],
        ]
        colours = ["tab:gray" if "ours" not in label else "tab:blue" for label in table]
        axis.barh(list(table), middle, xerr=spread, color=colours)
        axis.invert_yaxis()
        axis.set(title=name, xlabel="ms a frame (median, quartiles)")
    for axis, (name, windows) in zip(axes[len(rows) :], endless_rows, strict=True):
        count = [window["frame"] for window in windows]
        axis.plot(count, [window["ms"] for window in windows], label="ms a frame")
        axis.set(title=f"{name}: one stream", xlabel="frame", ylabel="ms a frame", ylim=(0, None))
        other = axis.twinx()
        other.plot(count, [window["MB"] for window in windows], color="tab:orange")
        other.set(ylabel="MB", ylim=(0, None))
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    main()
