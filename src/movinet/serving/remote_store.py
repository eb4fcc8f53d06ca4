"""Streams in a store over the network: whatever fsspec opens (S3, GCS, Azure, SFTP, …)."""

from __future__ import annotations

import contextlib
import secrets
from typing import Any

from movinet.errors import CheckpointError, ConfigError, MissingExtraError
from movinet.live.sources import redacted
from movinet.serving.store import MAX_BYTES, SUFFIX, checked_id
from movinet.text import one_line

#: Protocols of stores in which an object appears whole or not at all; in others it is renamed.
_WHOLE = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "r2", "memory"}


class RemoteStore:
    """A place of streams that fsspec opens; see `movinet.serving.store.Store`.

    Args:
        url: Of the place, such as ``s3://bucket/streams``. What else a store needs (keys, an
            endpoint) comes from its own environment variables or fsspec's configuration.

    Attributes:
        place: For messages; has no secrets.

    Raises:
        ConfigError: If the address is none, or its protocol is not known.
        CheckpointError: If the place cannot be reached, or nothing can be written there.
        MissingExtraError: If fsspec, or what it needs for the protocol, is not installed.
    """

    def __init__(self, url: str) -> None:
        self.place = redacted(url)
        try:
            import fsspec
        except ModuleNotFoundError:
            raise MissingExtraError("a store over the network", "store") from None
        try:
            # A listing that was kept would hide what other servers have written.
            self._fs, folder = fsspec.core.url_to_fs(url, use_listings_cache=False)
        except ImportError as error:
            raise ConfigError(f"{self.place}: {one_line(error)}") from None
        except Exception as error:
            raise ConfigError(f"{self.place}: no store ({type(error).__name__})") from None
        self._folder = folder.rstrip("/")
        names = self._fs.protocol
        self._whole = bool(_WHOLE & ({names} if isinstance(names, str) else {*names}))
        try:
            self._fs.makedirs(self._folder, exist_ok=True)
            probe = f"{self._folder}/.movinet-{secrets.token_hex(8)}"
            self._fs.pipe_file(probe, b"")
            self._fs.rm_file(probe)
        except Exception as error:
            raise CheckpointError(f"{self.place}: cannot be written ({_kind(error)})") from None

    def write(self, name: str, data: bytes) -> None:
        """See `Store.write`."""
        path = self._path(name)
        try:
            if self._whole:
                self._fs.pipe_file(path, data)
                return
            temporary = f"{self._folder}/.movinet-{secrets.token_hex(8)}"
            try:
                self._fs.pipe_file(temporary, data)
                self._fs.mv(temporary, path)
            except BaseException:
                with contextlib.suppress(Exception):
                    self._fs.rm_file(temporary)
                raise
        except Exception as error:
            raise OSError(_kind(error)) from None

    def read(self, name: str) -> bytes | None:
        """See `Store.read`."""
        path = self._path(name)
        try:
            with self._fs.open(path, "rb", cache_type="none") as file:
                data = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            return None
        except Exception as error:
            raise CheckpointError(f"{self.place}: cannot be read ({_kind(error)})") from None
        if len(data) > MAX_BYTES:
            raise CheckpointError(f"{self.place}: larger than any stream")
        return data

    # A store that does not answer says nothing of who has a stream: it is kept as before, and the
    # write that follows says what is wrong. Backends raise errors of their clients, of any class.
    def stamp(self, name: str) -> object:
        """See `Store.stamp`."""
        path = self._path(name)
        try:
            return self._fs.ukey(path)
        except Exception:
            return None

    def is_gone(self, name: str) -> bool:
        """See `Store.is_gone`."""
        path = self._path(name)
        try:
            return not self._fs.exists(path)
        except Exception:
            return False

    def delete(self, name: str) -> None:
        """See `Store.delete`."""
        path = self._path(name)
        try:
            with contextlib.suppress(FileNotFoundError):
                self._fs.rm_file(path)
        except Exception as error:
            raise OSError(_kind(error)) from None

    def _path(self, name: str) -> str:
        return f"{self._folder}/{checked_id(name)}{SUFFIX}"


def _kind(error: Any) -> str:
    """What went wrong, without the text: those of stores have addresses, and some have keys."""
    strerror = getattr(error, "strerror", None)
    return one_line(strerror) if strerror else type(error).__name__
