"""Mutated checkpoints: each is read or refused with a CheckpointError, in bounded memory.

Flipped bits alone would only test the checksums. So most mutations change the content of a block,
an entry or a string and sign it anew, as somebody would who makes such a file on purpose.
"""

import gzip
import io
import random
import tarfile
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import pytest
from tables import compressed_block, make_table
from tensorflow_files import unpack

from movinet.checkpoints.bundle import read_index, write_bundle
from movinet.checkpoints.hub import is_positional
from movinet.checkpoints.keys import SUFFIX
from movinet.checkpoints.object_graph import GRAPH_KEY, write_graph
from movinet.checkpoints.sources import Files
from movinet.checkpoints.table import read_table, write_table
from movinet.checkpoints.tensorflow import read_tf_checkpoint
from movinet.checkpoints.wire import read_varint, varint
from movinet.errors import CheckpointError

INDEX, DATA = "c.index", "c.data-00000-of-00001"
#: What hostile numbers say.
NUMBERS = [0, 1, 2, 7, 127, 128, 255, 1 << 14, 1 << 20, 1 << 31, (1 << 32) - 1, 1 << 40, 1 << 62]
NUMBERS += [(1 << 63) - 1, 1 << 63, (1 << 64) - 1, 1 << 64, 1 << 70]
#: Most memory that reading files of 10 kB may take.
MAX_MEMORY = 8 << 20

Contents = dict[str, bytes]
Mutation = Callable[[random.Random, Contents], Contents]


def bundle(tensors: dict[str, np.ndarray], graph: bytes) -> Contents:
    index, data = io.BytesIO(), io.BytesIO()
    write_bundle(index, data, tensors, {GRAPH_KEY: graph})
    return {INDEX: index.getvalue(), DATA: data.getvalue()}


def ordinary() -> Contents:
    """A small checkpoint with several blocks."""
    layers = "model/layer_with_weights-0/layer_with_weights-"
    tensors = {
        f"{layers}{i}/_conv/kernel{SUFFIX}": np.arange(3 * (i % 5), dtype=np.float32).reshape(3, -1)
        for i in range(30)
    }
    return bundle(tensors, write_graph(tensors))


def hub() -> Contents:
    """A SavedModel with the shapes, the order and the names of a real one; all tensors are 0."""
    stored = read_index(Files("", {"c.index": unpack("t0_base_hub.index")}), "c").tensors
    tensors = {k: np.zeros(t.shape, np.float32) for k, t in stored.items() if is_positional(k)}
    return bundle(tensors, unpack("t0_base_hub.graph"))


def damage(rng: random.Random, data: bytes) -> bytes:
    """Bytes changed somewhere: bits, numbers, pieces left out, doubled or cut off."""
    i, j = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    near = min(len(data), i + rng.randrange(1, 12))
    number = rng.choice(NUMBERS)
    return rng.choice(
        [
            data[:i]
            + bytes(byte ^ 1 << rng.randrange(8) for byte in data[i : i + 1])
            + data[i + 1 :],
            data[:i] + rng.randbytes(near - i) + data[near:],
            data[:i] + varint(number) + data[near:],
            data[:i] + (number % (1 << 64)).to_bytes(8, "little") + data[near:],
            data[:i],
            data[:i] + data[near:],
            data[:j] + data[i:],
            data[:i] + data[j:],
            data + rng.randbytes(rng.randrange(30)),
        ]
    )


def anywhere(rng: random.Random, files: Contents) -> Contents:
    name = rng.choice([INDEX, DATA])
    return {name: damage(rng, files[name])}


def footer(rng: random.Random, files: Contents) -> Contents:
    data, position = files[INDEX], len(files[INDEX]) - 48
    for _ in range(rng.randrange(4)):
        _, position = read_varint(data, position)
    numbers = [*NUMBERS, len(data), len(data) - 48]
    handles = b"".join(varint(rng.choice(numbers)) for _ in range(4))
    return {
        INDEX: (data[:position] + handles)[: len(data) - 8].ljust(len(data) - 8, b"\0") + data[-8:]
    }


def signed_block(rng: random.Random, files: Contents) -> Contents:
    """Blocks with a damaged one among them, as they are or called compressed, and signed."""
    entries = list(read_table(files[INDEX]).items())
    cut = rng.randrange(1, len(entries))
    blocks = [compressed_block(dict(entries[:cut])), compressed_block(dict(entries[cut:]))]
    kind = rng.randrange(2)
    damaged = rng.randrange(2)
    blocks = [damage(rng, block) if i == damaged else block for i, block in enumerate(blocks)]
    return {INDEX: make_table(*blocks, kind=kind)}


def repeated_blocks(rng: random.Random, files: Contents) -> Contents:
    block = compressed_block(read_table(files[INDEX]))
    places = [(0, len(block)), (0, 0), (rng.randrange(50), rng.choice(NUMBERS))]
    return {INDEX: make_table(block, handles=[rng.choice(places) for _ in range(rng.randrange(9))])}


def entry(rng: random.Random, files: Contents) -> Contents:
    """A damaged message about a tensor, or about all of them."""
    table = read_table(files[INDEX])
    for key in rng.sample(sorted(table), rng.randrange(1, 3)):
        table[key] = damage(rng, table[key])
    return {INDEX: write_table(table)}


def field(rng: random.Random, files: Contents) -> Contents:
    """One number of a message replaced: types, sizes, places."""
    table = read_table(files[INDEX])
    key = rng.choice(sorted(table))
    number = rng.randrange(1, 8)
    value = varint(rng.choice([*NUMBERS, 3, 14, 24, 36, 48]))
    if number == 2:  # the shape: any number of dimensions
        sizes = [varint(rng.choice(NUMBERS)) for _ in range(rng.choice([1, 2, 3, 40]))]
        dims = b"".join(b"\x12" + varint(len(size) + 1) + b"\x08" + size for size in sizes)
        value = varint(len(dims)) + dims
    tag = number << 3 | (2 if number == 2 else 0)
    table[key] += bytes([tag]) + value  # of two values of a field the last one counts
    return {INDEX: write_table(table)}


def names(rng: random.Random, files: Contents) -> Contents:
    table = read_table(files[INDEX])
    for key in rng.sample(sorted(table), rng.randrange(1, 4)):
        table[rng.choice([damage(rng, key), b"model/" + rng.randbytes(3), b""])] = table.pop(key)
    return {INDEX: write_table(table)}


def graph(rng: random.Random, files: Contents) -> Contents:
    source = read_index(Files("", dict(files)), "c")
    tensors = source.arrays(key for key in source.tensors if key != GRAPH_KEY)
    return bundle(tensors, damage(rng, source.string(GRAPH_KEY)))


def archive(rng: random.Random, files: Contents) -> Contents:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=rng.choice([0, 1, 2])) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"{'long' * rng.choice([1, 20])}/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    data = bytearray(out.getvalue())
    start = 512 * rng.randrange(len(data) // 512)
    if rng.random() < 0.7:  # a header with another size, type or name, signed anew
        at, text = rng.choice(
            [(124, b"%011o" % (rng.choice(NUMBERS) % 8**11)), (156, rng.randbytes(1))]
        )
        header = bytearray(data[:512])
        header[at : at + len(text)] = text
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        data[:512] = header
    else:
        data[start:] = damage(rng, bytes(data[start:]))
    packed = gzip.compress(bytes(data), compresslevel=1, mtime=0)
    return {"c.tar.gz": damage(rng, packed) if rng.random() < 0.3 else packed}


def read_mutated(folder: Path, files: Contents, mutated: Contents) -> dict[str, np.ndarray] | None:
    """Read files of which some are mutated; None if they are refused."""
    for name, content in mutated.items():
        (folder / name).write_bytes(content)
    try:
        return read_tf_checkpoint(folder / "c.tar.gz" if "c.tar.gz" in mutated else folder)
    except CheckpointError as error:
        message = str(error)
        assert message.startswith(str(folder))
        assert "\n" not in message
        assert len(message) < 1000
        return None
    finally:
        for name in mutated.keys() & files.keys():
            (folder / name).write_bytes(files[name])


@pytest.mark.parametrize(
    ("mutation", "rounds"),
    [
        (anywhere, 400),
        (footer, 250),
        (signed_block, 500),
        (repeated_blocks, 150),
        (entry, 400),
        (field, 400),
        (names, 250),
        (archive, 300),
    ],
)
def test_mutated_checkpoints(mutation: Mutation, rounds: int, tmp_path: Path):
    rng = random.Random(mutation.__name__)
    files = ordinary()

    refused = fuzz(rng, rounds, mutation, files, tmp_path)

    assert refused > rounds / 5  # the mutations do damage


@pytest.mark.parametrize(("mutation", "rounds"), [(graph, 24), (entry, 8), (field, 8)])
def test_mutated_saved_models(mutation: Mutation, rounds: int, tmp_path: Path):
    fuzz(random.Random(mutation.__name__), rounds, mutation, hub(), tmp_path)


def fuzz(rng: random.Random, rounds: int, mutation: Mutation, files: Contents, folder: Path) -> int:
    """Read mutated files; how many were refused."""
    for name, content in files.items():
        (folder / name).write_bytes(content)
    size = sum(map(len, files.values()))
    refused = 0
    for number in range(rounds):
        mutated = mutation(rng, files)
        # Tracing makes reading five times as slow.
        with traced(MAX_MEMORY + 4 * size) if number % 8 == 0 else nullcontext():
            read = read_mutated(folder, files, mutated)
        if read is None:
            refused += 1
        else:
            assert sum(array.nbytes for array in read.values()) <= 2 * size
    return refused


@contextmanager
def traced(limit: int) -> Iterator[None]:
    """Fail if more than `limit` bytes are in use at any time."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()
