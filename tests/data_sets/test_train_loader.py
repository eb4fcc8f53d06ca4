"""Training batches: what is in them, whoever decodes them and wherever a run resumes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import pytest
import torch

from data_sets.loading import Away, Broken, Deadly, Slow, config_of, data_of, same, videos
from movinet.errors import ConfigError, MovinetError, VideoError
from movinet.training.batches.loader import Failure, TrainLoader

RANDOM = {
    "augment__crop_area": (0.1, 1),
    "augment__flip": 0.5,
    "augment__policy": "autoaugment",
    "augment__random_stride": 0.2,
}


def test_an_epoch_has_each_sample_once_and_another_order_than_the_next() -> None:
    loader = TrainLoader(data_of(*videos(11)), config_of())
    assert loader.steps_per_epoch == 2
    epochs = [torch.cat([b.indices for b in loader.batches(e)]).tolist() for e in range(3)]
    for epoch in epochs:
        assert len(set(epoch)) == 8
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_targets_belong_to_the_samples() -> None:
    batch = next(TrainLoader(data_of(*videos(9)), config_of()).batches(0))
    assert batch.video.dtype == torch.uint8
    assert batch.video.shape == (4, 6, 32, 32, 3)
    assert batch.targets.dtype == torch.int64
    assert batch.targets.tolist() == [i % 3 for i in batch.indices.tolist()]


def test_targets_of_multi_label_data_mark_all_classes() -> None:
    data = data_of(*videos(6), multi_label=True)
    config = config_of(data__multi_label=True)
    batch = next(TrainLoader(data, config).batches(0))
    assert batch.targets.dtype == torch.float32
    for index, target in zip(batch.indices.tolist(), batch.targets, strict=True):
        assert target.nonzero().flatten().tolist() == sorted(data.samples[index].labels)


def test_a_data_set_smaller_than_a_batch_repeats_with_other_draws() -> None:
    loader = TrainLoader(data_of(*videos(3)), config_of(engine__batch_size=6, **RANDOM))
    (batch,) = loader.batches(0)
    assert sorted(batch.indices.tolist()) == [0, 0, 1, 1, 2, 2]
    first, second = (batch.indices == 0).nonzero().flatten().tolist()
    assert not torch.equal(batch.video[first], batch.video[second])


def test_the_seed_decides_all() -> None:
    data = data_of(*videos(8))
    runs = [list(TrainLoader(data, config_of(engine__seed=s, **RANDOM)).batches(0)) for s in (1, 1)]
    assert same(*runs)
    other = list(TrainLoader(data, config_of(engine__seed=2, **RANDOM)).batches(0))
    assert not torch.equal(runs[0][0].video, other[0].video)


def test_global_random_numbers_stay_as_they_were() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    list(TrainLoader(data_of(*videos(4)), config_of(**RANDOM)).batches(0))
    assert torch.equal(torch.rand(3), expected)


def test_a_run_resumes_within_an_epoch() -> None:
    data, config = data_of(*videos(16)), config_of(**RANDOM)
    whole = list(TrainLoader(data, config).batches(3))
    assert same(TrainLoader(data, config).batches(3, 2), whole[2:])
    assert list(TrainLoader(data, config).batches(3, 4)) == []
    resumed = TrainLoader(data, config)
    assert same(resumed.batches(3, 2), whole[2:])
    assert same(resumed.batches(4), TrainLoader(data, config).batches(4))


@pytest.mark.parametrize("world_size", [2, 4])
def test_processes_share_the_batches_of_one(world_size: int) -> None:
    data, config = data_of(*videos(9)), config_of(**RANDOM)
    loaders = [TrainLoader(data, config, rank=r, world_size=world_size) for r in range(world_size)]
    shares = [list(loader.batches(1)) for loader in loaders]
    for step, whole in enumerate(TrainLoader(data, config).batches(1)):
        assert torch.equal(torch.cat([s[step].video for s in shares]), whole.video)
        assert torch.equal(torch.cat([s[step].indices for s in shares]), whole.indices)


def test_a_batch_must_go_round() -> None:
    with pytest.raises(ConfigError, match=r"batch_size 4 must be a multiple .*\(3\)"):
        TrainLoader(data_of(*videos(9)), config_of(), world_size=3)
    with pytest.raises(ConfigError, match="made-up: no samples"):
        TrainLoader(data_of(), config_of())


def test_a_bad_sample_is_replaced_by_the_next_good_one_and_named() -> None:
    media = [Broken(m.name) if i in (2, 5) else m for i, m in enumerate(videos(8))]
    order = torch.cat([b.indices for b in TrainLoader(data_of(*videos(8)), config_of()).batches(0)])
    batches = list(TrainLoader(data_of(*media), config_of()).batches(0))
    expected = order.tolist() + order.tolist()
    for place, index in enumerate(order.tolist()):
        good = next(i for i in expected[place:] if i not in (2, 5))
        assert batches[place // 4].indices[place % 4] == good, index
    failures = {failure for batch in batches for failure in batch.failures}
    assert failures == {Failure(i, f"{i}.mp4", f"{i}.mp4: not a video") for i in (2, 5)}


@pytest.mark.parametrize("count", [3, 30])
def test_data_without_a_good_sample_is_one_clear_error(count: int) -> None:
    loader = TrainLoader(data_of(*[Broken(f"{i}.mp4") for i in range(count)]), config_of())
    tried = min(count, 20)
    message = rf"^made-up: {tried} samples in a row cannot be read, the first: \d+.mp4: not a video"
    with pytest.raises(VideoError, match=message):
        next(loader.batches(0))


def test_a_loader_goes_on_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    data, config = data_of(*[Away(f"{i}.mp4") for i in range(8)]), config_of(**RANDOM)
    expected = list(TrainLoader(data, config).batches(0))
    loader = TrainLoader(data, config)
    assert same(islice(loader.batches(0), 1), expected[:1])
    with monkeypatch.context() as patch:
        patch.setattr(Away, "away", True)
        with pytest.raises(VideoError, match="8 samples in a row"):
            next(loader.batches(0, 1))
    assert same(loader.batches(0, 1), expected[1:])


@pytest.mark.heavy
def test_workers_change_nothing() -> None:
    media = [Broken(m.name) if i == 3 else m for i, m in enumerate(videos(13))]
    data = data_of(*media)
    alone = TrainLoader(data, config_of(**RANDOM))
    expected = [list(alone.batches(epoch)) for epoch in range(3)]
    loader = TrainLoader(data, config_of(data__workers=2, **RANDOM))
    assert same(loader.batches(0), expected[0])
    assert same(loader.batches(1), expected[1])  # prefetched
    assert same(islice(loader.batches(2), 1), expected[2][:1])  # left within an epoch
    assert same(loader.batches(0, 1), expected[0][1:])


@pytest.mark.heavy
def test_errors_of_workers_are_one_line() -> None:
    bad = data_of(*[Broken(f"{i}.mp4") for i in range(8)])
    with pytest.raises(VideoError) as caught:
        next(TrainLoader(bad, config_of(data__workers=1)).batches(0))
    assert str(caught.value).startswith("made-up: 8 samples in a row cannot be read")
    assert "\n" not in str(caught.value)
    deadly = data_of(*[Deadly(f"{i}.mp4") for i in range(8)])
    with pytest.raises(MovinetError, match="process that decodes videos has died") as caught:
        next(TrainLoader(deadly, config_of(data__workers=1)).batches(0))
    assert "\n" not in str(caught.value)


SCRIPT = """
import sys, time
from data_sets.loading import config_of, data_of, videos
from movinet.training.batches.loader import TrainLoader

if __name__ == "__main__":
    loader = TrainLoader(data_of(*videos(64)), config_of(data__workers=1))
    batches = loader.batches(0)
    next(batches)
    try:
        print("ready", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        print(sum(1 for _ in batches), flush=True)
"""


@pytest.mark.heavy
def test_workers_leave_it_to_the_main_process_to_end(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
        out, err = process.communicate(timeout=60)
        assert (out, err) == ("15\n", "")
        end = time.monotonic() + 20
        while _group_lives(process.pid) and time.monotonic() < end:
            time.sleep(0.1)
        assert not _group_lives(process.pid)
    finally:  # a failure here must not become one of some later test
        if _group_lives(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.heavy
def test_the_next_epoch_is_ready_when_it_is_asked_for() -> None:
    data = data_of(*[Slow(f"{i}.mp4") for i in range(4)])
    loader = TrainLoader(data, config_of(data__workers=1))
    list(loader.batches(0))
    time.sleep(1)
    began = time.perf_counter()
    next(loader.batches(1))
    assert time.perf_counter() - began < 0.1  # it takes 0.2 s to make
