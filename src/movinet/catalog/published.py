"""A card for each published checkpoint: what it is, what it scores, what is doubtful about it."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

from movinet.checkpoints.keys import entries
from movinet.errors import ConfigError
from movinet.network.config import InputSpec
from movinet.network.presets import input_spec, list_models, preset_config, unknown_model_message

BASE_URL = "https://storage.googleapis.com/tf_model_garden/vision/movinet/"
_README = "https://github.com/tensorflow/models/blob/master/official/projects/movinet/README.md"
_ISSUE = "https://github.com/tensorflow/models/issues/13566"
#: Names of published weights, the default first.
PUBLISHED = ("kinetics-600", "kinetics-400")
#: data set -> (number of classes, end of the file name, section of the README)
_DATASETS = {
    "kinetics-400": (400, "_k400", "kinetics-400"),
    "kinetics-600": (600, "", "kinetics-600"),
}
#: size -> (GFLOPs, megabytes), the same for base and stream and for both data sets; source: _README
_COSTS = {
    "a0": (2.7, 12),
    "a1": (6.0, 18),
    "a2": (10.0, 20),
    "a3": (57.0, 29),
    "a4": (110.0, 44),
    "a5": (280.0, 72),
}
#: (preset, data set) -> (top-1, top-5) per cent, one clip; source: _README
_ACCURACY = {
    ("a0_base", "kinetics-600"): (72.28, 90.92),
    ("a1_base", "kinetics-600"): (76.69, 93.40),
    ("a2_base", "kinetics-600"): (78.62, 94.17),
    ("a3_base", "kinetics-600"): (81.79, 95.67),
    ("a4_base", "kinetics-600"): (83.48, 96.16),
    ("a5_base", "kinetics-600"): (84.27, 96.39),
    ("a0_stream", "kinetics-600"): (72.05, 90.63),
    ("a1_stream", "kinetics-600"): (76.45, 93.25),
    ("a2_stream", "kinetics-600"): (78.40, 94.05),
    ("a3_stream", "kinetics-600"): (80.09, 94.84),
    ("a4_stream", "kinetics-600"): (81.49, 95.66),
    ("a5_stream", "kinetics-600"): (82.37, 95.79),
    ("a0_base", "kinetics-400"): (69.40, 89.18),
    ("a1_base", "kinetics-400"): (74.57, 92.03),
    ("a2_base", "kinetics-400"): (75.91, 92.63),
    ("a3_base", "kinetics-400"): (79.34, 94.52),
    ("a4_base", "kinetics-400"): (80.64, 94.93),
    ("a5_base", "kinetics-400"): (81.39, 95.06),
}


@dataclass(frozen=True)
class Card:
    """One published checkpoint.

    Attributes:
        preset: The model that it fits, "a0_base" for example.
        dataset: What it was trained on, "kinetics-600" or "kinetics-400".
        file_name: The file below the base URL, and in the cache.
        url: Where it is published.
        num_classes: Outputs that it should have.
        labels: Name of the class list for `movinet.labels.load_labels`.
        input: Input size, frame rate and clip length.
        top1: Published accuracy on the validation set, per cent, one clip.
        top5: As `top1`, among the five best.
        gflops: Published billions of multiply-adds for one video.
        size_mb: Published size of the file in megabytes.
        license: SPDX identifier.
        license_source: Where the licence is stated, and what that covers.
        figures_source: Where accuracy, GFLOPs and size are published.
        doubts: What is known to be wrong or unsure, one sentence each.
    """

    preset: str
    dataset: str
    file_name: str
    url: str
    num_classes: int
    labels: str
    input: InputSpec
    top1: float
    top5: float
    gflops: float
    size_mb: int
    license: str
    license_source: str
    figures_source: str
    doubts: tuple[str, ...]


@functools.cache
def all_cards() -> tuple[Card, ...]:
    """Every published checkpoint of today's architecture: 12 on Kinetics 600, 6 on Kinetics 400.

    The files named `_legacy` hold an older stream architecture and have no card.
    """
    return tuple(_make_card(preset, dataset) for preset, dataset in _ACCURACY)


def find_card(preset: str, dataset: str) -> Card:
    """The card of a preset's published checkpoint.

    Args:
        preset: A model's name, "a0_stream" for example.
        dataset: "kinetics-600" or "kinetics-400".

    Raises:
        ConfigError: If nothing is published for these; the message says what is.
    """
    for card in all_cards():
        if (card.preset, card.dataset) == (preset, dataset):
            return card
    raise ConfigError(_nothing_published(preset, dataset))


def _make_card(preset: str, dataset: str) -> Card:
    num_classes, ending, section = _DATASETS[dataset]
    top1, top5 = _ACCURACY[preset, dataset]
    gflops, size_mb = _COSTS[preset.partition("_")[0]]
    file_name = f"movinet_{preset}{ending}.tar.gz"
    return Card(
        preset=preset,
        dataset=dataset,
        file_name=file_name,
        url=BASE_URL + file_name,
        num_classes=num_classes,
        labels=dataset,
        input=input_spec(preset),
        top1=top1,
        top5=top5,
        gflops=gflops,
        size_mb=size_mb,
        license="Apache-2.0",
        license_source=f"{_README}#license, of the whole project; it states none for the files",
        figures_source=f"{_README}#{section}",
        doubts=tuple(_doubts(preset, dataset, size_mb)),
    )


def _doubts(preset: str, dataset: str, size_mb: int) -> list[str]:
    config = preset_config(preset, num_classes=_DATASETS[dataset][0])
    doubts = [
        "The file does not say which activation follows the classifier's hidden layer; "
        f"the published training configuration has {config.head_activation}."
    ]
    if config.causal:
        counted = sum(math.prod(entry.shape) for entry in entries(config)) * 4 / 1e6
        doubts.append(
            f"The published size, {size_mb} MB, is the base model's; "
            f"this network has {counted:.0f} MB of float32 weights."
        )
    if preset == "a5_stream":
        doubts.append(
            "The published table says 120 frames, "
            f"the training configuration {input_spec(preset).num_frames}."
        )
    if dataset == "kinetics-400":
        which = "this file holds" if preset == "a0_base" else "files like this one hold"
        doubts.append(
            f"An unconfirmed report says that {which} the Kinetics-600 weights ({_ISSUE}; "
            "its example is a0_base): 600 outputs instead of 400 would show it."
        )
    return doubts


def _nothing_published(preset: str, dataset: str) -> str:
    """One line: why there is no such card, and what there is."""
    if preset not in list_models():
        return unknown_model_message(preset)
    published = {name: [p for p, d in _ACCURACY if d == name] for name in _DATASETS}
    if preset == "a6_base":
        return (
            "a6_base has no weights of its own: "
            "it is the ensemble of a4_base and a5_base; load these two"
        )
    if dataset not in published:
        problem = f"no published weights were trained on {dataset!r}"
    elif preset.startswith("t0_"):
        problem = f"{preset} was never published with weights; train it, or take a0"
    else:
        problem = f"no weights of {preset} trained on {dataset} were published"
    there_is = "; ".join(f"{name}: {', '.join(presets)}" for name, presets in published.items())
    return f"{problem}. Published: {there_is}"
