"""Lists as other tools write them: a path and a label a line, and tables with more columns."""

import json
from pathlib import Path

import pytest

import movinet
from movinet.data.annotations import Row, read_rows
from movinet.errors import ConfigError, VideoError


def written(tmp_path: Path, text: str, name: str = "list.txt") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode())
    return path


def plain(path: Path) -> list[tuple[str, tuple[str, ...]]]:
    return [(row.path, row.labels) for row in read_rows(path)]


@pytest.mark.parametrize("separator", [" ", "   ", "\t", ",", ";", ", ", " ; "])
@pytest.mark.parametrize("name", ["list.txt", "list.csv", "list.tsv", "list.lst"])
def test_any_separator_is_read(tmp_path: Path, separator: str, name: str) -> None:
    paths = ("a.mp4", "my clips/b, c; d.MOV", "x 1 2/e.avi", "no.suffix.mkv")
    labels = ("3", "pull_up", "11", "drink")
    lines = [f"{p}{separator}{x}\n" for p, x in zip(paths, labels, strict=True)]
    found = plain(written(tmp_path, "".join(lines), name))
    assert found == [(p, (x,)) for p, x in zip(paths, labels, strict=True)]


@pytest.mark.parametrize(
    ("line", "path", "labels"),
    [
        ("a.mp4 brushing hair", "a.mp4", ("brushing hair",)),  # a label with spaces
        ('"a b.data" 5', "a b.data", ("5",)),  # quotes, and no suffix that is known
        ("frames of one 7", "frames of one", ("7",)),
        ("a.mp4 1 5 9", "a.mp4", ("1", "5", "9")),  # several labels, as MMAction2 writes them
        ("a.mp4,1,5", "a.mp4", ("1", "5")),
        ('a.mp4,"pull ups, fast"', "a.mp4", ("pull ups, fast",)),
        ("copy of a.mp4.mp4\t2\r", "copy of a.mp4.mp4", ("2",)),
    ],
)
def test_a_line_is_a_path_and_what_follows(
    tmp_path: Path, line: str, path: str, labels: tuple[str, ...]
) -> None:
    assert plain(written(tmp_path, f"{line}\n\n")) == [(path, labels)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.mp4 1\nb.mp4\n", r"line 2: 'b\.mp4' has no label; a list has a path and its label"),
        ("a.mp4,walk,train\n", r"line 1: 2 cells after the path; .* name the columns"),
        ("", "no samples"),
    ],
)
def test_a_line_without_meaning_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read_rows(written(tmp_path, text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("separator", [";", "\t", ","])
@pytest.mark.parametrize("name", ["list.csv", "list.tsv"])
def test_tables_of_spreadsheets_have_any_separator(
    tmp_path: Path, separator: str, name: str
) -> None:
    lines = (("path", "label", "start"), ("a b.mp4", "x", "1.5"), ("c.mp4", "y", ""))
    text = "".join(f"{separator.join(line)}\r\n" for line in lines)
    assert read_rows(written(tmp_path, text, name)) == [
        Row("a b.mp4", ("x",), 1.5, line=2),
        Row("c.mp4", ("y",), line=3),
    ]


def test_other_columns_are_ignored_with_one_note(tmp_path: Path) -> None:
    text = "id,path,label,fps,split\n" + "".join(f"{i},{i}.mp4,x,30,train\n" for i in range(5))
    with pytest.warns(UserWarning, match=r"columns 'id', 'fps', 'split' ignored; known") as caught:
        rows = read_rows(written(tmp_path, text, "list.csv"))
    assert len(caught) == 1
    assert [row.path for row in rows] == [f"{i}.mp4" for i in range(5)]
    lines = [json.dumps({"path": f"{i}.mp4", "label": "x", "fps": 1}) for i in range(5)]
    with pytest.warns(UserWarning, match="column 'fps' ignored") as caught:
        assert len(read_rows(written(tmp_path, "\n".join(lines), "list.jsonl"))) == 5
    assert len(caught) == 1
    (tmp_path / "a_000001_000002.mp4").touch()
    kinetics = "label,youtube_id,time_start,time_end,split,url\nx,a,1,2,train,http://a\n"
    with pytest.warns(UserWarning, match="column 'url' ignored"):
        assert len(movinet.open_data(written(tmp_path, kinetics, "train.csv"))) == 1


def test_numbers_count_the_lines_of_a_names_file(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.mp4").touch()
    names = written(tmp_path, "walk\nrun\njump\n", "names.txt")
    path = written(tmp_path, "a.mp4 2\nb.mp4 0\nc.mp4 2\n")
    data = movinet.open_data(path, labels=names)
    assert data.labels == ("walk", "run", "jump")
    assert [sample.labels for sample in data.samples] == [(2,), (0,), (2,)]
    # Names that are numbers stay names.
    data = movinet.open_data(path, labels=("2", "1", "0"))
    assert [sample.labels for sample in data.samples] == [(0,), (2,), (0,)]
    several = written(tmp_path, "a.mp4 0 2\nb.mp4 1\n", "several.txt")
    data = movinet.open_data(several, labels=names, multi_label=True)
    assert [sample.labels for sample in data.samples] == [(0, 2), (1,)]
    with pytest.raises(ConfigError, match="line 1: class 3; there are 3, counted from 0"):
        movinet.open_data(written(tmp_path, "a.mp4 3\nb.mp4 0\n", "more.txt"), labels=names)
    with pytest.warns(UserWarning, match="no sample is of class 0"):
        movinet.open_data(written(tmp_path, "a.mp4 1\nb.mp4 2\n", "ones.txt"), labels=names)


def test_missing_files_are_left_out_and_counted_on_demand(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    path = written(tmp_path, "a.mp4 x\nb.mp4 x\nc.mp4 y\n")
    with pytest.raises(VideoError, match=r"2 of 3 files are missing .* data\.missing=skip"):
        movinet.open_data(path)
    with pytest.warns(UserWarning, match="2 of 3 files are missing .* and left out, b.mp4"):
        data = movinet.open_data(path, skip_missing=True)
    assert [sample.key for sample in data.samples] == ["a.mp4"]
    (tmp_path / "a.mp4").unlink()
    with pytest.raises(VideoError, match="3 of 3 files are missing"):
        movinet.open_data(path, skip_missing=True)
