"""`movinet train`: a run that a recipe or a file of settings describes."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from movinet.cli.common import err, out, printable
from movinet.errors import ConfigError, MissingExtraError


def command(
    recipe: Annotated[
        str | None,
        typer.Argument(metavar="RECIPE|FILE.yaml", help="A recipe ('--list') or a YAML file."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE...", help="Settings that replace those of the recipe."),
    ] = None,
    show: Annotated[
        bool, typer.Option("--show", help="Print the whole configuration as YAML and end.")
    ] = False,
    list_all: Annotated[bool, typer.Option("--list", help="List the recipes and end.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the final figures, or the list, as JSON.")
    ] = False,
) -> None:
    """Train a model on videos.

    A run keeps everything in its folder (run.folder). The same command
    again goes on from its last checkpoint; Ctrl-C saves before it ends.

    For example:

      movinet train finetune data.train=train.csv data.valid=valid.csv

      movinet train finetune data.train=videos/ run.mode=train engine.batch_size=4

      movinet train a0_stream --show

      torchrun --nproc-per-node 2 -m movinet train a0_stream data.train=...
    """
    try:
        from movinet.training import recipes
    except ModuleNotFoundError as error:
        if error.name not in ("yaml", "pydantic"):
            raise
        raise MissingExtraError("training", "train") from None
    if list_all:
        _list(recipes.list_recipes(), as_json)
        return
    if recipe is None:
        raise ConfigError(f"name a recipe ({', '.join(recipes.list_recipes())}) or a .yaml file")
    config = recipes.load_config(recipe, settings or ())
    if show:
        print(recipes.to_yaml(config), end="")
        return
    try:
        from movinet.training.run import run
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "kornia", "tensorboard", "torchmetrics", "safetensors"):
            raise
        raise MissingExtraError("training", "train") from None
    figures = run(config)
    if as_json:
        print(json.dumps(figures, indent=2))
        return
    console = err()
    for name, value in figures.items():
        console.print(f"  {name:12} {value:.6g}")


def _list(found: dict[str, str], as_json: bool) -> None:
    if as_json:
        print(json.dumps(found, indent=2))
        return
    console, width = out(), max(map(len, found))
    for name, about in found.items():
        console.print(printable(f"  {name:{width}}  {about}"))
