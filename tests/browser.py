"""Chromium, driven over its DevTools protocol: the page allows no scripts but its own."""

import base64
import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from websockets.sync.client import ClientConnection, connect

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
#: Of a window that a fake camera fills.
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-proxy-server",
    "--remote-debugging-port=0",
)


class Page:
    """A tab.

    Attributes:
        errors: What scripts and the browser have complained about; those of the network apart.
        network_errors: Requests that failed.
    """

    def __init__(self, connection: ClientConnection) -> None:
        self._socket = connection
        self._number = 0
        self.errors: list[str] = []
        self.network_errors: list[str] = []
        for domain in ("Runtime", "Log", "Page", "DOM"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command of the protocol, and its result."""
        self._number += 1
        command = {"id": self._number, "method": method, "params": parameters}
        self._socket.send(json.dumps(command))
        while True:
            message = json.loads(self._socket.recv(60))
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        about = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(about["exceptionDetails"]))
        elif message.get("method") == "Runtime.consoleAPICalled" and about["type"] == "error":
            self.errors.append(json.dumps(about["args"]))
        elif message.get("method") == "Log.entryAdded" and about["entry"]["level"] == "error":
            of_network = about["entry"]["source"] in ("network", "javascript")
            (self.network_errors if of_network else self.errors).append(about["entry"]["text"])

    def value(self, expression: str, gesture: bool = False) -> Any:
        """What a script gives; a promise is awaited."""
        answer = self.call(
            "Runtime.evaluate",
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
            userGesture=gesture,
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, expression: str, seconds: float = 30.0) -> Any:
        """What a script gives, as soon as it is true."""
        end = time.monotonic() + seconds
        while not (found := self.value(expression)):
            if time.monotonic() > end:
                shown = self.value("document.body.innerText")
                raise AssertionError(f"not {expression}: {self.errors}; it shows:\n{shown}")
            time.sleep(0.05)
        return found

    def text(self, selector: str) -> str:
        """What an element shows."""
        return self.value(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")

    def texts(self, selector: str) -> list[str]:
        """What elements show."""
        query = f"[...document.querySelectorAll({json.dumps(selector)})]"
        return self.value(f"{query}.map((element) => element.innerText)")

    def click(self, selector: str) -> None:
        """Press a button."""
        self.value(f"document.querySelector({json.dumps(selector)}).click()", gesture=True)

    def type_keys(self, keys: Sequence[str]) -> None:
        """Press keys."""
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "ArrowRight": 39, "End": 35}
        for key in keys:
            text = {"Enter": "\r", " ": " "}.get(key, key if len(key) == 1 else "")
            press = {"key": key, "windowsVirtualKeyCode": codes.get(key, 0), "text": text}
            self.call("Input.dispatchKeyEvent", type="keyDown", **press)
            self.call("Input.dispatchKeyEvent", type="keyUp", **(press | {"text": ""}))

    def choose(self, selector: str, *files: Path) -> None:
        """Give files to a field."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])

    def drop(self, selector: str, file: Path) -> None:
        """Drop a file on an element."""
        box = self.value(
            f"(({{left, top}}) => [left, top])(document.querySelector({json.dumps(selector)})"
            ".getBoundingClientRect())"
        )
        data = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=box[0] + 20, y=box[1] + 20, data=data)

    def resize(self, width: int, height: int = 900) -> None:
        """Look through a window of another size."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def use_theme(self, theme: str) -> None:
        """Prefer light or dark."""
        features = [{"name": "prefers-color-scheme", "value": theme}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def screenshot(self, path: Path) -> None:
        """A picture of all of the page."""
        picture = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(picture["data"]))


@contextlib.contextmanager
def open_page(url: str, profile: Path, *flags: str) -> Iterator[Page]:
    """A page in a browser of its own.

    Args:
        url: Of the page.
        profile: Folder for what the browser keeps.
        *flags: More of the browser's.
    """
    profile.mkdir(parents=True, exist_ok=True)
    (profile / "DevToolsActivePort").unlink(missing_ok=True)
    browser = subprocess.Popen(
        [str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", *flags, "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        port = _debugging_port(profile / "DevToolsActivePort", browser)
        with urlopen(f"http://127.0.0.1:{port}/json/list", timeout=30) as answer:
            tabs = json.load(answer)
        (address,) = (tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
        with connect(address, max_size=None, open_timeout=30) as connection:
            page = Page(connection)
            page.resize(1440)
            page.call("Page.navigate", url=url)
            page.wait("document.readyState === 'complete' && location.href !== 'about:blank'")
            yield page
    finally:
        browser.terminate()
        browser.wait(30)


def _debugging_port(path: Path, browser: subprocess.Popen[bytes]) -> int:
    end = time.monotonic() + 60
    while time.monotonic() < end and browser.poll() is None:
        if path.exists() and (lines := path.read_text().split()):
            return int(lines[0])
        time.sleep(0.05)
    raise AssertionError("Chromium did not start")
