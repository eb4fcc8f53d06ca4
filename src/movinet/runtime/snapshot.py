"""Snapshots of streams as values and as files (docs/reference/snapshot.md).

A file has the layout of safetensors: eight bytes with the length of a JSON header, the header, and
the tensors one after another. Axes are those of the reference, (batch, height, width, channels),
whatever format the model was exported to, so that a stream can continue in another one.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet.errors import CheckpointError
from movinet.files import file_path, replacing
from movinet.text import is_name, one_line

#: A reader refuses files of a later version.
FORMAT_VERSION = 1
#: Far beyond any snapshot: it may come from anybody.
MAX_BYTES, MAX_HEADER, MAX_TENSORS, MAX_STREAMS = 2**31, 4 * 2**20, 8192, 4096
_DTYPES = {"F32": np.float32, "F16": np.float16, "I32": np.int32, "I8": np.int8}
_CODES = {np.dtype(dtype): code for code, dtype in _DTYPES.items()}
_METADATA = "__metadata__"


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

    def to_bytes(self) -> bytes:
        """As a file: see `save`."""
        header: dict[str, Any] = {
            _METADATA: {
                "movinet_snapshot": str(FORMAT_VERSION),
                "model": self.model,
                "weights_sha256": self.weights_sha256,
                "frame_counts": json.dumps(self.frame_counts),
                "decay": json.dumps(self.decay),
                "time": json.dumps(self.time),
            }
        }
        start, parts = 0, []
        for name in sorted(self.values):
            value = np.ascontiguousarray(self.values[name])
            code = _CODES[value.dtype.newbyteorder("=")]
            data = value.astype(value.dtype.newbyteorder("<"), copy=False).tobytes()
            end = start + len(data)
            header[name] = {
                "dtype": code,
                "shape": list(value.shape),
                "data_offsets": [start, end],
            }
            parts.append(data)
            start = end
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        return b"".join([struct.pack("<Q", len(text)), text, *parts])

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
        except (KeyError, TypeError, ValueError, RecursionError, AttributeError) as error:
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
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if not path.is_file() or size > MAX_BYTES:
                    raise CheckpointError(f"{path}: not a file of at most {MAX_BYTES} bytes")
                data = file.read(size)
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from None
        return cls.from_bytes(data, str(path))


def _parsed(data: bytes) -> StreamSnapshot:
    """A snapshot from bytes; any of several errors if they are none."""
    if len(data) < 8 or len(data) > MAX_BYTES:
        raise ValueError(f"{len(data)} bytes")
    (length,) = struct.unpack_from("<Q", data)
    if not 2 <= length <= min(MAX_HEADER, len(data) - 8):
        raise ValueError(f"its header cannot have {length} bytes")
    header = json.loads(data[8 : 8 + length].decode())
    metadata = header.pop(_METADATA, None)
    if not metadata:
        raise ValueError("it has no metadata")
    if "movinet_snapshot" not in metadata:
        raise ValueError("its metadata has no 'movinet_snapshot', the version of its format")
    version = metadata["movinet_snapshot"]
    if version != str(FORMAT_VERSION):
        raise ValueError(f"version {version!r} is not {FORMAT_VERSION}; is it of a later movinet?")
    if len(header) > MAX_TENSORS:
        raise ValueError(f"{len(header)} tensors, over {MAX_TENSORS}")
    counts = _numbers("frame_counts", metadata, int)
    values = _tensors(header, memoryview(data)[8 + length :], len(counts))
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


def _tensors(header: Mapping[str, Any], data: memoryview, streams: int) -> dict[str, NDArray[Any]]:
    """The tensors, which lie one after another and fill the file."""
    if streams < 1:
        raise ValueError("it is of no stream")
    values: dict[str, NDArray[Any]] = {}
    end = 0
    for name, item in sorted(header.items(), key=lambda pair: pair[1]["data_offsets"]):
        dtype = np.dtype(_DTYPES[item["dtype"]]).newbyteorder("<")
        shape, (start, stop) = item["shape"], item["data_offsets"]
        sides = [*shape, start, stop]
        if any(type(side) is not int or side < 0 for side in sides) or len(shape) > 8:
            raise ValueError(f"{name}: its shape or place is none")
        if start != end or stop - start != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"{name}: its bytes are not where they should be")
        if not shape or shape[0] != streams:
            raise ValueError(f"{name}: it is not of {streams} streams")
        if stop > len(data):
            raise ValueError("it is cut off")
        flat = np.frombuffer(data[start:stop], dtype)
        values[name] = flat.astype(dtype.newbyteorder("=")).reshape(shape)
        end = stop
    if end != len(data):
        raise ValueError(f"{len(data) - end} bytes follow its tensors")
    return values
