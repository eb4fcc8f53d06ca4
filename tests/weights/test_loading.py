"""Models from files of every form, and what is said of files that do not fit."""

import gzip
import os
import subprocess
import sys
import tarfile
import unittest.mock
from pathlib import Path

import numpy as np
import pytest
import torch
from preset_tensors import tensors_of
from tensorflow_files import rebuild

import movinet
from movinet.checkpoints.identify import identify
from movinet.checkpoints.keys import entries
from movinet.errors import CheckpointError, ConfigError
from movinet.labels import load_labels
from movinet.network.config import InputSpec
from movinet.network.ensemble import Ensemble
from movinet.network.model import MoViNet
from movinet.network.presets import list_models, preset_config
from movinet.torch_runtime import wrap
from movinet.weights.factory import load_model
from movinet.weights.layouts import tf_to_torch, torch_to_tf
from movinet.weights.saving import save_weights
from networks import TINY, make_model, make_video, tiny_base, tiny_stream
from reference_weights import video as reference_video

DATA = Path(__file__).parent.parent / "data" / "checkpoints"
SPEC = InputSpec(32, 36, 5, 10)


@pytest.mark.parametrize("form", ["ckpt", "saved_model"])
@pytest.mark.parametrize("preset", ["t0_base", "t0_stream"])
def test_tensorflows_own_files_give_its_outputs(preset: str, form: str, tmp_path: Path) -> None:
    prefix = tmp_path / "variables" / "variables" if form == "saved_model" else tmp_path / "ckpt-1"
    prefix.parent.mkdir(exist_ok=True)
    rebuild(preset, form, prefix)
    loaded = load_model(None, tmp_path)
    assert loaded.info.name == loaded.preset == preset
    assert isinstance(loaded.model, MoViNet)
    assert loaded.model.config.num_classes == 7
    video = torch.from_numpy(reference_video((1, 5, 64, 64, 3))).permute(0, 4, 1, 2, 3)
    with np.load(DATA / "logits.npz") as data, torch.no_grad():
        expected = data[preset].reshape(1, 7)
        found = loaded.model(video).numpy()
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("preset", [name for name in list_models() if name != "a6_base"])
def test_every_preset_is_told_from_its_tensors(preset: str) -> None:
    config = preset_config(preset, num_classes=9)
    for names in (
        {e.tf_key: e.tf_shape for e in entries(config)},
        {e.name: e.shape for e in entries(config)},
    ):
        assert identify(names, "file") == (config, preset)


@pytest.mark.parametrize(
    ("preset", "overrides"),
    [
        ("a0_base", {"se_type": "none"}),
        ("a0_base", {"se_type": "2plus3d"}),
        ("a0_stream", {"positional_encoding": True}),
        ("a1_stream", {"factorized": False}),
        ("a2_stream", {"se_type": "3d"}),
    ],
)
def test_variants_are_told_from_their_tensors(preset: str, overrides: dict[str, object]) -> None:
    config = preset_config(preset, num_classes=3, **overrides)
    found, name = identify({e.name: e.shape for e in entries(config)}, "file")
    assert name is None
    assert list(entries(found)) == list(entries(config))


def test_all_forms_give_the_same_model(tmp_path: Path) -> None:
    tensors = tensors_of("t0_stream")
    movinet.write_tf_checkpoint(tmp_path / "ckpt-1", tensors)
    model = movinet.create_model("t0_stream", weights=tmp_path)
    video = make_video(1, 2)
    expected = model(video)
    torch.save(model.state_dict(), tmp_path / "plain.pt")
    torch.save({"state_dict": model.state_dict(), "x": {}}, tmp_path / "nested.pth")
    save_weights(
        tmp_path / "ours.safetensors", model.state_dict(), config=model.config, input_spec=SPEC
    )
    with tarfile.open(tmp_path / "packed.tar.gz", "w:gz") as archive:
        for name in ("checkpoint", "ckpt-1.index", "ckpt-1.data-00000-of-00001"):
            archive.add(tmp_path / name, f"movinet/{name}")
    for name in ("plain.pt", "nested.pth", "ours.safetensors", "packed.tar.gz", "ckpt-1.index"):
        again = movinet.create_model("t0_stream", weights=tmp_path / name)
        assert torch.equal(again(video), expected), name
    back = torch_to_tf(model.state_dict(), model.config)
    assert all(np.array_equal(back[key], value) for key, value in tensors.items())


def test_half_precision_files_load_as_float32(tmp_path: Path) -> None:
    model = make_model(tiny_stream()).half()
    save_weights(
        tmp_path / "x.safetensors", model.state_dict(), config=model.config, input_spec=SPEC
    )
    loaded = load_model(None, tmp_path / "x.safetensors").model
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}


def test_our_files_bring_everything(tmp_path: Path) -> None:
    """Config, labels, input and origin survive, also those that no preset has."""
    model = make_model(tiny_stream(head_activation="relu6", dropout=0.1))
    labels = [f"label {i}" for i in range(7)]
    path = tmp_path / "mine.safetensors"
    save_weights(
        path,
        model.state_dict(),
        config=model.config,
        input_spec=SPEC,
        labels=labels,
        origin="a test",
    )
    loaded = load_model(None, path)
    assert isinstance(loaded.model, MoViNet)
    assert loaded.model.config == model.config
    assert loaded.model.config.architecture == TINY
    assert (loaded.info.input, loaded.info.labels) == (SPEC, tuple(labels))
    assert (loaded.info.name, loaded.info.origin) == ("mine", "a test")
    assert loaded.info.notes == ()
    video = make_video()
    assert torch.equal(loaded.model(video), model(video))


def test_head_activation_comes_from_the_preset_and_is_noted(tmp_path: Path) -> None:
    movinet.write_tf_checkpoint(tmp_path / "ckpt-1", tensors_of("t0_stream"))
    loaded = load_model(None, tmp_path)
    assert isinstance(loaded.model, MoViNet)
    assert loaded.model.config.head_activation == "hard_swish"
    (note,) = [note for note in loaded.info.notes if "hidden layer" in note]
    assert "taken as hard_swish, as in t0_stream; head_activation (--head-activation)" in note
    other = load_model(None, tmp_path, head_activation="swish")
    assert isinstance(other.model, MoViNet)
    assert other.model.config.head_activation == "swish"
    assert not any("hidden layer" in note for note in other.info.notes)
    video = make_video(1, 2)
    assert not torch.allclose(loaded.model(video), other.model(video))


def test_mismatches_are_listed_and_the_fitting_preset_named(tmp_path: Path) -> None:
    tensors = tensors_of("t0_base")
    prefix = tmp_path / "ckpt-1"
    movinet.write_tf_checkpoint(prefix, tensors)
    with pytest.raises(CheckpointError, match=r"missing: .*they fit t0_base with 5 classes"):
        movinet.create_model("a0_base", weights=prefix)
    with pytest.raises(CheckpointError, match="5 classes, not 600; give pretrained=True"):
        movinet.create_model("t0_base", 600, weights=prefix)
    key = next(iter(tensors))
    for change, message in (
        ({key: None}, f"1 missing: {key.removesuffix('/.ATTRIBUTES/VARIABLE_VALUE')}"),
        ({key.replace("weights-0/_", "weights-0/_x"): tensors[key]}, "1 left over"),
        ({key: np.zeros((3, 9), np.float32)}, "1 wrong shape: .* is \\[3, 9\\], not \\["),
    ):
        changed = {k: v for k, v in {**tensors, **change}.items() if v is not None}
        movinet.write_tf_checkpoint(prefix, changed)
        with pytest.raises(CheckpointError, match=f"nearest is t0_base: {message}"):
            load_model(None, prefix)


def test_labels(tmp_path: Path) -> None:
    movinet.write_tf_checkpoint(tmp_path / "ckpt-1", tensors_of("t0_base", 400))
    assert load_model(None, tmp_path).info.labels == load_labels("kinetics-400")
    with pytest.raises(ConfigError, match="2 labels for 400 classes"):
        load_model(None, tmp_path, labels=["a", "b"])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.safetensors", b"nothing", "not a readable .safetensors"),
        ("x.safetensors", b"\xff" * 200, "not a readable .safetensors"),
        ("x.pt", b"nothing", "cannot be loaded as tensors only"),
        ("x.pt", b"", "cannot be loaded as tensors only"),
        ("x.tar.gz", b"nothing", "x.tar.gz"),
        ("x.tar.gz", gzip.compress(b"nothing", mtime=0), "x.tar.gz"),
        ("x.txt", b"nothing", "x.txt"),
        ("X.SAFETENSORS", b"nothing", "not a readable .safetensors"),
    ],
)
def test_broken_files(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_model(None, tmp_path / name)
    assert "\n" not in str(caught.value)


def test_missing_files_and_names() -> None:
    with pytest.raises(CheckpointError, match="no such file; weights are kinetics-600"):
        load_model("a0_base", "nowhere")
    with pytest.raises(ConfigError, match="published for several models"):
        load_model(None, "kinetics-600")
    with pytest.raises(ConfigError, match="name a model"):
        load_model(None)
    with pytest.raises(ConfigError, match="name a model"):
        movinet.create_model(None)  # pyright: ignore[reportArgumentType, reportCallIssue]
    with pytest.raises(ConfigError, match="no model '7'"):
        load_model(7, "somewhere")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigError, match="did you mean a0_stream"):
        movinet.create_model("a0_steam")
    with pytest.raises(ConfigError, match="ensemble of a4_base and a5_base"):
        load_model("a6_base", "some/file")


def test_names_that_no_file_can_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line each; a pipe is not waited for, and the empty name is not the current folder."""
    movinet.write_tf_checkpoint(tmp_path / "ckpt-1", tensors_of("t0_base"))
    monkeypatch.chdir(tmp_path)
    for name in ("pipe", "pipe.pt", "pipe.safetensors"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(CheckpointError, match="is neither a file nor a folder"):
            load_model(None, tmp_path / name)
    for name, message in (
        ("", "'': an empty name"),
        ("x" * 300, "cannot be read: File name too long"),
        ("/dev/null", "neither a file"),
        ("a\0b", "no such file"),
    ):
        with pytest.raises(CheckpointError, match=message) as caught:
            load_model("t0_base", name)
        assert str(caught.value).isprintable()


def test_numbers_of_classes(tmp_path: Path) -> None:
    for bad in (0, -1, True, 2.0, "3"):
        with pytest.raises(ConfigError, match="num_classes must be a positive integer"):
            movinet.create_model("t0_base", bad)  # pyright: ignore[reportArgumentType, reportCallIssue]
    movinet.write_tf_checkpoint(tmp_path / "ckpt-1", tensors_of("t0_base"))
    for weights in (None, tmp_path):
        model = movinet.create_model("t0_base", np.int64(5), weights)  # pyright: ignore
        assert type(model.config.num_classes) is int
        assert not model.training
    many = {"classifier.bias": torch.zeros(1).expand(100_000).contiguous()}
    torch.save(many, tmp_path / "many.pt")
    with pytest.raises(CheckpointError, match="100000 classes are more than"):
        load_model("t0_base", tmp_path / "many.pt")


def test_integers_of_tensorflow_are_no_weights(tmp_path: Path) -> None:
    tensors = tensors_of("t0_base")
    key = next(key for key in tensors if "/_classifier/_conv/bias" in key)
    tensors[key] = tensors[key].astype(np.int32)
    movinet.write_tf_checkpoint(tmp_path / "ckpt-1", tensors)
    with pytest.raises(CheckpointError, match=r"_classifier/_conv/bias.* is int32"):
        load_model("t0_base", tmp_path)


def test_prefixes_of_wrappers_are_left_out(tmp_path: Path) -> None:
    import safetensors.torch

    model = make_model("t0_stream")
    video = make_video(1, 1)
    for prefix in ("module.", "_orig_mod.", "module._orig_mod."):
        state = {prefix + name: value for name, value in model.state_dict().items()}
        torch.save(state, tmp_path / "x.pt")
        safetensors.torch.save_file(state, tmp_path / "x.safetensors")
        for name in ("x.pt", "x.safetensors"):
            assert torch.equal(load_model(None, tmp_path / name).model(video), model(video))
    state["more"] = torch.zeros(1)
    torch.save(state, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="fit no known network"):
        load_model(None, tmp_path / "x.pt")


def test_variants_are_named_by_their_overrides(tmp_path: Path) -> None:
    """What is printed can be typed, and loads the file."""
    overrides = {"se_type": "3d", "positional_encoding": True}
    torch.save(make_model("t0_stream", **overrides).state_dict(), tmp_path / "x.pt")
    variant = r"t0_stream with se_type='3d', positional_encoding=True"
    with pytest.raises(CheckpointError, match=variant):
        load_model("t0_stream", tmp_path / "x.pt")
    assert (
        f"inferred from its tensors: {variant}" in load_model(None, tmp_path / "x.pt").info.notes[0]
    )
    assert load_model("t0_stream", tmp_path / "x.pt", **overrides).model


def test_overrides_count_where_a_name_and_metadata_meet(tmp_path: Path) -> None:
    model = make_model("t0_stream", se_type="3d")
    path = tmp_path / "x.safetensors"
    save_weights(path, model.state_dict(), config=model.config, input_spec=SPEC)
    loaded = load_model("t0_stream", path, se_type="3d")
    assert torch.equal(loaded.model(make_video(1, 1)), model(make_video(1, 1)))
    with pytest.raises(CheckpointError, match=r"do not fit t0_stream: .*se_type='3d'"):
        load_model("t0_stream", path)


def test_labels_given_go_before_those_of_the_file(tmp_path: Path) -> None:
    model = make_model(tiny_stream())
    path = tmp_path / "x.safetensors"
    save_weights(
        path, model.state_dict(), config=model.config, input_spec=SPEC, labels=list("abcdefg")
    )
    assert load_model(None, path).info.labels == tuple("abcdefg")
    assert load_model(None, path, labels=list("hijklmn")).info.labels == tuple("hijklmn")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_tensorflow_checkpoints_are_float32(dtype: torch.dtype) -> None:
    model = make_model("t0_base").to(dtype)
    own = dict(model.named_parameters()) | dict(model.named_buffers())  # with gradients
    tensors = torch_to_tf(own, model.config)
    assert {value.dtype for value in tensors.values()} == {np.dtype(np.float32)}
    back = tf_to_torch(tensors, model.config)
    assert all(torch.equal(back[n], v.float()) for n, v in own.items() if v.is_floating_point())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_runtimes_take_models_of_any_type(dtype: torch.dtype) -> None:
    model = make_model(tiny_stream()).to(dtype)
    runtime = wrap(model, list("abcdefg"), SPEC)
    exact = wrap(make_model(tiny_stream()), list("abcdefg"), SPEC)
    frames = make_video(1, 3)[0].permute(1, 2, 3, 0).numpy()
    image = (255 * frames[0]).astype(np.uint8)
    for found, expected in (
        (runtime.clip_logits(frames), exact.clip_logits(frames)),
        (runtime.stream()(image), exact.stream()(image)),
    ):
        assert found.dtype == np.float32
        assert np.abs(found - expected).max() < 0.1 * np.abs(expected).max()


def test_runtimes_refuse_what_gives_no_prediction_of_a_clip() -> None:
    labels = list("abcdefg")
    for pooling in ("2d", "none"):
        model = make_model(tiny_base(pooling=pooling))
        with pytest.raises(ConfigError, match=f"pooling='{pooling}'.*many a clip"):
            wrap(model, labels, SPEC)
        with pytest.raises(ConfigError, match="many a clip"):
            wrap(Ensemble([model], [SPEC]), labels)
    model = make_model(tiny_base(pooling="2d", multi_label_pooling=True))
    frames = make_video(1, 3)[0].permute(1, 2, 3, 0).numpy()
    assert wrap(model, labels, SPEC).clip_logits(frames).shape == (7,)
    with pytest.raises(ConfigError, match="wrap takes a MoViNet or an Ensemble, not Linear"):
        wrap(torch.nn.Linear(2, 2), labels, SPEC)  # pyright: ignore[reportArgumentType]


def test_save_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model(tiny_stream())
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"before")

    full = OSError(28, "No space left on device")
    monkeypatch.setattr(Path, "write_bytes", unittest.mock.Mock(side_effect=full))
    with pytest.raises(CheckpointError, match="No space left"):
        save_weights(path, model.state_dict(), config=model.config, input_spec=SPEC)
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]
    assert path.read_bytes() == b"before"
    with pytest.raises(CheckpointError, match="1 labels for 7"):
        save_weights(path, {}, config=model.config, input_spec=SPEC, labels=["a"])


def test_loading_brings_in_no_compiler(tmp_path: Path) -> None:
    """PyTorch's meta device would: its graph half takes a second to import."""
    model = make_model(tiny_stream())
    path = tmp_path / "x.safetensors"
    save_weights(path, model.state_dict(), config=model.config, input_spec=SPEC)
    code = (
        "import sys; from movinet.weights.factory import load_model;"
        f"load_model(None, {str(path)!r}); print('sympy' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("notes.txt", b"hello", "no file of weights: these are .safetensors"),
        ("short.safetensors", b"no", "damaged, cut off, or another kind of file"),
        ("text.safetensors", b"some text", "damaged, cut off, or another kind of file"),
        (
            "cut.safetensors",
            b"\x10" + bytes(7) + b"{}",
            "damaged, cut off, or another kind of file",
        ),
    ],
)
def test_what_is_no_file_of_weights_is_told(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        load_model(None, str(tmp_path / name))
