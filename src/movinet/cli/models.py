"""Models on the command line: what MODEL may be, and what is said of the one that was loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from movinet.cli.common import say
from movinet.errors import ConfigError

if TYPE_CHECKING:
    from movinet.runtime import ModelInfo

#: How MODEL is explained in the help of commands.
MODEL_HELP = (
    "A preset, such as a0_stream, or a file: an exported model, or weights, which tell their "
    "preset and classes"
)


#: For an exported model that has lost what tells of it.
ManifestOption = Annotated[
    Path | None,
    typer.Option(
        "--manifest",
        metavar="FILE",
        help="Of an exported model that has lost its own manifest: what 'movinet info --json' "
        "printed of the same export.",
    ),
]


def split_model(model: str, weights: str | None) -> tuple[str | None, str | None]:
    """MODEL and --weights as the model and the weights of `load_runtime` and `load_model`.

    Args:
        model: A preset, an exported file, a file of weights, or "motions".
        weights: Of a preset.

    Raises:
        ConfigError: If it is nothing of that, or weights are given twice.
    """
    from movinet.embedded import EMBEDDED
    from movinet.presets import list_models, unknown_model_message
    from movinet.runtime.choosing import is_exported

    if model in list_models() or is_exported(model):
        return model, weights
    path = Path(model)
    if model not in EMBEDDED and not (model and path.exists()) and not path.suffix:
        raise ConfigError(f"{unknown_model_message(model)}; nor is it a file of weights")
    if weights is not None:
        raise ConfigError(
            f"{model!r} is a file of weights, and so is --weights {weights!r}: give one"
        )
    return None, model


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
