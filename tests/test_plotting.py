from __future__ import annotations

import os
import re
import sys
import xml.dom.minidom
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from movinet.drawing.predictions import (
    PALETTE,
    PLOT_SUFFIXES,
    ceiling,
    check_output,
    leading_classes,
    percent,
    plot_predictions,
    spread_out,
)
from movinet.errors import ConfigError, MissingExtraError
from movinet.prediction import Prediction
from movinet.text import shorten

LABELS = ("falling", "rising", "flat")
RISING = np.linspace(0.1, 0.7, 7)


def predictions(
    values: Sequence[Sequence[float]], labels: tuple[str, ...] = LABELS
) -> list[Prediction]:
    return [
        Prediction(Path("a/video.mp4"), i / 2, np.array(row, np.float32), labels)
        for i, row in enumerate(values)
    ]


@pytest.fixture
def crossing() -> list[Prediction]:
    """One class falls from 70 to 10 %, one rises from 10 to 70 %."""
    return predictions([(0.8 - p, p, 0.2) for p in RISING])


@pytest.mark.parametrize(
    ("suffix", "signature"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".PDF", b"%PDF")]
)
def test_the_suffix_decides_the_format(
    tmp_path: Path, crossing: list[Prediction], suffix: str, signature: bytes
) -> None:
    path = tmp_path / f"plot{suffix}"
    plot_predictions(crossing, path)
    assert path.read_bytes().startswith(signature)
    assert list(tmp_path.iterdir()) == [path]


def curve(svg: str, colour: str) -> np.ndarray:
    """The (x, y) points of the line of a colour."""
    # Lines are as thick as nothing else; colours are written in lower case.
    found = re.search(rf'<path d="([^"]+)"[^>]*stroke: {colour.lower()}; stroke-width: 2.2', svg)
    assert found is not None
    return np.array(re.findall(r"[ML] ([\d.]+) ([\d.]+)", found[1]), float)


def test_curves_are_the_probabilities_over_time(tmp_path: Path, crossing: list[Prediction]) -> None:
    plot_predictions(crossing, tmp_path / "plot.svg", top=2)
    svg = (tmp_path / "plot.svg").read_text()
    rising, falling = curve(svg, PALETTE[0]), curve(svg, PALETTE[1])
    assert len(rising) == len(falling) >= 2
    # Straight lines: matplotlib may leave out points between their ends. SVG's y goes down.
    assert rising[0, 1] == pytest.approx(falling[-1, 1])
    assert rising[-1, 1] == pytest.approx(falling[0, 1])
    assert rising[0, 1] > rising[-1, 1]


def test_lines_are_labelled_at_their_ends(tmp_path: Path, crossing: list[Prediction]) -> None:
    plot_predictions(crossing, tmp_path / "plot.svg", top=2)
    svg = (tmp_path / "plot.svg").read_text()
    # matplotlib writes each text as a comment before its outlines.
    assert "<!-- rising  70 % -->" in svg
    assert "<!-- falling  10 % -->" in svg
    assert "<!-- video.mp4 -->" in svg
    assert "<!-- time (s) -->" in svg
    assert "flat" not in svg


def test_dollars_are_no_formulas(tmp_path: Path) -> None:
    labels = ("$x_^{$", "$y$", "z")  # the first would be an error
    shown = predictions([(0.5, 0.3, 0.2), (0.3, 0.5, 0.2)], labels)
    for several in (shown, shown[:1]):
        plot_predictions(several, tmp_path / "plot.svg", title="$1_^{$")
        svg = (tmp_path / "plot.svg").read_text()
        assert "<!-- $1_^{$ -->" in svg
        assert "<!-- $x_^{$" in svg


def test_one_prediction_is_a_bar_chart(tmp_path: Path) -> None:
    plot_predictions(predictions([(0.2, 0.5, 0.3)]), tmp_path / "plot.svg")
    svg = (tmp_path / "plot.svg").read_text()
    places = [svg.index(f"<!-- {label} -->") for label in ("rising", "flat", "falling")]
    assert places == sorted(places)
    assert "<!-- 50 % -->" in svg


def test_an_existing_plot_survives_a_failure(
    tmp_path: Path, crossing: list[Prediction], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "plot.png"
    path.write_bytes(b"old")

    def full(*_args: object, **_kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full)
    with pytest.raises(OSError, match=r"plot\.png: cannot be written \(No space"):
        plot_predictions(crossing, path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_plot_is_as_readable_as_any_new_file_and_its_name_may_be_long(
    tmp_path: Path, crossing: list[Prediction]
) -> None:
    path = tmp_path / f"{'n' * 250}.svg"
    (tmp_path / "other").touch()
    plot_predictions(crossing, path)
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode


def test_what_cannot_be_written_is_known_before_drawing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ConfigError, match=r"folder\.png': it is a folder"):
        check_output(tmp_path / "folder.png", PLOT_SUFFIXES)
    with pytest.raises(ConfigError, match="File name too long"):
        check_output(tmp_path / f"{'n' * 300}.png", PLOT_SUFFIXES)
    monkeypatch.setattr("os.access", lambda path, mode: path != tmp_path or not mode & os.W_OK)
    with pytest.raises(ConfigError, match="no permission to write in"):
        check_output(tmp_path / "plot.png", PLOT_SUFFIXES)


def test_labels_of_the_same_colour_are_told_apart(tmp_path: Path) -> None:
    labels = tuple(f"class {i}" for i in range(20))
    values = [0.1 - i / 200 for i in range(20)]
    plot_predictions(predictions([values, values], labels), tmp_path / "plot.svg", top=20)
    shown = re.findall("<!-- (.*)class ([0-9]+) ", (tmp_path / "plot.svg").read_text())
    marks = {int(number): mark for mark, number in shown}
    assert len(marks) == 20
    assert len({(i % len(PALETTE), mark) for i, mark in marks.items()}) == 20


def test_control_characters_are_shown_escaped(tmp_path: Path) -> None:
    labels = ("\x00bad\x1b", "\udcff", "z")
    for count in (1, 2):
        shown = predictions([(0.5, 0.3, 0.2)] * count, labels)
        plot_predictions(shown, tmp_path / "plot.svg", title="a\x08b")
        svg = (tmp_path / "plot.svg").read_text()
        xml.dom.minidom.parseString(svg)
        for text in (r"a\x08b", r"\x00bad\x1b", r"\udcff"):
            assert f"<!-- {text}" in svg


def test_missing_glyphs_are_one_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("movinet.drawing.predictions._FALLBACK_FONTS", ())
    shown = predictions([(0.5, 0.3, 0.2)] * 2, ("\U00013000\U00013001", "\U00013002", "z"))
    with pytest.warns(UserWarning, match="no installed font") as caught:
        plot_predictions(shown, tmp_path / "plot.png")
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_bad_arguments_are_one_clear_line(tmp_path: Path, crossing: list[Prediction]) -> None:
    for name, message in (
        ("plot.jpg", r"plot\.jpg': the name must end in \.png, \.svg, \.pdf"),
        ("none/plot.png", "there is no folder"),
    ):
        with pytest.raises(ConfigError, match=message):
            plot_predictions(crossing, tmp_path / name)
    with pytest.raises(ConfigError, match="no predictions"):
        plot_predictions([], tmp_path / "plot.png")
    with pytest.raises(ConfigError, match="top must be from 1 to 20 in a plot, not 0"):
        plot_predictions(crossing, tmp_path / "plot.png", top=0)
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib_it_says_what_to_install(
    tmp_path: Path, crossing: list[Prediction], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"pip install -e '.\[plot\]'"):
        plot_predictions(crossing, tmp_path / "plot.png")


def test_leading_classes_have_the_highest_mean_and_peak() -> None:
    labels = ("steady", "peak", "never", "final")
    shown = predictions([(0.3, 0.0, 0.1, 0.0), (0.3, 0.7, 0.1, 0.0), (0.3, 0.0, 0.1, 0.6)], labels)
    assert leading_classes(shown, 3) == [3, 0, 1]  # by the last prediction
    assert leading_classes(shown, 1) == [1]
    assert len(leading_classes(shown, 9)) == 4


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ([10, 50, 90], [10, 50, 90]),
        ([50, 50], [55, 45]),  # the first of equals on top
        ([0, 0, 0], [20, 10, 0]),
        ([100, 99], [100, 90]),
        ([40, 44, 52], [35.33, 45.33, 55.33]),
    ],
)
def test_labels_are_spread_out_as_little_as_needed(
    places: list[float], expected: list[float]
) -> None:
    result = spread_out(np.array(places, float), 10, 100)
    np.testing.assert_allclose(result, expected, atol=0.01)


def test_too_many_labels_share_the_room() -> None:
    result = spread_out(np.zeros(21), 10, 100)
    np.testing.assert_allclose(np.sort(result), np.arange(21) * 5)


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, "100 %"), (0.123, "12 %"), (0.0996, "10 %"), (0.031, "3.1 %"), (0.0004, "<0.1 %")],
)
def test_percent(value: float, text: str) -> None:
    assert percent(value) == text


def test_axes_end_at_a_round_percentage() -> None:
    assert [ceiling(value) for value in (0.3, 3, 20, 21, 51, 100)] == [1, 5, 20, 50, 100, 100]


def test_long_labels_are_shortened() -> None:
    assert shorten("short", 5) == "short"
    assert shorten("a longer one", 8) == "a longe…"
