"""The report: one page that needs nothing else and says what was evaluated."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from colour_data import BLUE, GREEN, RED, make_data
from PIL import Image

from fakes import ColourRuntime, model_info, write_video
from movinet import __version__
from movinet.data.samples import DataSet, Sample
from movinet.errors import ConfigError
from movinet.evaluation import evaluate
from movinet.evaluation.report import write_report
from movinet.video import VideoFile

#: Elements without an end.
VOID = {"meta", "img", "br", "path", "use", "rect", "image", "line"}


class Page(HTMLParser):
    """Texts, links and images of a page, and whether its elements are closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.texts: list[str] = []
        self.headings: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "data"):
                self.links.append(value or "")
            if name == "id":
                self.ids.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


@pytest.fixture
def mistaken(tmp_path: Path) -> DataSet:
    """One right, one wrong that changes its colour, and one broken."""
    videos = {"right": ((0,), [RED] * 4), "wrong": ((1,), [RED] * 6 + [BLUE] * 4)}
    return make_data(tmp_path, {**videos, "broken": ((2,), None)})


def test_the_page_stands_alone_and_tells_all(tmp_path: Path, mistaken: DataSet) -> None:
    path = tmp_path / "report.html"
    write_report(path, evaluate(ColourRuntime(), mistaken))
    text = path.read_text("utf-8")
    page = Page(text)
    assert page.open == []
    assert page.headings == [
        "fake: evaluation",
        "Accuracy over the seconds seen",
        "Confusion",
        "Classes",
        "Calibration",
        "Worst mistakes",
        "Left out: files that could not be read (1)",
    ]
    assert all(link.startswith(("data:image/", "#")) for link in page.links)
    assert "default-src 'none'" in text
    assert "url(http" not in text
    assert len(page.ids) == len(set(page.ids))
    for fact in ("made up for a test", "colours", "16x16 pixels", f"movinet {__version__}"):
        assert fact in page.text
    assert "2, and 1 that could not be read" in page.text
    assert str(tmp_path / "broken.mkv") in page.text
    assert re.search(r"50\.0 % ?", page.text)
    assert [f.name for f in tmp_path.iterdir() if f.suffix == ".html"] == ["report.html"]


def test_mistakes_have_pictures_of_the_sample(tmp_path: Path, mistaken: DataSet) -> None:
    path = tmp_path / "report.html"
    write_report(path, evaluate(ColourRuntime(), mistaken))
    pictures = [
        np.array(Image.open(io.BytesIO(base64.b64decode(link.partition(",")[2]))))
        for link in Page(path.read_text("utf-8")).links
        if link.startswith("data:image/jpeg")
    ]
    # Five moments of the one mistake: red until 0.6 s of 1 s, then blue.
    colours = [picture.mean(axis=(0, 1)).argmax() for picture in pictures]
    assert colours == [0, 0, 0, 2, 2]


def test_text_from_outside_is_only_text(tmp_path: Path) -> None:
    labels = ("<script>alert(1)</script>", "$x_1$ & ${title}$", "字\u202e")
    path = write_video(tmp_path / "a<b>&$about.mkv", [BLUE] * 4)
    data = DataSet("<i>", (Sample("x", VideoFile(path), (0,)),), labels)
    out = tmp_path / "report.html"
    write_report(out, evaluate(ColourRuntime(model_info(labels=labels)), data))
    text = out.read_text("utf-8")
    page = Page(text)
    assert page.open == []
    assert "<script>alert" not in text
    assert "\u202e" not in text
    assert "a<b>&$about.mkv" in page.text
    assert page.text.count("$x_1$ & ${title}$") == 3  # in the table and at two axes, as it is


def test_base_models_and_several_labels(tmp_path: Path) -> None:
    videos = {"red": ((0,), [RED] * 4), "yellow": ((0, 1), [(255, 255, 0)] * 4)}
    data = make_data(tmp_path, {**videos, "green": ((1,), [GREEN] * 4)}, multi_label=True)
    for streaming, headings in (
        (False, ["Classes"]),
        (True, ["Precision over the seconds seen", "Classes"]),
    ):
        path = tmp_path / "report.html"
        runtime = ColourRuntime(model_info(streaming=streaming))
        write_report(path, evaluate(runtime, data, control="shuffled", seed=3))
        page = Page(path.read_text("utf-8"))
        assert page.headings[1:] == headings
        assert "frames in random order, seed 3" in page.text
        assert "mean average precision 100.0 %" in page.text


def test_many_classes_are_no_trouble(tmp_path: Path) -> None:
    class Many(ColourRuntime):
        def clip_logits(self, frames: np.ndarray) -> np.ndarray:
            return np.append(super().clip_logits(frames), np.zeros(297)).astype(np.float32)

    labels = tuple(f"class {i}" for i in range(300))
    runtime = Many(model_info(streaming=False, labels=labels))
    path = write_video(tmp_path / "red.mkv", [RED] * 4)
    data = DataSet("one", (Sample("x", VideoFile(path), (299,)),), labels)
    out = tmp_path / "report.html"
    write_report(out, evaluate(runtime, data))
    page = Page(out.read_text("utf-8"))
    assert "class 299 class 0 1 100.0 %" in page.text  # most often confused


def test_a_name_that_is_no_page_is_refused(tmp_path: Path, mistaken: DataSet) -> None:
    evaluation = evaluate(ColourRuntime(), mistaken)
    with pytest.raises(ConfigError, match=r"must end in \.html, \.htm"):
        write_report(tmp_path / "report.pdf", evaluation)
    with pytest.raises(ConfigError, match="there is no folder"):
        write_report(tmp_path / "nowhere" / "report.html", evaluation)
