import gzip
import hashlib
import http.client
import io
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from file_server import FileServer, cut_after, make_archive, pause_after, status, wait_until

from movinet.errors import ConfigError, DownloadError
from movinet.weights import download, store, transfer
from movinet.weights.cards import find_card
from movinet.weights.download import download_path, download_url, fetch
from movinet.weights.store import cache_dir
from movinet.weights.transfer import Patience

CARD = find_card("a0_base", "kinetics-600")
QUICK = Patience(timeout=10, attempts=3, backoff=0.001)
ONCE = Patience(timeout=10, attempts=1)
#: what another process does; the line on stderr appears if it waits
FETCH = f"""
from movinet.weights.cards import find_card
from movinet.weights.download import fetch
print(fetch(find_card({CARD.preset!r}, {CARD.dataset!r}), progress=True))
"""


@pytest.fixture
def server(tmp_path, monkeypatch):
    with FileServer() as running:
        monkeypatch.setenv("MOVINET_BASE_URL", running.url)
        monkeypatch.setenv("MOVINET_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield running


def left_files() -> set[str]:
    """What lies in the cache beside locks."""
    folder = cache_dir() / "downloads"
    names = {path.name for path in folder.iterdir()} if folder.exists() else set()
    return {name for name in names if not name.endswith(".lock")}


def failure(patience: Patience = QUICK) -> str:
    """The message of a failed fetch: one line."""
    with pytest.raises(DownloadError) as caught:
        fetch(CARD, patience=patience)
    message = str(caught.value)
    assert "\n" not in message
    return message


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_first_use_downloads_and_later_use_does_not(server) -> None:
    path = fetch(CARD, patience=QUICK)
    assert path == cache_dir() / "downloads" / "movinet_a0_base.tar.gz"
    assert path.read_bytes() == server.content
    assert left_files() == {path.name, path.name + ".json"}
    record = json.loads((path.parent / (path.name + ".json")).read_text())
    assert record["sha256"] == sha256(server.content)
    assert record["url"] == server.url + path.name
    assert fetch(CARD) == path
    assert [request.path for request in server.requests] == ["/movinet_a0_base.tar.gz"]


def test_broken_connection_is_resumed_with_the_rest_only(server) -> None:
    server.faults = [cut_after(150_000)]
    path = fetch(CARD, patience=QUICK)
    assert path.read_bytes() == server.content
    first, second = server.requests
    assert "Range" not in first.headers
    assert second.headers["Range"] == "bytes=150000-"
    assert second.headers["If-Range"] == server.etag
    assert second.sent == len(server.content) - 150_000


def test_next_run_resumes_what_the_last_one_kept(server) -> None:
    server.faults = [cut_after(150_000)]
    message = failure(ONCE)
    assert f"the connection ended after 150,000 of {len(server.content):,} bytes" in message
    assert "150,000 bytes are kept, run again to go on" in message
    assert "movinet_a0_base.tar.gz.part" in left_files()
    assert fetch(CARD, patience=ONCE).read_bytes() == server.content
    assert server.requests[1].sent == len(server.content) - 150_000


@pytest.mark.parametrize("etag", [None, 'W/"one"'])
def test_date_serves_where_there_is_no_strong_etag(server, etag) -> None:
    server.etag, server.date = etag, "Mon, 12 Jul 2021 10:00:00 GMT"
    server.faults = [cut_after(100_000)]
    assert fetch(CARD, patience=QUICK).read_bytes() == server.content
    assert server.requests[1].headers["If-Range"] == server.date
    assert server.requests[1].sent == len(server.content) - 100_000


def test_without_validator_or_ranges_it_starts_again(server) -> None:
    server.etag = None
    server.faults = [cut_after(100_000)]
    assert fetch(CARD, patience=QUICK).read_bytes() == server.content
    assert "Range" not in server.requests[1].headers

    download_path(CARD).unlink()
    server.etag, server.ranges = '"one"', False
    server.faults = [cut_after(100_000)]
    assert fetch(CARD, patience=QUICK).read_bytes() == server.content
    assert server.requests[3].headers["Range"] == "bytes=100000-"
    assert server.requests[3].sent == len(server.content)


@pytest.mark.parametrize("heeds_if_range", [True, False])
def test_file_that_changed_since_the_part_starts_again(server, heeds_if_range) -> None:
    server.faults = [cut_after(100_000)]
    failure(ONCE)
    server.content, server.etag = make_archive(seed=1), '"two"'
    server.heeds_if_range = heeds_if_range
    assert fetch(CARD, patience=QUICK).read_bytes() == server.content


def test_part_of_another_mirror_is_not_continued(server, monkeypatch) -> None:
    server.faults = [cut_after(100_000)]
    failure(ONCE)
    monkeypatch.setenv("MOVINET_BASE_URL", server.url + "other")
    fetch(CARD, patience=QUICK)
    assert "Range" not in server.requests[1].headers


@pytest.mark.parametrize("size", [100_000, 1_000_000])
def test_damaged_part_costs_a_second_download_and_no_more(server, size) -> None:
    server.faults = [cut_after(100_000)]
    failure(ONCE)
    part = download_path(CARD).with_name("movinet_a0_base.tar.gz.part")
    part.write_bytes(bytes(size))  # as after a power cut; shorter or longer than the file
    assert fetch(CARD, patience=QUICK).read_bytes() == server.content
    assert [request.headers.get("Range") for request in server.requests[1:]] == [
        f"bytes={size}-",
        None,
    ]


def test_part_that_is_whole_is_not_asked_for_again(server) -> None:
    server.faults = [cut_after(100_000)]
    failure(ONCE)
    download_path(CARD).with_name("movinet_a0_base.tar.gz.part").write_bytes(server.content)
    assert fetch(CARD, patience=QUICK).read_bytes() == server.content
    assert len(server.requests) == 1


def test_passing_server_errors_are_retried(server) -> None:
    server.faults = [status(503), status(429)]
    assert fetch(CARD, patience=QUICK).read_bytes() == server.content
    assert len(server.requests) == 3


def test_lasting_server_errors_are_reported(server) -> None:
    server.faults = [status(500)] * 3
    assert "the server answers 500 Internal Server Error (3 attempts)" in failure()
    server.faults = [status(404)]
    assert "the server answers 404 Not Found" in failure()
    assert len(server.requests) == 4
    assert left_files() == set()


def test_silent_server_is_given_up(server) -> None:
    answered = threading.Event()
    server.faults = [pause_after(100_000, answered)]
    message = failure(Patience(timeout=0.2, attempts=1))
    answered.set()
    assert "the server was silent for too long" in message
    # pieces that came in whole are kept
    assert download_path(CARD).with_name("movinet_a0_base.tar.gz.part").stat().st_size > 60_000


def test_without_network_the_message_says_how_to_do_it_by_hand(server, monkeypatch) -> None:
    server.faults = [cut_after(100_000)]
    failure(ONCE)
    monkeypatch.setenv("MOVINET_BASE_URL", "http://127.0.0.1:1")  # nobody listens there
    message = failure()
    target = download_path(CARD)
    assert "cannot download http://127.0.0.1:1/movinet_a0_base.tar.gz: " in message
    assert "Connection refused" in message
    assert f"put the file at {target} and run again" in message

    target.write_bytes(server.content)  # doing what it says
    assert fetch(CARD) == target
    assert left_files() == {target.name, target.name + ".json"}
    target.write_bytes(make_archive(seed=1))
    assert sha256(server.content) in failure()


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


def test_two_processes_download_once(server) -> None:
    go_on = threading.Event()

    def wait(handler) -> None:
        go_on.wait(60)
        handler.serve()

    server.faults = [wait]
    command = [sys.executable, "-c", FETCH]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as one,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as two,
    ):
        wait_until(lambda: bool(server.requests))
        streams = [process.stderr for process in (one, two)]
        waiting = [False, False]

        def listen(index: int) -> None:
            stream = streams[index]
            assert stream
            waiting[index] = "waiting for another process" in stream.readline()
            go_on.set()

        listeners = [threading.Thread(target=listen, args=(i,)) for i in range(2)]
        for listener in listeners:
            listener.start()
        for listener in listeners:
            listener.join()
        outputs = [process.communicate()[0].strip() for process in (one, two)]
    assert outputs == [str(download_path(CARD))] * 2
    assert sorted(waiting) == [False, True]
    assert len(server.requests) == 1


def test_killed_process_neither_blocks_nor_costs_what_it_had(server) -> None:
    never = threading.Event()
    server.faults = [pause_after(200_000, never)]
    part = download_path(CARD).with_name("movinet_a0_base.tar.gz.part")
    with subprocess.Popen([sys.executable, "-c", FETCH], stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: part.exists() and part.stat().st_size >= 160_000)
        os.kill(process.pid, signal.SIGKILL)
    kept = part.stat().st_size
    never.set()
    assert fetch(CARD, patience=QUICK).read_bytes() == server.content
    assert server.requests[1].headers["Range"] == f"bytes={kept}-"


def test_progress_bar_names_file_and_size(server, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    fetch(CARD, progress=True, patience=QUICK)
    shown = capsys.readouterr()
    assert "movinet_a0_base.tar.gz" in shown.err
    kilobytes = f"{len(server.content) / 1000:.1f}"
    assert f"{kilobytes}/{kilobytes} kB" in shown.err
    assert not shown.out


@pytest.mark.parametrize(
    "address",
    [
        "file:///etc/",
        "ftp://a.example/",
        "mirror.example/x",
        "https://",
        "https://user:pa55word@a.example/",
        "https://a.example/?x=",
        "https://a.example:port/",
        "https://a.example/a b/",
        "https://a.example/ä/",
        "http://[::1/",
    ],
)
def test_mirror_must_be_a_plain_web_address(monkeypatch, address) -> None:
    monkeypatch.setenv("MOVINET_BASE_URL", address)
    with pytest.raises(ConfigError, match="MOVINET_BASE_URL must be an address") as caught:
        download_url(CARD)
    assert "pa55word" not in str(caught.value)


def test_mirror_replaces_the_published_address(monkeypatch) -> None:
    monkeypatch.delenv("MOVINET_BASE_URL", raising=False)
    assert download_url(CARD) == CARD.url
    for base in ("https://a.example:8443/m", "https://a.example:8443/m/"):
        monkeypatch.setenv("MOVINET_BASE_URL", base)
        assert download_url(CARD) == "https://a.example:8443/m/movinet_a0_base.tar.gz"


def test_cache_folder(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("MOVINET_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == tmp_path / "xdg" / "movinet"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_dir() == tmp_path / ".cache" / "movinet"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_dir() == tmp_path / ".cache" / "movinet"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_dir() == tmp_path / "Library" / "Caches" / "movinet"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert cache_dir() == tmp_path / "local" / "movinet"
    monkeypatch.setenv("MOVINET_HOME", "~/weights")
    assert cache_dir() == tmp_path / "weights"
