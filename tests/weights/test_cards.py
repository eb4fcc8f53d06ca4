import math

import pytest

from movinet.catalog.published import all_cards, find_card
from movinet.checkpoints.keys import entries
from movinet.errors import ConfigError
from movinet.labels import load_labels
from movinet.network.presets import input_spec, list_models, preset_config


def test_cards_are_the_published_files() -> None:
    kinetics_600 = {card.preset for card in all_cards() if card.dataset == "kinetics-600"}
    kinetics_400 = {card.preset for card in all_cards() if card.dataset == "kinetics-400"}
    assert kinetics_400 == {f"a{i}_base" for i in range(6)}
    assert kinetics_600 == kinetics_400 | {f"a{i}_stream" for i in range(6)}
    assert kinetics_600 < set(list_models())
    assert len({card.url for card in all_cards()}) == len(all_cards()) == 18


def test_card_says_what_the_readme_says() -> None:
    root = "https://storage.googleapis.com/tf_model_garden/vision/movinet/"
    card = find_card("a2_stream", "kinetics-600")
    assert card.url == root + "movinet_a2_stream.tar.gz"
    assert (card.top1, card.top5, card.gflops, card.size_mb) == (78.40, 94.05, 10, 20)
    assert card.license == "Apache-2.0"
    assert card.input == input_spec("a2_stream")
    card = find_card("a5_base", "kinetics-400")
    assert card.url == root + "movinet_a5_base_k400.tar.gz"
    assert (card.top1, card.top5, card.num_classes) == (81.39, 95.06, 400)


@pytest.mark.parametrize("card", all_cards(), ids=lambda card: card.file_name)
def test_every_card_is_plausible(card) -> None:
    assert 60 < card.top1 < card.top5 < 100
    assert len(load_labels(card.labels)) == card.num_classes
    config = preset_config(card.preset, num_classes=card.num_classes)
    float32_mb = sum(math.prod(entry.shape) for entry in entries(config)) * 4e-6
    fits = abs(float32_mb - card.size_mb) < 0.1 * card.size_mb
    assert fits == card.preset.endswith("base")
    assert fits != any("published size" in doubt for doubt in card.doubts)


def test_doubts_name_the_activation_and_the_report() -> None:
    def doubts(preset: str, dataset: str) -> str:
        return " ".join(find_card(preset, dataset).doubts)

    assert "configuration has hard_swish" in doubts("a1_stream", "kinetics-600")
    assert "configuration has swish" in doubts("a0_stream", "kinetics-600")
    assert "127 MB" in doubts("a5_stream", "kinetics-600")
    assert "issues/13566" in doubts("a0_base", "kinetics-400")
    assert "issues/13566" not in doubts("a0_base", "kinetics-600")


@pytest.mark.parametrize(
    ("preset", "dataset", "says"),
    [
        ("a0_stream", "kinetics-400", "kinetics-400: a0_base, a1_base"),
        ("a0_base", "kinetics-700", "no published weights were trained on 'kinetics-700'"),
        ("t0_base", "kinetics-600", "t0_base was never published with weights"),
        ("a6_base", "kinetics-600", "ensemble of a4_base and a5_base"),
        ("a0_steam", "kinetics-600", "did you mean a0_stream?"),
    ],
)
def test_unpublished_weights_are_refused_with_what_exists(preset, dataset, says) -> None:
    with pytest.raises(ConfigError, match=r"^[^\n]+$") as caught:
        find_card(preset, dataset)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("name", "count", "index", "label"),
    [
        ("kinetics-400", 400, 399, "zumba"),
        ("kinetics-600", 600, 11, "arm wrestling"),
        ("kinetics-700", 700, 0, "abseiling"),
    ],
)
def test_bundled_labels(name, count, index, label) -> None:
    labels = load_labels(name)
    assert len(labels) == len(set(labels)) == count
    assert labels[index] == label
    assert "" not in labels


def test_labels_from_a_file(tmp_path) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes("\ufeffcow walking\r\n  Kuh grast ✓ \r\n\r\n\n".encode())
    assert load_labels(path) == ("cow walking", "Kuh grast ✓")
    assert load_labels(str(path)) == load_labels(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"a\n\nb\n", "line 2: empty"),
        (b"a\nb\na\n", "line 3: 'a' is on line 1 too"),
        (b"a\nb\xff\n", "line 2: not UTF-8"),
        (b"a\nb\x1b[2Jc\n", "line 2: control characters"),
        (b"\n\n", "line 1: empty"),
        (b"x" * (1 << 20) + b"\n", "more than"),
    ],
    ids=["gap", "repeated", "not text", "control", "nothing", "too large"],
)
def test_bad_label_files_are_refused_with_the_line(tmp_path, content, says) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"^[^\n]+$") as caught:
        load_labels(path)
    assert says in str(caught.value)
    assert str(path) in str(caught.value)


def test_missing_labels_are_refused_with_what_exists(tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"'kinetics-500'.*kinetics-400, kinetics-600"):
        load_labels("kinetics-500")
    with pytest.raises(ConfigError, match="is not a file"):
        load_labels(tmp_path)
    with pytest.raises(ConfigError, match=r"cannot read|no such file"):
        load_labels("labels\0.txt")
