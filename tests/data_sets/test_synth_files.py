"""Data sets of made-up clips on disk: what is written, again and again the same, or refused."""

from __future__ import annotations

import importlib
import json
import re
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from data_sets.made_clips import die
from movinet.data.synth import TASKS, generate, render_clip
from movinet.errors import ConfigError, MissingExtraError, MovinetError, VideoError, install_command

# The package's `generate` is the function; this is the module around it.
module = importlib.import_module("movinet.data.synth.generate")


def contents(folder: Path) -> dict[str, bytes]:
    """Every file, hidden ones too."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synth") / "new" / "clips"
    return generate(folder, seed=7, clips_per_class=1, task="paths", workers=1)


def test_a_folder_per_class_with_labels_and_a_card(made: Path) -> None:
    names = set(contents(made))
    clips = {f"{label}/{label.replace(' ', '_')}_7_00000.mp4" for label in TASKS["paths"]}
    assert names == {"labels.txt", "synth.json", *clips}
    assert (made / "labels.txt").read_text().splitlines() == list(TASKS["paths"])
    card = json.loads((made / "synth.json").read_text())
    assert (card["task"], card["seed"]) == ("paths", 7)
    assert isinstance(card["version"], int)
    assert "motion" in card["about"]


def test_files_show_the_rendered_frames_at_their_rate(made: Path) -> None:
    for label in TASKS["paths"]:
        clip = render_clip("paths", label, 7, 0)
        path = made / label / f"{label.replace(' ', '_')}_7_00000.mp4"
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            assert stream.average_rate == clip.frame_rate
            decoded = np.stack([f.to_ndarray(format="rgb24") for f in container.decode(stream)])
        assert decoded.shape == clip.frames.shape
        assert np.abs(decoded.astype(int) - clip.frames).mean() < 16  # noise and colours are lost
        seconds = len(decoded) / clip.frame_rate
        assert 1.9 <= seconds <= 2.7


def test_processes_and_an_interruption_change_nothing(made: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    steps: list[tuple[int, int]] = []
    generate(again, seed=7, clips_per_class=1, task="paths", workers=2, progress=_keep(steps))
    assert steps == [(done, 8) for done in range(1, 9)]
    assert contents(again) == contents(made)
    gone, kept = again / "nodding" / "nodding_7_00000.mp4", again / "pulsing"
    before = {path: path.stat().st_mtime_ns for path in kept.iterdir()}
    gone.unlink()
    (again / "labels.txt").unlink()  # as if ended before they were written
    generate(again, seed=7, clips_per_class=1, task="paths", workers=1)
    assert contents(again) == contents(made)
    assert {path: path.stat().st_mtime_ns for path in kept.iterdir()} == before


def _keep(steps: list[tuple[int, int]]) -> Any:
    return lambda done, total: steps.append((done, total))


def test_seed_number_class_and_task_all_decide() -> None:
    first = render_clip("motions", "still", 1, 0)
    assert np.array_equal(first.frames, render_clip("motions", "still", 1, 0).frames)
    for other in (
        render_clip("motions", "still", 2, 0),
        render_clip("motions", "still", 1, 1),
        render_clip("motions", "shaking", 1, 0),
        render_clip("paths", "moving up left", 1, 0),
    ):
        same = first.frames.shape == other.frames.shape
        assert not same or np.abs(first.frames.astype(int) - other.frames).mean() > 10


@pytest.mark.parametrize("stage", ["render", "write"])
def test_a_failure_leaves_no_part_of_a_clip(
    stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    # The encoder's first use of a fraction comes when the file is open.
    monkeypatch.setattr(module, {"render": "render_clip", "write": "Fraction"}[stage], fail)
    with pytest.raises((VideoError, OSError), match="No space left on device"):
        generate(tmp_path / "out", seed=1, clips_per_class=1, workers=1)
    monkeypatch.undo()
    assert set(contents(tmp_path / "out")) == {"labels.txt", "synth.json"}


def refused(out: Path, **arguments: Any) -> str:
    """The message of a call that is not allowed."""
    settings = {"seed": 7, "clips_per_class": 1, "workers": 1, **arguments}
    with pytest.raises(ConfigError) as caught:
        generate(out, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.heavy
def test_a_process_that_is_ended_from_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_write_clip", die)
    with pytest.raises(VideoError, match="repeat the call to continue, with fewer workers"):
        generate(tmp_path / "out", seed=1, clips_per_class=1, workers=2)


def test_other_peoples_folders_are_left_alone(made: Path, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "letter.txt").write_text("mine")
    file = tmp_path / "file"
    file.write_text("mine")
    for out in (taken, file):
        assert str(out) in refused(out)
    assert "seed is 7, not 8" in refused(made, seed=8, task="paths")
    assert "task is 'paths', not 'motions'" in refused(made)
    assert contents(tmp_path) == {"taken/letter.txt": b"mine", "file": b"mine"}
    assert {path.name for path in made.iterdir() if path.is_dir()} == set(TASKS["paths"])


@pytest.mark.parametrize("card", [b"\xff\x00", b"[" * 9000, b"[]", b'{"task": "motions"}'])
def test_a_card_that_is_none_is_refused(card: bytes, tmp_path: Path) -> None:
    (tmp_path / "synth.json").write_bytes(card)
    assert "synth.json" in refused(tmp_path)
    assert contents(tmp_path) == {"synth.json": card}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"task": "dances"}, "task must be one of motions, paths, not 'dances'"),
        ({"seed": -1}, "seed must be between 0 and 4294967295, not -1"),
        ({"seed": 2**32}, "seed must be between 0 and 4294967295, not 4294967296"),
        ({"clips_per_class": 0}, "clips_per_class must be 1 or more, not 0"),
        ({"workers": 0}, "workers must be 1 or more, not 0"),
    ],
)
def test_arguments_that_are_not_allowed(
    arguments: dict[str, Any], said: str, tmp_path: Path
) -> None:
    assert refused(tmp_path / "out", **arguments) == said
    assert not (tmp_path / "out").exists()


def test_clips_that_there_are_not() -> None:
    with pytest.raises(ConfigError, match="task 'paths' has no class 'still'; has: moving up left"):
        render_clip("paths", "still", 1, 0)
    with pytest.raises(ConfigError, match="number must be 0 or more, not -1"):
        render_clip("motions", "still", 1, -1)


def test_without_pillow_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.delitem(sys.modules, "movinet.data.synth")
    with pytest.raises(MissingExtraError, match=re.escape(install_command("train"))) as caught:
        importlib.import_module("movinet.data.synth")
    assert isinstance(caught.value, MovinetError)
