"""What every format keeps, row by row of `FORMATS`: a new row is tested as it is listed."""

import importlib.util
import re
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
import torch

import movinet
from exported_formats import (
    BASE,
    SPEC,
    STREAM,
    SUFFIXES,
    check_any_batch,
    check_engine,
    export,
    export_preset,
    needs,
    noise,
    refused,
)
from gate import only
from movinet.cli.export import command
from movinet.errors import ConfigError, MovinetError
from movinet.exporting.graph.program import Program
from movinet.network import convolution
from movinet.runtime.base import Runtime
from movinet.runtime.formats import FORMATS, QUANTIZATIONS, Format
from movinet.torch_runtime import wrap
from movinet.version import __version__
from networks import make_model
from test_docs import ROOT, rows_of

LABELS = ['köpfen & "mehr" <1>', "二", *(f"label {i}" for i in range(5))]
#: Exports of streams, each of which `movinet.export` compares with the model, with carried state.
OPTIONS = [
    {"batch_size": 2},
    {"num_frames": 3, "batch_size": 2, "softmax": True},
    {"uint8": False},
    {"outputs": ("logits", "embedding")},
]
TOLERANCE = 1e-4
CLIP_OPTIONS = [{}, {"batch_size": 2}, {"num_frames": 7, "uint8": False}]


@pytest.fixture(params=SUFFIXES)
def row(request: pytest.FixtureRequest) -> Format:
    """A format that is installed."""
    needs(request.param)
    return FORMATS[request.param]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """suffix -> the export of a stream, with labels, of the formats that a test asked for."""
    return Made(tmp_path_factory.mktemp("formats"))


class Made(dict[str, Any]):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def __missing__(self, suffix: str) -> Any:
        self[suffix] = export(STREAM, self.folder / f"x{suffix}", labels=LABELS)
        return self[suffix]


def test_a_row_says_where_its_parts_are() -> None:
    for suffix, row in FORMATS.items():
        assert suffix == row.suffix
        assert set(row.quantizations) <= set(QUANTIZATIONS)
        for name in (row.engine, row.writer):
            assert importlib.util.find_spec(name.partition(":")[0]) is not None, name


def test_help_lists_every_format() -> None:
    (option,) = get_args(get_type_hints(command, include_extras=True)["output"])[1:]
    for row in FORMATS.values():
        assert f"{row.suffix} ({row.title})" in option.help


def test_the_pages_are_the_table() -> None:
    deploy = {cells[0]: cells[1] for cells in rows_of(ROOT / "docs" / "deploy.md", "suffix")}
    assert deploy == {row.suffix: row.title for row in FORMATS.values()}
    page, rows = ROOT / "docs" / "exporting.md", FORMATS.values()
    suffixes = " | ".join(f"`{row.suffix}`" for row in rows)
    table = rows_of(page, f"| {suffixes}")
    words = {QUANTIZATIONS: "all four", (): "no"}
    assert table == [
        ["stream presets", *("all" for _ in rows)],
        ["base presets", *("all" if row.base_models else "none" for row in rows)],
        ["any number of streams (`--batch any`)", *(_yes(row.any_batch) for row in rows)],
        ["resizing inside (`--source-size`)", *(_yes(row.resizes) for row in rows)],
        [
            "--quantize",
            *(words.get(row.quantizations, "`, `".join(row.quantizations)) for row in rows),
        ],
    ]


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def test_a_stream_is_the_model(row: Format, made: dict[str, Any]) -> None:
    """Frame by frame, from pixels, against PyTorch's own stream; and again after a reset."""
    frames = noise(6, 32, 32, 3)
    stream = movinet.load(made[row.suffix].path).stream(resize=False)
    theirs: Runtime = wrap(make_model(STREAM), LABELS, SPEC)
    clip = frames.astype(np.float32) / np.float32(255)
    wanted = torch.from_numpy(theirs.running_logits(clip)[0]).softmax(-1).numpy()
    for _ in range(2):
        found = [stream(frame) for frame in frames]
        np.testing.assert_allclose(found, wanted, atol=1e-5)
        stream.reset()
        assert stream.frame_counts.tolist() == [0]


def test_pixels_are_what_scaled_frames_are(row: Format, made: dict[str, Any]) -> None:
    """Callers keep uint8, a quarter of the memory, and whichever the file takes is the same."""
    frames = noise(4, 32, 32, 3)
    scaled = frames.astype(np.float32) / np.float32(255)
    runtime = movinet.load(made[row.suffix].path)
    for run in (runtime.running_logits, runtime.running_embeddings):
        np.testing.assert_array_equal(run(frames)[0], run(scaled)[0])
    with pytest.raises(ConfigError, match=r"frames must be uint8 .* or float32 .*, not int64"):
        runtime.running_logits(frames.astype(np.int64))


def test_streams_keep_to_themselves(row: Format, made: dict[str, Any]) -> None:
    check_engine(made[row.suffix].path)


def test_a_snapshot_continues_in_another_stream(row: Format, made: dict[str, Any]) -> None:
    runtime = movinet.load(made[row.suffix].path)
    first, second = runtime.stream(resize=False), runtime.stream(resize=False)
    frames = noise(5, 32, 32, 3)
    for frame in frames[:3]:
        first(frame)
    second.restore(first.snapshot())
    for frame in frames[3:]:
        np.testing.assert_array_equal(second(frame), first(frame))


def test_the_file_says_what_it_is(row: Format, made: dict[str, Any]) -> None:
    exported = made[row.suffix]
    manifest = movinet.load(exported.path).manifest
    assert manifest.labels == tuple(LABELS)
    assert manifest.input == SPEC
    assert manifest.kind == "step"
    assert manifest.project_version == __version__
    assert movinet.MoViNetConfig.from_dict(dict(manifest.config)) == STREAM
    files = row.files(exported.path)
    assert exported.size == sum(file.stat().st_size for file in files)
    # Whose machine wrote it is nobody's business.
    for file in files:
        assert str(Path(movinet.__file__).parent).encode() not in file.read_bytes()


def test_the_operations_are_those_of_the_file(row: Format, made: dict[str, Any]) -> None:
    """As many convolutions over frames as the network has layers of the kind."""
    operations = made[row.suffix].operations
    layers = [m for m in make_model(STREAM).modules() if isinstance(m, convolution.ConvNorm)]
    inside = [m for m in layers if m.weight.shape[1] > 1 and m.kernel[0] == 1]
    assert operations["conv"] == len(inside)
    assert operations["dense"] >= 2
    if row.content == "network":  # no graph around them
        assert set(operations) == {"conv", "depthwise", "dense"}


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_streams_export_with_every_option(
    row: Format, options: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / f"x{row.suffix}"
    done = export(STREAM, path, **options)
    assert done.agreement.steps > 1
    assert done.agreement.error < TOLERANCE
    assert sorted(tmp_path.iterdir()) == sorted(row.files(path))


@pytest.mark.parametrize("options", CLIP_OPTIONS, ids=str)
def test_base_models_export_as_clips(row: Format, options: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / f"x{row.suffix}"
    if not row.base_models:
        _refused(BASE, path, options, "stream models only")
        return
    done = export(BASE, path, **options)
    assert done.manifest.kind == "clip"
    assert done.manifest.num_frames == options.get("num_frames", SPEC.num_frames)
    assert done.agreement.error < TOLERANCE


@pytest.mark.parametrize("quantize", QUANTIZATIONS)
def test_smaller_numbers(row: Format, quantize: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{row.suffix}"
    options: dict[str, Any] = {"quantize": quantize}
    if quantize == "int8":
        options["calibration"] = [noise(6, 40, 50, 3)]
    if quantize not in row.quantizations:
        _refused(STREAM, path, options, f"cannot be quantized with '{quantize}'")
        return
    done = export(STREAM, path, **options)
    assert done.manifest.quantization == quantize
    assert done.agreement.error > 0  # `export` itself keeps it small


def test_any_number_of_streams_may_go_together(row: Format, tmp_path: Path) -> None:
    path = tmp_path / f"x{row.suffix}"
    if row.any_batch:
        export(STREAM, path, batch_size=None)
        check_any_batch(path)
    else:
        _refused(STREAM, path, {"batch_size": None}, "need a fixed batch_size")


def test_the_file_may_resize(row: Format, tmp_path: Path) -> None:
    path = tmp_path / f"x{row.suffix}"
    if row.resizes:
        assert export(STREAM, path, source_size=(60, 45)).agreement.error < 0.01
    else:
        _refused(STREAM, path, {"source_size": (60, 45)}, "cannot resize frames")


def _refused(config: Any, path: Path, options: dict[str, Any], message: str) -> None:
    """Assert that an export is refused in one line, with nothing left behind."""
    with pytest.raises(ConfigError, match=message) as caught:
        export(config, path, **options)
    assert str(caught.value).startswith(f"{path.suffix} files")
    assert "\n" not in str(caught.value)
    assert not list(path.parent.iterdir())


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((32, 32), np.uint8),
        np.zeros((31, 32, 3), np.uint8),
        np.zeros((32, 32, 3), np.float32),
        "frame",
    ],
    ids=["grey", "size", "floats", "text"],
)
def test_wrong_frames_are_refused(row: Format, made: dict[str, Any], wrong: Any) -> None:
    stream = movinet.load(made[row.suffix].path).stream(resize=False)
    with pytest.raises(ConfigError, match="frame") as caught:
        stream(wrong)
    assert "\n" not in str(caught.value)
    assert stream.frame_counts.tolist() == [0]


def test_broken_files_are_refused(row: Format, made: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / f"x{row.suffix}"
    whole = made[row.suffix].path.read_bytes()
    for data in (b"no model at all", b"", whole[: len(whole) // 2]):
        path.write_bytes(data)
        refused(path, re.escape(path.name))
    path.unlink()
    refused(path, "there is no such file")


@pytest.mark.parametrize("field", ["activation", "gating_activation", "head_activation"])
def test_an_activation_that_a_format_lacks_is_one_line(
    row: Format, field: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here one that PyTorch has and nothing else."""
    usual = convolution.activate

    def activate(x: torch.Tensor, name: str) -> torch.Tensor:
        return torch.tanh(x) if name == "made-up" else usual(x, name)

    for module in ("convolution", "layers", "model"):
        monkeypatch.setattr(f"movinet.network.{module}.activate", activate)
    monkeypatch.setattr("movinet.network.config._check_type", lambda *_: None)
    path = tmp_path / f"x{row.suffix}"
    with pytest.raises(ConfigError, match="activation 'made-up'") as caught:
        export(STREAM.replace(**{field: "made-up"}), path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_an_activation_that_only_the_graph_has_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Engines of their own refuse it by themselves."""
    usual = Program.activate

    def activate(self: Program, name: str, x: Any, activation: str) -> Any:
        return usual(self, name, x, "swish" if activation == "made-up" else activation)

    monkeypatch.setattr(Program, "activate", activate)
    monkeypatch.setattr("movinet.network.config._check_type", lambda *_: None)
    config = STREAM.replace(head_activation="made-up")
    for row in FORMATS.values():
        if row.content == "network":
            path = tmp_path / f"x{row.suffix}"
            with pytest.raises(ConfigError, match=r"'made-up'.*export the model as") as caught:
                export(config, path)
            assert "\n" not in str(caught.value)
            assert not list(tmp_path.iterdir())


@pytest.mark.heavy
@pytest.mark.parametrize("name", only("a0_stream"))
def test_every_preset_exports(row: Format, name: str, tmp_path: Path) -> None:
    if not row.base_models and name.endswith("base"):
        pytest.skip(f"{row.suffix} files hold streams only")
    done = export_preset(name, tmp_path / f"x{row.suffix}")
    assert done.agreement.error < TOLERANCE


def test_suffixes_of_no_format_are_refused_with_all_that_there_are(tmp_path: Path) -> None:
    every = re.escape(", ".join(FORMATS))
    with pytest.raises(ConfigError, match=every):
        export(STREAM, tmp_path / "x.bin")
    with pytest.raises(MovinetError, match=every):
        movinet.load(tmp_path / "x.bin")
