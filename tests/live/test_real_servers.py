"""Live video from servers that other people made: RTSP, RTMP, and a broker of MQTT."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_results import change, result
from real_servers import free_port, mosquitto, published, rtmp_server, rtsp_server
from servers import RATE, transport_stream

from movinet.data.synth.render import render_clip
from movinet.live import LiveResult, watch
from movinet.live.sinks import Sinks


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Something moves to the right."""
    path = tmp_path_factory.mktemp("film") / "film.ts"
    clip = render_clip("motions", "moving right", 1, 2)
    times = np.arange(0, len(clip.frames) / clip.frame_rate, 1 / RATE)
    pictures = [clip.frames[int(each * clip.frame_rate)] for each in times]
    path.write_bytes(b"".join(transport_stream(pictures)))
    return path


def check(url: str, runtime: Any) -> None:
    """What a server sends is seen right, and at once."""
    found: list[LiveResult] = []
    for _ in range(3):
        results = watch(url, runtime, seconds=25)
        found = [result for result, _ in zip(results, range(10), strict=False)]
        results.close()
        if sum(result.gap for result in found[1:]) < 4:  # else the machine was busy for a moment
            break
    assert found[-1].number - found[0].number == 9 + sum(result.gap for result in found[1:])
    assert found[-1].labels[int(found[-1].probabilities.argmax())] == "moving right"
    assert float(np.median([result.age for result in found])) < 1 / RATE + 0.1


def test_rtsp(runtime: Any, film: Path) -> None:
    with rtsp_server(film, free_port()) as url:
        check(url, runtime)


def test_rtmp(runtime: Any, film: Path, tmp_path: Path) -> None:
    with rtmp_server(tmp_path) as url, published(film, url):
        check(url, runtime)


def test_a_camera_that_asks_who_is_there(film: Path) -> None:
    """The right password opens it, a wrong one is told, and neither is ever shown."""
    with rtsp_server(film, free_port(), "me:s3cret") as url:
        for password, shown in (("s3cret", '"number": 3'), ("wr0ng", "cannot be opened")):
            source = url.replace("//", f"//me:{password}@")
            command = [sys.executable, "-m", "movinet", "watch", source, "--json", "--for", "4"]
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
            assert shown in done.stdout + done.stderr
            assert password not in done.stdout + done.stderr


@pytest.mark.heavy
def test_a_camera_that_is_off_for_a_while_comes_back(runtime: Any, film: Path) -> None:
    states: list[str] = []
    port = free_port()
    with rtsp_server(film, port) as url:
        results = watch(url, runtime, on_status=lambda s: states.append(s.state), seconds=30)
        before = [next(results) for _ in range(4)]
    time.sleep(2.0)
    with rtsp_server(film, port):
        back = time.time()
        after = next(results)
        results.close()
    # The next attempt, and the keyframe of a server that starts its film again.
    assert after.captured - back < 2.0 + 1.0
    assert after.gap >= 8  # two seconds at least, of eight frames each
    assert after.number > before[-1].number
    assert {"connected", "waiting"} <= set(states)


def test_events_reach_a_real_broker(tmp_path: Path) -> None:
    """What is retained is there for who comes later; a killed watcher is offline."""
    paho = pytest.importorskip("paho.mqtt.subscribe", reason="needs the extra live (paho-mqtt)")
    with mosquitto(tmp_path) as port:

        def kept(topic: str) -> bytes:
            return paho.simple(topic, hostname="127.0.0.1", port=port, qos=1).payload

        url = f"mqtt://127.0.0.1:{port}/home"
        with Sinks([url], sources=["door"]) as sinks:
            sinks.send(result(2.0, change("new", 1.0, 2.0)))
            end = time.monotonic() + 10
            while json.loads(kept("home/door/state"))["active"] != ["falling"]:
                assert time.monotonic() < end
        assert kept("home/status") == b"offline"
        command = [sys.executable, "-m", "movinet", "watch", "-", "--to", url]
        killed = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while kept("home/status") != b"online":
            assert killed.poll() is None
        killed.kill()
        killed.communicate()
        while kept("home/status") != b"offline":
            assert time.monotonic() < end + 30
