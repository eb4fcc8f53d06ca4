"""Embeddings on disk, so that a clip is decoded and computed once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet.data.samples import Sample
from movinet.errors import VideoError
from movinet.files import replacing
from movinet.video.container import Region
from movinet.weights.store import cache_dir

#: The most that all embeddings together may take, bytes; the longest unused ones make room.
MAX_BYTES = 2**30
_SUFFIX = ".npy"


def embeddings_folder() -> Path:
    """The folder of all cached embeddings, inside `movinet.weights.store.cache_dir`."""
    return cache_dir() / "embeddings"


def source_key(sample: Sample) -> str | None:
    """Identifies the stored video and the part of it that a sample is.

    The video counts as changed once its path, size or time of modification do.

    Returns:
        64 hexadecimal digits; None if the video is not stored in a file, or the file is gone.
    """
    try:
        stored = [_stored(file) for file in sample.media.files()]
    except (OSError, VideoError):
        return None
    if not stored:
        return None
    return _digest([stored, sample.media.given_rate, sample.start, sample.end])


def _stored(file: Path | Region) -> list[Any]:
    """Identifies a file, or a part of one, as long as it is not changed."""
    part = [file.offset, file.size] if isinstance(file, Region) else []
    path = file.path if isinstance(file, Region) else file
    stat = path.stat()
    return [str(path.absolute()), stat.st_size, stat.st_mtime_ns, part]


class EmbeddingCache:
    """The embeddings of one network with one input, by sample.

    Each sample is a file of its own that appears whole or not at all, so that a run which is
    killed keeps what it had computed, and several runs share the folder.

    Args:
        about: All that decides the values beside the sample: weights, input, views, engine.
        shape: Expected (views, channels) of an entry.
        folder: Of all networks' embeddings.
    """

    def __init__(
        self, about: Mapping[str, Any], shape: tuple[int, int], folder: Path | None = None
    ) -> None:
        self._root = embeddings_folder() if folder is None else folder
        self._folder = self._root / _digest(about)[:32]
        self._about, self._shape = dict(about), shape
        self._works = True

    def read(self, sample: Sample) -> NDArray[np.float32] | None:
        """The embeddings of a sample, (views, channels) float32, or None."""
        if (path := self._path(sample)) is None:
            return None
        most = 4 * self._shape[0] * self._shape[1] + 1024
        try:
            if path.stat().st_size > most:
                return None
            with path.open("rb") as file:
                values = np.lib.format.read_array(file, allow_pickle=False)
            os.utime(path)  # used now: the last to go
        except (OSError, ValueError, EOFError):  # none, or damaged: computed again
            return None
        if values.shape != self._shape or values.dtype != np.float32:
            return None
        return values if np.isfinite(values).all() else None

    def write(self, sample: Sample, values: NDArray[np.float32]) -> None:
        """Keep the embeddings of a sample; a folder that cannot be written keeps none."""
        if not self._works or (path := self._path(sample)) is None:
            return
        try:
            if not self._folder.is_dir():
                self._folder.mkdir(parents=True, exist_ok=True)
                with replacing(self._folder / "about.json") as temporary:
                    temporary.write_text(json.dumps(self._about, indent=2), encoding="utf-8")
            with replacing(path) as temporary:
                np.save(temporary, values.astype(np.float32), allow_pickle=False)
        except OSError:
            self._works = False

    @property
    def works(self) -> bool:
        """Whether everything could be written so far."""
        return self._works

    def prune(self, most: int = MAX_BYTES) -> None:
        """Remove the embeddings unused for longest until all take at most `most` bytes."""
        entries = sorted(_entries(self._root), reverse=True)
        total = 0
        for _, size, path in entries:
            total += size
            if total > most:
                with contextlib.suppress(OSError):
                    path.unlink()

    def _path(self, sample: Sample) -> Path | None:
        key = source_key(sample)
        return None if key is None else self._folder / (key[:32] + _SUFFIX)


def _entries(folder: Path) -> Iterator[tuple[int, int, Path]]:
    """Time of the last use, bytes and path of each file, temporary ones of killed runs included."""
    for path in folder.glob(f"*/*{_SUFFIX}"):
        with contextlib.suppress(OSError):  # another run has removed it
            stat = path.stat()
            yield stat.st_mtime_ns, stat.st_size, path


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
