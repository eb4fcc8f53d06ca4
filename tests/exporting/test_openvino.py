"""OpenVINO files: they do what the model does, and say what they are."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import movinet
from exported_formats import (
    STREAM,
    export,
    noise,
    refused,
)
from movinet.errors import CheckpointError

openvino = pytest.importorskip("openvino", reason="needs the extra openvino")
pytest.importorskip("onnx", reason="needs the extra openvino")


def test_tensors_of_the_state_take_turns(tmp_path: Path) -> None:
    """No step makes a tensor: those that there are go round."""
    export(STREAM, tmp_path / "x.xml")
    engine, decay = movinet.load(tmp_path / "x.xml").engine, np.ones((1, 1), np.float32)
    state = engine.new_state(1)

    def places() -> list[int]:
        tensors = [*state.tensors.values(), *state.spare.values()]
        return sorted(tensor.data.ctypes.data for tensor in tensors)

    before = places()
    for _ in range(7):
        engine.step(noise(1, 32, 32, 3), decay, state)
        assert places() == before


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.xml"
    path.write_text("<no model>")
    refused(path, r"it is not an OpenVINO \.xml file")
    path.write_text('<?xml version="1.0"?><net name="x" version="11">')
    refused(path, "OpenVINO cannot load it")
    export(STREAM, path)
    path.with_suffix(".bin").rename(tmp_path / "kept")
    refused(path, "OpenVINO cannot load it")
    (tmp_path / "kept").rename(path.with_suffix(".bin"))
    text = path.read_text()
    start = text.index("<movinet ")
    path.write_text(text[:start] + text[text.index("/>", start) + 2 :])
    refused(path, "it has no movinet manifest")


def test_a_manifest_that_is_no_text_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "x.xml"
    export(STREAM, path)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"quantization", b"\xe7uantization", 1))
    refused(path, "x.xml: its engine cannot load it")


def test_a_manifest_of_another_graph_is_refused(tmp_path: Path) -> None:
    path, other = tmp_path / "x.xml", tmp_path / "other.xml"
    export(STREAM, path)
    export(STREAM, other, uint8=False)
    path.write_text(other.read_text().replace('element_type="f32"', 'element_type="u8"', 1))
    with pytest.raises(CheckpointError):
        movinet.load(path)


RELEASED = """
import faulthandler, gc, signal, subprocess, sys, threading
import movinet

faulthandler.enable()  # as pytest does
seen = []
signal.signal(signal.SIGCHLD, lambda *_: seen.append(1))
first, second = (movinet.load(sys.argv[1]) for _ in range(2))
del first  # before what came after it
gc.collect()
del second
gc.collect()
third = [movinet.load(sys.argv[1])]
thread = threading.Thread(target=third.clear)
thread.start()
thread.join()
gc.collect()
subprocess.run([sys.executable, "-c", ""], check=True)
print(len(seen))
"""


def test_signals_are_handled_after_models_were_released(tmp_path: Path) -> None:
    """In whatever order and thread: OpenVINO's plugins would leave no stack for them."""
    path = tmp_path / "model.xml"
    export(STREAM, path)
    command = [sys.executable, "-c", RELEASED, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 1
