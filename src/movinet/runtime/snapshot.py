"""Snapshots of streams as values and as files (docs/reference/snapshot.md).

A file has the layout of safetensors: eight bytes with the length of a JSON header, the header, and
the tensors one after another. Axes are those of the reference, (batch, height, width, channels),
whatever format the model was exported to, so that a stream can continue in another one.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from movinet.errors import CheckpointError
from movinet.files import file_path, replacing
from movinet.runtime.tensor_file import DAMAGE, packed, read_bytes, unpacked
from movinet.text import is_name, one_line

#: A reader refuses files of a later version.
FORMAT_VERSION = 1
#: Far beyond any snapshot: it may come from anybody.
MAX_STREAMS = 4096


@dataclass(frozen=True)
class StreamSnapshot:
    """The state of a batch of streams, as a value.

    Attributes:
        model: Name of the model that it is of.
        frame_counts: Frames that each stream has seen.
        values: The state tensors by name, the batch first.
        weights_sha256: Of the model that it is of; empty if its file does not state it.
        decay: What the poolings of each stream keep a frame, in (0, 1]; empty if not known.
        time: Of the last frame in the stream, seconds; None if the stream has no clock.
    """

    model: str
    frame_counts: tuple[int, ...]
    values: dict[str, NDArray[Any]]
    weights_sha256: str = ""
    decay: tuple[float, ...] = ()
    time: float | None = None

    def metadata(self) -> dict[str, str]:
        """All but the tensors, as texts."""
        return {
            "model": self.model,
            "weights_sha256": self.weights_sha256,
            "frame_counts": json.dumps(self.frame_counts),
            "decay": json.dumps(self.decay),
            "time": json.dumps(self.time),
        }

    def to_bytes(self) -> bytes:
        """As a file: see `save`."""
        return packed({"movinet_snapshot": str(FORMAT_VERSION), **self.metadata()}, self.values)

    @classmethod
    def from_bytes(cls, data: bytes, where: str = "the snapshot") -> StreamSnapshot:
        """The inverse of `to_bytes`, for bytes from outside.

        Args:
            data: The file.
            where: Its name, for messages.

        Raises:
            CheckpointError: If it is damaged, no snapshot, or of a later version.
        """
        try:
            return _parsed(data)
        except DAMAGE as error:
            raise CheckpointError(
                f"{where}: not a snapshot of a stream: {one_line(error)}"
            ) from None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a file, which appears whole or not at all.

        Args:
            path: The file; its usual suffix is .safetensors.

        Raises:
            OSError: If it cannot be written.
        """
        with replacing(file_path(path)) as temporary:
            temporary.write_bytes(self.to_bytes())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> StreamSnapshot:
        """Read a file that `save`, or the C interface, wrote.

        Args:
            path: The file, at most 2 GiB.

        Raises:
            CheckpointError: If it cannot be read, or is no snapshot.
        """
        path = file_path(path)
        return cls.from_bytes(read_bytes(path), str(path))


def _parsed(data: bytes) -> StreamSnapshot:
    """A snapshot from bytes; any of several errors if they are none."""
    metadata, values = unpacked(data)
    if "movinet_snapshot" not in metadata:
        raise ValueError("its metadata has no 'movinet_snapshot', the version of its format")
    version = metadata["movinet_snapshot"]
    if version != str(FORMAT_VERSION):
        raise ValueError(f"version {version!r} is not {FORMAT_VERSION}; is it of a later movinet?")
    return checked_snapshot(metadata, values)


def checked_snapshot(
    metadata: Mapping[str, Any], values: dict[str, NDArray[Any]]
) -> StreamSnapshot:
    """A snapshot from what a file says of it.

    Raises:
        KeyError, TypeError, ValueError, RecursionError, AttributeError, OverflowError: If it is
            damaged (`tensor_file.DAMAGE`).
    """
    counts = _numbers("frame_counts", metadata, int)
    if not counts:
        raise ValueError("it is of no stream")
    for name, value in values.items():
        if not value.ndim or len(value) != len(counts):
            raise ValueError(f"{name}: it is not of {len(counts)} streams")
    decay = _numbers("decay", metadata, float)
    if len(decay) not in (0, len(counts)) or not all(0 < one <= 1 for one in decay):
        raise ValueError("its decay is not a number in (0, 1] for each stream")
    if not all(0 <= one < 2**53 for one in counts):
        raise ValueError("its frame_counts are no counts")
    time = json.loads(metadata.get("time", "null"))
    if time is not None and (type(time) not in (int, float) or not math.isfinite(time)):
        raise ValueError("its time is no number of seconds")
    texts = metadata["model"], metadata["weights_sha256"]
    if not all(isinstance(text, str) and is_name(text) and len(text) < 1000 for text in texts):
        raise ValueError("its model or weights_sha256 is no printable text")
    return StreamSnapshot(texts[0], counts, values, texts[1], decay, time)


def _numbers(name: str, metadata: Mapping[str, Any], kind: type[Any]) -> tuple[Any, ...]:
    values = json.loads(metadata[name])
    kinds = (int,) if kind is int else (int, float)
    if not isinstance(values, list) or len(values) > MAX_STREAMS:
        raise ValueError(f"its {name} is no list of at most {MAX_STREAMS}")
    if any(type(value) not in kinds for value in values):
        raise ValueError(f"its {name} has something else than numbers")
    return tuple(kind(value) for value in values)
