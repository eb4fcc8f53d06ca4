"""A probe and fine-tuning on real clips: how right each is, and how long it takes.

    python benchmarks/finetuning.py WEIGHTS --train train.csv --valid valid.csv [--finetune]
    python benchmarks/finetuning.py WEIGHTS --tank-state FOLDER [--finetune]

Lists are annotation files (docs/training.md); if they have a `group` column, the probe is also
fitted with one group left out at a time, its strength chosen on the other groups alone. A folder
of the Tank state data (github.com/LawrenceGrigoryan/tank-state-video-classification) brings its
authors' split; its groups are the cameras. Fine-tuning takes half an hour or more on two cores.
"""

from __future__ import annotations

import argparse
import csv
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import movinet
from movinet.evaluation.metrics import class_scores, confusion, mean_of_known
from movinet.training.console import Messages
from movinet.training.distributed import find_device
from movinet.training.inputs import open_train
from movinet.training.probing import run as probing
from movinet.training.probing.fitting import Samples, fit_layer
from movinet.training.probing.settings import ProbeConfig
from movinet.training.recipes import load_any_config


def main() -> None:
    arguments = _parser().parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["MOVINET_HOME"] = str(folder / "home")  # nothing is cached at first
        train, valid = arguments.train, arguments.valid
        if arguments.tank_state is not None:
            train = _tank_list(arguments.tank_state, "train_data.csv", folder / "train.csv")
            valid = _tank_list(arguments.tank_state, "val_data.csv", folder / "valid.csv")
        if train is None or valid is None:
            raise SystemExit("give --train and --valid, or --tank-state")
        settings = {
            "data.train": str(train),
            "data.valid": str(valid),
            "model.weights": str(arguments.weights),
        }
        recipes = ["probe", "finetune"] if arguments.finetune else ["probe"]
        print(f"{'recipe':10} {'top-1':>7} {'macro F1':>9} {'from videos to model':>22}")
        for recipe in recipes:
            began = time.monotonic()
            own = {**settings, "run.folder": str(folder / recipe)}
            figures = movinet.train(recipe, own, verbose=False).figures
            seconds = time.monotonic() - began
            print(
                f"{recipe:10} {figures['top1']:7.1%} {figures['macro_f1']:9.1%} {seconds:20.0f} s"
            )
        _leave_one_group_out({**settings, "data.train": str(_joined(train, valid, folder))})


def _leave_one_group_out(settings: dict[str, Any]) -> None:
    """Print how well each group is predicted by a probe of the others."""
    config = load_any_config("probe", settings)
    assert isinstance(config, ProbeConfig)
    data, messages = open_train(config), Messages(enabled=True, quiet=True)
    names = np.array([sample.group or "" for sample in data.samples])
    if len(set(names)) < 2:
        return
    model = probing.frozen_network(config, data.labels, messages)
    device = find_device(config.engine.device)
    (seen,), _ = probing.embed(config, model, device, [data], messages)
    features = probing.features_of(model.cpu(), seen.embeddings)
    samples = probing.fit_samples(data, seen, features, averaged=not model.config.streams)
    names, accuracies, scores = names[seen.indices], [], []
    print(f"\n{'left out':28} {'clips':>6} {'top-1':>7} {'macro F1':>9}")
    for name in sorted(set(names)):
        inside = names == name
        groups = np.unique(names[~inside], return_inverse=True)[1]
        rest = Samples(
            features[~inside],
            samples.targets[~inside],
            groups,
            samples.multi_label,
            samples.averaged,
        )
        fit = fit_layer(rest)
        left = Samples(
            features[inside], samples.targets[inside], groups[:0], averaged=rest.averaged
        )
        guesses = probing.probabilities_of(fit, left).argmax(axis=1)
        targets = left.targets.argmax(axis=1)
        counts = confusion(guesses, targets, len(data.labels))
        present = np.unique(targets)
        accuracies.append(float((guesses == targets).mean()))
        scores.append(mean_of_known(class_scores(counts).f1[present]))
        print(f"{name:28} {inside.sum():6} {accuracies[-1]:7.1%} {scores[-1]:9.1%}")
    print(f"{'mean':28} {len(names):6} {np.mean(accuracies):7.1%} {np.mean(scores):9.1%}")
    print("macro F1 of a group: of the classes that it has")


def _tank_list(folder: Path, name: str, path: Path) -> Path:
    """One of the data's lists as an annotation file; groups are cameras."""
    with (folder / name).open(newline="", encoding="utf-8") as file:
        rows = [*csv.DictReader(file)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "group"))
        for row in rows:
            video = folder.absolute() / row["label"] / f"{Path(row['fname']).stem}.mp4"
            camera = f"{row['place']} {row['location']} {row['camera_id']}"
            writer.writerow((video, row["label"], camera))
    return path


def _joined(train: Path, valid: Path, folder: Path) -> Path:
    """Both lists as one."""
    lines = [path.read_text(encoding="utf-8").splitlines() for path in (train, valid)]
    path = folder / "all.csv"
    path.write_text("".join(f"{line}\n" for line in [*lines[0], *lines[1][1:]]), encoding="utf-8")
    return path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("weights", type=Path, help="weights to start from")
    parser.add_argument("--train", type=Path, help="annotation file")
    parser.add_argument("--valid", type=Path, help="annotation file with the same columns")
    parser.add_argument("--tank-state", type=Path, metavar="FOLDER", help="the Tank state data")
    parser.add_argument("--finetune", action="store_true", help="fine-tune too")
    return parser


if __name__ == "__main__":
    main()
