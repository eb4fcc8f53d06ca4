"""Models on the command line: what MODEL may be, and what is said of the one that was loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from movinet.cli.common import say

if TYPE_CHECKING:
    from movinet.runtime import ModelInfo

#: How MODEL is explained in the help of commands.
MODEL_HELP = (
    "A preset, such as a0_stream; motions, the bundled model; or a file: an exported model, or "
    "weights, which determine their preset and classes."
)


ManifestOption = Annotated[
    Path | None,
    typer.Option(
        "--manifest",
        metavar="FILE",
        help="Of an exported model that has lost its own manifest: what 'movinet info --json' "
        "printed of the same export.",
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

    say("note", f"{info.name}, {len(info.labels)} classes{sees}; weights: {info.origin}")
    for note in info.notes:
        say("note", note)
    if info.origin == RANDOM:
        say("warning", f"random weights: the {what} mean nothing; give --weights")
