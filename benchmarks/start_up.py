"""Import time, and time of the command line until its first prediction.

``python benchmarks/start_up.py [--rounds 5]``. Whole processes take turns: `import movinet` beside
an empty interpreter; `movinet --help`; `movinet predict` of the demo's clip, exported and, where
PyTorch is installed, the same weights in it, beside the import of torch that this contains.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
from pathlib import Path

from movinet.embedded import embedded_path
from timing import report, take_turns

DEMO = Path(__file__).parent.parent / "src" / "movinet" / "demo"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    movinet = str(Path(sys.executable).with_name("movinet"))
    predict = [movinet, "predict", str(DEMO / "clip.mp4")]
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "import movinet": [sys.executable, "-c", "import movinet"],
        "movinet --help": [movinet, "--help"],
        "movinet predict (demo)": [*predict, "-w", "motions"],
    }
    if importlib.util.find_spec("torch") is not None:
        weights = str(embedded_path("motions"))
        commands["the same in PyTorch"] = [*predict, "-w", weights]
        commands["import torch"] = [sys.executable, "-c", "import torch"]

    def run(command: list[str]) -> None:
        subprocess.run(command, check=True, capture_output=True)

    runs = {name: lambda command=command: run(command) for name, command in commands.items()}
    report(take_turns(runs, options.rounds))


if __name__ == "__main__":
    main()
