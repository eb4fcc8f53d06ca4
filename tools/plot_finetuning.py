"""Draw docs/images/finetuning.png: accuracy of runs over time, from their logs.

Run from the repository's root, after the commands in docs/training.md:
``python tools/plot_finetuning.py "from the motions model" runs/tuned "from scratch" runs/scratch``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from movinet.drawing.predictions import PALETTE

OUT = Path(__file__).parent.parent / "docs" / "images" / "finetuning.png"


def main() -> None:
    """Read name and folder of each run, and draw."""
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    pairs = zip(sys.argv[1::2], sys.argv[2::2], strict=True)
    for (name, folder), colour in zip(pairs, PALETTE, strict=False):
        lines = Path(folder, "log.jsonl").read_text(encoding="utf-8").splitlines()
        records = [json.loads(line) for line in lines]
        steps = [r["step"] for r in records if r["kind"] == "eval"]
        accuracy = [100 * r["top1"] for r in records if r["kind"] == "eval"]
        axes.plot(steps, accuracy, color=colour, lw=2, marker="o", ms=3, label=name)
        print(f"{name}: {accuracy[-1]:.1f} % after {steps[-1]} steps, best {max(accuracy):.1f} %")
    axes.axhline(100 / 8, color="#808080", ls=":", lw=1, label="chance")
    axes.set(xlabel="steps of 16 clips", ylabel="top-1 on 200 other clips, %", ylim=(0, 102))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="center right")
    FigureCanvasAgg(figure).print_png(OUT)


if __name__ == "__main__":
    main()
