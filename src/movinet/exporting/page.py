"""A folder that any web server can give out: a page with the network inside, and its camera."""

from __future__ import annotations

import hashlib
import json
import shutil
from importlib.resources.abc import Traversable
from pathlib import Path

from movinet.errors import ConfigError, MovinetError
from movinet.files import temporary_name
from movinet.runtime.loading import load
from movinet.runtime.manifest import Manifest
from movinet.text import printable
from movinet.web import device_files, package_files

#: What a folder has that this module wrote; only such a one is replaced.
_MARK = "movinet-page.json"
_MODEL = "model.mvn"
_ENGINES = ("wasm/movinet-simd128.wasm", "wasm/movinet-relaxed.wasm")
#: Nothing of other hosts, no inline scripts. The style and the icon of the page are its own.
_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; "
    "img-src 'self' data: blob:; media-src 'self' blob: mediastream:; connect-src 'self'; "
    "worker-src 'self'; manifest-src 'self'; form-action 'none'; base-uri 'none'"
)


def check_folder(folder: Path) -> None:
    """See that a page can be written there.

    Raises:
        ConfigError: If something else is there.
        MovinetError: If this installation has no engine for pages.
    """
    files = package_files()
    if any(name not in files for name in _ENGINES):
        raise MovinetError(
            "this installation has no engine for pages: build it in the sources with make wasm"
        )
    if not folder.exists() and not folder.is_symlink():
        return
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder: give another one")
    if any(folder.iterdir()) and not (folder / _MARK).is_file():
        raise ConfigError(f"{folder} has other files in it: give a new folder, or an empty one")


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
    check_folder(folder)
    manifest = load(path).manifest
    work = temporary_name(folder, "")
    try:
        work.mkdir(parents=True)
        _fill(work, path, manifest)
        size = sum(each.stat().st_size for each in work.rglob("*") if each.is_file())
        _put(work, folder)
    except OSError as error:
        raise OSError(
            printable(f"{folder}: cannot be written ({error.strerror or error})")
        ) from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return size


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
    mark = {"movinet_page": 1, "model": manifest.name, "version": version}
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


def _put(work: Path, folder: Path) -> None:
    """The new page in the place of an old one, or of none."""
    if not folder.exists():
        work.rename(folder)
        return
    old = temporary_name(folder, "")
    folder.rename(old)
    try:
        work.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
