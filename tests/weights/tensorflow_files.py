"""Checkpoints that TensorFlow wrote: their indices are stored, their tensors follow from the keys.

Made by tools/make_tensorflow_fixtures.py. The tensors that are put together here have to match the
checksums that TensorFlow put into the index.
"""

import gzip
from pathlib import Path

import numpy as np

from movinet.checkpoints.bundle import STRING, StoredTensor, read_index
from movinet.checkpoints.keys import entries
from movinet.checkpoints.object_graph import GRAPH_KEY
from movinet.checkpoints.sources import folder
from movinet.checkpoints.wire import crc32c, mask
from movinet.network.presets import preset_config
from reference_weights import weight

DATA = Path(__file__).parent.parent / "data" / "checkpoints"
NUM_CLASSES = 7
#: What stands beside the network's tensors: counters, metrics, the optimizer's state.
_OTHERS = [np.int64(0), np.int64(1), np.float32(0), np.float32(0.001)]


def unpack(name: str) -> bytes:
    """A stored file."""
    return gzip.decompress((DATA / f"{name}.gz").read_bytes())


def network_tensors(preset: str) -> dict[str, np.ndarray]:
    """The tensors of a network, under the keys of an ordinary checkpoint."""
    config = preset_config(preset, num_classes=NUM_CLASSES)
    tensors = {e.tf_key: weight(e.tf_key, e.tf_shape) for e in entries(config)}
    return dict(sorted(tensors.items()))


def rebuild(preset: str, kind: str, prefix: Path) -> None:
    """Write the files of a checkpoint as TensorFlow wrote them.

    Args:
        preset: ``t0_base`` or ``t0_stream``.
        kind: ``ckpt`` or ``saved_model``.
        prefix: Where to.
    """
    prefix.parent.mkdir(parents=True, exist_ok=True)
    prefix.with_name(f"{prefix.name}.index").write_bytes(unpack(f"{preset}_{kind}.index"))
    stored = read_index(folder(prefix.parent), prefix.name).tensors
    values = [*network_tensors(preset).values(), *_OTHERS]
    by_checksum = {mask(crc32c(value.tobytes())): value.tobytes() for value in values}
    data = bytearray(max(tensor.offset + tensor.size for tensor in stored.values()))
    for key, tensor in stored.items():
        raw = _graph(preset, kind, tensor) if key == GRAPH_KEY else by_checksum[tensor.checksum]
        assert len(raw) == tensor.size
        data[tensor.offset : tensor.offset + tensor.size] = raw
    prefix.with_name(f"{prefix.name}.data-00000-of-00001").write_bytes(data)


def _graph(preset: str, kind: str, tensor: StoredTensor) -> bytes:
    """The object graph as a stored string: its length as a varint, a checksum of it, the bytes."""
    assert tensor.dtype == STRING
    graph = unpack(f"{preset}_{kind}.graph")
    length = len(graph)
    prefix = bytearray()
    while length >= 128:
        prefix.append(length % 128 + 128)
        length //= 128
    prefix.append(length)
    checksum = mask(crc32c(len(graph).to_bytes(4, "little")))
    return bytes(prefix) + checksum.to_bytes(4, "little") + graph
