"""What the formats of a TensorFlow checkpoint share: varints, protobuf fields, checksums."""

from __future__ import annotations

from collections.abc import Iterator

from movinet.errors import MissingExtraError

_MASK_DELTA = 0xA282EAD8


class FormatError(ValueError):
    """Bytes that cannot be read; whoever knows the file's name makes it a CheckpointError.

    Attributes:
        advice: What the user can do.
    """

    def __init__(
        self,
        problem: str,
        advice: str = "the file is damaged or no TensorFlow checkpoint: fetch it again",
    ) -> None:
        super().__init__(problem)
        self.advice = advice


def read_varint(data: bytes, position: int) -> tuple[int, int]:
    """An unsigned varint of at most 64 bits, and the position behind it."""
    value = shift = 0
    while True:
        if position >= len(data):
            raise FormatError("a number is cut off")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        if shift > 63:
            raise FormatError("a number has more than 64 bits")
    if value >> 64:
        raise FormatError("a number has more than 64 bits")
    return value, position


def varint(value: int) -> bytes:
    """A non-negative number as a varint."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def take(data: bytes, position: int, size: int) -> tuple[bytes, int]:
    """`size` bytes from `position`, and the position behind them."""
    end = position + size
    if end > len(data):
        raise FormatError(f"{size} bytes are announced where {len(data) - position} are left")
    return data[position:end], end


def read_fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a protobuf message in order: (number, integer or bytes)."""
    position = 0
    while position < len(message):
        tag, position = read_varint(message, position)
        match tag & 7:
            case 0:
                value, position = read_varint(message, position)
            case 1:
                raw, position = take(message, position, 8)
                value = int.from_bytes(raw, "little")
            case 2:
                size, position = read_varint(message, position)
                value, position = take(message, position, size)
            case 5:
                raw, position = take(message, position, 4)
                value = int.from_bytes(raw, "little")
            case wire_type:
                raise FormatError(f"a protobuf field has wire type {wire_type}")
        yield tag >> 3, value


def integer(value: int | bytes) -> int:
    """A field's value where the format has a number."""
    if isinstance(value, bytes):
        raise FormatError("a protobuf field holds bytes where a number belongs")
    return value


def content(value: int | bytes) -> bytes:
    """A field's value where the format has a string or a message."""
    if isinstance(value, int):
        raise FormatError("a protobuf field holds a number where bytes belong")
    return value


def text(value: int | bytes) -> str:
    """A field's value where the format has a string."""
    return decode(content(value))


def decode(raw: bytes) -> str:
    """Bytes that the format says are UTF-8."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise FormatError(f"a name is not UTF-8: {shown(raw)}") from None


def number_field(number: int, value: int) -> bytes:
    """A protobuf field that holds a number; nothing for 0, the default."""
    return varint(number << 3) + varint(value) if value else b""


def bytes_field(number: int, value: bytes | str) -> bytes:
    """A protobuf field that holds a string or a message."""
    raw = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def fixed32_field(number: int, value: int) -> bytes:
    """A protobuf field of type fixed32."""
    return varint(number << 3 | 5) + value.to_bytes(4, "little")


def crc32c(data: bytes, start: int = 0) -> int:
    """CRC-32C (Castagnoli) of `data`, continued from the checksum `start` of what came before.

    Raises:
        MissingExtraError: If google-crc32c is not installed.
    """
    try:
        import google_crc32c
    except ImportError:
        raise MissingExtraError("reading and writing TensorFlow checkpoints", "torch") from None
    return google_crc32c.extend(start, data)


def mask(checksum: int) -> int:
    """A checksum as the formats store it: rotated right by 15 and shifted by a constant."""
    return ((checksum >> 15 | checksum << 17) + _MASK_DELTA) & 0xFFFFFFFF


def shown(value: object, limit: int = 120) -> str:
    """A name from a file, quoted for a message that stays one line of sensible length."""
    quoted = repr(value)
    return quoted if len(quoted) <= limit else f"{quoted[: limit - 3]}..."
