import stat
import subprocess
import sys
from pathlib import Path

import pytest
from file_server import FileServer, make_archive, wait_until

from movinet.catalog.published import find_card
from movinet.errors import CheckpointError, DownloadError
from movinet.weights.cache import cached_weights, converted_path
from movinet.weights.download import download_path

CARD = find_card("a0_stream", "kinetics-600")


@pytest.fixture
def server(tmp_path, monkeypatch):
    with FileServer() as running:
        monkeypatch.setenv("MOVINET_BASE_URL", running.url)
        monkeypatch.setenv("MOVINET_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield running


class Converter:
    """Writes the first bytes of the source; counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, source: Path, target: Path) -> None:
        self.calls += 1
        target.write_bytes(b"converted" + source.read_bytes()[:1000])


def left_files() -> set[str]:
    return {p.name for p in converted_path(CARD).parent.iterdir() if p.suffix != ".lock"}


def record_path() -> Path:
    return converted_path(CARD).with_name(converted_path(CARD).name + ".json")


def test_weights_are_converted_once(server, tmp_path) -> None:
    convert = Converter()
    path = cached_weights(CARD, convert, converter_version=1)
    assert path == tmp_path / "home" / "weights" / "a0_stream-kinetics-600.safetensors"
    assert path.read_bytes() == b"converted" + server.content[:1000]
    assert cached_weights(CARD, convert, converter_version=1) == path
    assert (convert.calls, len(server.requests)) == (1, 1)
    assert left_files() == {path.name, record_path().name}


@pytest.mark.usefixtures("server")
def test_converted_weights_outlive_the_published_file(monkeypatch) -> None:
    convert = Converter()
    path = cached_weights(CARD, convert, converter_version=1)
    monkeypatch.setenv("MOVINET_BASE_URL", "http://127.0.0.1:1")
    download_path(CARD).unlink()
    assert cached_weights(CARD, convert, converter_version=1) == path
    download_path(CARD).with_name(CARD.file_name + ".json").unlink()
    assert cached_weights(CARD, convert, converter_version=1) == path
    assert convert.calls == 1


def test_new_converter_converts_anew(server) -> None:
    convert = Converter()
    cached_weights(CARD, convert, converter_version=1)
    cached_weights(CARD, convert, converter_version=2)
    assert (convert.calls, len(server.requests)) == (2, 1)


def test_new_published_file_converts_anew(server) -> None:
    convert = Converter()
    cached_weights(CARD, convert, converter_version=1)
    # as the message about a changed file says
    download_path(CARD).with_name(CARD.file_name + ".json").unlink()
    other = make_archive(seed=1)
    download_path(CARD).write_bytes(other)
    path = cached_weights(CARD, convert, converter_version=1)
    assert path.read_bytes() == b"converted" + other[:1000]
    assert (convert.calls, len(server.requests)) == (2, 1)


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("damage", ["weights", "record", "no record"])
def test_damaged_cache_is_made_anew(damage) -> None:
    convert = Converter()
    path = cached_weights(CARD, convert, converter_version=1)
    good = path.read_bytes()
    if damage == "weights":
        path.write_bytes(good[:-1] + b"?")
    elif damage == "record":
        record_path().write_text("{")
    else:
        record_path().unlink()
    assert cached_weights(CARD, convert, converter_version=1).read_bytes() == good
    assert convert.calls == 2


@pytest.mark.usefixtures("server")
def test_failed_conversion_leaves_nothing() -> None:
    def fail(_source: Path, target: Path) -> None:
        target.write_bytes(b"half")
        raise CheckpointError("600 outputs, not 400")

    with pytest.raises(CheckpointError, match="600 outputs"):
        cached_weights(CARD, fail, converter_version=1)
    assert left_files() == set()


@pytest.mark.usefixtures("server")
def test_failed_conversion_keeps_the_old_weights() -> None:
    def full(_source: Path, target: Path) -> None:
        target.write_bytes(b"half")
        with open("/dev/full", "wb", buffering=0) as file:  # noqa: PTH123
            file.write(b"rest")

    path = cached_weights(CARD, Converter(), converter_version=1)
    good = path.read_bytes()
    with pytest.raises(DownloadError, match=f"disk full: .* free for {path}"):
        cached_weights(CARD, full, converter_version=2)
    assert path.read_bytes() == good
    assert left_files() == {path.name, record_path().name}


@pytest.mark.usefixtures("server")
def test_filled_cache_is_read_without_writing(tmp_path) -> None:
    """An image or a shared folder with the weights: no lock can be made there."""
    convert = Converter()
    path = cached_weights(CARD, convert, converter_version=1)
    for lock in tmp_path.rglob("*.lock"):
        lock.unlink()
    before = sorted(tmp_path.rglob("*"))
    path.parent.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert cached_weights(CARD, convert, converter_version=1) == path
    finally:
        path.parent.chmod(stat.S_IRWXU)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.usefixtures("server")
def test_two_processes_convert_once(tmp_path) -> None:
    log, gate = tmp_path / "log", tmp_path / "gate"
    code = f"""
import pathlib, time
from movinet.weights.cache import cached_weights
from movinet.catalog.published import find_card
def convert(source, target):
    with open({str(log)!r}, "a") as file:
        file.write("converted\\n")
    while not pathlib.Path({str(gate)!r}).exists():
        time.sleep(0.01)
    target.write_bytes(b"weights")
card = find_card({CARD.preset!r}, {CARD.dataset!r})
print(cached_weights(card, convert, converter_version=1, progress=True).read_bytes())
"""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as one:
        wait_until(log.exists)
        with subprocess.Popen([sys.executable, "-c", code], **pipes) as two:
            assert two.stderr
            assert "waiting for another process" in two.stderr.readline()
            gate.touch()
            outputs = [process.communicate()[0].strip() for process in (one, two)]
    assert outputs == ["b'weights'"] * 2
    assert log.read_text() == "converted\n"


def test_killed_conversion_is_done_again(server, tmp_path) -> None:
    started = tmp_path / "started"
    code = f"""
import pathlib, time
from movinet.weights.cache import cached_weights
from movinet.catalog.published import find_card
def convert(source, target):
    target.write_bytes(b"half")
    pathlib.Path({str(started)!r}).touch()
    time.sleep(60)
cached_weights(find_card({CARD.preset!r}, {CARD.dataset!r}), convert, converter_version=1)
"""
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        wait_until(started.exists)
        process.kill()
    path = cached_weights(CARD, Converter(), converter_version=1)
    assert path.read_bytes() == b"converted" + server.content[:1000]
    assert left_files() == {path.name, record_path().name}
