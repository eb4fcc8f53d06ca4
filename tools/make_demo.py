"""Make the files of `make demo`: a rendered clip and a small checkpoint of random weights.

Run from the repository's root: ``python tools/make_demo.py``. The clip shows a ball that bounces
over a table; drawn here, so that it is ours to give away.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from movinet.config import Architecture, Group, InputSpec
from movinet.model import MoViNet
from movinet.presets import preset_config
from movinet.video import VideoWriter
from movinet.weights.saving import save_weights

DEMO = Path(__file__).parent.parent / "src" / "movinet" / "demo"
WIDTH, HEIGHT, RATE, SECONDS = 320, 240, 25, 6
LABELS = ("bouncing ball", "rolling ball", "juggling balls", "throwing ball", "catching ball")
#: The kinds of blocks of a stream preset, in 30,000 parameters.
TINY = Architecture(
    stem=8,
    groups=(
        Group(8, 2, ((16, 1, 5),)),
        Group(16, 2, ((24, 3, 3), (24, 3, 3))),
        Group(24, 2, ((32, 5, 3), (32, 1, 5))),
    ),
    head=32,
    hidden=64,
)


def main() -> None:
    """Write both files."""
    DEMO.mkdir(exist_ok=True)
    with VideoWriter(DEMO / "clip.mp4", RATE) as writer:
        for i in range(RATE * SECONDS):
            writer.write(draw(i / RATE))
    torch.manual_seed(0)
    config = preset_config("a0_stream", num_classes=len(LABELS), architecture=TINY)
    model = MoViNet(config).eval()
    with torch.no_grad():
        for block in model.blocks.values():
            block.scale.fill_(0.5)
        model.classifier.weight.mul_(15)  # so that the curves of the demo are not all equal
    save_weights(
        DEMO / "tiny_random.safetensors",
        model.state_dict(),
        config=config,
        input_spec=InputSpec(image_size=96, short_side=108, frame_rate=5, num_frames=30),
        labels=LABELS,
        origin="random weights (a demonstration: predictions mean nothing)",
    )


def draw(time: float) -> np.ndarray:
    """The scene at a time in seconds, (HEIGHT, WIDTH, 3) uint8 RGB."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    wall = np.stack([200 - y / 4, 205 - y / 5, 215 - y / 6], -1)
    table = np.stack([150 + 6 * np.sin(x / 7), 105 + 5 * np.sin(x / 7), 70 + 0 * x], -1)
    image = np.where((y > 190)[..., None], table, wall)
    bounce = abs(np.cos(2.2 * time)) * 110 * np.exp(-0.12 * time)
    center_x, center_y, radius = 50 + 36 * time, 172 - bounce, 18
    shadow = np.exp(-(((x - center_x) / 24) ** 2) - ((y - 196) / 5) ** 2)
    image = image * (1 - 0.5 * shadow[..., None] * (1 - bounce / 220))
    distance = np.hypot(x - center_x, y - center_y)
    light = np.exp(-np.hypot(x - center_x + 6, y - center_y + 7) / 9)
    ball = np.stack([215 + 40 * light, 70 + 160 * light, 50 + 150 * light], -1)
    edge = np.clip(radius - distance, 0, 1)[..., None]
    image = image * (1 - edge) + ball * edge
    return np.clip(image, 0, 255).astype(np.uint8)


if __name__ == "__main__":
    main()
