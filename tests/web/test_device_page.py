"""The page that `movinet export --page` writes, in a browser, from a plain server."""

import base64
import contextlib
import functools
import gzip
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import movinet
from browser import CHROMIUM, Page, open_page
from js_models import needs_wasm
from movinet.cli import build_app
from movinet.runtime.snapshot import StreamSnapshot
from page_shows import LABEL, READY, camera, check_camera, shows
from real_material import real_file, real_video

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
    needs_wasm,
]
CLIP = Path(movinet.__file__).parent / "demo" / "clip.mp4"


class _Handler(SimpleHTTPRequestHandler):
    def log_request(self, *_: Any, **__: Any) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]


class Site(ThreadingHTTPServer):
    """A folder at an address, as `python -m http.server` gives it out."""

    daemon_threads = True

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", port), functools.partial(_Handler, directory=str(folder)))
        self.url = f"http://127.0.0.1:{self.server_port}/"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self._thread.start()

    def stop(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


def write(folder: Path, *options: str) -> Path:
    done = CliRunner().invoke(build_app(), ["export", "motions", "--page", str(folder), *options])
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("site") / "page")


@pytest.fixture
def site(folder: Path) -> Iterator[Site]:
    site = Site(folder)
    yield site
    site.stop()


@pytest.fixture
def visit(tmp_path: Path, motion: Path) -> Iterator[Callable[..., Page]]:
    with contextlib.ExitStack() as opened:

        def visit(site: Site) -> Page:
            page = open_page(site.url, tmp_path / "profile", *camera(motion))
            return opened.enter_context(page)

        yield visit


def test_a_camera_is_recognised_on_the_device(site: Site, visit: Callable[..., Page]) -> None:
    page = visit(site)
    page.wait(READY)
    assert "in this browser" in page.text("#about")
    assert "8 frames a second" in page.value("document.getElementById('card').textContent")
    page.click("#camera")
    check_camera(page)
    # Nothing but the page's own files was asked for.
    own = {f"/{path.relative_to(site_folder(site))}" for path in site_folder(site).rglob("*")}
    assert {path.partition("?")[0] for path in site.asked} <= own | {"/"}


def site_folder(site: Site) -> Path:
    return Path(site.RequestHandlerClass.keywords["directory"])  # type: ignore[attr-defined]


def test_streams_are_forked_rewound_saved_and_loaded(
    site: Site, visit: Callable[..., Page], tmp_path: Path, folder: Path
) -> None:
    page = visit(site)
    page.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    page.wait(READY)
    page.click("#camera")
    page.wait(shows(LABEL))

    page.click("[data-do=fork]")
    page.value("document.getElementById('fork-half-life').focus()")
    page.type_keys(["End"])
    page.type_keys(["Enter"])
    page.wait(shows(LABEL, 1))
    assert page.texts(".tile h3")[1] == "Stream 2: motions, fork of 1"
    assert page.texts(".half-life output")[1] == "mean of all"
    page.wait("[...document.querySelectorAll('[data-figure=rate]')].every(f => f.innerText > 4)")

    time.sleep(8)  # it keeps a state every 2.5 s, and goes back 5
    page.click("[data-do=rewind]")
    page.wait("document.querySelector('.tile .notice').innerText.startsWith('The stream has for')")
    page.wait(shows(LABEL))

    # What the page saves, Python continues.
    page.click("[data-do=save]")
    end = time.monotonic() + 30
    while not (saved := list(tmp_path.glob("*.snapshot"))) and time.monotonic() < end:
        time.sleep(0.05)
    runtime = movinet.load(folder / "model.mvn")
    stream = runtime.open_stream(saved[0], resize=False)
    count = stream.frame_counts[0]
    assert count > 10
    size = runtime.info.input.image_size
    found = stream(np.full((size, size, 3), 128, np.uint8))
    assert runtime.info.labels[int(found.argmax())] == LABEL

    page.click("[data-do=reset]")
    page.choose(".tile input[type=file]", saved[0])
    page.wait("document.querySelector('.tile .notice').innerText.includes('goes on from')")
    page.wait(shows(LABEL))
    page.choose(".tile input[type=file]", Path(__file__))
    page.wait("document.querySelector('.tile .notice').innerText.includes('was not loaded')")
    page.click(".tile:last-of-type [data-do=end]")
    page.wait("document.querySelectorAll('.tile').length === 1")
    assert page.errors == []
    assert StreamSnapshot.load(saved[0]).model == "motions"


def test_it_opens_again_without_a_network(site: Site, visit: Callable[..., Page]) -> None:
    page = visit(site)
    page.wait(READY)
    page.wait("navigator.serviceWorker.ready.then(({ active }) => active?.state === 'activated')")
    site.stop()
    page.call("Page.reload")
    page.wait(READY)
    page.click("#camera")
    page.wait(shows(LABEL))
    assert page.errors == []


def test_the_same_pixels_give_the_probabilities_of_python(
    site: Site, folder: Path, visit: Callable[..., Page]
) -> None:
    page = visit(site)
    page.wait(READY)
    frames = np.random.default_rng(0).integers(0, 256, (6, 70, 90, 3), np.uint8)
    program = """(async () => {
      const { Model } = await import("./movinet/index.mjs");
      const model = await Model.load("model.mvn");
      const stream = model.stream();
      const results = [];
      for (const row of FRAMES) {
        const data = Uint8Array.from(atob(row), (letter) => letter.charCodeAt(0));
        results.push([...await stream.step({ width: 90, height: 70, data })]);
      }
      return { results, kernels: model.kernels, memory: model.engine.memory };
    })()"""
    rows = json.dumps([base64.b64encode(frame.tobytes()).decode() for frame in frames])
    found = page.value(program.replace("FRAMES", rows))
    stream = movinet.load(folder / "model.mvn").stream()
    wanted = [stream(frame) for frame in frames]
    assert found["kernels"] == "relaxed"
    # Its kernels are int8, which processors round in more than one way.
    np.testing.assert_allclose(found["results"], wanted, atol=5e-3)
    assert found["memory"] <= 64e6


def test_a_page_without_its_model_says_so(
    folder: Path, tmp_path: Path, visit: Callable[..., Page]
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    (broken / "model.mvn").write_bytes(b"MVN1 and no more")
    site = Site(broken)
    try:
        page = visit(site)
        page.wait("document.getElementById('notice').innerText.includes('not a usable .mvn file')")
    finally:
        site.stop()


def test_a_page_is_small(folder: Path) -> None:
    sizes = [len(gzip.compress(p.read_bytes())) for p in folder.rglob("*") if p.is_file()]
    assert sum(sizes) < 1.5e6


def test_only_new_folders_and_pages_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner, other = CliRunner(), tmp_path / "other"
    other.mkdir()
    (other / "letter.txt").write_text("dear")
    refused = runner.invoke(build_app(), ["export", "motions", "--page", str(other)])
    assert refused.exit_code == 2
    assert "has other files in it" in refused.output
    assert [path.name for path in other.iterdir()] == ["letter.txt"]

    again = write(tmp_path / "again")
    before = json.loads((again / "movinet-page.json").read_text())
    write(again, "--quantize", "float16")
    after = json.loads((again / "movinet-page.json").read_text())
    assert before["version"] != after["version"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "other"]

    # What somebody has added to a page is not lost.
    (again / "CNAME").write_text("example.org")
    kept = runner.invoke(build_app(), ["export", "motions", "--page", str(again)])
    assert kept.exit_code == 2
    assert "such as CNAME" in " ".join(kept.output.split())
    assert (again / "CNAME").read_text() == "example.org"
    assert json.loads((again / "movinet-page.json").read_text()) == after

    (tmp_path / "link").symlink_to(tmp_path / "linked")
    (tmp_path / "linked").mkdir()
    write(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "linked" / "index.html").is_file()
    monkeypatch.chdir(tmp_path / "linked")
    here = runner.invoke(build_app(), ["export", "motions", "--page", "."])
    assert here.exit_code == 2
    assert "the folder that you are in" in " ".join(here.output.split())

    base = runner.invoke(build_app(), ["export", "a0_base", "--page", str(tmp_path / "base")])
    assert base.exit_code == 2
    assert "a page sees streams, a0_stream" in " ".join(base.output.split())
    both = runner.invoke(build_app(), ["export", "motions", "--page", "x", "-o", "y.mvn"])
    assert both.exit_code == 2


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("video", "label"),
    [
        ("kinetics600_a0_int8/clips/carving_ice.mp4", "carving ice"),
        ("arm_wrestling.mp4", "arm wrestling"),
    ],
)
def test_published_weights_name_real_clips(
    video: str, label: str, tmp_path: Path, visit: Callable[..., Page]
) -> None:
    weights = real_file("kinetics600_a0_int8", "movinet_a0_stream_k600_int8.tflite")
    clip = real_file(video) if "/" in video else real_video(video)
    command = ["export", str(weights), "--page", str(tmp_path / "page")]
    done = CliRunner().invoke(build_app(), command)
    assert done.exit_code == 0, done.output
    files = [path for path in (tmp_path / "page").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 5e6
    site = Site(tmp_path / "page")
    try:
        page = visit(site)
        page.wait(READY)
        page.choose("#file-field", clip)
        page.wait(shows(label))
        assert page.errors == []
    finally:
        site.stop()
