"""Forward pass of whole clips: both lowerings, beside another port of the network.

``python benchmarks/clip_forward.py [--models a0_base a0_stream] [--threads 2] [--rounds 7]``.
``--peer FOLDER`` is a checkout of github.com/Atze00/MoViNet-pytorch (pip install einops fvcore),
whose A0 then takes turns with ours. Random weights: they do not change the time.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from movinet.network.model import MoViNet
from movinet.network.presets import input_spec, preset_config
from timing import report, take_turns


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["a0_base", "a0_stream"])
    parser.add_argument("--frames", type=int, help="by default the published number")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--peer", type=Path, help="a checkout of Atze00/MoViNet-pytorch")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name in options.models:
        spec = input_spec(name)
        frames = options.frames or spec.num_frames
        video = torch.rand(1, 3, frames, spec.image_size, spec.image_size)
        print(
            f"{name}: {frames} x {spec.image_size} x {spec.image_size}, {options.threads} threads"
        )
        runs = {f"{name} {low}": ours(name, low, video) for low in ("2d", "3d")}
        if options.peer and name.startswith("a0"):
            runs["Atze00"] = peer(options.peer, name.endswith("stream"), video)
        with torch.inference_mode():
            report(take_turns(runs, options.rounds))


def ours(name: str, lowering: str, video: torch.Tensor) -> Callable[[], object]:
    model = MoViNet(preset_config(name, lowering=lowering)).eval()
    return lambda: model(video)


def peer(folder: Path, stream: bool, video: torch.Tensor) -> Callable[[], object]:
    sys.path.insert(0, str(folder))
    from movinets import MoViNet as Peer  # pyright: ignore[reportMissingImports]
    from movinets.config import _C  # pyright: ignore[reportMissingImports]

    conv_type = "2plus1d" if stream else "3d"
    model = Peer(_C.MODEL.MoViNetA0, causal=stream, conv_type=conv_type, tf_like=True).eval()

    def run() -> object:
        if stream:
            model.clean_activation_buffers()
        return model(video)

    return run


if __name__ == "__main__":
    main()
