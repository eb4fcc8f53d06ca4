"""A linear probe: from embeddings to a model that predicts, streams and exports."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray
from tiny_runs import LABELS, MadeUp, made_up_data

import movinet
from movinet.data.samples import DataSet, Sample
from movinet.errors import CheckpointError, ConfigError, TrainingError
from movinet.evaluation import SingleLabel, evaluate
from movinet.network.presets import input_spec
from movinet.training.checks import check_probe
from movinet.training.inputs import open_valid
from movinet.training.probing.cache import EmbeddingCache
from movinet.training.probing.fitting import Samples, fit_layer
from movinet.training.probing.run import run_probe
from movinet.training.probing.settings import ProbeConfig
from movinet.training.recipes import load_any_config
from movinet.video.container import SkippedPacket
from movinet.weights.saving import save_weights
from networks import make_model


@pytest.fixture(autouse=True)
def _made_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("movinet.training.inputs.open_data", made_up_data)
    monkeypatch.setenv("MOVINET_HOME", str(tmp_path / "home"))


def weights(path: Path, preset: str, **overrides: Any) -> Path:
    model = make_model(preset, **overrides)
    spec, config = input_spec(preset), model.config
    labels = [f"old {i}" for i in range(config.num_classes)]
    save_weights(
        path, model.state_dict(), config=config, input_spec=spec, preset=preset, labels=labels
    )
    return path


def probe_config(folder: Path, preset: str, **changes: Any) -> ProbeConfig:
    values: dict[str, Any] = {
        "model": {"preset": preset, "weights": str(folder / f"{preset}.safetensors")},
        "input": {"image_size": 32, "short_side": 32, "frame_rate": 2.0, "test_frames": 2},
        "data": {"train": "train:18", "valid": "valid:12", "workers": 1},
        "probe": {"folds": 3},
        "engine": {"device": "cpu"},
        "run": {"folder": str(folder / "run")},
    }
    for key, value in changes.items():
        section, _, name = key.partition("__")
        values[section][name] = value
    return check_probe(values, "test")


@pytest.mark.parametrize("preset", ["t0_stream", "t0_base"])
def test_a_probe_gives_a_model_that_evaluates_as_it_says(tmp_path: Path, preset: str) -> None:
    file = weights(tmp_path / f"{preset}.safetensors", preset)
    config = probe_config(tmp_path, preset)
    figures = run_probe(config, quiet=True)
    assert figures["top1"] > 0.8
    assert figures["cv_top1"] > 0.8

    runtime = movinet.open_model(weights=tmp_path / "run/model.safetensors")
    assert runtime.info.labels == LABELS
    found = evaluate(runtime, open_valid(config, LABELS)).figures
    assert isinstance(found, SingleLabel)
    assert found.top1 == figures["top1"]
    assert found.macro_f1 == pytest.approx(figures["macro_f1"])

    state = movinet.create_model(tmp_path / "run/model.safetensors").state_dict()
    before = movinet.create_model(file).state_dict()
    changed = {n for n, x in state.items() if not torch.equal(x, before[n])}
    assert changed == {"classifier.weight", "classifier.bias"}
    report = json.loads((tmp_path / "run/probe.json").read_text())
    assert report["top1"] == figures["top1"]


def test_a_probe_of_several_labels_says_so(tmp_path: Path) -> None:
    weights(tmp_path / "t0_base.safetensors", "t0_base")
    config = probe_config(tmp_path, "t0_base", data__multi_label=True)
    figures = run_probe(config, quiet=True)
    assert "map" in figures
    assert movinet.open_model(tmp_path / "run/model.safetensors").info.multi_label


def test_embeddings_are_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights(tmp_path / "t0_base.safetensors", "t0_base")
    monkeypatch.setattr(
        "movinet.training.probing.cache.source_key",
        lambda sample: hashlib.sha256(sample.key.encode()).hexdigest(),
    )
    first = run_probe(probe_config(tmp_path, "t0_base"), quiet=True)
    decoded: list[str] = []
    monkeypatch.setattr("tiny_runs.MadeUp.frames", lambda self, *_: decoded.append(self.name))
    again = run_probe(probe_config(tmp_path, "t0_base"), quiet=True)
    assert decoded == []
    assert {k: v for k, v in again.items() if "seconds" not in k} == {
        k: v for k, v in first.items() if "seconds" not in k
    }


def test_a_cache_of_damaged_files_is_none(tmp_path: Path) -> None:
    video = tmp_path / "a.mp4"
    video.write_bytes(b"video")
    from movinet.video.media import VideoFile

    sample = Sample("a", VideoFile(video), (0,))
    cache = EmbeddingCache({"weights": "x"}, (2, 3), tmp_path / "cache")
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    cache.write(sample, values)
    kept = cache.read(sample)
    assert kept is not None
    assert np.array_equal(kept, values)
    (entry,) = (tmp_path / "cache").glob("*/*.npy")
    whole = entry.read_bytes()
    for damaged in (b"", whole[:40], whole[:-4], whole + b"x" * 5000, b"PK" + whole[2:]):
        entry.write_bytes(damaged)
        assert cache.read(sample) is None
    entry.write_bytes(whole)
    os.utime(video, (1, 1))  # the video has changed
    assert cache.read(sample) is None
    assert EmbeddingCache({"weights": "y"}, (2, 3), tmp_path / "cache").read(sample) is None


def test_samples_that_cannot_be_read_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights(tmp_path / "t0_base.safetensors", "t0_base")
    figures = run_probe(probe_config(tmp_path, "t0_base", data__train="train:18:3:7"))
    assert figures["skipped"] == 2
    assert "left out: train/3.mp4: not a video" in capsys.readouterr().err
    assert len((tmp_path / "run/skipped.txt").read_text().splitlines()) == 2
    none = {"data__train": "train:3:0:1:2", "run__folder": str(tmp_path / "none")}
    with pytest.raises(TrainingError, match="no sample can be read"):
        run_probe(probe_config(tmp_path, "t0_base", **none), quiet=True)


def test_what_a_probe_cannot_do_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"schedule\.epochs is a setting of training by steps"):
        load_any_config("probe", ["schedule.epochs=3"])
    with pytest.raises(ConfigError, match=r"data\.train is missing"):
        run_probe(probe_config(tmp_path, "t0_base", data__train=None))
    with pytest.raises(CheckpointError, match="no such file"):
        run_probe(probe_config(tmp_path, "t0_base"), quiet=True)


def blobs(per_class: int, spread: float, seed: int = 0) -> tuple[NDArray, NDArray]:
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(1).normal(size=(3, 20))
    classes = np.repeat([0, 1, 2], per_class)
    return centers[classes] + spread * rng.normal(size=(len(classes), 20)), classes


def samples(features: NDArray, classes: NDArray, **options: Any) -> Samples:
    targets = np.eye(3, dtype=bool)[classes]
    options.setdefault("groups", np.arange(len(classes)))
    return Samples(features[:, None], targets, **options)


def test_a_fit_separates_classes_and_is_calibrated() -> None:
    fit = fit_layer(samples(*blobs(30, 1.2)))
    features, classes = blobs(300, 1.2, seed=5)
    logits = features @ fit.weight.T + fit.bias
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    accuracy = float((probabilities.argmax(1) == classes).mean())
    assert accuracy > 0.85
    assert abs(float(probabilities.max(1).mean()) - accuracy) < 0.08


def test_groups_are_held_out_together() -> None:
    features, classes = blobs(12, 0.5)
    groups = np.arange(36) % 4
    fit = fit_layer(samples(features, classes, groups=groups), folds=4)
    assert fit.validated is not None
    for fold in np.unique(fit.validated.fold):
        inside = set(groups[fit.validated.indices[fit.validated.fold == fold]])
        outside = set(groups[fit.validated.indices[fit.validated.fold != fold]])
        assert not inside & outside


def test_a_class_without_samples_is_never_predicted() -> None:
    features, classes = blobs(12, 0.5)
    few = classes != 1
    fit = fit_layer(samples(features[few], classes[few]))
    assert not ((features @ fit.weight.T + fit.bias).argmax(1) == 1).any()


def test_data_to_evaluate_on_may_have_one_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def one_class(where: str, **options: Any) -> DataSet:
        data = made_up_data(where, **options)
        if not where.startswith("valid"):
            return data
        samples = tuple(sample for sample in data.samples if sample.labels == (1,))
        return dataclasses.replace(data, samples=samples)

    monkeypatch.setattr("movinet.training.inputs.open_data", one_class)
    weights(tmp_path / "t0_base.safetensors", "t0_base")
    figures = run_probe(probe_config(tmp_path, "t0_base"), quiet=True)
    assert figures["samples"] == 4
    assert figures["top1"] == 1


def test_damaged_samples_are_used_and_named_in_every_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = MadeUp.frames

    def damaged(self: MadeUp, times: Any, slack: float, skipped: list[SkippedPacket]) -> Any:
        if self.name == "train/4.mp4":
            skipped.append(SkippedPacket(0.5, "invalid data"))
        return whole(self, times, slack, skipped)

    monkeypatch.setattr(MadeUp, "frames", damaged)
    weights(tmp_path / "t0_base.safetensors", "t0_base")
    for _ in range(2):
        assert run_probe(probe_config(tmp_path, "t0_base"))["skipped"] == 0
        assert "train/4.mp4: some packets cannot be decoded" in capsys.readouterr().err


def test_a_probe_does_not_replace_one_of_other_data(tmp_path: Path) -> None:
    weights(tmp_path / "t0_base.safetensors", "t0_base")
    config = probe_config(tmp_path, "t0_base")
    run_probe(config, quiet=True)
    run_probe(config, quiet=True)  # of the same data: again, from the cache
    path = Path(config.run.folder) / "model.safetensors"
    before = path.read_bytes()
    settings = yaml.safe_load((path.parent / "config.yaml").read_text())
    settings["data"]["train"] = "somewhere else"
    (path.parent / "config.yaml").write_text(yaml.safe_dump(settings))
    with pytest.raises(ConfigError, match=r"has a run of other data: choose another run\.folder"):
        run_probe(config, quiet=True)
    assert path.read_bytes() == before


def test_a_folder_that_cannot_be_is_noticed_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights(tmp_path / "t0_base.safetensors", "t0_base")
    config = probe_config(tmp_path, "t0_base")
    (tmp_path / "file").write_text("")
    run = config.run.model_copy(update={"folder": str(tmp_path / "file" / "run")})
    monkeypatch.setattr("movinet.training.probing.run.embed", lambda *_: pytest.fail("too late"))
    with pytest.raises(CheckpointError, match="cannot be written"):
        run_probe(config.model_copy(update={"run": run}), quiet=True)


def test_tiny_classes_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unequal(where: str, **options: Any) -> DataSet:
        data = made_up_data(where, **options)
        kept = [sample for sample in data.samples if sample.labels != (1,)]
        return dataclasses.replace(data, samples=(*kept, data.samples[1]))

    monkeypatch.setattr("movinet.training.inputs.open_data", unequal)
    weights(tmp_path / "t0_base.safetensors", "t0_base")
    run_probe(probe_config(tmp_path, "t0_base"))
    assert "classes with fewer than 3 samples: " in capsys.readouterr().err


@pytest.mark.parametrize("cached", [True, False])
def test_an_interrupted_probe_says_what_it_keeps(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    cached: bool,
) -> None:
    weights(tmp_path / "t0_base.safetensors", "t0_base")
    monkeypatch.setattr(
        "movinet.training.probing.cache.source_key",
        lambda sample: hashlib.sha256(sample.key.encode()).hexdigest(),
    )
    frames, seen = MadeUp.frames, set()

    def interrupted(self: MadeUp, *arguments: Any) -> Any:
        if len(seen) >= 7 and self.name not in seen:
            raise KeyboardInterrupt
        seen.add(self.name)
        return frames(self, *arguments)

    monkeypatch.setattr("tiny_runs.MadeUp.frames", interrupted)
    config = probe_config(tmp_path, "t0_base", probe__cache=cached)
    with pytest.raises(KeyboardInterrupt):
        run_probe(config)
    told = capsys.readouterr().err
    assert ("are in the cache; the same command continues" in told) == cached
    assert ("nothing was kept" in told) != cached

    first = set(seen)
    seen.clear()
    monkeypatch.setattr(
        "tiny_runs.MadeUp.frames", lambda self, *a: seen.add(self.name) or frames(self, *a)
    )
    run_probe(config, quiet=True)
    assert seen.isdisjoint(first) == cached
