"""A folder that any web server can give out: a page with the network inside, and its camera."""

from __future__ import annotations

import hashlib
import json
import shutil
from importlib.resources.abc import Traversable
from pathlib import Path

from movinet.errors import ConfigError, MovinetError
from movinet.files import replacing_folder
from movinet.runtime.loading import load
from movinet.runtime.manifest import Manifest
from movinet.text import printable
from movinet.web import device_files, package_files

#: What a folder has that this module wrote, with the names of its files: such a one is replaced.
_MARK = "movinet-page.json"
_MODEL = "model.mvn"
_ENGINES = ("wasm/movinet-simd128.wasm", "wasm/movinet-relaxed.wasm")
#: Nothing of other hosts, no inline scripts. The style and the icon of the page are its own.
_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; "
    "img-src 'self' data: blob:; media-src 'self' blob: mediastream:; connect-src 'self'; "
    "worker-src 'self'; manifest-src 'self'; form-action 'none'; base-uri 'none'"
)


def check_folder(folder: Path) -> Path:
    """See that a page can be written there; returns the folder, without links.

    Raises:
        ConfigError: If something else is there.
        MovinetError: If this installation has no engine for pages.
    """
    files = package_files()
    if any(name not in files for name in _ENGINES):
        raise MovinetError(
            "this installation has no engine for pages: build it in the sources with make wasm"
        )
    whole = folder.resolve()
    if not whole.exists():
        return whole
    if not whole.is_dir():
        raise ConfigError(printable(f"{folder} is no folder: give another one"))
    if Path.cwd().is_relative_to(whole):
        raise ConfigError(printable(f"{folder} has the folder that you are in: give another one"))
    if others := sorted(_others(whole)):
        raise ConfigError(
            printable(
                f"{folder} has other files in it, such as {others[0]}: give a new folder, or an "
                "empty one"
            )
        )
    return whole


def _others(folder: Path) -> set[str]:
    """Files of a folder that are not of a page which `write_page` wrote there."""
    found = {each.relative_to(folder).as_posix() for each in folder.rglob("*") if not each.is_dir()}
    try:
        own = json.loads((folder / _MARK).read_bytes())["files"]
        return found - {_MARK, *own}
    except (OSError, ValueError, TypeError, KeyError):
        return found


def write_page(path: Path, folder: Path) -> int:
    """Write a page around a model.

    Args:
        path: A .mvn file.
        folder: A new or an empty folder, or a page that this wrote before, which is replaced.

    Returns:
        The bytes of everything.

    Raises:
        ConfigError: If something else is there.
        MovinetError: If this installation has no engine for pages.
        OSError: If it cannot be written; nothing is left then.
    """
    whole = check_folder(folder)
    manifest = load(path).manifest
    with replacing_folder(whole, replace=True) as work:
        _fill(work, path, manifest)
        return sum(each.stat().st_size for each in work.rglob("*") if each.is_file())


def _fill(folder: Path, path: Path, manifest: Manifest) -> None:
    files: dict[str, Traversable] = {f"page/{name}": f for name, f in device_files().items()}
    worker = files.pop("page/sw.js")  # it serves what lies beside and below it
    index = files.pop("page/index.html")
    files |= {
        f"movinet/{name}": file
        for name, file in package_files().items()
        if name.endswith((".mjs", ".wasm"))
    }
    for name, file in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(file.read_bytes())
    shutil.copyfile(path, folder / _MODEL)
    (folder / "index.html").write_text(_index(index.read_text("utf-8")), "utf-8")
    (folder / "site.webmanifest").write_text(_app(manifest), "utf-8")
    names = sorted(
        each.relative_to(folder).as_posix() for each in folder.rglob("*") if each.is_file()
    )
    digest = hashlib.sha256()
    for name in names:
        digest.update(name.encode() + b"\0" + (folder / name).read_bytes())
    version = f"movinet-{digest.hexdigest()[:16]}"
    script = worker.read_text("utf-8").replace('"@VERSION@"', json.dumps(version))
    script = script.replace('"@FILES@"', ", ".join(map(json.dumps, ["./", *names])))
    (folder / "sw.js").write_text(script, "utf-8")
    mark = {
        "movinet_page": 1,
        "model": manifest.name,
        "version": version,
        "files": [*names, "sw.js"],
    }
    (folder / _MARK).write_text(json.dumps(mark), "utf-8")


def _index(html: str) -> str:
    more = (
        f'  <meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '  <link rel="manifest" href="site.webmanifest">\n'
        '  <script type="module" src="page/offline.js"></script>\n'
    )
    start = '  <meta charset="utf-8">\n'
    assert start in html
    return html.replace(start, start + more, 1)


def _app(manifest: Manifest) -> str:
    """What a phone needs to put the page among its apps."""
    name = manifest.name
    about = {
        "name": f"movinet: {name}",
        "short_name": name,
        "start_url": ".",
        "display": "standalone",
    }
    return json.dumps(about | {"background_color": "#ffffff", "theme_color": "#0b6bcb"})
