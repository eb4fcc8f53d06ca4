"""Two servers behind nginx, as the documentation sets it up."""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from serving_tools import SIZE, Process, free_port, pictures, wait_for

import movinet
from movinet import Client

PAGE = Path(__file__).parents[2] / "docs" / "serving.md"


@contextlib.contextmanager
def proxy(folder: Path, ports: list[int], port: int) -> Iterator[str]:
    """nginx with the configuration of the page, at other ports."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        pytest.skip("needs nginx (Debian: nginx-light)")
    (text,) = re.findall(r"```text\n(upstream .*?)```", PAGE.read_text(), re.DOTALL)
    for old, new in zip((8765, 8766, 8080), (*ports, port), strict=True):
        text = text.replace(f":{old};", f":{new};").replace(f"listen {old};", f"listen {new};")
    settings = folder / "nginx.conf"
    paths = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    settings.write_text(
        f"daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log {folder}/errors;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{paths}{text}}}\n"
    )
    process = subprocess.Popen([program, "-c", settings, "-p", folder, "-e", folder / "errors"])
    try:
        url = f"http://127.0.0.1:{port}"

        def answers() -> bool:
            assert process.poll() is None, (folder / "errors").read_text()
            with contextlib.suppress(httpx.HTTPError):
                return httpx.get(f"{url}/v2/health/ready").is_success
            return False

        wait_for(answers)
        yield url
    finally:
        process.terminate()
        process.wait()


def test_a_stream_goes_on_when_its_server_ends(tmp_path: Path) -> None:
    """Each stream stays with one of two servers; when that one ends, the other goes on."""
    frames = pictures(0, 12)
    runtime: Any = movinet.load("motions")
    local = runtime.stream(half_life=5.0)
    wanted = [dict(zip(runtime.info.labels, map(float, local(f)), strict=True)) for f in frames]
    folder = ("--snapshots", tmp_path / "streams", "--workers", "1")
    options = {"height": SIZE[0], "width": SIZE[1], "top": 10}
    with Process(*folder) as first, Process(*folder) as second:
        servers = {urlsplit(process.url).port or 0: process for process in (first, second)}
        with proxy(tmp_path, [*servers], free_port()) as url, Client(url) as client:
            streams = [client.stream(**options) for _ in range(6)]
            assert len({stream.id for stream in streams}) == 6
            for stream in streams:
                for frame in frames[:6]:
                    stream(frame)
            counts = [
                len([s for s in httpx.get(f"{process.url}/v1/streams").json() if s["results"]])
                for process in (first, second)
            ]
            assert sum(counts) == 6
            assert first.end(signal.SIGTERM) == 0
            for stream in streams:
                stream.disconnect()
                again = client.resume(stream.id)
                assert again.sequence == 5
                found = [again(frame) for frame in frames[6:]]
                rows = [{e["label"]: e["probability"] for e in m["top"]} for m in found]
                assert rows == wanted[6:]
                again.close()
