"""The server's application: what is asked over HTTP, and what answers it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import resources
from typing import Annotated, Any

import anyio.to_thread
from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.routing import WebSocketRoute

from movinet.errors import CheckpointError, ConfigError, MovinetError, VideoError
from movinet.runtime.snapshot import StreamSnapshot
from movinet.serving import open_inference, uploads, watching
from movinet.serving.guard import Access, Guard
from movinet.serving.hub import FullError, Hub, UnknownStreamError
from movinet.serving.live_socket import LiveSocket, Outbox
from movinet.serving.messages import (
    Error,
    ForkRequest,
    ModelInfo,
    RewindRequest,
    Rewound,
    StreamInfo,
    StreamRequest,
)
from movinet.serving.sessions import Session
from movinet.text import one_line
from movinet.version import __version__

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


def _found(request: Request, name: str) -> Session:
    """The stream that a path names."""
    return request.app.state.hub.find(name)


Found = Annotated[Session, Depends(_found)]


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
    _add_streams(app, hub)
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


def _add_streams(app: FastAPI, hub: Hub) -> None:
    def made(session: Session) -> StreamInfo:
        about = StreamInfo.of(session, hub)
        hub.lend(session)
        return about

    @app.get("/v1/models", tags=["models"])
    def models() -> list[ModelInfo]:
        """The models that are served; the first is the default."""
        return [ModelInfo.of(name, runtime) for name, runtime in hub.models.items()]

    @app.post("/v1/streams", status_code=201, tags=["streams"])
    def create(request: StreamRequest) -> StreamInfo:
        """Make a stream."""
        return made(hub.create(request.options()))

    @app.get("/v1/streams", tags=["streams"])
    def list_all() -> list[StreamInfo]:
        """The open streams."""
        return [StreamInfo.of(session, hub) for session in hub.sessions()]

    @app.get("/v1/streams/{name}", tags=["streams"])
    def show(session: Found) -> StreamInfo:
        """A stream; one that sleeps on disk wakes up."""
        return StreamInfo.of(session, hub)

    @app.delete("/v1/streams/{name}", status_code=204, tags=["streams"])
    def delete(name: str) -> None:
        """End a stream."""
        hub.close(name)

    @app.get("/v1/streams/{name}/snapshot", tags=["state"], response_class=Response)
    def snapshot(session: Found) -> Response:
        """The stream's state: a file that Python, C and other servers of the weights continue."""
        return Response(session.snapshot().to_bytes(), media_type=_BINARY)

    @app.put("/v1/streams/{name}/snapshot", tags=["state"])
    async def restore(request: Request, name: str) -> StreamInfo:
        """Continue from a snapshot."""
        data = await request.body()

        def work() -> StreamInfo:
            session = hub.find(name)
            session.restore(StreamSnapshot.from_bytes(data))
            return StreamInfo.of(session, hub)

        return await anyio.to_thread.run_sync(work)

    @app.post("/v1/streams/{name}/fork", status_code=201, tags=["state"])
    def fork(name: str, request: ForkRequest | None = None) -> StreamInfo:
        """A second stream that has seen what this one has, perhaps with another half-life."""
        changes = {} if request is None else request.model_dump(exclude_unset=True)
        return made(hub.fork(name, **changes))

    @app.post("/v1/streams/{name}/reset", tags=["state"])
    def reset(session: Found) -> StreamInfo:
        """Forget everything."""
        session.reset()
        return StreamInfo.of(session, hub)

    @app.post("/v1/streams/{name}/rewind", tags=["state"])
    def rewind(session: Found, request: RewindRequest) -> Rewound:
        """Forget the last seconds."""
        return Rewound(time=session.rewind(request.seconds))

    @app.get("/v1/streams/{name}/events", tags=["streams"], response_class=StreamingResponse)
    async def events(
        request: Request,
        name: str,
        results: Annotated[bool, Query(description="Results too, not only events.")] = False,
    ) -> StreamingResponse:
        """Events as they come (server-sent events)."""
        session = await anyio.to_thread.run_sync(hub.find, name)
        lines = _event_lines(session, request, results)
        return StreamingResponse(lines, media_type="text/event-stream")


async def _event_lines(session: Session, request: Request, results: bool) -> AsyncIterator[str]:
    outbox = Outbox(asyncio.get_running_loop())
    stop = session.listen(outbox.put)
    try:
        yield ": events of a stream\n\n"
        while not await request.is_disconnected():
            try:
                async with asyncio.timeout(_HEARTBEAT):
                    message = await outbox.get()
            except TimeoutError:
                yield ": still here\n\n"
                continue
            if message["type"] == "closed":
                return
            if message["type"] == "result" and results:
                yield f"event: result\ndata: {Outbox.text(message)}\n\n"
            for event in message.get("events", ()):
                yield f"id: {event['id']}\nevent: {event['kind']}\ndata: {Outbox.text(event)}\n\n"
    finally:
        stop()


def _add_page(app: FastAPI, hub: Hub) -> None:
    @app.get("/", include_in_schema=False)
    def index() -> Response:
        return page("index.html")

    @app.get("/page/{name}", include_in_schema=False)
    def page(name: str) -> Response:
        found = {
            item.name: item
            for item in resources.files("movinet.serving").joinpath("page").iterdir()
        }
        suffix = "." + name.rpartition(".")[2]
        if name not in found or suffix not in _PAGE_TYPES:
            return JSONResponse({"error": "there is no such page"}, 404)
        return Response(found[name].read_bytes(), media_type=_PAGE_TYPES[suffix])

    @app.get("/metrics", tags=["health"], response_class=Response)
    def metrics() -> Response:
        """What Prometheus reads."""
        return Response(hub.metrics.text(), media_type="text/plain; version=0.0.4")
