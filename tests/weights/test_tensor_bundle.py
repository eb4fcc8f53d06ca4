import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tensorflow_files import rebuild, unpack

from movinet.checkpoints.bundle import DTYPES, Bundle, read_index, write_bundle
from movinet.checkpoints.object_graph import GRAPH_KEY
from movinet.checkpoints.sources import Files, Member
from movinet.checkpoints.table import write_table
from movinet.checkpoints.wire import (
    bytes_field,
    crc32c,
    fixed32_field,
    mask,
    number_field,
    varint,
)
from movinet.errors import CheckpointError

HEADER = number_field(1, 1) + bytes_field(3, number_field(1, 1))


def entry(
    data: bytes = b"\0" * 12,
    dtype: int = 1,
    shape: tuple[int, ...] = (3,),
    shard: int = 0,
    offset: int = 0,
    size: int | None = None,
    extra: bytes = b"",
) -> bytes:
    """A BundleEntryProto, right for `data` unless told otherwise."""
    dims = b"".join(bytes_field(2, number_field(1, dim)) for dim in shape)
    return (
        number_field(1, dtype)
        + bytes_field(2, dims)
        + number_field(3, shard)
        + number_field(4, offset)
        + number_field(5, len(data) if size is None else size)
        + fixed32_field(6, mask(crc32c(data)))
        + extra
    )


def make_files(entries: dict[str, bytes], *shards: bytes, header: bytes = HEADER) -> Files:
    """A checkpoint with the prefix "c" in memory."""
    table = {b"": header, **{key.encode(): value for key, value in entries.items()}}
    files: dict[str, Path | Member | bytes] = {"c.index": write_table(table)}
    for number, shard in enumerate(shards):
        files[f"c.data-{number:05}-of-{len(shards):05}"] = shard
    return Files("archive.tar", files)


def written(tensors: dict[str, np.ndarray], strings: dict[str, bytes] | None = None) -> Bundle:
    """Tensors written and their index read."""
    index, data = io.BytesIO(), io.BytesIO()
    write_bundle(index, data, tensors, strings or {})
    files: dict[str, Path | Member | bytes] = {
        "c.index": index.getvalue(),
        "c.data-00000-of-00001": data.getvalue(),
    }
    return read_index(Files("archive.tar", files), "c")


arrays = st.sampled_from(list(DTYPES.values())).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=6, min_side=0))
)


@given(st.dictionaries(st.text("abc/é", max_size=20).filter(bool), arrays, max_size=8))
def test_round_trip_is_bit_identical(tensors: dict[str, np.ndarray]):
    bundle = written(tensors)
    read = bundle.arrays(tensors)

    assert list(read) == list(tensors)
    for key, array in tensors.items():
        assert read[key].shape == array.shape
        assert read[key].dtype == array.dtype
        assert read[key].tobytes() == array.tobytes()
        assert read[key].flags.writeable


def test_stores_views_and_foreign_byte_orders_as_values():
    kernel = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    tensors = {"turned": kernel.T, "big": kernel.astype(">f4"), "step": kernel[:, ::2]}

    read = written(tensors).arrays(tensors)

    for key, array in tensors.items():
        np.testing.assert_array_equal(read[key], array)
        assert read[key].dtype == np.float32


@pytest.mark.parametrize("preset", ["t0_base", "t0_stream"])
def test_writes_the_entries_that_tensorflow_writes(preset: str, tmp_path: Path):
    rebuild(preset, "ckpt", tmp_path / "ckpt-1")
    theirs = {
        name: (tmp_path / name).read_bytes()
        for name in ("ckpt-1.index", "ckpt-1.data-00000-of-00001")
    }
    bundle = read_index(Files("theirs", dict(theirs)), "ckpt-1")
    numeric = bundle.arrays(key for key in bundle.tensors if key != GRAPH_KEY)

    ours = written(numeric, {GRAPH_KEY: bundle.string(GRAPH_KEY)})

    assert bundle.string(GRAPH_KEY) == unpack(f"{preset}_ckpt.graph")
    # All but the place, which is the order in the data file, is the same, checksums too.
    assert {key: tensor._replace(offset=0) for key, tensor in ours.tensors.items()} == {
        key: tensor._replace(offset=0) for key, tensor in bundle.tensors.items()
    }


def test_reads_tensors_from_several_data_files():
    a, b, c = (np.full(3, value, np.float32) for value in (1, 2, 3))
    entries = {
        "a": entry(a.tobytes(), shard=1, offset=12),
        "b": entry(b.tobytes()),
        "c": entry(c.tobytes(), shard=1),
    }
    header = number_field(1, 2) + bytes_field(3, number_field(1, 1))
    files = make_files(entries, b.tobytes(), c.tobytes() + a.tobytes(), header=header)

    read = read_index(files, "c").arrays("abc")

    assert {key: value[0] for key, value in read.items()} == {"a": 1, "b": 2, "c": 3}
    del files.contents["c.data-00001-of-00002"]
    with pytest.raises(CheckpointError, match=r"c\.data-00001-of-00002: no such file"):
        read_index(files, "c").arrays("a")


def test_bfloat16_becomes_float32_exactly():
    values = np.array([1.0, -2.5, 3e38, 2.0**-120, np.inf], np.float32)
    upper = values.view(np.uint32) >> 16
    data = upper.astype("<u2").tobytes()

    read = read_index(make_files({"a": entry(data, dtype=14, shape=(5,))}, data), "c").arrays("a")

    assert read["a"].dtype == np.float32
    np.testing.assert_array_equal(read["a"].view(np.uint32), upper << 16)


ZEROS = b"\0" * 12
FLOATS = np.arange(3, dtype=np.float32).tobytes()


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        (make_files({"a": entry(extra=bytes_field(7, b""))}, ZEROS), "'a' is stored in slices"),
        (make_files({"a": entry(dtype=7)}, ZEROS), "'a' has the type 7"),
        (make_files({"a": entry(dtype=99)}, ZEROS), "'a' has the type 99"),
        (make_files({"a": entry(shape=(4,))}, ZEROS), r"shape \(4,\) cannot have 12 bytes"),
        (make_files({"a": entry(shape=(1 << 40,))}, ZEROS), r"has the shape \(1099511627776,\)"),
        (make_files({"a": entry(shape=(1,) * 100)}, ZEROS), "has the shape"),
        (make_files({"a": entry(shape=(1 << 14,) * 2)}, ZEROS), "cannot have 12 bytes"),
        (make_files({"a": entry(shape=(0, 1 << 29))}, ZEROS), "cannot have 12 bytes"),
        (make_files({"a": entry(b"", shape=(0, *(1 << 30,) * 3))}, ZEROS), "has the shape"),
        (make_files({"a": entry(offset=1)}, ZEROS), "ends at byte 13, the file at 12"),
        (make_files({"a": entry(FLOATS)}, ZEROS), "checksum of tensor 'a' is wrong"),
        (make_files({"a": entry(), "b": entry(offset=11)}, ZEROS * 2), "'a' and 'b' overlap"),
        (make_files({"a": entry(shard=1)}, ZEROS), "data file 1 of 1"),
        (make_files({"a": entry(size=3 << 28, shape=(3 << 26,))}, ZEROS), "more than any"),
        (make_files({"a": b"\xff"}, ZEROS), "cut off"),
        (make_files({"a": bytes_field(4, b"12")}, ZEROS), "bytes where a number"),
        (make_files({"a": number_field(2, 12)}, ZEROS), "number where bytes"),
        (make_files({"a": entry()}), r"c.data-00000-of-00001: no such file"),
        (make_files({}, header=HEADER + number_field(2, 1)), "big-endian"),
        (
            make_files({}, header=number_field(1, 1) + bytes_field(3, number_field(2, 9))),
            "version 9",
        ),
        (make_files({}, header=b""), "no data files"),
        (Files("folder", {}), "folder/c.index: no such file"),
        (Files("folder", {"c.index": write_table({b"a": entry()})}), "no header"),
        (Files("folder", {"c.index": write_table({b"": HEADER, b"\xff": entry()})}), "not UTF-8"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_says_in_one_line_what_is_wrong(files: Files, problem: str):
    with pytest.raises(CheckpointError, match=problem) as caught:
        read_index(files, "c").arrays("a")

    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(files.label)


def test_strings_are_checked():
    value = b"graph" * 100
    bundle = written({}, {"s": value})
    assert bundle.string("s") == value

    stored = bundle.files.contents["c.data-00000-of-00001"]
    assert isinstance(stored, bytes)
    for position in range(len(stored)):
        damaged = bytearray(stored)
        damaged[position] ^= 0x41
        bundle.files.contents["c.data-00000-of-00001"] = bytes(damaged)
        with pytest.raises(CheckpointError):
            bundle.string("s")


@pytest.mark.parametrize("size", [0, 1, 3, 1 << 20, 1 << 31, 1 << 40, (1 << 64) - 1])
def test_lengths_of_strings_are_not_believed(size: int):
    raw = varint(size) + mask(crc32c((size % 2**32).to_bytes(4, "little"))).to_bytes(4, "little")
    raw += b"ab"
    checksum = mask(crc32c(raw[len(varint(size)) :], crc32c((size % 2**32).to_bytes(4, "little"))))
    stored = number_field(1, 7) + number_field(5, len(raw)) + fixed32_field(6, checksum)

    with pytest.raises(CheckpointError, match="string"):
        read_index(make_files({"s": stored}, raw), "c").string("s")
