"""A .mvn file that is damaged, or another's, is refused in one line that names it."""

import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from native_files import write_file

from movinet.errors import CheckpointError
from movinet.runtime.engines.native import NativeEngine
from networks import make_model, tiny_stream

SIZE = 8  # where the header holds the file's size, and with it the place of its fields
FIELDS = ("manifest_size", "block_count", "height", "width", "stem", "head", "hidden", "classes")
FIELDS += (
    "trained_frames",
    "pooling",
    "activation",
    "gating",
    "head_activation",
    "positional",
    "precision",
)
OFFSETS = {name: 16 + 4 * i for i, name in enumerate(FIELDS)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file that loads."""
    path = tmp_path_factory.mktemp("whole") / "m.mvn"
    return write_file(make_model(tiny_stream()), path, (16, 16)).read_bytes()


@pytest.fixture
def complaint(tmp_path: Path) -> Callable[[bytes], str]:
    """What the loader says of a file's bytes, which it must refuse."""
    path = tmp_path / "tried.mvn"

    def load(data: bytes) -> str:
        path.write_bytes(data)
        with pytest.raises(CheckpointError) as caught:
            NativeEngine(path)
        said = str(caught.value)
        assert "\n" not in said
        assert str(path) in said
        return said

    return load


def put(data: bytes, offset: int, value: int, kind: str = "<I") -> bytes:
    packed = struct.pack(kind, value)
    return data[:offset] + packed + data[offset + len(packed) :]


def test_the_whole_one_loads(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.mvn"
    path.write_bytes(whole)
    assert NativeEngine(path).manifest.kind == "step"


def test_cut_anywhere(whole: bytes, complaint: Callable[[bytes], str]) -> None:
    for end in range(0, len(whole), 64):
        complaint(whole[:end])
        if end >= 72:  # the size in the header tells the same lie
            assert "not a usable .mvn file" in complaint(put(whole[:end], SIZE, end, "<Q"))


def test_something_behind_the_end(whole: bytes, complaint: Callable[[bytes], str]) -> None:
    for more in (1, 64, 4096):
        complaint(whole + bytes(more))
        if more >= 64:
            longer = put(whole + bytes(more), SIZE, len(whole) + more, "<Q")
            assert "longer" in complaint(longer)


def test_other_formats_and_versions(whole: bytes, complaint: Callable[[bytes], str]) -> None:
    assert "empty" in complaint(b"")
    assert "too short" in complaint(b"MVN1")
    assert "wrong magic" in complaint(b"PK\3\4" + whole[4:])
    assert "wrong magic" in complaint(b"\0" * len(whole))
    (version,) = struct.unpack_from("<I", whole, 4)
    said = complaint(put(whole, 4, version + 1))
    assert f"version {version + 1}, this engine reads {version}" in said
    assert "export it again" in said


@pytest.mark.parametrize("field", OFFSETS)
@pytest.mark.parametrize("value", [0x7FFFFFFF, 0xFFFFFFFF])
def test_huge_numbers(
    whole: bytes, complaint: Callable[[bytes], str], field: str, value: int
) -> None:
    complaint(put(whole, OFFSETS[field], value))


@pytest.mark.parametrize("size", [0, 2**31, 2**63, 2**64 - 1])
def test_a_wrong_size(whole: bytes, complaint: Callable[[bytes], str], size: int) -> None:
    assert f"{size} bytes" in complaint(put(whole, SIZE, size, "<Q"))


@pytest.mark.parametrize("field", ["stem", "head", "hidden", "classes", "block_count"])
def test_one_more_or_less_of_what_the_tensors_have(
    whole: bytes, complaint: Callable[[bytes], str], field: str
) -> None:
    (value,) = struct.unpack_from("<I", whole, OFFSETS[field])
    complaint(put(whole, OFFSETS[field], 0))
    complaint(put(whole, OFFSETS[field], value + 16))
    complaint(put(whole, OFFSETS[field], max(value - 16, 1)))


def test_an_image_that_no_memory_holds(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.mvn"
    path.write_bytes(put(put(whole, OFFSETS["height"], 16384), OFFSETS["width"], 16384))
    with pytest.raises(CheckpointError, match=r"m\.mvn: its images are too large"):
        NativeEngine(path)


STARVED = """
import resource, sys
from pathlib import Path
from movinet.errors import MovinetError
from movinet.runtime.engines.native import NativeEngine
engine = NativeEngine(Path(sys.argv[1]))
limit = 400 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for use in (lambda: NativeEngine(Path(sys.argv[2])), lambda: engine.new_state(100_000)):
    try:
        use()
    except MovinetError as error:
        print(error)
"""


def test_too_little_memory_is_one_line(whole: bytes, tmp_path: Path) -> None:
    good, large = tmp_path / "m.mvn", tmp_path / "large.mvn"
    good.write_bytes(whole)
    large.write_bytes(put(put(whole, OFFSETS["height"], 3000), OFFSETS["width"], 3000))
    command = [sys.executable, "-c", STARVED, good, large]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    assert said.splitlines() == [
        f"{large}: there is not enough memory to run it",
        "there is not enough memory for the state of 100000 streams",
    ]


def test_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "folder.mvn").mkdir()
    with pytest.raises(
        CheckpointError, match=r"folder\.mvn: cannot be read \(not a regular file\)"
    ):
        NativeEngine(tmp_path / "folder.mvn")
    with pytest.raises(CheckpointError, match=r"gone\.mvn: cannot be read"):
        NativeEngine(tmp_path / "gone.mvn")


FORKED = """
import os, signal, sys
from pathlib import Path
from movinet.runtime.engines.native import NativeEngine
engine = NativeEngine(Path(sys.argv[1]), num_threads=4)
if (child := os.fork()) == 0:
    signal.alarm(30)
    del engine
    os._exit(0)
print(os.waitpid(child, 0)[1])
"""


def test_a_forked_process_can_let_go_of_an_engine(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.mvn"
    path.write_bytes(whole)
    command = [sys.executable, "-c", FORKED, path]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    assert said == "0\n"


NO_THREADS = """
import resource, sys
from pathlib import Path
from movinet.errors import ConfigError
from movinet.runtime.engines.native import NativeEngine
resource.setrlimit(resource.RLIMIT_AS, (2**32, 2**32))
try:
    NativeEngine(Path(sys.argv[1]), num_threads=8)
except ConfigError as error:
    print(error)
"""


def test_threads_that_the_system_does_not_give(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.mvn"
    path.write_bytes(whole)
    # Stacks of 1 GB, of which the first fit.
    command = ["sh", "-c", 'ulimit -s 1000000; exec "$@"', ""]
    command += [sys.executable, "-c", NO_THREADS, path]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    assert said == "the system gives no 8 threads to a step: ask for fewer\n"
