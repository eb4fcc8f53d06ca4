"""A broker of MQTT 3.1.1 with what a client that publishes needs, and with faults."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

_CONNECT, _PUBLISH, _PING, _DISCONNECT = 1, 3, 12, 14


@dataclass
class Message:
    topic: str
    payload: bytes
    retain: bool

    @property
    def json(self) -> Any:
        return json.loads(self.payload)


@dataclass
class Broker:
    """What a broker has seen.

    Attributes:
        port: Where it listens.
        code: Of its answer to connections; 0 lets them in.
        acknowledges: Whether it acknowledges a message, by its number from 0.
        messages: All that were published and acknowledged, in order.
        users: Of each connection.
        wills: Topics and payloads of last wills.
    """

    port: int
    code: int = 0
    acknowledges: Callable[[int], bool] = lambda _: True
    messages: list[Message] = field(default_factory=list)
    users: list[tuple[str, str]] = field(default_factory=list)
    wills: list[tuple[str, str]] = field(default_factory=list)
    seen: int = 0

    def of(self, topic: str) -> list[Message]:
        return [message for message in self.messages if message.topic == topic]

    def serve(self, client: socket.socket) -> None:
        """Talk to one client until it goes, or a message is not acknowledged."""
        stream = client.makefile("rb")
        while True:
            kind, body = _packet(stream)
            if kind >> 4 == _CONNECT:
                self._connect(body)
                client.sendall(bytes([0x20, 2, 0, self.code]))
                if self.code:
                    return
            elif kind >> 4 == _PUBLISH:
                topic, rest = _text(body)
                number, payload = rest[:2], rest[2:]
                assert kind >> 1 & 3 == 1  # quality of service
                self.seen += 1
                if not self.acknowledges(self.seen - 1):
                    return
                self.messages.append(Message(topic, payload, bool(kind & 1)))
                client.sendall(b"\x40\x02" + number)
            elif kind >> 4 == _PING:
                client.sendall(b"\xd0\x00")
            else:
                return

    def _connect(self, body: bytes) -> None:
        name, rest = _text(body)
        assert (name, rest[0]) == ("MQTT", 4)
        flags, rest = rest[1], _text(rest[4:])[1]
        told = []
        for bit in (0x04, 0x04, 0x80, 0x40):  # will's topic and message, user, password
            text, rest = _text(rest) if flags & bit else ("", rest)
            told.append(text)
        self.wills.append((told[0], told[1]))
        self.users.append((told[2], told[3]))


def _packet(stream: Any) -> tuple[int, bytes]:
    kind = stream.read(1)
    if not kind:
        raise ConnectionResetError
    size, shift = 0, 0
    while True:
        byte = stream.read(1)[0]
        size, shift = size | (byte & 127) << shift, shift + 7
        if byte < 128:
            return kind[0], stream.read(size)


def _text(data: bytes) -> tuple[str, bytes]:
    end = 2 + int.from_bytes(data[:2], "big")
    return data[2:end].decode(), data[end:]


@contextlib.contextmanager
def broker(port: int = 0, **settings: Any) -> Iterator[Broker]:
    """A broker on this machine; at the end it breaks its connections."""
    clients: list[socket.socket] = []
    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", port)) as server:
        made = Broker(server.getsockname()[1], **settings)

        def talk(client: socket.socket) -> None:
            with client, contextlib.suppress(OSError, IndexError):
                made.serve(client)
                client.shutdown(socket.SHUT_RDWR)

        def listen() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = server.accept()
                    clients.append(client)
                    threads.append(threading.Thread(target=talk, args=(client,)))
                    threads[-1].start()

        listener = threading.Thread(target=listen)
        listener.start()
        try:
            yield made
        finally:
            server.shutdown(socket.SHUT_RDWR)
            listener.join(5)
            for client in clients:
                with contextlib.suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join(5)
