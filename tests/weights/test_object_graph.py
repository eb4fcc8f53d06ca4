import pytest
from tensorflow_files import network_tensors, unpack

from movinet.checkpoints.keys import SUFFIX
from movinet.checkpoints.object_graph import read_names, write_graph
from movinet.checkpoints.wire import FormatError, bytes_field, content, read_fields, text


def children(graph: bytes) -> list[dict[str, int]]:
    """For each node the ids of its children by name."""
    return [
        {
            text(reference[2]): int(reference.get(1, 0))
            for number, value in read_fields(content(node))
            if number == 1
            for reference in [dict(read_fields(content(value)))]
        }
        for _, node in read_fields(graph)
    ]


@pytest.mark.parametrize("preset", ["t0_base", "t0_stream"])
def test_reads_the_names_that_tensorflow_stores(preset: str):
    names = read_names(unpack(f"{preset}_ckpt.graph"))

    assert names.keys() == network_tensors(preset).keys() | {f"save_counter{SUFFIX}"}
    block = "model/layer_with_weights-0/layer_with_weights-1"
    assert names[f"{block}/_mobile_bottleneck/_rezero/scale{SUFFIX}"] == "block0_layer0/scale"
    assert len(set(names.values())) == len(names)


@pytest.mark.parametrize("preset", ["t0_base", "t0_stream"])
def test_every_path_that_we_write_exists_in_tensorflows_graph(preset: str):
    theirs, ours = children(unpack(f"{preset}_ckpt.graph")), write_graph(network_tensors(preset))
    pairs, seen = [(0, 0)], 0
    tree = children(ours)
    while pairs:
        mine, other = pairs.pop()
        seen += 1
        pairs += [(node, theirs[other][name]) for name, node in tree[mine].items()]

    assert seen == len(tree)
    assert read_names(ours) == {key: key.removesuffix(SUFFIX) for key in network_tensors(preset)}


def test_a_tensor_cannot_have_two_names():
    def node(name: str) -> bytes:
        return bytes_field(1, bytes_field(2, bytes_field(2, name) + bytes_field(3, "key")))

    assert read_names(node("a") + node("a")) == {"key": "a"}
    with pytest.raises(FormatError, match="'key' has two names"):
        read_names(node("a") + node("b"))
