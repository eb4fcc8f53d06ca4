import tracemalloc

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from movinet.checkpoints.snappy import decompress
from movinet.checkpoints.wire import FormatError

#: Text that compresses: words repeat near and far.
repetitive = st.lists(
    st.sampled_from([b"", b"a", b"kernel", b"layer_with_weights-", bytes(range(256)), b"x" * 900])
).map(b"".join)


@given(repetitive | st.binary())
def test_reads_what_the_library_compresses(data: bytes):
    packed = bytes(cramjam.snappy.compress_raw(data))

    assert decompress(packed, limit=len(data)) == data


@given(st.binary(max_size=60), st.integers(0, 300))
def test_accepts_what_the_library_accepts(data: bytes, limit: int):
    try:
        expected = bytes(cramjam.snappy.decompress_raw(data))
    except (cramjam.DecompressionError, ValueError):
        expected = None

    if expected is None or len(expected) > limit:
        with pytest.raises(FormatError):
            decompress(data, limit)
    else:
        assert decompress(data, limit) == expected


def test_long_literals_and_far_copies():
    far = bytes([9]) + b"abcde" * 20000
    literal_of_3_bytes_length = bytes([62 << 2]) + (100000).to_bytes(3, "little")
    copy_of_4_bytes_offset = bytes([4 << 2 | 3]) + (100001).to_bytes(4, "little")
    size = bytes([0x80 | (100006 & 127), 0x80 | (100006 >> 7 & 127), 100006 >> 14])

    result = decompress(size + literal_of_3_bytes_length + far + copy_of_4_bytes_offset, 1 << 20)

    assert result == far + far[:5]


@pytest.mark.parametrize(
    ("block", "problem"),
    [
        (b"\xff\xff\xff\xff\x0f", "announces 4294967295 bytes"),
        (b"\x04\x0cab", "4 bytes are announced where 2 are left"),
        (b"\x02\x00a\x01\x00", "damaged"),  # a copy from nowhere
        (b"\x01\x04ab", "damaged"),  # more than announced
        (b"\x05\x04ab", "damaged"),  # less
        (b"", "cut off"),
    ],
)
def test_refuses_damaged_blocks(block: bytes, problem: str):
    with pytest.raises(FormatError, match=problem):
        decompress(block, limit=1000)


def test_copies_cannot_outgrow_what_was_announced():
    block = b"\x0a\x00a" + bytes([63 << 2 | 2, 1, 0]) * 100_000  # copies of 64 bytes each
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match="damaged"):
            decompress(block, limit=1 << 20)
        assert tracemalloc.get_traced_memory()[1] < 1 << 16
    finally:
        tracemalloc.stop()
