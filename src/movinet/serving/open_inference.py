"""The open inference protocol, version 2, with sequences and binary tensors.

KServe, Triton and their clients speak it: https://github.com/kserve/open-inference-protocol, and
for sequences and binary tensors Triton's extensions of it.
"""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import anyio.to_thread
import numpy as np
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from numpy.typing import NDArray

from movinet.errors import ConfigError, MovinetError
from movinet.serving.frames import MAX_PIXELS, MAX_SIDE
from movinet.serving.hub import Hub, UnknownStreamError
from movinet.serving.options import StreamOptions
from movinet.serving.sessions import Session
from movinet.text import is_name, one_line
from movinet.version import __version__

#: Bytes of a request.
MAX_BYTES = 64 * 2**20
_MAX_HEADER, _MAX_SEQUENCES = 2**20, 10_000
#: Frames of a request: a thread is theirs until the last is seen. Characters of an id.
_MAX_FRAMES, _MAX_ID = 1024, 200
_LENGTH = "inference-header-content-length"
_DTYPES = {"UINT8": np.dtype(np.uint8)}
_INPUT, _OUTPUT = "frames", "probabilities"


@dataclass(frozen=True)
class _Inference:
    """A request: frames, whose stream they are of, and how the answer is wanted."""

    frames: NDArray[np.uint8]
    sequence: str
    start: bool
    end: bool
    binary: bool
    id: str | None


def router(hub: Hub) -> APIRouter:
    """What is asked under ``/v2``."""
    routes = APIRouter(prefix="/v2", tags=["open inference protocol"])
    _add_health(routes, hub)
    _add_models(routes, hub)
    _add_inference(routes, hub)
    return routes


def _add_health(routes: APIRouter, hub: Hub) -> None:
    @routes.get("")
    def server() -> dict[str, Any]:
        """About the server."""
        extensions = ["sequence", "binary_tensor_data"]
        return {"name": "movinet", "version": __version__, "extensions": extensions}

    @routes.get("/health/live")
    def live() -> dict[str, bool]:
        """Whether it answers."""
        return {"live": True}

    @routes.get("/health/ready")
    def ready() -> JSONResponse:
        """Whether it takes streams."""
        return JSONResponse({"ready": not hub.draining}, 503 if hub.draining else 200)


def _add_models(routes: APIRouter, hub: Hub) -> None:
    @routes.get("/models/{model}")
    @routes.get("/models/{model}/versions/{version}", include_in_schema=False)
    def metadata(model: str, version: str = "1") -> JSONResponse:
        """Inputs and outputs of a model."""
        if model not in hub.models or version != "1":
            return _error(f"no model {model!r} of version {version!r} is served", 404)
        count = len(hub.runtime(model).info.labels)
        about = {
            "name": model,
            "versions": ["1"],
            "platform": "movinet",
            "inputs": [{"name": _INPUT, "datatype": "UINT8", "shape": [-1, -1, -1, 3]}],
            "outputs": [{"name": _OUTPUT, "datatype": "FP32", "shape": [-1, count]}],
        }
        return JSONResponse(about)

    @routes.get("/models/{model}/ready")
    @routes.get("/models/{model}/versions/{version}/ready", include_in_schema=False)
    def model_ready(model: str, version: str = "1") -> JSONResponse:
        """Whether a model is served."""
        found = model in hub.models and version == "1"
        return JSONResponse({"name": model, "ready": found}, 200 if found else 404)


def _add_inference(routes: APIRouter, hub: Hub) -> None:
    sequences = _Sequences(hub)

    @routes.post("/models/{model}/infer", response_class=Response)
    @routes.post("/models/{model}/versions/{version}/infer", include_in_schema=False)
    async def infer(request: Request, model: str, version: str = "1") -> Response:
        """Probabilities after each of some frames, of a sequence or of these alone."""
        if model not in hub.models or version != "1":
            return _error(f"no model {model!r} of version {version!r} is served", 404)
        body, length = await request.body(), request.headers.get(_LENGTH)
        try:
            inference = _parse(body, length)
            rows = await anyio.to_thread.run_sync(sequences.infer, model, inference)
        except UnknownStreamError as error:
            return _error(str(error), 400)
        except ConfigError as error:
            return _error(str(error), 400)
        except MovinetError as error:
            return _error(str(error), 503)
        return _answer(model, inference, rows)


class _Sequences:
    """Streams by the sequence ids that clients choose."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._names: OrderedDict[tuple[str, str], str] = OrderedDict()

    def infer(self, model: str, inference: _Inference) -> NDArray[np.float32]:
        """Probabilities after each frame, (frames, classes)."""
        if not inference.sequence:
            stream = self._hub.runtime(model).stream()
            return np.stack([stream(frame) for frame in inference.frames])
        session = self._session(model, inference)
        rows = session.step_now(inference.frames)
        if inference.end and (name := self._names.pop((model, inference.sequence), None)):
            self._close(name)  # unless another request has ended it meanwhile
        return rows

    def _session(self, model: str, inference: _Inference) -> Session:
        key = (model, inference.sequence)
        if inference.start:
            if (old := self._names.pop(key, None)) is not None:
                self._close(old)
            session = self._hub.create(StreamOptions(model=model, half_life=None, rules=None))
            self._names[key] = session.id
            while len(self._names) > _MAX_SEQUENCES:
                self._close(self._names.popitem(last=False)[1])
            return session
        if key not in self._names:
            raise UnknownStreamError("this sequence has not started, or has ended: sequence_start")
        return self._hub.find(self._names[key])

    def _close(self, name: str) -> None:
        try:
            self._hub.close(name)
        except UnknownStreamError:  # idle for too long
            return


def _parse(body: bytes, length: str | None) -> _Inference:
    """A request of JSON, or of JSON and the bytes of tensors.

    Raises:
        ConfigError: If it is none.
    """
    end = len(body)
    if length is not None:
        if not length.isdecimal() or len(length) > 10 or int(length) > len(body):
            raise ConfigError(f"{_LENGTH} must be at most the {len(body)} bytes of the request")
        end = int(length)
        if end > _MAX_HEADER:
            raise ConfigError(f"the JSON before binary tensors has at most {_MAX_HEADER} bytes")
    try:
        request = json.loads(body[:end])
        (tensor,) = request["inputs"]
        parameters = request.get("parameters") or {}
        shape = tuple(tensor["shape"])
        if tensor["name"] != _INPUT or tensor["datatype"] not in _DTYPES:
            raise ValueError(f"the only input is {_INPUT}, of datatype UINT8")
        outputs: list[dict[str, Any]] = request.get("outputs") or [{"name": _OUTPUT}]
        if [output["name"] for output in outputs] != [_OUTPUT]:
            raise ValueError(f"the only output is {_OUTPUT}")
        frames = _tensor(tensor, shape, body[end:])
        sequence = parameters.get("sequence_id", "")
        if isinstance(sequence, bool) or not isinstance(sequence, int | str):
            raise ConfigError("sequence_id is a number or a text")
        wanted = (outputs[0].get("parameters") or {}).get("binary_data")
        binary = parameters.get("binary_data_output", False) if wanted is None else wanted
        given = request.get("id")
        return _Inference(
            frames,
            "" if sequence in (0, "") else _id("sequence_id", sequence),
            bool(parameters.get("sequence_start")),
            bool(parameters.get("sequence_end")),
            bool(binary),
            None if given is None else _id("id", given),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, ConfigError):
            raise
        what = f"{error} is missing" if isinstance(error, KeyError) else one_line(error)
        raise ConfigError(f"not a request of the open inference protocol: {what}") from None


def _id(what: str, value: object) -> str:
    """An id of a client's, which the answer repeats.

    Raises:
        ConfigError: If it is too long, or no UTF-8 has it.
    """
    text = str(value)
    if len(text) > _MAX_ID or not is_name(text):
        raise ConfigError(f"{what} has at most {_MAX_ID} characters, and no control characters")
    return text


def _tensor(tensor: dict[str, Any], shape: tuple[Any, ...], rest: bytes) -> NDArray[np.uint8]:
    """The frames of a request, (frames, height, width, 3)."""
    if len(shape) != 4 or any(type(side) is not int or side < 1 for side in shape):
        raise ConfigError(f"{_INPUT} has the shape [frames, height, width, 3], not {list(shape)}")
    count, height, width, channels = shape
    if count > _MAX_FRAMES:
        raise ConfigError(f"a request has at most {_MAX_FRAMES} frames; a sequence, any number")
    if channels != 3 or max(height, width) > MAX_SIDE or height * width > MAX_PIXELS:
        raise ConfigError(f"a frame has 3 channels and at most {MAX_SIDE} pixels a side")
    size = (tensor.get("parameters") or {}).get("binary_data_size")
    if size is not None:
        if size != math.prod(shape) or size != len(rest):
            raise ConfigError(
                f"{list(shape)} are {math.prod(shape)} bytes; binary_data_size is {size}, and "
                f"{len(rest)} came"
            )
        return np.frombuffer(rest, np.uint8).reshape(shape)
    values = np.asarray(tensor["data"])
    if values.size != math.prod(shape) or values.dtype.kind not in "iu":
        raise ConfigError(f"data must be {math.prod(shape)} integers")
    if values.min() < 0 or values.max() > 255:
        raise ConfigError("data must be integers from 0 to 255")
    return values.astype(np.uint8).reshape(shape)


def _answer(model: str, inference: _Inference, rows: NDArray[np.float32]) -> Response:
    output: dict[str, Any] = {"name": _OUTPUT, "datatype": "FP32", "shape": list(rows.shape)}
    answer: dict[str, Any] = {"model_name": model, "model_version": "1", "outputs": [output]}
    if inference.id is not None:
        answer["id"] = inference.id
    if inference.sequence:
        answer["parameters"] = {"sequence_id": inference.sequence}
    if not inference.binary:
        output["data"] = rows.ravel().tolist()
        return JSONResponse(answer)
    data = rows.astype("<f4", copy=False).tobytes()
    output["parameters"] = {"binary_data_size": len(data)}
    text = json.dumps(answer).encode()
    headers = {"Inference-Header-Content-Length": str(len(text))}
    return Response(text + data, headers=headers, media_type="application/octet-stream")


def _error(reason: str, status: int) -> JSONResponse:
    headers = {"Retry-After": "5"} if status == 503 else None
    return JSONResponse({"error": one_line(reason)}, status, headers)
