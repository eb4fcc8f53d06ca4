"""Classes of unequal size: what is drawn, and what losses count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from data_sets.loading import Numbered, config_of, same
from movinet.data.balance import BalancedOrder, ShuffledOrder, class_counts, loss_weights
from movinet.data.samples import DataSet, Sample
from movinet.training.batches.loader import TrainLoader


def data_with(labels: Sequence[tuple[int, ...]], *, multi_label: bool = False) -> DataSet:
    samples = [Sample(f"{i}", Numbered(f"{i}.mp4", 0), each) for i, each in enumerate(labels)]
    return DataSet("made-up", tuple(samples), ("a", "b", "c", "d"), multi_label)


#: 12 of class a, 3 of b, 1 of d; none of c.
UNEQUAL = data_with([(0,)] * 12 + [(1,)] * 3 + [(3,)])


def drawn(data: DataSet, epochs: range, seed: int = 0) -> list[int]:
    order = BalancedOrder(data, seed)
    return [index for epoch in epochs for index in order.epoch(epoch).tolist()]


def test_all_classes_are_drawn_equally_often() -> None:
    for epoch in range(5):
        order = BalancedOrder(UNEQUAL, 0).epoch(epoch)
        assert len(order) == len(UNEQUAL)
        counts = Counter(UNEQUAL.samples[i].labels[0] for i in order.tolist())
        assert set(counts) == {0, 1, 3}
        assert max(counts.values()) - min(counts.values()) <= 1


def test_over_time_each_sample_of_a_class_is_drawn_equally_often() -> None:
    """Also those of the largest class, of which an epoch has a few."""
    counts = Counter(drawn(UNEQUAL, range(9)))  # 144 draws, 48 of each class
    assert {counts[i] for i in range(12)} == {4}
    assert {counts[i] for i in range(12, 15)} == {16}
    assert counts[15] == 48


def test_an_epoch_follows_from_the_seed_and_its_number() -> None:
    order = BalancedOrder(UNEQUAL, 3)
    later = [order.epoch(n).tolist() for n in (4, 2, 4)]
    assert later[0] == later[2] == BalancedOrder(UNEQUAL, 3).epoch(4).tolist()
    assert later[0] != later[1]
    assert later[0] != BalancedOrder(UNEQUAL, 4).epoch(4).tolist()
    # Classes do not follow each other in a fixed order.
    labels = [[UNEQUAL.samples[i].labels for i in order.epoch(n).tolist()] for n in range(3)]
    assert labels[0] != labels[1] != labels[2]


def test_several_labels_each_get_their_share() -> None:
    """A sample of two classes is drawn for both; those without a label are a class, too."""
    data = data_with([(0,)] * 8 + [(0, 1)] + [()], multi_label=True)
    counts = Counter(drawn(data, range(9)))  # 90 draws: 30 for a, 30 for b, 30 for none
    assert counts[9] == 30
    assert 33 <= counts[8] <= 34
    assert all(3 <= counts[i] <= 4 for i in range(8))


def test_balanced_batches_are_those_of_one_process_wherever_a_run_resumes() -> None:
    config = config_of(data__balance="sampling", augment__crop_area=(0.1, 1), augment__flip=0.5)
    whole = list(TrainLoader(UNEQUAL, config).batches(2))
    assert same(TrainLoader(UNEQUAL, config).batches(2, 2), whole[2:])
    shares = [list(TrainLoader(UNEQUAL, config, rank=r, world_size=2).batches(2)) for r in (0, 1)]
    for step, batch in enumerate(whole):
        assert torch.equal(torch.cat([s[step].video for s in shares]), batch.video)
    labels = torch.cat([batch.targets for batch in whole]).bincount()
    assert labels.tolist() in ([5, 6, 0, 5], [6, 5, 0, 5], [5, 5, 0, 6])
    plain = [b.indices.tolist() for b in TrainLoader(UNEQUAL, config_of()).batches(2)]
    assert np.concatenate(plain).tolist() == ShuffledOrder(UNEQUAL, 0).epoch(2).tolist()


def test_weights_make_classes_count_alike() -> None:
    counts, weights = class_counts(UNEQUAL), loss_weights(UNEQUAL)
    assert counts.tolist() == [12, 3, 0, 1]
    assert (counts * weights)[[0, 1, 3]] == pytest.approx([16 / 3] * 3)
    assert (counts * weights).sum() == pytest.approx(len(UNEQUAL))  # 1 in the mean
    assert weights[2] == 1


def test_weights_of_several_labels_even_out_with_and_without() -> None:
    data = data_with([(0,)] * 6 + [(0, 1)] * 2 + [()] * 2, multi_label=True)
    assert loss_weights(data).tolist() == [0.25, 4, 1, 1]
