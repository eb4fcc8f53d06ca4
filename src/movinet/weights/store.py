"""The per-user folder of downloads and converted weights: where it is, records, locks, hashes."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from movinet.errors import DownloadError, MissingExtraError

#: A record is a few hundred bytes; whatever is larger was not written by us.
_MAX_RECORD_BYTES = 1 << 16
#: no space, or none left of a quota (which Windows does not have)
_DISK_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


def cache_dir() -> Path:
    """Where published weights are kept.

    `MOVINET_HOME` if set, else the folder `movinet` in the user's cache: `XDG_CACHE_HOME` if set,
    else `~/.cache`, on macOS `~/Library/Caches`, on Windows `%LOCALAPPDATA%`.

    Returns:
        An absolute path; it need not exist.
    """
    if home := os.environ.get("MOVINET_HOME"):
        return Path(home).expanduser().absolute()
    caches = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not caches.is_absolute():  # the XDG specification: ignore relative paths
        caches = _default_caches()
    return caches / "movinet"


def _default_caches() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", "~/AppData/Local")).expanduser()
    return Path("~/Library/Caches" if sys.platform == "darwin" else "~/.cache").expanduser()


@contextlib.contextmanager
def locked(path: Path, *, announce: bool) -> Iterator[None]:
    """Hold the lock of a file in the cache, so that only one process makes it.

    The operating system frees the lock of a process that dies, however it dies.

    Args:
        path: The file; its folder is made.
        announce: Print a line if another process has to be waited for.

    Raises:
        DownloadError: If the cache cannot be written.
        MissingExtraError: If filelock is not installed.
    """
    try:
        import filelock
    except ImportError:
        raise MissingExtraError("keeping published weights", "torch") from None
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(beside(path, ".lock"))
    with writing(path):
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            if announce:
                print(f"waiting for another process that makes {path}", file=sys.stderr)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def writing(path: Path, missing_bytes: int | None = None) -> Iterator[None]:
    """Turn a failed write in the cache into one line that says what to do.

    Args:
        path: What is written.
        missing_bytes: How much there is to write, if known.

    Raises:
        DownloadError: If the operating system refuses.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise DownloadError(disk_full_message(path, missing_bytes)) from None
        raise DownloadError(
            f"cannot write {path}: {error.strerror or error}; "
            "make it writable, or set MOVINET_HOME to a folder that is"
        ) from None


def disk_full_message(path: Path, missing_bytes: int | None) -> str:
    """One line for a full disk: what is needed, what is free, where."""
    needed = "" if missing_bytes is None else f"{missing_bytes:,} bytes needed, "
    return (
        f"disk full: {needed}{free_bytes(path):,} free for {path}; "
        "make room, or set MOVINET_HOME to a folder on another disk, then run again"
    )


def free_bytes(path: Path) -> int:
    """Free bytes for this user where `path` is, or will be."""
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def beside(path: Path, ending: str) -> Path:
    """The companion of a file: its name with something appended."""
    return path.with_name(path.name + ending)


def read_record(path: Path) -> dict[str, Any] | None:
    """A JSON object from the cache.

    Returns:
        The object, or None if there is no such file or it holds something else.
    """
    try:
        with path.open("rb") as file:
            record = json.loads(file.read(_MAX_RECORD_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write a JSON object, whole or not at all."""
    temporary = beside(path, ".tmp")
    try:
        with writing(path):
            temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits.

    Raises:
        DownloadError: If it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DownloadError(f"cannot read {path}: {error.strerror or error}") from None
