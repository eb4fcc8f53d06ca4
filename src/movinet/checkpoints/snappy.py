"""Decompression of raw Snappy, which blocks of a table may be stored in.

Format: https://github.com/google/snappy/blob/main/format_description.txt
"""

from __future__ import annotations

from movinet.checkpoints.wire import FormatError, read_varint, take


def decompress(data: bytes, limit: int) -> bytes:
    """Decompress one raw Snappy block.

    Args:
        data: The compressed block.
        limit: Most bytes that the result may have.

    Raises:
        FormatError: If the block is damaged or its result would be longer than `limit`.
    """
    size, position = read_varint(data, 0)
    if size > limit:
        raise FormatError(f"a compressed block announces {size} bytes; at most {limit} fit here")
    out = bytearray()
    while position < len(data):
        tag = data[position]
        position += 1
        if tag & 3 == 0:
            length, position = _literal_length(data, position, tag >> 2)
            # Before the bytes are taken, so that the result never outgrows what was announced.
            _check(len(out) + length <= size)
            literal, position = take(data, position, length)
            out += literal
        else:
            length, offset, position = _copy(data, position, tag)
            _check(len(out) + length <= size and 1 <= offset <= len(out))
            pattern = out[len(out) - offset : len(out) - offset + length]
            # A copy that reaches into what it is writing repeats its pattern.
            out += (pattern * -(-length // len(pattern)))[:length]
    _check(len(out) == size)
    return bytes(out)


def _literal_length(data: bytes, position: int, code: int) -> tuple[int, int]:
    """The length of a literal: in the tag, or for codes 60 to 63 in 1 to 4 bytes behind it."""
    if code < 60:
        return code + 1, position
    raw, position = take(data, position, code - 59)
    return int.from_bytes(raw, "little") + 1, position


def _copy(data: bytes, position: int, tag: int) -> tuple[int, int, int]:
    """Length and offset of a copy, and the position behind them."""
    if tag & 3 == 1:
        low, position = take(data, position, 1)
        return (tag >> 2 & 7) + 4, tag >> 5 << 8 | low[0], position
    raw, position = take(data, position, 2 if tag & 3 == 2 else 4)
    return (tag >> 2) + 1, int.from_bytes(raw, "little"), position


def _check(sound: bool) -> None:
    if not sound:
        raise FormatError("a compressed block is damaged")
