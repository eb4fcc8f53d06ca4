"""Fine-tuning and a probe on 42 clips of 5 classes, from a backbone that was trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_norm_statistics import fold

import movinet
from movinet.data.synth.generate import generate
from movinet.network.model import MoViNet
from movinet.weights.factory import load_model
from movinet.weights.saving import save_weights

CLASSES = ("circling left", "moving down right", "moving up left", "nodding", "pulsing")


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """42 clips to train on, 60 to measure with."""
    folder = tmp_path_factory.mktemp("few")
    paths = []
    for name, seed, count in (("train", 7, 9), ("valid", 8, 12)):
        generate(folder / name, seed=seed, clips_per_class=count, task="paths", workers=2)
        rows = [
            f"{video},{label}\n"
            for label in CLASSES
            for video in sorted((folder / name / label).glob("*.mp4"))
        ]
        rows = rows[: 42 if name == "train" else None]
        paths.append(folder / f"{name}.csv")
        paths[-1].write_text("".join(["path,label\n", *rows]), encoding="utf-8")
    return paths[0], paths[1]


@pytest.mark.nightly
@pytest.mark.heavy
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("recipe", ["probe", "finetune", "finetune_small"])
@pytest.mark.parametrize("norms", ["as trained", "folded"])
def test_a_few_clips_make_a_model_that_is_right(
    lists: tuple[Path, Path], tmp_path: Path, recipe: str, norms: str
) -> None:
    weights = "motions"
    if norms == "folded":
        loaded = load_model(None, weights)
        assert isinstance(loaded.model, MoViNet)
        weights = str(tmp_path / "folded.safetensors")
        save_weights(
            weights,
            fold(loaded.model).state_dict(),
            config=loaded.model.config,
            input_spec=loaded.info.input,
            preset=None,
            labels=loaded.info.labels,
        )
    settings: dict[str, Any] = {
        "data.train": str(lists[0]),
        "data.valid": str(lists[1]),
        "model.weights": weights,
        "run.folder": str(tmp_path / "run"),
    }
    if recipe != "probe":
        settings |= {"augment.flip": 0, "run.eval_epochs": 100, "data.workers": 0}
    figures = movinet.train(recipe, settings, verbose=False).figures
    assert figures["top1"] >= 0.9
    assert figures["macro_f1"] >= 0.9
