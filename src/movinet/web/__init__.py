"""What runs in browsers and Node.js.

`js/` is the JavaScript package, with the engine in WebAssembly; `page/` a page that shows streams,
whatever computes them: a server (movinet.serving), or the browser itself (`device/`).
"""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable


def package_files() -> dict[str, Traversable]:
    """The files of the JavaScript package by their paths in it."""
    folder = resources.files(__name__) / "js"
    found = {f"wasm/{item.name}": item for item in _children(folder / "wasm")}
    return found | {item.name: item for item in _children(folder)}


def page_files(own: Traversable) -> dict[str, Traversable]:
    """The files of the page by name: those of every page, and a folder's own with `backend.js`."""
    shared = resources.files(__name__) / "page"
    return {item.name: item for item in [*_children(shared), *_children(own)]}


def device_files() -> dict[str, Traversable]:
    """The files of the page whose streams the browser computes."""
    return page_files(resources.files(__name__) / "device")


def _children(folder: Traversable) -> list[Traversable]:
    if not folder.is_dir():
        return []
    return sorted((i for i in folder.iterdir() if i.is_file()), key=lambda item: item.name)
