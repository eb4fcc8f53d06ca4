"""LevelDB's sorted string table, the format of a TensorFlow checkpoint's index.

Format: https://github.com/google/leveldb/blob/main/doc/table_format.md
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

from movinet.checkpoints.wire import FormatError, crc32c, mask, read_varint, shown, take, varint

MAGIC = 0xDB4775248B80FB57
_FOOTER_SIZE = 48
_TRAILER_SIZE = 5  # type byte and checksum behind each block
_RESTART_INTERVAL = 16
_RAW, _SNAPPY = 0, 1

#: The index of the largest published network has 0.1 MB, of one with an optimizer's slots 0.3 MB.
MAX_TABLE_BYTES = 8 << 20
#: Keys are stored as differences: without a limit a small file could hold gigabytes of them.
MAX_KEY_BYTES = 32 << 20
#: The largest published network has 1,089 tensors.
MAX_ENTRIES = 50_000


def read_table(data: bytes) -> dict[bytes, bytes]:
    """The entries of a table, every block's checksum checked.

    Args:
        data: A whole file, at most `MAX_TABLE_BYTES`.

    Returns:
        The entries in the order of their keys.

    Raises:
        FormatError: If the file is no table, is damaged, or is made to use up memory.
    """
    if len(data) > MAX_TABLE_BYTES:
        raise FormatError(f"{len(data)} bytes are too many for an index")
    if len(data) < _FOOTER_SIZE:
        raise FormatError(f"{len(data)} bytes are too few for an index")
    footer = data[-_FOOTER_SIZE:]
    if int.from_bytes(footer[-8:], "little") != MAGIC:
        raise FormatError("it does not end like an index of tensors")
    meta_handle, position = _read_handle(footer, 0)
    index_handle, _ = _read_handle(footer, position)
    reader = _Reader(data)
    reader.block(*meta_handle)  # nothing of interest is in it, but it should be whole
    return reader.entries(index_handle)


def write_table(entries: Mapping[bytes, bytes], block_size: int = 4096) -> bytes:
    """The file that holds `entries`.

    Args:
        entries: Keys and values, in any order.
        block_size: A block ends once it has this many bytes.
    """
    out = bytearray()
    index: list[tuple[bytes, bytes]] = []
    builder = _BlockBuilder(_RESTART_INTERVAL)
    last = b""
    for last in sorted(entries):
        builder.add(last, entries[last])
        if builder.size >= block_size:
            index.append((last, _append_block(out, builder.finish())))
            builder = _BlockBuilder(_RESTART_INTERVAL)
    if builder.size:
        index.append((last, _append_block(out, builder.finish())))
    meta_handle = _append_block(out, _BlockBuilder(1).finish())
    index_builder = _BlockBuilder(1)
    for key, handle in index:
        index_builder.add(key, handle)
    handles = meta_handle + _append_block(out, index_builder.finish())
    out += handles.ljust(_FOOTER_SIZE - 8, b"\0") + MAGIC.to_bytes(8, "little")
    return bytes(out)


class _Reader:
    """Reads blocks of one file, keeping count of what they unpack to."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._unpacked = 0
        self._key_bytes = 0

    def entries(self, index_handle: tuple[int, int]) -> dict[bytes, bytes]:
        table: dict[bytes, bytes] = {}
        last, end = None, 0
        for _, value in self._block_entries(index_handle):
            handle, _ = _read_handle(value, 0)
            if handle[0] < end:
                raise FormatError("two blocks overlap")
            end = sum(handle)
            for key, entry in self._block_entries(handle):
                if last is not None and key <= last:
                    raise FormatError(f"keys are out of order at {shown(key)}")
                if len(table) == MAX_ENTRIES:
                    raise FormatError(f"it lists more than {MAX_ENTRIES} tensors")
                table[key] = entry
                last = key
        return table

    def _block_entries(self, handle: tuple[int, int]) -> Iterator[tuple[bytes, bytes]]:
        block = self.block(*handle)
        tail = len(block) - 4
        if tail < 0:
            raise FormatError("a block is too short")
        restarts = int.from_bytes(block[tail:], "little")
        block = block[: max(tail - 4 * restarts, 0)]
        if 4 * restarts > tail:
            raise FormatError("a block announces more restart points than it has")
        key, position = b"", 0
        while position < len(block):
            shared, position = read_varint(block, position)
            unshared, position = read_varint(block, position)
            value_size, position = read_varint(block, position)
            if shared > len(key):
                raise FormatError("a key builds on more than the key before it")
            rest, position = take(block, position, unshared)
            key = key[:shared] + rest
            self._key_bytes += len(key)
            if self._key_bytes > MAX_KEY_BYTES:
                raise FormatError("its keys are too long for an index of tensors")
            value, position = take(block, position, value_size)
            yield key, value

    def block(self, offset: int, size: int) -> bytes:
        if offset + size + _TRAILER_SIZE > len(self._data) - _FOOTER_SIZE:
            raise FormatError("a block lies outside of the file")
        end = offset + size
        (stored,) = struct.unpack_from("<I", self._data, end + 1)
        if mask(crc32c(self._data[offset : end + 1])) != stored:
            raise FormatError(f"the checksum of the block at byte {offset} is wrong")
        block, kind = self._data[offset:end], self._data[end]
        if kind == _SNAPPY:
            # TensorFlow has never written one; another tool compressed it.
            raise FormatError(
                "its index is compressed: load the checkpoint with TensorFlow and save it again"
            )
        if kind != _RAW:
            raise FormatError(f"a block is compressed in an unknown way ({kind})")
        self._unpacked += len(block)
        return block


class _BlockBuilder:
    """Collects entries of one block: each key as its difference from the key before it."""

    def __init__(self, restart_interval: int) -> None:
        self._interval = restart_interval
        self._body = bytearray()
        self._restarts = [0]
        self._count = 0
        self._last = b""

    @property
    def size(self) -> int:
        return len(self._body)

    def add(self, key: bytes, value: bytes) -> None:
        shared = 0
        if self._count and self._count % self._interval == 0:
            self._restarts.append(len(self._body))
        else:
            shared = _shared_length(self._last, key)
        self._body += varint(shared) + varint(len(key) - shared) + varint(len(value))
        self._body += key[shared:] + value
        self._last = key
        self._count += 1

    def finish(self) -> bytes:
        restarts = (*self._restarts, len(self._restarts))
        return bytes(self._body) + struct.pack(f"<{len(restarts)}I", *restarts)


def _shared_length(first: bytes, second: bytes) -> int:
    """How many bytes two keys have in common at their start."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(first), len(second)))


def _append_block(out: bytearray, block: bytes) -> bytes:
    """Append a block with its trailer to `out`; its handle (offset and size as varints)."""
    handle = varint(len(out)) + varint(len(block))
    stored = block + bytes([_RAW])
    out += stored + struct.pack("<I", mask(crc32c(stored)))
    return handle


def _read_handle(data: bytes, position: int) -> tuple[tuple[int, int], int]:
    """The offset and size of a block, and the position behind them."""
    offset, position = read_varint(data, position)
    size, position = read_varint(data, position)
    return (offset, size), position
