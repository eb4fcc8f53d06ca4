"""Models on the command line: what MODEL may be, and what is said of the one that was loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from movinet.cli.common import say
from movinet.data.kinds import KINDS
from movinet.network.config import Activation

if TYPE_CHECKING:
    from movinet.runtime import ModelInfo

#: How MODEL is explained in the help of commands.
MODEL_HELP = (
    "A preset, such as a0_stream; motions, the bundled model; or a file: an exported model, or "
    "weights, which determine their preset and classes."
)
#: How DATA is explained there.
DATA_HELP = f"{KINDS[0].upper()}{KINDS[1:]}."

#: For commands whose default is the bundled model.
StreamModelOption = Annotated[
    str, typer.Option("--model", "-m", metavar="NAME_OR_FILE", help=MODEL_HELP)
]
WeightsOption = Annotated[
    str | None,
    typer.Option(
        "--weights",
        "-w",
        metavar="NAME_OR_FILE",
        help="Weights of a preset: published ones, such as kinetics-600, or a file.",
    ),
]
ManifestOption = Annotated[
    Path | None,
    typer.Option(
        "--manifest",
        metavar="FILE",
        help="Manifest of an exported model that has lost its own: what 'movinet info --json' "
        "printed of the same export.",
    ),
]


StartOption = Annotated[
    float | None, typer.Option("--start", metavar="SECONDS", min=0, help="Begin there.")
]
EndOption = Annotated[
    float | None, typer.Option("--end", metavar="SECONDS", min=0, help="Stop there.")
]
HalfLifeOption = Annotated[
    float | None,
    typer.Option(
        "--half-life",
        metavar="SECONDS",
        help="Stream models: after this time a frame counts half. By default all count the same.",
    ),
]
SpeedOption = Annotated[
    float,
    typer.Option(
        metavar="FACTOR",
        help="How many times slower than life the video shows things; 4 for slow motion of 100 "
        "frames a second that plays at 25.",
    ),
]
FrameRateOption = Annotated[
    float | None,
    typer.Option(
        "--frame-rate",
        metavar="NUMBER",
        help="Folders of numbered JPEG or PNG frames are videos with this many frames a second.",
    ),
]
DeviceOption = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="NAME",
        help="Where PyTorch computes: cpu, cuda, cuda:1, mps. Exported models run on the CPU.",
    ),
]
HeadActivationOption = Annotated[
    str | None,
    typer.Option(
        "--head-activation",
        metavar="NAME",
        help="Activation of the classifier's hidden layer, if it is not the preset's: "
        f"{', '.join(get_args(Activation))}.",
    ),
]
MultiLabelOption = Annotated[
    bool,
    typer.Option(
        "--multi-label",
        help="A clip may have any number of the labels (sigmoids), if the model does not state it.",
    ),
]


def say_model(info: ModelInfo, sees: str, what: str) -> None:
    """Say on stderr what was loaded.

    Args:
        info: The model.
        sees: What it takes in, or nothing.
        what: What random weights make meaningless.
    """
    from movinet.runtime.base import RANDOM

    count = len(info.labels)
    classes = f"{count} class{'es' if count > 1 else ''}"
    if info.multi_label and count > 1:
        classes += ", several labels a clip"
    say("note", f"{info.name}, {classes}{sees}; weights: {info.origin}")
    for note in info.notes:
        say("note", note)
    if info.origin == RANDOM:
        say("warning", f"random weights: the {what} mean nothing; give --weights")
