"""What a run says of the data that it is given."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import made_up_data, tiny_config

from movinet.data.copies import copies
from movinet.data.samples import DataSet, Sample
from movinet.errors import ConfigError
from movinet.training.inputs import open_train, open_valid
from movinet.training.run import run
from movinet.video.container import Region
from movinet.video.media import VideoFile


@pytest.fixture(autouse=True)
def _made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("movinet.training.inputs.open_data", made_up_data)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"run\.folder: '.*/file' cannot be made .*File exists"):
        run(tiny_config(tmp_path / "file"))


def test_one_class_alone_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def one(where: str, **_: Any) -> DataSet:
        data = made_up_data(where)
        samples = tuple(sample for sample in data.samples if sample.labels == (0,))
        return DataSet(where, samples, data.labels[:1])

    monkeypatch.setattr("movinet.training.inputs.open_data", one)
    with pytest.raises(ConfigError, match="all samples are 'dark'; it takes two classes"):
        run(tiny_config(tmp_path / "run"))


def test_classes_without_samples_are_told(tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("dark\nlight\nstriped\npurple\n")
    config = tiny_config(tmp_path / "run", data__labels=str(labels), schedule__steps=2)
    with pytest.warns(UserWarning, match=r"no sample of 1 of the 4 classes \(purple\)"):
        run(config)


def test_evaluating_on_training_data_is_told(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, data__valid="train:5", schedule__steps=2)
    with pytest.warns(UserWarning, match="train:5: 5 of 5 samples are training data too"):
        run(config)


def test_samples_may_be_repeated_in_training_but_are_told_in_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def twice(where: str, **options: Any) -> DataSet:
        data = made_up_data(where, **options)
        again = [dataclasses.replace(s, key=f"{s.key}#2") for s in data.samples]
        return dataclasses.replace(data, samples=(*data.samples, *again))

    monkeypatch.setattr("movinet.training.inputs.open_data", twice)
    config = tiny_config(tmp_path)
    assert len(open_train(config)) == 20
    with pytest.warns(UserWarning, match="valid:5: 5 of 10 samples repeat earlier ones and count"):
        assert len(open_valid(config, None)) == 10


def test_a_list_of_bad_files_is_left_out(tmp_path: Path) -> None:
    listed = tmp_path / "bad.txt"
    listed.write_text("train/3.mp4\ntrain/5.mp4\nvalid/2.mp4\nelsewhere.mp4\n")
    config = tiny_config(tmp_path / "run", data__exclude=str(listed), schedule__steps=2)
    with pytest.warns(UserWarning, match="samples are on the list") as told:
        run(config)
    assert [str(each.message).partition(" samples")[0] for each in told] == [
        "train:10: 2 of 10",
        "valid:5: 1 of 5",
    ]
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["samples"] == 4


def test_copies_under_other_names_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def data(name: str, *sources: Path | Region) -> DataSet:
        samples = [Sample(str(i), VideoFile(s), (i % 2,)) for i, s in enumerate(sources)]
        return DataSet(name, tuple(samples), ("a", "b"))

    files = {}
    contents = {
        "one": b"1" * 200_000,
        "copy": b"1" * 200_000,
        "middle": b"1" * 100_000 + b"2" + b"1" * 99_999,  # another, with equal ends and size
        "longer": b"1" * 200_001,
        "archive": b"x" + b"1" * 200_000 + b"y",
        "empty": b"",
    }
    for name, content in contents.items():
        files[name] = tmp_path / name
        files[name].write_bytes(content)
    inside = Region(files["archive"], 1, 200_000, "a.mp4")
    train = data("train", files["one"], files["empty"], tmp_path / "gone")
    others = (files["middle"], files["longer"], files["one"], tmp_path / "gone")
    valid = data("valid", *others, files["copy"], inside)
    assert copies(valid, train) == [4, 5]
    assert copies(data("valid", *others), train) == []

    monkeypatch.setattr("movinet.training.inputs.open_data", lambda *_, **__: valid)
    with (
        pytest.warns(UserWarning, match=r"valid: 2 of 6 samples are copies of .*/copy, \.\.\.\)"),
        pytest.warns(UserWarning, match="valid: 2 of 6 samples are training data too"),
    ):
        open_valid(tiny_config(tmp_path / "run"), train.labels, train)
