"""Servers of live video on this machine, with what goes wrong in real ones."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import av
import numpy as np

RATE = 20


def transport_stream(
    pictures: Any, *, start: float = 0.0, rate: int = RATE, keyframes: int = 10
) -> list[bytes]:
    """MPEG-TS with H.264, in parts of one frame each.

    Args:
        pictures: (height, width, 3) uint8 RGB each.
        start: Presentation time of the first one, seconds.
        rate: Frames a second.
        keyframes: Frames from one keyframe to the next.
    """
    parts: list[bytes] = []
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mpegts", options={"flush_packets": "1"}) as container:
        options = {"preset": "ultrafast", "tune": "zerolatency", "g": str(keyframes), "crf": "10"}
        stream: Any = container.add_stream("libx264", rate=rate, options=options)
        stream.pix_fmt = "yuv420p"
        for number, picture in enumerate(pictures):
            if not number:
                stream.height, stream.width = picture.shape[:2]
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.time_base = Fraction(1, 90_000)
            frame.pts = round((start + number / rate) * 90_000)
            container.mux(stream.encode(frame))
            parts.append(buffer.getvalue())
            buffer.seek(0)
            buffer.truncate()
        container.mux(stream.encode())
    parts.append(buffer.getvalue())
    return [part for part in parts if part]


def still(shade: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    return np.full((*size, 3), shade, np.uint8)


@contextmanager
def http_server(
    serve: Callable[[Callable[[bytes], None], int, threading.Event], None],
    content_type: str = "video/mp2t",
) -> Iterator[str]:
    """A server whose every connection is handled by `serve(send, connection number, stopped)`."""
    stopped, count, lock = threading.Event(), [0], threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with lock:
                number, count[0] = count[0], count[0] + 1
            try:
                self.send_response(200)
                self.send_header("Content-Type", content_type)
                self.end_headers()
                serve(self.send, number, stopped)
            except OSError:  # the client has gone
                pass

        def send(self, data: bytes) -> None:
            self.wfile.write(data)
            self.wfile.flush()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/live.ts"
    finally:
        stopped.set()
        server.shutdown()
        server.server_close()
        thread.join()


def paced(
    parts: list[bytes], send: Callable[[bytes], None], stopped: threading.Event, rate: int = RATE
) -> None:
    """Send parts at the rate at which they are shown."""
    began = time.monotonic()
    for number, part in enumerate(parts):
        if stopped.wait(max(0.0, began + number / rate - time.monotonic())):
            return
        send(part)
