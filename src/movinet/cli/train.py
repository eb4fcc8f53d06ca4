"""`movinet train`: a run that a recipe or a file of settings describes."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from movinet.cli.common import out
from movinet.cli.tables import new_table, print_whole
from movinet.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from movinet.training.checks import Config

#: Of the list of recipes, columns.
_LEAST_WIDTH = 72


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
        bool,
        typer.Option(
            "--json", help="Print the final figures, the configuration or the list as JSON."
        ),
    ] = False,
) -> None:
    """Train a model on videos.

    A run keeps everything in its folder (run.folder). The same command
    again continues from its last checkpoint; Ctrl-C saves before it ends.

    For example:

      movinet train probe data.train=train.csv data.valid=valid.csv

      movinet train finetune data.train=train.csv data.valid=valid.csv

      movinet train finetune data.train=videos/ run.mode=train engine.batch_size=4

      movinet train a0_stream --show

      torchrun --nproc-per-node 2 -m movinet train a0_stream data.train=...
    """
    with _needing_extra():
        from movinet.training import recipes
    if list_all:
        _list(as_json)
        return
    if recipe is None:
        raise ConfigError(f"name a recipe ({', '.join(recipes.list_recipes())}) or a .yaml file")
    config = recipes.load_any_config(recipe, settings or ())
    if show:
        print(config.model_dump_json(indent=2) if as_json else recipes.to_yaml(config).rstrip())
        return
    with _needing_extra():  # augmentation and logs import theirs when a run needs them
        from movinet.training.probing.settings import ProbeConfig

        if isinstance(config, ProbeConfig):
            from movinet.training.probing.run import run_probe

            figures = run_probe(config)
        else:
            from movinet.training.run import run

            figures = run(config)
    if as_json:
        print(json.dumps(figures, indent=2))


@contextlib.contextmanager
def _needing_extra() -> Iterator[None]:
    """Work that imports what the extra brings."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("movinet"):
            raise
        raise MissingExtraError("training", "train") from None


def _list(as_json: bool) -> None:
    from movinet.training.recipes import list_recipes, load_any_config

    rows = [(name, about, load_any_config(name)) for name, about in list_recipes().items()]
    if as_json:
        print(json.dumps([_row_json(*row) for row in rows], indent=2))
    else:
        _print_table(rows)


def _row_json(name: str, about: str, config: Config) -> dict[str, Any]:
    from movinet.training.config import TrainConfig

    row = {
        "name": name,
        "about": about,
        "model": config.model.preset,
        "weights": config.model.weights,
        "input": config.input.model_dump(),
    }
    if not isinstance(config, TrainConfig):
        return row
    return {
        **row,
        "batch_size": config.engine.batch_size,
        "epochs": config.schedule.epochs,
        "steps": config.schedule.steps,
    }


def _print_table(rows: list[tuple[str, str, Config]]) -> None:
    from movinet.training.config import TrainConfig

    console = out()
    table = new_table(("recipe", "clip", "fps", "length", "what"), texts=(0, 4))
    table.columns[-1].no_wrap = False
    for name, about, config in rows:
        view, frames, length = config.input, "", "one fit"
        if isinstance(config, TrainConfig):
            frames, schedule = f"{config.input.train_frames}x", config.schedule
            steps = f"{schedule.steps:,} steps" if schedule.steps else ""
            length = steps or f"{schedule.epochs:g} epochs"
        clip = f"{frames}{view.image_size}x{view.image_size}"
        table.add_row(name, clip, f"{view.frame_rate:g}", length, about)
    print_whole(console, table, _LEAST_WIDTH)
    console.print("\nAll settings of one: movinet train finetune --show")
