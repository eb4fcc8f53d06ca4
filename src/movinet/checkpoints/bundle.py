"""TensorFlow's tensor bundle, the format of a checkpoint: an index and files of raw tensors.

Format: tensorflow/core/util/tensor_bundle and tensorflow/core/protobuf/tensor_bundle.proto. The
index is a sorted string table: the empty key holds a BundleHeaderProto, every other key a
BundleEntryProto that says where the tensor's bytes are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import BinaryIO, NamedTuple

import numpy as np

from movinet.checkpoints.sources import Files, blame
from movinet.checkpoints.table import MAX_TABLE_BYTES, read_table, write_table
from movinet.checkpoints.wire import (
    FormatError,
    bytes_field,
    content,
    crc32c,
    decode,
    fixed32_field,
    integer,
    mask,
    number_field,
    read_fields,
    read_varint,
    shown,
    take,
    varint,
)

#: DataType of tensorflow/core/framework/types.proto -> numpy, as stored.
DTYPES = {
    1: np.dtype("<f4"),
    2: np.dtype("<f8"),
    3: np.dtype("<i4"),
    4: np.dtype("u1"),
    5: np.dtype("<i2"),
    6: np.dtype("i1"),
    9: np.dtype("<i8"),
    17: np.dtype("<u2"),
    19: np.dtype("<f2"),
    22: np.dtype("<u4"),
    23: np.dtype("<u8"),
}
STRING, BFLOAT16 = 7, 14
_BITS = {**DTYPES, BFLOAT16: np.dtype("<u2")}  # what is read before bfloat16 becomes float32
_NUMBERS = {dtype: number for number, dtype in DTYPES.items()}

# Field numbers of the messages.
_NUM_SHARDS, _ENDIANNESS, _VERSION = 1, 2, 3  # BundleHeaderProto
_PRODUCER, _MIN_CONSUMER = 1, 2  # VersionDef
_DTYPE, _SHAPE, _SHARD, _OFFSET, _SIZE, _CRC32C, _SLICES = range(1, 8)  # BundleEntryProto
_DIM, _UNKNOWN_RANK = 2, 3  # TensorShapeProto
_DIM_SIZE = 1
_BUNDLE_VERSION = 1

_MAX_RANK = 8
#: More than any MoViNet (0.2 GB), less than would fill up a machine: files can be sparse.
MAX_TENSOR_BYTES = 1 << 29
_MAX_STRING_BYTES = 64 << 20
_WRONG = "it is no checkpoint of a MoViNet"


class StoredTensor(NamedTuple):
    """Where and how a tensor is stored.

    Attributes:
        dtype: Number of its type in `DTYPES`, or `STRING` or `BFLOAT16`.
        shape: Its shape.
        shard: Number of the data file.
        offset: First byte there.
        size: Bytes.
        checksum: Masked crc32c of the bytes.
        sliced: Whether it is stored in pieces under other keys.
    """

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    checksum: int
    sliced: bool


@dataclass(frozen=True)
class Bundle:
    """An index that has been read, and the files that it is about."""

    files: Files
    prefix: str
    num_shards: int
    tensors: dict[str, StoredTensor]

    def arrays(self, keys: Iterable[str]) -> dict[str, np.ndarray]:
        """Numeric tensors, in the order of `keys`; bfloat16 ones become float32, exactly.

        Raises:
            CheckpointError: If a tensor is of another type, is damaged, or its file is missing.
        """
        keys = list(keys)
        with blame(self.files.describe(f"{self.prefix}.index")):
            for key in keys:
                _check_numeric(key, self.tensors[key])
            if (total := sum(self.tensors[key].size for key in keys)) > MAX_TENSOR_BYTES:
                raise FormatError(f"{total} bytes of tensors are more than any MoViNet has", _WRONG)
        arrays = {}
        for key, raw in self._read(keys):
            stored = self.tensors[key]
            bits = np.frombuffer(raw, _BITS[stored.dtype]).reshape(stored.shape)
            if stored.dtype == BFLOAT16:  # the upper half of a float32
                arrays[key] = (bits.astype(np.uint32) << 16).view(np.float32)
            else:
                arrays[key] = bits.astype(bits.dtype.newbyteorder("="))  # a copy: writable
        return {key: arrays[key] for key in keys}

    def string(self, key: str) -> bytes:
        """A scalar string tensor.

        Raises:
            CheckpointError: If it is none, is damaged, or its file is missing.
        """
        stored = self.tensors[key]
        with blame(self.files.describe(f"{self.prefix}.index")):
            if stored.dtype != STRING or stored.shape or stored.sliced:
                raise FormatError(f"tensor {shown(key)} is no single string")
            if stored.size > _MAX_STRING_BYTES:
                raise FormatError(f"tensor {shown(key)} has {stored.size} bytes")
        ((_, raw),) = self._read([key])
        with blame(self.files.describe(self._shard(stored.shard))):
            return _unpack_string(raw)

    def _shard(self, number: int) -> str:
        return f"{self.prefix}.data-{number:05}-of-{self.num_shards:05}"

    def _read(self, keys: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """The bytes of tensors, file by file and front to back."""
        shards: dict[int, list[str]] = {}
        for key in sorted(keys, key=lambda key: self.tensors[key].offset):
            shards.setdefault(self.tensors[key].shard, []).append(key)
        for shard, members in sorted(shards.items()):
            with self.files.open(self._shard(shard)) as (file, size):
                for key in members:
                    yield key, _read_tensor(file, size, key, self.tensors[key])


def read_index(files: Files, prefix: str) -> Bundle:
    """Read the index of a checkpoint.

    Args:
        files: The checkpoint's files.
        prefix: What its files' names start with, such as ``ckpt-1`` or ``variables/variables``.

    Raises:
        CheckpointError: If the index is missing, damaged, or of another format.
        MissingExtraError: If google-crc32c is not installed.
    """
    name = f"{prefix}.index"
    table = read_table_file(files, name)
    with blame(files.describe(name)):
        if b"" not in table:
            raise FormatError("it has no header")
        num_shards = _read_header(table.pop(b""))
        tensors = {decode(key): _read_entry(value) for key, value in table.items()}
        _check_places(tensors, num_shards)
        return Bundle(files, prefix, num_shards, tensors)


def read_table_file(files: Files, name: str) -> dict[bytes, bytes]:
    """The entries of a table in a file."""
    data = files.read(name, MAX_TABLE_BYTES)
    with blame(files.describe(name)):
        return read_table(data)


def write_bundle(
    index: BinaryIO, data: BinaryIO, tensors: Mapping[str, np.ndarray], strings: Mapping[str, bytes]
) -> None:
    """Write a checkpoint of one data file.

    Args:
        index: The index file.
        data: The data file.
        tensors: Numeric tensors, each of a type in `DTYPES`.
        strings: Scalar string tensors.
    """
    version = bytes_field(_VERSION, number_field(_PRODUCER, _BUNDLE_VERSION))
    table = {b"": number_field(_NUM_SHARDS, 1) + version}
    offset = 0
    for key in sorted({**tensors, **strings}):
        if key in strings:
            raw, checksum = _pack_string(strings[key])
            dtype, shape = STRING, ()
        else:
            array = stored_form(tensors[key])
            raw = array.tobytes()
            dtype, shape, checksum = _NUMBERS[array.dtype], array.shape, crc32c(raw)
        dims = b"".join(bytes_field(_DIM, number_field(_DIM_SIZE, size)) for size in shape)
        table[key.encode()] = (
            number_field(_DTYPE, dtype)
            + bytes_field(_SHAPE, dims)
            + number_field(_OFFSET, offset)
            + number_field(_SIZE, len(raw))
            + fixed32_field(_CRC32C, mask(checksum))
        )
        offset += data.write(raw)
    index.write(write_table(table))


def stored_form(array: np.ndarray) -> np.ndarray:
    """An array in the byte order of a checkpoint.

    Raises:
        FormatError: If checkpoints have no such type.
    """
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    if little.dtype not in _NUMBERS:
        names = ", ".join(dtype.name for dtype in _NUMBERS)
        raise FormatError(f"type {array.dtype} cannot be stored; use one of {names}")
    return little


def _read_header(header: bytes) -> int:
    """The number of data files."""
    fields = dict(read_fields(header))
    if integer(fields.get(_ENDIANNESS, 0)):
        raise FormatError("its numbers are big-endian", "save it on a little-endian machine")
    version = dict(read_fields(content(fields.get(_VERSION, b""))))
    needed = integer(version.get(_MIN_CONSUMER, 0))
    if needed > _BUNDLE_VERSION:
        raise FormatError(
            f"it has version {needed} of the format", f"version {_BUNDLE_VERSION} can be read"
        )
    num_shards = integer(fields.get(_NUM_SHARDS, 0))
    if num_shards < 1:
        raise FormatError("it has no data files")
    return num_shards


def _read_entry(value: bytes) -> StoredTensor:
    shape: tuple[int, ...] = ()
    numbers = dict.fromkeys((_DTYPE, _SHARD, _OFFSET, _SIZE, _CRC32C), 0)
    sliced = False
    for field, part in read_fields(value):
        if field == _SHAPE:
            shape = _read_shape(content(part))
        elif field == _SLICES:
            sliced = True
        elif field in numbers:
            numbers[field] = integer(part)
    dtype, shard, offset, size, checksum = numbers.values()
    return StoredTensor(dtype, shape, shard, offset, size, checksum, sliced)


def _read_shape(message: bytes) -> tuple[int, ...]:
    shape = []
    for field, part in read_fields(message):
        if field == _UNKNOWN_RANK and part:
            raise FormatError("a tensor has no shape")
        if field == _DIM:
            shape.append(integer(dict(read_fields(content(part))).get(_DIM_SIZE, 0)))
    # The product counts zeros as ones: numpy refuses empty arrays of impossible shapes.
    if len(shape) > _MAX_RANK or math.prod(max(size, 1) for size in shape) > MAX_TENSOR_BYTES:
        raise FormatError(f"a tensor has the shape {shown(tuple(shape))}")
    return tuple(shape)


def _check_places(tensors: dict[str, StoredTensor], num_shards: int) -> None:
    """No two tensors share bytes, or a small file could hold more tensors than fit in memory."""
    for key, tensor in tensors.items():
        if tensor.shard >= num_shards:
            raise FormatError(f"tensor {shown(key)} is in data file {tensor.shard} of {num_shards}")
    places = sorted((t.shard, t.offset, t.size, key) for key, t in tensors.items() if t.size)
    for (shard, offset, size, key), (next_shard, next_offset, _, next_key) in pairwise(places):
        if shard == next_shard and offset + size > next_offset:
            raise FormatError(f"tensors {shown(key)} and {shown(next_key)} overlap")


def _check_numeric(key: str, tensor: StoredTensor) -> None:
    if tensor.sliced:
        raise FormatError(
            f"tensor {shown(key)} is stored in slices",
            "slices are not supported: save it from a model that is not partitioned",
        )
    if tensor.dtype not in _BITS:
        raise FormatError(
            f"tensor {shown(key)} has the type {tensor.dtype}, which holds no numbers", _WRONG
        )
    if math.prod(tensor.shape) * _BITS[tensor.dtype].itemsize != tensor.size:
        raise FormatError(
            f"tensor {shown(key)} of shape {tensor.shape} cannot have {tensor.size} bytes"
        )


def _read_tensor(file: BinaryIO, file_size: int, key: str, tensor: StoredTensor) -> bytes:
    end = tensor.offset + tensor.size
    if end > file_size:
        raise FormatError(
            f"tensor {shown(key)} ends at byte {end}, the file at {file_size}: it is cut off"
        )
    file.seek(tensor.offset)
    raw = file.read(tensor.size)
    checksum = _string_checksum(raw) if tensor.dtype == STRING else crc32c(raw)
    if mask(checksum) != tensor.checksum:
        raise FormatError(f"the checksum of tensor {shown(key)} is wrong")
    return raw


def _pack_string(value: bytes) -> tuple[bytes, int]:
    """A scalar string tensor as stored, and its checksum."""
    length_crc = mask(crc32c(len(value).to_bytes(4, "little"))).to_bytes(4, "little")
    raw = varint(len(value)) + length_crc + value
    return raw, _string_checksum(raw)


def _unpack_string(raw: bytes) -> bytes:
    size, position = read_varint(raw, 0)
    length_crc, position = take(raw, position, 4)
    if size != len(raw) - position:
        raise FormatError(f"a string of {size} bytes is stored in {len(raw) - position}")
    if mask(crc32c(size.to_bytes(4, "little"))) != int.from_bytes(length_crc, "little"):
        raise FormatError("the checksum of a string's length is wrong")
    return raw[position:]


def _string_checksum(raw: bytes) -> int:
    """The checksum takes in the length as a fixed32, not as the varint that is stored."""
    size, position = read_varint(raw, 0)
    if size >= 1 << 32:
        raise FormatError(f"a string announces {size} bytes")
    return crc32c(raw[position:], crc32c(size.to_bytes(4, "little")))
