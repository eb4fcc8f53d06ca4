"""Training's evaluation and `movinet eval` give the same figures for the same network and data."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data_sets.loading import config_of
from fakes import write_video
from movinet.data.samples import DataSet, Sample
from movinet.data.sources import open_data
from movinet.evaluation import evaluate
from movinet.evaluation.run import run_model
from movinet.evaluation.views import Look
from movinet.exporting.export import export
from movinet.network.config import InputSpec
from movinet.network.model import MoViNet
from movinet.opening import open_model
from movinet.torch_runtime import wrap
from movinet.training.batches.loader import Failure
from movinet.training.distributed import Processes
from movinet.training.evaluation_loader import EvalLoader
from movinet.training.recipes import check
from movinet.training.run import run
from movinet.training.stopping import Stop
from movinet.training.validation import Predictions, predict_samples, validate
from movinet.video import VideoFile
from movinet.weights.factory import load_model
from networks import TINY, make_model, tiny_base, tiny_stream

LABELS = ("a", "b", "c", "d", "e", "f", "g")
#: Of a clip of a base model; the made-up videos have ten frames a second, the models see five.
FRAMES = 8
ALONE = Processes(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos of noise that drifts in colour: shorter and longer than clips and chunks, and none."""
    folder = tmp_path_factory.mktemp("videos")
    generator = np.random.default_rng(0)
    for number, count in enumerate((1, 9, 16, 30, 70, 110)):
        colour = generator.integers(20, 200, 3)
        drift = generator.integers(-3, 4, 3)
        images = [
            np.clip(colour + drift * k + generator.integers(-60, 60, (40, 48, 3)), 0, 255)
            for k in range(count)
        ]
        write_video(folder / f"{number}.mkv", [image.astype(np.uint8) for image in images])
    (folder / "bad.mkv").write_bytes(b"no video")
    return folder


def data_of(folder: Path, *, multi_label: bool) -> DataSet:
    """Every video whole, parts of some, one that is no video, and a part behind a video's end."""
    spans = [(f"{n}.mkv", None, None) for n in range(6)]
    spans += [("4.mkv", 1.0, 3.3), ("5.mkv", 2.0, 2.2), ("5.mkv", 6.0, None), ("3.mkv", 0.6, 99.0)]
    spans += [("bad.mkv", None, None), ("3.mkv", 50.0, None)]
    samples = []
    for number, (name, start, end) in enumerate(spans):
        labels = (number % 4, 4) if multi_label and number % 2 else (number % 4,)
        media = VideoFile(folder / name, "NONE")
        samples.append(Sample(str(number), media, labels, start, end))
    return DataSet("videos", tuple(samples), LABELS, multi_label)


def model_of(kind: str) -> MoViNet:
    return make_model({"base": tiny_base, "stream": tiny_stream}[kind]())


def loader_of(data: DataSet, model: MoViNet, look: Look, **how: Any) -> EvalLoader:
    config = config_of(
        input__test_frames=FRAMES,
        input__short_side=36,
        run__views=look.views,
        run__crops=look.crops,
        run__eval_batch_size=4,
    )
    return EvalLoader(data, config, streams=model.config.streams, **how)


LOOKS = [("stream", Look()), ("base", Look()), ("base", Look(2, 3))]


@pytest.mark.parametrize(("kind", "look"), LOOKS, ids=["stream", "base", "base 2 x 3"])
@pytest.mark.parametrize("multi_label", [False, True], ids=["classes", "labels"])
def test_training_and_eval_print_one_number(
    folder: Path, kind: str, look: Look, multi_label: bool
) -> None:
    data, model = data_of(folder, multi_label=multi_label), model_of(kind)
    runtime = wrap(model, LABELS, InputSpec(32, 36, 5.0, FRAMES))
    failures: list[Failure] = []
    loader = loader_of(data, model, look)
    predictions = predict_samples(model, loader, ALONE, Stop(), failures)
    figures = validate(model, loader, ALONE, Stop(), [])
    assert predictions is not None
    assert figures is not None

    outputs = run_model(runtime, data, look)
    assert [data.samples[i] for i in predictions.indices] == list(outputs.samples)
    np.testing.assert_allclose(predictions.probabilities, outputs.probabilities, atol=1e-5)
    assert np.ptp(outputs.probabilities, axis=0).max() > 0.01  # they differ from video to video
    skipped = [(trouble.name, trouble.reason) for trouble in outputs.skipped]
    assert skipped == [(f.name, f.reason.removeprefix(f"{f.name}: ")) for f in sorted(failures)]
    assert len(skipped) == 2

    found = evaluate(runtime, data, views=look.views, crops=look.crops).to_json()
    assert figures["samples"] == found["count"] == 10
    for name in ("map", "macro_f1") if multi_label else ("top1", "top5", "macro_f1"):
        assert figures[name] == found[name], name
    assert figures["eval_loss"] == pytest.approx(found["loss"], abs=1e-5)


@pytest.mark.parametrize("kind", ["stream", "base"])
def test_several_processes_predict_what_one_does(folder: Path, kind: str) -> None:
    """Their shares are computed one after another here."""
    data, model = data_of(folder, multi_label=False), model_of(kind)
    whole = predict_samples(model, loader_of(data, model, Look()), ALONE, Stop(), [])
    assert whole is not None
    found: dict[int, np.ndarray] = {}
    for rank in range(3):
        loader = loader_of(data, model, Look(), rank=rank, world_size=3)
        share = predict_samples(model, loader, ALONE, Stop(), [])
        assert share is not None
        found |= dict(zip(share.indices, share.probabilities, strict=True))
    joined = Predictions(sorted(found), np.stack([found[i] for i in sorted(found)]))
    assert joined.indices == whole.indices
    np.testing.assert_allclose(joined.probabilities, whole.probabilities, atol=1e-6)


def test_frames_weighed_over_a_clip_are_evaluated_as_clips(folder: Path) -> None:
    """Such a network is causal and yet cannot stream; both commands show it the same windows."""
    model = make_model(tiny_stream(pooling="2d", multi_label_pooling=True))
    runtime = wrap(model, LABELS, InputSpec(32, 36, 5.0, FRAMES))
    data = data_of(folder, multi_label=True)
    predictions = predict_samples(model, loader_of(data, model, Look(2)), ALONE, Stop(), [])
    assert predictions is not None
    outputs = run_model(runtime, data, Look(2))
    np.testing.assert_allclose(predictions.probabilities, outputs.probabilities, atol=1e-5)


def test_a_stream_sees_more_than_a_clip(folder: Path) -> None:
    """What is evaluated is the end of the video: another one behind the first clip counts."""
    model = model_of("stream")
    data = data_of(folder, multi_label=False)
    longest = DataSet("one", (data.samples[5],), LABELS)
    cut = Sample("cut", data.samples[5].media, (0,), 0.0, FRAMES / 5)
    found = [
        predict_samples(model, loader_of(each, model, Look()), ALONE, Stop(), [])
        for each in (longest, DataSet("one", (cut,), LABELS))
    ]
    assert found[0] is not None
    assert found[1] is not None
    assert np.abs(found[0].probabilities - found[1].probabilities).max() > 1e-3


@pytest.mark.heavy
@pytest.mark.parametrize("preset", ["t0_stream", "t0_base"])
def test_a_run_its_file_and_its_export_agree(folder: Path, tmp_path: Path, preset: str) -> None:
    """From a list of videos through a run to its files, as the commands do it."""
    listed = tmp_path / "videos.csv"
    rows = [f"{n}.mkv,{'ab'[n % 2]},{start}" for n in range(1, 6) for start in ("", "0.3")]
    listed.write_text("\n".join(["path,label,start", *rows, "bad.mkv,a,"]) + "\n")
    views = 1 if preset == "t0_stream" else 2
    config = {
        "model": {"preset": preset, "architecture": dataclasses.asdict(TINY), "initial_scale": 0.5},
        "input": {
            "image_size": 32,
            "short_side": 36,
            "frame_rate": 5.0,
            "train_frames": 4,
            "test_frames": FRAMES,
        },
        "data": {"train": str(listed), "valid": str(listed), "root": str(folder), "workers": 0},
        "optimizer": {"name": "adamw", "learning_rate": 0.01, "epsilon": 1e-8},
        "schedule": {"steps": 6},
        "engine": {"batch_size": 5, "ema": 0.5, "device": "cpu"},
        "run": {"folder": str(tmp_path / "run"), "views": views},
    }
    with pytest.warns(UserWarning, match="are training data too"):
        figures = run(check(config, "test"))
    weights = tmp_path / "run" / "model.safetensors"
    exported = tmp_path / "model.tflite"
    export(load_model(None, str(weights)), exported)
    for runtime in (open_model(None, weights=str(weights)), open_model(str(exported))):
        data = open_data(listed, root=folder, labels=runtime.info.labels)
        found = evaluate(runtime, data, views=views).to_json()
        assert found["count"] == figures["samples"] == 10
        assert [found[n] for n in ("top1", "macro_f1")] == [
            figures[n] for n in ("top1", "macro_f1")
        ]
        assert found["loss"] == pytest.approx(figures["eval_loss"], abs=1e-5)
