import struct

import google_crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import make_block, make_table
from tensorflow_files import unpack

from movinet.checkpoints import table
from movinet.checkpoints.table import read_table, write_table
from movinet.checkpoints.wire import FormatError, mask, varint

MANY = {f"model/layer-{i:04}/kernel".encode(): bytes([i % 256]) * (i % 50) for i in range(2000)}


@pytest.mark.parametrize("name", ["t0_base_ckpt", "t0_stream_ckpt", "t0_stream_saved_model"])
def test_writes_the_very_bytes_that_tensorflow_writes(name: str):
    theirs = unpack(f"{name}.index")
    entries = read_table(theirs)

    ours = write_table(entries, block_size=1 << 18)  # TensorFlow's: all in one block

    # Behind the blocks only the key in the index differs: any between two blocks would do.
    length = len(theirs) - 48 - 5 - 16 - 13
    assert len(entries) > 300
    assert ours[:length] == theirs[:length]


@given(st.dictionaries(st.binary(max_size=40), st.binary(max_size=40)), st.integers(1, 200))
def test_round_trip(entries: dict[bytes, bytes], block_size: int):
    read = read_table(write_table(entries, block_size))

    assert list(read.items()) == sorted(entries.items())


def test_writes_several_blocks_with_restart_points():
    data = write_table(MANY)

    assert read_table(data) == MANY
    # The first block, decoded as leveldb's doc/table_format.md says.
    end = next(i for i in range(4096, 8192) if google_crc32c.value(data[:i]) and _is_end(data, i))
    (count,) = struct.unpack_from("<I", data, end - 5)
    restarts = struct.unpack_from(f"<{count}I", data, end - 5 - 4 * count)
    assert count > 5
    assert restarts[0] == 0
    for number, position in enumerate(restarts):
        assert data[position] == 0  # a whole key, nothing shared with the one before
        size = data[position + 1]
        assert data[position + 3 : position + 3 + size] == sorted(MANY)[16 * number]


def _is_end(data: bytes, end: int) -> bool:
    """Whether a block and its type byte may end here: the checksum is right."""
    return struct.pack("<I", mask(google_crc32c.value(data[:end]))) == data[end : end + 4]


def test_compressed_blocks_are_refused_with_a_way_out():
    block = make_block(*((0, key, value) for key, value in sorted(MANY.items())))

    with pytest.raises(FormatError, match=r"its index is compressed: load .* save it again"):
        read_table(make_table(block, kind=1))


def test_every_flipped_bit_is_found():
    data = write_table({b"a" * i: b"value" for i in range(8)}, block_size=30)
    handles = data[-48:-8].rstrip(b"\0")
    padding = range(len(data) - 48 + len(handles), len(data) - 8)  # means nothing

    for position in set(range(len(data))) - set(padding):
        damaged = bytearray(data)
        damaged[position] ^= 1 << position % 8
        with pytest.raises(FormatError):
            read_table(bytes(damaged))


A, B = make_block((0, b"a", b"1")), make_block((0, b"b", b"2"))


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "too few"),
        (b"\0" * 100, "does not end like an index"),
        (bytes(table.MAX_TABLE_BYTES + 1), "too many"),
        (make_table(B, A), "out of order"),
        (make_table(A, A), "out of order"),
        (make_table(A, B, handles=[(0, len(A))] * 2), "overlap"),
        (make_table(A, handles=[(0, 1 << 40)]), "outside of the file"),
        (make_table(A, kind=4), "unknown way"),
        (make_table(b"abc"), "too short"),
        (make_table(struct.pack("<I", 5)), "restart points"),
        (make_table(make_block((1, b"a", b""))), "builds on more"),
        (make_table(b"\x00\x05\x00a" + struct.pack("<II", 0, 1)), "announced"),
        (make_table(b"\xff" * 20 + struct.pack("<II", 0, 1)), "64 bits"),
        (make_table(varint(1000), kind=1), "compressed"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_says_what_is_wrong(data: bytes, problem: str):
    with pytest.raises(FormatError, match=problem):
        read_table(data)


def test_keys_cannot_grow_without_end():
    growing = [(i * 60, b"k" * 60, b"") for i in range(2000)]  # 0.1 MB that stand for 120 MB

    with pytest.raises(FormatError, match="too long"):
        read_table(make_table(make_block(*growing)))


def test_entries_are_limited():
    block = make_block(*((0, b"%06d" % i, b"") for i in range(table.MAX_ENTRIES + 1)))

    with pytest.raises(FormatError, match="lists more than"):
        read_table(make_table(block))
