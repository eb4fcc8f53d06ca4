"""The object graph in a TensorFlow checkpoint: which variable belongs to which Python object.

It is a protobuf message, TrackableObjectGraph (tensorflow/core/protobuf/trackable_object_graph
.proto): nodes, each with named children (a tree by which `tf.train.Checkpoint` finds its variables)
and with attributes (the tensors).
"""

from __future__ import annotations

from collections.abc import Iterable

from movinet.checkpoints.keys import SUFFIX
from movinet.checkpoints.wire import (
    FormatError,
    bytes_field,
    content,
    number_field,
    read_fields,
    shown,
    text,
)

#: The checkpoint's key that holds the graph.
GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"
_ATTRIBUTE = SUFFIX.rsplit("/", 1)[1]

# Field numbers of the messages.
_NODES = 1  # TrackableObjectGraph
_CHILDREN, _ATTRIBUTES, _HAS_VALUES = 1, 2, 5  # TrackableObject
_NODE_ID, _LOCAL_NAME = 1, 2  # ObjectReference
_NAME, _FULL_NAME, _KEY = 1, 2, 3  # SerializedTensor


def read_names(graph: bytes) -> dict[str, str]:
    """The variables' own names.

    Args:
        graph: A serialized graph.

    Returns:
        Checkpoint key -> name, such as ``block0_layer0/bneck/feature/conv2d/bn/gamma``, of those
        that have one.

    Raises:
        FormatError: If the graph is damaged.
    """
    names: dict[str, str] = {}
    for number, node in read_fields(graph):
        if number != _NODES:
            continue
        for field, value in read_fields(content(node)):
            if field != _ATTRIBUTES:
                continue
            attribute = dict(read_fields(content(value)))
            key = text(attribute.get(_KEY, b""))
            name = text(attribute.get(_FULL_NAME, b""))
            if name and names.setdefault(key, name) != name:
                raise FormatError(f"tensor {shown(key)} has two names in the object graph")
    return names


def write_graph(keys: Iterable[str]) -> bytes:
    """The graph of objects that key paths describe: one child for each component.

    Args:
        keys: Checkpoint keys, each ``component/.../component`` + `keys.SUFFIX`.
    """
    children: list[dict[str, int]] = [{}]
    attributes: dict[int, str] = {}
    for key in keys:
        node = 0
        for name in key.removesuffix(SUFFIX).split("/"):
            if name not in children[node]:
                children[node][name] = len(children)
                children.append({})
            node = children[node][name]
        attributes[node] = key
    return b"".join(
        bytes_field(_NODES, _node(below, attributes.get(node)))
        for node, below in enumerate(children)
    )


def _node(children: dict[str, int], key: str | None) -> bytes:
    node = b"".join(
        bytes_field(_CHILDREN, number_field(_NODE_ID, child) + bytes_field(_LOCAL_NAME, name))
        for name, child in children.items()
    )
    if key is not None:
        name = key.removesuffix(SUFFIX)
        node += bytes_field(
            _ATTRIBUTES,
            bytes_field(_NAME, _ATTRIBUTE) + bytes_field(_FULL_NAME, name) + bytes_field(_KEY, key),
        )
    # A BoolValue: whether this node or one below it has values; here each has.
    return node + bytes_field(_HAS_VALUES, number_field(1, 1))
