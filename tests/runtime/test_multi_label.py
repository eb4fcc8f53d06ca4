"""Models of several labels a clip: sigmoids on every way out, and every file says so.

Each way is held against PyTorch's own sigmoid of the network's logits.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import movinet
from exported_formats import BASE, SPEC, STREAM, SUFFIXES, needs
from fakes import gradient, write_video
from movinet.cli import build_app
from movinet.errors import CheckpointError, ConfigError
from movinet.runtime.formats import FORMATS
from movinet.runtime.manifest import Manifest
from movinet.runtime.numbers import to_logits, to_probabilities
from movinet.video import VideoReader, preprocess, views
from networks import make_model

LABELS = tuple("abcdefg")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "a.mkv"
    return write_video(path, gradient(20), size=40)


def saved(path: Path, config: Any, **options: Any) -> Path:
    model, labels = make_model(config, num_classes=config.num_classes), LABELS[: config.num_classes]
    movinet.save_weights(
        path, model.state_dict(), config=config, input_spec=SPEC, labels=labels, **options
    )
    return path


def stream_logits(config: Any, video: Path) -> torch.Tensor:
    """(frames, classes) logits of the network, from frames that are read and prepared here."""
    with VideoReader(video, frame_rate=SPEC.frame_rate) as reader:
        frames = np.stack([preprocess(frame.image, SPEC) for frame in reader])
    clip = torch.from_numpy(frames).permute(3, 0, 1, 2)[None]
    model = make_model(config, num_classes=config.num_classes)
    with torch.no_grad():
        return model.running_logits(clip, model.initial_state(1, (32, 32)))[0][0]


def clip_logits(config: Any, video: Path) -> torch.Tensor:
    (clip,) = views(video, SPEC)
    with torch.no_grad():
        return make_model(config, num_classes=config.num_classes)(
            torch.from_numpy(clip.frames).permute(3, 0, 1, 2)[None]
        )[0]


def predicted(video: Path, model: Any, **options: Any) -> np.ndarray:
    found = list(movinet.predict(video, model, **options))
    assert all(prediction.multi_label for prediction in found)
    return np.stack([prediction.probabilities for prediction in found])


def test_weights_say_it_and_predictions_are_sigmoids(tmp_path: Path, video: Path) -> None:
    stream = saved(tmp_path / "stream.safetensors", STREAM, multi_label=True)
    wanted = stream_logits(STREAM, video).sigmoid().numpy()
    np.testing.assert_allclose(predicted(video, stream), wanted, atol=1e-5)
    base = saved(tmp_path / "base.safetensors", BASE, multi_label=True)
    wanted = clip_logits(BASE, video).sigmoid().numpy()
    np.testing.assert_allclose(predicted(video, base)[0], wanted, atol=1e-5)
    slid = predicted(video, base, stride=0.4)
    assert not np.allclose(slid.sum(axis=1), 1)


def test_files_that_do_not_tell_have_exclusive_classes(tmp_path: Path, video: Path) -> None:
    path = saved(tmp_path / "old.safetensors", STREAM)
    logits = stream_logits(STREAM, video)
    found = np.stack([each.probabilities for each in movinet.predict(video, path)])
    np.testing.assert_allclose(found, logits.softmax(1).numpy(), atol=1e-5)
    # What the file leaves open can be said where it is opened.
    told = predicted(video, path, multi_label=True)
    np.testing.assert_allclose(told, logits.sigmoid().numpy(), atol=1e-5)


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_exported_streams_are_sigmoids(
    tmp_path: Path, video: Path, suffix: str, softmax: bool
) -> None:
    needs(suffix)
    path = tmp_path / f"a{suffix}"
    exported = movinet.export(
        make_model(STREAM), path, input_spec=SPEC, softmax=softmax, multi_label=True, labels=LABELS
    )
    assert exported.manifest.multi_label
    logits = stream_logits(STREAM, video)
    wanted = logits.sigmoid().numpy()
    np.testing.assert_allclose(predicted(video, path), wanted, atol=1e-4)
    runtime = movinet.load(path)
    with VideoReader(video, frame_rate=SPEC.frame_rate) as reader:
        images = [frame.image for frame in reader]
    stream = runtime.stream()
    np.testing.assert_allclose([stream(image) for image in images], wanted, atol=1e-4)
    # A file that gives probabilities gives its logits back, not their logarithms.
    frames = np.stack([preprocess(image, SPEC) for image in images])
    np.testing.assert_allclose(runtime.running_logits(frames)[0], logits.numpy(), atol=1e-3)


@pytest.mark.parametrize("suffix", [suffix for suffix, row in FORMATS.items() if row.base_models])
def test_exported_clips_are_sigmoids(tmp_path: Path, video: Path, suffix: str) -> None:
    needs(suffix)
    path = tmp_path / f"a{suffix}"
    movinet.export(make_model(BASE), path, input_spec=SPEC, softmax=True, multi_label=True)
    wanted = clip_logits(BASE, video).sigmoid().numpy()
    np.testing.assert_allclose(predicted(video, path)[0], wanted, atol=1e-4)


def test_a_model_keeps_it_through_export_and_reading_back(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason="needs LiteRT")
    from movinet.weights.factory import load_model

    loaded = load_model(None, saved(tmp_path / "a.safetensors", STREAM, multi_label=True))
    movinet.export(loaded, tmp_path / "a.tflite")
    assert load_model(None, tmp_path / "a.tflite").info.multi_label


def test_one_class_is_a_sigmoid_without_being_told(tmp_path: Path, video: Path) -> None:
    config = dataclasses.replace(STREAM, num_classes=1)
    wanted = stream_logits(config, video).sigmoid().numpy()
    path = saved(tmp_path / "one.safetensors", config)
    np.testing.assert_allclose(predicted(video, path), wanted, atol=1e-5)
    assert not np.allclose(wanted, 1)
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    for softmax in (False, True):
        file = tmp_path / f"{softmax}.onnx"
        movinet.export(
            make_model(config, num_classes=config.num_classes),
            file,
            input_spec=SPEC,
            softmax=softmax,
        )
        np.testing.assert_allclose(predicted(video, file), wanted, atol=1e-4)


def test_ensembles_average_logits_of_each_label(video: Path) -> None:
    from movinet.torch_runtime import wrap

    first, second = make_model(STREAM), make_model(STREAM)
    with torch.no_grad():
        second.classifier.bias.add_(1)
    model = movinet.Ensemble([first, second], [SPEC, SPEC])
    logits = stream_logits(STREAM, video)
    wanted = (logits + 0.5).sigmoid().numpy()
    runtime = wrap(model, LABELS, multi_label=True)
    np.testing.assert_allclose(predicted(video, runtime), wanted, atol=1e-5)


def test_evaluation_of_a_multi_label_model_counts_each_label(tmp_path: Path, video: Path) -> None:
    """Opened by its path, data take the model's side: a clip in a folder has one label of many."""
    from movinet.evaluation import MultiLabel
    from movinet.evaluation.run import run_model
    from movinet.evaluation.views import Look

    model = saved(tmp_path / "a.safetensors", STREAM, multi_label=True)
    table = tmp_path / "data.csv"
    table.write_text(
        f"path,labels\n{video},a|b\n{write_video(tmp_path / 'b.mkv', gradient(8))},c\n"
    )
    result = movinet.evaluate(model, table)
    assert isinstance(result.figures, MultiLabel)
    runtime = movinet.open_model(model)
    data = movinet.open_data(table, labels=LABELS, multi_label=True)
    found = run_model(runtime, data, Look()).probabilities[0]
    np.testing.assert_allclose(found, stream_logits(STREAM, video)[-1].sigmoid().numpy(), atol=1e-5)
    # Data of one label a clip that were opened already keep their figures, from sigmoids.
    one = dataclasses.replace(data, samples=data.samples[1:], multi_label=False)
    alone = run_model(runtime, one, Look()).probabilities[0]
    assert not np.isclose(alone.sum(), 1)


def test_a_softmax_inside_a_file_cannot_be_undone(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    path = tmp_path / "a.onnx"
    movinet.export(make_model(STREAM), path, input_spec=SPEC, softmax=True)
    with pytest.raises(ConfigError, match="exported for exclusive classes"):
        movinet.open_model(path, multi_label=True)
    assert not movinet.open_model(path, multi_label=False).info.multi_label


def test_manifests_tell_only_where_it_differs(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    texts = []
    for multi_label in (False, True):
        file = tmp_path / "a.onnx"
        exported = movinet.export(
            make_model(STREAM), file, input_spec=SPEC, multi_label=multi_label
        )
        texts.append(exported.manifest.to_json())
        assert Manifest.parse(texts[-1], "here") == exported.manifest
    # Version 0.1.0 refuses fields that it does not know: right for the one, needless for the other.
    assert "multi_label" not in json.loads(texts[0])
    assert json.loads(texts[1])["multi_label"] is True
    with pytest.raises(CheckpointError, match="multi_label must be true or false"):
        Manifest.parse(texts[1].replace('"multi_label": true', '"multi_label": 1'), "here")


@pytest.mark.parametrize("multi_label", [False, True])
def test_logits_come_back_from_probabilities(multi_label: bool) -> None:
    logits = np.array([[-8.0, 0.0, 3.0, 7.5], [0.1, 0.2, 0.3, -0.4]])
    back = to_logits(to_probabilities(logits, multi_label=multi_label), multi_label=multi_label)
    difference = back - logits
    if not multi_label:  # up to a constant
        difference -= difference[:, :1]
    np.testing.assert_allclose(difference, 0, atol=1e-9)
    extreme = to_logits(np.array([0, 0.5, 1], np.float32), multi_label=multi_label)
    assert np.isfinite(extreme).all()


def test_commands_say_that_a_clip_may_have_several(tmp_path: Path, video: Path) -> None:
    def run(*words: object) -> tuple[str, str]:
        result = CliRunner(env={"COLUMNS": "200"}).invoke(build_app(), [*map(str, words)])
        assert result.exit_code == 0, result.output
        return result.stdout, result.stderr

    weights = saved(tmp_path / "a.safetensors", STREAM, multi_label=True)
    out, err = run("predict", video, "-w", weights, "--json")
    assert "7 classes, several labels a clip" in err
    found = json.loads(out)
    assert found["model"]["multi_label"] is True
    probabilities = stream_logits(STREAM, video)[-1].sigmoid().numpy()
    last = {
        each["label"]: each["probability"] for each in found["results"][0]["predictions"][-1]["top"]
    }
    for label, probability in last.items():
        assert probability == pytest.approx(probabilities[LABELS.index(label)], abs=1e-5)
    out, _ = run("predict", video, "-w", weights)
    assert "labels at 50 % or more over time" in out
    present = [label for label, p in zip(LABELS, probabilities, strict=True) if p >= 0.5]
    lines = out.split("labels at")[1].splitlines()
    assert ", ".join(present) in [line.strip() for line in lines if line.strip()][-1]
    assert "a clip may have several (sigmoids)" in " ".join(run("info", weights)[0].split())
    out, _ = run("convert", weights, tmp_path / "b.safetensors", "--json")
    assert json.loads(out)["multi_label"] is True
    _, err = run("convert", weights, tmp_path / "b.pt")
    assert "multi label stay behind" in err
    out, _ = run("export", weights, "-o", tmp_path / "a.mvn", "--json")
    assert json.loads(out)["multi_label"] is True
    assert "several labels a clip: sigmoids" in run("info", tmp_path / "a.mvn")[0]
