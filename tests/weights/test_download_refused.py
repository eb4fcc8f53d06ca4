"""What is not kept of a download: wrong, too large, changed, or more than there is room for."""

import gzip
import http.client
import io
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from downloads import CARD, FETCH, QUICK, failure, left_files, sha256
from file_server import make_archive, status

from movinet.errors import DownloadError
from movinet.weights import download, store
from movinet.weights import http as transfer
from movinet.weights.download import download_path, fetch
from movinet.weights.store import cache_dir


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            b"<!DOCTYPE html><p>Please log in",
            "text/html, beginning '<!DOCTYPE html><p>Please log in'",
        ),
        (b"", "the answer is empty"),
        (b"\x1f\x8b" + bytes(500), "broken or not a gzip archive"),
        (gzip.compress(b"hello" * 300), "gzipped, but no tar archive"),
        (make_archive()[:-5], "broken or not a gzip archive"),
    ],
    ids=["page", "empty", "no gzip", "no tar", "cut off"],
)
def test_wrong_content_is_refused_and_not_kept(server, content, says) -> None:
    server.content, server.content_type = content, "text/html"
    with pytest.raises(DownloadError, match=says):
        fetch(CARD, patience=QUICK)
    assert left_files() == set()


def test_broken_file_put_there_by_hand_is_refused(server) -> None:
    target = download_path(CARD)
    target.parent.mkdir(parents=True)
    target.write_bytes(server.content[:-1000])
    assert f"{target}: broken or not a gzip archive" in failure()
    assert not server.requests


def test_too_large_files_are_refused(server, monkeypatch) -> None:
    def chunked(handler) -> None:
        handler.answer(200, {"Transfer-Encoding": "chunked"})
        for start in range(0, len(server.content), 50_000):
            piece = server.content[start : start + 50_000]
            handler.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        handler.wfile.write(b"0\r\n\r\n")

    server.faults = [status(200, **{"Content-Length": str(2 << 30)}), chunked]
    assert "declares 2,147,483,648 bytes" in failure()
    assert fetch(CARD, patience=QUICK).read_bytes() == server.content
    download_path(CARD).unlink()
    monkeypatch.setattr(transfer, "MAX_BYTES", 300_000)
    server.faults = [chunked]
    assert "the server sends more" in failure()
    assert left_files() == {"movinet_a0_base.tar.gz.json"}


def test_archive_that_unpacks_to_too_much_is_refused(server, monkeypatch) -> None:
    server.content = gzip.compress(gzip.decompress(server.content) + bytes(2_000_000))
    monkeypatch.setattr(download, "MAX_BYTES", 1_000_000)
    assert "unpacks to more than" in failure()
    assert left_files() == set()


def test_redirects_stay_on_the_web(server) -> None:
    secret = Path(__file__).as_uri()
    for target in (secret, "ftp://127.0.0.1/x", "data:,x"):
        server.faults = [status(302, Location=target)]
        assert "redirect" in failure().lower()
    assert left_files() == set()
    server.faults = [status(302, Location=server.url + "elsewhere")]
    assert fetch(CARD, patience=QUICK).read_bytes() == server.content


def test_redirect_does_not_leave_encryption() -> None:
    handler = transfer._WebRedirects()

    def redirect(url: str, to: str) -> urllib.request.Request | None:
        return handler.redirect_request(
            urllib.request.Request(url), io.BytesIO(), 302, "Found", http.client.HTTPMessage(), to
        )

    assert redirect("https://a.example/x", "https://b.example/x") is not None
    assert redirect("http://a.example/x", "http://b.example/x") is not None
    with pytest.raises(urllib.error.HTTPError, match=r"from https to http://b\.example/x"):
        redirect("https://a.example/x", "http://b.example/x")


def test_no_transparent_unpacking_is_asked_for(server) -> None:
    fetch(CARD, patience=QUICK)
    assert server.requests[0].headers["Accept-Encoding"] == "gzip"


def test_text_of_the_server_cannot_reach_the_terminal_raw(server) -> None:
    server.content, server.content_type = b"\x1b[2J\x07boo", "text/\x1b[31mred"
    message = failure()
    assert message.isprintable()
    assert "boo" in message


def test_full_disk_is_seen_before_anything_is_written(server, monkeypatch) -> None:
    usage = store.shutil._ntuple_diskusage(10, 9, 1)  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setattr(store.shutil, "disk_usage", lambda _path: usage)
    message = failure()
    assert f"disk full: {len(server.content):,} bytes needed, 1 free for {cache_dir()}" in message
    assert left_files() == set()


def test_disk_that_fills_up_is_one_line(server) -> None:
    part = download_path(CARD).with_name("movinet_a0_base.tar.gz.part")
    part.parent.mkdir(parents=True)
    part.symlink_to("/dev/full")  # the system's own "no space left on device"
    message = failure()
    assert f"disk full: {len(server.content):,} bytes needed" in message
    assert str(part) in message
    assert left_files() == set()


def test_failed_write_keeps_what_is_there(server) -> None:
    """A limit on the size of files: the system takes a part of the last write, then refuses."""
    limit = len(server.content) - 10
    code = f"import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
    done = subprocess.run([sys.executable, "-c", code + FETCH], capture_output=True, text=True)
    assert "cannot write" in done.stderr
    assert "File too large" in done.stderr
    part = download_path(CARD).with_name("movinet_a0_base.tar.gz.part")
    assert part.read_bytes() == server.content[:limit]
    assert fetch(CARD, patience=QUICK).read_bytes() == server.content
    assert server.requests[1].headers["Range"] == f"bytes={limit}-"


def test_unwritable_cache_is_one_line(server, tmp_path, monkeypatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MOVINET_HOME", str(tmp_path / "file"))
    assert "set MOVINET_HOME to a folder" in failure()
    assert not server.requests


def test_changed_file_is_refused_until_accepted(server) -> None:
    path = fetch(CARD, patience=QUICK)
    old = server.content
    path.unlink()
    server.content, server.etag = make_archive(seed=1), '"two"'
    message = failure()
    record = path.with_name(path.name + ".json")
    assert sha256(old) in message
    assert sha256(server.content) in message
    assert f"delete {record} and run again" in message
    assert left_files() == {record.name}
    record.unlink()  # doing what it says
    assert fetch(CARD, patience=QUICK).read_bytes() == server.content


def test_file_that_changed_on_disk_is_refused(server) -> None:
    path = fetch(CARD, patience=QUICK)
    path.write_bytes(make_archive(seed=1))
    assert f"{path} has changed" in failure()
    path.unlink()  # doing what it says
    assert fetch(CARD, patience=QUICK).read_bytes() == server.content


@pytest.mark.usefixtures("server")
def test_damaged_record_is_not_taken_for_none() -> None:
    path = fetch(CARD, patience=QUICK)
    record = path.with_name(path.name + ".json")
    for content in ("", "[]", '{"sha256": 1}', '{"sha256": "0"}', "[" * 100_000):
        record.write_text(content)
        assert f"{record} is damaged" in failure()
