"""What a user gets by installing and importing: cheap imports, optional extras, a whole wheel."""

import os
import pkgutil
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path
from typing import Any

import pytest

import movinet
from movinet.errors import install_command

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "movinet"
#: Modules that need the extra `torch`; everything else is the runtime half.
MODEL_HALF = {
    "movinet.network.convolution",
    "movinet.training.batches.augment",
    "movinet.training.batches.views",
    "movinet.training.batches.loader",
    "movinet.training.batches.mixing",
    "movinet.training.batches.policies",
    "movinet.data.synth",
    "movinet.data.synth.generate",
    "movinet.data.synth.looks",
    "movinet.data.synth.motions",
    "movinet.data.synth.render",
    "movinet.data.synth.scene",
    "movinet.network.ensemble",
    *(f"movinet.exporting.{name}" for name in ("calibration", "executorch", "export", "folding")),
    *(f"movinet.exporting.{name}" for name in ("graph", "interpreter", "kernels", "native")),
    *(f"movinet.exporting.{name}" for name in ("onnx", "openvino", "quantize", "time")),
    *(f"movinet.exporting.{name}" for name in ("torch_export", "verify")),
    "movinet.weights.factory",
    "movinet.network.layers",
    "movinet.network.model",
    "movinet.torch_runtime",
    "movinet.network.state",
    "movinet.network.tap_sum",
    "movinet.training.build",
    "movinet.training.checkpoint",
    "movinet.training.distributed",
    "movinet.training.ema",
    "movinet.training.evaluating",
    "movinet.training.evaluation_loader",
    "movinet.training.failures",
    "movinet.training.inputs",
    "movinet.training.loop",
    "movinet.training.losses",
    "movinet.training.probing.embedders",
    "movinet.training.probing.fitting",
    "movinet.training.probing.logistic",
    "movinet.training.probing.run",
    "movinet.training.norm_statistics",
    "movinet.training.norms",
    "movinet.training.optimizers",
    "movinet.training.overview",
    "movinet.training.overrides",
    "movinet.training.recipes",
    "movinet.training.results",
    "movinet.training.rmsprop",
    "movinet.training.run",
    "movinet.training.step",
    "movinet.training.train",
    "movinet.training.validation",
    "movinet.weights.conversion",
    "movinet.weights.layouts",
    "movinet.weights.loading",
    "movinet.weights.saving",
    "movinet.checkpoints.torch_files",
}
EXTRAS = (
    *("torch", "safetensors", "google_crc32c", "filelock", "matplotlib", "PIL"),
    *("braceexpand", "tensorboard", "torchmetrics", "webdataset", "sklearn", "scipy", "yaml"),
    *("executorch", "onnx", "onnxruntime", "openvino", "paho"),
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


def project() -> dict[str, Any]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)["project"]


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


def test_runtime_half_imports_without_any_extra() -> None:
    runtime_half = [name for name in modules() if name not in MODEL_HALF]
    code = """
import importlib
for name in sys.argv[1:]:
    print(name, flush=True)
    importlib.import_module(name)
"""
    done = run(WITHOUT_EXTRAS + code, *runtime_half)
    assert done.returncode == 0, f"{done.stdout.split()[-1:]}: {done.stderr}"


def test_model_half_is_what_it_is_called() -> None:
    """Each module listed needs the extra: a list that is too long would hide a heavy import."""
    assert set(modules()) >= MODEL_HALF
    code = """
import importlib
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ImportError:
        continue
    print(name)
"""
    done = run(WITHOUT_EXTRAS + code, *sorted(MODEL_HALF))
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


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
    assert movinet.__version__ == project()["version"]
    done = run("from movinet.cli import main; main()", "--version")
    assert done.stdout == f"movinet {movinet.__version__}\n"


@pytest.mark.heavy
def test_wheel_is_whole(tmp_path: Path) -> None:
    command = ["pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    # The native engine is built, and looked for in a wheel, by the tests of its own.
    settings = {"PIP_CONSTRAINT": "", "PIP_FIND_LINKS": "", "MOVINET_NATIVE": "0"}
    environment = {**os.environ, **settings}
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
        "movinet/training/recipes/a0_stream.yaml",
    }
    assert metadata["License-Expression"] == "Apache-2.0"
    needed = [row for row in metadata.get_all("Requires-Dist", []) if "extra ==" not in row]
    assert sorted(needed) == sorted(project()["dependencies"])
