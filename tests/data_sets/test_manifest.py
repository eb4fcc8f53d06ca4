import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from movinet.data.annotations import Row, read_rows, write_rows
from movinet.errors import ConfigError, MovinetError
from movinet.text import same_form

ROWS = [
    Row("a/1.mp4", ("walk",)),
    Row("/data/2, 3.mp4", ('say "hi"',), 1.5, 4.0, "anna"),
    Row("a/1.mp4", ("run|jump",), 2.0),
    Row("b\u2028c.mp4", ("übung",), None, 3.25),
]


def unnumbered(rows: list[Row]) -> list[Row]:
    return [row._replace(line=0) for row in rows]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".CSV"])
def test_what_is_written_is_read_back(tmp_path, suffix):
    path = tmp_path / "deep" / f"list{suffix}"
    write_rows(path, ROWS)
    assert unnumbered(read_rows(path)) == ROWS
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_several_labels_are_read_back(tmp_path, suffix):
    rows = [Row("1.mp4", ("walk", "talk")), Row("2.mp4", ()), Row("3.mp4", ("run",))]
    write_rows(tmp_path / f"list{suffix}", rows)
    assert unnumbered(read_rows(tmp_path / f"list{suffix}")) == rows


_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), min_size=1, max_size=20)
_LABEL = st.text(
    st.characters(codec="utf-8", categories=["L", "N", "P"]), min_size=1, max_size=9
).map(same_form)
_TIME = st.none() | st.floats(0, 1e6)


@pytest.mark.filterwarnings("ignore:.*begins like a formula")
@given(st.lists(st.tuples(_TEXT, _LABEL, _TIME, st.none() | _LABEL), min_size=1, max_size=5))
def test_any_names_are_read_back(tmp_path_factory, made):
    rows = [Row(p, (label,), start, None, group) for p, label, start, group in made]
    first: dict[tuple[str, float | None], Row] = {}
    for row in rows:  # the same sample has one label and one group
        first.setdefault((os.path.normpath(row.path), row.start), row)
    known = [first[os.path.normpath(row.path), row.start] for row in rows]
    rows = [
        row._replace(labels=k.labels, group=k.group) for row, k in zip(rows, known, strict=True)
    ]
    for suffix in (".csv", ".tsv", ".jsonl"):
        path = tmp_path_factory.mktemp("any") / f"list{suffix}"
        write_rows(path, rows)
        assert unnumbered(read_rows(path)) == rows


def test_a_label_that_would_be_read_as_two_is_not_written(tmp_path):
    rows = [Row("1.mp4", ("walk|run", "talk"))]
    with pytest.raises(ConfigError, match=r"'\|' stands between labels .* write a \.jsonl"):
        write_rows(tmp_path / "list.csv", rows)
    assert not list(tmp_path.iterdir())
    write_rows(tmp_path / "list.jsonl", rows)
    assert unnumbered(read_rows(tmp_path / "list.jsonl")) == rows


def test_a_manifest_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = tmp_path / "list.csv"
    write_rows(path, ROWS[:1])
    with pytest.raises(UnicodeEncodeError):
        write_rows(path, [Row("\ud800.mp4", ("a",))])
    assert unnumbered(read_rows(path)) == ROWS[:1]
    assert list(tmp_path.iterdir()) == [path]


def written(tmp_path: Path, text: str, suffix: str = ".csv") -> Path:
    path = tmp_path / f"list{suffix}"
    path.write_bytes(text.encode())
    return path


def test_spreadsheets_are_read(tmp_path):
    text = '\ufeffpath, label ,start\r\n"a, b.mp4", walk ,1\r\n\r\nc.mp4,run,\r\n'
    assert read_rows(written(tmp_path, text)) == [
        Row("a, b.mp4", ("walk",), 1.0, line=2),
        Row("c.mp4", ("run",), line=4),
    ]


def test_json_lines_are_read(tmp_path):
    text = '{"path": "a.mp4", "labels": ["x", "y"], "group": 3}\n\n{"path": "b.mp4", "labels": "x"}'
    assert read_rows(written(tmp_path, text, ".jsonl")) == [
        Row("a.mp4", ("x", "y"), group="3", line=1),
        Row("b.mp4", ("x",), line=3),
    ]
    text = '{"path": "a.mp4", "label": 3, "start": null}'
    assert read_rows(written(tmp_path, text, ".jsonl")) == [Row("a.mp4", ("3",), line=1)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: a manifest needs the column path and one of label and labels, not nothing"),
        ("path,label\n", "no samples"),
        ("path\na.mp4\n", "needs the column path and one of label and labels, not path"),
        ("path,label,labels\n", "needs the column path and one of label and labels"),
        ("path,label,path\na,x,b\n", "repeated column 'path'"),
        ("path,label\na.mp4,x,1\n", "line 2: 3 cells for the 2 columns path, label"),
        ("path,label\n\na.mp4\n", "line 3: 1 cells for the 2 columns"),
        ("path,label\n,x\n", "line 2: path must be the name of a video"),
        ("path,label,start\na,x,-1\n", "line 2: start must be seconds from 0 on, not '-1'"),
        ("path,label,start\na,x,0:30\n", "start must be seconds from 0 on, not '0:30'"),
        ("path,label,end\na,x,inf\n", "end must be seconds from 0 on, not 'inf'"),
        ("path,label,end\na,x,0\n", "line 2: end 0 must be after start 0"),
        ("path,label,start,end\na,x,5,4.5\n", "line 2: end 4.5 must be after start 5"),
        ("path,label\na,x\nb,x\na,y\n", r"line 4: 'a' is on line 2 with another label \(x, here y"),
        ("path,label\nc/a,x\nc/./a,y\n", "line 3: 'c/./a' is on line 2 with another label"),
        (
            "path,label,group\na,x,g\na,x,\n",
            r"line 3: 'a' is on line 2 with another group \(g, here None\); correct one of them",
        ),
        ("path,labels\na,x||y\n", "line 2: '' is no name of a class"),
        ("path,label\na,x\u0007y\n", r"line 2: 'x\\x07y' is no name of a class"),
        ("path,label\na," + "x" * 501, r"line 2: 'x{116}\.\.\. is no name of a class"),
        ("path,label\na," + "x" * 200_000, "line 2: field larger than field limit"),
    ],
)
def test_a_bad_table_is_one_line(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        read_rows(written(tmp_path, text))
    assert str(caught.value).startswith(f"{tmp_path}/list.csv")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"path": "a", "label": "x"}\n{"path": "b", label: "x"}', "line 2: not JSON: .*column 15"),
        ("[1]", "line 1: not a JSON object"),
        ("[" * 100_000, "line 1: not JSON that can be read"),
        ("1" * 10_000, "line 1: not JSON that can be read"),
        ('{"path": "a"}', "line 1: a manifest needs the column path and one of label"),
        ('{"path": 3, "label": "x"}', "line 1: path must be the name of a video, not 3"),
        ('{"path": "a", "label": {"name": "x"}}', "line 1: {'name': 'x'} is no name of a class"),
        ('{"path": "a", "label": true}', "line 1: True is no name of a class"),
        ('{"path": "a", "labels": [null]}', "line 1: None is no name of a class"),
        ('{"path": "a", "labels": {"x": 1}}', "line 1: labels must be a list"),
        ('{"path": "a", "label": "x", "start": "soon"}', "start must be seconds from 0 on"),
        ('{"path": "a", "label": "x", "start": true}', "start must be seconds from 0 on"),
        ('{"path": "a", "label": "x", "start": NaN}', "start must be seconds from 0 on, not nan"),
        ('{"path": "a", "label": "x", "end": 1' + "0" * 999 + "}", "end must be seconds from 0 on"),
        ('{"path": "a", "label": "x", "group": [1]}', r"line 1: group must be a name, not \[1\]"),
    ],
)
def test_bad_json_is_one_line(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        read_rows(written(tmp_path, text, ".jsonl"))
    assert str(caught.value).startswith(f"{tmp_path}/list.jsonl")
    assert "\n" not in str(caught.value)


def test_what_is_no_text_is_one_line(tmp_path):
    (tmp_path / "list.csv").write_bytes(b"path,label\xff\xfe\na.mp4,x\n")
    with pytest.raises(ConfigError, match=r"list\.csv: not UTF-8 text"):
        read_rows(tmp_path / "list.csv")
    with pytest.raises(ConfigError, match=r"none\.csv: cannot be read \(No such file"):
        read_rows(tmp_path / "none.csv")
    with pytest.raises(MovinetError, match=r"a manifest is one of \.csv, \.tsv, \.jsonl"):
        write_rows(tmp_path / "list.txt", ROWS)


@pytest.mark.parametrize("label", ["=1+2", "+x", "-x", "@x"])
def test_names_like_formulas_are_read_back_and_warned_of(tmp_path, label):
    rows = [Row("a.mp4", (label,), None, None, None, 0)]
    with pytest.warns(UserWarning, match="begins like a formula"):
        write_rows(tmp_path / "list.csv", rows)
    assert read_rows(tmp_path / "list.csv")[0].labels == (label,)
    write_rows(tmp_path / "list.jsonl", rows)
    assert read_rows(tmp_path / "list.jsonl")[0].labels == (label,)
