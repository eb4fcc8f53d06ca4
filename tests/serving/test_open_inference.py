"""The open inference protocol, as an unmodified client of Triton speaks it, and by hand."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from serving_tools import pictures, served

import movinet
from movinet.serving.sessions import Session

pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")  # within gevent


@pytest.fixture(scope="module")
def runtime() -> Any:
    return movinet.load("motions")


@pytest.fixture(scope="module")
def url(runtime: Any) -> Iterator[str]:
    with served(runtime=runtime) as (found, _):
        yield found


@pytest.fixture
def triton(url: str) -> Iterator[Any]:
    http = pytest.importorskip("tritonclient.http", reason="needs tritonclient[http]")
    client = http.InferenceServerClient(url.removeprefix("http://"))
    yield client
    client.close()


def ask(triton: Any, frames: Any, *, binary: bool = True, **options: Any) -> Any:
    import tritonclient.http as http

    given = http.InferInput("frames", list(frames.shape), "UINT8")
    given.set_data_from_numpy(frames, binary_data=binary)
    wanted = [http.InferRequestedOutput("probabilities", binary_data=binary)]
    answer = triton.infer("motions", [given], outputs=wanted, **options)
    return answer.as_numpy("probabilities")


def test_health_and_metadata(triton: Any, runtime: Any) -> None:
    assert triton.is_server_live()
    assert triton.is_server_ready()
    assert triton.is_model_ready("motions")
    assert not triton.is_model_ready("none")
    assert triton.get_server_metadata()["extensions"] == ["sequence", "binary_tensor_data"]
    about = triton.get_model_metadata("motions")
    assert about["inputs"] == [{"name": "frames", "datatype": "UINT8", "shape": [-1, -1, -1, 3]}]
    assert about["outputs"][0]["shape"] == [-1, len(runtime.info.labels)]


@pytest.mark.parametrize("binary", [True, False])
def test_frames_alone(triton: Any, runtime: Any, binary: bool) -> None:
    frames = pictures(0, 3)
    stream = runtime.stream()
    wanted = np.stack([stream(frame) for frame in frames])
    found = ask(triton, frames, binary=binary)
    np.testing.assert_allclose(found, wanted, atol=0 if binary else 1e-7)


def test_sequences_keep_their_state(triton: Any, runtime: Any) -> None:
    """Two at a time, of numbers and of texts as ids."""
    import tritonclient.utils as utils

    frames = {7: pictures(1, 4), "door": pictures(2, 4)}
    streams = {name: runtime.stream() for name in frames}
    for number in range(4):
        for name, stream in streams.items():
            part = frames[name][number : number + 1]
            at = {"sequence_start": number == 0, "sequence_end": number == 3}
            found = ask(triton, part, sequence_id=name, **at)
            np.testing.assert_array_equal(found[0], stream(part[0]))
    with pytest.raises(utils.InferenceServerException, match="has not started, or has ended"):
        ask(triton, frames[7][:1], sequence_id=7)


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
