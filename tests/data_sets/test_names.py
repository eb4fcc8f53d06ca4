"""Names that people have: spaces, joiners, accents in either form, and bytes that are no UTF-8."""

import json
import os
import sys
import unicodedata
from pathlib import Path

import pytest
from typer.testing import CliRunner

import movinet
from fakes import gradient, write_video
from movinet.cli import build_app
from movinet.data.annotations import Row, read_rows, write_rows
from movinet.errors import ConfigError
from movinet.labels import load_labels
from movinet.text import is_name, printable

NAMES = (
    "3.04.05\u202fPM",  # macOS puts a narrow no-break space into names of recordings
    "\u30b8\u30e3\u30f3\u30d7\u3000\u9ad8\u3044",
    "\u0645\u06cc\u200c\u0631\u0648\u062f",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "a\u00a0b",
)
COMPOSED = "caf\u00e9"
APART = unicodedata.normalize("NFD", COMPOSED)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_video(tmp_path_factory.mktemp("clip") / "a.mkv", gradient(4)).read_bytes()


def run(*words: object) -> str:
    result = CliRunner(env={"COLUMNS": "300"}).invoke(build_app(), [*map(str, words)])
    assert result.exit_code == 0, result.output
    return result.stdout


def made(folder: Path, clip: bytes, *names: str) -> Path:
    for name in names:
        file = folder / f"{name}.mkv"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(clip)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_a_name_goes_through_lists_files_and_the_console(
    tmp_path: Path, clip: bytes, name: str
) -> None:
    folder = made(tmp_path / "data", clip, f"{name}/{name} 0", f"{name}/1", "b/0", "b/1")
    run("data", "split", folder, "-o", tmp_path / "split", "--valid", 0.5)
    assert name in run("data", "scan", tmp_path / "split" / "train.csv")
    (tmp_path / "labels.txt").write_text(f"{name}\nb\n", encoding="utf-8")
    labels = load_labels(tmp_path / "labels.txt")
    assert set(movinet.open_data(folder, labels=labels).labels) == {name, "b"}


@pytest.mark.parametrize("char", ["\n", "\r", "\x1b", "\x85", "\u2028", "\u2029", "\0", "\udcff"])
def test_line_ends_and_control_characters_are_no_part_of_names(tmp_path: Path, char: str) -> None:
    assert not is_name(f"a{char}b")
    assert printable(char) != char
    path = tmp_path / "list.jsonl"
    path.write_text(json.dumps({"path": "a.mp4", "label": f"a{char}b"}))
    with pytest.raises(ConfigError, match="is no name of a class"):
        read_rows(path)


def test_what_turns_text_around_is_shown_and_not_done() -> None:
    assert printable("a\u202eb\u2066c") == r"a\u202eb\u2066c"


def test_labels_are_compared_in_one_form(tmp_path: Path, clip: bytes) -> None:
    """Folders of macOS come apart (NFD); lists and weights are mostly composed (NFC)."""
    folder = made(tmp_path / "data", clip, f"{APART}/0", "b/0")
    found = movinet.open_data(folder, labels=(COMPOSED, "b"))
    assert sorted(sample.labels for sample in found.samples) == [(0,), (1,)]
    assert movinet.open_data(folder, labels=(APART, "b")).labels == (APART, "b")
    assert movinet.open_data(folder).labels == ("b", COMPOSED)
    (tmp_path / "labels.txt").write_text(f"b\n{APART}\n", encoding="utf-8")
    assert load_labels(tmp_path / "labels.txt") == ("b", COMPOSED)
    (tmp_path / "labels.txt").write_text(f"{COMPOSED}\n{APART}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="is on line 1 too"):
        load_labels(tmp_path / "labels.txt")
    table = tmp_path / "list.csv"
    table.write_text(f"path,label\n{folder}/b/0.mkv,{APART}\n", encoding="utf-8")
    assert movinet.open_data(table, labels=(COMPOSED,)).samples[0].labels == (0,)


def test_spaces_around_a_folder_are_not_part_of_its_class(tmp_path: Path, clip: bytes) -> None:
    folder = made(tmp_path / "data", clip, " run/0", "walk /0", "walk/1")
    assert movinet.open_data(folder).labels == ("run", "walk")


def test_rules_of_events_find_their_class() -> None:
    from movinet.events import Rule, Rules

    assert list(Rules(default=None, classes={APART: Rule()}).for_labels(["b", COMPOSED])) == [1]


def test_a_list_finds_files_whose_accents_have_the_other_form(tmp_path: Path, clip: bytes) -> None:
    made(tmp_path, clip, APART)
    table = tmp_path / "list.csv"
    table.write_text(f"path,label\n{COMPOSED}.mkv,a\n", encoding="utf-8")
    assert len(movinet.open_data(table)) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has file names that are no UTF-8")
def test_names_that_are_no_utf8_are_files_like_any_other(tmp_path: Path, clip: bytes) -> None:
    name = os.fsdecode(b"caf\xe9")
    folder = made(tmp_path / "data", clip, *(f"{c}/{name} {i}" for c in "ab" for i in range(4)))
    run("data", "split", folder, "-o", tmp_path / "split", "--valid", 0.5)
    train = tmp_path / "split" / "train.csv"
    rows = read_rows(train)
    assert all(name in row.path and Path(row.path).is_file() for row in rows)
    write_rows(tmp_path / "split" / "train.jsonl", rows)
    (tmp_path / "split" / "train.jsonl").read_text(encoding="utf-8")  # readable by other programs
    assert [r[:5] for r in read_rows(tmp_path / "split" / "train.jsonl")] == [r[:5] for r in rows]
    found = json.loads(run("data", "check", train, "-o", tmp_path / "bad.txt", "--json"))
    assert all(name in each["name"] for each in found["findings"])
    run("data", "pack", train, "-o", tmp_path / "packed")
    assert len(movinet.open_data(tmp_path / "packed")) == len(rows)
    video = next(folder.glob("a/*"))
    result = json.loads(run("predict", video, "-m", "motions", "--json"))
    assert result["results"][0]["path"] == str(video)
    with pytest.raises(ConfigError, match="not UTF-8, which engines cannot open"):
        movinet.load(os.fsdecode(os.fsencode(tmp_path) + b"/\xe9.tflite"))


def test_tables_of_spreadsheets_in_utf16_are_read(tmp_path: Path) -> None:
    path = tmp_path / "list.tsv"
    path.write_bytes(f"path\tlabel\r\na.mp4\t{COMPOSED}\r\n".encode("utf-16"))
    assert read_rows(path) == [Row("a.mp4", (COMPOSED,), line=2)]
    path.write_bytes("path\tlabel\na.mp4\tcaf\u00e9\n".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"line 2: .* is no name of a class: it is not UTF-8"):
        read_rows(path)
