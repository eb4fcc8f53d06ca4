"""Files from which long runs go on after they were killed (docs/reference/snapshot.md)."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from movinet.errors import CheckpointError, ConfigError
from movinet.files import file_path, replacing
from movinet.runtime.snapshot import StreamSnapshot, checked_snapshot
from movinet.runtime.tensor_file import DAMAGE, packed, read_bytes, unpacked
from movinet.text import one_line

#: A reader refuses files of a later version.
FORMAT_VERSION = 1
#: Of the header, bytes: reports that wait for sinks are there.
_MAX_HEADER = 64 * 2**20
_KEY = "movinet_run"


@dataclass(frozen=True)
class SavedRun:
    """All that a run carries.

    Attributes:
        kind: Of run.
        state: JSON values; from a file they may be anything.
        streams: Snapshots by name, which has no "/".
    """

    kind: Literal["watch", "segments"]
    state: Mapping[str, Any]
    streams: Mapping[str, StreamSnapshot]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a file, which appears whole or not at all.

        Raises:
            OSError: If it cannot be written.
        """
        streams = {name: stream.metadata() for name, stream in self.streams.items()}
        metadata = {
            _KEY: str(FORMAT_VERSION),
            "kind": self.kind,
            "state": json.dumps(self.state),
            "streams": json.dumps(streams),
        }
        tensors = {
            f"{name}/{key}": value
            for name, stream in self.streams.items()
            for key, value in stream.values.items()
        }
        with replacing(file_path(path)) as temporary:
            temporary.write_bytes(packed(metadata, tensors))

    @classmethod
    def load(cls, path: str | os.PathLike[str], kind: Literal["watch", "segments"]) -> SavedRun:
        """Read a file that `save` wrote.

        Args:
            path: The file, at most 2 GiB.
            kind: Of run that is to go on.

        Raises:
            CheckpointError: If it cannot be read, or is none of this kind.
        """
        path = file_path(path)
        try:
            state, streams = _parsed(read_bytes(path), kind)
        except DAMAGE as error:
            raise CheckpointError(
                f"{path}: nothing to resume from: {one_line(error)}; name a file of --resume, or "
                "a new one"
            ) from None
        return cls(kind, state, streams)


def stream_snapshot(stream: Any) -> StreamSnapshot:
    """The snapshot of a stream, for a file.

    Raises:
        ConfigError: If the model's streams have none.
    """
    snapshot = stream.snapshot()
    if not isinstance(snapshot, StreamSnapshot):
        raise ConfigError(
            "to resume, a model in an exported file is needed, such as .mvn: 'movinet export' "
            "makes one"
        )
    return snapshot


def finite(value: object) -> float:
    """A number of a state from outside.

    Raises:
        ValueError: If it is none, or not finite.
    """
    if type(value) not in (int, float) or not math.isfinite(value):  # pyright: ignore[reportArgumentType]
        raise ValueError(f"{one_line(repr(value))} is no number")
    return float(value)  # pyright: ignore[reportArgumentType]


def _parsed(data: bytes, kind: str) -> tuple[dict[str, Any], dict[str, StreamSnapshot]]:
    """The state and the streams of a file; any of `DAMAGE` if it has none."""
    metadata, tensors = unpacked(data, max_header=_MAX_HEADER)
    if _KEY not in metadata:
        raise ValueError("it is no file of --resume")
    if metadata[_KEY] != str(FORMAT_VERSION):
        raise ValueError(
            f"version {metadata[_KEY]!r} is not {FORMAT_VERSION}; is it of a later movinet?"
        )
    if metadata["kind"] != kind:
        raise ValueError(f"it is of movinet {metadata['kind']}, not of movinet {kind}")
    values: dict[str, dict[str, NDArray[np.generic]]] = {}
    for name, value in tensors.items():
        stream, _, key = name.partition("/")
        values.setdefault(stream, {})[key] = value
    described = json.loads(metadata["streams"])
    if described.keys() != values.keys():
        raise ValueError("its streams and its tensors do not fit together")
    state = json.loads(metadata["state"])
    if not isinstance(state, dict):
        raise TypeError("its state is no object")
    streams = {name: checked_snapshot(described[name], values[name]) for name in described}
    if any(len(stream.frame_counts) != 1 for stream in streams.values()):
        raise ValueError("its streams are batches")
    return state, streams
