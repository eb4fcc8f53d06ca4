"""Published weights, fetched from a server and kept."""

import http.server
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from preset_tensors import tensors_of

import movinet
from movinet.errors import CheckpointError, ConfigError
from movinet.labels import load_labels
from movinet.network.model import MoViNet
from movinet.network.presets import preset_config
from movinet.weights.factory import load_model
from movinet.weights.layouts import torch_to_tf
from movinet.weights.loading import read_weights
from networks import make_video


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that a local server offers as the published files."""
    folder = tmp_path / "mirror"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, directory=str(folder), **kwargs)  # type: ignore[arg-type]

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("MOVINET_BASE_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("MOVINET_HOME", str(tmp_path / "home"))
    yield folder
    server.shutdown()
    thread.join()
    server.server_close()


def publish(folder: Path, file_name: str, tensors: dict[str, np.ndarray]) -> None:
    name = file_name.removesuffix(".tar.gz")
    movinet.write_tf_checkpoint(folder / name / "ckpt-1", tensors)
    with tarfile.open(folder / file_name, "w:gz", compresslevel=1) as archive:
        archive.add(folder / name, name)


def test_published_weights(mirror: Path) -> None:
    """Fetched, converted and kept: the second time needs no server."""
    tensors = tensors_of("a0_stream", 600)
    publish(mirror, "movinet_a0_stream.tar.gz", tensors)
    loaded = load_model("a0_stream", "kinetics-600")
    assert isinstance(loaded.model, MoViNet)
    assert loaded.info.labels == load_labels("kinetics-600")
    assert "published kinetics-600 weights" in loaded.info.origin
    assert loaded.info.notes == ()
    back = torch_to_tf(loaded.model.state_dict(), loaded.model.config)
    assert all(np.array_equal(back[key], value) for key, value in tensors.items())
    (mirror / "movinet_a0_stream.tar.gz").unlink()
    again = movinet.create_model("a0_stream", weights="kinetics-600")
    video = make_video(1, 1)
    assert torch.equal(again(video), loaded.model(video))
    raw = read_weights("kinetics-600", "a0_stream")
    assert raw.metadata is not None
    assert raw.metadata.config == preset_config("a0_stream")


def test_pretrained_models_get_a_new_last_layer_for_other_classes(mirror: Path) -> None:
    publish(mirror, "movinet_a0_stream.tar.gz", tensors_of("a0_stream", 600))
    published = movinet.create_model("a0_stream", weights="kinetics-600").state_dict()
    for count in (None, 600):
        same = movinet.create_model("a0_stream", count, pretrained=True).state_dict()
        assert all(torch.equal(same[key], value) for key, value in published.items())
    model = movinet.create_model("a0_stream", pretrained=True, num_classes=5)
    assert model(make_video(1, 1)).shape == (1, 5)
    assert model.config.num_classes == 5
    assert not any(module.training for module in model.modules())
    state = model.state_dict()
    new = {key for key, value in state.items() if not torch.equal(value, published[key])}
    assert new == {"classifier.weight", "classifier.bias"}
    assert 0 < float(state["classifier.weight"].std()) < 0.02  # drawn at random, as for training
    with pytest.raises(CheckpointError, match=r"600 classes, not 5; give pretrained=True"):
        movinet.create_model("a0_stream", 5, weights="kinetics-600")


def test_pretrained_models_without_published_weights() -> None:
    with pytest.raises(ConfigError, match="t0_stream"):
        movinet.create_model("t0_stream", pretrained=True)
    with pytest.raises(ConfigError, match="must be True or False, not 'kinetics-400'"):
        movinet.create_model("a0_base", pretrained="kinetics-400")  # type: ignore[arg-type]


def test_a_published_file_with_other_classes_is_reported(mirror: Path, tmp_path: Path) -> None:
    """What a public report says of the Kinetics 400 file of A0: it is never kept."""
    publish(mirror, "movinet_a0_base_k400.tar.gz", tensors_of("a0_base", 600))
    with pytest.raises(CheckpointError, match=r"400 classes .* fit a0_base with 600 classes"):
        movinet.create_model("a0_base", weights="kinetics-400")
    assert not list((tmp_path / "home").rglob("*.safetensors"))
