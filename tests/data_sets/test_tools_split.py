from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import pytest

from movinet.data.samples import DataSet, Sample
from movinet.data.split import split_data
from movinet.errors import ConfigError
from movinet.video.media import VideoFile


def make(
    classes: list[int], groups: Sequence[str | None] | None = None, videos: list[int] | None = None
) -> DataSet:
    """Samples of some classes, each of another video unless told."""
    samples = [
        Sample(
            str(i),
            VideoFile(Path(f"{i if videos is None else videos[i]}.mp4")),
            (label,),
            start=float(i),
            group=None if groups is None else groups[i],
        )
        for i, label in enumerate(classes)
    ]
    return DataSet("made", tuple(samples), tuple(f"c{i}" for i in range(max(classes) + 1)))


def counts(data: DataSet, indices: list[int]) -> list[int]:
    found = Counter(c for i in indices for c in data.samples[i].labels)
    return [found[c] for c in range(len(data.labels))]


def test_every_class_has_its_share_and_every_sample_one_place() -> None:
    data = make([0] * 50 + [1] * 10 + [2] * 20)
    result = split_data(data, {"valid": 0.2, "test": 0.1}, seed=3)
    assert counts(data, result.parts["train"]) == [35, 7, 14]
    assert counts(data, result.parts["valid"]) == [10, 2, 4]
    assert counts(data, result.parts["test"]) == [5, 1, 2]
    assert sorted(chain.from_iterable(result.parts.values())) == list(range(80))
    assert result.notes == ()


@pytest.mark.parametrize("seed", range(4))
def test_shares_that_come_out_even_are_exact(seed: int) -> None:
    data = make([c for c in range(8) for _ in range(12)])
    valid = split_data(data, {"valid": 0.25}, seed=seed).parts["valid"]
    assert counts(data, valid) == [3] * 8


def test_what_classes_are_rounded_by_does_not_add_up() -> None:
    data = make([c for c in range(40) for _ in range(7)])  # a share of 0.2 is 1.4 of each
    valid = split_data(data, {"valid": 0.2}).parts["valid"]
    assert len(valid) == 56
    assert set(counts(data, valid)) == {1, 2}


def test_the_seed_decides() -> None:
    data = make([0] * 20 + [1] * 20)
    one, same, other = (split_data(data, {"valid": 0.3}, seed=s).parts for s in (1, 1, 2))
    assert one == same
    assert one != other


def test_groups_stay_together_and_classes_are_still_balanced() -> None:
    groups = [f"person {i % 12}" for i in range(120)]
    data = make([i // 12 % 5 for i in range(120)], groups)
    result = split_data(data, {"valid": 0.25})
    people = [{groups[i] for i in part} for part in result.parts.values()]
    assert not people[0] & people[1]
    assert counts(data, result.parts["valid"]) == [6] * 5
    assert result.notes == ()


def test_parts_of_one_video_stay_together_unless_told() -> None:
    data = make([0, 1] * 20, videos=[i // 4 for i in range(40)])
    result = split_data(data, {"valid": 0.5})
    media = [{data.samples[i].media for i in part} for part in result.parts.values()]
    assert not media[0] & media[1]
    one_video = make([0, 1] * 20, videos=[0] * 40)
    with pytest.raises(ConfigError, match="1 groups of samples"):
        split_data(one_video, {"valid": 0.5})
    assert len(split_data(one_video, {"valid": 0.5}, by_group=False).parts["valid"]) == 20


def test_repeated_samples_are_never_torn_apart() -> None:
    data = make([0, 1] * 20)
    repeated = dataclasses.replace(data, samples=data.samples * 2)
    parts = split_data(repeated, {"valid": 0.5}, by_group=False).parts.values()
    train, valid = ({repeated.samples[i].part for i in part} for part in parts)
    assert len(train | valid) == 40
    assert not train & valid


def test_few_samples_go_to_training_first_and_are_told() -> None:
    data = make([0] * 20 + [1] + [2] * 2 + [3] * 3)
    for seed in range(5):
        result = split_data(data, {"valid": 0.2, "test": 0.1}, seed=seed)
        train, valid, test = (counts(data, part) for part in result.parts.values())
        assert train[1:] == [1, 2, 1]
        assert (valid[3], test[3]) == (1, 1)
        assert any("valid.csv has no sample of c1, c2: too few" in note for note in result.notes)


def test_what_groups_do_not_allow_is_told() -> None:
    groups = ["big" if i < 30 else str(i) for i in range(40)]
    data = make([0] * 30 + [1] * 10, groups)
    result = split_data(data, {"valid": 0.5})
    train, valid = ({groups[i] for i in part} for part in result.parts.values())
    assert not train & valid
    assert any("has no sample of c0" in note for note in result.notes)


def test_several_labels_are_each_balanced() -> None:
    samples = tuple(
        Sample(str(i), VideoFile(Path(f"{i}.mp4")), tuple(c for c in range(3) if i % (c + 2) == 0))
        for i in range(120)
    )
    data = DataSet("made", samples, ("c0", "c1", "c2"), multi_label=True)
    valid = split_data(data, {"valid": 0.25}).parts["valid"]
    assert len(valid) == 30
    assert counts(data, valid) == pytest.approx([15, 10, 7.5], abs=1)


@pytest.mark.parametrize("shares", [{"valid": 0.0}, {"valid": 1.0}, {"valid": 0.6, "test": 0.4}])
def test_shares_leave_something_for_every_part(shares: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="shares must be above 0"):
        split_data(make([0, 0, 1, 1]), shares)


def test_fewer_samples_than_parts_are_refused() -> None:
    with pytest.raises(ConfigError, match="has 2 samples, which cannot be split into 3 parts"):
        split_data(make([0, 1]), {"valid": 0.2, "test": 0.2})
