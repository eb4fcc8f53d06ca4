"""`movinet info`: what a model is, costs and expects, and which weights are published for it."""

from __future__ import annotations

import json
import math
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from movinet.cli.common import out, printable
from movinet.cli.models import ManifestOption
from movinet.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from rich.console import Console

    from movinet.catalog.model_card import EnsembleFacts, ModelFacts
    from movinet.catalog.published import Card
    from movinet.network.config import MoViNetConfig

_LABEL = 17  # columns of a row's label
_LONGEST_LINE = 100  # longer ones are hard to read


def command(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="A preset, an ensemble or motions, the bundled model ('movinet list'); a file of "
            "weights, or an exported model.",
        ),
    ],
    image_size: Annotated[
        int | None,
        typer.Option(min=1, metavar="PIXELS", help="Count for frames of this height and width."),
    ] = None,
    frames: Annotated[
        int | None, typer.Option(min=1, metavar="NUMBER", help="Count for a clip of this length.")
    ] = None,
    manifest: ManifestOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything as JSON on stdout.")] = False,
) -> None:
    """Show what a model is, costs and expects, and its published weights.

    Costs are counted from the architecture, for the published input unless
    --image-size or --frames are given; accuracy is as published. Of an
    exported model, --json gives the whole manifest.

    For example:

      movinet info a0_stream

      movinet info a2_base --image-size 256 --frames 16

      movinet info a6_base --json

      movinet info motions

      movinet info exported.tflite

      movinet info exported.tflite --json > manifest.json
    """
    from movinet.catalog.model_card import EnsembleFacts, describe
    from movinet.model_names import resolve
    from movinet.opening import check_takes_manifest

    named = resolve(name)
    if manifest is not None:
        check_takes_manifest(name)
    if named.kind == "exported":
        if image_size is not None or frames is not None:
            raise ConfigError(f"{name} is an exported model: its image size and frames are fixed")
        _show_exported(Path(name), manifest, as_json)
        return
    if named.kind == "weights":
        _show_file(name, image_size, frames, as_json)
        return
    facts = describe(name, image_size=image_size, frames=frames)
    if named.kind == "bundled":
        _show_bundled(facts, as_json)
    elif as_json:
        print(json.dumps(facts.to_json(), indent=2))
    elif isinstance(facts, EnsembleFacts):
        _print_ensemble(_Page(out()), facts)
    else:
        page = _Page(out())
        _print_model(page, facts)
        _print_cards(page, facts)


def _show_exported(path: Path, given: Path | None, as_json: bool) -> None:
    """What an exported model says of itself."""
    from movinet.runtime.loading import file_size, load

    manifest = load(path, manifest=given).manifest
    size = file_size(path)
    if as_json:
        print(json.dumps({"path": str(path), "bytes": size, **json.loads(manifest.to_json())}))
        return
    page, spec, step = _Page(out()), manifest.input, manifest.kind == "step"
    page.heading(manifest.name, "exported stream model" if step else "exported base model")
    page.title("This file")
    page.row("path", str(path))
    page.row("size", quantity(size, "B"))
    page.row("numbers", manifest.quantization.replace("none", "float32"))
    version = manifest.project_version
    page.row("written by", f"movinet {version}" if version else "another program")
    page.row("origin", manifest.origin)
    page.row("labels", _first_labels(manifest.labels))
    for note in manifest.notes:
        page.row("note", note)
    page.title("Input and output")
    height, width, _ = manifest.frames.shape[1:]
    many = "any number" if manifest.batch_size is None else str(manifest.batch_size)
    page.row("frames", f"{manifest.num_frames} at a time, {height} x {width}, RGB")
    page.row("type", f"{manifest.frames.dtype}{' in [0, 1]' * (manifest.frames.dtype != 'uint8')}")
    page.row("frame rate", f"{spec.frame_rate:g} a second")
    page.row("streams" if step else "clips", f"{many} at a time")
    outputs = f"{manifest.output}, {len(manifest.labels)} classes"
    if manifest.multi_label:
        outputs += " (several labels a clip: sigmoids)"
    if manifest.embedding is not None:
        outputs += f"; embedding, {manifest.embedding_channels} channels"
    page.row("outputs", outputs)
    if step:
        numbers = sum(math.prod(side or 1 for side in state.shape[1:]) for state in manifest.states)
        state = f"{quantity(4 * numbers, 'B')} a stream as float32, {len(manifest.states)} tensors"
        page.row("stream state", f"{state}; --json names them")
        if manifest.embedding is None and manifest.embedding_channels is not None:
            page.row("embedding", f"{manifest.embedding_channels} channels, in the state")


def _show_bundled(facts: ModelFacts | EnsembleFacts, as_json: bool) -> None:
    """Facts of a bundled model, and what its exported file says."""
    from movinet.catalog.model_card import ModelFacts
    from movinet.runtime.loading import load

    assert isinstance(facts, ModelFacts)
    manifest = load(facts.name).manifest
    if as_json:
        bundled = {"origin": manifest.origin, "labels": manifest.labels, "notes": manifest.notes}
        print(json.dumps({**facts.to_json(), "bundled": bundled}, indent=2))
        return
    page = _Page(out())
    _print_model(page, facts)
    page.title("Bundled with movinet: weights, and an exported file that runs without PyTorch")
    page.row("use it", f"movinet predict VIDEO -m {facts.name}")
    page.row("origin", manifest.origin)
    page.row("labels", ", ".join(manifest.labels))


def _first_labels(labels: Sequence[str]) -> str:
    return ", ".join(labels[:8]) + (", ..." if len(labels) > 8 else "")


def _show_file(name: str, image_size: int | None, frames: int | None, as_json: bool) -> None:
    """Facts of the network that a file of weights belongs to, and what the file says."""
    from movinet.catalog.model_card import describe_network

    try:
        from movinet.network.model import MoViNet
        from movinet.weights.factory import load_model
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "safetensors"):
            raise
        raise MissingExtraError("reading weights", "torch") from None
    loaded = load_model(None, name)
    assert isinstance(loaded.model, MoViNet)  # files hold single networks
    info = loaded.info
    facts = describe_network(
        info.name, loaded.model.config, info.input, image_size=image_size, frames=frames
    )
    if as_json:
        file = {
            "path": name,
            "origin": info.origin,
            "labels": info.labels,
            "multi_label": info.multi_label,
            "notes": info.notes,
        }
        print(json.dumps({**facts.to_json(), "file": file}, indent=2))
        return
    page = _Page(out())
    _print_model(page, facts)
    page.title("This file")
    page.row("path", name)
    page.row("origin", info.origin)
    several = "; a clip may have several (sigmoids)" if info.multi_label else ""
    page.row("labels", _first_labels(info.labels) + several)
    for note in info.notes:
        page.row("note", note)


def quantity(value: float, unit: str = "") -> str:
    """A positive number in three digits: 2630000000 is "2.63 G", with unit "B" "2.63 GB"."""
    prefixes = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
    factor, prefix = next((p for p in prefixes if value >= 0.9995 * p[0]), (1, ""))
    scaled = value / factor
    digits = 0 if scaled >= 99.95 or factor == 1 else 1 if scaled >= 9.995 else 2
    return f"{scaled:,.{digits}f} {prefix}{unit}".rstrip()


class _Page:
    """Titles, labelled paragraphs and lines on a console, wrapped at words and never cut."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def heading(self, name: str, rest: str) -> None:
        from rich.text import Text

        self._console.print(Text.assemble((printable(name), "bold"), f"  {rest}"))

    def title(self, text: str) -> None:
        from rich.text import Text

        self._console.print()
        self._console.print(Text(text, style="bold cyan"))

    def row(self, label: str, text: str) -> None:
        from rich.text import Text

        first, *others = self._wrap(text, 2 + _LABEL)
        self._console.print(Text.assemble((f"  {label:{_LABEL}}", "dim"), first))
        for line in others:
            self._console.print(Text(" " * (2 + _LABEL) + line))

    def item(self, text: str) -> None:
        """A paragraph with a dash below the last row."""
        for i, line in enumerate(self._wrap(text, 6)):
            self._console.print(("    - " if i == 0 else "      ") + line)

    def link(self, label: str, text: str) -> None:
        """A line below the last row that is kept whole, so that its address can be copied."""
        from rich.text import Text

        self._console.print(Text.assemble((f"    {label}: ", "dim"), printable(text)))

    def _wrap(self, text: str, indent: int) -> list[str]:
        width = min(self._console.width, _LONGEST_LINE) - indent
        unbroken = r"(?<=\d) |(?<=\bx) "  # as in 12 MB, 50 x 172
        text = re.sub(unbroken, "\N{NO-BREAK SPACE}", printable(text))
        lines = textwrap.wrap(text, max(width, 20), break_long_words=False, break_on_hyphens=False)
        return [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines]


def _print_model(page: _Page, facts: ModelFacts) -> None:
    from movinet.catalog.model_card import preprocessing

    does = {
        "stream": "stream model: sees a video frame by frame, predicts at every frame",
        "base": "base model: sees a whole clip, predicts once",
    }
    page.heading(facts.name, does[facts.kind])
    _print_cost(page, facts)
    page.title("Input as trained")
    for label, text in preprocessing(facts):
        page.row(label, text)
    page.title("Network")
    for label, text in _network(facts.config):
        page.row(label, text)


def _print_cards(page: _Page, facts: ModelFacts) -> None:
    page.title("Published weights")
    for card in facts.cards:
        _print_card(page, card)
    if not facts.cards:
        page.row("none", "train it, or take a preset that has some: 'movinet list'")


def _print_cost(page: _Page, facts: ModelFacts) -> None:
    size, rate = facts.image_size, facts.input.frame_rate
    parameters, field = facts.parameters, facts.receptive_field
    page.title(f"Cost, counted for {_shape(facts.frames, size)} (frames x height x width)")
    page.row(
        "parameters",
        f"{quantity(parameters.total)} with {facts.config.num_classes} classes: "
        f"{parameters.trainable:,} trainable, {parameters.statistics:,} batch-norm statistics; "
        f"{quantity(4 * parameters.total, 'B')} as float32{_published_size(facts)}",
    )
    clip = f"{quantity(facts.multiply_adds)} a clip{_published_cost(facts)}"
    if facts.frame_multiply_adds is None:
        page.row("multiply-adds", clip)
    else:
        page.row("multiply-adds", f"{quantity(facts.frame_multiply_adds)} a streamed frame; {clip}")
    if facts.state_bytes is not None:
        page.row("stream state", f"{quantity(facts.state_bytes, 'B')} a stream, as float32")
    where = (
        f"the newest and the {field - 1} before it; poolings see all frames so far"
        if facts.config.causal
        else f"{field // 2} to either side; poolings see the whole clip"
    )
    page.row(
        "receptive field", f"{field} frames, {field / rate:.3g} s at {rate:g} a second: {where}"
    )


def _published_size(facts: ModelFacts) -> str:
    return f" (published file: {facts.cards[0].size_mb} MB)" if facts.cards else ""


def _published_cost(facts: ModelFacts) -> str:
    """The published figure beside the counted one; its source is printed with the card."""
    if not facts.cards:
        return ""
    spec = facts.input
    own = (facts.frames, facts.image_size) == (spec.num_frames, spec.image_size)
    both = ", the same as for base" if facts.config.causal else ""
    where = "" if own else " for the input as trained"
    return f" (published{where}: {facts.cards[0].gflops:g} G{both})"


def _shape(frames: int, size: int) -> str:
    return f"{frames} x {size} x {size}"


def _network(config: MoViNetConfig) -> list[tuple[str, str]]:
    kernels = "k x k, then k_t x 1 x 1 ((2+1)D)" if config.factorized else "k_t x k x k (3D)"
    time = "causal: past frames only" if config.causal else "centred: past and future frames"
    pools = {
        "3d": "means over space and time",
        "2d": "means over space",
        "2plus3d": "means over space, and over space and time",
        "none": "left out",
    }
    position = ", with the frame's position added" if config.positional_encoding else ""
    return [
        ("classes", str(config.num_classes)),
        ("blocks", str(sum(1 for _ in config.architecture.blocks()))),
        ("kernels", f"depthwise {kernels}; {time}"),
        ("squeeze-excite", f"{config.se_type}: {pools[config.se_type]}{position}"),
        (
            "activations",
            f"{config.activation}; gates {config.gating_activation}; "
            f"classifier's hidden layer {config.head_activation}",
        ),
    ]


def _print_card(page: _Page, card: Card) -> None:
    page.row(
        card.dataset,
        f"top-1 {card.top1:.2f} %, top-5 {card.top5:.2f} % (published, validation set, one clip); "
        f"{card.num_classes} classes",
    )
    page.link("use it", f"movinet predict VIDEO -m {card.preset} -w {card.dataset}")
    page.link("file", card.url)
    page.link("figures", card.figures_source)
    page.link("licence", card.license)
    page.item(f"Licence stated at {card.license_source}.")
    for doubt in card.doubts:
        page.item(doubt)


def _print_ensemble(page: _Page, facts: EnsembleFacts) -> None:
    names = " and ".join(member.name for member in facts.members)
    page.heading(facts.name, f"ensemble of {names}: the mean of their logits")
    page.title("Cost, counted for all members together")
    page.row("parameters", quantity(facts.parameters.total))
    page.row("multiply-adds", f"{quantity(facts.multiply_adds)} a video")
    page.title("Members, each fed the video at its own size and frame rate")
    for member in facts.members:
        page.row(
            member.name,
            f"{quantity(member.parameters.total)} parameters, {quantity(member.multiply_adds)} "
            f"multiply-adds for {_shape(member.frames, member.image_size)}"
            f"{_published_cost(member)}, {member.input.frame_rate:g} frames a second; "
            f"weights: {', '.join(card.dataset for card in member.cards)}",
        )
    page.title("Accuracy")
    page.row("kinetics-600", f"top-1 {facts.top1} % (published)")
    page.link("figures", facts.source)
    page.title("More")
    page.row("of a member", f"movinet info {facts.members[0].name}")
