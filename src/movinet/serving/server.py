"""The process: uvicorn, with time limits that it lacks and a stop that loses nothing."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from movinet.errors import ConfigError
from movinet.serving.frames import MAX_FRAME_BYTES
from movinet.serving.guard import Guard
from movinet.serving.hub import Hub
from movinet.serving.sessions import moved

#: Seconds in which the head of a request must be there.
HEAD_TIMEOUT = 10.0
#: Seconds in which a closed WebSocket's client may read what was sent.
LINGER = 1.0
#: Seconds between two pings of a WebSocket, and in which one must be answered. Who reads nothing
#: answers none; small results would go on filling the system's buffers for minutes.
PING_INTERVAL, PING_TIMEOUT = 4.0, 5.5
#: Seconds that connections have when the server stops.
_GRACE = 3


class PatientProtocol(H11Protocol):
    """HTTP that does not wait for ever for a request that comes byte by byte."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """A client has connected."""
        super().connection_made(transport)
        self._expect()

    def data_received(self, data: bytes) -> None:
        """A part of a request has come."""
        if self._is_waiting() and self._late is None:
            self._expect()
        super().data_received(data)
        if not self._is_waiting():
            self._come()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        self._come()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self, event: Any) -> None:
        """The connection is a WebSocket's from now on, and nobody waits for another head."""
        super().handle_websocket_upgrade(event)
        self._come()

    def _is_waiting(self) -> bool:
        """Whether no request is complete that is not answered."""
        return self.cycle is None or self.cycle.response_complete

    def _come(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _expect(self) -> None:
        self._come()
        self._late = self.loop.call_later(HEAD_TIMEOUT, self._close_late)

    def _close_late(self) -> None:
        self._late = None
        if self._is_waiting() and not self.transport.is_closing():
            self.transport.close()


class FirmWebSocket(WebSocketsSansIOProtocol):
    """WebSockets whose memory does not wait for a reader that has stopped."""

    async def run_asgi(self) -> None:
        """The connection, until the application has ended it."""
        try:
            await super().run_asgi()
        finally:
            # Closed, it would keep what was not read, for ever.
            self.loop.call_later(LINGER, self.transport.abort)

    def keepalive_timeout(self) -> None:
        """No ping was answered: what waits to be sent is not waited for either."""
        super().keepalive_timeout()
        self.loop.call_later(LINGER, self.transport.abort)


class Server(uvicorn.Server):
    """A uvicorn server that tells the clients of streams that they move, before it stops."""

    def __init__(self, config: uvicorn.Config, hub: Hub) -> None:
        super().__init__(config)
        self._hub = hub

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Keep the streams, tell their clients, then stop."""
        sessions = await asyncio.to_thread(self._hub.drain)
        for session in sessions:
            session.tell(moved(session))
        end = asyncio.get_running_loop().time() + 1.0
        while any(session.listeners for session in sessions):
            if asyncio.get_running_loop().time() > end:
                break
            await asyncio.sleep(0.01)
        await super().shutdown(sockets)


def make_server(app: Guard, hub: Hub, host: str, port: int) -> Server:
    """A server that is not running yet; `run` runs it until SIGTERM or Ctrl-C."""
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)  # others have URLs with tokens
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=PatientProtocol,
        ws=FirmWebSocket,
        ws_max_size=MAX_FRAME_BYTES,
        ws_per_message_deflate=False,  # of JPEG and noise nothing is gained; it takes 0.3 MB each
        ws_ping_interval=PING_INTERVAL,
        ws_ping_timeout=PING_TIMEOUT,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=_GRACE,
        h11_max_incomplete_event_size=32 * 1024,
        limit_concurrency=4096,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
    )
    return Server(config, hub)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        ConfigError: If the address is taken or is none.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=1024)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{host} port {port} cannot be listened at ({reason})") from None
