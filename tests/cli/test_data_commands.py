from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from data_sets.made_clips import write_clip
from movinet.cli import build_app
from movinet.data.sources import open_data

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: object) -> Result:
        environment = {"COLUMNS": "80"}
        return CliRunner().invoke(build_app(), ["data", *map(str, arguments)], env=environment)

    return invoke


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Two classes of six videos; one is broken, and one a copy."""
    folder = tmp_path / "videos"
    for i in range(10):
        write_clip(folder / f"class {i % 2}" / f"{i}.mp4", i, count=8)
    (folder / "class 0" / "broken.mp4").write_bytes(b"broken")
    (folder / "class 1" / "copy.mp4").write_bytes((folder / "class 1" / "3.mp4").read_bytes())
    return folder


def error(result: Result, code: int) -> str:
    """The one line of a failure."""
    assert result.exit_code == code, result.output
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    return lines[0]


def test_check_tells_what_is_bad_and_writes_a_list(run: Run, videos: Path) -> None:
    result = run("check", "videos", "-o", "bad.txt", "--workers", 1)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "videos: 12 samples, 2 bad (1 unreadable, 1 duplicate)",
        "  unreadable  videos/class 0/broken.mp4: not a video, or too damaged to read "
        "(invalid data found when processing input)",
        "  duplicate   videos/class 1/copy.mp4: the same bytes as videos/class 1/3.mp4",
    ]
    assert "wrote bad.txt" in result.stderr
    lines = (videos.parent / "bad.txt").read_text().splitlines()
    assert [line.split("\t")[:2] for line in lines] == [
        [str(videos / "class 0" / "broken.mp4"), "unreadable"],
        [str(videos / "class 1" / "copy.mp4"), "duplicate"],
    ]


def test_check_fails_only_if_it_is_strict(run: Run, videos: Path) -> None:
    assert run("check", "videos", "--strict", "--workers", 1).exit_code == 1
    (videos / "class 0" / "broken.mp4").unlink()
    (videos / "class 1" / "copy.mp4").unlink()
    result = run("check", "videos", "--strict", "--workers", 1)
    assert (result.exit_code, result.stdout) == (0, "videos: 10 samples, all good\n")


@pytest.mark.usefixtures("videos")
def test_check_as_json(run: Run) -> None:
    told = json.loads(run("check", "videos", "--workers", 1, "--min-frames", 9, "--json").stdout)
    assert (told["samples"], told["good"]) == (12, 0)
    assert told["kinds"] == {"unreadable": 1, "short": 11}
    assert set(told["findings"][0]) == {"name", "kind", "reason", "start", "end"}


@pytest.mark.parametrize("by", ["absolute path", "link"])
def test_videos_that_lie_elsewhere_are_told_of(run: Run, tmp_path: Path, by: str) -> None:
    """A stranger's list or folder could have files of one's own checked, packed and passed on."""
    mine = write_clip(tmp_path / "private" / "mine.mp4", 0, count=8)
    inside = write_clip(tmp_path / "theirs" / "a" / "0.mp4", 1, count=8)
    data: Path = tmp_path / "theirs"
    if by == "link":
        (data / "a" / "1.mp4").symlink_to(mine)
    else:
        data = data / "list.csv"
        data.write_text(f"path,label\n{mine},a\na/{inside.name},a\n")
    for done in (
        run("check", data, "--workers", "1"),
        run("pack", data, "-o", tmp_path / "shards"),
    ):
        told = " ".join(done.stderr.split())
        assert f"1 of 2 videos are not in {tmp_path / 'theirs'}" in told
        assert ("1.mp4" if by == "link" else "mine.mp4") + " the first" in told
    assert "are not in" not in run("check", tmp_path / "private", "--workers", "1").stderr


@pytest.mark.usefixtures("videos")
def test_scan_without_bad_files_is_a_manifest(run: Run, tmp_path: Path) -> None:
    run("check", "videos", "-o", "bad.txt", "--workers", 1)
    result = run("scan", "videos", "-o", "all.csv", "--exclude", "bad.txt")
    assert result.exit_code == 0
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["class", "samples", "seconds", "size", "fps"],
        ["class", "0", "5", "3.3", "64x48", "12"],
        ["class", "1", "5", "3.3", "64x48", "12"],
        ["all", "2", "10", "6.7", "64x48", "12"],
    ]
    assert "note: 2 of 12 samples are excluded" in result.stderr
    assert len(open_data(tmp_path / "all.csv")) == 10


@pytest.mark.usefixtures("videos")
def test_scan_names_what_cannot_be_opened(run: Run) -> None:
    result = run("scan", "videos", "--json")
    assert "warning: videos/class 0/broken.mp4: not a video" in result.stderr
    told = json.loads(result.stdout)
    assert (told["samples"], told["sizes"]) == (12, {"64x48": 11})
    assert told["classes"]["class 1"]["rates"] == {"12": 6}
    assert [each["name"] for each in told["unreadable"]] == ["videos/class 0/broken.mp4"]


def test_scan_tells_of_videos_outside_classes(run: Run, videos: Path) -> None:
    write_clip(videos / "loose.mp4", 1, count=2)
    result = run("scan", "videos")
    assert result.exit_code == 0
    assert "warning: videos: 1 video is in no folder of a class and left out" in result.stderr


@pytest.mark.usefixtures("videos")
def test_split_writes_manifests_of_all_parts(run: Run, tmp_path: Path) -> None:
    options = ["--valid", 0.2, "--test", 0.2, "--seed", 3]
    result = run("split", "videos", "-o", "new/splits", *options)
    assert result.exit_code == 0
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["class", "train", "valid", "test"],
        ["class", "0", "4", "1", "1"],
        ["class", "1", "4", "1", "1"],
        ["all", "2", "8", "2", "2"],
    ]
    parts = [open_data(tmp_path / f"new/splits/{name}.csv") for name in ("train", "valid", "test")]
    names = [{s.media.name for s in part.samples} for part in parts]
    assert [len(each) for each in names] == [8, 2, 2]
    assert len(set.union(*names)) == 12


@pytest.mark.usefixtures("videos")
def test_a_folder_that_cannot_be_made_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert error(run("split", "videos", "-o", "file"), 1) == "error: file: File exists"


@pytest.mark.usefixtures("videos")
def test_split_warns_of_an_old_test_part(run: Run) -> None:
    run("split", "videos", "-o", "splits", "--test", 0.2)
    result = run("split", "videos", "-o", "splits", "--json")
    assert "warning: splits/test.csv is of another split; remove it" in result.stderr
    told = json.loads(result.stdout)
    assert told["samples"] == {"train": 10, "valid": 2}
    assert told["classes"]["class 0"] == {"train": 5, "valid": 1}


@pytest.mark.usefixtures("videos")
def test_pack_writes_shards_that_can_be_trained_on(run: Run, tmp_path: Path) -> None:
    result = run("pack", "videos", "-o", "shards", "--shard-size", "10KB")
    assert result.exit_code == 0
    assert result.stdout.startswith("shards: 11 samples in ")
    assert result.stdout.endswith("MB; 1 left out\n")
    assert "warning: left out videos/class 0/broken.mp4: not a video" in result.stderr
    assert len(open_data(tmp_path / "shards")) == 11


@pytest.mark.usefixtures("videos")
def test_pack_encodes_anew(run: Run) -> None:
    options = ["--size", 24, "--rate", 6, "--workers", 1, "--json"]
    told = json.loads(run("pack", "videos", "-o", "shards", *options).stdout)
    assert (told["shards"], told["samples"]) == (1, 11)
    told = json.loads(run("scan", "shards", "--json").stdout)
    assert (told["sizes"], told["rates"]) == ({"32x24": 11}, {"6": 11})


def test_synth_makes_a_data_set(run: Run, tmp_path: Path) -> None:
    arguments = ["--seed", 1, "--clips-per-class", 1, "--task", "paths", "--workers", 1]
    result = run("synth", "made", *arguments)
    assert (result.exit_code, result.stdout) == (0, "made: 8 clips of 8 classes\n")
    assert len(open_data(tmp_path / "made")) == 8


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["scan", "nowhere"], 2, "nowhere: no such file or folder; a data set is"),
        (["check", "nowhere"], 2, "nowhere: no such file or folder"),
        (["scan", "videos", "-o", "all.txt"], 2, "all.txt: a manifest is one of .csv"),
        (["scan", "videos", "--exclude", "no.txt"], 2, "no.txt: cannot be read (No such file"),
        (["split", "videos", "-o", "s", "--valid", "1.2"], 2, "shares must be above 0"),
        (["split", "videos", "-o", "videos/class 0/0.mp4"], 1, "0.mp4"),
        (["pack", "videos", "-o", "videos"], 2, "videos: is there already; give a new folder"),
        (
            ["pack", "videos", "-o", "s", "--shard-size", "big"],
            2,
            "such as 256MB or 1GB, not 'big'",
        ),
        (
            ["synth", "s", "--seed", "1", "--clips-per-class", "1", "--task", "x"],
            2,
            "motions, paths",
        ),
    ],
)
@pytest.mark.usefixtures("videos")
def test_bad_usage_is_told_in_one_line(
    run: Run, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    before = set(tmp_path.rglob("*"))
    assert message in error(run(*arguments), code)
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("command", ["scan", "check", "split", "pack", "synth"])
def test_help_has_an_example(run: Run, command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"movinet data {command} " in result.stdout.split("For example:")[1]


def test_commands_start_without_torch() -> None:
    code = (
        "import sys; from movinet.cli import build_app; build_app()\n"
        "import movinet.data.check, movinet.data.pack, movinet.data.scan, movinet.data.split\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "False\n"
