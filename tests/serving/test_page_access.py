"""Who may use the page and its client, what they are told, and whether they can read it."""

import functools
import json
import re
import threading
from collections.abc import Callable
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from page_tools import LABEL, READY, Serving, shows

from browser import CHROMIUM, Page

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
]


def test_a_token_is_asked_for_and_a_full_server_says_so(
    serving: Serving, visit: Callable[..., Page]
) -> None:
    token = "secret/+=word"  # nothing that fits a WebSocket's subprotocols
    serving.start("--max-streams", "1", token=token)
    page = visit(serving)
    page.wait("!document.getElementById('token').hidden")
    assert page.value("document.activeElement.id") == "token-field"
    page.type_keys([*"wrong", "Enter"])
    page.wait("document.getElementById('notice').innerText.includes('does not take this token')")
    page.type_keys([*token, "Enter"])
    page.wait(READY)
    page.click("#camera")
    page.wait(shows(LABEL))
    page.click("#new")
    notice = page.wait("document.getElementById('notice').innerText")
    assert notice == (
        "No stream was made: the server is full (the limit of open streams is 1); end a "
        "stream, or try again in 5 s."
    )
    # The tab keeps the token and the stream; the browser's disk does not have them.
    page.call("Page.reload")
    page.wait(READY)
    page.wait("document.querySelector('.state')?.innerText === 'Connected'")
    assert page.value("localStorage.length + document.cookie.length") == 0
    assert page.errors == []


@pytest.mark.parametrize(
    ("flags", "address", "sentence"),
    [
        ((), "127.0.0.1", "There is no camera: connect one and try again, or open a file."),
        (
            ("--use-fake-device-for-media-stream", "--deny-permission-prompts"),
            "127.0.0.1",
            "The camera is not allowed: allow it in the browser's settings of this page and try "
            "again.",
        ),
        (
            ("--host-resolver-rules=MAP cam.test 127.0.0.1",),
            "cam.test",
            "Browsers give a camera only to pages of this machine or over HTTPS: open the page at "
            "http://localhost, or put the server behind HTTPS, or open a file.",
        ),
    ],
)
def test_a_camera_that_is_not_there_is_a_sentence(
    serving: Serving,
    visit: Callable[..., Page],
    flags: tuple[str, ...],
    address: str,
    sentence: str,
) -> None:
    serving.start("--allow-host", "cam.test")
    serving.url = f"http://{address}:{serving.port}/"
    page = visit(serving, flags)
    page.wait(READY)
    page.click("#camera")
    page.wait(f"document.getElementById('notice').innerText === {json.dumps(sentence)}")
    assert page.errors == []


#: A page of somebody else, with the server's client.
OTHER_PAGE = """<!doctype html><script type="module">
try {{
  const {{ Server }} = await import("{server}page/server.js");
  const {{ StreamSocket }} = await import("{server}page/socket.js");
  const server = new Server("{server}", "{token}");
  const {{ id }} = await server.create({{ half_life: 2 }});
  const canvas = new OffscreenCanvas(80, 60);
  canvas.getContext("2d").fillRect(0, 0, 40, 60);
  const jpeg = await canvas.convertToBlob({{ type: "image/jpeg" }});
  const stream = new StreamSocket(server, id);
  const result = new Promise((resolve) =>
    stream.addEventListener("result", ({{ detail }}) => resolve(detail)));
  stream.addEventListener("hello", () => stream.takes(7.5) && stream.send(jpeg, 7.5));
  stream.open();
  const {{ top, time }} = await result;
  stream.close();
  await server.end(id);
  window.told = {{ label: top[0].label, time, left: (await server.streams()).length }};
}} catch (error) {{ window.told = {{ failure: error.message }}; }}
</script>"""


@pytest.mark.parametrize("allowed", [True, False])
def test_pages_of_allowed_origins_use_the_client(
    serving: Serving, visit: Callable[..., Page], tmp_path: Path, allowed: bool
) -> None:
    handler = functools.partial(_QuietHandler, directory=str(tmp_path / "site"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as site:
        threading.Thread(target=site.serve_forever, args=(0.01,)).start()
        try:
            origin = f"http://127.0.0.1:{site.server_port}"
            options = ("--allow-origin", origin if allowed else "http://other.test")
            serving.start(*options, token="known")
            (tmp_path / "site").mkdir()
            text = OTHER_PAGE.format(server=serving.url, token="known")
            (tmp_path / "site" / "index.html").write_text(text)
            serving.url = f"{origin}/"
            told = visit(serving, ()).wait("window.told")
        finally:
            site.shutdown()
    if allowed:
        assert told == {"label": "still", "time": 0.0, "left": 0}
    else:
        assert "failure" in told


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        pass


def test_text_has_contrast_in_both_themes() -> None:
    style = (resources.files("movinet.web") / "page" / "style.css").read_text()
    light, dark = style.split("@media (prefers-color-scheme: dark)")
    for part in (light, dark):
        colours = dict(re.findall(r"--([\w-]+): (#\w{6});", part))
        assert len(colours) >= 18
        pairs = [(name, "card") for name in colours if name.startswith("class-")]
        pairs += [(name, back) for name in ("ink", "faint", "accent") for back in ("card", "back")]
        pairs += [
            ("on-accent", "accent"),
            ("warn", "warn-back"),
            ("warn", "card"),
            ("good", "card"),
        ]
        for name, back in pairs:
            assert contrast(colours[name], colours[back]) >= 4.5, (name, back)
        assert contrast(colours["edge"], colours["card"]) >= 3


def contrast(one: str, other: str) -> float:
    """As WCAG 2 defines it."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
