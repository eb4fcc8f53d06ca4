"""Sorted string tables made by hand, to be wrong in one place and right in every other."""

import os
import struct

import google_crc32c

from movinet.checkpoints.table import MAGIC
from movinet.checkpoints.wire import mask, varint


def signed(block: bytes, kind: int = 0) -> bytes:
    """A block with its type and checksum."""
    stored = block + bytes([kind])
    return stored + struct.pack("<I", mask(google_crc32c.value(stored)))


def make_block(*entries: tuple[int, bytes, bytes]) -> bytes:
    """A block of (bytes shared with the key before, rest of the key, value)."""
    body = b"".join(
        varint(shared) + varint(len(rest)) + varint(len(value)) + rest + value
        for shared, rest, value in entries
    )
    return body + struct.pack("<II", 0, 1)


def make_table(
    *blocks: bytes, kind: int = 0, handles: list[tuple[int, int]] | None = None
) -> bytes:
    """A file of given blocks, right in everything else."""
    out, found = b"", []
    for block in blocks:
        found.append((len(out), len(block)))
        out += signed(block, kind)
    index = make_block(
        *((0, b"%04d" % i, varint(o) + varint(s)) for i, (o, s) in enumerate(handles or found))
    )
    meta, out = varint(len(out)) + varint(8), out + signed(make_block())
    footer = meta + varint(len(out)) + varint(len(index))
    return out + signed(index) + footer.ljust(40, b"\0") + struct.pack("<Q", MAGIC)


def compressed_block(entries: dict[bytes, bytes]) -> bytes:
    """A block whose keys build on the ones before them."""
    parts, last = [], b""
    for key, value in sorted(entries.items()):
        shared = len(os.path.commonprefix([last, key]))  # noqa: RUF071 (of bytes, not of paths)
        parts.append((shared, key[shared:], value))
        last = key
    return make_block(*parts)
