"""Rules of events, from TOML files."""

from pathlib import Path

import pytest

from movinet.errors import ConfigError
from movinet.events import Rule, load_rules


def written(folder: Path, text: str) -> Path:
    path = folder / "rules.toml"
    path.write_text(text)
    return path


def test_a_file_has_a_default_and_classes(tmp_path: Path) -> None:
    text = 'exclusive = true\n[default]\nsmoothing = 0.5\n[classes."arm wrestling"]\non = 0.8\n'
    rules = load_rules(written(tmp_path, text))
    assert rules.default == Rule(smoothing=0.5)
    assert rules.classes == {"arm wrestling": Rule(smoothing=0.5, on=0.8)}
    assert rules.exclusive
    assert [*rules.for_labels(["arm wrestling", "rest"])] == [0, 1]
    rules = load_rules(written(tmp_path, "only_listed = true\n[classes.rest]\n"))
    assert rules.for_labels(["wave", "rest"]) == {1: Rule()}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[default]\non = 2", "default: on and off must be probabilities"),
        ("[default]\non = 0.3\noff = 0.5", "0 < off <= on < 1"),
        ("[default]\non = true", "on must be a number, not True"),
        ("[default]\nshortest = -1", "shortest must be 0 to 86400 seconds"),
        (f"[default]\nshortest = 1{'0' * 400}", "shortest must be"),
        (f"[default]\non = 1{'0' * 400}", "on must be"),
        (f"[default]\noff = -1{'0' * 400}", "off must be"),
        ("[default]\nshortest = nan", "shortest must be a number"),
        ("[default]\nshortest = inf", "shortest must be a number"),
        ("[default]\nshort = 1", "default has no 'short'; did you mean shortest?"),
        ("[clases.x]\non = 0.5", "the file has no 'clases'; did you mean classes?"),
        ("classes = 3", "classes must be a table of tables"),
        ("only_listed = true", "no class is listed"),
        ("exclusive = 1", "exclusive must be true or false"),
        ("on = 0.5", "the file has no 'on'"),
        ("[default", "it is not TOML"),
        ('[classes."a\\u0007"]\noff = 9', "classes."),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_rules(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert str(caught.value).isprintable()


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_rules(tmp_path / "none.toml")
    path = tmp_path / "large.toml"
    path.write_bytes(b"#" * (1 << 21))
    with pytest.raises(ConfigError, match="at most"):
        load_rules(path)
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="not TOML"):
        load_rules(path)


def test_the_rules_in_the_documentation_are_rules(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "live.md").read_text()
    text = page[page.index("# rules.toml") :].partition("```")[0]
    rules = load_rules(written(tmp_path, text))
    assert rules.default is None
    assert rules.for_labels(["still", "turning right"]) == {1: Rule(0.8, 0.5, 0.5)}
