"""What is asked under ``/v1/streams``: streams, their state and their events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse

from movinet.runtime.snapshot import StreamSnapshot
from movinet.serving.hub import Hub
from movinet.serving.live_socket import Outbox
from movinet.serving.messages import (
    ForkRequest,
    ModelInfo,
    RewindRequest,
    Rewound,
    StreamInfo,
    StreamRequest,
)
from movinet.serving.sessions import Session

_BINARY = "application/octet-stream"
#: Seconds without an event after which a line says that the stream still lives.
_HEARTBEAT = 15.0


def _found(request: Request, name: str) -> Session:
    """The stream that a path names."""
    return request.app.state.hub.find(name)


Found = Annotated[Session, Depends(_found)]


def router(hub: Hub) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/v1")
    _add_streams(routes, hub)
    _add_state(routes, hub)
    return routes


def _made(session: Session, hub: Hub) -> StreamInfo:
    """What the client of a new stream is told."""
    about = StreamInfo.of(session, hub)
    hub.lend(session)
    return about


def _add_streams(routes: APIRouter, hub: Hub) -> None:
    @routes.get("/models", tags=["models"])
    def models() -> list[ModelInfo]:
        """The models that are served; the first is the default."""
        return [ModelInfo.of(name, runtime) for name, runtime in hub.models.items()]

    @routes.post("/streams", status_code=201, tags=["streams"])
    def create(request: StreamRequest) -> StreamInfo:
        """Make a stream."""
        return _made(hub.create(request.options()), hub)

    @routes.get("/streams", tags=["streams"])
    def list_all() -> list[StreamInfo]:
        """The open streams."""
        return [StreamInfo.of(session, hub) for session in hub.sessions()]

    @routes.get("/streams/{name}", tags=["streams"])
    def show(session: Found) -> StreamInfo:
        """A stream; one that sleeps on disk wakes up."""
        return StreamInfo.of(session, hub)

    @routes.delete("/streams/{name}", status_code=204, tags=["streams"])
    def delete(name: str) -> None:
        """End a stream."""
        hub.close(name)

    @routes.get("/streams/{name}/events", tags=["streams"], response_class=StreamingResponse)
    async def events(
        request: Request,
        name: str,
        results: Annotated[bool, Query(description="Results too, not only events.")] = False,
    ) -> StreamingResponse:
        """Events as they come (server-sent events)."""
        session = await anyio.to_thread.run_sync(hub.find, name)
        lines = _event_lines(session, request, results)
        return StreamingResponse(lines, media_type="text/event-stream")


def _add_state(routes: APIRouter, hub: Hub) -> None:
    @routes.get("/streams/{name}/snapshot", tags=["state"], response_class=Response)
    def snapshot(session: Found) -> Response:
        """The stream's state: a file that Python, C and other servers of the weights continue."""
        return Response(session.snapshot().to_bytes(), media_type=_BINARY)

    @routes.put("/streams/{name}/snapshot", tags=["state"])
    async def restore(request: Request, name: str) -> StreamInfo:
        """Continue from a snapshot."""
        data = await request.body()

        def work() -> StreamInfo:
            session = hub.find(name)
            session.restore(StreamSnapshot.from_bytes(data))
            return StreamInfo.of(session, hub)

        return await anyio.to_thread.run_sync(work)

    @routes.post("/streams/{name}/fork", status_code=201, tags=["state"])
    def fork(name: str, request: ForkRequest | None = None) -> StreamInfo:
        """A second stream that has seen what this one has, perhaps with another half-life."""
        changes = {} if request is None else request.model_dump(exclude_unset=True)
        return _made(hub.fork(name, **changes), hub)

    @routes.post("/streams/{name}/reset", tags=["state"])
    def reset(session: Found) -> StreamInfo:
        """Forget everything."""
        session.reset()
        return StreamInfo.of(session, hub)

    @routes.post("/streams/{name}/rewind", tags=["state"])
    def rewind(session: Found, request: RewindRequest) -> Rewound:
        """Forget the last seconds."""
        return Rewound(time=session.rewind(request.seconds))


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
            if message["type"] in ("closed", "moved"):  # browsers ask again by themselves
                return
            if message["type"] == "result" and results:
                yield f"event: result\ndata: {Outbox.text(message)}\n\n"
            for event in message.get("events", ()):
                yield f"id: {event['id']}\nevent: {event['kind']}\ndata: {Outbox.text(event)}\n\n"
    finally:
        stop()
