"""Files of weights that damage or malice made: refused in one line, and nothing they hold runs."""

import dataclasses
import io
import json
import math
import unittest.mock
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from movinet.checkpoints.metadata import Metadata
from movinet.errors import CheckpointError
from movinet.network.config import InputSpec
from movinet.weights.factory import load_model
from movinet.weights.saving import save_weights
from networks import make_model, tiny_stream

SPEC = InputSpec(32, 36, 5, 10)


class Evil:
    def __reduce__(self) -> tuple:
        return (print, ("code ran",))


def test_pickles_with_code_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"stem.weight": Evil()}, tmp_path / "evil.pt")
    torch.save([torch.zeros(3)], tmp_path / "list.pt")
    with pytest.raises(
        CheckpointError, match=r"weights_only\): it contains .*; save model.state_dict"
    ):
        load_model(None, tmp_path / "evil.pt")
    with pytest.raises(CheckpointError, match="no dictionary of tensors"):
        load_model(None, tmp_path / "list.pt")
    assert "code ran" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "metadata",
    [
        "not json",
        "[]",
        "{}",
        json.dumps({"config": {"architecture": {"stem": 1}}, "input": {}}),
        "[" * 100_000,
    ],
)
def test_broken_metadata(metadata: str, tmp_path: Path) -> None:
    import safetensors.torch

    path = tmp_path / "x.safetensors"
    safetensors.torch.save_file({"a": torch.zeros(1)}, path, {"movinet": metadata})
    with pytest.raises(CheckpointError, match="metadata is broken"):
        load_model(None, path)


def quantized() -> torch.Tensor:
    with pytest.warns(UserWarning, match="quantize"):
        return torch.quantize_per_tensor(torch.zeros(3), 1.0, 0, torch.qint8)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: torch.zeros(3, dtype=torch.int64), "is int64"),
        (lambda: torch.zeros(3, dtype=torch.int8), "is int8"),
        (lambda: torch.zeros(3, dtype=torch.bool), "is bool"),
        (lambda: torch.zeros(3, dtype=torch.complex64), "is complex64"),
        (lambda: torch.zeros(3, dtype=torch.float8_e4m3fn), "is float8_e4m3fn"),
        (lambda: torch.zeros(3, device="meta"), "is on the device meta"),
        (lambda: torch.zeros(3, 3).to_sparse(), "is sparse_coo"),
        (quantized, "is qint8"),
        (lambda: torch.zeros(1).expand(10**12), "has .* values in 4 bytes"),
        (lambda: torch.zeros(9).as_strided((5, 5), (1, 1)), "has .5, 5. values in 36 bytes"),
    ],
)
def test_tensors_that_are_no_weights(
    make: Callable[[], torch.Tensor], message: str, tmp_path: Path
) -> None:
    state = make_model("t0_base").state_dict()
    torch.save(
        {**state, "head.weight": make(), "hidden.weight": 0 * torch.zeros(1)}, tmp_path / "x.pt"
    )
    with pytest.raises(CheckpointError, match=f"head.weight {message}"):
        load_model("t0_base", tmp_path / "x.pt")


def test_packed_records_are_refused(tmp_path: Path) -> None:
    """A few kilobytes that torch would unpack to all memory."""
    torch.save({"hidden.weight": torch.zeros(1_000_000)}, tmp_path / "plain.pt")
    with (
        zipfile.ZipFile(tmp_path / "plain.pt") as plain,
        zipfile.ZipFile(tmp_path / "x.pt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    assert (tmp_path / "x.pt").stat().st_size < 10_000
    with pytest.raises(CheckpointError, match="unpacks to more bytes than it has"):
        load_model(None, tmp_path / "x.pt")


def test_weights_that_are_not_numbers_are_noted(tmp_path: Path) -> None:
    state = make_model("t0_base").state_dict()
    state["head.weight"][0] = torch.nan
    state["hidden.bias"][0] = -torch.inf
    torch.save(state, tmp_path / "x.pt")
    (note,) = [n for n in load_model("t0_base", tmp_path / "x.pt").info.notes if "NaN" in n]
    assert note.startswith("NaN or infinite weights in 2 tensors, head.weight the first")


def test_counters_of_batches_are_never_taken_from_a_file(tmp_path: Path) -> None:
    model = make_model("t0_base")
    state = model.state_dict()
    names = [name for name in state if name.endswith("num_batches_tracked")]
    for value in (torch.ones(2, 2).to_sparse(), torch.zeros(1).expand(10**12), torch.tensor(7j)):
        state |= dict.fromkeys([*names, "evil.num_batches_tracked"], value)
        torch.save(state, tmp_path / "x.pt")
        found = load_model("t0_base", tmp_path / "x.pt").model.state_dict()
        assert found.keys() == model.state_dict().keys()
        assert all(found[name].dtype == torch.int64 and found[name] == 0 for name in names)


def test_a_pickled_module_says_what_to_save(tmp_path: Path) -> None:
    torch.save(make_model(tiny_stream()), tmp_path / "ours.pt")
    torch.save(torch.nn.Sequential(torch.nn.Linear(1, 1)), tmp_path / "torchs.pt")
    for name in ("ours.pt", "torchs.pt"):
        with pytest.raises(CheckpointError) as caught:
            load_model(None, tmp_path / name)
        assert str(caught.value) == (
            f"{tmp_path / name}: a whole pickled module; save model.state_dict() instead"
        )


def test_what_torch_says_cannot_steer_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.pt").write_bytes(b"x")
    monkeypatch.setattr(torch, "load", unittest.mock.Mock(side_effect=IndexError("\x1b[1mred\x9b")))
    with pytest.raises(CheckpointError) as caught:
        load_model(None, tmp_path / "x.pt")
    assert str(caught.value).isprintable()


def test_damaged_pickles_give_one_line(tmp_path: Path) -> None:
    """Whatever bytes change in the instructions of a pickle, old form and new."""
    generator = np.random.default_rng(0)
    path = tmp_path / "x.pt"
    state = {name: torch.zeros(2) for name in ("stem.weight", "head.weight", "classifier.bias")}
    refused = 0
    for zipped in (True, False):
        buffer = io.BytesIO()
        torch.save(state, buffer, _use_new_zipfile_serialization=zipped)
        for _ in range(300):
            data = np.frombuffer(buffer.getvalue(), np.uint8).copy()
            where = generator.integers(0, min(len(data), 700), generator.integers(1, 4))
            data[where] = generator.integers(0, 256, len(where))
            path.write_bytes(data.tobytes())
            with pytest.raises(CheckpointError) as caught:
                load_model(None, path)
            assert str(caught.value).isprintable()
            refused += "weights_only" in str(caught.value)
    assert refused > 300  # the others are whole, and of another network


METADATA: dict[str, Any] = {
    "config": tiny_stream().to_dict(),
    "input": dataclasses.asdict(SPEC),
    "preset": None,
    "labels": list("abcdefg"),
    "origin": "here",
}


def config_with(**changes: object) -> dict[str, Any]:
    return {"config": {**METADATA["config"], **changes}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": "abcdefg"}, "labels must be a list"),
        ({"labels": list("abcdef")}, "6 labels for 7"),
        ({"labels": [*"abcdef", 7]}, "a label must be text"),
        ({"labels": [*"abcdef", "\x1b[2J"]}, "a label must be text without control"),
        ({"origin": "\x1b]0;title\x07"}, "origin must be text without control"),
        ({"origin": None}, "origin must be text"),
        ({"preset": "\x1b[31m"}, "no preset"),
        ({"preset": "a6_base"}, "no preset 'a6_base'"),
        ({"preset": ["a0_base"]}, "no preset"),
        ({"preset": "a0_stream"}, "the architecture is not that of a0_stream"),
        ({"assumed": ["\x1b"]}, "assumed must be of"),
        ({"assumed": 3}, "assumed must be a list"),
        (config_with(num_classes=7.0), "num_classes"),
        (config_with(norm_eps=math.nan), "norm_eps"),
        (config_with(**{"\x1b": 1}), "metadata is broken"),
        ({"input": {**METADATA["input"], "frame_rate": math.inf}}, "frame_rate"),
    ],
)
def test_metadata_is_checked(changes: dict[str, Any], message: str) -> None:
    assert Metadata.parse(json.dumps(METADATA), "x").labels == tuple("abcdefg")
    with pytest.raises(CheckpointError, match=message) as caught:
        Metadata.parse(json.dumps({**METADATA, **changes}), "x")
    assert str(caught.value).isprintable()


def test_save_takes_what_can_be_read_again(tmp_path: Path) -> None:
    model = make_model(tiny_stream())
    path = tmp_path / "x.safetensors"
    keywords: dict[str, Any] = {"config": model.config, "input_spec": SPEC}
    wrong: list[dict[str, Any]] = [
        {"preset": "a0_base"},
        {"labels": [*"abcdef", "\n"]},
        {"assumed": ["x"]},
    ]
    for bad in wrong:
        with pytest.raises(CheckpointError, match=r"x\.safetensors: "):
            save_weights(path, model.state_dict(), **keywords, **bad)
    assert not path.exists()
    save_weights(path, model.state_dict(), **keywords, origin="a\x1bb")
    assert load_model(None, path).info.origin == "a b"
