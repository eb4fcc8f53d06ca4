"""State dicts of MoViNet-pytorch: which networks they are of, and which are refused."""

import dataclasses
import os
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from ported_networks import (
    SIZES,
    expected_model,
    ported_config,
    ported_shapes,
    ported_state,
)
from torch import Tensor
from typer.testing import CliRunner

import movinet
import movinet.network.convolution
import movinet.network.layers
from movinet.checkpoints.keys import entries
from movinet.checkpoints.movinet_pytorch import port_names, recognise
from movinet.cli import build_app
from movinet.errors import CheckpointError
from movinet.network.model import MoViNet
from movinet.network.presets import input_spec
from movinet.weights.factory import load_model
from networks import make_video

KINDS = [(causal, factorized) for causal in (False, True) for factorized in (False, True)]
BASE = ported_state(ported_shapes(ported_config("a0", causal=False, factorized=False)))
STREAM = ported_state(ported_shapes(ported_config("a0", causal=True, factorized=True)))


def keras_hard_sigmoid(x: Tensor) -> Tensor:
    return (0.2 * x + 0.5).clamp(0, 1)


def activate_as_there(x: Tensor, name: str) -> Tensor:
    """Our activations, but its hard sigmoid."""
    return (
        keras_hard_sigmoid(x)
        if name == "hard_sigmoid"
        else movinet.network.convolution.activate(x, name)
    )


def saved(state: Any, path: Path) -> Path:
    torch.save(state, path)
    return path


def network_of(path: Path, **options: Any) -> MoViNet:
    model = load_model(None, path, **options).model
    assert isinstance(model, MoViNet)
    return model


@pytest.mark.parametrize(("causal", "factorized"), KINDS)
@pytest.mark.parametrize("size", SIZES)
def test_every_name_is_one_of_our_tensors(size: str, causal: bool, factorized: bool) -> None:
    config = ported_config(size, causal=causal, factorized=factorized, classes=9)
    shapes = ported_shapes(config)
    counted = {name for name in shapes if name.endswith("num_batches_tracked")}
    table = dict(port_names(config))
    assert table.keys() == shapes.keys() - counted
    assert len(table) == len({entry.name for entry in table.values()})
    assert list(table.values()) == list(entries(config))
    found = recognise(shapes, "file")
    assert found.config == config
    assert found.preset == f"{size}_{'stream' if causal else 'base'}"
    assert dict(found.names) == table


@pytest.mark.parametrize(("causal", "factorized"), KINDS)
def test_the_network_computes_what_theirs_does(
    causal: bool, factorized: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = ported_config("a0", causal=causal, factorized=factorized)
    state = ported_state(ported_shapes(config))
    for name in state:  # gates that are shut, open, and between
        if ".se.fc2." in name and name.endswith("weight"):
            state[name] *= 8
    loaded = load_model(None, saved(state, tmp_path / "theirs.pth"))
    assert isinstance(loaded.model, MoViNet)
    video = make_video(1, 3)
    found = loaded.model(video)
    monkeypatch.setattr(movinet.network.layers, "activate", activate_as_there)
    expected = expected_model(state, config)(video)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert loaded.model.config == config
    preset = f"a0_{'stream' if causal else 'base'}"
    assert loaded.preset == loaded.info.name == preset
    assert loaded.info.input == input_spec(preset)


def test_what_tensors_do_not_say_is_noted(tmp_path: Path) -> None:
    notes = load_model("a0_base", saved(BASE, tmp_path / "x.pt")).info.notes
    assert [note for note in notes if "tf_like=False" in note and "predicts wrongly" in note]
    assert not [note for note in notes if "other than the preset" in note]
    assert not [note for note in notes if "hidden layer" in note]  # theirs is always swish
    config = ported_config("a3", causal=True, factorized=True)
    (note,) = [n for n in recognise(ported_shapes(config), "x").notes if "other than" in n]
    assert note == "other than the preset a3_stream, this network has positional_encoding=False"


def wrapped(prefix: str) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in BASE.items()}


def before_july_2021() -> dict[str, Tensor]:
    """The names of its first two sets of weights."""
    state = {}
    for name, value in BASE.items():
        name = name.replace(".conv_1", "")
        plain = name.startswith("classifier.") or ".se." in name
        state[name.replace(".conv3d", "") if plain else name] = value
    return state


def with_another_last_layer() -> dict[str, Tensor]:
    """As its tutorial replaces the last layer by a plain convolution."""
    state = dict(STREAM)
    weight = state.pop("classifier.3.conv_1.conv2d.weight")
    state["classifier.3.weight"] = weight.reshape(*weight.shape, 1)
    state["classifier.3.bias"] = state.pop("classifier.3.conv_1.conv2d.bias")
    return state


@pytest.mark.parametrize(
    ("make", "original"),
    [
        (lambda: {"state_dict": wrapped("module.")}, BASE),
        (lambda: {"model_state_dict": wrapped("_orig_mod.module."), "epoch": 3}, BASE),
        (lambda: {"model_state": wrapped("backbone.model.")}, BASE),
        (before_july_2021, BASE),
        (with_another_last_layer, STREAM),
        (lambda: {name: value.half() for name, value in BASE.items()}, None),
    ],
)
def test_other_forms_are_the_same_network(
    make: Callable[[], Any], original: dict[str, Tensor] | None, tmp_path: Path
) -> None:
    found = network_of(saved(make(), tmp_path / "x.pth")).state_dict()
    if original is None:
        original = {name: value.half().float() for name, value in BASE.items()}
    expected = network_of(saved(original, tmp_path / "y.pth")).state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)


@pytest.mark.parametrize("name", ["modelA0_statedict_v3", "checkpoint.pth.tar", "weights.th"])
def test_files_are_known_by_their_first_bytes(name: str, tmp_path: Path) -> None:
    assert load_model(None, saved(BASE, tmp_path / name)).info.name == "a0_base"


def test_safetensors_of_theirs(tmp_path: Path) -> None:
    safetensors.torch.save_file(BASE, tmp_path / "x.safetensors")
    assert load_model(None, tmp_path / "x.safetensors").preset == "a0_base"


def changed(state: dict[str, Tensor], **changes: Tensor | None) -> dict[str, Tensor]:
    """A state dict with keys (dots written as __) replaced, added, or gone."""
    state = dict(state)
    for name, value in changes.items():
        key = name.replace("__", ".")
        if value is None:
            del state[key]
        else:
            state[key] = value
    return state


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (
            changed(BASE, conv1__conv_1__conv3d__weight=None),
            r"nearest is a0_base: 1 missing: conv1",
        ),
        (changed(BASE, conv1__conv_1__conv3d__bias=torch.zeros(8)), "1 left over: conv1.conv_1"),
        (changed(BASE, blocks__b9_l0__alpha=torch.zeros(())), "1 left over: blocks.b9_l0.alpha"),
        (
            changed(BASE, blocks__b1_l0__alpha=torch.zeros(2)),
            r"1 wrong shape: .* is \[2\], not \[\]",
        ),
        (
            changed(BASE, conv7__conv_1__conv3d__weight=torch.zeros(480, 104, 3, 1, 1)),
            r"1 wrong shape: conv7\S+ is \[480, 104, 3, 1, 1\], not \[480, 104, 1, 1, 1\]",
        ),
        (changed(BASE, classifier__0__conv_1__conv3d__bias=None), "1 missing: classifier.0"),
        (changed(BASE, conv7__conv_1__conv2d__weight=torch.zeros(1)), "some with conv2d and some"),
        (changed(BASE, conv1__conv3d__weight=torch.zeros(1)), "name the same tensor"),
        (
            {**BASE, **{f"ema.{k}": v for k, v in BASE.items()}},
            r"several networks \(prefixes none, ",
        ),
        (
            changed(BASE, classifier__3__conv_1__conv3d__bias=torch.zeros(70_000)),
            "70000 classes are more than",
        ),
        # Squeeze-excitation of a stream in a base network.
        ({**BASE, **{k: v for k, v in STREAM.items() if "fc1" in k}}, "some with conv2d and some"),
        (changed(BASE, conv1__conv_1__norm__bias=torch.zeros(8, dtype=torch.int64)), "is int64"),
        (changed(BASE, conv1__conv_1__norm__bias=torch.zeros(1).expand(8)), "8. values in 4 bytes"),
    ],
)
def test_damaged_and_mixed_ones_are_refused(
    state: dict[str, Tensor], message: str, tmp_path: Path
) -> None:
    path = saved(state, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=message) as caught:
        load_model(None, path)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).isprintable()


def test_mixed_kernels_of_base_and_stream_are_refused(tmp_path: Path) -> None:
    """The same names, half of them with the shapes of the other network."""
    causal = ported_state(ported_shapes(ported_config("a0", causal=True, factorized=False)))
    state = {k: causal[k] if k.startswith("blocks.b3") else v for k, v in BASE.items()}
    with pytest.raises(CheckpointError, match=r"nearest is a0_base: 12 wrong shape: blocks.b3_l0"):
        load_model(None, saved(state, tmp_path / "x.pth"))


def test_the_name_of_another_model_is_refused(tmp_path: Path) -> None:
    path = saved(BASE, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"do not fit a1_base: .*; they fit a0_base with 5"):
        movinet.create_model("a1_base", weights=path)
    with pytest.raises(CheckpointError, match="do not fit a0_stream"):
        movinet.create_model("a0_stream", weights=path)
    with pytest.raises(CheckpointError, match="have 5 classes, not 6"):
        movinet.create_model("a0_base", weights=path, num_classes=6)


def test_convert_writes_the_network_with_all_that_is_known(tmp_path: Path) -> None:
    source, target = saved(STREAM, tmp_path / "theirs.pth"), tmp_path / "mine.safetensors"
    result = CliRunner().invoke(build_app(), ["convert", str(source), str(target)])
    assert result.exit_code == 0, result.output
    assert "tf_like" in result.stderr
    loaded = load_model(None, target)
    assert isinstance(loaded.model, MoViNet)
    assert loaded.model.config == ported_config("a0", causal=True, factorized=True)
    assert "MoViNet-pytorch with tf_like=True" in loaded.info.origin
    video = make_video(1, 2)
    assert torch.equal(loaded.model(video), network_of(source)(video))


class _Settings:
    """What a training program pickles beside the weights."""

    def __init__(self) -> None:
        self.embed_dim = 512


def smoothed_checkpoint(
    path: Path, backbone: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch, module: str
) -> Path:
    """A file as the GRW-smoothing project saves it, its classes pickled by name."""
    backbone = {k: v for k, v in backbone.items() if not k.startswith("classifier.")}
    head = {
        "ln.weight": torch.ones(512),
        "attention.transformer.layers.0.1.in_proj_weight": torch.zeros(1536, 512),
        "attention.linear_head.weight": torch.zeros(600, 512),
    }
    encoder = {**backbone, "classifier.weight": torch.zeros(512, 480)}
    state = {**{f"video_backbone._encoder.{k}": v for k, v in encoder.items()}, **head}
    other = {k: v + 1 if v.is_floating_point() else v for k, v in state.items()}
    pickled = type("TransformerParams", (_Settings,), {"__module__": module})
    fake = types.ModuleType(module)
    fake.TransformerParams = pickled  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, module, fake)
        for parent in ("grw_smoothing_models", "grw_smoothing_models.model"):
            patch.setitem(sys.modules, parent, types.ModuleType(parent))
        snapshot = {
            "model_state": other,
            "ema_weights": {
                "n_averaged": torch.tensor(5),
                **{f"module.{k}": v for k, v in state.items()},
            },
            "transformer_params": pickled(),
            "backbone": pickled,
            "T": 5,
            "version": 10,
        }
        torch.save(snapshot, path)
    return path


def test_published_backbones_of_the_smoothing_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = "grw_smoothing_models.model.attention"
    path = smoothed_checkpoint(tmp_path / "a0s_grw.pt", STREAM, monkeypatch, module)
    loaded = load_model("a0_stream", path, num_classes=6)
    assert isinstance(loaded.model, MoViNet)
    assert loaded.model.config.num_classes == 6
    assert "classifier" in loaded.assumed
    notes = "\n".join(loaded.info.notes)
    assert "only a backbone: the classifier is random" in notes
    assert "the averaged ones (ema_weights) are taken" in notes
    assert "4 tensors beside the network were ignored: module.ln.weight, " in notes
    video = make_video(1, 2)
    whole = network_of(saved(STREAM, tmp_path / "whole.pt"))
    found, expected = loaded.model.features(video), whole.features(video)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert loaded.model.classifier.weight.std() > 0
    # The note goes along with a converted file.
    target = tmp_path / "mine.safetensors"
    result = CliRunner().invoke(build_app(), ["convert", str(path), str(target)])
    assert result.exit_code == 0, result.output
    assert [note for note in load_model(None, target).info.notes if "only a backbone" in note]


def test_other_pickled_classes_stay_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = smoothed_checkpoint(tmp_path / "x.pt", STREAM, monkeypatch, "elsewhere")
    with pytest.raises(CheckpointError, match=r"it contains elsewhere\.TransformerParams"):
        load_model(None, path)


def peer_folder() -> Path | None:
    """A checkout of MoViNet-pytorch, where there is one."""
    places = [
        Path(os.environ.get("MOVINET_PYTORCH", "")),
        Path(__file__).parents[3] / "shared" / "MoViNet-pytorch",
    ]
    return next((place for place in places if (place / "movinets" / "models.py").is_file()), None)


@pytest.fixture(scope="module")
def peer() -> Any:
    """The other port itself, by its package; it needs einops and fvcore."""
    folder = peer_folder()
    if folder is None:
        pytest.skip("MoViNet-pytorch is not here: MOVINET_PYTORCH names a checkout of it")
    for package in ("einops", "fvcore"):
        pytest.importorskip(package)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        import movinets.config  # pyright: ignore[reportMissingImports]
        import movinets.models  # pyright: ignore[reportMissingImports]

        yield movinets


@pytest.mark.nightly
@pytest.mark.parametrize(("causal", "factorized"), KINDS)
@pytest.mark.parametrize("size", SIZES)
def test_the_other_port_itself(
    peer: Any, size: str, causal: bool, factorized: bool, tmp_path: Path
) -> None:
    """Its own networks with random weights, whole clips and streams, to 1e-5."""
    their = peer.models.MoViNet(
        getattr(peer.config._C.MODEL, f"MoViNet{size.upper()}"),
        causal=causal,
        conv_type="2plus1d" if factorized else "3d",
        num_classes=11,
        tf_like=True,
    ).eval()
    config = ported_config(size, causal=causal, factorized=factorized, classes=11)
    shapes = {name: tuple(value.shape) for name, value in their.state_dict().items()}
    assert shapes == ported_shapes(config)
    their.load_state_dict(ported_state(shapes))
    model = network_of(saved(their.state_dict(), tmp_path / "theirs.pth"))
    assert dataclasses.asdict(model.config) == dataclasses.asdict(config)
    for side in (64, 75) if size == "a0" else (64,):
        video = make_video(1, 6, side, side)
        with torch.no_grad():
            expected = their(video)
            assert (model(video) - expected).abs().max() <= 1e-5 * expected.abs().max()
            if not causal:
                continue
            their.clean_activation_buffers()
            state = model.initial_state(1, (side, side))
            for span in (slice(0, 1), slice(1, 4), slice(4, 5), slice(5, 6)):
                expected = their(video[:, :, span])
                found, state = model(video[:, :, span], state)
                assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
            their.clean_activation_buffers()
