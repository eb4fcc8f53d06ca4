"""The page about JavaScript, and the package as others install it."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import movinet
from js_models import PACKAGE, WASM, needs_wasm
from movinet.version import __version__
from movinet.weights.factory import load_model

ROOT = Path(__file__).parents[2]
needs_npm = pytest.mark.skipif(shutil.which("npm") is None, reason="needs npm")


@needs_wasm
@needs_npm
def test_the_page_runs_with_the_packed_package(tmp_path: Path) -> None:
    pack = ["npm", "pack", "--silent", "--pack-destination", tmp_path]
    done = subprocess.run(pack, cwd=PACKAGE, capture_output=True, text=True, check=True)
    archive = tmp_path / done.stdout.strip()
    unpacked = tmp_path / "node_modules" / "movinet"
    unpacked.mkdir(parents=True)
    subprocess.run(["tar", "xzf", archive, "--strip-components=1", "-C", unpacked], check=True)
    movinet.export(load_model(None, "motions"), tmp_path / "motions.mvn")
    page = (ROOT / "docs" / "javascript.md").read_text()
    (code,) = re.findall(r"^```js\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "page.mjs").write_text(code)
    run = ["node", "page.mjs"]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *best, last = done.stdout.splitlines()
    labels = movinet.load("motions").info.labels
    assert all(line.rsplit(" ", 1)[0] in labels for line in best)
    assert len(best) == 3
    assert last == "8 1 256"


def test_the_package_has_the_version_of_movinet_and_all_its_files() -> None:
    package = json.loads((PACKAGE / "package.json").read_text())
    assert package["version"] == __version__
    for path in (package["main"], package["types"], package["exports"]["."]["default"]):
        assert (PACKAGE / path).is_file()
    modules = {path.name for path in PACKAGE.glob("*.mjs")}
    for module in modules:
        imported = re.findall(r'from "\./(.+?)"', (PACKAGE / module).read_text())
        assert modules.issuperset(imported)


def test_every_export_has_its_type() -> None:
    exported = re.findall(r"export \{ (.*?) \}", (PACKAGE / "index.mjs").read_text())
    names = {name for line in exported for name in line.split(", ")}
    types = (PACKAGE / "index.d.ts").read_text()
    typed = set(re.findall(r"^export (?:class|function|const) (\w+)", types, re.MULTILINE))
    assert names == typed


@needs_wasm
def test_the_engine_is_small() -> None:
    import gzip

    assert [path.name for path in WASM] == ["movinet-relaxed.wasm", "movinet-simd128.wasm"]
    for path in WASM:
        assert len(gzip.compress(path.read_bytes(), 9)) <= 120 * 1024
