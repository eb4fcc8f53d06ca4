"""What a user gets by installing and importing: cheap imports, optional extras, a whole wheel."""

import os
import pkgutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable
from email.parser import Parser
from pathlib import Path
from typing import Any

import pytest
import yaml

import movinet
from movinet.errors import install_command

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "movinet"
#: Rooms whose modules import without any extra, beside those of the contract in pyproject.toml.
ALSO_WITHOUT_EXTRAS = (
    *("movinet.benchmarking", "movinet.cli", "movinet.evaluation", "movinet.live"),
    *("movinet.opening", "movinet.prediction"),
)
#: Made-up videos are drawn with Pillow; a server is nothing without its packages.
NEED_AN_EXTRA = ("movinet.data.synth", "movinet.client", "movinet.serving")
EXTRAS = (
    *("torch", "safetensors", "google_crc32c", "filelock", "matplotlib", "PIL"),
    *("braceexpand", "tensorboard", "torchmetrics", "webdataset", "sklearn", "scipy", "yaml"),
    *("executorch", "jinja2", "onnx", "onnxruntime", "openvino", "paho"),
    *("fastapi", "httpx", "prometheus_client", "starlette", "uvicorn", "websockets"),
)
#: As if the extras were not installed.
WITHOUT_EXTRAS = f"import sys; sys.modules.update(dict.fromkeys({EXTRAS!r}))\n"


def run(code: str, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
    )


def settings() -> dict[str, Any]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)


def project() -> dict[str, Any]:
    return settings()["project"]


def modules() -> list[str]:
    found = pkgutil.walk_packages([str(PACKAGE)], "movinet.")
    return sorted(module.name for module in found)


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = {*EXTRAS, "ai_edge_litert", "av", "numpy", "rich", "typer"}
    done = run(f"import movinet, sys; print(*sorted({heavy!r} & set(sys.modules)))")
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")


def test_every_public_name_is_there() -> None:
    assert sorted(movinet.__all__) == dir(movinet)
    assert [name for name in movinet.__all__ if getattr(movinet, name, None) is None] == []
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        movinet.no_such_name  # noqa: B018


def in_rooms(name: str, rooms: Iterable[str]) -> bool:
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


def test_runtime_half_imports_without_any_extra() -> None:
    (contract,) = (
        contract
        for contract in settings()["tool"]["importlinter"]["contracts"]
        if contract["type"] == "forbidden"
    )
    rooms = (*contract["source_modules"], *ALSO_WITHOUT_EXTRAS)
    runtime_half = [
        name for name in modules() if in_rooms(name, rooms) and not in_rooms(name, NEED_AN_EXTRA)
    ]
    assert len(runtime_half) > 100
    code = """
import importlib
for name in sys.argv[1:]:
    print(name, flush=True)
    importlib.import_module(name)
"""
    done = run(WITHOUT_EXTRAS + code, *runtime_half)
    assert done.returncode == 0, f"{done.stdout.split()[-1:]}: {done.stderr}"


def test_names_that_need_an_extra_say_how_to_install_it() -> None:
    code = """
import movinet
for name in ("create_model", "export"):
    try:
        getattr(movinet, name)
    except movinet.MissingExtraError as error:
        print(error)
"""
    done = run(WITHOUT_EXTRAS + code)
    model, export = done.stdout.splitlines()
    assert "pip install -e '.[torch]' in " in model
    assert "pip install -e '.[export]' in " in export


@pytest.mark.parametrize(
    ("installed", "command"),
    [
        ("src/movinet/errors.py", "pip install -e '.[plot]' in {root}"),
        ("lib/python3.11/site-packages/movinet/errors.py", "pip install 'movinet[plot]'"),
    ],
)
def test_the_hint_fits_how_it_was_installed(tmp_path: Path, installed: str, command: str) -> None:
    """There is no package of this name in an index: in a checkout pip has to be given that."""
    file = tmp_path / installed
    file.parent.mkdir(parents=True)
    if installed.startswith("src"):
        (tmp_path / "pyproject.toml").touch()
    assert install_command("plot", file) == command.format(root=tmp_path)


@pytest.mark.parametrize(
    ("suffix", "blocked", "extra"),
    [
        (".xml", ("onnx",), "openvino"),
        (".xml", ("openvino",), "openvino"),
        (".onnx", ("onnx",), "onnx"),
        (".tflite", ("flatbuffers",), "export"),
        (".pte", ("executorch",), "executorch"),
        (".xml", ("torch",), "export,openvino"),
        (".onnx", ("torch",), "export,onnx"),
        (".mvn", ("torch",), "export"),
    ],
)
def test_an_export_names_the_extra_of_its_format(
    tmp_path: Path, suffix: str, blocked: tuple[str, ...], extra: str
) -> None:
    code = f"""
import sys
for name in {blocked!r}:
    sys.modules[name] = None
from movinet.cli import main
main()
"""
    done = run(code, "export", "motions", "-o", str(tmp_path / f"a{suffix}"))
    assert done.returncode == 1
    assert f".[{extra}]' in " in done.stderr.splitlines()[-1], done.stderr
    assert not list(tmp_path.iterdir())


def test_command_line_without_an_extra_is_one_line() -> None:
    code = "from movinet.cli import main; main()"
    clip = str(PACKAGE / "demo" / "clip.mp4")
    done = run(WITHOUT_EXTRAS + code, "predict", clip, "--model", "a0_stream")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    assert "pip install -e '.[torch]' in " in done.stderr


def test_version_is_said_once() -> None:
    assert project()["dynamic"] == ["version"]
    done = run("from movinet.cli import main; main()", "--version")
    assert done.stdout == f"movinet {movinet.__version__}\n"


@pytest.mark.heavy
def test_wheel_is_whole(tmp_path: Path) -> None:
    command = ["pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    # The native engine is built, and looked for in a wheel, by the tests of its own.
    own = {"PIP_CONSTRAINT": "", "PIP_FIND_LINKS": "", "MOVINET_NATIVE": "0"}
    environment = {**os.environ, **own}
    done = subprocess.run(
        [sys.executable, "-m", *command, "--wheel-dir", str(tmp_path), str(ROOT)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        info = f"movinet-{movinet.__version__}.dist-info"
        metadata = Parser().parsestr(archive.read(f"{info}/METADATA").decode())
        assert archive.read(f"{info}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
        assert b"movinet = movinet.cli:main" in archive.read(f"{info}/entry_points.txt")
    files = {
        f"movinet/{path.relative_to(PACKAGE).as_posix()}"
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix not in (".so", ".pyd")
    }
    assert {name for name in names if not name.startswith(info)} == files
    assert names >= {
        "movinet/py.typed",
        *(f"movinet/labels/kinetics_{classes}.txt" for classes in (400, 600, 700)),
        "movinet/demo/clip.mp4",
        "movinet/embedded/motions.md",
        "movinet/embedded/motions.safetensors",
        "movinet/embedded/motions.tflite",
        "movinet/evaluation/report.html",
        "movinet/serving/page/backend.js",
        "movinet/web/page/index.html",
        "movinet/web/device/worker.js",
        "movinet/web/js/index.mjs",
        "movinet/training/recipes/a0_stream.yaml",
    }
    assert metadata["License-Expression"] == "Apache-2.0"
    needed = [row for row in metadata.get_all("Requires-Dist", []) if "extra ==" not in row]
    assert sorted(needed) == sorted(project()["dependencies"])


def test_hooks_before_a_commit_are_what_make_lint_runs() -> None:
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\nlint:")[2]
    lines = recipe.partition("\n\n")[0].splitlines()[1:]
    commands = [line.strip().replace("$(BIN)", ".venv/bin") for line in lines]
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert [hook["entry"] for hook in config["repos"][0]["hooks"]] == commands
    assert len(commands) > 3


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("presets", "input_spec, preset_config, list_models"),
        ("config", "InputSpec, MoViNetConfig"),
        ("complexity", "count_multiply_adds, count_parameters, count_state_bytes"),
    ],
)
def test_what_pages_once_imported_is_still_there(module: str, names: str) -> None:
    """With a warning that says where it is now."""
    code = f"from movinet.{module} import {names}; import movinet as m; "
    code += f"assert ({names}) == ({', '.join('m.' + name for name in names.split(', '))})"
    quiet = subprocess.run(
        [sys.executable, "-W", "default", "-c", code], capture_output=True, text=True, check=False
    )
    assert quiet.returncode == 0, quiet.stderr
    assert f"movinet.{module} has moved: import its names from movinet" in quiet.stderr
