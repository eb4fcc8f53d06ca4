"""The open inference protocol, as a client of Triton speaks it, and by hand."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from serving_tools import pictures, served

from movinet.serving.sessions import Session


@pytest.fixture(scope="module")
def url(runtime: Any) -> Iterator[str]:
    with served(runtime=runtime) as (found, _):
        yield found


def test_an_unmodified_client_of_triton(url: str, runtime: Any, tmp_path: Path) -> None:
    """Health, metadata, frames alone in both encodings, and two sequences that take turns."""
    if importlib.util.find_spec("tritonclient") is None:
        pytest.skip("needs tritonclient, which make installs")
    frames: dict[str, Any] = {"alone": pictures(0, 3), "7": pictures(1, 4), "door": pictures(2, 4)}
    np.savez(tmp_path / "frames.npz", **frames)
    program = Path(__file__).with_name("triton_program.py")
    command = [sys.executable, program, url.removeprefix("http://"), tmp_path / "frames.npz"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["live"]
    assert found["ready"]
    assert found["served"] == [True, False]
    assert found["server"]["extensions"] == ["sequence", "binary_tensor_data"]
    inputs = [{"name": "frames", "datatype": "UINT8", "shape": [-1, -1, -1, 3]}]
    assert found["model"]["inputs"] == inputs
    assert found["model"]["outputs"][0]["shape"] == [-1, len(runtime.info.labels)]
    for name, each in frames.items():
        stream = runtime.stream()
        wanted = [stream(frame).tolist() for frame in each]
        assert found["binary" if name == "alone" else name] == wanted
        if name == "alone":
            np.testing.assert_allclose(found["json"], wanted, atol=1e-7)
    assert "has not started, or has ended" in found["ended"]


def request(**changes: Any) -> dict[str, Any]:
    tensor = {"name": "frames", "datatype": "UINT8", "shape": [1, 2, 2, 3], "data": [1] * 12}
    return {"inputs": [tensor | changes]}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "'inputs' is missing"),
        ({"inputs": []}, "not a request"),
        (request(name="image"), "the only input is frames"),
        (request(datatype="FP32"), "of datatype UINT8"),
        (request(shape=[1, 2, 2]), r"has the shape \[frames, height, width, 3\]"),
        (request(shape=[1, 2**20, 2**20, 3]), "pixels a side"),
        (request(shape=[1, 2, 2, -3]), "has the shape"),
        (request(data=[1] * 11), "12 integers"),
        (request(data=[300] * 12), "0 to 255"),
        (request(data=["a"] * 12), "12 integers"),
        (request(data=[[1], [1, 2]]), "not a request"),
        (request(parameters={"binary_data_size": 12}), "0 came"),
        (request() | {"outputs": [{"name": "none"}]}, "the only output"),
        (request() | {"parameters": {"sequence_id": [1]}}, "number or a text"),
        (
            request() | {"parameters": {"sequence_id": "\ud800", "sequence_start": True}},
            "sequence_id",
        ),
        (request() | {"parameters": {"sequence_id": "x" * 201, "sequence_start": True}}, "200"),
        (request() | {"parameters": {"sequence_id": 10**300, "sequence_start": True}}, "200"),
        (request() | {"id": "\ud800"}, "id has at most"),
        (request() | {"id": "a\nb"}, "id has at most"),
        (request(shape=[1025, 1, 1, 3], data=[0] * 3075), "at most 1024 frames"),
        (request() | {"parameters": 3}, "not a request"),
    ],
)
def test_what_is_no_request_is_one_line(url: str, body: Any, reason: str) -> None:
    content = json.dumps(body)  # httpx's own is UTF-8, which not every text can be
    answer = httpx.post(f"{url}/v2/models/motions/infer", content=content)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert pytest.raises(AssertionError, match=reason).matches(AssertionError(error)), error
    assert "\n" not in error


@pytest.mark.parametrize("length", ["-1", "9" * 30, "x", "1000"])
def test_a_wrong_length_of_the_json_is_refused(url: str, length: str) -> None:
    headers = {"Inference-Header-Content-Length": length}
    answer = httpx.post(f"{url}/v2/models/motions/infer", content=b"{}", headers=headers)
    assert answer.status_code == 400


def test_a_sequence_that_two_requests_end_is_ended(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are answered: each has seen its frame."""
    both = threading.Barrier(2)
    step = Session.step_now

    def together(self: Session, frames: Any) -> Any:
        both.wait(10)
        return step(self, frames)

    def ask_for(**parameters: bool) -> int:
        body = request() | {"parameters": {"sequence_id": 5, **parameters}}
        return httpx.post(f"{url}/v2/models/motions/infer", json=body).status_code

    assert ask_for(sequence_start=True) == 200
    monkeypatch.setattr(Session, "step_now", together)
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(ask_for, sequence_end=True) for _ in range(2)]
        assert [each.result() for each in asked] == [200, 200]
    assert ask_for() == 400
