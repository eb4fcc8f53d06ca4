"""Published checkpoints on this machine: fetched on first use, checked ever after.

Nobody publishes hashes of these files. So the first download is trusted (over an encrypted
connection), its SHA-256 recorded, and any later change refused.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import sys
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from movinet.catalog.published import BASE_URL, Card
from movinet.errors import ConfigError, DownloadError
from movinet.text import one_line
from movinet.weights.http import (
    MAX_BYTES,
    OnProgress,
    Patience,
    TransferError,
    discard,
    transfer,
)
from movinet.weights.store import (
    beside,
    cache_dir,
    locked,
    read_record,
    sha256_of,
    write_record,
    writing,
)


def fetch(card: Card, *, progress: bool | None = None, patience: Patience | None = None) -> Path:
    """The published file of a card: from the cache, else downloaded into it.

    An interrupted download goes on where it ended. If several processes ask at once, one downloads
    and the others wait. `MOVINET_BASE_URL` names a mirror, `MOVINET_HOME` the cache. Proxies are
    taken from the environment.

    Args:
        card: What to fetch.
        progress: Draw a progress bar on stderr; by default if that is a terminal.
        patience: Time limit and number of attempts, if not the usual ones.

    Returns:
        Path of the .tar.gz file.

    Raises:
        DownloadError: If it cannot be had, is not what was recorded at the first download, or
            cannot be written.
        ConfigError: If `MOVINET_BASE_URL` is not an address.
    """
    show = sys.stderr.isatty() if progress is None else progress
    target = download_path(card)
    if target.is_file() and recorded_sha256(card):
        return _verified(card, target)
    with locked(target, announce=show):
        if target.is_file():
            if recorded_sha256(card) is None:
                _adopt(card, target)
            return _verified(card, target)
        _download(card, target, show, patience or Patience())
    return target


def download_path(card: Card) -> Path:
    """Where the published file is kept, whether or not it is there."""
    return cache_dir() / "downloads" / card.file_name


def download_url(card: Card) -> str:
    """Where the published file comes from: a mirror if `MOVINET_BASE_URL` names one.

    Raises:
        ConfigError: If `MOVINET_BASE_URL` is not a plain http or https address.
    """
    base = os.environ.get("MOVINET_BASE_URL") or BASE_URL
    try:
        parts = urlsplit(base)
        plain = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        extras = parts.username or parts.password or parts.query or parts.fragment
    except ValueError:
        plain, extras = False, None
    if not plain or extras or not re.fullmatch(r"[!-~]+", base):
        # without the value: it may hold a password
        raise ConfigError(
            "MOVINET_BASE_URL must be an address like https://mirror.example/movinet/ "
            "(http or https, no user name, query or spaces)"
        )
    return f"{base.rstrip('/')}/{card.file_name}"


def recorded_sha256(card: Card) -> str | None:
    """SHA-256 of the published file as first seen on this machine, None if it never was.

    Raises:
        DownloadError: If the record is damaged.
    """
    path = _record_path(card)
    if not path.exists():
        return None
    value = (read_record(path) or {}).get("sha256")
    if not isinstance(value, str) or not re.fullmatch(r"[0-9a-f]{64}", value):
        raise DownloadError(f"{path} is damaged; delete it to accept the file that is there now")
    return value


def _download(card: Card, target: Path, show: bool, patience: Patience) -> None:
    url = download_url(card)
    part = beside(target, ".part")
    try:
        resumed = part.exists()
        with _progress_bar(card.file_name, show) as on_progress:
            transfer(url, part, patience, on_progress)
        if resumed and _defect(part):  # what was there before may be at fault, after a power cut
            discard(part)
            with _progress_bar(card.file_name, show) as on_progress:
                transfer(url, part, patience, on_progress)
        if defect := _defect(part):
            discard(part)
            raise TransferError(defect)
    except TransferError as error:
        raise DownloadError(_how_by_hand(error, url, target)) from None
    new, old = sha256_of(part), recorded_sha256(card)
    if old and new != old:
        discard(part)
        raise DownloadError(
            f"{url} has changed: SHA-256 is {new}, at the first download it was {old}; "
            f"nothing was kept. To accept the new file, delete {_record_path(card)} and run again"
        )
    # the record first: a file without one would count as put there by hand
    write_record(_record_path(card), {"url": url, "size": part.stat().st_size, "sha256": new})
    with writing(target):
        with part.open("r+b") as file:
            os.fsync(file.fileno())
        part.replace(target)
    discard(part)


def _adopt(card: Card, target: Path) -> None:
    """Record a file that somebody put there by hand, if it can be what it should be."""
    if defect := _defect(target):
        raise DownloadError(f"{target}: {defect}; delete it, or put a whole copy there")
    record = {"url": None, "size": target.stat().st_size, "sha256": sha256_of(target)}
    write_record(_record_path(card), record)
    discard(beside(target, ".part"))


def _verified(card: Card, target: Path) -> Path:
    there, recorded = sha256_of(target), recorded_sha256(card)
    if there != recorded:
        raise DownloadError(
            f"{target} has changed: SHA-256 is {there}, recorded was {recorded}. "
            f"To download it again, delete it; to accept it, delete {_record_path(card)}"
        )
    return target


def _defect(path: Path) -> str | None:
    """Why a file is not a whole gzipped tar archive, or None: reads it to its checksum."""
    if path.stat().st_size > MAX_BYTES:
        return f"larger than {MAX_BYTES:,} bytes"
    try:
        with gzip.open(path) as file:
            header = file.read(tarfile.BLOCKSIZE)
            tarfile.TarInfo.frombuf(header, "utf-8", "replace")
            size = len(header)
            while piece := file.read(1 << 20):
                size += len(piece)
                if size > 2 * MAX_BYTES:
                    return "unpacks to more than a published file can hold"
    except tarfile.TarError:
        return "gzipped, but no tar archive"
    except (EOFError, OSError, zlib.error) as error:
        return f"broken or not a gzip archive ({one_line(error)})"
    return None


def _how_by_hand(error: TransferError, url: str, target: Path) -> str:
    part = beside(target, ".part")
    kept = (
        f"; {part.stat().st_size:,} bytes are kept, run again to continue" if part.exists() else ""
    )
    return (
        f"cannot download {url}: {error}{kept}. Without a network here, download that address "
        f"elsewhere, put the file at {target} and run again; MOVINET_BASE_URL names a mirror"
    )


def _record_path(card: Card) -> Path:
    return beside(download_path(card), ".json")


@contextlib.contextmanager
def _progress_bar(name: str, show: bool) -> Iterator[OnProgress]:
    if not show:
        yield lambda _done, _total: None
        return
    from rich import progress as bars
    from rich.console import Console

    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.DownloadColumn(),
        bars.TransferSpeedColumn(),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, console=Console(stderr=True)) as progress:

        def on_progress(done: int, total: int | None) -> None:
            if not progress.tasks:  # begins with what was kept, which is not today's speed
                progress.add_task(name, total=total, completed=done)
            progress.update(progress.task_ids[0], total=total, completed=done)

        yield on_progress
