"""What is asked under ``/v1/watch``: sources that the server follows itself."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from movinet.errors import ConfigError
from movinet.serving.hub import Hub
from movinet.serving.messages import SeenOptions, SourceInfo, StreamInfo
from movinet.serving.options import StreamOptions


class WatchRequest(SeenOptions):
    """A stream that sees a source of the server."""

    source: Annotated[str, Field(description="Name of a source that the server may follow.")]


def router(hub: Hub) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/v1/watch", tags=["sources"])

    @routes.get("")
    def sources() -> list[SourceInfo]:
        """The sources that this server may follow, and the streams that see them."""
        if hub.follower is None:
            return []
        return [SourceInfo.of(*each) for each in hub.follower.sources()]

    @routes.post("", status_code=201)
    def follow(request: WatchRequest) -> StreamInfo:
        """Make a stream that sees a source; it is a stream as any other, but takes no frames."""
        if hub.follower is None:
            raise ConfigError("this server follows no sources; it was started without --watch")
        options = StreamOptions(**request.model_dump(exclude={"source"}))
        return StreamInfo.of(hub.follower.follow(request.source, options), hub)

    return routes
