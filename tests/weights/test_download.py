import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from downloads import CARD, FETCH, ONCE, QUICK, failure, left_files, sha256
from file_server import cut_after, drip, make_archive, pause_after, status, wait_until

from movinet.errors import ConfigError
from movinet.weights.download import download_path, download_url, fetch
from movinet.weights.http import Patience
from movinet.weights.store import cache_dir


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
    assert "150,000 bytes are kept, run again to continue" in message
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


@pytest.mark.parametrize("body", [True, False])
def test_server_that_drips_is_given_up(server, body: bool) -> None:
    """Each byte breaks the silence, and nobody would ever get the lock."""
    over = threading.Event()
    server.faults = [drip(body, over)]
    started = time.monotonic()
    message = failure(Patience(timeout=0.3, attempts=1))
    assert time.monotonic() - started < 3
    over.set()
    assert ("less than 1000 a second" if body else "cannot download") in message
    fetch(CARD, progress=False)
    assert len(server.requests) == 2


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
