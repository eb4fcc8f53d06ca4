from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from fakes import write_video
from movinet.cli import build_app
from movinet.errors import install_command
from movinet.training.config import TrainConfig
from movinet.training.recipes import list_recipes, load_config

Run = Callable[..., Result]
#: Runs the command line in a process that cannot import some modules.
WITHOUT = """
import sys
for name in {missing}:
    sys.modules[name] = None
from movinet.cli import main
sys.argv = ["movinet", *{arguments}]
main()
"""


@pytest.fixture
def run() -> Run:
    def invoke(*arguments: object, columns: int = 80) -> Result:
        environment = {"COLUMNS": str(columns)}
        return CliRunner().invoke(build_app(), ["train", *map(str, arguments)], env=environment)

    return invoke


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[TrainConfig]:
    """Replaces training; holds what would have been trained."""
    configs: list[TrainConfig] = []

    def train(config: TrainConfig) -> dict[str, float]:
        configs.append(config)
        return {"step": 12, "top1": 0.75}

    monkeypatch.setattr("movinet.training.run.run", train)
    return configs


def without(missing: list[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    code = WITHOUT.format(missing=missing, arguments=list(arguments))
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_a_recipe_with_settings_is_trained(run: Run, runs: list[TrainConfig]) -> None:
    settings = ["data.train=videos", "engine.batch_size=4", "augment.crop_area=[0.5, 1]"]
    result = run("finetune", *settings)
    assert result.exit_code == 0, result.output
    assert runs == [load_config("finetune", settings)]
    assert result.stdout == ""


def test_a_file_is_trained_and_the_figures_are_json(
    run: Run, runs: list[TrainConfig], tmp_path: Path
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("base: finetune\nengine: {batch_size: 2}\n")
    result = run(file, "engine.seed=3", "--json")
    assert json.loads(result.stdout) == {"step": 12, "top1": 0.75}
    assert runs[0].engine.batch_size == 2
    assert runs[0].engine.seed == 3


def test_show_prints_a_file_that_gives_the_same_run(
    run: Run, runs: list[TrainConfig], tmp_path: Path
) -> None:
    result = run("a0_stream", "engine.seed=3", "--show")
    assert result.exit_code == 0
    file = tmp_path / "shown.yaml"
    file.write_text(result.stdout)
    config = load_config("a0_stream", ["engine.seed=3"])
    assert load_config(str(file)) == config
    shown = run("a0_stream", "engine.seed=3", "--show", "--json").stdout
    assert TrainConfig.model_validate_json(shown) == config
    assert runs == []


def test_the_list_has_a_line_for_every_recipe_and_fits_a_terminal(run: Run) -> None:
    lines = run("--list").stdout.splitlines()
    cells = [line.split() for line in lines[1:-2] if not line.startswith(" ")]
    rows = {name: others for name, *others in cells}
    assert list(rows) == list(list_recipes())
    assert rows["a3_stream"] == [
        "64x256x256",
        "12",
        *["85,785", "steps", "Kinetics", "600,", "as", "published"],
    ]
    assert rows["finetune"][1:4] == ["5", "20", "epochs"]
    assert max(map(len, lines)) <= 80
    assert run("--list", columns=40).stdout.split() == run("--list", columns=200).stdout.split()


def test_the_list_as_json(run: Run) -> None:
    rows = {row["name"]: row for row in json.loads(run("--list", "--json").stdout)}
    assert {name: row["about"] for name, row in rows.items()} == list_recipes()
    config = load_config("finetune")
    row = rows["finetune"]
    assert (row["model"], row["weights"]) == (config.model.preset, config.model.weights)
    assert row["input"] == config.input.model_dump()
    assert (row["epochs"], row["steps"]) == (config.schedule.epochs, None)


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["fintune"], "no recipe 'fintune'; did you mean finetune?"),
        (["data.train=videos"], "the recipe comes first"),
        (["nowhere.yaml"], "nowhere.yaml: there is no such file"),
        (["finetune", "engine.batchsize=3"], "did you mean engine.batch_size?"),
        (["finetune", "engine.batch_size=0"], "engine.batch_size: must be greater than 0, not 0"),
        (["finetune"], "data.train is missing"),
        (["--json"], "name a recipe (a0_base, "),
    ],
)
def test_wrong_usage_is_one_line(run: Run, arguments: list[str], hint: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: ")
    assert hint in result.stderr


def test_help_has_examples(run: Run) -> None:
    text = run("--help").stdout
    assert re.search(r"For example:\s+movinet train probe data.train=", text)
    assert run().stdout.strip() == text.strip()  # without arguments


@pytest.mark.parametrize("arguments", [["--list"], ["a0_base", "--show"], ["a0_bas"]])
def test_looking_at_recipes_does_not_need_torch(arguments: list[str]) -> None:
    result = without(["torch"], "train", *arguments)
    assert result.returncode == (2 if arguments == ["a0_bas"] else 0), result.stderr
    assert "Traceback" not in result.stderr
    assert "\x1b" not in result.stdout


def test_without_the_extra_it_says_what_to_install(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = f"error: training needs an extra: {install_command('train')}\n"
    result = without(["yaml"], "train", "--list")
    assert (result.returncode, result.stderr) == (1, expected)

    def train(config: TrainConfig) -> dict[str, float]:
        del config
        raise ModuleNotFoundError("No module named 'tensorboard'", name="tensorboard")

    monkeypatch.setattr("movinet.training.run.run", train)  # it is imported when it is needed
    later = run("finetune")
    assert (later.exit_code, later.stderr) == (1, expected)


@pytest.mark.heavy
def test_a_folder_of_videos_becomes_a_model(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for label, level in (("dark", 40), ("light", 200)):
        for i in range(2):
            path = tmp_path / "videos" / label / f"{i}.mkv"
            path.parent.mkdir(parents=True, exist_ok=True)
            images = rng.normal(level, 20, (12, 40, 48, 3)).clip(0, 255).astype(np.uint8)
            write_video(path, list(images))
    result = run(
        *("finetune", "model.preset=t0_stream", "model.weights=null"),
        *("input.image_size=32", "input.short_side=32", "input.train_frames=2"),
        *("input.test_frames=2", "schedule.steps=3", "schedule.warmup_steps=1"),
        *("engine.batch_size=2", "engine.threads=1", "engine.device=cpu", "data.workers=0"),
        *(f"data.train={tmp_path / 'videos'}", f"data.valid={tmp_path / 'videos'}"),
        *(f"run.folder={tmp_path / 'run'}", "--json"),
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["step"] == 3
    assert (tmp_path / "run" / "labels.txt").read_text().split() == ["dark", "light"]
    assert (tmp_path / "run" / "model.safetensors").is_file()
    stored = load_config(str(tmp_path / "run" / "config.yaml"))
    assert stored.input.image_size == 32
    assert stored.data.train == str(tmp_path / "videos")
