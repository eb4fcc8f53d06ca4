"""`movinet convert`: weights from one form into another."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from movinet.cli.common import out, printable, say
from movinet.cli.models import HeadActivationOption, MultiLabelOption
from movinet.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from movinet.checkpoints.keys import Layout
    from movinet.weights.conversion import Converted


def command(
    source: Annotated[
        str,
        typer.Argument(
            help="kinetics-600 or kinetics-400 (with --model), a .safetensors, a .pt (ours or "
            "MoViNet-pytorch's), a .tflite, or a TensorFlow checkpoint: folder, prefix, .index, "
            ".tar.gz or hub SavedModel."
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
        typer.Option("--model", "-m", help="The preset; by default inferred from the tensors."),
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
    head_activation: HeadActivationOption = None,
    multi_label: MultiLabelOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
) -> None:
    """Convert weights between all forms.

    Examples:
      movinet convert ckpt-1 mine.safetensors --labels labels.txt
      movinet convert mine.safetensors mine/ckpt-1 --layout 3d_2plus1d
    """
    overrides: dict[str, Any] = {"multi_label": multi_label or None}
    if head_activation is not None:
        overrides["head_activation"] = head_activation
    loaded, path, left_behind = _convert(source, target, model, layout, labels, overrides)
    info = loaded.info
    for note in info.notes:
        say("note", note)
    if left_behind:
        names = " and ".join(name.replace("_", " ") for name in left_behind)
        say("note", f"{path.name} contains only tensors: {names} stay behind in {source}")
    if as_json:
        facts = {
            "source": source,
            "target": str(path),
            "model": info.name,
            "preset": loaded.preset,
            "classes": len(info.labels),
            "multi_label": info.multi_label,
            "input": dataclasses.asdict(info.input),
            "origin": info.origin,
            "notes": list(info.notes),
            "left_behind": list(left_behind),
        }
        print(json.dumps(facts, indent=2))
        return
    out().print(printable(f"{path}  {info.name}, {len(info.labels)} classes, from {source}"))


def _convert(
    source: str,
    target: Path,
    model: str | None,
    layout: str | None,
    labels: str | None,
    overrides: dict[str, Any],
) -> Converted:
    """`movinet.weights.conversion.convert_weights`, with options as the command line has them."""
    from movinet.checkpoints.keys import LAYOUTS
    from movinet.labels import load_labels

    chosen: Layout | None = next((name for name in LAYOUTS if name == layout), None)
    if layout is not None and chosen is None:
        raise ConfigError(f"layout must be one of {', '.join(LAYOUTS)}, not {layout!r}")
    try:
        from movinet.weights.conversion import convert_weights
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "safetensors"):
            raise
        raise MissingExtraError("converting weights", "torch") from None
    return convert_weights(
        source,
        target,
        model=model,
        layout=chosen,
        labels=None if labels is None else load_labels(labels),
        **overrides,
    )
