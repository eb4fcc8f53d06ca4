"""The WebSocket of a stream: frames in, results out (docs/reference/serving.md)."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from typing import Any

import anyio.to_thread
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from movinet.errors import ConfigError, MovinetError
from movinet.serving.frames import parse_frame
from movinet.serving.guard import TOKEN_PROTOCOL
from movinet.serving.hub import FullError, Hub
from movinet.serving.options import MAX_HALF_LIFE
from movinet.serving.sessions import Session
from movinet.text import one_line

PROTOCOL = "movinet.1"
#: Messages that wait for a reader; then the oldest results go first.
MAX_WAITING = 256
#: Seconds in which a reader must take a message.
SLOW = 5.0
#: Bad messages after which a connection ends.
_MOST_BAD = 20
#: Frames a second that a client may send, as a multiple of what its stream takes, and at once.
_EXCESS, _BURST = 8.0, 64.0
#: Control messages a second of a client, and at once; the next one waits, and all behind it.
_CONTROLS, _CONTROLS_AT_ONCE = 20.0, 50.0
#: Codes of a close (RFC 6455): policy, restart, try again later.
_POLICY, _RESTART, _LATER = 1008, 1012, 1013


class Outbox:
    """Messages from workers' threads to a coroutine; bounded.

    Args:
        loop: Of the coroutine.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self._there = loop, asyncio.Event()
        self._waiting: deque[dict[str, Any]] = deque()

    def put(self, message: dict[str, Any]) -> None:
        """Add a message, from any thread."""
        try:
            self._loop.call_soon_threadsafe(self._add, message)
        except RuntimeError:  # the loop has ended
            return

    async def get(self) -> dict[str, Any]:
        """The next message."""
        while not self._waiting:
            self._there.clear()
            await self._there.wait()
        return self._waiting.popleft()

    @staticmethod
    def text(message: dict[str, Any]) -> str:
        """As it is sent."""
        return json.dumps(message, separators=(",", ":"), allow_nan=False)

    def _add(self, message: dict[str, Any]) -> None:
        if len(self._waiting) >= MAX_WAITING:
            # A result without news is what a reader misses least.
            old = next((m for m in self._waiting if not m.get("events")), self._waiting[0])
            self._waiting.remove(old)
        self._waiting.append(message)
        self._there.set()


class LiveSocket:
    """Serves ``/v1/streams/{name}/live``.

    Args:
        hub: The streams.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        socket = WebSocket(scope, receive, send)
        offered = socket.scope.get("subprotocols", [])
        if any(each != PROTOCOL and not each.startswith(TOKEN_PROTOCOL) for each in offered):
            await socket.close(_POLICY, f"the subprotocol is {PROTOCOL}")
            return
        try:
            session = await anyio.to_thread.run_sync(self._hub.find, scope["path_params"]["name"])
        except MovinetError as error:
            code = _LATER if isinstance(error, FullError) else _POLICY
            await socket.close(code, one_line(error)[:120])
            return
        await socket.accept(PROTOCOL if PROTOCOL in offered else None)
        await _Connection(socket, session, self._hub).run()


class _Connection:
    """One client."""

    def __init__(self, socket: WebSocket, session: Session, hub: Hub) -> None:
        self._socket, self._session, self._hub = socket, session, hub
        self._loop = asyncio.get_running_loop()
        self._outbox = Outbox(self._loop)
        self._bad = 0
        self._allowed, self._since = _BURST, self._loop.time()
        self._turns, self._turns_since = _CONTROLS_AT_ONCE, self._loop.time()

    async def run(self) -> None:
        """Until either side ends it."""
        session = self._session
        stop = session.listen(self._outbox.put)
        self._outbox.put(_hello(session))
        tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._write())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            code, reason = next(iter(done)).result()
        finally:
            stop()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await anyio.to_thread.run_sync(self._hub.release, session)
        if code:
            try:
                async with asyncio.timeout(1.0):
                    await self._socket.close(code, reason[:120])
            except (TimeoutError, RuntimeError, WebSocketDisconnect):
                return

    async def _read(self) -> tuple[int, str]:
        """Take what comes; returns why it ends."""
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return 0, ""
            try:
                if message.get("bytes") is not None:
                    self._take_frame(message["bytes"])
                else:
                    await self._turn()
                    await self._control(message.get("text") or "")
            except Exception as error:
                if not isinstance(error, MovinetError):  # whatever it is, the stream goes on
                    logging.getLogger(__name__).exception("a message could not be handled")
                    error = MovinetError("the server failed at this message; see its log")
                self._bad += 1
                self._outbox.put({"type": "refused", "reason": one_line(error)})
                if self._bad > _MOST_BAD:
                    return _POLICY, f"{self._bad} messages were none: the last, {one_line(error)}"

    async def _turn(self) -> None:
        """Wait until a control message is due: nothing is read meanwhile, so clients wait too."""
        now = self._loop.time()
        earned = (now - self._turns_since) * _CONTROLS
        self._turns, self._turns_since = min(_CONTROLS_AT_ONCE, self._turns + earned) - 1, now
        if self._turns < 0:
            await asyncio.sleep(-self._turns / _CONTROLS)

    def _take_frame(self, data: bytes) -> None:
        now = self._loop.time()
        earned = (now - self._since) * self._session.rate * _EXCESS
        self._allowed, self._since = min(_BURST, self._allowed + earned), now
        if self._allowed < 1:  # parsed, a flood would take the time of others
            self._session.dropped += 1
            self._hub.metrics.frames["dropped"].inc()
            return
        self._allowed -= 1
        if self._session.source:
            raise ConfigError(f"this stream sees {self._session.source}, and takes no frames")
        frame = parse_frame(data, self._session.options.size)
        self._hub.scheduler(self._session).offer(self._session, frame)

    async def _control(self, text: str) -> None:
        """A message of JSON: reset, rewind, half_life or ping."""
        if len(text) > 4096:
            raise ConfigError("a control message has at most 4096 characters")
        try:
            message = json.loads(text)
            kind = message["type"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ConfigError('a control message is JSON with a "type"') from None
        answer: dict[str, Any] = {"type": "done", "of": kind}
        if kind == "ping":
            answer["type"] = "pong"
        elif kind == "reset":
            await anyio.to_thread.run_sync(self._session.reset)
        elif kind == "rewind":
            seconds = _number(message, "seconds", MAX_HALF_LIFE)
            answer["time"] = await anyio.to_thread.run_sync(self._session.rewind, seconds)
        elif kind == "half_life":
            given = message.get("seconds", 0)
            seconds = None if given is None else _number(message, "seconds", MAX_HALF_LIFE)
            await anyio.to_thread.run_sync(self._session.set_half_life, seconds)
        else:
            raise ConfigError("a control message is of type ping, reset, rewind or half_life")
        self._outbox.put(answer)

    async def _write(self) -> tuple[int, str]:
        """Send what there is; returns why it ends."""
        while True:
            message = await self._outbox.get()
            try:
                # Not wait_for, which may lose a cancellation (Python 3.11).
                async with asyncio.timeout(SLOW):
                    await self._socket.send_text(Outbox.text(message))
            except TimeoutError:
                return _LATER, f"no message was taken for {SLOW:g} seconds"
            except (RuntimeError, WebSocketDisconnect):
                return 0, ""
            if message["type"] == "moved":
                return _RESTART, "this server stops; the stream goes on elsewhere"
            if message["type"] == "closed":
                return 1000, "the stream was closed"


def _number(message: dict[str, Any], name: str, most: float) -> float:
    value = message.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
        raise ConfigError(f"{name} must be a number above 0, at most {most:g}")
    return float(value)


def _hello(session: Session) -> dict[str, Any]:
    """What a client knows first: from which of its frames on to send again."""
    number = session.number
    return {
        "type": "hello",
        "id": session.id,
        "sequence": session.sequence,
        "number": number,
        "time": None if number is None else number / session.rate,
        "frame_rate": session.rate,
        "image_size": session.runtime.info.input.image_size,
        "labels": list(session.runtime.info.labels),
        "half_life": session.options.half_life,
        "rewind": session.options.rewind,
        "source": session.source or None,
    }
