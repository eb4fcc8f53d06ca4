"""Exported files that have lost their manifest, and manifests that are given by hand."""

import json
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_stream import SPEC, STREAM

import movinet
from movinet.errors import CheckpointError, ConfigError
from movinet.opening import open_model
from movinet.runtime import manifest as manifests
from networks import make_model

FRAMES = np.random.default_rng(0).integers(0, 256, (4, 40, 50, 3), np.uint8)


def of_tflite(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"PK\x03\x04")])


def of_onnx(path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.save(model, path)


def of_openvino(path: Path) -> None:
    text, found = re.subn(r"<movinet [^>]*>", "", path.read_text())
    assert found == 1
    path.write_text(text)


def of_archive(path: Path) -> None:
    with zipfile.ZipFile(path) as files:
        kept = {name: files.read(name) for name in files.namelist() if "movinet.json" not in name}
    with zipfile.ZipFile(path, "w") as files:
        for name, data in kept.items():
            files.writestr(name, data)


def of_executorch(path: Path) -> None:
    """Its method has another name."""
    path.write_bytes(path.read_bytes().replace(b"\7\0\0\0movinet\0", b"\7\0\0\0m0vinet\0"))


def of_native(path: Path) -> None:
    from movinet.exporting.writers.native import _ALIGNMENT, _BLOCK, _HEADER

    data = path.read_bytes()
    header = [*_HEADER.unpack_from(data)]
    blocks = -(-_BLOCK.size * header[4] // _ALIGNMENT) * _ALIGNMENT
    start = -(-_HEADER.size // _ALIGNMENT) * _ALIGNMENT + blocks
    size = -(-header[3] // _ALIGNMENT) * _ALIGNMENT
    header[2], header[3] = len(data) - size, 0
    path.write_bytes(_HEADER.pack(*header) + data[_HEADER.size : start] + data[start + size :])


LOSSES: list[Any] = [
    pytest.param(".tflite", of_tflite, None),
    pytest.param(".onnx", of_onnx, "onnxruntime"),
    pytest.param(".xml", of_openvino, "openvino"),
    pytest.param(".pt2", of_archive, None, marks=pytest.mark.heavy),
    pytest.param(".pte", of_executorch, "executorch", marks=pytest.mark.heavy),
    pytest.param(".mvn", of_native, "movinet._native"),
]


@pytest.fixture
def whole(runtime, tmp_path: Path) -> Path:
    """The manifest of the file, in a file of its own."""
    path = tmp_path / "whole.json"
    path.write_text(runtime.manifest.to_json())
    return path


@pytest.fixture
def bare(file: Path, tmp_path: Path) -> Path:
    path = tmp_path / "bare.tflite"
    path.write_bytes(file.read_bytes())
    of_tflite(path)
    return path


def outputs(path: Path, **options: Any) -> np.ndarray:
    stream = movinet.load(path, **options).stream()
    return np.stack([stream(frame) for frame in FRAMES])


def refused(message: str, path: Path, **options: Any) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        movinet.load(path, **options)
    assert "\n" not in str(caught.value)


def test_streams_of_the_native_engine_start_at_0(tmp_path: Path) -> None:
    pytest.importorskip("movinet._native", reason="the native engine is not built")
    path, given = tmp_path / "x.mvn", tmp_path / "manifest.json"
    movinet.export(make_model(STREAM), path, input_spec=SPEC)
    values = json.loads(movinet.load(path).manifest.to_json())
    values["states"][0]["initial"] = 1.0
    given.write_text(json.dumps(values))
    refused(r"x\.mvn: its network is not the one that its manifest describes", path, manifest=given)


@pytest.mark.parametrize(("suffix", "lose", "needs"), LOSSES)
def test_a_lost_manifest_can_be_given(
    suffix: str, lose: Callable[[Path], None], needs: str | None, tmp_path: Path
) -> None:
    if needs is not None:
        pytest.importorskip(needs, reason=f"{suffix} files run in {needs}, which is not here")
    path, given = tmp_path / f"x{suffix}", tmp_path / "manifest.json"
    movinet.export(make_model(STREAM), path, input_spec=SPEC)
    given.write_text(movinet.load(path).manifest.to_json())
    wanted = outputs(path)
    lose(path)
    refused(
        rf"x\{suffix}: it has no movinet manifest, which states its labels, input and state: give "
        "one with --manifest FILE",
        path,
    )
    np.testing.assert_array_equal(outputs(path, manifest=given), wanted)
    values = json.loads(given.read_text())
    values["labels"].append("one more")
    for spec in values["outputs"]:
        if spec["name"] == "logits":
            spec["shape"][1] += 1
    given.write_text(json.dumps(values))
    refused("not the one (of its manifest|that its manifest describes)", path, manifest=given)


def test_nothing_beside_a_file_is_taken_for_its_manifest(bare: Path, whole: Path) -> None:
    """There is one way to give one."""
    bare.with_name("bare.tflite.json").write_bytes(whole.read_bytes())
    refused("it has no movinet manifest", bare)


def test_a_manifest_that_is_given_counts(file: Path, whole: Path) -> None:
    """Be the one inside whole or broken."""
    values = json.loads(whole.read_text())
    values["labels"] = [f"other {i}" for i in range(len(values["labels"]))]
    whole.write_text(json.dumps(values))
    assert movinet.load(file, manifest=whole).info.labels[0] == "other 0"
    broken = whole.with_name("broken.tflite")
    broken.write_bytes(file.read_bytes())
    of_tflite(broken)
    with zipfile.ZipFile(broken, "a") as archive:
        archive.writestr("movinet.json", "{")
    refused(r"broken\.tflite: its movinet manifest is broken: it is not JSON", broken)
    assert movinet.load(broken, manifest=str(whole)).info.labels[0] == "other 0"


def test_a_manifest_of_another_graph_is_refused(bare: Path, batches, whole: Path) -> None:
    whole.write_text(batches.manifest.to_json())
    refused(r"bare\.tflite: its graph is not the one of its manifest: ", bare, manifest=whole)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "it is not JSON: Expecting value"),
        (b"\xff\xfe{", "it is not JSON: "),
        (b"[" * 100_000, "RecursionError"),
        (b"[1]", r"it is not a JSON object, but \[1\]"),
        (b"{}", "it has no 'movinet', the version of its format"),
        (b'{"movinet": 2}', "version 2 is not one of 1 to 1"),
        (b'{"movinet": 1}', "it has no 'input'"),
    ],
)
def test_what_is_no_manifest_is_one_line(bare: Path, whole: Path, text: bytes, reason: str) -> None:
    whole.write_bytes(text)
    refused(rf"whole\.json: its movinet manifest is broken: {reason}", bare, manifest=whole)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda values: values.pop("labels"), "it has no 'labels'"),
        (lambda values: values.update(lables=[]), "it has an unknown field 'lables'"),
        (lambda values: values.update({"\x1b[2J": 1}), r"it has an unknown field '.*2J'"),
        (lambda values: values.update(input=3), "input must be an object, not 3"),
        (lambda values: values["input"].pop("frame_rate"), "input has no 'frame_rate'"),
        (lambda values: values["states"][0].pop("next"), "one of states has no 'next'"),
        (lambda values: values["inputs"].append("x"), "one of inputs must be an object, not 'x'"),
        (lambda values: values["outputs"][0].update(shape=3), "a shape must be a list of at most"),
        (lambda values: values.update(labels="red"), "labels must be a list of at most"),
    ],
)
def test_fields_that_are_wrong_are_named(bare: Path, whole: Path, change, reason: str) -> None:
    values = json.loads(whole.read_text())
    change(values)
    whole.write_text(json.dumps(values))
    refused(rf"whole\.json: its movinet manifest is broken: {reason}", bare, manifest=whole)


def test_a_manifest_is_a_file_of_bounded_size(
    bare: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused(r"none\.json: there is no such manifest file", bare, manifest=tmp_path / "none.json")
    refused("there is no such manifest file", bare, manifest=tmp_path)
    refused("there is no such manifest file", bare, manifest=os.devnull)
    monkeypatch.setattr(manifests, "MAX_BYTES", whole.stat().st_size - 1)
    refused(r"whole\.json: .* it is larger than \d+ bytes", bare, manifest=whole)


@pytest.mark.parametrize("model", ["a0_stream", "a6_base"])
def test_a_manifest_is_for_exported_files(model: str, whole: Path) -> None:
    with pytest.raises(
        ConfigError, match=f"a manifest belongs to an exported .* {model} is not one"
    ):
        open_model(model, manifest=whole)
    for weights in ("motions", "x.safetensors"):
        with pytest.raises(ConfigError, match=f"and {weights} is not one: omit it"):
            open_model(None, weights=weights, manifest=whole)
    with pytest.raises(ConfigError, match="an exported model ends in one of"):
        movinet.load("x.safetensors", manifest=whole)
