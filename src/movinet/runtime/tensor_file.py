"""Files of tensors with the layout of safetensors, as strangers may have written them.

Eight bytes with the length of a JSON header, the header, and the tensors one after another.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet.errors import CheckpointError

#: Far beyond any file that this package writes: it may come from anybody.
MAX_BYTES, MAX_HEADER, MAX_TENSORS = 2**31, 4 * 2**20, 8192
#: What reading damaged contents may raise.
DAMAGE = (KeyError, TypeError, ValueError, RecursionError, AttributeError, OverflowError)
_DTYPES = {"F32": np.float32, "F16": np.float16, "I32": np.int32, "I8": np.int8}
_CODES = {np.dtype(dtype): code for code, dtype in _DTYPES.items()}
_METADATA = "__metadata__"


def packed(metadata: Mapping[str, str], tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """A file with texts and tensors, these by name."""
    header: dict[str, Any] = {_METADATA: dict(metadata)}
    start, parts = 0, []
    for name in sorted(tensors):
        value = np.ascontiguousarray(tensors[name])
        code = _CODES[value.dtype.newbyteorder("=")]
        data = value.astype(value.dtype.newbyteorder("<"), copy=False).tobytes()
        end = start + len(data)
        header[name] = {"dtype": code, "shape": list(value.shape), "data_offsets": [start, end]}
        parts.append(data)
        start = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([struct.pack("<Q", len(text)), text, *parts])


def unpacked(
    data: bytes, *, max_header: int = MAX_HEADER
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The inverse of `packed`: metadata, whose values may be anything, and tensors.

    Raises:
        KeyError, TypeError, ValueError, RecursionError, AttributeError, OverflowError: If it is
            damaged (`DAMAGE`).
    """
    if len(data) < 8 or len(data) > MAX_BYTES:
        raise ValueError(f"{len(data)} bytes")
    (length,) = struct.unpack_from("<Q", data)
    if not 2 <= length <= min(max_header, len(data) - 8):
        raise ValueError(f"its header cannot have {length} bytes")
    header = json.loads(data[8 : 8 + length].decode())
    metadata = header.pop(_METADATA, None)
    if not metadata:
        raise ValueError("it has no metadata")
    if len(header) > MAX_TENSORS:
        raise ValueError(f"{len(header)} tensors, over {MAX_TENSORS}")
    return metadata, _tensors(header, memoryview(data)[8 + length :])


def read_bytes(path: Path) -> bytes:
    """A file's contents, at most `MAX_BYTES`.

    Raises:
        CheckpointError: If it cannot be read, or is no file of this size.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise CheckpointError(f"{path}: not a regular file")
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if not path.is_file() or size > MAX_BYTES:
                raise CheckpointError(f"{path}: not a file of at most {MAX_BYTES} bytes")
            return file.read(size)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from None


def _tensors(header: Mapping[str, Any], data: memoryview) -> dict[str, NDArray[Any]]:
    """The tensors, which lie one after another and fill the file."""
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
        if stop > len(data):
            raise ValueError("it is cut off")
        flat = np.frombuffer(data[start:stop], dtype)
        values[name] = flat.astype(dtype.newbyteorder("=")).reshape(shape)
        end = stop
    if end != len(data):
        raise ValueError(f"{len(data) - end} bytes follow its tensors")
    return values
