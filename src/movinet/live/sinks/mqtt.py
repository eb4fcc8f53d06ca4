"""MQTT: reports of events, and what goes on at each source, for home automation and others.

Topics below the prefix: ``SOURCE/events`` gets each report, ``SOURCE/state`` keeps the events that
go on, and ``status`` says whether movinet is there.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from movinet.errors import ConfigError, MissingExtraError
from movinet.live.sinks.reports import Report
from movinet.live.sinks.urls import split_url
from movinet.live.sinks.worker import Sink, TryAgainError
from movinet.text import one_line

#: Topic prefix, unless the URL has one.
_PREFIX = "movinet"
#: Of a topic, UTF-8 bytes at most; MQTT allows 65,535.
_MOST_PREFIX = 1000
#: For a TCP connection, seconds; between keep-alives, seconds.
_CONNECT, _KEEP_ALIVE = 5.0, 30
#: Messages that may wait in paho for acknowledgements.
_MOST_QUEUED = 100


class Mqtt(Sink):
    """Publishes with quality of service 1; a report has arrived when the broker says so.

    Args:
        url: ``mqtt://[USER:PASSWORD@]HOST[:PORT][/PREFIX]``, or ``mqtts`` with TLS;
            ``?discovery=PREFIX`` tells Home Assistant of a sensor for each source.
        sources: Names of all sources, whose states are published at the beginning.

    Raises:
        ConfigError: If it is no such URL.
        MissingExtraError: If paho-mqtt is not installed.
    """

    def __init__(self, url: str, sources: Sequence[str]) -> None:
        place = split_url(url)
        self.name = one_line(f"{place.scheme}://{place.shown}")
        self._prefix = _topic(unquote(urlsplit(url).path).strip("/") or _PREFIX, self.name)
        self._discovery = _discovery(urlsplit(url).query, self.name)
        secure = place.scheme == "mqtts"
        self._host, self._port = place.host, place.port or (8883 if secure else 1883)
        #: What each source is called in topics, and the labels of its events that go on.
        self._topics: dict[str, str] = {}
        self._active: dict[str, tuple[str, ...]] = {}
        for source in sources:
            self._active[source] = ()
            self._topic_of(source)
        self._connected, self._acknowledged = threading.Event(), threading.Event()
        self._reason = "cannot be reached"
        self._done: set[int] = set()
        #: The report that is on its way, and the numbers of its messages.
        self._sent: tuple[Report | None, set[int]] = (None, set())
        self._client = self._make_client(secure, place.user, place.password)

    def open(self) -> None:
        """Begin to connect; the broker may come later."""
        self._client.connect_async(self._host, self._port, keepalive=_KEEP_ALIVE)
        self._client.loop_start()

    def deliver(self, report: Report, seconds: float) -> None:
        """Publish it and the state of its source, and wait until the broker has both."""
        end = time.monotonic() + seconds
        if not self._connected.wait(seconds):
            raise TryAgainError(self._reason)
        if self._sent[0] is not report:
            self._done.clear()
            if report.source not in self._active:
                self._announce(report.source)
            self._active[report.source] = report.active
            topic = f"{self._topic_of(report.source)}/events"
            numbers = {self._publish(topic, dict(report.values))}
            numbers.add(self._publish_state(report.source))
            self._sent = (report, numbers)
        # Messages that are lost with a connection are sent again by paho.
        while not self._sent[1] <= self._done:
            self._acknowledged.clear()
            if self._sent[1] <= self._done:
                break
            if not self._acknowledged.wait(max(0.0, end - time.monotonic())):
                raise TryAgainError("does not acknowledge in time")
        self._sent = (None, set())

    def finish(self, seconds: float) -> None:
        """Say good-bye."""
        if self._connected.is_set():
            info = self._client.publish(f"{self._prefix}/status", "offline", qos=1, retain=True)
            with contextlib.suppress(RuntimeError, ValueError):
                info.wait_for_publish(min(seconds, 1.0))
        self._client.disconnect()
        self._client.loop_stop()

    def abandon(self) -> None:
        """Close the connection; the broker says that we are offline."""
        self._client.disconnect()

    def _make_client(self, secure: bool, user: str | None, password: str | None) -> Any:
        try:
            from paho.mqtt.client import Client
            from paho.mqtt.enums import CallbackAPIVersion
        except ImportError:
            raise MissingExtraError("MQTT", "live") from None
        client = Client(CallbackAPIVersion.VERSION2)
        client.connect_timeout = _CONNECT
        client.reconnect_delay_set(1, 30)
        client.max_queued_messages_set(_MOST_QUEUED)
        client.will_set(f"{self._prefix}/status", "offline", qos=1, retain=True)
        if user is not None:
            client.username_pw_set(user, password)
        if secure:
            client.tls_set()
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        return client

    # In paho's thread, which holds locks that `publish` needs: these wait for nothing.

    def _on_connect(self, client: Any, _data: Any, _flags: Any, code: Any, _more: Any) -> None:
        if code.is_failure:
            self._reason = f"refuses the connection ({one_line(code)})"
            return
        client.publish(f"{self._prefix}/status", "online", qos=1, retain=True)
        with contextlib.suppress(TryAgainError):  # the next connection tells it
            for source in list(self._active):
                self._announce(source)
                self._publish_state(source)
        self._connected.set()

    def _on_connect_fail(self, _client: Any, _data: Any) -> None:
        self._reason = "cannot be reached"

    def _on_disconnect(self, _client: Any, _data: Any, _flags: Any, code: Any, _more: Any) -> None:
        if self._connected.is_set():
            self._reason = f"has closed the connection ({one_line(code)})"
        self._connected.clear()

    def _on_publish(self, _client: Any, _data: Any, number: int, _code: Any, _more: Any) -> None:
        self._done.add(number)
        self._acknowledged.set()

    def _publish(self, topic: str, values: dict[str, Any], *, retain: bool = False) -> int:
        """Send a message; paho keeps it until it is acknowledged."""
        info = self._client.publish(topic, json.dumps(values), qos=1, retain=retain)
        if info.rc not in (0, 4):  # 4: the connection is lost, and it is sent later
            raise TryAgainError("takes no more messages")
        return info.mid

    def _publish_state(self, source: str) -> int:
        state = {"source": source, "active": sorted(set(self._active.get(source, ())))}
        return self._publish(f"{self._topic_of(source)}/state", state, retain=True)

    def _topic_of(self, source: str) -> str:
        """The topic of a source: its name without what has a meaning in topics."""
        if source not in self._topics:
            plain = re.sub(r"[^\w.-]+", "_", source, flags=re.ASCII).strip("_")[-64:] or "source"
            name, number, taken = plain, 2, {*self._topics.values(), f"{self._prefix}/status"}
            while f"{self._prefix}/{name}" in taken:
                name, number = f"{plain}_{number}", number + 1
            self._topics[source] = f"{self._prefix}/{name}"
        return self._topics[source]

    def _announce(self, source: str) -> None:
        """Tell Home Assistant of a source: a sensor whose state is what goes on."""
        if self._discovery is None:
            return
        topic = self._topic_of(source)
        key = re.sub(r"\W", "_", topic, flags=re.ASCII)
        self._publish(
            f"{self._discovery}/sensor/{key}/config",
            {
                "name": f"{source} events",
                "unique_id": key,
                "state_topic": f"{topic}/state",
                "value_template": "{{ value_json.active | join(', ') or 'none' }}",
                "json_attributes_topic": f"{topic}/state",
                "availability_topic": f"{self._prefix}/status",
            },
            retain=True,
        )


def _topic(text: str, name: str) -> str:
    """A topic prefix that may be published to."""
    if set("+#$").intersection(text) or not text.isprintable() or "//" in text:
        raise ConfigError(f"{name}: a topic has no +, #, $, empty parts or control characters")
    if len(text.encode()) > _MOST_PREFIX:
        raise ConfigError(f"{name}: a topic has at most {_MOST_PREFIX} bytes")
    return text


def _discovery(query: str, name: str) -> str | None:
    """Home Assistant's topic prefix; None if it is not to be told."""
    asked: Iterable[tuple[str, str]] = parse_qsl(query, keep_blank_values=True)
    found = None
    for key, value in asked:
        if key != "discovery" or not value:
            raise ConfigError(f"{name}: expected no query but discovery=homeassistant")
        found = _topic(value.strip("/"), name)
    return found
