"""`movinet convert`: weights from one form into another."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from movinet.cli.common import out, say
from movinet.errors import ConfigError


def command(
    source: Annotated[
        str,
        typer.Argument(
            help="kinetics-600 or kinetics-400 (with --model), a .safetensors, a .pt, or a "
            "TensorFlow checkpoint: folder, prefix, .index, .tar.gz or hub SavedModel."
        ),
    ],
    target: Annotated[
        Path,
        typer.Argument(
            help="A .safetensors, a .pt, or a TensorFlow checkpoint: a .tar.gz or a prefix."
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="The preset; by default told from the tensors."),
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(
            help="How a TensorFlow checkpoint stores convolutions: 3d, 2plus1d or 3d_2plus1d; by "
            "default as the published checkpoints do."
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(help="Names of the classes: kinetics-400, -600, -700, or a text file."),
    ] = None,
    head_activation: Annotated[
        str | None,
        typer.Option(help="After the classifier's hidden layer: swish, hard_swish or relu6."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
) -> None:
    """Convert weights between all forms.

    Examples:
      movinet convert ckpt-1 mine.safetensors --labels labels.txt
      movinet convert mine.safetensors mine/ckpt-1 --layout 3d_2plus1d
    """
    from movinet.labels import load_labels
    from movinet.weights.keys import LAYOUTS

    if layout is not None and layout not in LAYOUTS:
        raise ConfigError(f"layout must be one of {', '.join(LAYOUTS)}, not {layout!r}")
    try:
        from movinet.weights.conversion import convert_weights
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "safetensors"):
            raise
        from movinet.errors import MissingExtraError

        raise MissingExtraError("converting weights", "torch") from None
    overrides: dict[str, Any] = {}
    if head_activation is not None:
        overrides["head_activation"] = head_activation
    loaded = convert_weights(
        source,
        target,
        model=model,
        layout=layout,
        labels=None if labels is None else load_labels(labels),
        **overrides,
    )
    for note in loaded.info.notes:
        say("note", note)
    if as_json:
        facts = {
            "source": source,
            "target": str(target),
            "model": loaded.info.name,
            "preset": loaded.preset,
            "classes": len(loaded.info.labels),
            "input": dataclasses.asdict(loaded.info.input),
            "origin": loaded.info.origin,
            "notes": list(loaded.info.notes),
        }
        print(json.dumps(facts, indent=2))
        return
    out().print(f"{target}  {loaded.info.name}, {len(loaded.info.labels)} classes, from {source}")
