"""Check on a machine with a CUDA GPU that the networks compute there what they do on a CPU.

    python tools/gpu_check.py --json gpu.json [--port FOLDER]

needs the extra `train` and takes some minutes. Checks, in this order (``--checks`` chooses some):

- parity: every preset beside float32 on the CPU, whole clips and frame by frame, TF32 off and on;
- autocast: the same in bfloat16 and float16;
- training: loss and gradients of a step beside the CPU's, its time and peak memory, and those of
  MoViNet-pytorch where ``--port`` names a checkout of it (pip install einops fvcore);
- compile: `torch.compile`, its results and what it saves;
- processes: two processes that share a batch compute what one does (NCCL where there are two GPUs,
  gloo on one);
- streams: frames a second of many streams.

Weights and videos are random. Exit code 1 means that a check failed, or that there is no GPU.
``--device cpu`` does the same with small networks and images: it tests the tool, not a GPU.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import platform
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path

import gpu_measurements as measure
import torch
from gpu_measurements import Row, Setting

import movinet
from movinet.files import replacing
from movinet.network.presets import ENSEMBLES

CHECKS = {
    "parity": measure.parity,
    "autocast": measure.autocast,
    "training": measure.training,
    "compile": measure.compiled,
    "processes": measure.processes,
    "streams": measure.streams,
}


class Report:
    """Rows as they are measured: printed at once, kept for the file."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    @property
    def failures(self) -> int:
        """Rows with a figure above its limit, or without one."""
        return sum(not row.passed for row in self.rows)

    def add(self, row: Row) -> None:
        """Print a row, and keep it."""
        if not self.rows:
            print(f"{'check':10} {'model':10} {'what':44} {'figure':>13}  {'limit':>7}")
        self.rows.append(row)
        figure = row.note if row.value is None else f"{row.value:.3g} {row.unit}".strip()
        limit = "" if row.limit is None else f"{row.limit:g}"
        mark = "" if row.passed else "  FAILED"
        line = f"{row.check:10} {row.model:10} {row.what:44} {figure:>13}  {limit:>7}{mark}"
        print(line.rstrip(), flush=True)

    def write(self, path: Path, setting: Setting) -> None:
        """Write everything as JSON."""
        content = {
            "machine": describe(setting.device),
            "rows": [{**dataclasses.asdict(row), "passed": row.passed} for row in self.rows],
            "failures": self.failures,
        }
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Do the checks.

    Returns:
        The exit code: 1 if one failed.
    """
    options = parse(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        print(
            "no CUDA GPU here: run this on a machine with one, or try the tool itself with "
            "--device cpu",
            file=sys.stderr,
        )
        return 1
    setting = measure.make_setting(torch.device(options.device), options.models, options.port)
    machine = describe(setting.device)
    print("; ".join(f"{key} {value}" for key, value in machine.items()))
    report = Report()
    for name in options.checks:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of PyTorch's own parts about each other
            run(name, setting, report)
    if options.json is not None:
        report.write(options.json, setting)
    print(f"{len(report.rows)} figures, {report.failures} failed")
    return 1 if report.failures or not report.rows else 0


def run(name: str, setting: Setting, report: Report) -> None:
    """Do one check; what stops it is a failure of its own, and the next check goes on."""
    measure.use_tf32(False)
    try:
        for row in CHECKS[name](setting):
            report.add(row)
    except Exception as error:  # a GPU fails in any way it can, and the other checks are of use
        traceback.print_exc()
        reason = (str(error).splitlines() or [""])[0][:200]
        report.add(Row(name, "", "stopped", note=f"{type(error).__name__}: {reason}", failed=True))


def describe(device: torch.device) -> dict[str, str]:
    """What the figures were measured with."""
    facts = {"movinet": movinet.__version__, "torch": torch.__version__}
    if device.type != "cuda":
        return {**facts, "device": f"CPU ({platform.machine()})"}
    major, minor = torch.cuda.get_device_capability(device)
    return {
        **facts,
        "device": f"{torch.cuda.get_device_name(device)} x {torch.cuda.device_count()}",
        "capability": f"{major}.{minor}",
        "cuda": str(torch.version.cuda),
        "cudnn": str(torch.backends.cudnn.version()),
    }


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options of the command line."""
    presets = [name for name in movinet.list_models() if name not in ENSEMBLES]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--checks", nargs="+", choices=CHECKS, default=list(CHECKS))
    parser.add_argument(
        "--models", nargs="+", choices=presets, metavar="PRESET", help="by default all"
    )
    parser.add_argument(
        "--port", "--peer", type=Path, metavar="FOLDER", help="a checkout of MoViNet-pytorch"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    options = parser.parse_args(arguments)
    if options.port is not None and not (options.port / "movinets" / "models.py").is_file():
        parser.error(f"--port {options.port}: no checkout of MoViNet-pytorch (movinets/models.py)")
    missing = [name for name in ("einops", "fvcore") if importlib.util.find_spec(name) is None]
    if options.port is not None and missing:
        parser.error(f"--port: MoViNet-pytorch needs {' and '.join(missing)}; install with pip")
    options.models = options.models or presets
    return options


if __name__ == "__main__":
    sys.exit(main())
