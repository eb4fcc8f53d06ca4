from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable

import pytest
from typer.testing import CliRunner, Result

import movinet
from movinet.catalog.complexity import count_multiply_adds, count_parameters, count_state_bytes
from movinet.catalog.published import all_cards, find_card
from movinet.cli import build_app
from movinet.cli.info import quantity
from movinet.embedded import EMBEDDED
from movinet.network.config import MoViNetConfig
from movinet.network.presets import input_spec, list_models, preset_config
from movinet.weights.factory import ENSEMBLES
from networks import PRESETS

Run = Callable[..., Result]
NAMES = [*list_models(), *EMBEDDED]


@pytest.fixture
def run() -> Run:
    def invoke(*arguments: object, columns: int = 80) -> Result:
        environment = {"COLUMNS": str(columns)}
        return CliRunner().invoke(build_app(), [*map(str, arguments)], env=environment)

    return invoke


def words(result: Result) -> str:
    """The output with every run of blanks as one: how lines are wrapped does not matter."""
    assert result.exit_code == 0, result.output
    return " ".join(result.stdout.split())


def rows(result: Result) -> dict[str, list[str]]:
    """The cells of the table by model."""
    lines = [line.split() for line in result.stdout.splitlines() if line.strip()]
    return {line[0]: line[1:] for line in lines if line[0] in NAMES and line[1][0].isdigit()}


def test_the_table_has_a_row_for_every_model(run: Run) -> None:
    table = {name: " ".join(cells) for name, cells in rows(run("list")).items()}
    assert list(table) == NAMES
    assert table["motions"] == "524 k 140 M 8.86 M 16x64x64 8 - - bundled"
    assert table["a0_base"] == "3.13 M 2.63 G - 50x172x172 5 72.28 90.92 K600 K400"
    assert table["a0_stream"] == "3.77 M 2.43 G 50.7 M 50x172x172 5 72.05 90.63 K600"
    assert table["a6_base"] == "30.2 M 380 G - - - 84.80 - K600 K400"
    assert table["t0_base"].endswith(" 2.5 - - -")


def test_the_table_says_where_the_accuracy_is_from(run: Run) -> None:
    result = run("list")
    assert find_card("a0_base", "kinetics-600").figures_source in result.stdout
    assert "a4_base and a5_base" in result.stdout


def test_the_table_fits_a_terminal_and_a_narrow_one_cuts_nothing(run: Run) -> None:
    lines = run("list", columns=80).stdout.splitlines()
    assert max(len(line) for line in lines if "http" not in line) <= 80
    assert rows(run("list", columns=40)) == rows(run("list", columns=120))


def test_list_as_json(run: Run) -> None:
    models = {model["name"]: model for model in json.loads(run("list", "--json").stdout)}
    assert list(models) == NAMES
    assert models["motions"]["weights"] == ["motions"]
    for name in PRESETS:
        model, config, spec = models[name], preset_config(name), input_spec(name)
        size = (spec.image_size, spec.image_size)
        assert model["kind"] == name.partition("_")[2]
        assert model["parameters"]["total"] == count_parameters(config).total
        assert model["multiply_adds"]["clip"] == count_multiply_adds(config, spec.num_frames, size)
        assert model["input"] == vars(spec)
        cards = [card for card in all_cards() if card.preset == name]
        assert model["weights"] == [card.dataset for card in cards]
        card = find_card(name, "kinetics-600") if cards else None
        assert model["published"]["top1"] == (card and card.top1)
        assert model["published"]["top5"] == (card and card.top5)
        assert model["published"]["source"] == (card and card.figures_source)
    assert models["a6_base"]["published"]["top1"] == 84.8
    assert models["a6_base"]["members"] == ["a4_base", "a5_base"]


def test_info_of_a_stream(run: Run) -> None:
    text = words(run("info", "a0_stream"))
    config = preset_config("a0_stream")
    assert "counted for 50 x 172 x 172 (frames" in text
    assert "3.77 M with 600 classes: 3,748,031 trainable, 17,952 batch-norm statistics" in text
    assert "15.1 MB as float32 (published file: 12 MB)" in text
    assert "50.7 M a streamed frame; 2.43 G a clip (published: 2.7 G" in text
    state = count_state_bytes(config, (172, 172))
    assert f"{state / 1e6:.2f} MB a stream" in text
    assert "29 frames, 5.8 s at 5 a second: the newest and the 28 before it" in text
    assert "5 a second: the frame on screen at every 0.2 s" in text
    assert "published accuracy is that after 50 frames (10 s)" in text
    assert "shorter side to 192 pixels" in text
    assert "172 x 172 pixels in the centre" in text
    assert "RGB divided by 255" in text
    assert "hard_swish; gates hard_sigmoid; classifier's hidden layer swish" in text


def test_info_of_a_base_model(run: Run) -> None:
    text = words(run("info", "a2_base"))
    assert "multiply-adds 11.6 G a clip (published: 10 G)" in text
    assert "streamed frame" not in text
    assert "stream state" not in text
    assert "50 frames (10 s) from the middle of the video" in text
    assert "45 frames, 9 s at 5 a second: 22 to either side" in text


@pytest.mark.parametrize("columns", [40, 80, 120])
@pytest.mark.parametrize("name", ["a5_stream", "a0_base", "t0_stream"])
def test_info_tells_all_of_a_card_and_keeps_its_addresses_whole(
    run: Run, name: str, columns: int
) -> None:
    result = run("info", name, columns=columns)
    text = words(result)
    cards = [card for card in all_cards() if card.preset == name]
    for card in cards:
        assert f"{card.dataset} top-1 {card.top1:.2f} %, top-5 {card.top5:.2f} %" in text
        for part in (card.license, card.license_source, *card.doubts):
            assert part in text
        for address in (card.url, card.figures_source):
            assert any(line.endswith(address) for line in result.stdout.splitlines())
    if not cards:
        assert "Published weights none" in text
        assert "(published" not in text
        assert "published accuracy" not in text


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("name", NAMES)
def test_lines_fit_the_terminal_but_for_addresses(run: Run, name: str, columns: int) -> None:
    text = run("info", name, columns=columns).stdout
    assert all(len(line) <= columns for line in text.splitlines() if "https://" not in line)
    assert not re.search(r"\d\n +(M|G|MB|%|s|x)\b", text)  # a number without its unit


def test_counting_for_another_input(run: Run) -> None:
    text = words(run("info", "a0_stream", "--image-size", 64, "--frames", 4))
    config, size = preset_config("a0_stream"), (64, 64)
    assert "counted for 4 x 64 x 64 (frames" in text
    clip, frame = (quantity(count_multiply_adds(config, n, size)) for n in (4, 1))
    assert f"{frame} a streamed frame; {clip} a clip" in text
    assert "published for the input as trained: 2.7 G" in text
    assert f"{quantity(count_state_bytes(config, size), 'B')} a stream" in text
    assert "172 x 172 pixels in the centre" in text  # what the weights want stays


def test_info_as_json(run: Run) -> None:
    data = json.loads(run("info", "a1_stream", "--json", "--frames", 2, "--image-size", 96).stdout)
    config, size = preset_config("a1_stream"), (96, 96)
    assert data["counted_for"] == {"frames": 2, "height": 96, "width": 96}
    assert data["multiply_adds"] == {
        "clip": count_multiply_adds(config, 2, size),
        "frame": count_multiply_adds(config, 1, size),
    }
    assert data["state_bytes"] == count_state_bytes(config, size)
    assert data["receptive_field"] == {"frames": 41, "seconds": 8.2}
    assert data["input"] == vars(input_spec("a1_stream"))
    assert MoViNetConfig.from_dict(data["config"]) == config
    card = find_card("a1_stream", "kinetics-600")
    assert [(c["url"], c["top1"], c["license"]) for c in data["cards"]] == [
        (card.url, card.top1, card.license)
    ]
    assert data["cards"][0]["doubts"] == [*card.doubts]
    assert data["preprocessing"]["crop"] == "172 x 172 pixels in the centre"


def test_a_base_model_as_json_has_no_stream(run: Run) -> None:
    data = json.loads(run("info", "a1_base", "--json").stdout)
    assert data["multiply_adds"]["frame"] is None
    assert data["state_bytes"] is None


@pytest.mark.parametrize("name", ENSEMBLES)
def test_an_ensemble_is_its_members_together(run: Run, name: str) -> None:
    data = json.loads(run("info", name, "--json").stdout)
    members = [json.loads(run("info", m, "--json").stdout) for m in ENSEMBLES[name]]
    assert data["members"] == members
    assert data["kind"] == "ensemble"
    for kind, count in data["parameters"].items():
        assert count == sum(member["parameters"][kind] for member in members)
    assert data["multiply_adds"]["clip"] == sum(m["multiply_adds"]["clip"] for m in members)


def test_the_page_of_an_ensemble(run: Run) -> None:
    result = run("info", "a6_base")
    text = words(result)
    assert "ensemble of a4_base and a5_base: the mean of their logits" in text
    assert "multiply-adds 380 G a video" in text
    assert "103 G multiply-adds for 80 x 290 x 290 (published: 110 G)" in text
    assert "12 frames a second; weights: kinetics-600, kinetics-400" in text
    assert "top-1 84.8 %" in text
    small = words(run("info", "a6_base", "--frames", 2))
    assert "2 x 290 x 290" in small
    assert "2 x 320 x 320" in small


def test_info_of_the_bundled_model(run: Run) -> None:
    text = words(run("info", "motions"))
    assert "motions stream model: sees a video frame by frame" in text
    assert "use it movinet predict VIDEO -m motions" in text
    assert "labels growing, moving down" in text
    assert "Published weights" not in text
    data = json.loads(run("info", "motions", "--json", "--frames", 2).stdout)
    assert data["bundled"]["labels"] == list(movinet.load("motions").info.labels)
    assert data["counted_for"] == {"frames": 2, "height": 64, "width": 64}
    assert MoViNetConfig.from_dict(data["config"]).num_classes == 10


def test_an_unknown_name_is_one_line_on_stderr(run: Run) -> None:
    result = run("info", "a0_streem")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert "no model 'a0_streem'; did you mean a0_stream?" in result.stderr


@pytest.mark.parametrize("option", ["--frames", "--image-size"])
def test_an_empty_input_is_wrong_usage(run: Run, option: str) -> None:
    result = run("info", "a0_base", option, 0)
    assert result.exit_code == 2
    assert option in result.stderr


@pytest.mark.parametrize("command", ["list", "info"])
def test_help_has_an_example(run: Run, command: str) -> None:
    assert re.search(rf"For example:\s+movinet {command}", run(command, "--help").stdout)


@pytest.mark.parametrize("arguments", [["list"], ["info", "a6_base"], ["info", "motions"]])
def test_neither_needs_torch_and_a_pipe_gets_plain_text(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "sys.modules['torch'] = None\n"
        "from movinet.cli import main\n"
        f"sys.argv = ['movinet', *{arguments}]\n"
        "main()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stderr == b""
    assert b"\x1b" not in result.stdout
    assert result.stdout.isascii()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2_630_733_808, "2.63 G"),
        (103_338_794_368, "103 G"),
        (50_696_504, "50.7 M"),
        (999_499, "999 k"),
        (999_500, "1.00 M"),
        (99_949_999, "99.9 M"),
        (99_960_000, "100 M"),
        (12, "12"),
        (5_123_000_000_000_000, "5,123 T"),
    ],
)
def test_quantities_have_three_digits(value: int, text: str) -> None:
    assert quantity(value) == text


def test_quantities_have_a_unit() -> None:
    assert quantity(2_696_780, "B") == "2.70 MB"
    assert quantity(12, "B") == "12 B"
