"""What callers give for labels: lists of names, bundled lists, and files with a label a line."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import movinet
from exported_formats import SPEC, STREAM
from fakes import gradient, write_video
from movinet.errors import ConfigError
from movinet.labels import as_labels
from networks import make_model

LABELS = ("one", "two", "three", "four", "five", "six", "seven")


@pytest.fixture
def names(tmp_path: Path) -> Path:
    path = tmp_path / "names.txt"
    path.write_text("".join(f"{label}\n" for label in LABELS))
    return path


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path, model = tmp_path / "a.safetensors", make_model(STREAM)
    movinet.save_weights(path, model.state_dict(), config=STREAM, input_spec=SPEC)
    return path


@pytest.mark.parametrize("kind", [str, Path, lambda _: LABELS, lambda _: np.array(LABELS)])
def test_labels_are_a_file_or_names_wherever_they_are_given(
    tmp_path: Path, names: Path, weights: Path, kind: Any
) -> None:
    labels = kind(names)
    assert movinet.open_model(weights, labels=labels).info.labels == LABELS
    video = write_video(tmp_path / "a.mkv", gradient(4))
    assert next(movinet.predict(video, weights, labels=labels)).labels == LABELS
    file = tmp_path / "a.mvn"
    movinet.export(make_model(STREAM), file, labels=labels, input_spec=SPEC)
    assert movinet.load(file).info.labels == LABELS
    assert movinet.open_model(file, labels=labels).info.labels == LABELS
    folder = tmp_path / "data" / "two"
    folder.mkdir(parents=True)
    video.rename(folder / "a.mkv")
    data = movinet.open_data(folder.parent, labels=labels)
    assert (data.labels, data.samples[0].labels) == (LABELS, (1,))
    assert movinet.evaluate(weights, folder.parent, labels=labels).model.labels == LABELS
    state = make_model(STREAM).state_dict()
    movinet.save_weights(
        tmp_path / "b.safetensors", state, config=STREAM, input_spec=SPEC, labels=labels
    )
    assert movinet.open_model(tmp_path / "b.safetensors").info.labels == LABELS


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("none.txt", r"there is no such file; give kinetics-400"),
        (5, "labels are a list of names, .* not int"),
        ([1, 2], "labels are a list of names, .* not int"),
        (b"abc", "labels are a list of names, .* not int"),
    ],
)
def test_what_is_neither_is_one_line(labels: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        as_labels(labels)
