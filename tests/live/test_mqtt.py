"""Events over MQTT: topics, retained states, brokers that fail."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Callable

import pytest
from made_results import change, result
from mqtt_broker import broker

from movinet.errors import ConfigError, MissingExtraError, install_command
from movinet.live.sinks import Counts, Limits, Sinks

needs_paho = pytest.mark.usefixtures("_paho")
QUICK = Limits(shortest=0.01, longest=0.05, attempt=2.0, closing=3.0)


@pytest.fixture
def _paho() -> None:
    pytest.importorskip("paho.mqtt.client", reason="needs the extra live (paho-mqtt)")


def wait_for(condition: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


@needs_paho
def test_events_and_states_have_topics() -> None:
    with broker() as server:
        url = f"mqtt://me:s3cret%21@127.0.0.1:{server.port}/home/cams"
        sources = ["door", "rtsp://h/a+b#c", "rtsp://h/a b c"]
        with Sinks([url], sources=sources) as sinks:
            wait_for(lambda: len(server.messages) == 4)  # what a broker kept of before is over
            sinks.send(result(2.0, change("new", 1.0, 2.0)))
            sinks.send(result(2.5, change("new", 2.0, 2.5, "waving")))
            sinks.send(result(7.0, change("update", 1.0, 7.0)))
            sinks.send(result(8.0, change("end", 1.0, 7.5)))
            sinks.send(result(3.0, change("new", 1.0, 2.0), source=sources[1]))
    assert server.users == [("me", "s3cret!")]
    assert server.wills == [("home/cams/status", "offline")]
    assert [m.payload for m in server.of("home/cams/status")] == [b"online", b"offline"]
    events = [m.json for m in server.of("home/cams/door/events")]
    assert [(e["kind"], e["label"]) for e in events] == [
        ("new", "falling"),
        ("new", "waving"),
        ("update", "falling"),
        ("end", "falling"),
        ("end", "waving"),  # cut, at the end
    ]
    states = [m.json["active"] for m in server.of("home/cams/door/state")]
    assert states == [
        [],
        ["falling"],
        ["falling", "waving"],
        ["falling", "waving"],
        ["waving"],
        [],
    ]
    assert all(m.retain == (not m.topic.endswith("/events")) for m in server.messages)
    assert server.of("home/cams/rtsp_h_a_b_c/events")[0].json["source"] == sources[1]
    assert server.of("home/cams/rtsp_h_a_b_c_2/state")[0].json["source"] == sources[2]
    assert list(sinks.counts.items()) == [(f"mqtt://127.0.0.1:{server.port}", Counts(7, 7, {}))]


@needs_paho
def test_home_assistant_is_told_of_sensors() -> None:
    with broker() as server:
        url = f"mqtt://127.0.0.1:{server.port}?discovery=homeassistant"
        with Sinks([url], sources=["door"]):
            wait_for(lambda: len(server.messages) == 3)
    (told,) = server.of("homeassistant/sensor/movinet_door/config")
    assert told.retain
    assert told.json["state_topic"] == "movinet/door/state" == server.messages[2].topic
    assert told.json["availability_topic"] == "movinet/status" == server.messages[0].topic


@needs_paho
def test_a_broker_that_is_down_gets_everything_later() -> None:
    said: list[str] = []
    with broker() as server:
        port = server.port
    url = f"mqtt://u:s3cret@127.0.0.1:{port}"
    limits = Limits(shortest=0.01, longest=0.05, attempt=0.2, closing=3.0)
    with Sinks([url], limits=limits, say=lambda _, line: said.append(line)) as sinks:
        sinks.send(result(2.0, change("new", 1.0, 2.0)))
        wait_for(lambda: bool(said))
        with broker(port) as first:
            wait_for(lambda: len(first.of("movinet/door/events")) == 1)
        sinks.send(result(9.0, change("end", 1.0, 8.0)))
        with broker(port) as second:
            wait_for(lambda: len(second.of("movinet/door/events")) == 1)
    assert first.of("movinet/door/events")[0].json["kind"] == "new"
    assert second.of("movinet/door/events")[0].json["kind"] == "end"
    assert said[0] == f"mqtt://127.0.0.1:{port}: cannot be reached; trying again"
    assert list(sinks.counts.values()) == [Counts(2, 2, {})]
    assert "s3cret" not in str(said) + str([t.name for t in threading.enumerate()])


@needs_paho
def test_a_message_that_is_not_acknowledged_is_sent_again() -> None:
    """The third message is the event; the connection breaks before it is acknowledged."""
    with (
        broker(acknowledges=lambda number: number != 2) as server,
        Sinks([f"mqtt://127.0.0.1:{server.port}"], sources=["door"], limits=QUICK) as sinks,
    ):
        wait_for(lambda: len(server.messages) == 2)
        sinks.send(result(2.0, change("new", 1.0, 2.0), change("end", 1.0, 2.0)))
        wait_for(lambda: len(server.of("movinet/door/events")) == 2)
    assert [m.json["kind"] for m in server.of("movinet/door/events")] == ["new", "end"]
    assert server.of("movinet/door/state")[-1].json["active"] == []
    assert list(sinks.counts.values()) == [Counts(2, 2, {})]


@needs_paho
def test_a_broker_that_refuses_or_hangs_costs_bounded_time() -> None:
    said: list[str] = []
    limits = Limits(shortest=0.01, attempt=0.3, closing=0.5)
    with broker(code=5) as server:
        url = f"mqtt://me:s3cret@127.0.0.1:{server.port}"
        with Sinks([url], limits=limits, say=lambda _, line: said.append(line)) as sinks:
            sinks.send(result(2.0, change("new", 1.0, 2.0)))
            wait_for(lambda: any("Not authorized" in line for line in said))
            began = time.monotonic()
        assert time.monotonic() - began < 3
    assert sum(next(iter(sinks.counts.values())).dropped.values()) == 2
    assert "s3cret" not in str(said)


@needs_paho
@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mqtt:///x", "it is not a URL with a host"),
        ("mqtt://u:s3cret@host/a/#", "spaces are written %20, # %23"),
        ("mqtt://u:s3cret@host/a/%2B", "a topic has no"),
        ("mqtt://host/" + "a" * 2000, "at most 1000 bytes"),
        ("mqtt://u:s3cret@host/a?qos=2", "expected no query but discovery=homeassistant"),
    ],
)
def test_a_bad_url_is_one_line(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        Sinks([url])
    assert "s3cret" not in str(caught.value)


def test_without_paho_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "paho"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "paho", None)
    with pytest.raises(MissingExtraError, match=re.escape(install_command("live"))):
        Sinks(["mqtt://host/x"])
