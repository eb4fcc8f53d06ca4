"""Draw docs/images/decay.png: how predictions follow an hour-long stream, with and without decay.

Run from the repository's root: ``python tools/plot_decay.py`` (about a minute). The stream is
made up: five scenes of drifting stripes take turns for one to six minutes each. The network is a
small stream model with a random backbone, whose classifier was fitted to tell the five scenes
apart on short streams; so it knows the scenes, and what differs is only how it pools over time.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import movinet
from movinet.network.config import Architecture, Group
from movinet.network.model import MoViNet
from movinet.network.presets import preset_config

OUT = Path(__file__).parent.parent / "docs" / "images" / "decay.png"
RATE, SIZE, HOUR = 2, 32, 3600
SCENES = ("A", "B", "C", "D", "E")
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
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
HALF_LIVES = (float("inf"), 60.0, 5.0)  # seconds; infinity is the published mean


def main() -> None:
    """Fit the classifier, run the hour, draw."""
    torch.manual_seed(0)
    torch.set_num_threads(1)  # the network is small
    rng = np.random.default_rng(0)
    model = fitted_model(rng)
    scenes = schedule(rng)
    curves = follow(model, scenes, rng)
    draw(scenes, curves)
    for half, probabilities in curves.items():
        share = (probabilities.argmax(1) == scenes).mean()
        print(f"half-life {half}: scene on screen named in {share:.1%} of the frames")


def frame(scene: int, time: float, rng: np.random.Generator) -> torch.Tensor:
    """(1, 3, 1, SIZE, SIZE): stripes of the scene's direction and speed, with noise."""
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    angle, speed = scene * np.pi / 5, 0.5 + scene
    wave = np.sin(2 * np.pi * (4 * (x * np.cos(angle) + y * np.sin(angle)) + speed * time))
    tint = np.array([0.5, 0.45, 0.4]) + 0.12 * np.sin(2 * scene + np.arange(3))
    image = tint + 0.3 * wave[..., None] + 0.1 * rng.standard_normal((SIZE, SIZE, 3))
    pixels = np.clip(image, 0, 1).astype(np.float32)
    return torch.from_numpy(pixels).permute(2, 0, 1)[None, :, None]


@torch.inference_mode()
def fitted_model(rng: np.random.Generator) -> MoViNet:
    """A random backbone with a classifier fitted to the scenes by least squares."""
    config = preset_config("a0_stream", num_classes=len(SCENES), architecture=TINY)
    model = MoViNet(config).eval()
    for block in model.blocks.values():
        block.scale.fill_(0.5)
    features, targets = [], []
    for scene in range(len(SCENES)):
        for _ in range(30):
            start = rng.uniform(0, 100)
            clip = torch.cat(
                [frame(scene, start + i / RATE, rng) for i in range(int(rng.integers(10, 60)))], 2
            )
            hidden = model.hidden(model.features(clip)["embedding"])
            features.append(torch.nn.functional.silu(hidden)[0])
            targets.append(8.0 * torch.nn.functional.one_hot(torch.tensor(scene), len(SCENES)))
    x = torch.cat([torch.stack(features), torch.ones(len(features), 1)], 1).double()
    y = torch.stack(targets).double()
    solution = torch.linalg.solve(x.T @ x + 1e-4 * torch.eye(x.shape[1]), x.T @ y).float()
    model.classifier.weight.copy_(solution[:-1].T.reshape(model.classifier.weight.shape))
    model.classifier.bias.copy_(solution[-1])
    return model


def schedule(rng: np.random.Generator) -> np.ndarray:
    """(HOUR * RATE,) scene on screen at each frame."""
    scenes: list[int] = []
    while len(scenes) < HOUR * RATE:
        choices = [s for s in range(len(SCENES)) if not scenes or s != scenes[-1]]
        scenes += [int(rng.choice(choices))] * int(rng.integers(60, 360) * RATE)
    return np.array(scenes[: HOUR * RATE])


@torch.inference_mode()
def follow(model: MoViNet, scenes: np.ndarray, rng: np.random.Generator) -> dict[float, np.ndarray]:
    """Half-life -> (frames, scenes) probabilities; one stream of a batch for each half-life."""
    decay = torch.tensor([movinet.decay_from_half_life(half, RATE) for half in HALF_LIVES])
    state = model.initial_state(len(HALF_LIVES), (SIZE, SIZE))
    probabilities = []
    for i, scene in enumerate(scenes):
        frames = frame(int(scene), i / RATE, rng).expand(len(HALF_LIVES), -1, -1, -1, -1)
        logits, state = model(frames, state, decay)
        probabilities.append(logits.softmax(1).numpy())
    curves = np.array(probabilities)
    return {half: curves[:, i] for i, half in enumerate(HALF_LIVES)}


def draw(scenes: np.ndarray, curves: dict[float, np.ndarray]) -> None:
    """One row for the scenes, one for each half-life."""
    minutes = np.arange(len(scenes)) / RATE / 60
    figure = Figure(figsize=(9, 6.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(
        1 + len(curves), 1, sharex=True, height_ratios=[0.35] + [1] * len(curves)
    )
    starts = np.flatnonzero(np.diff(scenes, prepend=-1))
    ends = [*starts[1:], len(scenes)]
    for start, end in zip(starts, ends, strict=True):
        scene = int(scenes[start])
        left, right = start / RATE / 60, end / RATE / 60
        axes[0].axvspan(left, right, color=COLORS[scene])
        if right - left > 1.2:
            middle = (left + right) / 2
            axes[0].text(middle, 0.5, SCENES[scene], color="white", ha="center", va="center")
    axes[0].set(yticks=[], ylim=(0, 1), title="Scene on screen")
    for axis, (half, probabilities) in zip(axes[1:], curves.items(), strict=True):
        for scene, color in enumerate(COLORS):
            axis.plot(minutes, 100 * probabilities[:, scene], color=color, linewidth=1.2)
        share = (probabilities.argmax(1) == scenes).mean()
        kind = "No decay (as published)" if half == float("inf") else f"Half-life {half:g} s"
        axis.set_title(f"{kind}: right in {share:.0%} of the frames", loc="left", fontsize=10)
        axis.set(ylim=(0, 102), ylabel="probability, %")
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1].set(xlabel="time, minutes", xlim=(0, 60))
    OUT.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(OUT, dpi=110)


if __name__ == "__main__":
    main()
