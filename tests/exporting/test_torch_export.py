"""torch.export's archives: they do what the model does, and are never trusted."""

import json
import logging
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import movinet
from exported_formats import (
    STREAM,
    export,
    refused,
)
from movinet.errors import CheckpointError

pytestmark = pytest.mark.heavy  # torch.export takes seconds for the smallest network


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("archive") / "x.pt2"
    export(STREAM, path, batch_size=None)
    return path


def rewrite(archive: Path, path: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """A copy of an archive in which something was changed."""
    with zipfile.ZipFile(archive) as files:
        texts = {name.partition("/")[2]: files.read(name) for name in files.namelist()}
    change(texts)
    with zipfile.ZipFile(path, "w") as files:
        for name, text in texts.items():
            files.writestr(f"x/{name}", text)
    return path


def graph_with(change: Callable[[dict], None]) -> Callable[[dict[str, bytes]], None]:
    def changed(texts: dict[str, bytes]) -> None:
        graph = json.loads(texts["models/model.json"])
        change(graph)
        texts["models/model.json"] = json.dumps(graph).encode()

    return changed


def call_out(graph: dict) -> None:
    graph["graph_module"]["graph"]["nodes"][0]["target"] = "torch.hub.load"


def compute_size(graph: dict) -> None:
    text = json.dumps(graph).replace("Symbol(", "__import__('os').system('true') or Symbol(")
    graph.update(json.loads(text))


def guard(graph: dict) -> None:
    graph["guards_code"] = ["__import__('os').system('true') == 0"]


def nest(graph: dict) -> None:
    text = json.dumps(graph).replace("builtins.tuple", "collections.defaultdict")
    graph.update(json.loads(text))


def pickle_weights(texts: dict[str, bytes]) -> None:
    name = "data/weights/model_weights_config.json"
    texts[name] = texts[name].replace(b'"use_pickle": false', b'"use_pickle": true')


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (graph_with(call_out), "the operation 'torch.hub.load'"),
        (graph_with(compute_size), "the expression .*__import__"),
        (graph_with(guard), "the condition .*__import__"),
        (graph_with(nest), "arguments in 'collections.defaultdict'"),
        (pickle_weights, "a pickled tensor"),
        (lambda texts: texts.update({"data/sample_inputs/model.pt": b"pickle"}), "model.pt"),
        (lambda texts: texts.update({"data/constants/custom_obj_0": b"pickle"}), "custom_obj_0"),
        (lambda texts: texts.update({"data/aotinductor/model/x.so": b"code"}), "x.so"),
        (lambda texts: texts.pop("extra/movinet.json"), "it has no movinet manifest"),
        (lambda texts: texts.pop("models/model.json"), "its graph is not complete"),
    ],
)
def test_what_could_run_code_is_refused(change, message: str, archive: Path, tmp_path) -> None:
    refused(rewrite(archive, tmp_path / "x.pt2", change), message)


def test_a_rewritten_archive_is_still_one(archive: Path, tmp_path: Path) -> None:
    """So the refusals above are of what was changed."""
    movinet.load(rewrite(archive, tmp_path / "x.pt2", lambda _: None))


def test_other_files_are_refused(archive: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.pt2"
    path.write_bytes(b"no archive")
    refused(path, r"it is not a \.pt2 file")
    path.write_bytes(archive.read_bytes()[:5000])
    refused(path, r"it is not a \.pt2 file")


def test_names_that_are_no_text_are_one_line(archive: Path, tmp_path: Path) -> None:
    data = bytearray(archive.read_bytes())
    at = data.rfind(b"PK\x01\x02")
    data[at + 9] |= 8  # the name is said to be UTF-8
    data[at + 46] = 0xFF
    path = tmp_path / "x.pt2"
    path.write_bytes(data)
    refused(path, r"it is not a \.pt2 file, or a broken one")


@pytest.mark.parametrize("name", ["dim", "length"])
def test_graphs_that_cannot_run_are_one_line(name: str, archive: Path, tmp_path: Path) -> None:
    """PyTorch finds out at a step what the graph says."""

    def change(graph: Any) -> None:
        for node in graph["graph_module"]["graph"]["nodes"]:
            for given in node["inputs"]:
                for kind in ("as_int", "as_ints"):
                    if given["name"] == name and kind in given["arg"]:
                        given["arg"][kind] = [77] if kind == "as_ints" else 10**9
                        return

    path = rewrite(archive, tmp_path / "x.pt2", graph_with(change))
    with pytest.raises(CheckpointError, match=rf"^{path}: ") as caught:
        movinet.load(path).stream()(np.zeros((32, 32, 3), np.uint8))
    assert "\n" not in str(caught.value)


def test_what_pytorch_cannot_read_is_one_line(
    archive: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And no traceback in a log beside it."""

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("invalid header\nor archive is corrupted")

    movinet.load(archive)
    monkeypatch.setattr("torch.export.pt2_archive._package.load_pt2", fail)
    refused(archive, "PyTorch cannot load it")
    assert caplog.records == []
    logging.getLogger("torch.export").warning("others are heard again")
    assert len(caplog.records) == 1
