"""Folders of numbered frames in data sets: found, listed, checked, packed and trained on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pictures
from typer.testing import CliRunner

from data_sets.loading import config_of
from data_sets.made_clips import images
from fakes import COLOURS, ColourRuntime, model_info, write_video
from movinet.cli import build_app
from movinet.data.check import check_data
from movinet.data.copies import copies
from movinet.data.pack import pack_data
from movinet.data.samples import DataSet
from movinet.data.scan import scan_data, write_samples
from movinet.data.sources import open_data
from movinet.errors import ConfigError
from movinet.evaluation import evaluate
from movinet.training.batches.loader import TrainLoader
from movinet.training.inputs import open_train
from movinet.training.probing.cache import source_key
from movinet.video import FrameFolder
from movinet.video.finding import natural_order

NAMES = ("red/a", "red/b", "green/a", "green/b")


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same pictures as folders of PNG files and as lossless videos of 10 frames a second."""
    root = tmp_path_factory.mktemp("data")
    for number, name in enumerate(NAMES):
        (root / "frames" / name).mkdir(parents=True)
        (root / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        made = images(number, number, 12)
        for index, image in enumerate(made, start=1):
            Pictures.fromarray(image).save(root / "frames" / name / f"img_{index}.png")
        write_video(root / "videos" / f"{name}.mkv", made)
    return root / "frames", root / "videos"


def listed(folder: Path, text: str, suffix: str = ".csv") -> Path:
    path = folder.parent / f"list{suffix}"
    path.write_text(text)
    return path


def rates(data: DataSet) -> list[tuple[str, Any]]:
    return [(sample.media.name, sample.media.given_rate) for sample in data.samples]


def test_a_folder_per_class_may_have_folders_of_frames(stored: tuple[Path, Path]) -> None:
    frames, videos = stored
    data = open_data(frames, frame_rate=10)
    assert [sample.key for sample in data.samples] == sorted(NAMES, key=natural_order)
    assert data.labels == ("green", "red")
    assert {rate for _, rate in rates(data)} == {10}
    with pytest.raises(ConfigError, match=r"no video in this folder .*there are 24 pictures"):
        open_data(frames)
    with pytest.warns(UserWarning, match="no folders of numbered pictures, for which frame_rate"):
        open_data(videos, frame_rate=10)


def test_rows_of_a_list_may_name_folders_with_their_rates(stored: tuple[Path, Path]) -> None:
    frames, _ = stored
    text = f"path,label,frame_rate\nframes/red/a,red,12.5\n{frames}/green/a/,green,\n"
    path = listed(frames, text)
    assert rates(open_data(path, frame_rate=25)) == [
        (str(frames / "red/a"), 12.5),
        (str(frames / "green/a"), 25),
    ]
    with pytest.raises(ConfigError, match=r"line 3: '.*green/a/' is a folder; .* --frame-rate"):
        open_data(path)
    record = {"path": "frames/red/a", "label": "red", "frame_rate": 5}
    assert rates(open_data(listed(frames, json.dumps(record), ".jsonl")))[0][1] == 5
    text = '"frames/red/a" red\n"frames/green/a" green\n'
    assert [r for _, r in rates(open_data(listed(frames, text, ".txt"), frame_rate=10))] == [10, 10]


@pytest.mark.parametrize("rate", ["fast", "0", "nan", "1e9"])
def test_a_rate_that_cannot_be_is_one_line(stored: tuple[Path, Path], rate: str) -> None:
    frames, videos = stored
    text = f"path,label,frame_rate\nframes/red/a,red,{rate}\n"
    with pytest.raises(ConfigError, match=r"list\.csv, line 2: frame_rate must be frames per sec"):
        open_data(listed(frames, text))
    # Of a video file a column of this name is a remark.
    text = f"path,label,frame_rate\nvideos/red/a.mkv,red,{rate}\n"
    assert rates(open_data(listed(videos, text)))[0][1] is None


def test_what_is_written_of_a_scan_is_read_back(stored: tuple[Path, Path], tmp_path: Path) -> None:
    data = open_data(stored[0], frame_rate=10)
    for suffix in (".csv", ".tsv", ".jsonl"):
        path = tmp_path / f"all{suffix}"
        write_samples(path, data, range(len(data)))
        assert [sample.media for sample in open_data(path).samples] == [
            sample.media for sample in data.samples
        ]
    total = scan_data(data).total
    assert (total.samples, total.seconds) == (4, pytest.approx(4.8))
    assert (dict(total.sizes), dict(total.rates)) == ({(64, 48): 4}, {10: 4})


def test_checks_find_copies_and_damage(stored: tuple[Path, Path], tmp_path: Path) -> None:
    frames = tmp_path / "frames"
    shutil.copytree(stored[0], frames)
    shutil.copytree(frames / "red/b", frames / "red/c")
    (frames / "green/a/img_7.png").write_bytes(b"no picture")
    data = open_data(frames, frame_rate=10)
    found = {(Path(each.name).name, each.kind) for each in check_data(data, deep=True)}
    assert found == {("a", "damaged"), ("c", "duplicate")}
    original = open_data(stored[0], frame_rate=10)
    assert [data.samples[i].key for i in copies(data, original)] == [
        "green/b", "red/a", "red/b", "red/c",
    ]  # fmt: skip


def test_packed_folders_become_videos(stored: tuple[Path, Path], tmp_path: Path) -> None:
    data = open_data(stored[0], frame_rate=10)
    assert pack_data(data, tmp_path / "shards").samples == 4
    for one, other in zip(data.samples, open_data(tmp_path / "shards").samples, strict=True):
        assert other.media.extent() == pytest.approx((0, 1.2))
        pictures = (next(each.media.frames([0.65], 1e-3, [])) for each in (one, other))
        first, second = (picture.astype(int) for picture in pictures)
        assert np.abs(first - second).mean() < 4  # H.264


@pytest.mark.parametrize("streaming", [True, False])
def test_evaluations_are_those_of_the_videos(stored: tuple[Path, Path], streaming: bool) -> None:
    runtime = ColourRuntime(model_info(streaming=streaming))
    one, other = (
        evaluate(runtime, open_data(where, labels=COLOURS, frame_rate=rate))
        for where, rate in zip(stored, (10, None), strict=True)
    )
    kept, found = ({**e.to_json(), "data": "", "mistakes": None} for e in (one, other))
    assert kept == found
    assert kept["count"] == 4


def test_training_sees_what_it_sees_of_the_videos(stored: tuple[Path, Path]) -> None:
    batches = []
    for where, rate in zip(stored, (10, None), strict=True):
        config = config_of(
            data__train=str(where), data__frame_rate=rate, augment__crop_area=(0.3, 1)
        )
        data = open_train(config)
        batches.append(list(TrainLoader(data, config).first(2)))
    for one, other in zip(*batches, strict=True):
        assert torch.equal(one.video, other.video)
        assert torch.equal(one.targets, other.targets)


def test_cached_embeddings_are_of_the_pictures_and_their_rate(
    stored: tuple[Path, Path], tmp_path: Path
) -> None:
    frames = tmp_path / "frames"
    shutil.copytree(stored[0], frames)
    keys = [source_key(open_data(frames, frame_rate=r).samples[0]) for r in (10, 10, 20)]
    assert keys[0] == keys[1] != keys[2]
    Pictures.new("RGB", (64, 48)).save(frames / "green/a/img_3.png")
    assert source_key(open_data(frames, frame_rate=10).samples[0]) != keys[0]


def test_commands_take_folders_of_frames(stored: tuple[Path, Path], tmp_path: Path) -> None:
    frames, videos = stored

    def run(*arguments: object) -> Any:
        return CliRunner().invoke(build_app(), list(map(str, arguments)))

    rate, model = ("--frame-rate", "10"), ("-m", "motions")
    found = {}
    for where, options in ((frames, rate), (videos, ())):
        result = run("predict", where, *model, "--json", *options)
        assert result.exit_code == 0, result.stderr
        found[where] = [
            [frame["top"] for frame in video["predictions"]]
            for video in json.loads(result.stdout)["results"]
        ]
    assert len(found[frames]) == 4
    assert found[frames] == found[videos]
    out = tmp_path / "out.json"
    result = run("segments", frames / "red/a", *model, *rate, "-o", out)
    assert result.exit_code == 0, result.stderr
    assert out.is_file()
    result = run("data", "scan", frames, *rate, "--json")
    assert json.loads(result.stdout)["rates"] == {"10": 4}
    result = run("predict", frames, *model)
    assert result.exit_code == 1
    assert "give their frame rate (--frame-rate)" in result.stderr
    result = run("predict", videos, *model, *rate)
    assert result.exit_code == 2
    assert "--frame-rate is for folders of numbered pictures" in result.stderr
    result = run("predict", frames, *model, "--frame-rate", "0")
    assert result.exit_code == 2
    assert "--frame-rate must be frames per second, 0.001 to 1000, not 0" in result.stderr
    assert FrameFolder(frames / "red/a", 10).extent() == (0.0, 1.2)
