"""Where the files of a checkpoint come from: a folder, or an archive.

Nothing of an archive is written to disk, and little of it kept in memory: it is read through once
for its names, and again for each of its large files that the checkpoint needs.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, Self, cast

from movinet.checkpoints.wire import FormatError, shown
from movinet.errors import CheckpointError

#: Weights hardly compress: an archive that unpacks to much more than it has is no checkpoint.
MAX_RATIO, FREE_BYTES, MAX_ARCHIVE_BYTES = 32, 64 << 20, 2 << 30
_MAX_MEMBERS = 10_000
#: Bytes of small files that are kept from the first reading, of one and of all.
KEPT_EACH, KEPT = 1 << 20, 16 << 20
#: Most bytes of a header that tells a long name.
_MAX_HEADER = 1 << 20
_READS_AFTER_END = 8
_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_WANTED = re.compile(r"(?:\.index|\.data-\d{5}-of-\d{5}|(?:^|/)checkpoint)$")
_BROKEN = (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, ValueError, OverflowError)
_UNPACK = "if you trust it, unpack it and give the folder"
ARCHIVE_SUFFIXES = (".tar.gz", ".tgz", ".tar")


@dataclass(frozen=True)
class Member:
    """A file that lies in an archive.

    Attributes:
        archive: The archive.
        number: Its place there.
        size: Bytes.
    """

    archive: Path
    number: int
    size: int


@dataclass(frozen=True)
class Files:
    """The files that may belong to a checkpoint.

    Attributes:
        label: The folder or archive, as messages name it.
        contents: Name within it ("/" between folders) -> path on disk, place in an archive, or
            bytes.
    """

    label: str
    contents: dict[str, Path | Member | bytes]

    def describe(self, name: str) -> str:
        """A file's name for messages."""
        where = self.contents.get(name)
        if isinstance(where, Path):
            return str(where)
        return f"{self.label}: {name}" if where is not None else str(Path(self.label) / name)

    @contextmanager
    def open(self, name: str) -> Iterator[tuple[BinaryIO, int]]:
        """A file and its size, bytes; one in an archive can only be read forwards.

        Raises:
            CheckpointError: If it is missing or cannot be read, or if what is done with it raises
                FormatError or OSError; the message names the file.
        """
        where = self.contents.get(name)
        if where is None:
            raise CheckpointError(
                f"{self.describe(name)}: no such file; put the checkpoint's files side by side"
            )
        with blame(self.describe(name)):
            if isinstance(where, bytes):
                yield io.BytesIO(where), len(where)
            elif isinstance(where, Member):
                with _member(where) as file:
                    yield file, where.size
            else:
                with where.open("rb") as file:
                    yield file, os.fstat(file.fileno()).st_size

    def read(self, name: str, limit: int) -> bytes:
        """A whole file of at most `limit` bytes.

        Raises:
            CheckpointError: If it is missing, larger or cannot be read.
        """
        with self.open(name) as (file, size):
            if size > limit:
                raise FormatError(f"{size} bytes are more than such a file has (up to {limit})")
            return file.read(limit + 1)


def folder(path: Path) -> Files:
    """The files of a checkpoint's folder, or of a SavedModel's."""
    with blame(str(path)):
        return Files(
            str(path),
            {
                f"{below}{entry.name}": Path(entry.path)
                for below in ("", "variables/")
                if (path / below).is_dir()
                for entry in os.scandir(path / below)
                if _WANTED.search(entry.name) and entry.is_file()
            },
        )


def archive(path: Path) -> Files:
    """The files in a .tar or .tar.gz that may belong to a checkpoint.

    Raises:
        CheckpointError: If the archive is damaged, has links or names that lead out of it, or
            unpacks to more than a checkpoint of its size can.
    """
    contents: dict[str, Path | Member | bytes] = {}
    kept = 0
    with blame(str(path)), _reading(path) as tar:
        for number, name, member in _members(tar):
            # "._name" is what macOS adds to archives.
            if name.name.startswith("._") or not _WANTED.search(str(name)):
                continue
            contents[str(name)] = Member(path, number, member.size)
            if member.size <= min(KEPT_EACH, KEPT - kept):
                kept += member.size
                contents[str(name)] = _opened(tar, member).read()
    return Files(str(path), contents)


@contextmanager
def _member(where: Member) -> Iterator[BinaryIO]:
    """A file in an archive, unpacked as it is read."""
    with _reading(where.archive) as tar:
        for number, _, member in _members(tar):
            if number == where.number and member.size == where.size:
                yield cast(BinaryIO, _Forwards(_opened(tar, member)))
                return
        raise FormatError("the archive has changed meanwhile", "read it again")


@contextmanager
def _reading(path: Path) -> Iterator[tarfile.TarFile]:
    """An archive from front to back, of bounded size."""
    with path.open("rb") as packed:
        size = os.fstat(packed.fileno()).st_size
        limit = min(FREE_BYTES + MAX_RATIO * size, MAX_ARCHIVE_BYTES)
        try:
            is_gzip = packed.read(2) == b"\x1f\x8b"
            packed.seek(0)
            stream = gzip.GzipFile(fileobj=packed) if is_gzip else packed
            bounded = cast(BinaryIO, _Bounded(stream, limit))
            with tarfile.open(fileobj=bounded, mode="r|", tarinfo=_Header) as tar:
                yield tar
        except FormatError:
            raise
        except _BROKEN as error:
            raise FormatError(f"a broken archive ({error})") from None


def _members(tar: tarfile.TarFile) -> Iterator[tuple[int, PurePosixPath, tarfile.TarInfo]]:
    """The plain files: place, name, header; anything that leads out of the archive is refused."""
    for number, member in enumerate(tar):
        if number == _MAX_MEMBERS:
            raise FormatError(f"more than {_MAX_MEMBERS} files in one archive", _UNPACK)
        name = PurePosixPath(member.name)
        if name.is_absolute() or ".." in name.parts:
            raise FormatError(f"it has a file outside of itself, {shown(member.name)}", _UNPACK)
        if not (member.isreg() or member.isdir()):
            raise FormatError(f"it has a link or device, {shown(member.name)}", _UNPACK)
        if member.isreg():
            yield number, name, member


def _opened(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    file = tar.extractfile(member)
    if member.sparse is not None or file is None:
        raise FormatError(f"it has a sparse file, {shown(member.name)}", _UNPACK)
    return file


class _Forwards:
    """A file that cannot seek, as one that can, but not back."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._position = file, 0

    def seek(self, position: int) -> None:
        while self._position < position and self.read(min(position - self._position, 1 << 20)):
            pass
        if self._position != position:
            raise FormatError(f"there is no way to byte {position}")

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._position += len(data)
        return data


class _Header(tarfile.TarInfo):
    """A header; one that tells a long name is read whole, so its size is bounded."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        header = super().frombuf(buf, encoding, errors)
        if header.type in _HEADERS and header.size > _MAX_HEADER:
            raise FormatError(f"it has a header of {header.size} bytes", _UNPACK)
        return header


class _Bounded:
    """A stream that ends in an error instead of going on for ever."""

    def __init__(self, stream: io.BufferedIOBase | BinaryIO, limit: int) -> None:
        self._stream = stream
        self._limit = limit
        self._left = limit
        self._after_end = 0

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        if not data:  # to pass over a file, tarfile reads on for as long as its header says
            self._after_end += 1
            if self._after_end > _READS_AFTER_END:
                raise FormatError("it is cut off")
        self._left -= len(data)
        if self._left < 0:
            raise FormatError(f"it unpacks to more than {self._limit} bytes", _UNPACK)
        return data


@contextmanager
def blame(label: str) -> Iterator[None]:
    """Turn what goes wrong with one file into a CheckpointError that names it."""
    try:
        yield
    except FormatError as error:
        raise CheckpointError(f"{label}: {error}; {error.advice}") from None
    except OSError as error:
        raise CheckpointError(f"{label}: cannot be read: {error.strerror or error}") from None
