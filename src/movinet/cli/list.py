"""`movinet list`: all presets and ensembles with their cost, input, accuracy and weights."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from movinet.catalog.model_card import EnsembleFacts, ModelFacts, describe
from movinet.cli.common import out
from movinet.cli.info import quantity
from movinet.cli.tables import new_table, print_whole

if TYPE_CHECKING:
    from rich.console import Console

    from movinet.catalog.published import Card

_SHORT = {"kinetics-600": "K600", "kinetics-400": "K400"}
_DATASET = "kinetics-600"  # whose accuracy is shown: every published preset has it


def command(
    as_json: Annotated[bool, typer.Option("--json", help="The list as JSON on stdout.")] = False,
) -> None:
    """List all models: cost, input, accuracy and weights.

    Costs are counted from the architecture; accuracy is as published,
    with its source below the table.

    For example:

      movinet list

      movinet list --json
    """
    from movinet.embedded import EMBEDDED
    from movinet.network.presets import list_models

    models = [describe(name) for name in (*list_models(), *EMBEDDED)]
    if as_json:
        print(json.dumps([_row_json(facts) for facts in models], indent=2))
    else:
        _print_table(out(), models)


def _row_json(facts: ModelFacts | EnsembleFacts) -> dict[str, Any]:
    """What the table shows, and no more; `movinet info --json` has everything."""
    data = facts.to_json()
    keys = ("name", "kind", "parameters", "multiply_adds", "input")
    top1, top5, source = _accuracy(facts)
    members = [member.name for member in facts.members] if isinstance(facts, EnsembleFacts) else []
    return {
        **{key: data.get(key) for key in keys},
        "members": members,
        "published": {"dataset": _DATASET, "top1": top1, "top5": top5, "source": source},
        "weights": _weights(facts),
    }


def _accuracy(
    facts: ModelFacts | EnsembleFacts,
) -> tuple[float | None, float | None, str | None]:
    """Published top-1 and top-5 per cent on Kinetics 600 and their source, where known."""
    if isinstance(facts, EnsembleFacts):
        return facts.top1, None, facts.source
    card = _card(facts)
    return (None, None, None) if card is None else (card.top1, card.top5, card.figures_source)


def _card(facts: ModelFacts) -> Card | None:
    return next((card for card in facts.cards if card.dataset == _DATASET), None)


def _weights(facts: ModelFacts | EnsembleFacts) -> list[str]:
    """Names of the weights that there are; of an ensemble: that all members have."""
    from movinet.embedded import EMBEDDED

    if facts.name in EMBEDDED:
        return [facts.name]
    if isinstance(facts, ModelFacts):
        return [card.dataset for card in facts.cards]
    first, *others = (_weights(member) for member in facts.members)
    return [dataset for dataset in first if all(dataset in other for other in others)]


def _print_table(console: Console, models: list[ModelFacts | EnsembleFacts]) -> None:
    from rich.text import Text

    header = ("model", "params", "mult-adds\na clip", "\na frame", "input", "fps")
    table = new_table((*header, "K600\ntop-1", "\ntop-5", "weights"), texts=(0, 8))
    for facts in models:
        table.add_row(*_cells(facts))
    print_whole(console, table)
    console.print()
    for note in _notes(models):
        console.print(Text(note, style="dim"))


def _cells(facts: ModelFacts | EnsembleFacts) -> list[str]:
    top1, top5, _ = _accuracy(facts)
    frame = shape = rate = "-"
    if isinstance(facts, ModelFacts):
        spec = facts.input
        shape = f"{spec.num_frames}x{spec.image_size}x{spec.image_size}"
        rate = f"{spec.frame_rate:g}"
        if facts.frame_multiply_adds is not None:
            frame = quantity(facts.frame_multiply_adds)
    return [
        facts.name,
        quantity(facts.parameters.total),
        quantity(facts.multiply_adds),
        frame,
        shape,
        rate,
        *("-" if top is None else f"{top:.2f}" for top in (top1, top5)),
        " ".join(_SHORT.get(name, "bundled") for name in _weights(facts)) or "-",
    ]


def _notes(models: list[ModelFacts | EnsembleFacts]) -> list[str]:
    """What the columns mean, each line less than 80 characters but for the address."""
    sources = [_accuracy(facts)[2] or "" for facts in models if isinstance(facts, ModelFacts)]
    ensembles = [facts for facts in models if isinstance(facts, EnsembleFacts)]
    bundled = [facts for facts in models if facts.name in _weights(facts)]
    return [
        "mult-adds   counted, for the published clip, and for one streamed frame",
        "input       frames x height x width in pixels, fps frames a second",
        "top-1, -5   published, per cent on Kinetics 600, one clip a video:",
        f"            {max(sources)}",
        "weights     K600: movinet predict VIDEO -m MODEL -w kinetics-600",
        *(
            f"{facts.name:12}the mean of the logits of "
            f"{' and '.join(member.name for member in facts.members)}, each at its own input"
            for facts in ensembles
        ),
        *(
            f"{facts.name:12}bundled, with weights: movinet predict VIDEO -m {facts.name}"
            for facts in bundled
        ),
        "More about one: movinet info a0_stream",
    ]
