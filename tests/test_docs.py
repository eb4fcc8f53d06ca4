"""The pages do what they say: commands and snippets run, links lead somewhere, figures hold."""

import ast
import contextlib
import functools
import io
import os
import re
import shlex
import subprocess
import sys
import tarfile
import tempfile
import threading
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import movinet
from movinet.catalog.complexity import count_multiply_adds, count_parameters, count_state_bytes
from movinet.catalog.published import all_cards
from movinet.cli import build_app
from movinet.network.presets import input_spec, list_models, preset_config
from movinet.video import VideoWriter

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
#: Stands above a block that fetches published weights; every other block runs without a server.
NEEDS_DOWNLOAD = "<!-- needs: download -->"
_FENCE = re.compile(
    rf"(?P<mark>^{NEEDS_DOWNLOAD}\n)?^```(?P<language>.*)\n(?P<code>(?:.*\n)*?)^```$", re.MULTILINE
)
_NAMES_PUBLISHED = r'(?:-w |--weights |weights="|convert )kinetics-\d00|pretrained=True'
_PRINTED = r"^print\(.*\)  # ((?:\d|\[|\(|torch\.).*)$"
#: tests/web runs those in JavaScript.
_SHOWN = ("text", "json", "js")
#: Commands of the set-up are looked at and not run: the gate would call itself.
_SETUP = ("make", "pip", "pytest", "python3", "source")
#: What ends a shortened training.
ONE_EPOCH = ("schedule.epochs=1", "schedule.warmup_steps=0")
_NOWHERE = "http://127.0.0.1:9/"


@dataclass(frozen=True)
class Block:
    """A fenced block; `line` is that of its fence."""

    line: int
    language: str
    code: str
    needs_download: bool

    def commands(self) -> list[str]:
        """The lines of a shell block; of a console block those behind a prompt."""
        lines = self.code.replace("\\\n", " ").splitlines()
        if self.language == "console":
            lines = [line[2:] for line in lines if line.startswith("$ ")]
        return [line for line in lines if shlex.split(line, comments=True)]


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            text.count("\n", 0, match.start("language")) + 1,
            match["language"].strip(),
            match["code"],
            match["mark"] is not None,
        )
        for match in _FENCE.finditer(text)
    ]


def has_commands(page: Path) -> bool:
    return any(block.language in ("sh", "console") for block in blocks_of(page))


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@functools.cache
def published_archive(file_name: str) -> bytes:
    """What could be published under this name: random weights in the reference's format."""
    (card,) = (card for card in all_cards() if card.file_name == file_name)
    model = movinet.create_model(card.preset, num_classes=card.num_classes)
    tensors = movinet.torch_to_tf(model.state_dict(), model.config)
    buffer = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder:
        movinet.write_tf_checkpoint(Path(folder) / "ckpt-1", tensors)
        with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as archive:
            archive.add(folder, arcname=f"movinet_{card.preset}")
    return buffer.getvalue()


class _Mirror(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        content = published_archive(self.path.removeprefix("/"))
        self.send_response(200)
        self.send_header("Content-Type", "application/gzip")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        pass


@pytest.fixture
def mirror() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Mirror) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a video, where commands are found and the network is out of reach."""
    generator = np.random.default_rng(0)
    with VideoWriter(tmp_path / "video.mp4", frame_rate=10) as writer:
        for i in range(60):
            image = np.full((64, 96, 3), (4 * i, 120, 240 - 4 * i), np.uint8)
            image[16:48, i : i + 32] = generator.integers(0, 255, (32, 32, 3), np.uint8)
            writer.write(image)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    for variable in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(variable, _NOWHERE)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path


@pytest.mark.heavy
@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_blocks_run(page: Path, desk: Path, mirror: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, which has imported everything, and with short trainings."""
    run_blocks(page, run_shortened, desk, mirror, monkeypatch)


@pytest.mark.heavy
@pytest.mark.nightly
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", [page for page in PAGES if has_commands(page)], ids=name_of)
def test_blocks_run_as_they_stand(
    page: Path, desk: Path, mirror: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_blocks(page, run_shell, desk, mirror, monkeypatch)


def run_blocks(
    page: Path,
    run_commands: Callable[[Block, str], None],
    desk: Path,
    mirror: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks_of(page):
        # Nothing is kept for blocks without the mark: they must not live on an earlier download.
        home = desk / ("with" if block.needs_download else "without")
        monkeypatch.setenv("MOVINET_HOME", str(home))
        monkeypatch.setenv("MOVINET_BASE_URL", mirror if block.needs_download else _NOWHERE)
        where = f"{name_of(page)}:{block.line}"
        if block.language == "python":
            run_python(block, where, namespace)
        elif block.language in ("sh", "console"):
            run_commands(block, where)
        else:
            assert block.language in _SHOWN, f"{where}: nobody runs {block.language!r} blocks"


def run_python(block: Block, where: str, namespace: dict[str, Any]) -> None:
    """Run a snippet; where the comment behind a print is a value, it must be what is printed."""
    code = compile("\n" * block.line + block.code, where.partition(":")[0], "exec")
    with contextlib.redirect_stdout(io.StringIO()) as output:
        exec(code, namespace)
    printed = output.getvalue().splitlines()
    for expected in re.findall(_PRINTED, block.code, re.MULTILINE):
        assert expected in printed, f"{where}: {expected!r} was not printed, but {printed}"


def run_shell(block: Block, where: str) -> None:
    to_run = [command for command in block.commands() if not is_checked_setup(command, where)]
    run_bash(to_run, where)


def run_bash(to_run: list[str], where: str) -> None:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(to_run)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{where}: {to_run}\n{done.stdout}{done.stderr}"


def run_shortened(block: Block, where: str) -> None:
    """Run each command by a call, shortened; its output may go into a file."""
    if any(command.endswith("&") for command in block.commands()):  # a server, and its clients
        run_bash(["trap 'kill $(jobs -p) 2> /dev/null || true' EXIT", *block.commands()], where)
        return
    for command in block.commands():
        words = shlex.split(command, comments=True)
        if is_checked_setup(command, where):
            continue
        if words[0] != "movinet":
            run_bash([command], where)
            continue
        words, file = (words[:-2], words[-1]) if words[-2] == ">" else (words, None)
        done = CliRunner().invoke(build_app(), shortened(words[1:]), prog_name="movinet")
        assert done.exit_code == 0, f"{where}: {command}\n{done.output}\n{done.exception!r}"
        if file:
            Path(file).write_text(done.stdout, encoding="utf-8")


def shortened(arguments: list[str]) -> list[str]:
    """A command that does the same with fewer clips and epochs."""
    match arguments:
        case ["train", *rest] if not {"--list", "--show", "probe"} & {*rest}:
            return [*(word for word in arguments if "schedule.epochs" not in word), *ONE_EPOCH]
        case ["data", "synth", *_]:
            place = arguments.index("--clips-per-class") + 1
            arguments[place] = str(min(int(arguments[place]), 3))
    return arguments


def is_checked_setup(command: str, where: str) -> bool:
    """Whether a command belongs to the set-up; then make sure that what it names is there."""
    words = shlex.split(command, comments=True)
    program = Path(words[0]).name
    if program not in _SETUP:
        return False
    if program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(words[1:]) <= set(targets), f"{where}: no such target: {command}"
    if program == "pip":
        check_pip(words[1:], where)
    return True


def check_pip(arguments: list[str], where: str) -> None:
    """``pip install -c constraints.txt -e '.[torch]'`` with files and extras that exist."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]
    match arguments:
        case ["install", "-c", constraints, "-e", target]:
            assert (ROOT / constraints).is_file(), where
        case ["install", target]:
            pass
        case _:
            pytest.fail(f"{where}: not checked: pip {' '.join(arguments)}")
    found = re.fullmatch(r"(?:\.|movinet)(?:\[([a-z,]+)\])?", target)
    assert found, f"{where}: {target}"
    assert set((found[1] or "torch").split(",")) <= set(extras), f"{where}: {target}"


def test_downloads_are_marked_where_published_weights_are_named() -> None:
    for page in PAGES:
        for block in blocks_of(page):
            names = re.search(_NAMES_PUBLISHED, block.code)
            commented = names and "#" in block.code[: names.start()].rpartition("\n")[2]
            if block.language in ("python", "sh", "console") and not commented:
                assert block.needs_download == bool(names), f"{name_of(page)}:{block.line}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    prose = _FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"https://|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path) if path else page
        assert file.exists(), f"{name_of(page)}: {target}"
        if anchor:
            assert anchor in anchors_of(file), f"{name_of(page)}: {target}"


def anchors_of(page: Path) -> set[str]:
    """What GitHub makes of the headings."""
    prose = _FENCE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", [p for p in PAGES if p.name != "CHANGELOG.md"], ids=name_of)
def test_lines_are_short_enough_to_compare(page: Path) -> None:
    """At most 100 columns, but for tables, code and addresses."""
    text = page.read_text(encoding="utf-8")
    code = {
        number
        for block in blocks_of(page)
        for number in range(block.line, block.line + block.code.count("\n") + 2)
    }
    long = [
        number
        for number, line in enumerate(text.splitlines(), 1)
        if len(line) > 100
        and number not in code
        and not line.startswith(("|", "<"))
        and "](http" not in line
    ]
    assert not long, f"{name_of(page)}: lines {long}"


def test_every_page_is_on_the_map() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").rglob("*.md"):
        if page.name != "index.md":
            assert f"]({page.relative_to(ROOT / 'docs')})" in index, page


def rows_of(page: Path, first_header: str) -> list[list[str]]:
    """The cells of the table whose first column has this header."""
    lines = iter(page.read_text(encoding="utf-8").splitlines())
    for line in lines:
        if line.startswith(f"| {first_header} |"):
            next(lines)
            rows = iter(lambda: next(lines, ""), "")
            return [[cell.strip(" `") for cell in row.strip("|").split("|")] for row in rows]
    raise AssertionError(f"{name_of(page)} has no table with the column {first_header!r}")


#: What the pages may import: `movinet`, and these rooms of it.
PUBLIC = {"movinet", *(f"movinet.{room}" for room in ("evaluation", "events", "live"))}
PUBLIC |= {"movinet.segments", "movinet.video"}


def test_pages_import_nothing_from_inside() -> None:
    for page in PAGES:
        for block in blocks_of(page):
            if block.language == "python":
                for module in _imported(block.code):
                    assert module in PUBLIC, f"{name_of(page)}:{block.line}: {module}"


def _imported(code: str) -> Iterator[str]:
    """Modules of movinet that code imports."""
    for node in ast.walk(ast.parse(code)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        yield from (name for name in names if name.partition(".")[0] == "movinet")


def test_table_of_models_is_what_is_counted_and_published() -> None:
    times, none = "\u00d7", "\u2013"
    published = {(c.preset, c.dataset): f"{c.top1:.2f} / {c.top5:.2f}" for c in all_cards()}
    rows = rows_of(ROOT / "README.md", "model")
    assert sorted([*(row[0] for row in rows), "a6_base"]) == list_models()
    for name, *cells in rows:
        config, spec = preset_config(name), input_spec(name)
        size = (spec.image_size, spec.image_size)
        assert cells == [
            f"{spec.num_frames} {times} {spec.image_size}",
            f"{spec.frame_rate:g}",
            f"{count_parameters(config).trainable / 1e6:.2f} M",
            f"{count_multiply_adds(config, spec.num_frames, size) / 1e9:.2f} G",
            f"{count_multiply_adds(config, 1, size) / 1e6:.0f} M" if config.causal else none,
            f"{count_state_bytes(config, size) / 1e6:.1f} MB" if config.causal else none,
            published.get((name, "kinetics-600"), none),
            published.get((name, "kinetics-400"), none),
        ]


def test_every_field_of_the_configuration_is_explained() -> None:
    rows = rows_of(ROOT / "docs" / "reference" / "models.md", "field")
    assert [row[0] for row in rows] == [field.name for field in fields(movinet.MoViNetConfig)]


def test_table_of_inputs_is_that_of_the_presets() -> None:
    rows = rows_of(ROOT / "docs" / "reference" / "input.md", "preset")
    told = {size: row[1:] for row in rows for size in row[0].split(", ")}
    assert {f"{size}_{kind}" for size in told for kind in ("base", "stream")} == {
        *list_models()
    } - {"a6_base"}
    for size, (image_size, short_side, rate, frames) in told.items():
        base, stream = input_spec(f"{size}_base"), input_spec(f"{size}_stream")
        assert [image_size, short_side, rate] == [
            f"{value:g}" for value in (base.image_size, base.short_side, base.frame_rate)
        ]
        same = stream.num_frames == base.num_frames
        both = f"{base.num_frames}" + ("" if same else f"; stream {stream.num_frames}")
        assert frames == both
