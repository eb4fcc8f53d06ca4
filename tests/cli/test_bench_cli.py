"""`movinet bench`: figures of every kind of model, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import movinet
from movinet.cli import build_app
from movinet.exporting.export import export
from movinet.network.config import InputSpec
from movinet.network.model import MoViNet
from networks import make_model, tiny_base, tiny_stream

SPEC = InputSpec(32, 36, 5, 4)


def bench(*arguments: object) -> Result:
    words = ["bench", *map(str, arguments)]
    return CliRunner().invoke(build_app(), words, env={"COLUMNS": "120"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    stream, base = make_model(tiny_stream()), make_model(tiny_base())
    cases: tuple[tuple[str, MoViNet, dict[str, Any]], ...] = (
        ("one", stream, {}),
        ("any", stream, {"batch_size": None}),
        ("two", stream, {"batch_size": 2, "num_frames": 3}),
        ("resizes", stream, {"source_size": (40, 50)}),
        ("clip", base, {"num_frames": 3}),
    )
    for name, model, options in cases:
        export(model, folder / f"{name}.tflite", input_spec=SPEC, **options)
    return folder


@pytest.mark.heavy
@pytest.mark.nightly  # the other tests have the command, those of the formats their engines
def test_figures_of_every_kind_of_file(folder: Path, tmp_path: Path) -> None:
    names = [str(folder / f"{name}.tflite") for name in ("one", "any", "two", "resizes", "clip")]
    plot = tmp_path / "bench.png"
    done = bench(*names, "--seconds", 0.2, "--streams", 5, "--json", "--plot", plot)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["threads"], told["seconds"]) == (1, 0.2)
    assert told["machine"]["cores"] >= 1
    results = told["results"]
    assert [one["name"] for one in results] == names
    assert [one["unit"] for one in results] == [1, 1, 6, 1, 3]
    assert [one["streams"] for one in results] == [5, 5, 6, 5, 1]
    for one in results:
        assert one["bytes"] == Path(one["name"]).stat().st_size
        assert one["engine"].startswith("LiteRT ")
        assert one["steps"] >= 5  # one a round
        latency = one["latency"]
        assert 0 < latency["median"] <= latency["p90"] <= latency["p99"] < one["load"] * 100
        assert one["frames_per_second"] > 0
        assert one["throughput"] > 0
    if sys.platform == "linux":
        assert all(one["memory"] > one["bytes"] for one in results)
    sizes = [one["state_bytes"] for one in results]
    assert sizes[0] == sizes[1] == sizes[2] == sizes[3] > 0
    assert sizes[4] is None
    assert plot.read_bytes().startswith(b"\x89PNG")


@pytest.mark.heavy
def test_a_file_that_has_lost_its_manifest(folder: Path, tmp_path: Path) -> None:
    whole, bare, manifest = folder / "one.tflite", tmp_path / "bare.tflite", tmp_path / "m.json"
    bare.write_bytes(whole.read_bytes()[: whole.read_bytes().index(b"PK\x03\x04")])
    manifest.write_text(movinet.load(whole).manifest.to_json())
    done = bench(bare, "--manifest", manifest, "--seconds", 0.05, "--streams", 1, "--json")
    assert done.exit_code == 0, done.output
    (figures,) = json.loads(done.stdout)["results"]
    assert figures["bytes"] == bare.stat().st_size
    assert figures["state_bytes"] > 0


@pytest.mark.heavy
def test_a_preset_beside_the_embedded_model() -> None:
    done = bench("motions", "t0_stream", "--seconds", 0.05, "--streams", 1)
    assert done.exit_code == 0, done.output
    rows = {line.split()[0]: line.split() for line in done.stdout.splitlines()[2:]}
    assert rows["motions"][1] == "LiteRT"
    assert rows["t0_stream"][1] == "PyTorch"
    assert rows["t0_stream"][3] == "-"  # it has no file
    assert "cores" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("none.tflite", 1, "none.tflite: there is no such file"),
        ("{}/broken.tflite", 1, "it is not a .tflite file"),
        ("a6_base", 2, "a6_base is an ensemble"),
        ("a0_stram", 2, "did you mean a0_stream?"),
        ("motions motions", 2, "motions is there twice"),
        ("motions --streams 0", 2, "streams must be from 1 to 4096, not 0"),
        ("motions --threads 0", 2, "threads must be from 1 to 256, not 0"),
        ("motions --seconds 0", 2, "seconds must be positive"),
        ("motions --seconds nan", 2, "seconds must be positive"),
        ("motions --plot x.doc", 2, "must end in .png, .svg, .pdf"),
    ],
)
def test_what_cannot_be_is_one_line(folder: Path, arguments: str, code: int, message: str) -> None:
    (folder / "broken.tflite").write_bytes(b"no model at all")
    done = bench(*arguments.format(folder).split())
    assert done.stderr.count("\n") == 1, done.stderr
    assert message in done.stderr
    assert (done.exit_code, done.stdout) == (code, "")


def test_a_process_that_dies_is_one_line() -> None:
    code = (
        "import os, movinet.benchmarking as b\n"
        "b._Running = lambda *_: os._exit(9)\n"
        "b.multiprocessing.get_context = lambda _: __import__('multiprocessing')"
        ".context.ForkContext()\n"
        "from movinet.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "bench", "motions"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: motions: its process ended by itself (out of memory?)\n"
