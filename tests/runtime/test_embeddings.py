"""Embeddings: every format and PyTorch give those of `MoViNet.features`."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import movinet
from exported_formats import BASE, SPEC, STREAM, SUFFIXES, export, needs, noise
from movinet.errors import CheckpointError, ConfigError
from movinet.runtime.base import Runtime
from movinet.runtime.formats import FORMATS
from movinet.runtime.numbers import decay_from_half_life
from movinet.torch_runtime import wrap
from networks import make_model, tiny_stream

BOTH = ("logits", "embedding")
#: How far an embedding may be off, of its largest value.
TOLERANCE = {None: 1e-5, "float16": 0.01, "mixed": 0.01, "dynamic": 0.1, "int8": 0.3}
#: Of the short side that the small models resize to, so that only their middle is cropped.
FRAMES = noise(5, 36, 36, 3)
CLIP = FRAMES[:, 2:34, 2:34].astype(np.float32) / np.float32(255)


def to_video(clip: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(clip).permute(3, 0, 1, 2)[None]


def wanted(config: Any, clip: np.ndarray = CLIP, decay: float | None = None) -> np.ndarray:
    """(time, channels), as `features` gives them of the frames until each."""
    model, video = make_model(config), to_video(clip)
    with torch.inference_mode():
        counts = range(1, len(clip) + 1)
        state = model.initial_state(1, (32, 32))
        parts = [model.features(video[:, :, :n], state, decay)[0]["embedding"] for n in counts]
        return torch.cat(parts).numpy()


def assert_near(found: np.ndarray, expected: np.ndarray, tolerance: float = 1e-5) -> None:
    assert found.shape == expected.shape
    assert found.dtype == np.float32
    error = np.abs(found - expected).max() / np.abs(expected).max()
    assert error <= tolerance, f"off by {error:.2g} of the largest"


def check_stream(runtime: Runtime, config: Any, tolerance: float = 1e-5) -> None:
    """Assert that a stream gives its embedding, frame by frame and of a whole clip."""
    expected, stream = wanted(config), runtime.stream()
    with pytest.raises(ConfigError, match="has seen no frame"):
        _ = stream.embedding
    # Read after some frames only: reading must not disturb the stream.
    undisturbed = runtime.stream()
    for i, frame in enumerate(FRAMES):
        said = stream(frame)
        if i != 1:
            assert_near(stream.embedding, expected[i], tolerance)
        np.testing.assert_array_equal(said, undisturbed(frame))
    first, state = runtime.running_embeddings(CLIP[:2])
    _, state = runtime.running_logits(CLIP[2:3], state)
    rest, _ = runtime.running_embeddings(CLIP[3:], state)
    assert_near(np.concatenate([first, rest]), np.delete(expected, 2, 0), tolerance)


def check_output(path: Path, options: dict[str, Any], tolerance: float = 1e-5) -> None:
    """Export a stream, and assert that the file's own output is the embedding of every frame."""
    done = export(STREAM, path, outputs=BOTH, **options)
    assert done.agreement.embedding_error is not None
    assert done.agreement.embedding_error <= tolerance
    batch, at_once = options.get("batch_size", 1), options.get("num_frames", 1)
    pixels = CLIP if options.get("uint8") is False else FRAMES[:, 2:34, 2:34]
    expected, stream = wanted(STREAM), movinet.load(path).stream(resize=False)
    for start in range(0, len(FRAMES) - at_once + 1, at_once):
        frames = np.repeat(pixels[start : start + at_once], batch, 0)
        found = stream.advance(frames, "embedding")
        rows = np.repeat(expected[start : start + at_once], batch, 0)
        assert_near(found, rows, tolerance)
        assert_near(np.atleast_2d(stream.embedding), found[-batch:], 1e-6)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_gives_the_embedding_of_a_stream(suffix: str, tmp_path: Path) -> None:
    needs(suffix)
    check_output(tmp_path / f"x{suffix}", {})
    check_stream(movinet.load(tmp_path / f"x{suffix}"), STREAM)


@pytest.mark.heavy
def test_a0_gives_the_embedding_of_a_video(tmp_path: Path) -> None:
    path, model = tmp_path / "a0.tflite", make_model("a0_stream")
    movinet.export(model, path, image_size=32, outputs=BOTH)
    with torch.inference_mode():
        expected = model.features(to_video(CLIP))["embedding"].numpy()
    found, _ = movinet.load(path).running_embeddings(CLIP)
    assert_near(found[-1:], expected)


@pytest.mark.parametrize("suffix", [".tflite", ".mvn"])
def test_a_stream_has_its_embedding_whatever_the_file_gives(suffix: str, tmp_path: Path) -> None:
    needs(suffix)
    path = tmp_path / f"x{suffix}"
    export(STREAM, path)
    assert movinet.load(path).manifest.embedding is None
    check_stream(movinet.load(path), STREAM)


@pytest.mark.parametrize("suffix", [".tflite", ".onnx", ".mvn"])
@pytest.mark.parametrize(
    "options", [{"batch_size": 2, "uint8": False, "softmax": True}, {"num_frames": 2}], ids=str
)
def test_the_output_has_a_row_for_each_frame(suffix: str, options, tmp_path: Path) -> None:
    needs(suffix)
    check_output(tmp_path / f"x{suffix}", options)


@pytest.mark.parametrize(
    ("suffix", "quantize"),
    [
        *((".tflite", kind) for kind in ("float16", "dynamic", "mixed", "int8")),
        (".onnx", "int8"),
        *((".mvn", kind) for kind in ("float16", "dynamic")),
    ],
)
def test_quantised_files_give_it_nearly(suffix: str, quantize, tmp_path: Path) -> None:
    needs(suffix)
    options = {"quantize": quantize} | ({"calibration": [FRAMES]} if quantize == "int8" else {})
    check_output(tmp_path / f"x{suffix}", options, TOLERANCE[quantize])


@pytest.mark.parametrize(
    "suffix", [each for each in SUFFIXES if FORMATS[str(each.values[0])].base_models]
)
def test_every_format_gives_the_embedding_of_a_clip(suffix: str, tmp_path: Path) -> None:
    needs(suffix)
    check_clip(tmp_path / f"x{suffix}", {}, 1e-5)


@pytest.mark.parametrize("quantize", ["mixed", "int8"])
def test_quantised_clips_give_it_nearly(quantize: str, tmp_path: Path) -> None:
    options = {"quantize": quantize} | ({"calibration": [FRAMES]} if quantize == "int8" else {})
    check_clip(tmp_path / "x.tflite", options, TOLERANCE[quantize])


def check_clip(path: Path, options: dict[str, Any], tolerance: float) -> None:
    """Export a base model, and assert that its file and PyTorch give the embedding of a clip."""
    done = export(BASE, path, num_frames=len(CLIP), outputs=BOTH, **options)
    assert done.agreement.embedding_error is not None
    with torch.inference_mode():
        expected = make_model(BASE).features(to_video(CLIP))["embedding"][0].numpy()
    assert_near(movinet.load(path).clip_embedding(CLIP), expected, tolerance)
    assert_near(of_torch(BASE).clip_embedding(CLIP), expected)
    pixels = FRAMES[:, 2:34, 2:34]
    for runtime in (movinet.load(path), of_torch(BASE)):
        assert runtime.clip_logits(CLIP).shape == (7,)
        np.testing.assert_array_equal(runtime.clip_logits(pixels), runtime.clip_logits(CLIP))


def of_torch(config: Any) -> Any:
    return wrap(make_model(config), [f"class {i}" for i in range(7)], SPEC)


def test_streams_of_pytorch_have_their_embedding() -> None:
    check_stream(of_torch(STREAM), STREAM)


@pytest.mark.parametrize("se_type", ["none", "2d"])
def test_networks_whose_only_sum_is_the_heads(se_type: str, tmp_path: Path) -> None:
    config = tiny_stream(se_type=se_type, positional_encoding=se_type != "none")
    export(config, tmp_path / "x.tflite")
    check_stream(movinet.load(tmp_path / "x.tflite"), config)


def test_the_embedding_is_of_the_state(tmp_path: Path) -> None:
    """It decays, and follows resets and snapshots."""
    export(STREAM, tmp_path / "x.tflite", batch_size=None)
    for runtime in (movinet.load(tmp_path / "x.tflite"), of_torch(STREAM)):
        stream = runtime.stream(half_life=0.4)
        for frame in FRAMES:
            stream(frame)
        decay = decay_from_half_life(0.4, SPEC.frame_rate)
        assert_near(stream.embedding, wanted(STREAM, decay=decay)[-1])
        kept, last = stream.snapshot(), stream.embedding
        stream(FRAMES[0])
        other = runtime.stream()
        other.restore(kept)
        np.testing.assert_array_equal(other.embedding, last)
        other.reset()
        with pytest.raises(ConfigError, match="the stream has seen no frame"):
            _ = other.embedding


def test_a_batch_has_an_embedding_for_each_stream(tmp_path: Path) -> None:
    export(STREAM, tmp_path / "x.tflite", batch_size=None)
    stream = movinet.load(tmp_path / "x.tflite").stream(batch_size=2)
    for frame, other in zip(FRAMES, FRAMES[::-1], strict=True):
        stream([frame, other])
    expected = [wanted(STREAM)[-1], wanted(STREAM, CLIP[::-1].copy())[-1]]
    assert_near(stream.embedding, np.stack(expected))
    stream.reset(1)
    with pytest.raises(ConfigError, match="stream 1 of the batch has seen no frame"):
        _ = stream.embedding


def test_files_without_it_say_how_to_export_it(tmp_path: Path) -> None:
    export(BASE, tmp_path / "x.tflite")
    with pytest.raises(ConfigError, match="movinet export --outputs logits,embedding") as caught:
        movinet.load(tmp_path / "x.tflite").clip_embedding(CLIP[:4])
    assert "\n" not in str(caught.value)


def test_a_model_of_the_other_kind_is_refused(tmp_path: Path) -> None:
    export(BASE, tmp_path / "base.tflite", outputs=BOTH)
    export(STREAM, tmp_path / "stream.tflite")
    for base in (movinet.load(tmp_path / "base.tflite"), of_torch(BASE)):
        with pytest.raises(ConfigError, match="is a base model: it sees whole clips"):
            base.running_embeddings(CLIP)
    with pytest.raises(ConfigError, match="does not take one clip at a time"):
        movinet.load(tmp_path / "stream.tflite").clip_embedding(CLIP)


def test_models_that_pool_nothing_over_time_have_none_of_a_clip() -> None:
    many = of_torch(BASE.replace(pooling="2d", multi_label_pooling=True))
    with pytest.raises(ConfigError, match="clip_embedding needs pooling='3d'"):
        many.clip_embedding(CLIP)
    with pytest.raises(ConfigError, match="every_frame needs a causal model"):
        make_model(BASE).embed(to_video(CLIP), every_frame=True)


def test_a_manifest_of_another_embedding_is_refused(tmp_path: Path) -> None:
    """Else a part of the sums would be taken for the embedding."""
    needs(".mvn")
    export(STREAM, tmp_path / "x.mvn")
    text = movinet.load(tmp_path / "x.mvn").manifest.to_json()
    (tmp_path / "other.json").write_text(text.replace('"head": 32', '"head": 24'))
    with pytest.raises(CheckpointError, match="its network is not the one that its manifest"):
        movinet.load(tmp_path / "x.mvn", manifest=tmp_path / "other.json")
