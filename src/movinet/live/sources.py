"""What a live source is: where it is opened, what it may open, and what it is called.

A network source may only use the protocols of its kind: a playlist from a server that names a file
of this machine is refused by FFmpeg. User names, passwords and queries of URLs are in `address`
alone, which nothing prints.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from movinet.errors import ConfigError
from movinet.text import one_line

Kind = Literal["camera", "rtsp", "rtmp", "http", "udp", "screen", "file", "stdin"]
#: scheme -> kind of source
_SCHEMES: dict[str, Kind] = {
    **dict.fromkeys(("rtsp", "rtsps"), "rtsp"),
    **dict.fromkeys(("rtmp", "rtmps"), "rtmp"),
    **dict.fromkeys(("http", "https"), "http"),
    "udp": "udp",
}
#: Protocols that a kind of source may use, for itself and for what it names.
PROTOCOLS: dict[Kind, str] = {
    "camera": "file",
    "screen": "file",
    "rtsp": "rtsp,rtsps,rtp,srtp,tcp,tls,udp",
    "rtmp": "rtmp,rtmps,tcp,tls",
    "http": "http,https,tcp,tls,crypto,httpproxy",
    "udp": "udp",
    "stdin": "pipe",
}
#: FFmpeg's demuxers that a network source may be: none that reads other files or draws text.
FORMATS: dict[Kind, str] = {
    "rtsp": "rtsp",
    "rtmp": "flv,live_flv",
    "http": "hls,mpegts,mpjpeg,mjpeg,mov,matroska,webm,flv,live_flv,mpeg,h264,hevc,aac,ogg,asf",
    "udp": "mpegts,rtp",
    "stdin": "mpegts,matroska,webm,mpjpeg,mjpeg,mov,flv,h264,hevc,nut,yuv4mpegpipe,mpeg,avi,ogg",
}
_NAMED = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_.-]{0,39})=(.+)", re.DOTALL)


@dataclass(frozen=True)
class LiveSource:
    """A source of live video.

    Attributes:
        name: What it is called in results and messages; has no secrets.
        kind: Of source.
        address: What FFmpeg opens; may have secrets, so it is not printed.
        demuxer: FFmpeg's input device, for cameras and screens.
        options: FFmpeg's, for opening.
    """

    name: str
    kind: Kind
    address: str = field(repr=False)
    demuxer: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def ends(self) -> bool:
        """Whether its end is the end, and not a loss of connection."""
        return self.kind in ("file", "stdin")


def parse_sources(texts: Sequence[str]) -> tuple[LiveSource, ...]:
    """Sources as users write them, each with a name that no other one has.

    Raises:
        ConfigError: If one is none, or two have the same given name.
    """
    found: list[LiveSource] = []
    for text in texts:
        source = parse_source(text)
        names = {other.name for other in found}
        if source.name in names and _NAMED.fullmatch(text):
            raise ConfigError(f"two sources are called {source.name}")
        name, number = source.name, 2
        while name in names:
            name, number = f"{source.name} #{number}", number + 1
        found.append(_renamed(source, name))
    if not found:
        raise ConfigError("expected at least one source")
    return tuple(found)


def parse_source(text: str) -> LiveSource:
    """A source as a user writes it.

    Args:
        text: A camera's number or device, an ``rtsp``, ``rtmp``, ``http``, ``https`` or ``udp``
            URL, ``screen``, a file, or ``-`` for stdin; ``NAME=`` before it gives it a name.

    Raises:
        ConfigError: If it is none of these.
    """
    if not isinstance(text, str | os.PathLike):
        raise ConfigError(f"expected a source as text, got {type(text).__name__}")
    text = os.fspath(text)
    if "\0" in text or not text:
        raise ConfigError("a source must have a name without null characters")
    match = _NAMED.fullmatch(text)
    if match and not Path(text).exists():
        return _renamed(parse_source(match[2]), match[1])
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", text)
    if scheme:
        return _network(text, scheme[1].lower())
    if text == "-":
        return LiveSource("stdin", "stdin", "pipe:0")
    if text == "screen":
        return _screen()
    if re.fullmatch(r"\d{1,3}", text) or text.startswith("/dev/video"):
        return _camera(text)
    return LiveSource(one_line(text), "file", text)


def redacted(url: str) -> str:
    """A URL without its password, and without the values of its query."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return re.sub(r"//.*", "//***", url)
    who = f"{parts.username}:***@" if parts.password else ""
    if parts.username and not parts.password:
        who = "***@"  # some cameras take a token there
    host = f"[{host}]" if ":" in host else host
    place = f"{who}{host}{'' if port is None else f':{port}'}"
    query = "***" if parts.query else ""
    return one_line(SplitResult(parts.scheme, place, parts.path, query, "").geturl())


def _renamed(source: LiveSource, name: str) -> LiveSource:
    return LiveSource(name, source.kind, source.address, source.demuxer, source.options)


def _network(url: str, scheme: str) -> LiveSource:
    kind = _SCHEMES.get(scheme)
    if kind is None:
        known = ", ".join(f"{name}://" for name in _SCHEMES)
        raise ConfigError(f"{redacted(url)}: no source has this protocol; there are {known}")
    try:
        parts = urlsplit(url)
        valid = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        valid = False
    if not valid or any(character in url for character in "\r\n\t "):
        raise ConfigError(
            f"{redacted(url)}: it is not a URL with a host; spaces are written %20, and a port is "
            "a number from 1 to 65535"
        )
    options = {"rtsp_transport": "tcp"} if kind == "rtsp" else {}
    if kind == "rtmp" or urlsplit(url).path.endswith(".flv"):
        # The header tells of no tracks: FFmpeg would wait half a minute for sound that never comes.
        options = {"analyzeduration": "500000"}
    if kind == "http":
        options = {"user_agent": "movinet"}
    return LiveSource(redacted(url), kind, url, options=options)


def _camera(text: str) -> LiveSource:
    if sys.platform == "darwin":
        # It has no default rate that every camera takes.
        options = {"framerate": "30"}
        return LiveSource(f"camera {text}", "camera", f"{text}:none", "avfoundation", options)
    if sys.platform == "win32":
        raise ConfigError("name the camera as Windows does: video=Integrated Camera")
    device = f"/dev/video{text}" if text.isdigit() else text
    return LiveSource(device, "camera", device, "v4l2")


def _screen() -> LiveSource:
    if sys.platform == "darwin":
        return LiveSource("screen", "screen", "Capture screen 0:none", "avfoundation")
    if sys.platform == "win32":
        return LiveSource("screen", "screen", "desktop", "gdigrab")
    display = os.environ.get("DISPLAY")
    if not display:
        raise ConfigError("there is no screen to watch: DISPLAY is not set")
    return LiveSource("screen", "screen", display, "x11grab")
