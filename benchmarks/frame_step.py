"""One streamed frame in PyTorch: threads, and batches of streams.

``python benchmarks/frame_step.py [--models a0_stream] [--rounds 40]``. This is the network as it is
trained; exported models run faster.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch

from movinet.network.model import MoViNet
from movinet.network.presets import input_spec, preset_config
from timing import report, take_turns


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["a0_stream"])
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    for name in options.models:
        print(name)
        steps = {
            f"{batch} stream{'s' * (batch > 1)}, {threads} thread{'s' * (threads > 1)}": step(
                name, batch, threads
            )
            for batch in (1, 8)
            for threads in (1, 2)
        }
        with torch.inference_mode():
            report(take_turns(steps, options.rounds))


def step(name: str, batch: int, threads: int) -> Callable[[], object]:
    model = MoViNet(preset_config(name)).eval()
    size = input_spec(name).image_size
    state = model.initial_state(batch, (size, size))
    frame = torch.rand(batch, 3, 1, size, size)

    def run() -> object:
        nonlocal state
        torch.set_num_threads(threads)
        logits, state = model(frame, state)
        return logits

    return run


if __name__ == "__main__":
    main()
