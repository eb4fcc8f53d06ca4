"""Damage that once ended in a traceback, or took memory or time without bound: one function each.

Each takes a good file, as `kinds.py` makes it, and gives the damaged one. They stay, so that what
was mended stays so.
"""

from __future__ import annotations

import io
import os
import struct
import tarfile
from collections.abc import Callable

Damage = Callable[[bytes], bytes]


def replaced(old: bytes, new: bytes) -> Damage:
    """The first occurrence of some bytes is something else."""

    def damage(data: bytes) -> bytes:
        assert old in data
        return data.replace(old, new, 1)

    return damage


def swollen_tensor(data: bytes) -> bytes:
    """A computed tensor of a .tflite file states a million times its rows: 4 GB."""
    from movinet.runtime.engines.tflite_file import parse_tflite

    graph = parse_tflite(data, "x")
    for operation in graph.operations:
        shape = graph.tensors[operation.outputs[0]].shape
        stated = struct.pack(f"<{len(shape) + 1}i", len(shape), *shape)
        if operation.kind == "CONV_2D" and stated in data:
            wrong = struct.pack("<2i", len(shape), 1 << 20) + stated[8:]
            return data.replace(stated, wrong, 1)
    raise AssertionError


def empty_weights(data: bytes) -> bytes:
    """A buffer of a .tflite file says that it has no bytes."""
    from movinet.runtime.engines.tflite_file import parse_tflite

    graph = parse_tflite(data, "x")
    largest = max((t.data for t in graph.tensors if t.data is not None), key=len)
    at = data.index(largest.tobytes()) - 4
    return data[:at] + bytes(4) + data[at + 4 :]


def wrong_name(data: bytes) -> bytes:
    """A name in the directory of a zip archive is said to be UTF-8 and is not."""
    changed = bytearray(data)
    at = data.rfind(b"PK\x01\x02")
    changed[at + 9] |= 8
    changed[at + 46] = 0xFF
    return bytes(changed)


def axis_out_of_range(data: bytes) -> bytes:
    """The graph of a .pt2 file takes the mean over axis 7 of 4."""
    old, new = b'{"as_ints": [2, 3]}', b'{"as_ints": [2, 7]}'
    return _stored_anew(data, old, new)


def _stored_anew(data: bytes, old: bytes, new: bytes) -> bytes:
    """A zip archive in which the bytes of a member are others, with a checksum that fits."""
    import zipfile

    found, buffer = False, io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(buffer, "w") as target:
        for info in source.infolist():
            content = source.read(info)
            found |= old in content
            target.writestr(info.filename, content.replace(old, new))
    assert found
    return buffer.getvalue()


def padded_archive(data: bytes) -> bytes:
    """Beside its checkpoint an archive has 100 MB of zeros that are called like another's data."""
    buffer = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(data)) as source,
        tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as target,
    ):
        for member in source:
            target.addfile(member, source.extractfile(member) if member.isreg() else None)
        pads = {"inner/pad": os.urandom(4 << 20), "inner/x.data-00000-of-00001": bytes(100 << 20)}
        for name, content in pads.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            target.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def endless_member(data: bytes) -> bytes:
    """An archive of a few bytes whose first header states 2^70: tarfile would read on for ever."""
    del data
    info = tarfile.TarInfo("readme")
    info.size = 1 << 70
    return info.tobuf(tarfile.GNU_FORMAT) + bytes(1024)


def first_packet(data: bytes) -> bytes:
    """The first packet of a video is no picture."""
    import av

    with av.open(io.BytesIO(data), "r") as container:
        packet = next(packet for packet in container.demux(video=0) if packet.size)
        at, size = packet.pos, packet.size
    assert at is not None
    return data[: at + 20] + b"\xff" * (size - 30) + data[at + size - 10 :]


def odd_float(data: bytes) -> bytes:
    """The frame rate of a record is a number of 64 bits; the checksum of its length still fits."""
    at = data.index(b"image/frame_rate") + 16
    assert data[at : at + 6] == b"\x12\x08\x12\x06\x0a\x04"
    return data[:at] + b"\x12\x08\x12\x06\x08\xff\xff\xff\xff\x7f" + data[at + 10 :]


#: kind -> what once went wrong with it
ONCE: dict[str, tuple[Damage, ...]] = {
    "tflite": (swollen_tensor, empty_weights, replaced(b"pool_weight", b"pool\xb0weight")),
    "tflite-hub": (swollen_tensor,),
    "openvino": (replaced(b"quantization", b"\xe7uantization"),),
    "torch-export": (wrong_name, axis_out_of_range),
    "archive": (padded_archive, endless_member),
    "yaml": tuple(
        replaced(b"\nengine:", f"\nother: {text}\nengine:".encode())
        for text in ("!!bool x", "!!timestamp x", "!!int ''", "!!float ''", "!!set [a]")
    ),
    "mkv": (first_packet,),
    "tfrecord": (odd_float,),
    "kinetics": (replaced(b"train\n", "\u202e\x07train\n".encode()),),
}
