"""Converted weights: made once, and anew when the published file or the converter changes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from movinet.catalog.published import Card
from movinet.weights.download import download_path, fetch, recorded_sha256
from movinet.weights.store import (
    beside,
    cache_dir,
    locked,
    read_record,
    sha256_of,
    write_record,
    writing,
)

#: called with (the published .tar.gz file, the .safetensors file to write)
Convert = Callable[[Path, Path], None]


def cached_weights(
    card: Card, convert: Convert, *, converter_version: int, progress: bool | None = None
) -> Path:
    """The weights of a card in our format: from the cache, else fetched and converted.

    Once they are there, the published file is not needed any more.

    Args:
        card: Which weights.
        convert: Makes the converted file; whatever it raises is passed on, and nothing is kept.
        converter_version: Raise it when `convert` changes what it writes.
        progress: Draw a progress bar on stderr; by default if that is a terminal.

    Returns:
        Path of the .safetensors file.

    Raises:
        DownloadError: If the published file cannot be had, or the cache cannot be written.
    """
    target = converted_path(card)
    if _is_current(card, target, converter_version):
        return target
    show = sys.stderr.isatty() if progress is None else progress
    with locked(target, announce=show):
        if not _is_current(card, target, converter_version):  # another process may have made it
            source = fetch(card, progress=progress)
            if not _is_current(card, target, converter_version):
                _convert(card, convert, source, target, converter_version)
    return target


def converted_path(card: Card) -> Path:
    """Where the converted weights are kept, whether or not they are there."""
    return cache_dir() / "weights" / f"{card.preset}-{card.dataset}.safetensors"


def _is_current(card: Card, target: Path, converter_version: int) -> bool:
    """Whether the converted file is whole, and what would be made today."""
    record = read_record(_record_path(target)) or {}
    if not target.is_file() or record.get("converter_version") != converter_version:
        return False
    origin = recorded_sha256(card)
    if origin is None and download_path(card).exists():
        return False  # a file put there by hand, not looked at yet
    if origin not in (None, record.get("origin_sha256")):
        return False
    return sha256_of(target) == record.get("sha256")


def _convert(
    card: Card, convert: Convert, source: Path, target: Path, converter_version: int
) -> None:
    part = beside(target, ".part")
    try:
        with writing(target):
            convert(source, part)
            record = {
                "origin": card.file_name,
                "origin_sha256": recorded_sha256(card),
                "converter_version": converter_version,
                "sha256": sha256_of(part),
            }
            part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    write_record(_record_path(target), record)


def _record_path(target: Path) -> Path:
    return beside(target, ".json")
