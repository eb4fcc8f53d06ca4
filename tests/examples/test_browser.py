"""The page in a browser: onnxruntime-web gives Python's numbers, and the page shows them."""

import functools
import json
import queue
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import movinet
from movinet.video import VideoReader, resample

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
CLIP = ROOT / "src" / "movinet" / "demo" / "clip.mp4"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.timeout(900),
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
    pytest.mark.skipif(shutil.which("npm") is None, reason="needs npm"),
]

#: Waits for the page in its frame, and tells what is to be read on it.
WATCHER = """<!doctype html><iframe id="page" src="{page}" width="900" height="900"></iframe>
<script type="module">
const page = document.getElementById("page");
while (!["done", "failed"].includes(page.contentDocument?.body?.dataset.state)) {{
  await new Promise((resolve) => setTimeout(resolve, 50));
}}
const text = (element) => [...element.children].map((child) => child.textContent);
const {{ contentDocument: shown }} = page;
await fetch("/tell", {{ method: "POST", body: JSON.stringify({{
  state: shown.body.dataset.state,
  status: shown.getElementById("status").textContent,
  best: [...shown.getElementById("best").children].map(text),
}}) }});
</script>"""
#: Runs a program with the runtime, and tells its result or its failure.
PROGRAM = """<!doctype html><script type="importmap">{{"imports": {{
  "onnxruntime-web": "/examples/browser/node_modules/onnxruntime-web/dist/ort.wasm.bundle.min.mjs"
}}}}</script><script type="module">
const tell = (result) => fetch("/tell", {{ method: "POST", body: JSON.stringify(result) }});
try {{
  const runtime = await import("onnxruntime-web");
  const {{ Model }} = await import("/src/movinet/web/js/index.mjs");
  runtime.env.wasm.numThreads = 1;
  {program}
}} catch (error) {{ await tell({{ failure: error.message }}); }}
</script>"""


class _Server(ThreadingHTTPServer):
    """The examples, and pages and files of the test."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), functools.partial(_Handler, directory=str(ROOT)))
        self.files: dict[str, bytes] = {}
        self.told: queue.Queue[Any] = queue.Queue()


class _Handler(SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, _Server)
        content = self.server.files.get(self.path)
        if content is None:
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(self.path))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        return None

    def do_POST(self) -> None:
        assert isinstance(self.server, _Server)
        self.server.told.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        pass


@pytest.fixture
def server(exported: Path, native: Path, npm_install: Callable[[str], Path]) -> Iterator[_Server]:
    npm_install("browser")
    with _Server() as server:
        server.daemon_threads = True
        model, clip = exported.read_bytes(), CLIP.read_bytes()
        server.files |= {
            "/motions.onnx": model,
            "/motions.mvn": native.read_bytes(),
            "/clip.mp4": clip,
        }
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def visit(server: _Server, page: str, folder: Path) -> Any:
    """What a page tells."""
    server.files["/test.html"] = page.encode()
    browser = subprocess.Popen(
        [
            str(CHROMIUM),
            *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            f"--user-data-dir={folder / 'profile'}",
            f"http://127.0.0.1:{server.server_port}/test.html",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        return server.told.get(timeout=240)
    finally:
        browser.terminate()
        browser.wait(30)


@pytest.mark.parametrize("model", ["/motions.mvn", "/motions.onnx"])
def test_the_page_shows_what_python_says(model: str, server: _Server, tmp_path: Path) -> None:
    page = WATCHER.format(page=f"/examples/browser/?model={model}&video=/clip.mp4")
    told = visit(server, page, tmp_path)
    assert told["state"] == "done", told
    predictions = list(movinet.predict(CLIP, weights="motions"))
    assert told["status"].startswith(f"motions: {len(predictions)} frames, ")
    shown = {label: float(share.removesuffix(" %")) / 100 for label, share in told["best"]}
    assert len(shown) == 5
    # A browser turns the video's colours into RGB by other rounding.
    ((label, share),) = predictions[-1].top(1)
    assert next(iter(shown)) == label
    assert abs(shown[label] - share) < 0.03


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("model=/clip.mp4&video=/clip.mp4", "Error: it is not an .onnx file"),
        ("model=/motions.onnx&video=/motions.onnx", "Error: "),
    ],
)
def test_the_page_says_what_went_wrong(
    server: _Server, tmp_path: Path, query: str, message: str
) -> None:
    told = visit(server, WATCHER.format(page=f"/examples/browser/?{query}"), tmp_path)
    assert told["state"] == "failed"
    assert told["status"].startswith(message)
    assert told["best"] == []


@pytest.mark.parametrize("model", ["/motions.mvn", "/motions.onnx"])
def test_the_same_frames_give_the_same_probabilities(
    model: str, server: _Server, tmp_path: Path
) -> None:
    with VideoReader(CLIP) as reader:
        frames = [frame.image for frame in resample(reader, 8)]
    height, width = frames[0].shape[:2]
    server.files["/frames.bin"] = b"".join(frame.tobytes() for frame in frames)
    program = f"""
      const bytes = async (path) => new Uint8Array(await (await fetch(path)).arrayBuffer());
      const model = await Model.load(await bytes("{model}"), {{ runtime }});
      const [stream, pixels, results] = [model.stream(), await bytes("/frames.bin"), []];
      const size = {height * width * 3};
      for (let at = 0; at < pixels.length; at += size) {{
        const data = pixels.subarray(at, at + size);
        const image = {{ width: {width}, height: {height}, data }};
        results.push(Array.from(await stream.step(image)));
      }}
      await tell({{ results }});
    """
    told = visit(server, PROGRAM.format(program=program), tmp_path)
    assert "results" in told, told
    wanted = [prediction.probabilities for prediction in movinet.predict(CLIP, weights="motions")]
    np.testing.assert_allclose(told["results"], wanted, atol=1e-4)


def test_the_page_about_the_page_names_what_is_there() -> None:
    page = (EXAMPLES / "browser" / "README.md").read_text()
    assert "http://localhost:8000/examples/browser/?video=clip.mp4" in page
    (commands,) = re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    install, export, copy, serve = commands.splitlines()
    assert (install, export) == ("npm ci", "movinet export motions -o motions.mvn")
    assert (EXAMPLES / "browser" / copy.split()[1]).resolve() == CLIP
    assert serve == "python -m http.server --directory ../.."
