"""`movinet export`: a model as one file that runs without PyTorch."""

from __future__ import annotations

import dataclasses
import json
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from movinet.cli.common import out, printable
from movinet.cli.models import HeadActivationOption, MultiLabelOption, say_model
from movinet.errors import ConfigError, MissingExtraError
from movinet.runtime.formats import FORMATS, listed

if TYPE_CHECKING:
    from movinet.exporting.export import Exported

#: Of the counted operations, those that are named.
_NAMED = 6


def command(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A preset, such as a0_stream; motions, the bundled model; or a file of weights "
            "(.tflite files are, too), which determines its preset and classes.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help=f"Its suffix is the format: {listed()}.",
        ),
    ] = None,
    triton: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Instead of a file: a model in a repository of Triton Inference Server, whose "
            "sequences are streams.",
        ),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Instead of a file: a web page with the model inside, for any web server; its "
            "camera is recognised on the device. Kernels are int8 unless --quantize float16.",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            "-w",
            metavar="NAME_OR_FILE",
            help="Published weights, such as kinetics-600, or a checkpoint.",
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels",
            "-l",
            metavar="NAME_OR_FILE",
            help="Names of the classes: kinetics-600 and the like, or a text file.",
        ),
    ] = None,
    head_activation: HeadActivationOption = None,
    multi_label: MultiLabelOption = False,
    image_size: Annotated[
        int | None,
        typer.Option(metavar="PIXELS", help="Height and width of the frames.", show_default=False),
    ] = None,
    batch: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER|any", help="Streams, or clips, that are stepped together. [1]"
        ),
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option(
            metavar="NUMBER",
            help="Frames in one step of a stream (default 1), or in a clip (default the preset's).",
            show_default=False,
        ),
    ] = None,
    float_input: Annotated[
        bool, typer.Option("--float-input", help="Frames as float32 in [0, 1], not as uint8.")
    ] = False,
    softmax: Annotated[
        bool, typer.Option("--softmax", help="Let the file give probabilities, not logits.")
    ] = False,
    outputs: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="logits, or logits,embedding for the network's pooled embedding too.",
        ),
    ] = "logits",
    source_size: Annotated[
        str | None,
        typer.Option(
            metavar="HEIGHTxWIDTH",
            help="Let the file resize and crop frames of this size itself.",
        ),
    ] = None,
    quantize: Annotated[
        Literal["float16", "dynamic", "mixed", "int8"] | None,
        typer.Option(
            help="float16: kernels; dynamic: int8 kernels; mixed: of both; int8: activations too.",
        ),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="For int8: videos like those to come, or one of them."),
    ] = None,
    half_life: Annotated[
        str | None,
        typer.Option(
            metavar="SECONDS",
            help="With --triton: after which a frame counts half, or inf. [5]",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="With --triton: of the model. [the preset's]"),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what was written as JSON.")
    ] = False,
) -> None:
    """Write a model as one file that runs without PyTorch.

    The file holds the network, the layout of a stream's state, labels and
    preprocessing. It is run against the model before it gets its name: the
    largest difference is printed, and a file that is wrong is not kept.

    For example:

      movinet export a0_stream -w kinetics-600 -o a0.tflite

      movinet export run/model.safetensors -o mine.onnx --batch any

      movinet export a2_base -w kinetics-600 -o a2.tflite --frames 20

      movinet export run/model.safetensors -o mine.tflite --quantize int8 --calibration videos/

      movinet export run/model.safetensors --triton models --softmax

      movinet export motions --page site
    """
    if sum(each is not None for each in (output, triton, page)) != 1:
        raise ConfigError("give the output: --output FILE, --triton DIR or --page DIR")
    if triton is None and (half_life, name) != (None, None):
        raise ConfigError("--half-life and --name are of --triton; a file takes any half-life")
    if triton is not None and (frames not in (None, 1) or batch not in (None, "any")):
        raise ConfigError("Triton makes batches of single frames: omit --frames and --batch")
    options = {
        "image_size": image_size,
        "batch_size": _batch(batch or ("1" if triton is None else "any")),
        "num_frames": frames,
        "uint8": not float_input,
        "softmax": softmax,
        "outputs": [name.strip() for name in outputs.split(",")],
        "source_size": None if source_size is None else _size(source_size),
        "quantize": quantize,
        "calibration": calibration,
        "multi_label": multi_label or None,
    }
    given = (weights, labels, head_activation, options)
    if output is not None:
        exported = _export(model, output, *given)
    elif page is not None:
        exported = _export_page(model, page, *given)
    else:
        assert triton is not None
        exported = _export_triton(model, triton, name, half_life, *given)
    if as_json:
        print(json.dumps(_facts(exported), indent=2))
    else:
        _print(exported)


def _batch(text: str) -> int | None:
    if text == "any":
        return None
    if not text.isdecimal():
        raise ConfigError(f"--batch must be a number or any, not {text!r}")
    return int(text)


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if found is None:
        raise ConfigError(f"--source-size must be HEIGHTxWIDTH, as in 720x1280, not {text!r}")
    return int(found[1]), int(found[2])


def _export(
    model: str,
    output: Path,
    weights: str | None,
    labels: str | None,
    head_activation: str | None,
    options: dict[str, Any],
    *,
    streams_only: str = "",
) -> Exported:
    """Load the model, say on stderr what it is, and write it."""
    from movinet.labels import load_labels
    from movinet.model_names import resolve_network
    from movinet.network.presets import ENSEMBLES

    named = resolve_network(model, weights)
    if named.kind == "ensemble":
        members = " and ".join(ENSEMBLES[model])
        raise ConfigError(f"{model} is an ensemble: export its members one by one, {members}")
    names = None if labels is None else load_labels(labels)
    try:
        from movinet.exporting.export import check_output, export
        from movinet.weights.factory import load_model
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "safetensors"):
            raise
        row = FORMATS.get(output.suffix)
        extra = ",".join(filter(None, ("export", row and row.extra)))
        raise MissingExtraError("exporting models", extra) from None
    check_output(output)  # before anything is fetched
    overrides: dict[str, Any] = {}
    if head_activation is not None:
        overrides["head_activation"] = head_activation
    loaded = load_model(named.preset, named.weights, labels=names, **overrides)
    info = loaded.info
    if streams_only and not info.streaming:
        stream = info.name.replace("_base", "_stream")
        raise ConfigError(f"{info.name} is a base model: {streams_only}, {stream}")
    if options["multi_label"] is not None:
        info = dataclasses.replace(info, multi_label=options["multi_label"])
    say_model(info, "", "predictions")
    return export(loaded, output, **options)


def _export_triton(
    model: str, repository: Path, name: str | None, half_life: str | None, *given: Any
) -> Exported:
    """Write a model into a repository of Triton, by way of an .onnx file."""
    from movinet.cli.watch import half_life_of
    from movinet.exporting.triton import check_repository, write_repository
    from movinet.runtime.loading import load

    if name is not None:
        check_repository(repository, name)  # before any work
    with tempfile.TemporaryDirectory(prefix="movinet-") as folder:
        exported = _export(
            model,
            Path(folder) / "model.onnx",
            *given,
            streams_only="Triton's sequences are streams",
        )
        seconds = half_life_of(half_life, load(exported.path))
        written = write_repository(exported.path, repository, name=name, half_life=seconds)
    return dataclasses.replace(exported, path=written)


def _export_page(model: str, folder: Path, *given: Any) -> Exported:
    """Write a page, by way of a .mvn file."""
    from movinet.exporting.page import check_folder, write_page

    check_folder(folder)  # before any work
    options = given[-1]
    options["quantize"] = options["quantize"] or "dynamic"
    with tempfile.TemporaryDirectory(prefix="movinet-") as work:
        exported = _export(
            model, Path(work) / "model.mvn", *given, streams_only="a page sees streams"
        )
        size = write_page(exported.path, folder)
    return dataclasses.replace(exported, path=folder, size=size)


def _facts(exported: Exported) -> dict[str, Any]:
    """What was written as JSON values."""
    manifest, agreement = exported.manifest, exported.agreement
    return {
        "path": str(exported.path),
        "bytes": exported.size,
        "model": manifest.name,
        "origin": manifest.origin,
        "kind": manifest.kind,
        "image_size": manifest.input.image_size,
        "batch_size": manifest.batch_size,
        "num_frames": manifest.num_frames,
        "quantization": manifest.quantization,
        "outputs": [manifest.output, *(["embedding"] if manifest.embedding else [])],
        "num_classes": len(manifest.labels),
        "multi_label": manifest.multi_label,
        "operations": exported.operations,
        "agreement": vars(agreement),
    }


def _print(exported: Exported) -> None:
    manifest, agreement, console = exported.manifest, exported.agreement, out()
    step, size = manifest.kind == "step", manifest.input.image_size
    many = "any number of" if manifest.batch_size is None else str(manifest.batch_size)
    unit = ("stream" if step else "clip") + ("" if manifest.batch_size == 1 else "s")
    frames = f"{manifest.num_frames} frame{'s' if manifest.num_frames > 1 else ''}"
    shape = "x".join(str(side) for side in manifest.frames.shape[1:3])
    kinds = [f"{count} {kind}" for kind, count in exported.operations.items()]
    more = ", ..." if len(kinds) > _NAMED else ""
    console.print(
        printable(f"{exported.path}  {manifest.name}, {len(manifest.labels)} classes"), style="bold"
    )
    rows = {
        "size": f"{exported.size / 1e6:.2f} MB, {manifest.quantization.replace('none', 'float32')}",
        "takes": f"{frames} of {shape} {manifest.frames.dtype} at a time, for {many} {unit}",
        "gives": manifest.output,
        "operations": f"{sum(exported.operations.values())}: {', '.join(kinds[:_NAMED])}{more}",
        "agreement": f"largest error {agreement.error:.1g} of the largest output, over "
        + (f"{agreement.steps} steps with carried state" if step else "a clip"),
    }
    if manifest.embedding is not None:
        rows["gives"] += f", embedding of {manifest.embedding_channels} channels"
    if agreement.embedding_error is not None:
        rows["agreement"] += f"; {agreement.embedding_error:.1g} of the embedding's"
    if size != manifest.frames.shape[1]:
        rows["takes"] += f", resized to {size}x{size} inside"
    for name, text in rows.items():
        console.print(printable(f"  {name:12}{text}"))
