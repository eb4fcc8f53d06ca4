"""Streams on disk: a file each, which appears whole or not at all."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from movinet.errors import CheckpointError
from movinet.files import replacing
from movinet.live.sources import redacted

if TYPE_CHECKING:
    from movinet.serving.remote_store import RemoteStore

#: Ids are made by `secrets.token_urlsafe`; nothing else becomes a file name.
_ID = re.compile(r"[A-Za-z0-9_-]{16,64}")
SUFFIX = ".stream"
MAX_BYTES = 2**31
#: Of a store over the network, as it begins.
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_BINARY = getattr(os, "O_BINARY", 0)


def is_id(text: str) -> bool:
    """Whether it can be the id of a stream."""
    return _ID.fullmatch(text) is not None


def checked_id(name: str) -> str:
    """A name that can be the id of a stream.

    Raises:
        CheckpointError: If it cannot.
    """
    if not is_id(name):
        raise CheckpointError("a stream has another kind of id")
    return name


def open_store(place: Path | str | None) -> Store | RemoteStore | None:
    """Where streams are kept.

    Args:
        place: A folder, or the address of a store; None to keep none.

    Raises:
        CheckpointError: If nothing can be kept there.
        ConfigError, MissingExtraError: As `RemoteStore`.
    """
    if place is None:
        return None
    if isinstance(place, Path) or not _ADDRESS.match(place):
        return Store(Path(place))
    if place.startswith("file://"):
        return Store(Path(unquote(urlsplit(place).path)))
    from movinet.serving.remote_store import RemoteStore

    return RemoteStore(place)


def place_of(place: str) -> str:
    """A place of streams, for messages: without what is secret in an address."""
    return redacted(place) if _ADDRESS.match(place) else place


class Store:
    """A folder of streams, which several servers may share.

    Args:
        folder: Made if it is missing.

    Attributes:
        place: The folder, for messages.

    Raises:
        CheckpointError: If it cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.place = folder, str(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise CheckpointError(f"{folder}: cannot be made ({error.strerror})") from None

    def write(self, name: str, data: bytes) -> None:
        """Keep a stream.

        Raises:
            OSError: If it cannot be written; what was kept before is still there.
        """
        with replacing(self._path(name)) as temporary:
            temporary.write_bytes(data)

    def read(self, name: str) -> bytes | None:
        """What was kept, or None.

        Raises:
            CheckpointError: If it cannot be read.
        """
        path = self._path(name)
        try:
            # A pipe would be waited for, for ever, and with it all streams.
            handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _BINARY)
            with os.fdopen(handle, "rb") as file:
                about = os.fstat(handle)
                if not stat.S_ISREG(about.st_mode):
                    raise CheckpointError(f"{path}: not a file")
                if about.st_size > MAX_BYTES:
                    raise CheckpointError(f"{path}: larger than any stream")
                return file.read(MAX_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None

    def stamp(self, name: str) -> int | None:
        """Differs when somebody has written the stream again; None if it is not kept."""
        try:
            return self._path(name).stat().st_mtime_ns
        except OSError:
            return None

    def is_gone(self, name: str) -> bool:
        """Whether it is certainly not kept; not if the folder cannot be asked."""
        try:
            self._path(name).stat()
        except FileNotFoundError:
            return self.folder.is_dir()
        except OSError:
            return False
        return False

    def delete(self, name: str) -> None:
        """Forget a stream.

        Raises:
            OSError: If it cannot be.
        """
        with contextlib.suppress(FileNotFoundError):
            self._path(name).unlink()

    def _path(self, name: str) -> Path:
        return self.folder / f"{checked_id(name)}{SUFFIX}"
