"""Live sources as users write them; passwords stay where they are."""

from __future__ import annotations

import pytest

from movinet.errors import ConfigError
from movinet.live.sources import parse_source, parse_sources, redacted


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        ("rtsp://cam.local:554/main", "rtsp", "rtsp://cam.local:554/main"),
        ("RTSPS://cam/x", "rtsp", "rtsps://cam/x"),
        ("rtmp://host/app/key", "rtmp", "rtmp://host/app/key"),
        ("http://host/live.m3u8", "http", "http://host/live.m3u8"),
        ("https://[::1]:8443/a", "http", "https://[::1]:8443/a"),
        ("udp://239.0.0.1:1234", "udp", "udp://239.0.0.1:1234"),
        ("-", "stdin", "stdin"),
        ("video.mp4", "file", "video.mp4"),
        ("door=rtsp://u:p@cam/x", "rtsp", "door"),
        ("a=b.mp4", "file", "a"),
    ],
)
def test_sources_are_recognised(text: str, kind: str, name: str) -> None:
    source = parse_source(text)
    assert (source.kind, source.name) == (kind, name)


@pytest.mark.skipif("sys.platform != 'linux'", reason="device names are Linux's")
def test_cameras_and_screens(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse_source("0").address == parse_source("/dev/video0").address == "/dev/video0"
    assert parse_source("2").demuxer == "v4l2"
    monkeypatch.setenv("DISPLAY", ":7")
    assert (parse_source("screen").demuxer, parse_source("screen").address) == ("x11grab", ":7")
    monkeypatch.delenv("DISPLAY")
    with pytest.raises(ConfigError, match="DISPLAY is not set"):
        parse_source("screen")


SECRETS = [
    ("rtsp://admin:s3cret@cam/x", "rtsp://admin:***@cam/x"),
    ("rtsp://s3cret@cam:99/x", "rtsp://***@cam:99/x"),
    ("http://h/a?token=s3cret&b=1", "http://h/a?***"),
    ("http://u:s3cret@[::1]:80/a?s3cret", "http://u:***@[::1]:80/a?***"),
    ("http://u:s3cret@h:port/", "http://***"),
    ("rtsp://u:p@s3cret:x@h/", "rtsp://u:***@h/"),
]


@pytest.mark.parametrize(("url", "shown"), SECRETS)
def test_no_secret_is_shown(url: str, shown: str) -> None:
    assert redacted(url) == shown
    assert "s3cret" not in redacted(url)
    if "port" in url:
        with pytest.raises(ConfigError) as caught:
            parse_source(url)
        assert "s3cret" not in str(caught.value)
        return
    source = parse_source(url)
    assert "s3cret" not in repr(source) + str(source)
    assert source.address == url


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ftp://host/x", "ftp://host/x: no source has this protocol; there are rtsp://"),
        ("file:///etc/passwd", "no source has this protocol"),
        ("rtsp://", "it is not a URL with a host"),
        ("http://h/a b", "it is not a URL with a host; spaces are written %20"),
        ("http://h/a\nb", "it is not a URL"),
        ("", "a source must have a name"),
        ("a\0b", "null characters"),
    ],
)
def test_what_is_no_source_is_one_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse_source(text)
    assert str(caught.value).isprintable()


def test_every_source_has_a_name_of_its_own() -> None:
    names = [source.name for source in parse_sources(["a.mp4", "a.mp4", "a.mp4", "b=a.mp4"])]
    assert names == ["a.mp4", "a.mp4 #2", "a.mp4 #3", "b"]
    with pytest.raises(ConfigError, match="two sources are called b"):
        parse_sources(["b=a.mp4", "b=c.mp4"])
    with pytest.raises(ConfigError, match="at least one source"):
        parse_sources([])
