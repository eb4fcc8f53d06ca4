"""Runs that start from folded weights, freeze batch norms, or measure their statistics again."""

from pathlib import Path
from typing import Any

import pytest
import torch
from test_norm_statistics import fold
from tiny_runs import LABELS, made_up_data, tiny_config
from torch import Tensor

from movinet.network.presets import input_spec
from movinet.training.run import run
from movinet.weights.factory import load_model
from movinet.weights.saving import save_weights
from networks import make_model


@pytest.fixture(autouse=True)
def _made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("movinet.training.inputs.open_data", made_up_data)


def weights(path: Path, *, folded: bool) -> str:
    """A file of a network for the classes of the made-up data."""
    model = make_model("t0_stream", num_classes=len(LABELS))
    if folded:
        fold(model)
    save_weights(
        path,
        model.state_dict(),
        config=model.config,
        input_spec=input_spec("t0_stream"),
        preset="t0_stream",
        labels=LABELS,
    )
    return str(path)


def final(folder: Path) -> dict[str, Tensor]:
    return load_model(None, folder / "model.safetensors").model.state_dict()


def checkpoint(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "checkpoints/last.pt", weights_only=True)


def differing(one: dict[str, Tensor], other: dict[str, Tensor]) -> set[str]:
    """Last parts of the names of the tensors that are not equal."""
    names = {name for name, value in one.items() if not torch.equal(value, other[name])}
    return {name.rpartition(".")[2] for name in names} - {"num_batches_tracked"}


@pytest.mark.heavy
def test_folded_weights_get_their_statistics_before_the_first_update(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = weights(tmp_path / "folded.safetensors", folded=True)
    # A learning rate of next to nothing: the run gives the network that it starts with.
    changes = {
        "model__weights": file,
        "optimizer__learning_rate": 1e-12,
        "optimizer__weight_decay": 0,
    }
    run(tiny_config(tmp_path / "run", **changes, engine__ema=0.0, model__freeze_norm=True))
    assert "batch norms of the weights are folded into the kernels" in capsys.readouterr().err
    before, after = (
        load_model(None, file).model,
        load_model(None, tmp_path / "run/model.safetensors").model,
    )
    video = torch.rand(2, 3, 4, 32, 32)
    with torch.no_grad():
        expected, found = before(video), after(video)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))
    assert {"weight", "bias", "running_mean", "running_var"} <= differing(
        before.state_dict(), after.state_dict()
    )


def test_norms_that_are_not_folded_start_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = weights(tmp_path / "plain.safetensors", folded=False)
    run(tiny_config(tmp_path / "run", model__weights=file, model__freeze_norm=True))
    assert "are folded" not in capsys.readouterr().err
    moved = differing(load_model(None, file).model.state_dict(), final(tmp_path / "run"))
    assert not {"running_mean", "running_var"} & moved
    assert {"weight", "bias"} <= moved


@pytest.mark.heavy
def test_frozen_norms_stay_frozen_after_evaluations_and_when_a_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = make_model("t0_base", num_classes=len(LABELS))
    spec = input_spec("t0_base")
    file = tmp_path / "base.safetensors"
    state = base.state_dict()
    save_weights(file, state, config=base.config, input_spec=spec, preset="t0_base", labels=LABELS)
    changes = {"model__weights": str(file), "model__freeze_norm": True, "model__load": "backbone"}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run(tiny_config(whole, **changes, run__eval_epochs=0.5))
    trainer = "movinet.training.loop.Loop._do_what_is_due"
    with monkeypatch.context() as patch:
        patch.setattr(trainer, _stop_after(2))
        with pytest.raises(SystemExit):
            run(tiny_config(parts, **changes, run__eval_epochs=0.5))
    run(tiny_config(parts, **changes, run__eval_epochs=0.5))
    assert not differing(final(whole), final(parts))
    fresh = checkpoint(whole)["fresh_norms"]
    assert fresh
    assert all(".temporal." in name for name in fresh)
    # What base weights bring stays; the norms after the new temporal kernels learn theirs.
    for name, value in final(whole).items():
        if "running_" in name:
            kept = name in state and torch.equal(value, state[name])
            assert kept == (name.rpartition(".")[0] not in fresh), name


def _stop_after(step: int) -> Any:
    from movinet.training.loop import Loop

    act = Loop._do_what_is_due

    def stopping(loop: Loop, batch: Any) -> None:
        if loop.progress.step == step:
            loop.stopping = 15
        act(loop, batch)

    return stopping


def test_without_weights_there_is_nothing_to_freeze(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tiny_config(tmp_path, model__freeze_norm=True))
    assert "note: model.freeze_norm has no effect without model.weights" in capsys.readouterr().err
    moved = {
        name
        for name, value in final(tmp_path).items()
        if name.endswith("running_mean") and bool((value != 0).any())
    }
    assert "stem.norm.running_mean" in moved


@pytest.mark.heavy
def test_statistics_are_measured_for_every_evaluation_and_saved_network(tmp_path: Path) -> None:
    plain = run(tiny_config(tmp_path / "plain"))
    measured = run(tiny_config(tmp_path / "measured", engine__norm_batches=2))
    moved = differing(final(tmp_path / "plain"), final(tmp_path / "measured"))
    assert moved == {"running_mean", "running_var"}  # training itself is the same
    assert not differing(
        checkpoint(tmp_path / "plain")["model"], checkpoint(tmp_path / "measured")["model"]
    )
    assert plain["eval_loss"] != measured["eval_loss"]
    # An evaluation of the folder measures them too: the same network, the same figures.
    again = run(tiny_config(tmp_path / "measured", engine__norm_batches=2, run__mode="eval"))
    assert again["eval_loss"] == pytest.approx(measured["eval_loss"], rel=1e-6)
