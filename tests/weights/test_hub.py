import re
from collections.abc import Callable
from pathlib import Path

import pytest
from tensorflow_files import NUM_CLASSES, network_tensors, rebuild, unpack

from movinet.checkpoints.bundle import StoredTensor, read_index
from movinet.checkpoints.hub import is_positional, ordinary_keys
from movinet.checkpoints.keys import SUFFIX, entries
from movinet.checkpoints.object_graph import read_names
from movinet.checkpoints.sources import Files
from movinet.checkpoints.tensorflow import read_tf_checkpoint, write_tf_checkpoint
from movinet.errors import CheckpointError
from movinet.network.presets import list_models, preset_config

PRESETS = [name for name in list_models() if not name.startswith("a6")]


def stored(name: str) -> dict[str, StoredTensor]:
    """The tensors of a stored index."""
    return read_index(Files(name, {"c.index": unpack(f"{name}.index")}), "c").tensors


def hub_shapes(name: str) -> dict[str, tuple[int, ...]]:
    return {key: tensor.shape for key, tensor in stored(name).items() if is_positional(key)}


@pytest.mark.parametrize("preset", ["t0_base", "t0_stream"])
def test_reads_a_saved_model_that_keras_wrote(preset: str, tmp_path: Path):
    rebuild(preset, "saved_model", tmp_path / "variables" / "variables")
    expected = network_tensors(preset)

    read = read_tf_checkpoint(tmp_path)

    assert list(read) == list(expected)
    for key, array in expected.items():
        assert read[key].shape == array.shape
        assert read[key].tobytes() == array.tobytes()


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("preset", ["t0_base", "t0_stream"])
def test_published_order(preset: str, named: bool):
    # The same weights in both forms: the checksums tell which tensor is which.
    hub, ordinary = stored(f"{preset}_hub"), stored(f"{preset}_hub_ckpt")
    names = read_names(unpack(f"{preset}_hub.graph")) if named else {}

    keys = ordinary_keys(hub_shapes(f"{preset}_hub"), names, "hub")

    wanted = {e.tf_key for e in entries(preset_config(preset, num_classes=NUM_CLASSES))}
    assert set(keys.values()) == wanted
    assert len({tensor.checksum for tensor in hub.values()}) == len(hub)
    for position, key in keys.items():
        assert hub[position].checksum == ordinary[key].checksum


@pytest.mark.parametrize("preset", ["t0_base", "t0_stream"])
def test_positions_alone_are_enough_for_kerass_order(preset: str):
    names = read_names(unpack(f"{preset}_saved_model.graph"))
    shapes = hub_shapes(f"{preset}_saved_model")

    assert ordinary_keys(shapes, {}, "hub") == ordinary_keys(shapes, names, "hub")


def swap(names: dict[str, str], first: str, second: str) -> dict[str, str]:
    a, b = f"{first}{SUFFIX}", f"{second}{SUFFIX}"
    return {**names, a: names[b], b: names[a]}


@pytest.mark.parametrize(
    ("preset", "first", "second", "belongs"),
    [
        ("t0_base", "trainable_variables/1", "trainable_variables/2", "stem.norm.weight"),
        ("t0_base", "variables/3", "variables/4", "stem.norm.running_mean"),
        ("t0_base", "trainable_variables/19", "trainable_variables/36", "block0_layer0.scale"),
        ("t0_stream", "trainable_variables/23", "trainable_variables/26", "depthwise.norm.weight"),
        ("t0_stream", "trainable_variables/41", "trainable_variables/44", "block1_layer1.expand"),
    ],
)
def test_a_name_that_contradicts_the_position(preset: str, first: str, second: str, belongs: str):
    shapes = hub_shapes(f"{preset}_hub")
    names = swap(read_names(unpack(f"{preset}_hub.graph")), first, second)
    assert shapes[f"{first}{SUFFIX}"] == shapes[f"{second}{SUFFIX}"]

    with pytest.raises(CheckpointError, match=f"^x: {first} is called .* where .*{belongs}"):
        ordinary_keys(shapes, names, "x")


def test_names_that_tell_nothing_are_passed_over():
    shapes = hub_shapes("t0_base_hub")
    names = read_names(unpack("t0_base_hub.graph"))
    # What the reference calls the scalar of a positional encoding; and names of other makers.
    vague = {key: "scale" if shapes[key] == () else f"Variable_{len(key)}" for key in names}
    longer = {key: f"movinet/{name}:0" for key, name in names.items()}

    assert ordinary_keys(shapes, vague, "x") == ordinary_keys(shapes, names, "x")
    assert ordinary_keys(shapes, longer, "x") == ordinary_keys(shapes, names, "x")


def remove_last(shapes: dict[str, tuple[int, ...]]) -> None:
    del shapes[f"trainable_variables/217{SUFFIX}"]


def add_one(shapes: dict[str, tuple[int, ...]]) -> None:
    shapes[f"variables/314{SUFFIX}"] = (3,)


def change_one(shapes: dict[str, tuple[int, ...]]) -> None:
    shapes[f"trainable_variables/100{SUFFIX}"] = (3,)


def name_twice(shapes: dict[str, tuple[int, ...]]) -> None:
    shapes[f"variables/0{SUFFIX}"] = shapes[f"trainable_variables/0{SUFFIX}"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (remove_last, "nearest is t0_base"),
        (add_one, r"t0_base, where variables/314 has shape \(3,\), not no such tensor"),
        (change_one, r"t0_base, where trainable_variables/100 has shape \(3,\), not \("),
        (name_twice, "t0_base, which has 314 tensors, not 315"),
    ],
)
def test_says_what_fits_no_preset(
    change: Callable[[dict[str, tuple[int, ...]]], None], problem: str
):
    shapes = hub_shapes("t0_base_hub")
    change(shapes)

    with pytest.raises(CheckpointError, match=problem):
        ordinary_keys(shapes, {}, "x")


# Keras's order within a block, as export_saved_model.py of the reference's release writes it.
KERAS_ORDER = [
    r"-\d+/_expansion/",
    r"_feature/_batch_norm/",
    r"_feature/_batch_norm_temporal/",
    r"_feature/_conv/",
    r"_feature/_conv_temporal/",
    r"-\d+/_projection/",
    r"_pos_encoding/",
    r"_se_reduce/",
    r"_se_expand/",
    r"_skip/",
    r"_mobile_bottleneck/",
    r"",  # the other layers
]
KERAS_LEAVES = ["gamma", "beta", "kernel", "depthwise_kernel", "bias", "scale"]


def keras_rank(key: str) -> tuple[int, int]:
    part = next(i for i, pattern in enumerate(KERAS_ORDER) if re.search(pattern, key))
    return part, KERAS_LEAVES.index(key.removesuffix(SUFFIX).rsplit("/", 1)[1])


@pytest.mark.parametrize("preset", PRESETS)
def test_shapes_tell_the_presets_apart(preset: str):
    layers: dict[str, dict[str, tuple[int, ...]]] = {}
    for entry in entries(preset_config(preset, num_classes=400)):
        layer = re.sub(r"(blocks\.\w+|\w+)\..*", r"\1", entry.name)
        layers.setdefault(layer, {})[entry.tf_key] = entry.tf_shape
    shapes: dict[str, tuple[int, ...]] = {}
    expected: dict[str, str] = {}
    for layer in layers.values():
        statistics = [key for key in layer if "/moving_" in key]
        for key in [*sorted(layer.keys() - set(statistics), key=keras_rank), *statistics]:
            position = f"variables/{len(shapes)}{SUFFIX}"
            shapes[position], expected[position] = layer[key], key

    assert ordinary_keys(shapes, {}, "x") == expected


def test_a_damaged_object_graph_is_not_passed_over(tmp_path: Path):
    rebuild("t0_base", "saved_model", tmp_path / "variables" / "variables")
    data = tmp_path / "variables" / "variables.data-00000-of-00001"
    tensors = stored("t0_base_saved_model")
    content = bytearray(data.read_bytes())
    content[tensors["_CHECKPOINTABLE_OBJECT_GRAPH"].offset + 1000] ^= 1
    data.write_bytes(content)

    with pytest.raises(CheckpointError, match="CHECKPOINTABLE_OBJECT_GRAPH' is wrong"):
        read_tf_checkpoint(tmp_path)


def test_a_saved_model_can_become_a_checkpoint(tmp_path: Path):
    rebuild("t0_stream", "saved_model", tmp_path / "hub" / "variables" / "variables")
    tensors = read_tf_checkpoint(tmp_path / "hub")

    write_tf_checkpoint(tmp_path / "out" / "ckpt-1", tensors)

    again = read_tf_checkpoint(tmp_path / "out")
    assert all(again[key].tobytes() == tensors[key].tobytes() for key in tensors)
    assert list(again) == list(tensors)
