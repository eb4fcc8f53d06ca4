"""Servers of live video that other people made, run on this machine.

Each needs a package of Debian's or npm's, which ``.ci/run`` installs.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import pytest

import npm

HERE = Path(__file__).parent
#: Debian's, which has GStreamer's bindings; those of a virtual environment lack them.
_PYTHON = "/usr/bin/python3"


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def _wait_for_port(port: int, process: subprocess.Popen[Any], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while True:
        assert process.poll() is None, "the server has ended"
        with socket.socket() as trial:
            if trial.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert time.monotonic() < end, "the server is not there"
        time.sleep(0.02)


@contextmanager
def _running(command: list[Any], port: int, **options: Any) -> Iterator[subprocess.Popen[Any]]:
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, **options
    )
    try:
        _wait_for_port(port, process)
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def rtsp_server(film: Path, port: int, account: str = "") -> Iterator[str]:
    """GStreamer's RTSP server of an MPEG-TS file with H.264.

    Args:
        film: Sent from its start to each client, at its own pace.
        port: Where it listens.
        account: ``user:password`` that it asks for.
    """
    needed = "import gi; gi.require_version('GstRtspServer', '1.0')"
    if (
        not Path(_PYTHON).exists()
        or subprocess.run([_PYTHON, "-c", needed], capture_output=True, check=False).returncode
    ):
        pytest.skip("needs an RTSP server (Debian: gir1.2-gst-rtsp-server-1.0 and python3-gi)")
    program = HERE / "rtsp_server.py"
    with _running([_PYTHON, program, film, str(port), *([account] if account else [])], port):
        yield f"rtsp://127.0.0.1:{port}/film"


@contextmanager
def rtmp_server(folder: Path) -> Iterator[str]:
    """The RTMP server node-media-server; somebody has to publish there.

    Args:
        folder: For what it writes.
    """
    if shutil.which("npm") is None:
        pytest.skip("needs npm")
    program = npm.install(HERE / "rtmp") / "node-media-server" / "bin" / "app.js"
    port, settings = free_port(), folder / "settings.json"
    options = {
        "bind": "127.0.0.1",
        "auth": {"play": False, "publish": False},
        "rtmp": {"port": port},
        "http": {"port": free_port()},
        "store": {"path": str(folder / "data")},
        "record": {"path": str(folder / "record")},
    }
    settings.write_text(json.dumps(options))
    command = ["node", program, "--no-admin", "-c", settings]
    with _running(command, port, stderr=subprocess.DEVNULL):
        yield f"rtmp://127.0.0.1:{port}/live/door"


@contextmanager
def published(film: Path, url: str) -> Iterator[None]:
    """Send a film to an RTMP server at its own pace, as an encoder does."""
    stopped = threading.Event()

    def send() -> None:
        with av.open(str(film)) as source, av.open(url, "w", format="flv") as target:
            video = source.streams.video[0]
            copy = target.add_stream_from_template(video)
            began = time.monotonic()
            for packet in source.demux(video):
                if packet.pts is None or packet.time_base is None:
                    continue
                due = began + float(packet.pts * packet.time_base)
                if stopped.wait(max(0.0, due - time.monotonic())):
                    return
                packet.stream = copy
                target.mux(packet)
            stopped.wait(20)  # still connected, and silent

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


@contextmanager
def mosquitto(folder: Path) -> Iterator[int]:
    """The MQTT broker mosquitto; yields its port."""
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if program is None:
        pytest.skip("needs an MQTT broker (Debian: mosquitto)")
    port, settings = free_port(), folder / "mosquitto.conf"
    settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    with _running([program, "-c", settings], port, stderr=subprocess.DEVNULL):
        yield port
