"""Servers that send what they like: playlists, recordings, nothing."""

from __future__ import annotations

import gc
import http.server
import math
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from servers import http_server, still, transport_stream

import movinet
from movinet.errors import VideoError
from movinet.live import SourceStatus, watch
from movinet.live.opening import Connection
from movinet.live.sources import parse_source

CLIP = Path(movinet.__file__).parent / "demo" / "clip.mp4"


def test_a_playlist_from_the_network_opens_no_file(tmp_path: Path) -> None:
    """Nor another protocol."""
    secret = tmp_path / "secret.ts"
    secret.write_bytes(b"".join(transport_stream(still(9) for _ in range(20))))
    playlist = (
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-VERSION:3\n#EXTINF:1.0,\n{}\n#EXT-X-ENDLIST\n"
    )

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            part = "part.ts" if "good" in self.path else f"file://{secret}"
            data = playlist.format(part).encode()
            if self.path.endswith("part.ts"):
                data = secret.read_bytes()
            self.send_response(200)
            self.send_header("Content-Type", "application/vnd.apple.mpegurl")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        base = f"http://127.0.0.1:{server.server_port}"
        good = Connection(parse_source(f"{base}/good/list.m3u8"), 5, 5)
        assert next(iter(good.pictures())).picture.width == 64
        good.close()
        with pytest.raises(VideoError) as caught:
            next(iter(Connection(parse_source(f"{base}/bad/list.m3u8"), 2, 2).pictures()))
        assert str(secret) not in str(caught.value)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_recording_on_a_server_is_seen_once(runtime: Any) -> None:
    """At its own pace, and not again and again as a stream that was lost."""
    expected = list(movinet.predict(CLIP, runtime))
    statuses: list[SourceStatus] = []
    began = time.monotonic()
    with http_server(lambda send, _, __: send(CLIP.read_bytes()), "video/mp4") as url:
        found = list(watch(url, runtime, half_life=math.inf, on_status=statuses.append, seconds=20))
    assert expected[-1].time - 0.5 < time.monotonic() - began < 15
    assert (statuses[-1].state, statuses[-1].reconnects) == ("ended", 0)
    assert found[-1].ended
    # A tick is certain when the next frame is there, and this server breaks the connection, where
    # others end it: two pictures are still in the decoder.
    assert len(expected) - 4 <= found[-2].number < len(expected)
    if not any(result.dropped for result in found):  # the machine was busy for a moment
        for result, prediction in zip(found[:-1], expected, strict=False):
            np.testing.assert_array_equal(result.probabilities, prediction.probabilities)


def test_a_recording_that_breaks_off_is_tried_again(runtime: Any) -> None:
    data = CLIP.read_bytes()
    statuses: list[tuple[str, int]] = []

    def serve(send: Callable[[bytes], None], number: int, _: threading.Event) -> None:
        send(data if number > 1 else data[: len(data) // 2])

    with http_server(serve, "video/mp4") as url:
        for _ in watch(
            url,
            runtime,
            seconds=20,
            on_status=lambda status: statuses.append((status.state, status.reconnects)),
        ):
            pass
    assert [state for state, _ in statuses[:2]] == ["connected", "waiting"]
    assert statuses[-1][0] == "ended"
    assert statuses[-1][1] >= 1


def test_a_recording_with_its_index_at_the_end_says_what_to_do(
    runtime: Any, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    with av.open(tmp_path / "film.mp4", "w") as container:
        stream: Any = container.add_stream("libx264", rate=10, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for _ in range(12):
            image = random.integers(0, 256, (240, 320, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    data = (tmp_path / "film.mp4").read_bytes()
    reasons: list[str] = []
    with http_server(lambda send, _, __: send(data), "video/mp4") as url:
        for _ in watch(
            url, runtime, seconds=1.5, on_status=lambda status: reasons.append(status.reason)
        ):
            pass
    assert "faststart" in reasons[0]


def test_a_server_that_says_nothing_is_told_so(runtime: Any) -> None:
    reasons: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        for _ in watch(
            f"x=http://127.0.0.1:{server.getsockname()[1]}/",
            runtime,
            open_timeout=0.3,
            read_timeout=0.3,
            seconds=1,
            on_status=lambda status: reasons.append(status.reason),
        ):
            pass
    assert reasons[0] == "x: cannot be opened (no answer in time)"


def test_no_password_in_what_goes_wrong(runtime: Any) -> None:
    said: list[str] = []
    results = watch(
        "http://me:s3cret@127.0.0.1:9/a?key=s3cret",
        runtime,
        on_status=lambda status: said.append(repr(status)),
    )
    thread = threading.Thread(target=lambda: next(results, None), daemon=True)
    thread.start()
    end = time.monotonic() + 5
    while not said and time.monotonic() < end:
        time.sleep(0.01)
    assert said
    assert "s3cret" not in "".join(said)
    assert "me:***@127.0.0.1:9/a" in said[0]


@pytest.mark.heavy
def test_reconnecting_keeps_nothing(film: list[bytes]) -> None:
    """Threads, descriptors and memory are as before after many connections."""

    def serve(send: Callable[[bytes], None], _: int, __: threading.Event) -> None:
        for part in film[:8]:
            send(part)

    def state() -> tuple[int, int, int]:
        gc.collect()
        descriptors = len([*Path("/proc/self/fd").iterdir()])
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return threading.active_count(), descriptors, pages * os.sysconf("SC_PAGESIZE")

    if not Path("/proc/self/statm").exists():
        pytest.skip("needs Linux's /proc")
    with http_server(serve) as url:
        source = parse_source(url)

        def connect() -> None:
            connection = Connection(source, 5, 5)
            with pytest.raises(VideoError):
                for _ in connection.pictures():
                    pass
            connection.close()

        for _ in range(30):
            connect()
        before = state()
        for _ in range(100):
            connect()
        time.sleep(0.2)
        after = state()
    assert after[1] <= before[1] + 1
    assert after[0] <= before[0] + 1
    assert after[2] <= before[2] + 5 * 2**20
