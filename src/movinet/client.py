"""A client of `movinet serve`."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from movinet.errors import ConfigError, MissingExtraError, MovinetError
from movinet.runtime.snapshot import StreamSnapshot
from movinet.serving.frames import HEADER, NO_TIME, Kind
from movinet.text import one_line

try:
    import httpx
    from websockets.exceptions import ConnectionClosed, WebSocketException
    from websockets.sync.client import ClientConnection, connect
    from websockets.typing import Subprotocol
except ImportError:
    raise MissingExtraError("a client of the server", "serve") from None

PROTOCOL = "movinet.1"
#: Seconds for an answer.
_TIMEOUT = 30.0


class ServerError(MovinetError):
    """The server said no.

    Attributes:
        status: Of HTTP; 0 for what came over a WebSocket.
        retry_after: Seconds after which to try again, if the server is full.
    """

    def __init__(self, reason: str, status: int = 0, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.status, self.retry_after = status, retry_after


class Client:
    """A server of streams.

    Args:
        url: Such as ``http://127.0.0.1:8765``.
        token: If it needs one; by default the environment's MOVINET_TOKEN.
        timeout: Seconds for an answer.

    Raises:
        ConfigError: If the URL is none.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8765",
        *,
        token: str | None = None,
        timeout: float = _TIMEOUT,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError("the URL of a server starts with http:// or https://")
        token = os.environ.get("MOVINET_TOKEN") if token is None else token
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._timeout = timeout
        self._http = httpx.Client(base_url=url, headers=self._headers, timeout=timeout)
        self._socket_url = url.rstrip("/").replace("http", "ws", 1)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections; streams go on."""
        self._http.close()

    def models(self) -> list[dict[str, Any]]:
        """The models that are served; the first is the default."""
        return self._ask("GET", "/v1/models").json()

    def stream(self, **options: Any) -> RemoteStream:
        """A new stream.

        Args:
            **options: model, half_life, rules, width, height, rate, gap, top, rewind, as
                docs/serving.md describes them.

        Raises:
            ServerError: If the server has no room, or an option is not possible.
        """
        return self._connect(self._ask("POST", "/v1/streams", json=options).json())

    def resume(self, name: str) -> RemoteStream:
        """A stream that exists, by its id; also after the server was started again.

        Its `sequence` is that of the last frame that counts: send the ones after it again.
        """
        return self._connect(self._ask("GET", f"/v1/streams/{name}").json())

    def predict(self, video: str | os.PathLike[str], **options: Any) -> dict[str, Any]:
        """Send a video whole, get its predictions and events.

        Args:
            video: The file.
            **options: model, half_life, every (seconds between predictions), top.
        """
        with Path(video).open("rb") as file:
            answer = self._ask("POST", "/v1/predict", params=options, content=file, timeout=None)
        return answer.json()

    def _connect(self, about: dict[str, Any]) -> RemoteStream:
        return RemoteStream(self, about)

    def _open_socket(self, path: str, stack: contextlib.ExitStack) -> ClientConnection:
        """A connection, which the stack closes."""
        try:
            return stack.enter_context(
                connect(
                    self._socket_url + path,
                    subprotocols=[Subprotocol(PROTOCOL)],
                    additional_headers=self._headers,
                    open_timeout=self._timeout,
                    compression=None,
                )
            )
        except (OSError, WebSocketException) as error:
            raise ServerError(f"the stream cannot be connected ({one_line(error)})") from None

    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise ServerError(f"the server cannot be reached ({one_line(error)})") from None
        if answer.is_success:
            return answer
        try:
            reason = one_line(answer.json()["error"])
        except (ValueError, KeyError, TypeError):
            reason = f"HTTP {answer.status_code}"
        after = answer.headers.get("retry-after", "")
        raise ServerError(reason, answer.status_code, float(after) if after.isdecimal() else None)


class RemoteStream:
    """A stream on a server.

    Calling it sends a frame and waits for its result; `send` and `results` do so apart, for frames
    that do not wait.

    Attributes:
        id: With it another client, or this one tomorrow, goes on.
        hello: What the server said at the start: labels, frame_rate, sequence and more.
        sequence: Of the last frame that was sent.
    """

    def __init__(self, client: Client, about: Mapping[str, Any]) -> None:
        self.id: str = about["id"]
        self._client, self._path = client, f"/v1/streams/{about['id']}"
        self._open = contextlib.ExitStack()
        self._socket = client._open_socket(about["live"], self._open)
        self.hello = self._receive()
        self.sequence: int = -1 if self.hello["sequence"] is None else self.hello["sequence"]

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(self.hello["labels"])

    def __call__(
        self, frame: NDArray[np.uint8] | bytes, time: float | None = None
    ) -> dict[str, Any]:
        """Send a frame, and wait for what comes of it.

        Args:
            frame: (height, width, 3) uint8 RGB of the size that the stream was made for, or the
                bytes of a JPEG.
            time: Seconds in the stream; None for the next tick.

        Returns:
            The message of the server, of type "result" or "skipped" (its tick was seen).

        Raises:
            ServerError: If the server refuses the frame, or has ended the stream.
        """
        sequence = self.send(frame, time)
        while True:
            message = self._receive()
            if message["type"] == "refused":
                raise ServerError(message["reason"])
            if message.get("sequence") == sequence:
                return message

    def send(self, frame: NDArray[np.uint8] | bytes, time: float | None = None) -> int:
        """Send a frame without waiting; returns its sequence number."""
        kind = Kind.JPEG if isinstance(frame, bytes) else Kind.RGB
        payload = frame if isinstance(frame, bytes) else np.ascontiguousarray(frame, np.uint8).data
        self.sequence += 1
        at = NO_TIME if time is None else round(time * 1e6)
        message = HEADER.pack(self.sequence & 0xFFFFFFFF, at, kind, 0) + bytes(payload)
        try:
            self._socket.send(message)
        except ConnectionClosed as error:
            raise _ended(error) from None
        return self.sequence

    def results(self) -> Iterator[dict[str, Any]]:
        """Messages as they come, until the stream is closed."""
        while True:
            try:
                yield self._receive(None)
            except ServerError as error:
                if error.status == 1000:
                    return
                raise

    def reset(self) -> None:
        """Forget everything."""
        self._client._ask("POST", f"{self._path}/reset")

    def rewind(self, seconds: float) -> float:
        """Forget the last seconds; returns the time in the stream that the state is of."""
        answer = self._client._ask("POST", f"{self._path}/rewind", json={"seconds": seconds})
        return answer.json()["time"]

    def fork(self, **options: Any) -> RemoteStream:
        """A second stream that has seen what this one has; half_life, rules and top may differ."""
        return self._client._connect(
            self._client._ask("POST", f"{self._path}/fork", json=options).json()
        )

    def snapshot(self) -> StreamSnapshot:
        """The state, which `movinet.load(...).open_stream` continues on this machine."""
        return StreamSnapshot.from_bytes(
            self._client._ask("GET", f"{self._path}/snapshot").content, self.id
        )

    def restore(self, snapshot: StreamSnapshot) -> None:
        """Continue from a snapshot of the same weights."""
        self._client._ask("PUT", f"{self._path}/snapshot", content=snapshot.to_bytes())

    def disconnect(self) -> None:
        """Leave the stream as it is; `Client.resume` goes on."""
        self._open.close()

    def close(self) -> None:
        """End the stream."""
        self._client._ask("DELETE", self._path)
        self._open.close()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the stream, or leave it as it is after an error."""
        self.disconnect() if error else self.close()

    def _receive(self, timeout: float | None = _TIMEOUT) -> dict[str, Any]:
        try:
            return json.loads(self._socket.recv(timeout))
        except TimeoutError:
            raise ServerError(f"no answer for {timeout:g} seconds") from None
        except ConnectionClosed as error:
            raise _ended(error) from None


def _ended(error: ConnectionClosed) -> ServerError:
    close = error.rcvd
    if close is None:
        return ServerError("the connection was lost; resume(id) continues", 1006)
    return ServerError(one_line(close.reason or f"closed with {close.code}"), close.code)
