"""The server's application: what is asked over HTTP, and what answers it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import resources
from typing import Any

import anyio.to_thread
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.routing import WebSocketRoute

from movinet.errors import CheckpointError, ConfigError, MovinetError, VideoError
from movinet.serving import open_inference, streams, uploads, watching
from movinet.serving.guard import Access, Guard
from movinet.serving.hub import FullError, Hub, UnknownStreamError
from movinet.serving.live_socket import LiveSocket
from movinet.serving.messages import (
    Error,
)
from movinet.text import one_line
from movinet.version import __version__
from movinet.web import page_files

#: Bytes of a snapshot that is sent.
MAX_SNAPSHOT = 256 * 2**20
_BINARY = "application/octet-stream"
_PAGE_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
#: Seconds without an event after which a line says that the stream still lives.
_HEARTBEAT = 15.0
_STATUS: dict[type[MovinetError], int] = {
    UnknownStreamError: 404,
    FullError: 503,
    ConfigError: 422,
    CheckpointError: 422,
    VideoError: 422,
}
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": Error, "description": about}
    for status, about in {
        401: "A token is needed",
        404: "There is no such stream or model",
        413: "Too large",
        422: "Not possible",
        503: "No room; try again after Retry-After seconds",
    }.items()
}


def create_app(hub: Hub, access: Access, *, max_upload: int = 2**30) -> Guard:
    """The ASGI application of a server.

    Args:
        hub: Its streams.
        access: Who may ask; its `max_body` is set here.
        max_upload: Bytes of a video that is sent to be predicted.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await anyio.to_thread.run_sync(hub.drain)
        await anyio.to_thread.run_sync(hub.stop)

    app = FastAPI(
        title="movinet",
        version=__version__,
        summary="Streams of video, recognised as they come.",
        docs_url=None,  # its pages load scripts of another host
        redoc_url=None,
        lifespan=lifespan,
        responses=_ERRORS,
    )
    app.state.hub = hub
    _add_errors(app)
    app.include_router(streams.router(hub))
    _add_page(app, hub)
    app.include_router(open_inference.router(hub))
    app.include_router(uploads.router(hub))
    app.include_router(watching.router(hub))
    app.router.routes.append(WebSocketRoute("/v1/streams/{name}/live", LiveSocket(hub)))
    limits = (
        ("/v1/predict", max_upload),
        ("/v1/streams", MAX_SNAPSHOT),
        ("/v2/", open_inference.MAX_BYTES),
        ("/", 2**20),
    )
    return Guard(app, Access(access.token, access.hosts, access.origins, limits))


def _add_errors(app: FastAPI) -> None:
    async def failed(_: Request, error: Exception) -> JSONResponse:
        status = next((s for kind, s in _STATUS.items() if isinstance(error, kind)), 500)
        headers = {"Retry-After": "5"} if status == 503 else None
        return JSONResponse({"error": one_line(error)}, status, headers)

    async def invalid(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        parts = [
            f"{'.'.join(str(place) for place in each['loc'][1:]) or each['loc'][0]}: {each['msg']}"
            for each in error.errors()[:5]
        ]
        return JSONResponse({"error": one_line("; ".join(parts))}, 422)

    app.add_exception_handler(MovinetError, failed)
    app.add_exception_handler(RequestValidationError, invalid)


def _add_page(app: FastAPI, hub: Hub) -> None:
    @app.get("/", include_in_schema=False)
    def index() -> Response:
        return page("index.html")

    @app.get("/page/{name}", include_in_schema=False)
    def page(name: str) -> Response:
        found = page_files(resources.files("movinet.serving") / "page")
        suffix = "." + name.rpartition(".")[2]
        if name not in found or suffix not in _PAGE_TYPES:
            return JSONResponse({"error": "there is no such page"}, 404)
        return Response(found[name].read_bytes(), media_type=_PAGE_TYPES[suffix])

    @app.get("/metrics", tags=["health"], response_class=Response)
    def metrics() -> Response:
        """What Prometheus reads."""
        return Response(hub.metrics.text(), media_type="text/plain; version=0.0.4")
