import gzip
import io
import os
import stat
import sys
import tarfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tensorflow_files import network_tensors, rebuild

from movinet.checkpoints import sources as files
from movinet.checkpoints.keys import SUFFIX
from movinet.checkpoints.tensorflow import read_tf_checkpoint, write_tf_checkpoint
from movinet.errors import CheckpointError, MissingExtraError

STEM = f"model/layer_with_weights-0/layer_with_weights-0/_stem/_conv/kernel{SUFFIX}"
BIAS = f"model/layer_with_weights-1/_head/_conv/bias{SUFFIX}"
TENSORS = {STEM: np.arange(6, dtype=np.float32).reshape(2, 3), BIAS: np.ones(2, np.float32)}


def assert_same(read: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert list(read) == sorted(expected)
    for key, array in expected.items():
        assert read[key].dtype == array.dtype
        assert read[key].shape == array.shape
        assert read[key].tobytes() == array.tobytes()


def filled(value: float) -> dict[str, np.ndarray]:
    return {STEM: np.full(3, value, np.float32)}


@pytest.mark.parametrize("preset", ["t0_base", "t0_stream"])
def test_reads_what_tensorflow_wrote(preset: str, tmp_path: Path):
    rebuild(preset, "ckpt", tmp_path / "ckpt-1")

    assert_same(read_tf_checkpoint(tmp_path), network_tensors(preset))


def test_every_way_to_name_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_tf_checkpoint(tmp_path / "a" / "ckpt-1", TENSORS)
    (tmp_path / "b").mkdir()
    archive = tmp_path / "b" / "weights.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "a", "./movinet_t0")
    monkeypatch.chdir(tmp_path / "a")

    for path in (
        tmp_path / "a",
        str(tmp_path / "a" / "ckpt-1"),
        tmp_path / "a" / "ckpt-1.index",
        tmp_path / "a" / "ckpt-1.data-00000-of-00001",
        archive,
        "ckpt-1",
        ".",
    ):
        assert_same(read_tf_checkpoint(path), TENSORS)


def test_the_file_checkpoint_says_which_is_the_latest(tmp_path: Path):
    for number in (2, 10, 9):
        write_tf_checkpoint(tmp_path / f"ckpt-{number}", filled(number))
    assert read_tf_checkpoint(tmp_path)[STEM][0] == 9
    assert read_tf_checkpoint(tmp_path / "ckpt-2")[STEM][0] == 2

    # TensorFlow writes absolute paths too, which are wrong once the folder was moved.
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "/gone/run 1/ckpt-10"\n')
    assert read_tf_checkpoint(tmp_path)[STEM][0] == 10

    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "ckpt-11"\n')
    with pytest.raises(CheckpointError, match=r"names 'ckpt-11', .* give one of ckpt-10, ckpt-2"):
        read_tf_checkpoint(tmp_path)
    (tmp_path / "checkpoint").write_text("nothing")
    with pytest.raises(CheckpointError, match="it names no checkpoint"):
        read_tf_checkpoint(tmp_path)
    (tmp_path / "checkpoint").unlink()
    with pytest.raises(CheckpointError, match="several checkpoints: ckpt-10, ckpt-2, ckpt-9"):
        read_tf_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "name", ['quo"te', "back\\slash", "zé", "a b", "a\nb", "ckpt-1.index.2", "x.tar"]
)
def test_unusual_names(name: str, tmp_path: Path):
    write_tf_checkpoint(tmp_path / "other", filled(0))
    write_tf_checkpoint(tmp_path / name, TENSORS)

    assert_same(read_tf_checkpoint(tmp_path), TENSORS)
    assert_same(read_tf_checkpoint(tmp_path / name), TENSORS)


def test_reads_names_that_tensorflow_escapes(tmp_path: Path):
    write_tf_checkpoint(tmp_path / "zé", TENSORS)
    write_tf_checkpoint(tmp_path / "other", filled(0))

    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "z\\303\\251"\n')

    assert_same(read_tf_checkpoint(tmp_path), TENSORS)


def test_leaves_out_what_training_keeps(tmp_path: Path):
    beside = {
        f"optimizer/learning_rate{SUFFIX}": np.float32(1),
        f"model/optimizer/iter{SUFFIX}": np.int64(1),
        f"model/keras_api/metrics/0/total{SUFFIX}": np.float32(1),
        f"global_step{SUFFIX}": np.int64(5),
    }
    write_tf_checkpoint(tmp_path / "ckpt-1", {**TENSORS, **beside})

    assert_same(read_tf_checkpoint(tmp_path), TENSORS)


def test_reads_what_keras_save_weights_names(tmp_path: Path):
    write_tf_checkpoint(
        tmp_path / "w", {key.removeprefix("model/"): value for key, value in TENSORS.items()}
    )

    assert_same(read_tf_checkpoint(tmp_path), TENSORS)


def test_refuses_other_networks(tmp_path: Path):
    write_tf_checkpoint(tmp_path / "ckpt-1", {f"net/dense/kernel{SUFFIX}": np.zeros(3)})

    with pytest.raises(CheckpointError, match=r"ckpt-1.index: no network in it: .*'net/dense"):
        read_tf_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["", "nothing", "no/ckpt-1", "a.tar.gz", "\0", "x" * 300])
def test_names_the_path_that_is_not_there(name: str, tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"no checkpoint|no such file|name too long"):
        read_tf_checkpoint(tmp_path / name)


def test_hints_at_what_is_there(tmp_path: Path):
    write_tf_checkpoint(tmp_path / "ckpt-7", TENSORS)

    with pytest.raises(CheckpointError, match=r"ckpt-1: no checkpoint .* there is ckpt-7$"):
        read_tf_checkpoint(tmp_path / "ckpt-1")


def test_special_files_are_not_opened(tmp_path: Path):
    os.mkfifo(tmp_path / "ckpt-1.index")  # opening it would wait for ever

    with pytest.raises(CheckpointError, match="no checkpoint"):
        read_tf_checkpoint(tmp_path)


def test_needs_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_tf_checkpoint(tmp_path / "ckpt-1", TENSORS)
    monkeypatch.setitem(sys.modules, "google_crc32c", None)

    with pytest.raises(MissingExtraError, match=r"pip install -e '.\[torch\]'"):
        read_tf_checkpoint(tmp_path)
    with pytest.raises(MissingExtraError):
        write_tf_checkpoint(tmp_path / "ckpt-2", TENSORS)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint",
        "ckpt-1.data-00000-of-00001",
        "ckpt-1.index",
    ]


def test_replaces_a_checkpoint(tmp_path: Path):
    write_tf_checkpoint(tmp_path / "ckpt-1", filled(1))
    write_tf_checkpoint(tmp_path / "ckpt-1", TENSORS)

    assert_same(read_tf_checkpoint(tmp_path), TENSORS)
    mode = stat.S_IMODE((tmp_path / "ckpt-1.index").stat().st_mode)
    (tmp_path / "plain").touch()
    assert mode == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


@pytest.mark.parametrize(
    ("tensors", "problem"),
    [
        ({"model/kernel": np.zeros(1)}, "cannot write 'model/kernel'"),
        ({f"model//kernel{SUFFIX}": np.zeros(1)}, "keys are names joined by '/'"),
        ({f"model/a.b{SUFFIX}": np.zeros(1)}, "none with a dot"),
        ({SUFFIX: np.zeros(1)}, "keys are names"),
        ({STEM: np.zeros(1, complex)}, "type complex128 cannot be stored; use one of float32"),
        ({STEM: np.array(["text"])}, "cannot be stored"),
        ({STEM: np.array([None])}, "cannot be stored"),
    ],
)
def test_writes_nothing_that_cannot_be_read(
    tensors: dict[str, np.ndarray], problem: str, tmp_path: Path
):
    with pytest.raises(CheckpointError, match=problem):
        write_tf_checkpoint(tmp_path / "ckpt-1", tensors)

    assert list(tmp_path.iterdir()) == []


def test_leaves_nothing_behind_when_writing_fails(tmp_path: Path):
    (tmp_path / "ckpt-1.index").mkdir()
    (tmp_path / "file").write_text("")

    with pytest.raises(CheckpointError, match=r"ckpt-1.index is a folder"):
        write_tf_checkpoint(tmp_path / "ckpt-1", TENSORS)
    with pytest.raises(CheckpointError, match="cannot be written"):
        write_tf_checkpoint(tmp_path / "file" / "ckpt-1", TENSORS)
    for name in ("", ".", "/"):
        with pytest.raises(CheckpointError, match="no name for files"):
            write_tf_checkpoint(name, TENSORS)
    for name in ("a\0b", "a\0/b"):
        with pytest.raises(CheckpointError, match="cannot be written"):
            write_tf_checkpoint(tmp_path / name, TENSORS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ckpt-1.index", "file"]


def member(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, "/etc/passwd"
    return info


def add_bomb(tar: tarfile.TarFile) -> None:
    size = 200 << 20
    tar.addfile(member("ckpt-1.index", size=size), io.BytesIO(bytes(size)))


def add_many(tar: tarfile.TarFile) -> None:
    for number in range(10_001):
        tar.addfile(member(f"{number}"))


def add_two(tar: tarfile.TarFile) -> None:
    tar.addfile(member("a/ckpt-1.index"))
    tar.addfile(member("b/ckpt-1.index"))


@pytest.mark.parametrize(
    ("fill", "problem"),
    [
        (lambda tar: tar.addfile(member("../ckpt-1.index")), "outside of itself"),
        (lambda tar: tar.addfile(member("/ckpt-1.index")), "outside of itself"),
        (lambda tar: tar.addfile(member("ckpt-1.index", tarfile.SYMTYPE)), "link or device"),
        (lambda tar: tar.addfile(member("ckpt-1.index", tarfile.LNKTYPE)), "link or device"),
        (lambda tar: tar.addfile(member("ckpt-1.index", tarfile.CHRTYPE)), "link or device"),
        (lambda tar: tar.addfile(member("._ckpt-1.index")), "no checkpoint in it"),
        (lambda tar: tar.addfile(member("readme")), "no checkpoint in it"),
        (add_bomb, "unpacks to more than"),
        (add_many, "more than 10000 files"),
        (add_two, "several checkpoints: a/ckpt-1, b/ckpt-1"),
    ],
)
def test_refuses_unsafe_archives(
    fill: Callable[[tarfile.TarFile], None], problem: str, tmp_path: Path
):
    path = tmp_path / "weights.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        fill(tar)

    with pytest.raises(CheckpointError, match=problem) as caught:
        read_tf_checkpoint(path)
    assert str(caught.value).startswith(str(path))
    assert list(tmp_path.iterdir()) == [path]


def test_memory_follows_what_the_checkpoint_needs(tmp_path: Path):
    """Not what lies beside it in the archive, however it is called."""
    weights = np.random.default_rng(0).normal(size=(300, 1000)).astype(np.float32)
    write_tf_checkpoint(tmp_path / "ckpt-1", {STEM: weights})
    path = tmp_path / "weights.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for name in ("x.data-00000-of-00001", "d/ckpt-9.index", "ckpt-1.data-00001-of-00002"):
            tar.addfile(member(name, size=20 << 20), io.BytesIO(bytes(20 << 20)))
        for name in ("checkpoint", "ckpt-1.data-00000-of-00001", "ckpt-1.index"):
            tar.add(tmp_path / name, name)

    tracemalloc.start()
    try:
        read = read_tf_checkpoint(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    np.testing.assert_array_equal(read[STEM], weights)
    assert peak < 3 * weights.nbytes + (1 << 20)


@pytest.mark.parametrize(
    ("name", "size", "problem"),
    [
        ("ckpt-1.index", 8**11 - 1, "cut off|unpacks to more"),
        ("readme", 1 << 80, "cut off|unpacks to more"),
        ("long" * 100, 8 << 20, "header of 8388608 bytes"),
    ],
)
def test_sizes_that_headers_state_are_believed_by_nobody(
    name: str, size: int, problem: str, tmp_path: Path
):
    """Passing over what is not there would take for ever."""
    path = tmp_path / "weights.tar.gz"
    kind = tarfile.GNUTYPE_LONGNAME if name.startswith("long") else tarfile.REGTYPE
    header = member(name[:90], kind, size).tobuf(tarfile.GNU_FORMAT)
    path.write_bytes(gzip.compress(header + bytes(1 << 20)))
    started = time.monotonic()

    with pytest.raises(CheckpointError, match=problem):
        read_tf_checkpoint(path)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("content", [b"", b"no archive", b"\x1f\x8b\x08\0", b"\0" * 2000])
def test_refuses_broken_archives(content: bytes, tmp_path: Path):
    path = tmp_path / "weights.tar.gz"
    path.write_bytes(content)

    with pytest.raises(CheckpointError, match=r"weights.tar.gz: "):
        read_tf_checkpoint(path)


def test_archives_of_zeros_are_no_bombs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(files, "FREE_BYTES", 1 << 20)
    write_tf_checkpoint(tmp_path / "ckpt-1", {STEM: np.zeros(200_000, np.float32)})
    path = tmp_path / "weights.tgz"
    with tarfile.open(path, "w:gz") as tar:
        for name in ("ckpt-1.index", "ckpt-1.data-00000-of-00001"):
            tar.add(tmp_path / name, name)

    assert read_tf_checkpoint(path)[STEM].shape == (200_000,)
