"""What a run gives: networks that every other command takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from movinet.model_names import RUN_MODELS
from movinet.network.model import MoViNet
from movinet.training.build import test_input
from movinet.training.config import TrainConfig
from movinet.weights.saving import save_weights

WEIGHTS, BEST_WEIGHTS = RUN_MODELS
#: In a run's folder: the plot of its log.
CURVES = "curves.png"


def write_network(
    name: str, model: MoViNet, config: TrainConfig, labels: Sequence[str], step: int
) -> None:
    """Write a network into the folder of its run, with its classes and input.

    Args:
        name: Of the file.
        model: As it is evaluated, with averaged weights if they are kept.
        config: Of the run.
        labels: Names of the classes.
        step: Updates made.

    Raises:
        CheckpointError: If it cannot be written.
    """
    folder = Path(config.run.folder)
    save_weights(
        folder / name,
        model.state_dict(),
        config=model.config,
        input_spec=test_input(config.input),
        preset=None if config.model.architecture else config.model.preset,
        labels=labels,
        origin=f"trained by movinet train, {step} steps, run {folder.absolute().name}",
        run=folder.absolute().name,
        multi_label=config.data.multi_label,
    )
