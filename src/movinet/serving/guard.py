"""Who may ask what: addresses, origins, tokens and sizes, before anything reads a request."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from starlette.requests import ClientDisconnect

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

#: Seconds that the server waits for a request's body in all, and bytes for each further one.
BODY_PATIENCE, BODY_RATE = 30.0, 16 * 1024
#: Names of this machine, which a page from elsewhere cannot make its own.
LOCAL = ("localhost", "127.0.0.1", "::1")
#: What may be asked without a token.
_OPEN = ("/v2/health/live", "/v2/health/ready")
#: Of a token in a WebSocket's subprotocols, where browsers can send none in headers.
TOKEN_PROTOCOL = "movinet.token."
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        b"img-src 'self' blob: data:; media-src 'self' blob:; base-uri 'none'; form-action 'none'; "
        b"frame-ancestors 'none'",
    ),
]
#: For pages of allowed origins (CORS): with every answer, and when a browser asks beforehand.
_SHARED = [(b"vary", b"Origin"), (b"access-control-expose-headers", b"Retry-After")]
_ASKED = [
    (b"access-control-allow-methods", b"GET, POST, PUT, DELETE"),
    (b"access-control-allow-headers", b"Authorization, Content-Type"),
    (b"access-control-max-age", b"600"),
]


@dataclass(frozen=True)
class Access:
    """Who may ask.

    Attributes:
        token: Needed for everything but health; None for none.
        hosts: Names by which the server may be called; empty for any.
        origins: Pages that may use it besides its own, such as ``https://example.org``.
        max_body: Bytes of a request by the start of its path, the first that fits.
    """

    token: str | None = None
    hosts: Sequence[str] = LOCAL
    origins: Sequence[str] = ()
    max_body: Sequence[tuple[str, int]] = (("/", 2**20),)


class Guard:
    """An ASGI app that lets through to another what is allowed.

    Args:
        app: The other.
        access: Who may ask.
    """

    def __init__(self, app: App, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See `App`."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refused = self._refusal(scope)
        shared = self._shared(scope)
        if refused is not None:
            await _refuse(scope, receive, send, *refused, headers=shared)
        elif scope["type"] == "websocket":
            await self._app(scope, receive, send)
        elif shared and scope["method"] == "OPTIONS":
            start = {"type": "http.response.start", "status": 204, "headers": [*_ASKED, *shared]}
            await send(start)
            await send({"type": "http.response.body", "body": b""})
        else:
            await self._within_bounds(scope, receive, send, shared)

    def _shared(self, scope: Scope) -> list[tuple[bytes, bytes]]:
        """Headers with which a browser gives an answer to a page of an allowed origin."""
        origin = next((value for name, value in scope["headers"] if name == b"origin"), b"")
        if origin.decode("latin-1") not in self._access.origins:
            return []
        return [(b"access-control-allow-origin", origin), *_SHARED]

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get(b"host", "")
        if self._access.hosts and _host_name(host) not in self._access.hosts:
            return 421, "this server is not called by that name; see --allow-host"
        origin = headers.get(b"origin")
        if origin is not None and not self._is_own(origin, host):
            return 403, "pages of that origin may not use this server; see --allow-origin"
        if not self._has_token(scope, headers):
            return 401, "a token is needed: Authorization: Bearer TOKEN"
        limit = self._limit(scope["path"])
        length = headers.get(b"content-length", "0")
        if not length.isdecimal() or len(length) > 18 or int(length) > limit:
            return 413, f"a request of this kind has at most {limit} bytes"
        return None

    def _is_own(self, origin: str, host: str) -> bool:
        try:
            return urlsplit(origin).netloc == host or origin in self._access.origins
        except ValueError:  # brackets that are no address
            return False

    def _has_token(self, scope: Scope, headers: MutableMapping[bytes, str]) -> bool:
        token = self._access.token
        if token is None or scope["path"] in _OPEN or _is_page(scope["path"]):
            return True
        if scope.get("method") == "OPTIONS":  # browsers ask without one whether they may send it
            return True
        offered = [headers.get(b"authorization", "").removeprefix("Bearer ")]
        offered += parse_qs(scope["query_string"].decode("latin-1")).get("access_token", [])
        protocols = headers.get(b"sec-websocket-protocol", "").split(",")
        offered += [each.strip().removeprefix(TOKEN_PROTOCOL) for each in protocols]
        return any(hmac.compare_digest(each.encode(), token.encode()) for each in offered)

    def _limit(self, path: str) -> int:
        return next((limit for start, limit in self._access.max_body if path.startswith(start)), 0)

    async def _within_bounds(
        self, scope: Scope, receive: Receive, send: Send, shared: Sequence[tuple[bytes, bytes]]
    ) -> None:
        """Pass on a request; one whose body is too long or comes too slowly is refused."""
        body, started = _Body(receive, self._limit(scope["path"])), False

        async def with_headers(message: MutableMapping[str, Any]) -> None:
            nonlocal started
            if body.refusal is not None and not started:
                return  # what the app says of half a body; the reason follows
            if message["type"] == "http.response.start":
                started = True
                have = {name for name, _ in message.get("headers", [])}
                missing = [pair for pair in _HEADERS if pair[0] not in have]
                message["headers"] = [*message.get("headers", []), *missing, *shared]
            await send(message)

        # Who hangs up in the middle, or is cut off here, is no fault of the server.
        with contextlib.suppress(ClientDisconnect):
            await self._app(scope, body.receive, with_headers)
        if body.refusal is not None and not started:
            await _refuse(scope, receive, send, *body.refusal, headers=shared)


class _Body:
    """A request's body as it comes, which ends where a limit is passed.

    Args:
        receive: Of the request.
        limit: Bytes.

    Attributes:
        refusal: Status and reason, once a limit is passed; the app hears of a lost connection.
    """

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive, self._limit = receive, limit
        self._seen, self._waited, self._ended = 0, 0.0, False
        self.refusal: tuple[int, str] | None = None

    async def receive(self) -> MutableMapping[str, Any]:
        """See ASGI."""
        if self.refusal is not None:
            return {"type": "http.disconnect"}
        if self._ended:  # what comes is the end of the connection
            return await self._receive()
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            # The server's own time between two parts does not count.
            left = BODY_PATIENCE + self._seen / BODY_RATE - self._waited
            async with asyncio.timeout(left):
                message = await self._receive()
        except TimeoutError:
            self.refusal = 408, "the body of the request came too slowly"
            return {"type": "http.disconnect"}
        self._waited += loop.time() - began
        if message["type"] == "http.request":
            self._seen += len(message.get("body", b""))
            self._ended = not message.get("more_body", False)
        if self._seen > self._limit:
            self.refusal = 413, f"a request of this kind has at most {self._limit} bytes"
            return {"type": "http.disconnect"}
        return message


def _is_page(path: str) -> bool:
    """The page itself has no secrets; it asks for the token."""
    return path == "/" or path.startswith("/page/")


def _host_name(host: str) -> str:
    """The name in a Host header, without the port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


async def _refuse(
    scope: Scope,
    receive: Receive,
    send: Send,
    status: int,
    reason: str,
    headers: Sequence[tuple[bytes, bytes]],
) -> None:
    if scope["type"] == "websocket":
        await receive()
        # Before it is accepted: the client sees HTTP 403.
        await send({"type": "websocket.close", "code": 1008, "reason": reason})
        return
    body = json.dumps({"error": reason}).encode()
    sent = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
        *_HEADERS,
        *headers,
    ]
    if status == 401:
        sent.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": sent})
    await send({"type": "http.response.body", "body": body})
