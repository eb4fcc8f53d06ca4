"""One streamed frame on one thread: exported models beside the reference's own TF Lite files.

``python benchmarks/streaming.py [--models a0_stream] [--formats tflite] [--rounds 30]``. All take
turns, `--frames` frames each. ``--reference FOLDER`` has the files that
`tools/build_reference_tflite.py` makes; ours are then exported from the same weights, and the
outputs compared first. ``--peer FOLDER`` is a checkout of github.com/Atze00/MoViNet-pytorch (pip
install einops fvcore). ``--exported FOLDER`` keeps our files, or has them: MODEL.tflite, MODEL.onnx
and so on; ``--also FILE`` is another file of the one model, quantised for example. ``--streams 8``
measures ours stepping that many at once too, as time for each.
``--endless 20000`` then streams that many frames and tells whether latency and memory stay flat.
``--json`` prints everything as data, ``--plot FILE`` draws it.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import movinet
from movinet.network.presets import input_spec
from stream_contenders import (
    OurStreams,
    ReferenceLoop,
    ReferenceStep,
    Step,
    invoke,
    our_step,
    peer,
)

#: Frames of every turn that are not timed: they find the caches full of the one before.
_COLD = 2
_WINDOW = 1000
#: By which probabilities of float32 files may differ.
_TOLERANCE = 1e-3
#: What each kind of measurement adds Python to.
_BELOW = {"streams": "stream", "stream": "step", "step": "invoke"}


def main() -> None:
    options = parse_options()
    report: dict[str, Any] = {"machine": machine(), "models": {}, "endless": {}}
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.exported or Path(temporary)
        for name in options.models:
            files = our_files(name, folder, options, 1)
            frames = random_frames(name)
            result: dict[str, Any] = {}
            if options.reference:
                found = compare(reference_file(name, options), files, frames)
                for label in options.formats:
                    if found[label] > _TOLERANCE:
                        sys.exit(f"{files[label]}: it is not the reference's network; remove it")
                result["largest difference"] = found
            steps = contenders(name, files, options)
            if options.streams > 1:
                for label, file in our_files(name, folder, options, options.streams).items():
                    steps[f"streams: ours, {label}"] = OurStreams(file, options.streams)
            times = measure(steps, frames, options)
            for clock, seconds in times.items():
                table = {
                    label: {"min": 1e3 * values.min(), **quartiles(1e3 * values)}
                    for label, values in seconds.items()
                }
                result[clock] = {"ms": table, "ratios": ratios(seconds)}
            report["models"][name] = result
            show(name, result, options)
            if options.endless:
                kept = endless(next(iter(files.values())), frames, options.endless)
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
    parser.add_argument("--streams", type=int, default=1, help="in one call")
    parser.add_argument("--also", nargs="+", type=Path, default=[], metavar="FILE")
    parser.add_argument("--endless", type=int, default=0, metavar="FRAMES")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    if options.also and len(options.models) > 1:
        parser.error("--also goes with one model")
    if options.reference:
        for name in options.models:
            if not reference_file(name, options).is_file():
                parser.error(f"{reference_file(name, options)}: build_reference_tflite.py makes it")
    return options


def machine() -> dict[str, str]:
    packages = ("ai-edge-litert", "numpy", "onnxruntime", "openvino", "torch")
    found = {item.name: item.version for item in metadata.distributions() if item.name in packages}
    return {"system": platform.platform(), "python": platform.python_version(), **found}


def random_frames(name: str) -> np.ndarray:
    size = input_spec(name).short_side
    return np.random.default_rng(0).integers(0, 256, (32, size, size, 3), np.uint8)


def reference_file(name: str, options: argparse.Namespace) -> Path:
    return options.reference / f"{name.removesuffix('_stream')}.tflite"


def our_files(
    name: str, folder: Path, options: argparse.Namespace, streams: int
) -> dict[str, Path]:
    """Our files of a model by label, exported unless they are there."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{name}_x{streams}" if streams > 1 else name
    files = {suffix: folder / f"{stem}.{suffix}" for suffix in options.formats}
    missing = [file for file in files.values() if not file.exists()]
    if missing:
        weights = str(options.reference / name[:2]) if options.reference else None
        model = movinet.create_model(name, weights=weights)
        for file in missing:
            movinet.export(model, file, batch_size=streams)
    return files if streams > 1 else files | {file.name: file for file in options.also}


def contenders(
    name: str, files: Mapping[str, Path], options: argparse.Namespace
) -> dict[str, Step]:
    """What takes turns, by label: the kind of measurement, a colon, whose."""
    size = input_spec(name).image_size
    steps: dict[str, Step] = {}
    if options.reference:
        theirs = reference_file(name, options)
        steps["invoke: reference"] = invoke(theirs, size)
        dynamic = theirs.with_name(f"{theirs.stem}_dynamic.tflite")
        if dynamic.exists():
            steps["invoke: reference, int8 weights"] = invoke(dynamic, size)
        steps["step: reference"] = ReferenceStep(theirs)
        steps["stream: reference"] = ReferenceLoop(theirs)
    for label, file in files.items():
        if file.suffix == ".tflite":
            steps[f"invoke: ours, {label}"] = invoke(file, size)
        steps[f"step: ours, {label}"] = our_step(file, size)
        steps[f"stream: ours, {label}"] = movinet.load(file).stream()
    if options.peer:
        steps["stream: Atze00, PyTorch"] = peer(options.peer, name, size)
    return steps


def compare(theirs: Path, files: Mapping[str, Path], frames: np.ndarray) -> dict[str, float]:
    """Largest difference of any probability in ten frames, for each of our files."""
    loop = ReferenceLoop(theirs)
    expected = np.stack([loop(frame) for frame in frames[:10]])
    differences = {}
    for label, file in files.items():
        stream = movinet.load(file).stream()
        got = np.stack([stream(frame) for frame in frames[:10]])
        differences[label] = float(np.abs(got - expected).max())
    return differences


def measure(
    steps: Mapping[str, Step], frames: np.ndarray, options: argparse.Namespace
) -> dict[str, dict[str, np.ndarray]]:
    """Seconds (rounds, frames) by clock and label; all take turns, each round begins with another.

    Processor time leaves out when the machine did something else, and adds up all threads. Where a
    call steps several streams, its time is shared among them.
    """
    clocks = {"wall": time.perf_counter, "processor": time.process_time}
    labels = list(steps)
    times = {
        clock: {label: np.zeros((options.rounds, options.frames)) for label in labels}
        for clock in clocks
    }
    for turn in range(options.rounds):
        for label in labels[turn % len(labels) :] + labels[: turn % len(labels)]:
            step = steps[label]
            for number in range(-_COLD, options.frames):
                frame = frames[number % len(frames)]
                start = {clock: now() for clock, now in clocks.items()}
                step(frame)
                for clock, now in clocks.items() if number >= 0 else ():
                    spent = now() - start[clock]
                    times[clock][label][turn, number] = spent / getattr(step, "streams", 1)
    return times


def quartiles(values: np.ndarray) -> dict[str, float]:
    low, median, high = np.quantile(values, (0.25, 0.5, 0.75))
    return {"25 %": low, "median": median, "75 %": high}


def ratios(times: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Ratios within rounds, which a machine that drifts does not change: their quartiles."""
    medians = {label: np.median(values, axis=1) for label, values in times.items()}
    found = {}
    for label, values in medians.items():
        kind, _, whose = label.partition(": ")
        bases = [f"{kind}: reference"] if whose != "reference" else []
        if below := _BELOW.get(kind):
            bases.append(f"{below}: {whose}")
        if kind == "step" and f"invoke: {whose}" not in medians:
            bases.append("invoke: reference")  # an engine that has no such call
        for base in bases:
            if base in medians:
                found[f"{label} / {base}"] = quartiles(values / medians[base])
    return found


def show(name: str, result: Mapping[str, Any], options: argparse.Namespace) -> None:
    if options.json:
        return
    print(
        f"{name}: {options.rounds} turns of {options.frames} frames, one thread; on the left wall "
        "time, on the right processor time"
    )
    for label, difference in result.get("largest difference", {}).items():
        print(f"  {label}: probabilities differ from the reference's by at most {difference:.1e}")
    for what, title in (("ms", "ms"), ("ratios", "ratios in a round")):
        wall, processor = result["wall"][what], result["processor"][what]
        width = max((len(label) for label in wall), default=0)
        head = " ".join(f"{key:>8}" for key in next(iter(wall.values()), ()))
        print(f"  {title:{width}}   {head}   {head}")
        for label in wall:
            left, right = (
                " ".join(f"{value:8.3f}" for value in table[label].values())
                for table in (wall, processor)
            )
            print(f"  {label:{width}}   {left}   {right}")


def endless(file: Path, frames: np.ndarray, count: int) -> list[dict[str, float]]:
    """One stream for `count` frames: median milliseconds and memory of every thousand frames."""
    stream = movinet.load(file).stream()
    windows = []
    for first in range(0, count, _WINDOW):
        times = np.zeros((min(_WINDOW, count - first), 2))
        for number, time_of in enumerate(times, first):
            start = time.perf_counter(), time.process_time()
            stream(frames[number % len(frames)])
            time_of[:] = time.perf_counter() - start[0], time.process_time() - start[1]
        wall, processor = 1e3 * np.median(times, axis=0)
        windows.append(
            {"frame": first + len(times), "ms": wall, "processor ms": processor, "MB": memory()}
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
    print(f"  {'  '.join(f'{key:>12}' for key in windows[0])}")
    for window in (windows[0], windows[len(windows) // 2], windows[-1]):
        print(f"  {'  '.join(f'{value:12.3f}' for value in window.values())}")


def plot(report: Mapping[str, Any], file: Path) -> None:
    """Medians with quartiles for each model, and below them the endless streams."""
    from matplotlib.figure import Figure

    rows = list(report["models"].items())
    endless_rows = list(report["endless"].items())
    figure = Figure(figsize=(8, 2.5 * (len(rows) + len(endless_rows))), layout="constrained")
    axes = figure.subplots(len(rows) + len(endless_rows), squeeze=False)[:, 0]
    for axis, (name, result) in zip(axes, rows, strict=False):
        table = result["processor"]["ms"]
        middle = [row["median"] for row in table.values()]
        spread = [
            [row["median"] - row["25 %"] for row in table.values()],
            [row["75 %"] - row["median"] for row in table.values()],
        ]
        colours = ["tab:gray" if "ours" not in label else "tab:blue" for label in table]
        axis.barh(list(table), middle, xerr=spread, color=colours)
        axis.invert_yaxis()
        axis.set(title=name, xlabel="processor ms a frame (median, quartiles)")
    for axis, (name, windows) in zip(axes[len(rows) :], endless_rows, strict=True):
        count = [window["frame"] for window in windows]
        axis.plot(count, [window["processor ms"] for window in windows])
        axis.set(title=f"{name}: one stream", xlabel="frame", ylabel="processor ms a frame")
        axis.set_ylim(0)
        other = axis.twinx()
        sizes = [window["MB"] for window in windows]
        other.plot(count, sizes, color="tab:orange")
        other.set_ylabel("MB", color="tab:orange")
        other.set_ylim(0, 1.2 * max(sizes))  # a flat line must not lie on the frame
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    main()
